# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is kept when the map has grown to its bound: keyframes that show what no other shows.

The most redundant keyframe goes first: the one that has others nearest to it, by place and by
direction of view. Its edges are marginalised: each of its neighbours is tied to the one that it
was tied to best, by a "merged" edge with the pose that the solved graph gives and the sigmas of
both edges together, so the map stays in one piece and about as stiff. A star in the place of the
full clique that exact marginalisation leaves (Carlevaris-Bianco et al. 2014) keeps the graph
sparse.

A segment's first keyframe, from which its axes begin, goes last: when it is the only one left of
its segment and that grows no more, the oldest first. A camera whose stamps leap all the time makes
such segments without end.

Shape letters: N keyframes, C candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from .keyframe import Edge, PlacedKeyframe, Tracks
from .loops import view_depth
from .map_graph import MapGraph

__all__ = ["Culler", "marginalised", "redundancy"]

Floats = NDArray[np.float64]

_NEWEST = 60  # keyframes that the local solves work on
_CANDIDATES = 64  # keyframes that are compared for each one that goes
_VIEW_DEG = 40.0  # direction of view that counts as much as a whole view's depth
_NEAREST = 3  # others that make one redundant
_MOST_EDGES = 12  # of a keyframe; merged ones beyond are left out
_RATIO_SIGMA = 0.1  # of a merged edge's length over its ends' depths
_MEGABYTE = 1_000_000


@dataclass
class Culler:
    """Keeps a map within its bound; used by one thread.

    Args:
        graph: The map.
        max_megabytes: Of its keyframes.
    """

    graph: MapGraph
    max_megabytes: float
    culled: int = 0
    _sizes: dict[int, int] = field(default_factory=dict)
    _total: int = 0
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def megabytes(self) -> float:
        """Of the keyframes that are kept."""
        return self._total / _MEGABYTE

    def grown(self, placed: PlacedKeyframe) -> list[int]:
        """Take note of a keyframe, if nobody has yet; the numbers of those that had to go."""
        number, size = placed.keyframe.number, placed.keyframe.nbytes
        self._total += size - self._sizes.get(number, 0)
        self._sizes[number] = size
        gone: list[int] = []
        while self._total > self.max_megabytes * _MEGABYTE:
            most_redundant = self._cull()
            if most_redundant is None:
                break
            gone.append(most_redundant)
        return gone

    def clear(self) -> None:
        """The map is another one."""
        self._sizes.clear()
        self._total = 0

    def _cull(self) -> int | None:
        """Take the most redundant of some keyframes out; None where none may go."""
        with self.graph.lock:
            placed = self.graph.placed
            candidates = self._may_go(placed)
            if not candidates:
                return None
            score = redundancy(candidates, placed)
            number: int = candidates[int(np.argmax(score))].keyframe.number
            edges = marginalised(self.graph, number)
            self.graph.take_out([number])
            self.graph.add_edges(edges)
        self._total -= self._sizes.pop(number, 0)
        self.culled += 1
        return number

    def _may_go(self, placed: Sequence[PlacedKeyframe]) -> list[PlacedKeyframe]:
        """Some keyframes that may go; where there are none, the oldest of the lonely firsts."""
        older = placed[:-_NEWEST]
        firsts: dict[int, PlacedKeyframe] = {}
        for one in placed:
            firsts.setdefault(one.segment, one)
        free = [one for one in older if firsts[one.segment] is not one]
        if free:
            chosen = self._rng.permutation(len(free))[:_CANDIDATES]
            return [free[k] for k in chosen]
        sizes = Counter(one.segment for one in placed)
        return [one for one in older if sizes[one.segment] == 1][:1]


def redundancy(candidates: Sequence[PlacedKeyframe], placed: Sequence[PlacedKeyframe]) -> Floats:
    """(C,) how near the nearest others of the segment stand and look; larger is more redundant."""
    poses = np.array([one.T_map_body for one in placed])
    segments = np.array([one.segment for one in placed])
    found = np.empty(len(candidates))
    for k, one in enumerate(candidates):
        depth = max(view_depth(one), 1e-9)
        apart = np.linalg.norm(poses[:, :3, 3] - one.T_map_body[:3, 3], axis=1) / depth
        along = np.clip(poses[:, :3, 2] @ one.T_map_body[:3, 2], -1, 1)
        cost = apart + np.degrees(np.arccos(along)) / _VIEW_DEG
        cost[segments != one.segment] = np.inf
        nearest = np.partition(cost, min(_NEAREST, len(cost) - 1))[1 : _NEAREST + 1]
        found[k] = -float(np.minimum(nearest, 1e9).mean())
    return found


def marginalised(graph: MapGraph, number: int) -> list[Edge]:
    """The edges that take the place of a keyframe's own when it goes."""
    edges = graph.edges_of(number)
    best: dict[int, Edge] = {}
    for edge in edges:
        other = edge.i if edge.j == number else edge.j
        if other not in best or edge.sigma_rotation < best[other].sigma_rotation:
            best[other] = edge
    if len(best) < 2:
        return []
    hub = min(best, key=lambda other: (best[other].sigma_rotation, other))
    made = []
    for other, edge in sorted(best.items()):
        if other == hub:
            continue
        tied = {n for one in graph.edges_of(other) for n in (one.i, one.j)}
        if hub in tied and len(tied) > _NEAREST:
            continue
        if len(graph.edges_of(other)) >= _MOST_EDGES and len(tied) > _NEAREST:
            continue
        merged = _merged(graph, hub, other, best[hub], edge)
        if merged is not None:
            made.append(merged)
    return made


def _merged(graph: MapGraph, hub: int, other: int, first: Edge, second: Edge) -> Edge | None:
    """One edge in the place of two; the sigmas of the translation are added as lengths."""
    a, b = graph.get(hub), graph.get(other)
    if a is None or b is None:
        return None
    if hub > other:
        a, b = b, a
    T = inverse(a.T_map_body) @ b.T_map_body
    length = max(float(np.linalg.norm(T[:3, 3])), 1e-9)
    along = math.hypot(*(_spread(edge, edge.sigma_log_length) for edge in (first, second)))
    across = math.hypot(*(_spread(edge, edge.sigma_direction) for edge in (first, second)))
    lever = float(np.linalg.norm(second.T_i_j[:3, 3])) * first.sigma_rotation
    across = math.hypot(across, lever)
    sigma_rotation = math.hypot(first.sigma_rotation, second.sigma_rotation)
    return Edge(
        a.keyframe.number,
        b.keyframe.number,
        "merged",
        T,
        sigma_rotation,
        max(across / length, 1e-3),
        max(along / length, 1e-3),
        sigma_still=max(math.hypot(along, across), 1e-6),
        tracks=_lengths_only(math.log(length), a.log_depth_scale, b.log_depth_scale),
    )


def _lengths_only(log_length: float, depth_a: float, depth_b: float) -> Tracks:
    """How long the edge is in units of the depths of its ends: without it these would drift."""
    return Tracks(
        np.zeros((0, 2), np.uint16),
        np.zeros((0, 2), np.float32),
        np.zeros(0, np.float32),
        (log_length - depth_a, log_length - depth_b),
        (_RATIO_SIGMA, _RATIO_SIGMA),
    )


def _spread(edge: Edge, share: float) -> float:
    """What an edge's translation may be off, map units; as long again where nothing is known."""
    length = float(np.linalg.norm(edge.T_i_j[:3, 3]))
    if math.isfinite(share):
        return length * share
    return edge.sigma_still if math.isfinite(edge.sigma_still) else max(length, 1e-3)
