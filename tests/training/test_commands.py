# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `g2vlm dataset` refuses before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from g2vlm_training.dataset_cli import main as dataset


@pytest.mark.parametrize("wrong", [("--shards", "0"), ("--shards", "-1"), ("--first", "-2")])
def test_no_shard_is_not_taken_for_done(wrong: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1 and 0"):
        dataset(["synthetic", "--out", str(tmp_path / "shards"), *wrong])
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--sizes", "168"), "a size is '168', expected WIDTHxHEIGHT"),
        (("--sizes", "168x9"), "expected heights and widths from 14"),
        (("--rays", "0"), "expected at least 1 each"),
        (("--processes", "0"), "expected at least 1, 1 and 0"),
        ((), "no model library in .*make it with `g2vlm dataset models"),
    ],
)
def test_rendering_names_what_is_wrong(wrong: tuple[str, ...], said: str, tmp_path: Path) -> None:
    given = ["render", "--out", str(tmp_path / "shards"), "--models", str(tmp_path / "none")]
    with pytest.raises(ValueError, match=said):
        dataset([*given, *wrong])
    assert not list(tmp_path.rglob("*.tar"))
