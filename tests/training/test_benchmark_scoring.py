# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the scorers of the published benchmarks make of words."""

from __future__ import annotations

import math

import pytest
from g2vlm_training.datasets.pictures import even_indices
from g2vlm_training.evaluate.benchmarks.base import (
    AnswerKind,
    BenchmarkItem,
    Mean,
    Pooled,
    column_value,
    tasks_of,
)
from g2vlm_training.evaluate.benchmarks.baselines import best_constant, chance
from g2vlm_training.evaluate.benchmarks.files import options_in
from g2vlm_training.evaluate.benchmarks.scoring import (
    read_choice,
    read_motion,
    read_number,
    relative_accuracy,
    score_item,
)
from g2vlm_training.evaluate.benchmarks.spar import SPAR


def item(
    kind: AnswerKind, answer: str, options: tuple[str, ...] = (), unit: str = ""
) -> BenchmarkItem:
    return BenchmarkItem(
        id="1",
        task="t",
        question="?",
        answer=answer,
        kind=kind,
        images=(b"x",),
        options=options,
        unit=unit,
    )


@pytest.mark.parametrize(
    ("said", "truth", "score"),
    [
        (2.0, 2.0, 1.0),
        (2.1, 2.0, 1.0),  # 5 % meets the strictest threshold exactly
        (2.2, 2.0, 0.9),  # 10 % fails only the strictest
        (3.0, 2.0, 0.1),  # 50 % meets the loosest exactly
        (3.01, 2.0, 0.0),
        (1.0, 2.0, 0.1),
        (0.2, 0.0, 0.7),  # absolute: .5 .45 .4 .35 .3 .25 .2
        (-2.0, 2.0, 0.0),
    ],
)
def test_mean_relative_accuracy_by_hand(said: float, truth: float, score: float) -> None:
    assert relative_accuracy(said, truth) == pytest.approx(score)


def test_the_strict_rule_fails_a_threshold_that_is_met_exactly() -> None:
    assert relative_accuracy(3.0, 2.0, strict=True) == 0.0
    assert relative_accuracy(2.2, 2.0, strict=True) == pytest.approx(0.8)
    assert relative_accuracy(2.0, 2.0, strict=True) == 1.0


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(B)", "B"),
        ("B. behind the chair", "B"),
        ("**B**", "B"),
        ("Option C", "C"),
        ("The answer is C.", "C"),
        ("Answer: D", "D"),
        ("I see a chair.\n<answer>A. In front</answer>", "A"),
        ('{"answer": "Left", "reason": "B is out of sight"}', "C"),
        ("It stands behind.", "B"),
        ("to the LEFT", "C"),
        ("A chair stands there", None),  # an article
        ("left or right", None),
        ("E", None),  # no such option
        ("", None),
        ("none of these", None),
    ],
)
def test_choices_are_read_by_letter_and_by_words(text: str, letter: str | None) -> None:
    assert read_choice(text, ("In front", "Behind", "Left", "Right")) == letter


def test_the_longer_of_two_nested_options_is_meant() -> None:
    assert read_choice("it is front-left", ("left", "front-left", "right")) == "B"
    assert read_choice("left", ("left", "front-left", "right")) == "A"


def test_letters_alone_do_without_options() -> None:
    assert read_choice("G", ()) == "G"
    assert read_choice("I think so", ()) is None


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1.5", "m", 1.5),
        ("about 1.5 meters", "m", 1.5),
        ("150 cm", "m", 1.5),
        ("80", "cm", 80.0),
        ("0.8 m", "cm", 80.0),
        ("25 square meters", "m2", 25.0),
        ("three chairs", "", 3.0),
        ("<answer>2.5</answer> of 7", "m", 2.5),
        ("far away", "m", None),
    ],
)
def test_numbers_are_read_in_the_questions_unit(text: str, unit: str, value: float | None) -> None:
    assert read_number(text, unit) == (None if value is None else pytest.approx(value))


def test_motion_scores_each_axis() -> None:
    truth = item(AnswerKind.MOTION, "move_right:0.4,move_forward:2.0,rotate_left:20")
    assert score_item(truth, truth.answer).value == 1.0
    # right, up, up: exact. forward 50 % off: 0.1. Turned the other way: 0.
    said = "move_right:0.4, move_forward: 1.0, rotate_right: 20"
    assert score_item(truth, said).value == pytest.approx((1 + 1 + 0.1 + 0 + 1) / 5)
    # A backward move is a negative forward one.
    assert score_item(truth, "move_left:-0.4,move_backward:-2,rotate_left:20").value == 1.0
    assert score_item(truth, "right 0.4 forward 2.0 turn left 20").value == 1.0
    assert score_item(truth, "left 0.4 forward 2 turn right 20").value == pytest.approx(3 / 5)
    nothing = score_item(truth, "I cannot tell")
    assert (nothing.value, nothing.readable) == (0.0, False)
    assert read_motion("stay") is None


def test_counts_are_right_or_wrong() -> None:
    truth = item(AnswerKind.COUNT, "3")
    assert score_item(truth, "Three").value == 1.0
    assert score_item(truth, "3.0").value == 1.0
    assert score_item(truth, "4").value == 0.0


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Where? A. left B. right", ("left", "right")),
        ("Where?\nA. left, above\nB. right\nC. behind", ("left, above", "right", "behind")),
        ("Where? (A) left (B) right", ("left", "right")),
        ("Where?\nA: left\nB: right", ("left", "right")),
        ("How far is A from B?", ()),
        ("Only A. one", ()),
    ],
)
def test_options_inside_a_question(question: str, options: tuple[str, ...]) -> None:
    assert options_in(question) == options


def test_even_indices_keep_first_and_last() -> None:
    assert even_indices(3, 24) == (0, 1, 2)
    assert even_indices(100, 5) == (0, 25, 50, 74, 99)
    assert even_indices(9, 1) == (8,)


def test_columns_are_means_of_tasks_or_of_items() -> None:
    values = {"a": [1.0, 1.0, 1.0], "b": [0.0], "c": [math.nan]}
    assert column_value(Mean(("a", "b")), values) == 0.5
    assert column_value(Pooled(("a", "b")), values) == 0.75
    assert column_value(Mean(("a", "b", "absent")), values) == 0.5
    assert column_value(Mean(("absent", Pooled(("gone",)))), values) is None
    nan = column_value(Mean(("a", "c")), values)
    assert nan is not None
    assert math.isnan(nan)
    assert tasks_of(Mean(("a", Pooled(("b", "c"))))) == ("a", "b", "c")


def test_chance_and_the_best_constant() -> None:
    two = item(AnswerKind.CHOICE, "A", ("left", "right"))
    assert chance(two) == 0.5
    assert math.isnan(chance(item(AnswerKind.CHOICE, "A")))
    assert math.isnan(chance(item(AnswerKind.NUMBER, "2.0")))
    letters = [item(AnswerKind.CHOICE, a, ("left", "right")) for a in "ABB"]
    assert best_constant(SPAR, letters) == [0.0, 1.0, 1.0]
    # The word "left" is always right although its letter changes.
    words = [
        item(AnswerKind.CHOICE, "A", ("left", "right")),
        item(AnswerKind.CHOICE, "B", ("right", "left")),
    ]
    assert best_constant(SPAR, words) == [1.0, 1.0]
    # 2 scores 1 for 2 and 0.1 for 4 (50 % off); 4 scores 0 for 2.
    numbers = [item(AnswerKind.NUMBER, "2.0"), item(AnswerKind.NUMBER, "4.0")]
    assert best_constant(SPAR, numbers) == pytest.approx([1.0, 0.1])
