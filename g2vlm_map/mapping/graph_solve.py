# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lengths and poses of a part of the map, or of all of it; the map itself decides when.

Shape letters: N poses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .keyframe import SHARED_ERRORS, Edge, PlacedKeyframe
from .lengths import LengthProblem, Lengths, Tie
from .options import GraphOptions, LengthOptions
from .pose_graph import Constraints, solve_poses
from .rotations import cross_matrix, log_rotations, orthonormal

__all__ = ["GraphState", "Key", "local_lengths", "local_poses", "solve_all", "transport"]

Floats = NDArray[np.float64]
Key = tuple[int, int, str]

_WIDEN = (6.0, 2.0, 1.0)  # of the kernel in a global solve
_LEAST_SIGMA, _MOST_SIGMA = 0.03, 0.08  # of a log length beside what all of them share
_SENSED, _SENSED_BIAS = ("odometry", "prior"), 0.02  # kinds that know lengths; what these share
_COVARIANCES = 48  # keyframes that a global solve looks at closely
_NOTHING, _HALF = 0.25, 0.5  # kernel weights of a loop that is contradicted, and of one that counts
_LENGTHS = (0.1, 0.7)  # of the log of a loop's length, by which that alone may be wrong
_SIGMAS = 3.0  # by which the rest may be off then
_NEAR = 10  # keyframes apart, at either end, of loops between the same two places


@dataclass(eq=False)
class GraphState:
    """The graph's contents; owned by one who locks it.

    Args:
        placed: Keyframes by number, in order.
        edges: By (i, j, kind).
        touching: Keys of a keyframe's edges.
        ties: By the edge (i, j) that came later.
    """

    placed: dict[int, PlacedKeyframe] = field(default_factory=dict)
    edges: dict[Key, Edge] = field(default_factory=dict)
    touching: dict[int, set[Key]] = field(default_factory=dict)
    ties: dict[tuple[int, int], list[Tie]] = field(default_factory=dict)

    def copy(self) -> GraphState:
        """One that shares all that is frozen."""
        touching = {number: set(keys) for number, keys in self.touching.items()}
        return GraphState(dict(self.placed), dict(self.edges), touching, dict(self.ties))

    def put(self, item: PlacedKeyframe) -> None:
        """Add a keyframe or change its place."""
        self.placed[item.keyframe.number] = item

    def keep(self, edge: Edge) -> None:
        """Add an edge or change it."""
        key = (edge.i, edge.j, edge.kind)
        self.edges[key] = edge
        for number in key[:2]:
            self.touching.setdefault(number, set()).add(key)

    def lose(self, key: Key) -> None:
        """Remove an edge."""
        self.edges.pop(key, None)
        self.ties.pop(key[:2], None)
        for number in key[:2]:
            self.touching.get(number, set()).discard(key)

    def drop(self, number: int) -> None:
        """Remove a keyframe and its edges."""
        self.placed.pop(number, None)
        for key in self.touching.pop(number, set()):
            del self.edges[key]
            self.ties.pop(key[:2], None)
            other = key[0] if key[1] == number else key[1]
            self.touching.get(other, set()).discard(key)


def local_lengths(state: GraphState, newest: int, options: LengthOptions) -> None:
    """Solve for the lengths of the newest keyframes' edges; the older ones stay."""
    numbers = _newest(state, newest, options.local)
    inside = set(numbers)
    keys = sorted({key for number in numbers for key in state.touching.get(number, ())})
    edges = [state.edges[key] for key in keys if key[1] in inside]
    ahead = [n for n in state.placed if n < numbers[0]]
    before = (ahead[-1], state.placed[ahead[-1]].log_depth_scale) if ahead else None
    solved = _lengths(state, numbers, edges, before, options)
    _set_lengths(state, edges, solved)


def local_poses(
    state: GraphState, newest: int, options: GraphOptions, lengths: LengthOptions
) -> None:
    """Solve for the newest poses of a segment; the older ones stay, or its first one does."""
    segment = state.placed[newest].segment
    numbers = _newest(state, newest, options.local, segment)
    keys = sorted({key for number in numbers for key in state.touching.get(number, ())})
    edges = [state.edges[key] for key in keys]
    used = sorted({number for key in keys for number in key[:2]} | set(numbers))
    inside = set(numbers)
    fixed = [number for number in used if number not in inside] or [used[0]]
    free = np.array([number not in fixed for number in used])
    index = {number: k for k, number in enumerate(used)}
    poses = np.array([state.placed[number].T_map_body for number in used])
    constraints = Constraints.of(edges, index)
    found = solve_poses(poses, constraints, free, options, covariance_of=[index[newest]])
    base = state.placed[max(fixed)]
    for k, number in enumerate(used):
        if not free[k]:
            continue
        item = replace(state.placed[number], T_map_body=_tidy(found.poses_N44[k]))
        if number == newest:
            carried = transport(base.covariance, base.T_map_body, item.T_map_body)
            own = np.nan_to_num(found.covariance_N66[k])
            own[:3, :3] += _of_shared_lengths(state, item, base, lengths.depth_bias)
            item = replace(item, covariance=carried + own)
        state.put(item)


def _of_shared_lengths(
    state: GraphState, newest: PlacedKeyframe, base: PlacedKeyframe, depth_bias: float
) -> Floats:
    """(3, 3) covariance of the way from one keyframe to another by what its lengths share.

    The solve takes edges to be independent (`_independent`), but all lengths of some keyframes rest
    on depths with one slow bias, until odometry, a sensor or a loop knows better.
    """
    edges = [state.edges[key] for key in state.touching.get(newest.keyframe.number, ())]
    sensed = any(edge.kind in _SENSED and math.isfinite(edge.sigma_log_length) for edge in edges)
    sensed = sensed or any(view.metres for view in newest.keyframe.views[:1])
    way = newest.T_map_body[:3, 3] - base.T_map_body[:3, 3]
    shared: Floats = (_SENSED_BIAS if sensed else depth_bias) ** 2 * np.outer(way, way)
    return shared / SHARED_ERRORS  # which `pose_covariance` is widened by


def solve_all(
    state: GraphState, graph: GraphOptions, lengths: LengthOptions
) -> tuple[dict[int, PlacedKeyframe], dict[Key, Edge]]:
    """All lengths and all poses; the first keyframe of each segment stays. Changes `state`.

    Returns:
        Keyframes and edges as they are after it; loops that others contradict are none of them,
        and of those whose length alone is contradicted that is dropped.
    """
    solved = GraphState(dict(state.placed), dict(state.edges), state.touching, state.ties)
    numbers = list(solved.placed)
    edges = list(solved.edges.values())
    _set_lengths(solved, edges, _lengths(solved, numbers, edges, None, lengths))
    index = {number: k for k, number in enumerate(numbers)}
    free = np.ones(len(numbers), bool)
    seen: set[int] = set()
    for number, item in solved.placed.items():
        if item.segment not in seen:
            seen.add(item.segment)
            free[index[number]] = False
    poses = np.array([item.T_map_body for item in solved.placed.values()]).reshape(-1, 4, 4)
    constraints = Constraints.of(list(solved.edges.values()), index)
    sampled = sorted({*np.linspace(0, len(numbers) - 1, _COVARIANCES).astype(int).tolist()})
    found = solve_poses(
        poses, constraints, free, graph, widen=_WIDEN, covariance_of=sampled if numbers else ()
    )
    covariance = _filled(found.covariance_N66)
    for k, number in enumerate(numbers):
        item = solved.placed[number]
        T = _tidy(found.poses_N44[k])
        solved.put(replace(item, T_map_body=T, covariance=covariance[k]))
    _judge_loops(
        solved, [key for key in solved.edges if set(key[:2]) <= set(index)], found.weight_E
    )
    return solved.placed, solved.edges


def _judge_loops(solved: GraphState, keys: Sequence[Key], weight_E: Floats) -> None:
    """Take back loops, or their lengths, that the solved poses contradict.

    A loop without a length is as long as the poses have it.
    """
    denied = _contradicted(keys, weight_E)
    for key, weight in zip(keys, weight_E, strict=True):
        loop = solved.edges[key]
        if key[2] != "loop":
            continue
        T = np.linalg.inv(solved.placed[loop.i].T_map_body) @ solved.placed[loop.j].T_map_body
        unknown = not math.isfinite(loop.sigma_log_length)
        if weight < _HALF and _only_long(loop, T):
            unknown = True
        elif key in denied:
            del solved.edges[key]
            continue
        if unknown and math.isfinite(loop.sigma_direction):
            kept: Floats = loop.T_i_j.copy()
            kept[:3, 3] *= float(np.linalg.norm(T[:3, 3]) / np.linalg.norm(kept[:3, 3]))
            solved.edges[key] = replace(loop, T_i_j=kept, sigma_log_length=math.inf, tracks=None)


def _contradicted(keys: Sequence[Key], weight_E: Floats) -> list[Key]:
    """Loops that hardly count beside one between the same two places that does count.

    A wrong loop may come first and be the only one; what comes later tells (Latif et al. 2013).
    One that no other loop speaks against stays, even if it is far off: it may be the first of those
    that will pull the map over.
    """
    loops = [(key, weight) for key, weight in zip(keys, weight_E, strict=True) if key[2] == "loop"]
    ends = np.array([key[:2] for key, weight in loops if weight > _HALF]).reshape(-1, 2)
    return [
        key
        for key, weight in loops
        if weight < _NOTHING and (np.abs(ends - key[:2]) <= _NEAR).all(axis=1).any()
    ]


def _only_long(loop: Edge, T_i_j: Floats) -> bool:
    """Whether a pose contradicts the length of a loop and nothing else of it.

    The length rests on the model's depth of two views, rotation and direction on their matches.
    """
    apart, length = (float(np.linalg.norm(one[:3, 3])) for one in (T_i_j, loop.T_i_j))
    if min(apart, length) <= 0 or not _LENGTHS[0] < abs(math.log(apart / length)) < _LENGTHS[1]:
        return False
    cosine = float(T_i_j[:3, 3] @ loop.T_i_j[:3, 3]) / (apart * length)
    aside = math.acos(min(1.0, max(-1.0, cosine)))
    turn = T_i_j[:3, :3].T @ loop.T_i_j[:3, :3]
    turned = float(np.linalg.norm(log_rotations(turn[None])[0]))
    return aside < _SIGMAS * loop.sigma_direction and turned < _SIGMAS * loop.sigma_rotation


def transport(covariance_66: Floats, T_map_a: Floats, T_map_b: Floats) -> Floats:
    """The covariance of pose b that hangs rigidly on pose a: a turn of a shifts b."""
    lever = T_map_b[:3, 3] - T_map_a[:3, 3]
    carry = np.eye(6)
    carry[:3, 3:] = -cross_matrix(lever[None])[0]
    carried: Floats = carry @ covariance_66 @ carry.T
    return carried


def _newest(state: GraphState, newest: int, count: int, segment: int | None = None) -> list[int]:
    """Numbers of the last keyframes up to one, of one segment, in order."""
    found: list[int] = []
    for number in reversed(state.placed):
        if number <= newest and (segment is None or state.placed[number].segment == segment):
            found.append(number)
            if len(found) == count:
                break
    return found[::-1]


def _lengths(
    state: GraphState,
    numbers: Sequence[int],
    edges: Sequence[Edge],
    before: tuple[int, float] | None,
    options: LengthOptions,
) -> Lengths:
    inside = set(numbers)
    involved = inside | {number for edge in edges for number in (edge.i, edge.j)}
    involved |= set() if before is None else {before[0]}
    placed = [one for number in involved if (one := state.placed.get(number)) is not None]
    centres = {one.keyframe.number: one.log_depth_centre for one in placed if one.log_depth_centre}
    problem = LengthProblem(options, numbers, before, _measured(placed), centres)
    outside = {
        number: state.placed[number].log_depth_scale
        for edge in edges
        for number in (edge.i, edge.j)
        if number not in inside and number in state.placed
    }
    problem.add_edges(edges, outside)
    ties = [tie for edge in edges for tie in state.ties.get((edge.i, edge.j), ())]
    problem.add_ties(ties, _known_lengths(state, ties))
    for edge in edges:
        if edge.tracks is None and math.isfinite(edge.sigma_log_length) and edge.kind != "model":
            length = float(np.linalg.norm(edge.T_i_j[:3, 3]))
            if length > 0:
                pair = (edge.i, edge.j)
                problem.add_known(pair, math.log(length), edge.sigma_log_length)
    return problem.solve()


def _measured(placed: Sequence[PlacedKeyframe]) -> frozenset[int]:
    """Those of some keyframes whose reference camera has a sensor's depth."""
    return frozenset(
        one.keyframe.number for one in placed if any(view.metres for view in one.keyframe.views[:1])
    )


def _known_lengths(state: GraphState, ties: Sequence[Tie]) -> dict[tuple[int, int], float]:
    """Log lengths of the edges that ties name, as they are."""
    known: dict[tuple[int, int], float] = {}
    for tie in ties:
        for pair in (tie.first, tie.second):
            for kind in ("visual", "loop"):
                edge = state.edges.get((*pair, kind))
                if edge is not None and math.isfinite(edge.sigma_log_length):
                    length = float(np.linalg.norm(edge.T_i_j[:3, 3]))
                    if length > 0:
                        known[pair] = math.log(length)
    return known


def _set_lengths(state: GraphState, edges: Sequence[Edge], solved: Lengths) -> None:
    for number, (value, _) in solved.log_depth_scale.items():
        state.put(replace(state.placed[number], log_depth_scale=value))
    for edge in edges:
        found = solved.log_length.get((edge.i, edge.j))
        if found is None or edge.tracks is None:
            continue
        T: Floats = edge.T_i_j.copy()
        T[:3, 3] *= math.exp(found[0]) / max(float(np.linalg.norm(T[:3, 3])), 1e-12)
        state.keep(replace(edge, T_i_j=T, sigma_log_length=_independent(found[1])))


def _independent(sigma: float) -> float:
    """What of a length's sigma is its own: the bias that it shares with all is not."""
    return min(max(sigma, _LEAST_SIGMA), _MOST_SIGMA)


def _tidy(T: Floats) -> Floats:
    made: Floats = T.copy()
    made[:3, :3] = orthonormal(T[:3, :3])
    return made


def _filled(covariance_N66: Floats) -> Floats:
    """Covariances between the sampled ones, along the order of the keyframes."""
    known = np.flatnonzero(np.isfinite(covariance_N66[:, 0, 0]))
    if not len(known):
        return np.zeros_like(covariance_N66)
    filled: Floats = np.empty_like(covariance_N66)
    for row in range(6):
        for column in range(6):
            filled[:, row, column] = np.interp(
                np.arange(len(covariance_N66)), known, covariance_N66[known, row, column]
            )
    return filled
