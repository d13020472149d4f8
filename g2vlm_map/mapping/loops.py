# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places that were seen before: found by how they look, believed for how they fit.

A new keyframe is compared with what looks alike by either descriptor and with what the graph says
is near; two-view geometry verifies. What is verified is believed when

- it fits the graph as far as that can have drifted along its edges (a second room that equals the
  first one fits nothing),
- it closes a cycle with another verified pair nearby, or has so many inliers that it need not;
- and its matches do not all lie on one plane; with few off it, the other pair must have more.

A loop that closes a cycle with one and misses another is kept with wider sigmas. Where the place
lies in another segment nothing is known of how the two lie to each other, so what is verified is
collected (`Hit`) until several agree (`merge.py`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from ..scale.estimate import ScaleEstimate
from .drift import Drift, way_of
from .edges import verified_edge
from .keyframe import Edge, Keyframe, PlacedKeyframe
from .map_graph import MapGraph
from .options import EdgeOptions, FeatureOptions
from .place_options import LoopOptions
from .places import PlaceIndex, candidates
from .rotations import log_rotations

__all__ = ["Found", "Hit", "LoopSearch", "turn_deg", "view_depth"]

Floats = NDArray[np.float64]

_NEIGHBOURS = 5  # keyframes apart that a cycle may span on either side
_REMEMBERED = 64  # verified pairs that later ones may close a cycle with
_SIGMAS = 3.0  # of the graph's drift that a loop may be off
_TURN_DEG = 2.0  # drift of the rotation beside that of the edges
_LENGTH_SHARE, _DEPTH_SHARE = 0.35, 0.15  # of its length, of the view's depth: slack of a loop
_NEAR_SHARE, _NEAR_DEG = 0.7, 50.0  # of the view's depth: keyframes that may see the same
_LEAST_OFF_PLANE = 4  # matches; with fewer off one plane it may be a pattern that repeats
_ALONE, _DISPUTED = 1.5, 3.0  # factors on sigmas


@dataclass(frozen=True, eq=False)
class Hit:
    """A pair of keyframes that see the same, as far as two pictures can say.

    Args:
        place: Number of the keyframe that was known.
        query: Of the new one.
        edge: From place to query, with the length that the place's depth gives.
    """

    place: int
    query: int
    edge: Edge

    @property
    def flat(self) -> bool:
        """It rests on one plane: asphalt, tiles, a facade may look the same a period further."""
        return self.edge.off_plane < _LEAST_OFF_PLANE

    @property
    def solid(self) -> bool:
        """It does not nearly rest on one plane either."""
        return self.edge.off_plane >= 2 * _LEAST_OFF_PLANE


@dataclass(frozen=True, eq=False)
class Found:
    """What became of a keyframe.

    Args:
        loops: Believed, of kind "loop".
        hits: Of other segments.
        refused: Why verified pairs were not believed, with the numbers.
        compared: Candidates that were verified.
    """

    loops: tuple[Edge, ...] = ()
    hits: tuple[Hit, ...] = ()
    refused: tuple[str, ...] = ()
    compared: int = 0


class LoopSearch:
    """Knows all places of a map; used by one thread.

    Args:
        graph: The map.
        features, edges: How pairs are verified.
        options: What is believed.
        denies: Why other sensors deny a loop, "" where they do not.
        scale: Metres in a map unit, as far as they are known now.
    """

    def __init__(
        self,
        graph: MapGraph,
        features: FeatureOptions,
        edges: EdgeOptions,
        options: LoopOptions,
        denies: Callable[[Edge], str] = lambda loop: "",
        scale: Callable[[], ScaleEstimate] = ScaleEstimate,
    ) -> None:
        self.options = options
        self._denies = denies
        self._scale = scale
        self._graph = graph
        self._features, self._edges = features, edges
        self._indices: dict[str, PlaceIndex] = {}
        self._recent: deque[Hit] = deque(maxlen=_REMEMBERED)

    def know(self, keyframe: Keyframe) -> None:
        """Remember how a keyframe's place looks, if nobody has yet."""
        for name, vector in keyframe.places.items():
            index = self._indices.setdefault(name, PlaceIndex())
            if keyframe.number not in index:
                index.add(keyframe.number, vector)

    def forget(self, number: int) -> None:
        """A keyframe was culled."""
        for index in self._indices.values():
            index.remove(number)

    def clear(self) -> None:
        """The map is another one."""
        self._indices.clear()
        self._recent.clear()

    def find(self, number: int, allowed: Sequence[int] | None = None) -> Found:
        """Look for a keyframe's place, and know it from then on.

        Args:
            number: Of a keyframe of the map; one that is gone finds nothing.
            allowed: Known keyframes that are looked at; None: all but its neighbours.
        """
        query = self._graph.get(number)
        if query is None:
            return Found()
        places = self._candidates(query, allowed)
        hits = [hit for place in places if (hit := self._verified(place, query)) is not None]
        self.know(query.keyframe)
        ours = [h for h in hits if self._segment(h.place) == query.segment]
        others = tuple(h for h in hits if self._segment(h.place) != query.segment and not h.flat)
        loops, refused = self._believed(ours, query)
        return Found(tuple(loops), others, tuple(refused), len(places))

    def elsewhere(self, number: int, T_map_body: Floats, segment: int) -> list[Hit]:
        """Verified pairs of a keyframe with places of a segment that are not where it is thought.

        Args:
            number: Of the keyframe.
            T_map_body: Where it is thought to be in that segment.
            segment: Where it is looked for.
        """
        query = self._graph.get(number)
        if query is None:
            return []
        far, reach = [], 0.0
        for one in self._graph.placed:
            if one.segment == segment:
                reach = reach or max(view_depth(one), 1e-9)
                if np.linalg.norm(one.T_map_body[:3, 3] - T_map_body[:3, 3]) > reach:
                    far.append(one.keyframe.number)
        places = candidates(self._indices, query.keyframe.places, self.options.top, (), far)
        return [hit for place in places if (hit := self._verified(place, query)) is not None]

    # Candidates.

    def _candidates(self, query: PlacedKeyframe, allowed: Sequence[int] | None) -> list[int]:
        number, top = query.keyframe.number, self.options.top
        # Of another segment a neighbour in time is as good as any.
        close = {
            n
            for n in range(number - self.options.gap, number + 1)
            if self._segment(n) == query.segment
        }
        alike = candidates(self._indices, query.keyframe.places, top, close, allowed)
        near = self._near(query, close) if allowed is None else []
        return list(dict.fromkeys([*alike, *near]))

    def _near(self, query: PlacedKeyframe, close: set[int]) -> list[int]:
        """Keyframes that stand near by the graph and look the same way."""
        placed = [
            one
            for one in self._graph.placed
            if one.segment == query.segment
            and one.keyframe.number < query.keyframe.number
            and one.keyframe.number not in close
        ]
        if not placed:
            return []
        T = np.array([one.T_map_body for one in placed])
        reach = _NEAR_SHARE * view_depth(query)
        apart = np.linalg.norm(T[:, :3, 3] - query.T_map_body[:3, 3], axis=1) / max(reach, 1e-9)
        along = T[:, :3, 2] @ query.T_map_body[:3, 2]
        turned = np.degrees(np.arccos(np.clip(along, -1, 1))) / _NEAR_DEG
        cost = np.where((apart < 1) & (turned < 1), apart + turned, np.inf)
        order = np.argsort(cost, kind="stable")[: self.options.top]
        return [placed[k].keyframe.number for k in order if np.isfinite(cost[k])]

    def _verified(self, place: int, query: PlacedKeyframe) -> Hit | None:
        known = self._graph.get(place)
        if known is None:
            return None
        edge = verified_edge(
            known.keyframe,
            query.keyframe,
            self._features,
            self._edges,
            kind="loop",
            log_depth_scales=(known.log_depth_scale, query.log_depth_scale),
            scale=self._scale(),
        )
        if edge is None or edge.inliers < self.options.min_cycle_inliers:
            return None
        return Hit(place, query.keyframe.number, edge)

    # What is believed.

    def _believed(self, hits: Sequence[Hit], query: PlacedKeyframe) -> tuple[list[Edge], list[str]]:
        loops: list[Edge] = []
        refused: list[str] = []
        if not hits:
            return loops, refused
        drift = Drift(self._graph, query.keyframe.number, self.options.drift)
        fitting = []
        for hit in hits:
            if why := self._denies(hit.edge) or self._misfit(hit, query, drift):
                refused.append(why)
            else:
                fitting.append(hit)
        if len(fitting) == 1:
            beside = self._beside(fitting[0], query)
            fitting += [hit for hit in beside if not self._denies(hit.edge)]
        for hit in fitting:
            agree, miss = self._cycles(hit, fitting)
            why = (
                f"{_pair(hit)} has {hit.edge.inliers} inliers, {hit.edge.off_plane} off one plane, "
                f"{agree} cycles, misses {miss}"
            )
            alone = hit.solid and hit.edge.inliers >= self.options.min_inliers
            if hit.flat or miss > agree or not (agree or alone):
                refused.append(why)
                continue
            loops.append(_widened(hit.edge, _DISPUTED if miss else 1.0 if agree else _ALONE))
        self._recent.extend(fitting)
        return loops, refused

    def _misfit(self, hit: Hit, query: PlacedKeyframe, drift: Drift) -> str:
        """Why the graph cannot have drifted so far; "" where it can."""
        known = self._graph.get(hit.place)
        if known is None:
            return f"{_pair(hit)}: it is gone"
        way, lost, lost_deg = drift.to(hit.place)
        T_graph = inverse(known.T_map_body) @ query.T_map_body
        off_deg = turn_deg(T_graph[:3, :3].T @ hit.edge.T_i_j[:3, :3])
        off = float(np.linalg.norm(T_graph[:3, 3] - hit.edge.T_i_j[:3, 3]))
        slack = math.hypot(_LENGTH_SHARE * way_of(hit.edge), _DEPTH_SHARE * view_depth(known))
        sigma, sigma_deg = math.hypot(lost, slack), _TURN_DEG + lost_deg
        if off <= _SIGMAS * sigma and off_deg <= _SIGMAS * sigma_deg:
            return ""
        return (
            f"{_pair(hit)} looks alike ({hit.edge.inliers} inliers), but lies {off:.2f} units and "
            f"{off_deg:.0f} deg from where a way of {way:.1f} units leads, with sigmas of "
            f"{sigma:.2f} and {sigma_deg:.0f}"
        )

    def _beside(self, hit: Hit, query: PlacedKeyframe) -> list[Hit]:
        """The pair's neighbours, verified too: a single loop has nobody to close a cycle with."""
        edges = sorted(self._graph.edges_of(hit.place), key=lambda one: -one.inliers)
        numbers = [one.i if one.j == hit.place else one.j for one in edges if one.kind == "visual"]
        apart = [n for n in numbers if abs(n - query.keyframe.number) > self.options.gap]
        found = [self._verified(number, query) for number in apart[: self.options.top]]
        return [one for one in found if one is not None]

    def _cycles(self, hit: Hit, others: Sequence[Hit]) -> tuple[int, int]:
        """How many other verified pairs nearby say the same, and how many say otherwise.

        Flat ones do not count, nor do nearly flat ones: they agree with each other a period off.
        """
        agree = miss = 0
        for other in [*others, *self._recent]:
            if not other.solid or (other.place, other.query) == (hit.place, hit.query):
                continue
            if max(abs(other.place - hit.place), abs(other.query - hit.query)) > _NEIGHBOURS:
                continue
            closes = self._closes(hit, other)
            agree += closes is True
            miss += closes is False
        return agree, miss

    def _closes(self, hit: Hit, other: Hit) -> bool | None:
        """Whether place, query, other query, other place lead back; None where one is gone."""
        poses = [self._graph.get(n) for n in (hit.place, other.place, hit.query, other.query)]
        known = [one.T_map_body for one in poses if one is not None]
        if len(known) < 4:
            return None
        T_place, T_other_place, T_query, T_other_query = known
        there = inverse(T_place) @ T_other_place @ other.edge.T_i_j
        said = there @ inverse(T_other_query) @ T_query
        if turn_deg(said[:3, :3].T @ hit.edge.T_i_j[:3, :3]) > self.options.cycle_deg:
            return False
        place = poses[0]
        assert place is not None
        length = max(float(np.linalg.norm(T[:3, 3])) for T in (said, hit.edge.T_i_j))
        slack = math.hypot(_LENGTH_SHARE * length, _DEPTH_SHARE * view_depth(place))
        return float(np.linalg.norm(said[:3, 3] - hit.edge.T_i_j[:3, 3])) < slack

    def _segment(self, number: int) -> int:
        placed = self._graph.get(number)
        return -1 if placed is None else placed.segment


def view_depth(placed: PlacedKeyframe) -> float:
    """Median depth of the reference camera's view, map units; 0 where it has none."""
    depth = placed.keyframe.views[0].depth_HW
    known = depth[depth > 0]
    return float(np.median(known)) * math.exp(placed.log_depth_scale) if len(known) else 0.0


def turn_deg(R: Floats) -> float:
    """Angle of a rotation."""
    return float(np.degrees(np.linalg.norm(log_rotations(R[None])[0])))


def _widened(edge: Edge, factor: float) -> Edge:
    return replace(
        edge,
        sigma_rotation=edge.sigma_rotation * factor,
        sigma_direction=edge.sigma_direction * factor,
        sigma_log_length=edge.sigma_log_length * factor,
    )


def _pair(hit: Hit) -> str:
    return f"keyframe {hit.query} and {hit.place}"
