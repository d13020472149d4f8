# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""docs/language_data.md: its lines are read, and its commands run, on fewer steps and windows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from g2vlm_training.datasets.language import LANGUAGE_LAYOUTS, LanguagePool
from g2vlm_training.datasets.mixture import SourceOptions

from g2vlm_model.cli import main
from tests.helpers import REPO
from tests.training.language_folders import picture

PAGE = (REPO / "docs" / "language_data.md").read_text(encoding="utf-8")


def block(beginning: str) -> str:
    """The block of the page that begins so."""
    blocks: list[str] = re.findall(r"```\w+\n(?:# needs .*?\n)?(.*?)```", PAGE, flags=re.S)
    (found,) = (text for text in blocks if text.startswith(beginning))
    return found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """The page's folder of questions."""
    folder = tmp_path / "QUESTIONS"
    folder.mkdir()
    (folder / "train.jsonl").write_text(block('{"pictures"'), encoding="utf-8")
    for number, name in enumerate(("shelf.jpg", "door.jpg")):
        picture(folder / name, 60 * number, (120, 90))
    return folder


def test_its_lines_are_read_and_its_sources_are_known(questions: Path) -> None:
    pool = LanguagePool("jsonl", questions)
    assert [len(pool.read(index).pictures) for index in range(len(pool))] == [1, 2]
    assert [mark.label for mark in pool.read(1).marks] == ["A", "B"]
    sources = yaml.safe_load(block("sources:"))["sources"]
    assert [SourceOptions(**source).is_language for source in sources] == [False, True, True]
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M)) == set(LANGUAGE_LAYOUTS)


@pytest.mark.slow
def test_its_commands_run(questions: Path, tiny_shards: Path) -> None:
    places = {"QUESTIONS": str(questions), "DATA": str(tiny_shards)}
    places |= {name: str(questions.parent / name) for name in ("RUN", "MODEL")}
    fewer = {"--steps": "2", "--windows": "2"}
    commands = [shlex.split(line)[1:] for line in block("g2vlm ").splitlines()]
    assert [words[0] for words in commands] == ["dataset", "train", "evaluate"]
    for words in commands:
        made: list[str] = []
        for word in words:
            made.append(fewer.get(made[-1] if made else "", places.get(word, word)))
        if words[0] == "evaluate":
            made += ["--split", "train"]  # the tiny rooms have no others
        assert main(made) == 0, made
    log = (questions.parent / "RUN" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(log[-1])["step"] == 2
