# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about windows whose truth is known, with exact answers.

The 20 types of SPAR-Bench in their three levels, and a fourth level of simple ones: counting,
the room's size, turns, colours, names. Numbers are answered with their unit ("2.4 m",
"12 degrees"), choices with one letter or few words, a view change with five numbers. Places are
marks (`g2vlm_model.marks`) or names, with the colour where the name alone is not unique. Frames
count from 1. A question that a window does not allow (too close, too small, ambiguous, depth
unknown, too few frames) is not asked: the maker returns None.

No answer follows from the words: see `draw.balanced` and `draw.pick_near`.
"""

from __future__ import annotations

import numpy as np

from . import high, low, medium, scene
from .base import Ground, Question
from .view import View
from .words import corpus

__all__ = ["LEVELS", "SPAR_TASKS", "TASKS", "Ground", "Question", "View", "ask", "corpus"]

LEVELS: dict[str, tuple[str, ...]] = {
    "low": tuple(low.MAKERS),
    "medium": tuple(medium.MAKERS),
    "high": tuple(high.MAKERS),
    "scene": tuple(scene.MAKERS),
}
_MAKERS = {**low.MAKERS, **medium.MAKERS, **high.MAKERS, **scene.MAKERS}
SPAR_TASKS = (*LEVELS["low"], *LEVELS["medium"], *LEVELS["high"])
TASKS = tuple(_MAKERS)


def ask(view: View, task: str, rng: np.random.Generator) -> Question | None:
    """Make one question of a type, or None where this window has none.

    Raises:
        ValueError: Unknown type.
    """
    if task not in _MAKERS:
        raise ValueError(f"task is {task!r}, expected one of {TASKS}")
    return _MAKERS[task](view, rng)
