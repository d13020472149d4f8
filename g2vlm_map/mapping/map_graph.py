# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map as it grows: keyframes, edges, poses and scales, in one place, safe between threads.

    insert          a new keyframe with its edges: lengths and poses of the newest are solved
    add_edges       loops, odometry that came late, what culled keyframes leave
    solve_global    everything at once, on a snapshot: whoever inserts is not held up; keyframes
                    that came meanwhile are carried along with the one they hang on
    take_out        a keyframe goes, its edges with it
    placed, edges   the present state, frozen

A *segment* is a connected part of the graph. Each has axes of its own, those of its first
keyframe, which stays where it is; where an edge joins two, the younger one is laid onto the
older one. `version` counts changes of the past: what a local solve moves is none.

Shape letters: N poses.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .graph_solve import GraphState, Key, local_lengths, local_poses, solve_all
from .keyframe import Edge, Keyframe, PlacedKeyframe
from .lengths import find_ties
from .options import GraphOptions, LengthOptions

__all__ = ["MapGraph"]

Floats = NDArray[np.float64]


class MapGraph:
    """Keyframes and the edges between them; see the module.

    Args:
        graph: How poses are solved.
        lengths: How lengths are.
    """

    def __init__(self, graph: GraphOptions, lengths: LengthOptions) -> None:
        self.graph, self.lengths = graph, lengths
        self.lock = threading.RLock()
        self._solving = threading.Lock()  # one global solve at a time
        self.clear()

    def clear(self) -> None:
        """Forget everything; numbers of keyframes go on."""
        with self.lock:
            self._state = GraphState()
            self._era = getattr(self, "_era", 0) + 1
            self.version = getattr(self, "version", -1) + 1
            self._next = getattr(self, "_next", 1)
            self.revision = getattr(self, "revision", -1) + 1
            self.loops = 0
            self._segments = 0

    def __len__(self) -> int:
        return len(self._state.placed)

    # As it is.

    @property
    def placed(self) -> tuple[PlacedKeyframe, ...]:
        """All keyframes, by number."""
        with self.lock:
            return tuple(self._state.placed.values())

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges."""
        with self.lock:
            return tuple(self._state.edges.values())

    def get(self, number: int) -> PlacedKeyframe | None:
        """A keyframe by its number."""
        with self.lock:
            return self._state.placed.get(number)

    def edges_of(self, number: int) -> tuple[Edge, ...]:
        """The edges of a keyframe."""
        with self.lock:
            state = self._state
            return tuple(state.edges[key] for key in state.touching.get(number, ()))

    def by_number(self) -> dict[int, PlacedKeyframe]:
        """All keyframes by number."""
        with self.lock:
            return dict(self._state.placed)

    def new_segment(self, after: int) -> int:
        """A number above those of all segments, and above another one."""
        with self.lock:
            self._segments = max(self._segments, after) + 1
            return self._segments

    def next_number(self) -> int:
        """A number that no keyframe has had."""
        with self.lock:
            self._next += 1
            return self._next - 1

    # As it grows.

    def insert(
        self,
        keyframe: Keyframe,
        edges: Sequence[Edge],
        segment: int,
        before: PlacedKeyframe | None = None,
    ) -> PlacedKeyframe:
        """Add a keyframe and solve for the newest lengths and poses.

        Args:
            keyframe: With a number from `next_number`.
            edges: To keyframes that are there; their j is the new one.
            segment: Number of the segment that it begins where it has no edges.
            before: Whose depth is in the same units: where the scale of the new one's begins.
        """
        with self.lock:
            state, number = self._state, keyframe.number
            self.revision += 1
            assert number not in state.placed, number
            edges = [edge for edge in edges if edge.i in state.placed]
            guess, centre = 0.0, 0.0
            if before is not None:
                guess, centre = before.log_depth_scale, before.log_depth_centre
            first = PlacedKeyframe(keyframe, np.eye(4), guess, np.zeros((6, 6)), segment, centre)
            if not edges:
                state.put(first)
                return first
            state.put(first)
            for edge in edges:
                self._keep(edge)
            local_lengths(state, number, self.lengths)
            best = max(edges, key=_trust)
            near = state.placed[best.i]
            T = near.T_map_body @ state.edges[best.i, best.j, best.kind].T_i_j
            state.put(replace(state.placed[number], T_map_body=T, segment=near.segment))
            self.version += self._join_segments(edges)
            local_poses(state, number, self.graph, self.lengths)
            return state.placed[number]

    def add_edges(self, edges: Iterable[Edge], *, loops: int = 0) -> bool:
        """Add edges between keyframes that are there.

        Nothing is solved, but segments that they join are laid upon each other.

        Args:
            edges: Those with an unknown keyframe are left out.
            loops: How many accepted loops they stand for, for the count.

        Returns:
            Whether segments were joined: the past has changed then.
        """
        with self.lock:
            known = [
                edge
                for edge in edges
                if edge.i in self._state.placed and edge.j in self._state.placed
            ]
            for edge in known:
                self._keep(edge)
            self.loops += loops
            self.revision += 1
            joined = self._join_segments(known)
            self.version += joined
            return joined

    def put_back(self, placed: Iterable[PlacedKeyframe], edges: Iterable[Edge]) -> None:
        """Take over keyframes and edges of a stored map as they are, beside what is there."""
        with self.lock:
            for item in placed:
                self._state.put(item)
                self._next = max(self._next, item.keyframe.number + 1)
                self._segments = max(self._segments, item.segment)
            self._state.placed = dict(sorted(self._state.placed.items()))
            for edge in edges:
                self._keep(edge)
            self.version += 1
            self.revision += 1

    def lay(self, segment: int, onto: int, log_scale: float, R: Floats, t: Floats) -> None:
        """Make a segment a part of another one, in whose axes and units it is from then on.

        Args:
            segment: That ends.
            onto: That goes on.
            log_scale: Natural log of units of `onto` in one unit of `segment`.
            R, t: (3, 3), (3,): x_onto = exp(log_scale) R x_segment + t.
        """
        scale = math.exp(log_scale)
        with self.lock:
            state = self._state
            moved = [one for one in state.placed.values() if one.segment == segment]
            for one in moved:
                T = np.eye(4)
                T[:3, :3] = R @ one.T_map_body[:3, :3]
                T[:3, 3] = scale * R @ one.T_map_body[:3, 3] + t
                state.put(
                    replace(
                        one,
                        T_map_body=T,
                        log_depth_scale=one.log_depth_scale + log_scale,
                        segment=onto,
                        log_depth_centre=one.log_depth_centre + log_scale,
                    )
                )
            keys = {key for one in moved for key in state.touching.get(one.keyframe.number, ())}
            for key in keys:
                edge = state.edges[key]
                T = edge.T_i_j.copy()
                T[:3, 3] *= scale
                state.edges[key] = replace(edge, T_i_j=T, sigma_still=edge.sigma_still * scale)
            self.version += bool(moved)
            self.revision += bool(moved)

    def take_out(self, numbers: Iterable[int]) -> None:
        """Remove keyframes and their edges."""
        with self.lock:
            for number in numbers:
                self._state.drop(number)
            self.revision += 1

    def solve_global(self) -> float | None:
        """Solve for all lengths and poses, and take the outcome over.

        Returns:
            How far the keyframe that moved most did, map units; None where the map was cleared
            meanwhile.
        """
        with self._solving:
            with self.lock:
                snapshot, era = self._state.copy(), self._era
            solved = solve_all(snapshot, self.graph, self.lengths)
            with self.lock:
                if era != self._era:
                    return None
                moved = self._take_over(snapshot, solved)
                self.version += 1
                self.revision += 1
                return moved

    # Inside.

    def _keep(self, edge: Edge) -> None:
        """Add an edge, or put another one in its place, with the ties to its neighbours."""
        state = self._state
        if edge.tracks is not None:
            near = {key for n in (edge.i, edge.j) for key in state.touching.get(n, ())}
            others = [state.edges[key] for key in near if key[:2] != (edge.i, edge.j)]
            state.ties[edge.i, edge.j] = find_ties(edge, others)
        state.keep(edge)

    def _join_segments(self, edges: Sequence[Edge]) -> bool:
        """Lay younger segments onto older ones where edges join them."""
        joined = False
        for edge in sorted(edges, key=_trust, reverse=True):
            state = self._state
            i, j = state.placed[edge.i], state.placed[edge.j]
            if i.segment == j.segment:
                continue
            T_i_j = state.edges[edge.i, edge.j, edge.kind].T_i_j
            older, younger = min(i.segment, j.segment), max(i.segment, j.segment)
            if i.segment == older:
                T = i.T_map_body @ T_i_j @ np.linalg.inv(j.T_map_body)
            else:
                T = j.T_map_body @ np.linalg.inv(T_i_j) @ np.linalg.inv(i.T_map_body)
            for item in [p for p in state.placed.values() if p.segment == younger]:
                state.put(replace(item, T_map_body=T @ item.T_map_body, segment=older))
            joined = True
        return joined

    def _take_over(
        self, before: GraphState, solved: tuple[Mapping[int, PlacedKeyframe], Mapping[Key, Edge]]
    ) -> float:
        """The outcome of a solve of a snapshot; what came after it is carried along."""
        placed, edges = solved
        state, moved = self._state, 0.0
        for key in before.edges.keys() - edges.keys():
            state.lose(key)
        laid = {  # in the units of another segment meanwhile
            number
            for number, item in state.placed.items()
            if number in placed and before.placed[number].segment != item.segment
        }
        for key, edge in edges.items():
            same = key in state.edges and state.edges[key].tracks is before.edges[key].tracks
            if same and not laid.intersection(key[:2]):
                state.edges[key] = edge
        anchors: dict[int, tuple[Floats, float]] = {}
        for number, item in list(state.placed.items()):
            new = placed.get(number)
            if new is None or before.placed[number].segment != item.segment:
                T, shift = anchors.get(item.segment, (np.eye(4), 0.0))
                changed = replace(
                    item,
                    T_map_body=T @ item.T_map_body,
                    log_depth_scale=item.log_depth_scale + shift,
                )
            else:
                anchors[item.segment] = (
                    new.T_map_body @ np.linalg.inv(item.T_map_body),
                    new.log_depth_scale - item.log_depth_scale,
                )
                changed = new
            step = np.linalg.norm(changed.T_map_body[:3, 3] - item.T_map_body[:3, 3])
            moved = max(moved, float(step))
            state.put(changed)
        return moved


def _trust(edge: Edge) -> tuple[bool, int, float]:
    """Order of edges by how far a first pose may rest on them."""
    known = np.isfinite(edge.sigma_log_length)
    return bool(known or np.isfinite(edge.sigma_still)), edge.inliers, -edge.sigma_rotation
