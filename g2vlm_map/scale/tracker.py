# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scale of the map: who says it, how sure it is, and whether lengths may be called metres.

Samples come in from any thread; the thread of the passes tells of each placed keyframe, and asks
each source what it says of it. What was measured is kept in metres, so that the map's past may
move: its readings are then made anew. The estimate that is given out keeps still while the new
one differs by less than it is sure of.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..events import Emit, ScaleChanged
from ..mapping.keyframe import Edge, PlacedKeyframe
from ..sensing import Sample
from ..status import StatusBoard
from .alignment import PathScale, path_scale
from .estimate import ScaleEstimate, ScaleReading
from .focal import FocalCheck
from .fusion import Opinion, Together, together
from .kinds import KINDS
from .odometry_history import NotYetError
from .options import ScaleOptions
from .readings import Measured, SaidOfSegments, reading
from .samples import Samples
from .sources import made_sources
from .sources.sight import Sight
from .track import MOST_REJECTED, SourceTrack

__all__ = ["ScaleTracker"]

_KEPT = 400  # measurements of each kind; older ones live on in the estimate only
_PENDING = 30  # keyframes that wait for samples of their time
_STILL = 0.5  # of the standard deviation, by which the estimate may move unseen
_MOST_STILL = 0.03


class ScaleTracker:
    """Metres per map unit, from whatever says so.

    Args:
        options: Of the group `scale`.
        board: Holds SCALE_UNKNOWN, SCALE_CONFLICT, SCALE_DRIFT, CALIBRATION_DOUBTFUL and
            SENSOR_REFUSED.
        emit: Told of `ScaleChanged`.

    Raises:
        ValueError: A source that was asked for cannot be had.
    """

    def __init__(self, options: ScaleOptions, board: StatusBoard, emit: Emit) -> None:
        self.options = options
        self._board = board
        self._emit = emit
        self._lock = threading.RLock()
        self._samples = Samples()
        self._sources = made_sources(options)
        self._focal = FocalCheck()
        self._pending: dict[str, deque[Sight]] = {}
        self._measured: dict[str, deque[tuple[Measured, ScaleReading]]] = {}
        self._open: dict[str, Measured] = {}  # lengths that go on
        self._said = SaidOfSegments()
        self._segment = 0  # of the newest keyframe; 0 before there is one
        self._tracks: dict[str, SourceTrack] = {}
        self._placed: Mapping[int, PlacedKeyframe] = {}
        self._newest = -1
        self._paths: dict[str, tuple[int, PathScale | None]] = {}  # by kind: at that keyframe
        self._estimate = ScaleEstimate()
        self._reset()

    @property
    def estimate(self) -> ScaleEstimate:
        """The scale as it is given out; may be asked for in any thread."""
        return self._estimate

    @property
    def samples(self) -> Samples:
        """What the sensors said lately."""
        return self._samples

    def start(self) -> None:
        """Begin with nothing, as a pipeline does."""
        with self._lock:
            self._samples.forget()
            self._focal.forget()
            self._estimate = ScaleEstimate()
            self._said.forget()
            self._reset()
            self._segment = 0
        self._board.condition("SCALE_UNKNOWN", True, self._estimate.reason)

    def sense(self, sample: Sample) -> None:
        """Take in what another sensor says; from any thread, in any order."""
        self._samples.add(sample)

    def recalibrated(self) -> None:
        """The reference camera's K is another one from here on: what was said of it is past."""
        with self._lock:
            self._focal.forget()
            self._board.condition("CALIBRATION_DOUBTFUL", False)

    def reset(self, why: str, *, forget: bool = False) -> ScaleEstimate:
        """A new segment, whose unit has nothing to do with the one before.

        What a person or a loaded map said of that one counts again where it is met again.

        Args:
            why: For the event.
            forget: It will not be: the map goes.
        """
        with self._lock:
            before = self._estimate
            if forget:
                self._said.forget()
            self._reset()
            self._segment = 0
            self._take_over(together([]))
        self._tell(before, f"{why}: the unit of lengths is another one")
        return self._estimate

    def add_keyframe(
        self,
        placed: PlacedKeyframe,
        map_keyframes: Mapping[int, PlacedKeyframe],
        pictures: Mapping[str, NDArray[np.uint8]] | None = None,
        edges: Iterable[Edge] = (),
        denied: Iterable[Edge] = (),
    ) -> ScaleEstimate:
        """Ask every source about a new keyframe.

        Args:
            placed: The keyframe where the map has put it.
            map_keyframes: All of the map, by number, with their poses of now; not changed
                by the caller afterwards.
            pictures: Frames of its cameras as they were matched, by camera.
            edges: That tie it to keyframes before it: their turns say whether K is right.
            denied: Visual ones that odometry denied: they say where wheels slip.

        Returns:
            The estimate with it.
        """
        tied = tuple(edges)
        sight = Sight(placed, map_keyframes, pictures or {}, tied, tuple(denied))
        with self._lock:
            before = self._estimate
            if placed.segment != self._segment:  # begun, or met again without the one between
                self._enter(placed.segment)
            self._placed = map_keyframes
            self._newest = placed.keyframe.number
            if self.options.fixed and "fixed" not in self._tracks:
                log_scale, sigma = math.log(self.options.fixed), self.options.fixed_sigma
                self._add_said(ScaleReading("fixed", "trajectory", self._newest, log_scale, sigma))
            for name in self._sources:
                self._ask(name, sight)
            self._focal.add(tied, map_keyframes, self._samples)
            self._take_over(self._together())
        self._tell(before, "another keyframe")
        return self._estimate

    def poses_changed(self, placed: Iterable[PlacedKeyframe], why: str) -> ScaleEstimate:
        """The map's past is another one: read every measurement with the new poses.

        Args:
            placed: All keyframes.
            why: For the event, where the scale changes with it.
        """
        with self._lock:
            before = self._estimate
            self._placed = {item.keyframe.number: item for item in placed}
            newest = self._placed.get(self._newest)
            if newest is not None and newest.segment != self._segment:  # edges joined them,
                self.joined(self._segment, newest.segment, 0.0)  # and edges are of one unit
            self._reread()
            self._take_over(self._together())
        self._tell(before, why)
        return self._estimate

    def joined(self, absorbed: int, onto: int, log_scale: float) -> None:
        """Two segments have become one; `poses_changed` tells of its poses.

        Args:
            absorbed, onto: Numbers; the unit of the second one goes on.
            log_scale: Natural log of units of `onto` in one unit of `absorbed`.
        """
        with self._lock:
            self._said.join(absorbed, onto, log_scale, newer=self._segment)
            if self._segment == absorbed:
                self._segment = onto

    def set_length(self, units: float, metres: float, sigma: float = 0.10) -> ScaleEstimate:
        """A person says how long something is; another length takes the place of the first.

        Args:
            units: How long the map says it is, in map units.
            metres: How long it is.
            sigma: Relative standard deviation of the two together; above all that of the model's
                depth at one keyframe.

        Raises:
            ValueError: A length that is none, or no keyframe to measure it in.
        """
        if not (units > 0 and metres > 0 and math.isfinite(units) and math.isfinite(metres)):
            raise ValueError(
                f"the length is {metres:g} m and measures {units:g} map units, expected both above "
                "0: mark two places that differ and have depth"
            )
        if not 0 < sigma < 1:
            raise ValueError(f"sigma of the length is {sigma:g}, expected above 0 and below 1")
        with self._lock:
            if self._newest < 0:
                raise ValueError("there is no keyframe yet to measure the length in")
            before = self._estimate
            self._tracks.pop("length", None)
            log_scale = math.log(metres / units)
            self._add_said(ScaleReading("length", "trajectory", self._newest, log_scale, sigma))
            self._take_over(self._together())
        self._tell(before, f"a length of {metres:g} m was given")
        return self._estimate

    def restore(self, estimate: ScaleEstimate) -> ScaleEstimate:
        """Go on with the scale of a map that was loaded, whose unit it is in."""
        with self._lock:
            before = self._estimate
            self._reset()
            self._said.forget(self._segment)
            if math.isfinite(estimate.sigma):
                self._add_said(
                    ScaleReading("map", "trajectory", 0, estimate.log_scale, estimate.sigma)
                )
            self._take_over(self._together())
        self._tell(before, "a map was loaded")
        return self._estimate

    def _reset(self) -> None:
        for source in self._sources.values():
            source.forget()
        self._pending = {name: deque(maxlen=_PENDING) for name in self._sources}
        self._measured = {}
        self._open = {}
        self._tracks = {}
        self._placed = {}
        self._newest = -1
        self._paths = {}

    def _enter(self, segment: int) -> None:
        """Another segment is the present one, a new one or one that is met again."""
        self._reset()
        self._said.join(0, segment, 0.0, newer=0)
        self._segment = segment
        for item in self._said.of(segment):
            self._track(item.source).add(item)

    def _add_said(self, item: ScaleReading) -> None:
        self._said.put(self._segment, item)
        self._track(item.source).add(item)

    def _track(self, name: str) -> SourceTrack:
        return self._tracks.setdefault(name, SourceTrack(KINDS[name]))

    def _ask(self, name: str, sight: Sight) -> None:
        """Ask a source about the keyframes that wait for its samples, oldest first."""
        waiting = self._pending[name]
        waiting.append(sight)
        while waiting:
            try:
                measured = self._sources[name].measure(waiting[0], self._samples)
            except NotYetError:
                waiting[-1] = replace(sight, map_keyframes=self._placed, pictures={})
                return
            waiting.popleft()
            for item in measured:
                self._open.pop(item.source, None)
                if item.open:
                    self._open[item.source] = item
                    continue
                made = reading(item, KINDS[item.source].measures, self._placed)
                if made is not None:
                    kept = self._measured.setdefault(item.source, deque(maxlen=_KEPT))
                    kept.append((item, made))
                    self._track(item.source).add(made)

    def _reread(self) -> None:
        """Make all readings anew; those of keyframes that were culled stay as they were."""
        self._tracks = {}
        self._paths = {}
        for said in self._said.of(self._segment):
            self._track(said.source).add(said)
        for name, kept in self._measured.items():
            anew = [
                (item, reading(item, KINDS[name].measures, self._placed) or made)
                for item, made in kept
            ]
            self._measured[name] = deque(anew, maxlen=_KEPT)
            for _, made in anew:
                self._track(name).add(made)

    def _together(self) -> Together:
        opinions = []
        for track in self._tracks.values():
            if track.known:
                path = self._path_scale(track)
                whole = None if path is None else (path.log_scale, path.sigma)
                log_scale, sigma = track.estimate(self._newest, whole)
                if path is not None:
                    sigma = math.hypot(sigma, path.spread, path.apart, path.uncovered)
                    sigma /= 1 - min(path.unlike, MOST_REJECTED)
                contested, span = bool(track.contested), track.span
                if path is not None and track.kind.by_pictures:
                    span = path.reach if span else 0  # what breaks it may have bent the map, too
                opinions.append(
                    Opinion(track.kind, log_scale, sigma, span, contested, track.unsteady)
                )
        return together(opinions)

    def _path_scale(self, track: SourceTrack) -> PathScale | None:
        """The scale by all lengths at once; None where the source measures none."""
        if track.kind.measures != "trajectory" or track.kind.said:
            return None
        name = track.kind.name
        if self._paths.get(name, (-1, None))[0] != self._newest:
            chords = [item for item, _ in self._measured.get(name, ())]
            since = chords[0].start if len(chords) == _KEPT else 0
            chords += [self._open[name]] if name in self._open else []
            slips = not track.kind.by_pictures
            believed = track.believed if slips else {item.keyframe for item in chords}
            self._paths[name] = self._newest, path_scale(chords, believed, self._placed, since)
        return self._paths[name][1]

    def _take_over(self, now: Together) -> None:
        """Give the estimate out, as it is or as it was."""
        old, options = self._estimate, self.options
        limit = options.lose_sigma if old.metric else options.max_sigma
        metric = now.vouched and not now.blocked and now.sigma <= limit
        log_scale, sigma = now.log_scale, now.sigma
        moved = abs(log_scale - old.log_scale)
        if old.metric and metric and moved < min(_STILL * sigma, _MOST_STILL):
            log_scale, sigma = old.log_scale, math.hypot(sigma, moved)
        changed = metric != old.metric or (metric and log_scale != old.log_scale)
        self._estimate = replace(
            old,
            metric=metric,
            log_scale=log_scale,
            sigma=sigma,
            log_trajectory_scale=now.log_trajectory,
            trajectory_sigma=now.trajectory_sigma,
            log_depth_scale=now.log_depth,
            depth_sigma=now.depth_sigma,
            sources=now.sources,
            version=old.version + changed,
            reason="" if metric else now.why_not_metric(options.max_sigma),
        )
        self._note(now)

    def _note(self, now: Together) -> None:
        """Set and clear the conditions."""
        board, estimate = self._board, self._estimate
        board.condition("SCALE_UNKNOWN", not estimate.metric, estimate.reason)
        board.condition("SCALE_CONFLICT", bool(now.conflict), now.conflict)
        drifts = [
            f"{name} {text}"
            for name, track in self._tracks.items()
            if (text := track.drift(self.options.max_sigma))
        ]
        drifts += [
            f"{name}: short and long lengths of the path differ in scale by a factor of "
            f"{math.exp(path.spread):.2f}"
            for name, (_, path) in self._paths.items()
            if path is not None and path.spread > self.options.max_sigma
        ]
        board.condition("SCALE_DRIFT", bool(drifts), "; ".join(drifts))
        doubt = self._focal.doubt
        board.condition("CALIBRATION_DOUBTFUL", bool(doubt), doubt)
        for text in self._samples.complaints():
            board.event("SENSOR_REFUSED", text, time.monotonic())

    def _tell(self, before: ScaleEstimate, why: str) -> None:
        now = self._estimate
        if now.version == before.version:
            return
        if now.metric:
            numbers = f"{now.metres_per_unit:.3g} m a unit +- {now.sigma:.0%}"
            text = f"{why}: {numbers} by {'+'.join(now.sources)}"
            if before.metric:
                text += f", {before.metres_per_unit:.3g} before"
        else:
            text = f"{why}: {now.reason}"
        self._emit(ScaleChanged(before, now, text))
