# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The questions file: what it may hold, what is refused, how answers are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.question_file import Expected, Mark, compare, load_questions

STAMPS = tuple(10_000_000_000 + i * 500_000_000 for i in range(5))


def load(tmp_path: Path, content: Any) -> Any:
    file = tmp_path / "questions.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_questions(file, STAMPS)


def test_a_full_entry(tmp_path: Path) -> None:
    (question,) = load(
        tmp_path,
        [
            {
                "question": "How far is A from B?",
                "at": {"frame": 3},
                "marks": [{"label": "A", "u": 1.5, "v": 2}],
                "expected": {"value": 1.2, "unit": "m", "tolerance": 0.1},
                "kind": "distance",
                "max_tokens": 8,
                "reason": "geometry",
            }
        ],
    )
    assert question.frame == 3
    assert question.marks == (Mark("A", 1.5, 2.0),)
    assert question.expected == Expected(1.2, "m", 0.1)
    assert str(question.expected) == "1.2 m"
    assert (question.kind, question.max_tokens) == ("distance", 8)
    assert question.reason == "geometry"


@pytest.mark.parametrize(
    ("at", "frame"),
    [
        (None, None),
        ({"frame": 0}, 0),
        ({"seconds": 1.1}, 2),
        ({"stamp": "11.500000000"}, 3),
        ({"stamp": 10.0}, 0),
    ],
)
def test_at(tmp_path: Path, at: Any, frame: int | None) -> None:
    assert load(tmp_path, [{"question": "q", "at": at}])[0].frame == frame


def test_short_expectations(tmp_path: Path) -> None:
    questions = load(
        tmp_path,
        [{"question": "q", "expected": 3}, {"question": "q", "expected": "yes"}, {"question": "q"}],
    )
    assert [q.expected for q in questions] == [Expected(3.0), Expected(texts=("yes",)), None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{not json", "is no JSON"),
        ("{}", "expected a list"),
        ("[]", "expected a list"),
        ([1], "entry 0: a question is int"),
        ([{"question": "q"}, {}], "entry 1: .question. is missing"),
        ([{"question": 5}], "expected text"),
        ([{"question": " "}], "question is empty"),
        ([{"question": "q" * 5000}], "5000 characters"),
        ([{"question": "q", "mark": []}], r"unknown keys \['mark'\]"),
        ([{"question": "q", "marks": {}}], "expected a list"),
        ([{"question": "q", "marks": [{"u": 1}]}], '"v" is missing'),
        ([{"question": "q", "marks": [{"u": 1, "v": "2"}]}], "expected a finite number"),
        ([{"question": "q", "at": 3}], "expected an object"),
        ([{"question": "q", "at": {}}], "expected one of frame, seconds, stamp"),
        ([{"question": "q", "at": {"frame": 5}}], r"the recording has 0\.\.4"),
        ([{"question": "q", "at": {"frame": True}}], "expected a whole number"),
        ([{"question": "q", "at": {"seconds": 99}}], "more than a second away"),
        ([{"question": "q", "at": {"stamp": "soon"}}], "expected seconds"),
        ([{"question": "q", "expected": {}}], "neither"),
        ([{"question": "q", "expected": {"value": 1, "unit": "feet"}}], "expected one of"),
        ([{"question": "q", "expected": {"value": 1, "tolerance": -1}}], "at least 0"),
        ([{"question": "q", "max_tokens": 1.5}], "whole number"),
        ([{"question": "q", "max_tokens": 5000}], "max_tokens is 5000"),
        ([{"question": "q", "reason": 3}], '"reason" is'),
        ([{"question": "q", "reason": "deep"}], "reason is 'deep'"),
    ],
)
def test_malformed(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(ReplayInputError, match=says):
        load(tmp_path, content)


def test_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayInputError, match="there is nothing of that name"):
        load_questions(tmp_path / "none.json", STAMPS)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReplayInputError, match="is no JSON"):
        load_questions(tmp_path / "b.json", STAMPS)


@pytest.mark.parametrize(
    ("expected", "text", "value", "unit", "scale", "right"),
    [
        (Expected(texts=("Yes",)), "yes.", None, "", None, True),
        (Expected(texts=("left", "to the left")), "To the left", None, "", None, True),
        (Expected(texts=("left",)), "right", None, "", None, False),
        (Expected(3.0), "3", 3.0, "", None, True),
        (Expected(3.0), "4", 4.0, "", None, False),
        (Expected(3.0), "many", None, "", None, False),
        (Expected(2.0, "m"), "1 unit", 1.0, "scene_unit", 2.4, True),
        (Expected(2.0, "m"), "1 unit", 1.0, "scene_unit", 2.6, False),
        (Expected(2.0, "m"), "1 unit", 1.0, "scene_unit", None, None),
        (Expected(2.0, "m"), "2 m", 2.0, "m", None, True),
        (Expected(2.0, "m"), "about 2.1 m", None, "", None, True),
        (Expected(2.0, "m"), "about 210 cm", None, "", 5.0, True),
        (Expected(2.0, "m"), "4.0 m", None, "", None, False),
        (Expected(2.0), "2.0 m", None, "", None, False),
        (Expected(2.0, "m"), "2", 2.0, "", None, False),
        (Expected(90.0, "deg"), "100", 100.0, "deg", None, True),
        (Expected(2.0, "deg"), "355", 355.0, "deg", None, True),
        (Expected(90.0, "deg"), "110", 110.0, "deg", None, False),
        (Expected(2.0, "ratio", 0.1), "2.1", 2.1, "", None, True),
        (Expected(2.0, "ratio", 0.1), "2.3", 2.3, "", None, False),
        (Expected(2.0, "m"), "nan", float("nan"), "m", None, False),
    ],
)
def test_compare(
    expected: Expected, text: str, value: float, unit: str, scale: float, right: bool | None
) -> None:
    assert compare(expected, text, value, unit, scale) is right
