# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""docs/finetune.md: its commands run, in the order of the page, on fewer steps and windows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from g2vlm_model.cli import main
from tests.helpers import REPO

FEWER = {"--steps": "2", "--windows": "1", "eval_windows=8": "eval_windows=1"}


def commands_of_the_page() -> list[list[str]]:
    page = (REPO / "docs" / "finetune.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n# needs .*?\n(g2vlm .*?)```", page, flags=re.S)
    return [shlex.split(line)[1:] for line in block.splitlines()]


def fewer(words: list[str], folder: Path) -> list[str]:
    """The same command on less, with its files elsewhere."""
    made: list[str] = []
    for word in words:
        if made and made[-1] in FEWER:
            word = FEWER[made[-1]]
        word = FEWER[word] if word.startswith("eval_") else word
        made.append(str(folder / word) if word.startswith("out/") else word)
    return made


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPO)
    commands = commands_of_the_page()
    assert [words[:2] for words in commands] == [
        ["dataset", "bag"], ["dataset", "check"], ["train", "--config"], ["evaluate", "geometry"],
    ]  # fmt: skip
    for words in commands:
        assert main(fewer(words, tmp_path)) == 0, words
    told = json.loads((tmp_path / "out" / "data" / "bag.json").read_text())["recordings"][0]
    assert (told["train"], told["val"]) == (43, 15), "the page says so"
    assert told["agreement"] > 0.95
    log = (tmp_path / "out" / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(log[-1])["step"] == 2
