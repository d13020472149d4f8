# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an answer is worth, and what can be had without looking.

A choice is right or wrong. A number scores the mean relative accuracy of VSI-Bench; a view change
scores it for each of its five numbers, as SPAR-Bench does.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from g2vlm_map.answers.quantity import parse_quantity

from ..synthetic.questions import Question
from .benchmarks.scoring import relative_accuracy

__all__ = ["best_constant", "chance", "read_view_change", "score_answer"]

_CONSTANTS = 31  # quantiles of the truths that are tried as constant answers
_NUMBER = r")\s*([-+]?\d+(?:\.\d+)?)"
_MOVED = (("right", "left"), ("up", "down"), ("forward", "backward"))
_TURNED = _MOVED[:2]


def score_answer(question: Question, said: str) -> float:
    """Score in [0, 1] of an answer's words."""
    if question.values:
        numbers = zip(read_view_change(said), question.values, strict=True)
        return math.fsum(
            0.0 if number is None else relative_accuracy(number, truth) for number, truth in numbers
        ) / len(question.values)
    if question.value is None:
        return float(said.strip().rstrip(".") == question.answer)
    quantity = parse_quantity(said)
    if quantity is None or not math.isfinite(quantity.value):
        return 0.0
    return relative_accuracy(quantity.value, question.value)


def read_view_change(said: str) -> tuple[float | None, ...]:
    """Right, up, forward, turn right, turn up of "left 0.12 up 0.03 forward 0.4 turn left 12 up 3".

    What is not said, or not readable, is None.
    """
    moved, _, turned = said.partition("turn")
    found: list[float | None] = []
    for part, axes in ((moved, _MOVED), (turned, _TURNED)):
        for plus, minus in axes:
            match = re.search(rf"\b({plus}|{minus}" + _NUMBER, part)
            sign = 1.0 if match is None or match[1] == plus else -1.0
            found.append(None if match is None else sign * float(match[2]))
    return tuple(found)


def best_constant(questions: Sequence[Question]) -> list[float]:
    """Score of each question of a task if all with the same options got the one best answer.

    The answers are chosen with the knowledge of the truths of this very set, so this is an upper
    bound of what ignoring the pictures and the question's words can reach.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, question in enumerate(questions):
        groups.setdefault(question.options, []).append(index)
    scores = [0.0] * len(questions)
    for indices in groups.values():
        members = [questions[index] for index in indices]
        for index, score in zip(indices, _constant_scores(members), strict=True):
            scores[index] = score
    return scores


def _constant_scores(questions: Sequence[Question]) -> list[float]:
    if questions[0].values:
        columns = zip(*(question.values for question in questions), strict=True)
        parts = [_best_number(np.array(column)) for column in columns]
        return np.mean(parts, axis=0).tolist()  # type: ignore[no-any-return]
    if questions[0].value is not None:
        return _best_number(np.array([float(q.value or 0.0) for q in questions]))
    common = Counter(question.answer for question in questions).most_common(1)[0][0]
    return [float(question.answer == common) for question in questions]


def _best_number(truths: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    candidates = {0.0, *np.quantile(truths, np.linspace(0.02, 0.98, _CONSTANTS)).tolist()}
    rows = [[relative_accuracy(c, float(truth)) for truth in truths] for c in sorted(candidates)]
    return max(rows, key=math.fsum)


def chance(questions: Sequence[Question]) -> list[float]:
    """Expected score of each question of a task for a random option, or a random truth's number."""
    if questions[0].options:
        return [1.0 / len(question.options) for question in questions]
    answers = [question.answer for question in questions]
    picks = range(0, len(answers), max(1, len(answers) // _CONSTANTS))
    return [
        float(np.mean([score_answer(question, answers[pick]) for pick in picks]))
        for question in questions
    ]
