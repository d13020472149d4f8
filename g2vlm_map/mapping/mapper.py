# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The mapper: what a pass says of its newest moments becomes keyframes of the map.

    mapper.look_ahead(frames)                before a pass, for what can be done beside it
    mapper.add(moments, geometry, scale)     after each pass: keyframes, edges, a local solve
    mapper.graph                             the map itself (`MapGraph`): keyframes, edges,
                                             `add_edges`, `solve_global`, from any thread
    mapper.listen(hear)                      hear(placed) for each new keyframe, in the thread of
                                             the passes: it must only take note and return
    mapper.begin()                           what comes next has nothing to do with what was

A new keyframe is tied to the last 1, 2, 3 and 5 before it by verified two-view geometry; where
features fail (blank walls) by the model's own relative pose, unless the picture changed
altogether; and by odometry and known poses. A keyframe that nothing ties to the map begins a new
segment. A moment in which nothing moved is no keyframe: it is placed by the newest one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, GeometryPrediction

from ..keyframes import PictureTracks
from ..poses import inverse
from ..scale.estimate import ScaleEstimate
from .edges import verified_edge
from .keyframe import Edge, Keyframe, PlacedKeyframe
from .making import WORKERS, FeatureSearch, make_keyframe
from .map_graph import MapGraph
from .options import MapOptions
from .pass_units import PassUnits, Sighting
from .rotations import orthonormal
from .sensed_edges import SensedEdges

__all__ = ["Added", "Mapper"]

Floats = NDArray[np.float64]

_BEFORE = (1, 2, 3, 5)  # keyframes before the newest that it is matched with
_FURTHER = (4, 6, 8, 12)  # and where fewer than `_ENOUGH` of these agree
_ENOUGH = 2
_RIGID = 64  # keyframes whose frames' keys are remembered
_MOVED = 0.01  # picture widths from which a moment is placed anew though it is no keyframe
_MODEL_TURN, _MODEL_DIRECTION, _MODEL_LENGTH = 0.1, 0.5, 0.4  # sigmas of the model's own poses
_workers = partial(ThreadPoolExecutor, len(_BEFORE) - 1, thread_name_prefix=WORKERS)


@dataclass(frozen=True, eq=False)
class Added:
    """What became of a window.

    Args:
        placed: The newest keyframe of the map as it is now.
        T_map_body: (4, 4) of the newest moment, map units; None where the reference camera did
            not see it.
        keyframes: Those that are new.
        started: Why a new segment began; "" where none did.
        verified: Verified edges of the newest keyframe to those before.
        wanted: How many there could have been at most, up to 2.
        joined: Which segments turned out to be one; "" where none did.
        unit: Units of the keyframes' depth per unit of the pass's.
    """

    placed: PlacedKeyframe
    T_map_body: Floats | None
    keyframes: tuple[PlacedKeyframe, ...]
    started: str
    verified: int
    wanted: int
    joined: str = ""
    unit: float = 1.0

    @property
    def weak(self) -> bool:
        """The newest keyframe hangs on fewer than two verified edges."""
        return self.verified < self.wanted

    @property
    def depth_scale(self) -> float:
        """Map units per unit of the pass's depth."""
        return self.unit * math.exp(self.placed.log_depth_scale)


class Mapper:
    """Makes keyframes of moments and ties them to the map.

    Args:
        options: Of the map.
        reference: Name of the camera whose axes are those of a keyframe.
        sensed: Edges by other sensors.
    """

    def __init__(self, options: MapOptions, reference: str, sensed: SensedEdges) -> None:
        self.options = options
        self.graph = MapGraph(options.graph, options.lengths)
        self.segment = 0
        self._reference = reference
        self._search = FeatureSearch(options.features)
        self._pairs = _workers()
        self.scale = ScaleEstimate()  # as it was known at the newest pass
        self._sensed = sensed
        self._listeners: list[Callable[[PlacedKeyframe], object]] = []
        self._recent: list[int] = []  # keyframes since the last `begin`
        self._units = PassUnits()
        self._numbers: dict[str, int] = {}  # frame key -> keyframe
        self._tracks: dict[int, PictureTracks] = {}  # to a keyframe from the one before it
        self._last = Added(_NOWHERE, None, (), "", 0, 0)
        self.denied: dict[int, list[Edge]] = {}  # by keyframe: visual ones; whoever is told takes
        self._untold: list[PlacedKeyframe] = []  # made by an `add` that then failed
        self._joined = ""
        self._tokens_ND: NDArray[np.float32] | None = None

    def start(self) -> None:
        """Forget the map; the next keyframe begins segment 1."""
        self.segment = 0
        self.begin(forget=True)

    def begin(self, *, forget: bool = False) -> int:
        """The next keyframe begins a new segment; its number.

        Args:
            forget: The map goes, too.
        """
        if forget:
            self.graph.clear()
        self._last = Added(_NOWHERE, None, (), "", 0, 0)
        self.segment = self.graph.new_segment(self.segment)
        self._recent = []
        self._numbers, self._tracks, self._untold, self.denied = {}, {}, [], {}
        self._units = PassUnits()
        self._sensed.begin()
        return self.segment

    def joined(self, absorbed: int, onto: int, log_scale: float) -> None:
        """A segment is a part of another one; `log_scale` as in `MapGraph.lay`."""
        with self.graph.lock:
            if self.segment == absorbed:
                self.segment = onto
                self._sensed.gate.rescale(log_scale)

    def denies(self, loop: Edge) -> str:
        """Why a loop cannot be, as other sensors say; "" where it can."""
        return self._sensed.gate.denies(loop)

    def log_ratio(self, places: int, queries: int) -> float | None:
        """Log of units of one segment in one unit of another by odometry; None: it says nothing."""
        placed, say = self.graph.placed, self._sensed.gate.metres_per_unit_of
        query, place = (say(o for o in placed if o.segment == s) for s in (queries, places))
        return None if query is None or place is None else math.log(query / place)

    def listen(self, hear: Callable[[PlacedKeyframe], object]) -> None:
        """Tell somebody of each new keyframe from now on."""
        self._listeners.append(hear)

    def rest(self, wait: bool) -> None:
        """End the threads until they are needed; `wait` where no pass is at work."""
        ended, self._pairs = self._pairs, _workers()
        ended.shutdown(wait)
        self._search.rest(wait)

    def look_ahead(self, frames: Sequence[Frame]) -> None:
        """Search frames that will be added for features meanwhile; changes nothing else."""
        self._search.begin(frames)

    def add(
        self,
        moments: Sequence[Sighting],
        geometry: GeometryPrediction,
        scale: ScaleEstimate,
        tokens_ND: NDArray[np.float32] | None = None,
    ) -> Added:
        """Take over what a pass says; of one that failed half way, only what is new again.

        Args:
            moments: Of its window, oldest first.
            geometry: Of the window.
            scale: As it is known: lengths of other sensors come in by it.
            tokens_ND: Of the window's frames, where the runtime has them (`TokenScene`).

        Raises:
            ValueError: The model's poses are not finite.
        """
        if not np.isfinite(geometry.T_world_cam).all():
            raise ValueError("the window's poses are not finite")
        self._joined, self._tokens_ND, self.scale = "", tokens_ND, scale
        self._units.follow(moments, geometry)
        started, newest = "", moments[-1]
        for moment in moments:
            if moment.is_new and self._is_keyframe(moment):
                placed, why = self._add_keyframe(moment, moments, geometry, scale)
                self._untold.append(placed)
                started = started or why
        late = self._sensed.late(self.graph, scale)
        if late:
            self.graph.add_edges(late)
        told = self._told(newest, geometry, tuple(self._untold), started)
        self._untold = []
        return told

    def _told(
        self,
        newest: Sighting,
        geometry: GeometryPrediction,
        made: tuple[PlacedKeyframe, ...],
        started: str,
    ) -> Added:
        if made:
            last = self._last
            placed = self.graph.get(made[-1].keyframe.number) or made[-1]
            self._last = Added(placed, None, made, started, last.verified, last.wanted)
        placed = self.graph.get(self._last.placed.keyframe.number) or self._last.placed
        T: Floats | None = None
        if newest.frames[0].camera == self._reference:
            T = placed.T_map_body
            if not (made and made[-1].keyframe.key == newest.frames[0].key):
                T = self._beside(newest, geometry, placed)
        told = replace(self._last, placed=placed, T_map_body=T, keyframes=made, started=started)
        return replace(told, joined=self._joined, unit=self._units.factor)

    def _is_keyframe(self, moment: Sighting) -> bool:
        lead = moment.frames[0]
        if lead.camera != self._reference or lead.key in self._numbers:
            return False
        return not (moment.still and self._recent)

    def _add_keyframe(
        self,
        moment: Sighting,
        moments: Sequence[Sighting],
        geometry: GeometryPrediction,
        scale: ScaleEstimate,
    ) -> tuple[PlacedKeyframe, str]:
        keyframe = self._made(moment, geometry, self.graph.next_number())
        edges, verified, tried = self._edges(keyframe, moment, moments, geometry, scale)
        started = ""
        if not edges and self._recent:
            started = (
                f"none of {tried} keyframes shares {self.options.edges.min_inliers} matches with "
                "the newest, and nothing bridges it"
            )
            self.segment = self.graph.new_segment(self.segment)
            self._sensed.begin()
        before = self.graph.get(self._recent[-1]) if self._recent else None
        version = self.graph.version
        placed = self.graph.insert(keyframe, edges, self.segment, before)
        if self.graph.version != version:
            self._joined = f"segments met again in segment {placed.segment}"
        self.segment = placed.segment
        self._recent = [*self._recent[-_RIGID:], keyframe.number]
        self._numbers[keyframe.key] = keyframe.number
        for key in list(self._numbers)[:-_RIGID]:
            del self._numbers[key]
        for number in list(self._tracks)[:-_RIGID]:
            del self._tracks[number]
        self._last = Added(placed, None, (), "", verified, min(tried, _ENOUGH))
        for hear in self._listeners:
            hear(placed)
        return placed, started

    def _edges(
        self,
        keyframe: Keyframe,
        moment: Sighting,
        moments: Sequence[Sighting],
        geometry: GeometryPrediction,
        scale: ScaleEstimate,
    ) -> tuple[list[Edge], int, int]:
        """Edges to keyframes before, how many are verified, how many were tried."""
        self._sensed.gate.note(keyframe)
        before = self.graph.get(self._recent[-1]) if self._recent else None
        tracks = moment.tracks
        if before is not None and tracks and tracks.since_ns == before.keyframe.stamp_ns:
            self._tracks[keyframe.number] = tracks
        guess = 0.0 if before is None else before.log_depth_scale
        others = {
            gap: other
            for gap in (*_BEFORE, *_FURTHER)
            if gap <= len(self._recent) and (other := self.graph.get(self._recent[-gap]))
        }
        edges: list[Edge] = []
        denied = self.denied.setdefault(keyframe.number, [])
        T_map_body: Floats | None = None

        def tie(gap: int) -> Edge | None:
            other = others[gap]
            scales = (other.log_depth_scale, guess)
            T_i_j = None if T_map_body is None else inverse(other.T_map_body) @ T_map_body
            way = self._tracks_since(gap, keyframe.number)
            return self._verified(other.keyframe, keyframe, scales, gap == 1, T_i_j, way)

        def take(found: Edge | None) -> None:
            if found is not None:
                (denied if self._sensed.gate.denies(found) else edges).append(found)

        near = [gap for gap in _BEFORE if gap in others]
        if near:  # what it says guides the others, which ask nothing of each other
            take(tie(near[0]))
            if edges and math.isfinite(edges[0].sigma_log_length):
                T_map_body = others[near[0]].T_map_body @ edges[0].T_i_j
        for tied in self._pairs.map(tie, near[1:]):
            take(tied)
        tried = len(near)
        for gap in (gap for gap in _FURTHER if gap in others and len(edges) < _ENOUGH):
            tried += 1
            take(tie(gap))
        verified = len(edges)
        if before is not None:
            edges += self._sensed.edges(before, keyframe, edges, scale)
        if not verified and before is not None:
            edges += self._model_edge(keyframe, moment, moments, geometry, guess)
        return edges, verified, tried

    def _tracks_since(self, gap: int, newest: int) -> tuple[PictureTracks, ...]:
        """Tracks to the newest keyframe from the one so many before it; empty where one lacks."""
        numbers = [*self._recent[-gap:][1:], newest]
        found = [self._tracks[number] for number in numbers if number in self._tracks]
        return tuple(found) if len(found) == gap else ()

    def _verified(
        self,
        i: Keyframe,
        j: Keyframe,
        scales: tuple[float, float],
        guided: bool = True,
        guess: Floats | None = None,
        tracks: Sequence[PictureTracks] = (),
    ) -> Edge | None:
        return verified_edge(
            *(i, j, self.options.features, self.options.edges),
            log_depth_scales=scales,
            guided=guided,
            guess=guess,
            scale=self.scale,
            tracks=tracks,
        )

    def _model_edge(
        self,
        keyframe: Keyframe,
        moment: Sighting,
        moments: Sequence[Sighting],
        geometry: GeometryPrediction,
        log_depth_scale: float,
    ) -> list[Edge]:
        """The model's own pose relative to the keyframe before, where the view went on."""
        if moment.tracked < self.options.edges.min_tracked:
            return []
        for other in reversed(moments[: moments.index(moment)]):
            number = self._numbers.get(other.frames[0].key)
            if number is None:
                continue
            T_world_i = np.asarray(geometry.T_world_cam[other.indices[0]], np.float64)
            T = inverse(T_world_i) @ geometry.T_world_cam[moment.indices[0]]
            T[:3, :3] = orthonormal(T[:3, :3])
            T[:3, 3] *= self._units.factor * math.exp(log_depth_scale)
            sigmas = (_MODEL_TURN, _MODEL_DIRECTION, _MODEL_LENGTH)
            still = _MODEL_LENGTH * max(float(np.linalg.norm(T[:3, 3])), 1e-3)
            return [Edge(number, keyframe.number, "model", T, *sigmas, sigma_still=still)]
        return []

    def _made(self, moment: Sighting, geometry: GeometryPrediction, number: int) -> Keyframe:
        return make_keyframe(
            number,
            moment.frames,
            geometry,
            moment.indices,
            self._search,
            self._sensed.T_body_cams(),
            self._units.factor,
            self._tokens_ND,
            self._units.per_metre,
        )

    def _beside(
        self, moment: Sighting, geometry: GeometryPrediction, placed: PlacedKeyframe
    ) -> Floats:
        """Pose of a moment that is no keyframe, by the newest one."""
        if moment.movement < _MOVED or placed is _NOWHERE:
            return placed.T_map_body
        keyframe = self._made(moment, geometry, 0)
        scales = (placed.log_depth_scale, placed.log_depth_scale)
        edge = self._verified(placed.keyframe, keyframe, scales)
        if edge is None:
            return placed.T_map_body
        T: Floats = placed.T_map_body @ edge.T_i_j
        return T


_NOWHERE = PlacedKeyframe(Keyframe(0, 0, "", (), {}), np.eye(4), 0.0, np.zeros((6, 6)), 0)
