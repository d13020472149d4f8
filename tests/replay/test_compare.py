# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two replays side by side: pairs, intervals, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_replay import cli
from g2vlm_replay.compare import compare, paired, read_run
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.metrics import METRICS

STAMPS = [10**9 + 10**8 * number for number in range(60)]
NOISE = np.random.default_rng(3).normal(0, 0.02, len(STAMPS))


def write_run(folder: Path, abs_rel: np.ndarray, **changes: Any) -> Path:
    document = {
        "format_version": 1,
        "metrics": dict.fromkeys(METRICS) | {"abs_rel": float(abs_rel.mean()), "keyframes": 12.0},
        "input": {"path": "drive", "kind": "bag", "image_topic": "/camera", "pictures": 60},
        "scenes": [
            {"stamp_ns": stamp, "abs_rel": float(value)}
            for stamp, value in zip(STAMPS, abs_rel, strict=True)
        ],
        "answers": [
            {"question": "How far is A?", "picture": 3, "correct": bool(abs_rel.mean() > 0.2)},
            {"question": "Is it red?", "picture": 3, "correct": None},
        ],
    }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(document | changes))
    return folder


def test_a_difference_in_pairs_has_an_interval_that_single_values_hide() -> None:
    """Scenes differ by a factor of ten, B from A by a hundredth in each."""
    values = np.linspace(0.05, 0.5, len(STAMPS))
    a = dict(zip(STAMPS, values, strict=True))
    b = dict(zip(STAMPS, values - 0.01 + NOISE / 20, strict=True))
    found = paired(a, b)
    assert found is not None
    assert found.scenes == 60
    assert found.difference == pytest.approx(-0.01, abs=1e-3)
    assert -0.012 < found.low < found.difference < found.high < -0.008
    assert paired(a, {}) is None
    few = paired(a, dict(list(b.items())[:19]))
    assert few is not None
    assert np.isnan(few.low)


def test_neighbours_that_are_off_together_make_a_wide_interval() -> None:
    """One stretch of six scenes that differs is one difference, not six."""
    a = dict.fromkeys(STAMPS, 0.2)
    b = a | dict.fromkeys(STAMPS[12:18], 0.4)
    found = paired(a, b)
    assert found is not None
    assert found.difference == pytest.approx(0.02)
    assert found.low == 0.0


def test_the_table_says_what_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "a", 0.25 + NOISE)
    b = write_run(tmp_path / "b", 0.18 + NOISE)
    assert cli.main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if line.startswith("Depth AbsRel, scenes")]
    assert "-0.07" in row
    assert row.endswith("better  (60 scenes)")
    assert "answered right by A alone: How far is A?" in said
    assert cli.main(["compare", str(a), str(b), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"][0]["paired"]["verdict"] == "better"
    assert {row["name"] for row in document["metrics"]} == {"abs_rel", "keyframes"}
    same = compare(read_run(a), read_run(a))
    assert [row.verdict for row in same] == ["", "", ""]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 9}, "has format 9, expected 1"),
        ({"input": {"path": "other", "kind": "bag"}}, "runs of one recording can be compared"),
        ({"metrics": None, "input": None}, "is no metrics.json of a replay"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    a = write_run(tmp_path / "a", 0.2 + NOISE)
    b = write_run(tmp_path / "b", 0.2 + NOISE, **changes)
    assert cli.main(["compare", str(a), str(b)]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(ReplayInputError, match="give the folder that a replay wrote"):
        read_run(tmp_path / "nothing")
