# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How long steps are by the pictures alone, for wheels to be held against.

A map that takes odometry in follows it where it slips, and so agrees with it: a slip of the one is
a bend of the other. Tracks and the model's depth know nothing of wheels. They say the length of a
step beside those around it within .06 (standard deviation of the log, causally, over drives
through synthetic rooms), in a unit that wanders slowly.

Two views take a turn for a step to the side, which then comes out far too long; a step counts
where pictures and odometry agree on its direction (of the others a tenth is off by more than half
of its length, of these a hundredth).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np

from ...mapping.keyframe import Edge
from ...mapping.lengths import LengthProblem, Tie, find_ties
from ...mapping.options import LengthOptions
from ...poses import Floats

__all__ = ["SeenSteps"]

_WINDOW = 8  # keyframes whose lengths are solved for together
_DIRECTION = math.cos(math.radians(20.0))


class SeenSteps:
    """Lengths of the newest visual edges, solved without any other sensor (`mapping.lengths`)."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._numbers: deque[int] = deque(maxlen=_WINDOW)
        self._edges: dict[tuple[int, int], tuple[Edge, list[Tie]]] = {}
        self._log_length: dict[tuple[int, int], float] = {}
        self._log_depth: dict[int, float] = {}

    def add(self, number: int, edges: Iterable[Edge]) -> None:
        """Take in a keyframe.

        Args:
            number: Its number, above those before.
            edges: That tie it to those before; only visual ones with tracks count.
        """
        left = self._numbers[0] if len(self._numbers) == _WINDOW else None
        self._numbers.append(number)
        inside = set(self._numbers)
        self._edges = {pair: kept for pair, kept in self._edges.items() if pair[0] in inside}
        for edge in edges:
            if edge.kind == "visual" and edge.tracks is not None and edge.i in inside:
                others = [other for other, _ in self._edges.values()]
                self._edges[edge.i, edge.j] = edge, find_ties(edge, others)
        before = None if left is None else (left, self._log_depth[left])
        problem = LengthProblem(LengthOptions(), list(self._numbers), before)
        problem.add_edges([edge for edge, _ in self._edges.values()], {})
        for _, ties in self._edges.values():
            problem.add_ties(ties, self._log_length)
        found = problem.solve()
        near = inside | {left}
        self._log_length = {
            pair: value for pair, value in self._log_length.items() if pair[1] in near
        }
        self._log_length |= {pair: value for pair, (value, _) in found.log_length.items()}
        self._log_depth = {one: value for one, (value, _) in found.log_depth_scale.items()}

    def log_length(self, i: int, j: int, step_3: Floats) -> float:
        """Log of the length of the step between two keyframes; NaN where pictures do not tell.

        Args:
            i, j: Their numbers.
            step_3: Where j is to i by odometry, metres, in i's axes.
        """
        kept = self._edges.get((i, j))
        way = float(np.linalg.norm(step_3))
        if kept is None or not way > 0:
            return math.nan
        seen_3 = kept[0].T_i_j[:3, 3]
        size = float(np.linalg.norm(seen_3))
        if not size > 0 or float(seen_3 @ step_3) < _DIRECTION * size * way:
            return math.nan
        return self._log_length.get((i, j), math.nan)
