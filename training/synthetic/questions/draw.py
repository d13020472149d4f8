# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws that keep answers broad, and independent of what the words give away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .view import View

__all__ = ["balanced", "metres", "pick", "pick_near", "two_frames"]

_NARROW = 0.13  # half width of what counts as near to a wanted log value


def two_frames(view: View, rng: np.random.Generator) -> tuple[int, int] | None:
    """Two different frames in random order, None where there is only one."""
    if view.frames < 2:
        return None
    i, j = (int(k) for k in rng.permutation(view.frames)[:2])
    return i, j


def pick(rng: np.random.Generator, candidates: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """A random index of those that are True, None where none is."""
    found = np.flatnonzero(candidates.ravel())
    if not len(found):
        return None
    flat = int(found[int(rng.integers(len(found)))])
    return tuple(int(k) for k in np.unravel_index(flat, candidates.shape))


def pick_near(
    rng: np.random.Generator,
    values: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    low: float,
    high: float,
) -> tuple[int, ...] | None:
    """An allowed index whose value is near a log-uniformly drawn one; None after three draws.

    So the answers spread over the orders of magnitude, whatever the scene has most of.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(allowed & (values > 0), np.log(values), np.inf)
    for _ in range(3):
        wanted = rng.uniform(np.log(low), np.log(high))
        found = pick(rng, np.abs(logs - wanted) < _NARROW)
        if found is not None:
            return found
    return None


def balanced(
    rng: np.random.Generator,
    answer: NDArray[np.int64],
    context: NDArray[np.float64],
    width: float,
    answers: int,
) -> tuple[int, ...] | None:
    """An index such that its answer says nothing about its context, and is uniform.

    A random candidate names the context. Only where every answer exists near that context one of
    them is drawn, and one of its candidates: whoever knows the context (what the words give
    away, e.g. where marks lie in the picture) knows nothing of the answer.

    Args:
        rng: Source of every choice.
        answer: 0 to `answers` - 1, or -1 for candidates that are out of the question.
        context: One number per candidate, same shape.
        width: How far apart contexts count as the same.
        answers: How many there are.
    """
    for _ in range(3):
        first = pick(rng, answer >= 0)
        if first is None:
            return None
        near = np.abs(context - context[first]) <= width
        if all((near & (answer == k)).any() for k in range(answers)):
            return pick(rng, near & (answer == int(rng.integers(answers))))
    return None


def metres(value: float) -> str:
    """A length: whole centimetres below 1 m, decimetres above."""
    return f"{value:.2f} m" if value < 0.995 else f"{value:.1f} m"
