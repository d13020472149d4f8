# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The rows beside the model: guessing at random, and the best constant answer of each task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ...datasets.pictures import even_indices
from .base import AnswerKind, Benchmark, BenchmarkItem

__all__ = ["best_constant", "chance"]

_CONSTANTS = 33  # truths that are tried as constants, evenly spread over their order
_WORDS = 10  # most frequent options that are tried as constants


def chance(item: BenchmarkItem) -> float:
    """Expected score of guessing; NaN for numbers, and where the options are not known."""
    if item.kind is AnswerKind.CHOICE and item.options:
        return 1.0 / len(item.options)
    return math.nan


def best_constant(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> list[float]:
    """Scores of the one answer that suits a task's items best.

    It is chosen with the knowledge of the answers, so it is an upper bound of what ignoring the
    pictures and the question's words can reach.

    Args:
        benchmark: Whose scores.
        items: Of one task, at least one.

    Returns:
        The score of each item, in order.
    """
    rows = [
        [benchmark.score(item, candidate).value for item in items]
        for candidate in _candidates(items)
    ]
    return max(rows, key=math.fsum)


def _candidates(items: Sequence[BenchmarkItem]) -> list[str]:
    kind = items[0].kind
    if kind is AnswerKind.CHOICE:
        letters = sorted({item.answer for item in items})
        words = Counter(
            item.options["ABCDEFGH".index(item.answer)] for item in items if item.options
        )
        return letters + [word for word, _ in words.most_common(_WORDS)]
    answers = [item.answer for item in items]
    ordered = sorted(set(answers)) if kind is AnswerKind.MOTION else sorted(answers, key=float)
    return list(dict.fromkeys(ordered[index] for index in even_indices(len(ordered), _CONSTANTS)))
