# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Maps of box rooms, built as the mapper builds them: edges to the last keyframes, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from g2vlm_training.evaluate.points import similarity

from g2vlm_map.mapping.edges import verified_edge
from g2vlm_map.mapping.keyframe import Edge, PlacedKeyframe
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.options import MapOptions

from .boxes import Box, look

OPTIONS = MapOptions()


def circuit(count: int, radius: float = 0.8, turns: float = 1.0) -> list[np.ndarray]:
    """Poses on a circle in the room's middle, looking outwards."""
    angle = np.linspace(0, 2 * np.pi * turns, count, endpoint=False)
    return [look(radius * np.sin(a), radius * np.cos(a), a) for a in angle]


def equal_rooms(drive: Drive, seed: int, apart: float, count: int) -> tuple[Box, Box]:
    """Map two rooms that are alike to the last point, and the bare way between them by wheels."""
    first, second = Box(seed), Box(seed, middle=(apart, 0.0))
    drive.go(first, circuit(count), odometry=True)
    between = [look(x, 0.8, 0.0) for x in np.linspace(0.5, apart - 0.5, 12)]
    drive.go(Box(seed + 1, middle=(apart / 2, 0.0), points=12), between, odometry=True)
    there = circuit(count)
    for T in there:
        T[0, 3] += apart
    drive.go(second, there, odometry=True)
    return first, second


class Drive:
    """A map that grows along known poses.

    Args:
        seed: Of all noise.
        unit: Metres in a unit of the depths of this drive.
    """

    def __init__(self, graph: MapGraph | None = None, seed: int = 0, unit: float = 1.0) -> None:
        made = MapGraph(OPTIONS.graph, OPTIONS.lengths) if graph is None else graph
        self.graph = made
        self.rng = np.random.default_rng(seed)
        self.unit = unit
        self.truth: dict[int, np.ndarray] = {}
        self._last: list[int] = []

    def begin(self) -> None:
        """The next keyframe hangs on nothing."""
        self._last = []

    def go(
        self,
        box: Box,
        poses: Sequence[np.ndarray],
        segment: int = 1,
        drift_rad: float = 0.0,
        odometry: bool = False,
    ) -> list[PlacedKeyframe]:
        """Add a keyframe at each pose.

        Args:
            box: Where.
            poses: (4, 4) in the world.
            segment: Number of theirs.
            drift_rad: Wrong yaw of every edge, all to one side.
            odometry: Every step is measured by wheels too, as good as the poses are.
        """
        made = []
        for T in poses:
            number = self.graph.next_number()
            bias = np.log(self.unit) + self.rng.normal(0, 0.03)
            keyframe = box.keyframe(number, T, self.rng, bias)
            edges: list[Edge] = []
            for back in (1, 2, 3):
                placed = self.graph.get(self._last[-back]) if back <= len(self._last) else None
                if placed is None:
                    continue
                edge = verified_edge(placed.keyframe, keyframe, OPTIONS.features, OPTIONS.edges)
                if edge is not None:
                    turned = edge.T_i_j @ look(0, 0, drift_rad * back)
                    edges.append(replace(edge, T_i_j=turned))
                if odometry and back == 1:
                    step = np.linalg.inv(self.truth[self._last[-1]]) @ T
                    step[:3, 3] /= self.unit
                    edges.append(Edge(self._last[-1], number, "odometry", step, 0.01, 0.02, 0.03))
            before = self.graph.get(self._last[-1]) if self._last else None
            made.append(self.graph.insert(keyframe, edges, segment, before))
            self.truth[number] = T
            self._last.append(number)
        return made

    def errors(self, segment: int = 1) -> tuple[float, float]:
        """(largest error of a place in m, metres per map unit) after one similarity."""
        placed = [one for one in self.graph.placed if one.segment == segment]
        here = np.array([one.T_map_body[:3, 3] for one in placed])
        there = np.array([self.truth[one.keyframe.number][:3, 3] for one in placed])
        scale, R, t = similarity(here, there)
        off = there - scale * here @ R.T - t
        return float(np.linalg.norm(off, axis=1).max()), scale
