# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is lost on the ways along the graph's edges, by which a loop may be off."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from .keyframe import Edge
from .map_graph import MapGraph

__all__ = ["Drift", "way_of"]

Floats = NDArray[np.float64]

_TURN_DEG_PER_STEP = 0.7  # drift of the rotation per root of edges
_SENSED_DRIFT = 0.02  # of a way that odometry measured: wheels alone are off by 0.5 to 1.6 %


class Drift:
    """Ways along the graph's edges from one keyframe to the others, and what is lost on them.

    Args:
        graph: The map.
        start: Number of a keyframe.
        share: Drift as a share of a way that no odometry measured, standard deviation.
    """

    def __init__(self, graph: MapGraph, start: int, share: float) -> None:
        self._share = share
        edges = graph.edges
        self._sensed = {n for edge in edges if edge.kind == "odometry" for n in (edge.i, edge.j)}
        numbers = sorted({start, *(n for edge in edges for n in (edge.i, edge.j))})
        self._row = {number: row for row, number in enumerate(numbers)}
        self._start = self._row[start]
        ends = [(self._row[edge.i], self._row[edge.j]) for edge in edges]
        self._sure: dict[tuple[int, int], Edge] = {}
        for (i, j), edge in zip(ends, edges, strict=True):
            held = self._sure.get((i, j))
            if held is None or edge.sigma_rotation < held.sigma_rotation:
                self._sure[i, j] = self._sure[j, i] = edge
        # One for each pair: scipy adds up what several sources say of it. A step that stays on the
        # spot is a step all the same.
        ways = [way_of(edge) + 1e-6 for edge in self._sure.values()]
        rows, columns = np.array(list(self._sure), np.int64).reshape(-1, 2).T
        size = (len(numbers), len(numbers))
        near = sparse.csr_matrix((ways, (rows, columns)), shape=size)
        self._before = dijkstra(
            near, directed=False, indices=self._start, return_predecessors=True
        )[1]

    def to(self, number: int) -> tuple[float, float, float]:
        """Way to a keyframe, and the standard deviations of its place and of its turn in deg.

        All are infinite where no way leads there.
        """
        row = self._row.get(number)
        if row is None:
            return math.inf, math.inf, math.inf
        way = own = turn = drift = 0.0
        while (before := int(self._before[row])) >= 0:
            edge = self._sure[row, before]
            length = way_of(edge)
            way += length
            share = min(edge.sigma_log_length, 1.0)
            own += (share * length) ** 2
            sensed = {edge.i, edge.j} <= self._sensed
            drift += length * (min(self._share, _SENSED_DRIFT) if sensed else self._share)
            turn += max(math.degrees(edge.sigma_rotation), _TURN_DEG_PER_STEP) ** 2
            row = before
        if row != self._start:
            return math.inf, math.inf, math.inf
        return way, math.hypot(drift, math.sqrt(own)), math.sqrt(turn)


def way_of(edge: Edge) -> float:
    """Length of an edge, map units."""
    return float(np.linalg.norm(edge.T_i_j[:3, 3]))
