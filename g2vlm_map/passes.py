# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One pass of the model after the other: windows in, scenes that belong to a segment out.

The thread takes the newest window when the model is free, and hands what the pass says of it to
the mapper, which makes keyframes of its new moments and knows where they are. A pass whose scene
nobody wants any more, because of a restart or a stop, is told so between two layers of the model,
and what comes of it is thrown away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from g2vlm_model.interface import (
    GeometryPrediction,
    ObservationCancelledError,
    Scene,
    SpatialRuntime,
    TokenScene,
)

from .events import (
    Event,
    Latency,
    MapChanged,
    PassFinished,
    SceneReady,
    SegmentBroken,
    SegmentStarted,
)
from .heap import Heap
from .mapping.mapper import Added, Mapper
from .mapping.pass_units import Sighting
from .measured_depth import MeasuredDepth
from .optics import Optics
from .options import PipelineOptions
from .pace import Pace
from .scale.tracker import ScaleTracker
from .scenes import SceneRecord, SceneStore, check_geometry
from .status import StatusBoard
from .window import WindowBuilder, WindowJob, fitting_window
from .world_view import WorldView

__all__ = ["Newest", "Passes"]

_POLL_S = 0.5
_LOOPS_S = 300.0  # that `loops.wait` waits at most


@dataclass(frozen=True)
class Newest:
    """What is told of the newest scene; see `Snapshot`."""

    stamp_ns: int = 0
    segment: int = 0
    first_stamp_ns: int = 0
    keyframes: int = 0
    overlap: int = 0
    shared_view: float = -1.0
    latency: Latency = field(default_factory=Latency)


class Passes:
    """The thread that runs passes and adds to the map.

    Args:
        runtime: The loaded model.
        options: Of the pipeline.
        board: Counts, and holds the conditions of scenes.
        scenes: Where scenes are kept for questions.
        mapper: Makes keyframes of what passes say.
        scale: Told of each keyframe.
        view: Of the map.
        depth: What other sensors measured.
        emit: Told of segments and scenes; returns what failed at it.
        want_more: Told whether the map needs keyframes that lie nearer to each other.

    Raises:
        ValueError: As `fitting_window`.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        options: PipelineOptions,
        board: StatusBoard,
        scenes: SceneStore,
        mapper: Mapper,
        scale: ScaleTracker,
        view: WorldView,
        depth: MeasuredDepth,
        emit: Callable[[Event], list[str]],
        want_more: Callable[[bool], object],
    ) -> None:
        info, cameras = runtime.info, len(options.cameras)
        self.options, self.newest = options, Newest()
        self.window = fitting_window(options.window, cameras, info.limits)
        self.await_loops: Callable[[float], object] = lambda timeout_s: None
        self.optics = Optics(options.cameras[0], depth)
        self.builder = WindowBuilder(self.window, board.drop)
        self._runtime, self._board, self._scenes, self._depth = runtime, board, scenes, depth
        self._mapper, self._scale, self._view, self._emit = mapper, scale, view, emit
        self._want_more = want_more
        self._committing = threading.Lock()  # a scene is out before a restart, or never comes
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._began: float | None = None  # of the pass at work, monotonic
        self._pace = Pace(board, info, self.window.size * cameras)

    @property
    def pass_s(self) -> float:
        """Seconds that the pass that runs now has taken; negative where none runs."""
        return -1.0 if (began := self._began) is None else time.monotonic() - began

    def start(self) -> None:
        """Begin segment 1 and start the thread.

        Where a pass that `stop` gave up still runs, the first new one waits for its end, and
        RUNTIME_BUSY says so: there is never more than one.
        """
        self.newest = Newest()
        self._mapper.start()
        self._view.forget()
        self._depth.forget()
        self.optics = Optics(self.options.cameras[0], self._depth)
        self.builder = WindowBuilder(self.window, self._board.drop)
        self._stopping = threading.Event()
        self._note_window()
        self._pace.hold_against(self.options.query)
        self._emit(SegmentStarted(1, "start", "the pipeline has started"))
        self._thread = threading.Thread(
            target=self._run,
            args=(self.builder, self._stopping, self._thread),
            name="g2vlm-observe",
            daemon=True,
        )
        self._thread.start()

    def cancel(self) -> None:
        """Nobody wants what the present pass makes, and there will be no other one."""
        self._stopping.set()
        self.builder.close()

    def stop(self, timeout_s: float) -> None:
        """End the thread after `cancel`; a pass that takes longer than the time is given up."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        self.builder.restart("deactivated")
        self._mapper.rest(wait=self.ended(0.0))

    def ended(self, timeout_s: float | None) -> bool:
        """Whether no pass runs any more; waits for that, without a limit where None."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def restart(self, cause: str, text: str, fill: Callable[[], object] | None = None) -> int:
        """Begin a segment that shares nothing with what was before; its number.

        A reset forgets the map too; after a leap of time what was is met again, or not.

        Args:
            cause, text: See `SegmentStarted`.
            fill: Fills the map that a reset has emptied.
        """
        with self._committing:
            number = self._mapper.begin(forget=cause == "reset")
            if cause == "reset":
                self._view.forget()  # of what the map held; numbers of segments come again
            if fill is not None:
                fill()
                number = self._mapper.begin()
            self.builder.restart(cause)
            self._scenes.clear()
            self._scale.reset(text, forget=cause == "reset")
            self._emit(SegmentStarted(number, cause, text))
            return number

    def tell_past_changed(self, cause: str, text: str) -> None:
        """The map's past is another one: whoever depends on it hears so.

        Args:
            cause: See `MapChanged`.
            text: What happened, with the numbers.
        """
        if cause != "culled":  # nothing of those that stay has moved
            self._scale.poses_changed(self._mapper.graph.placed, text)
        self._emit(MapChanged(self._view.now.version, cause, text))

    def apply(self, options: PipelineOptions) -> None:
        """Take over what may change while passes run."""
        self.options, self._scale.options = options, options.scale
        self._pace.hold_against(options.query)

    def _run(
        self, builder: WindowBuilder, stopping: threading.Event, before: threading.Thread | None
    ) -> None:
        if before is not None and before.is_alive():
            self._board.condition("RUNTIME_BUSY", True, "a pass from before the start still runs")
            before.join()
            self._board.condition("RUNTIME_BUSY", False)
        heap = Heap()
        while not stopping.is_set():
            job = builder.take(_POLL_S)
            if job is not None:
                began = self._began = time.monotonic()
                with self._board.guard("passes", f"that of {len(job.moments)} moments"):
                    self._observe(job, builder, stopping)
                self._began = None
                builder.done()
                heap.tend()
                if (rate := self.options.max_rate_hz) > 0:
                    stopping.wait(max(0.0, began + 1.0 / rate - time.monotonic()))

    def _observe(self, job: WindowJob, builder: WindowBuilder, stopping: threading.Event) -> None:
        def unwanted() -> bool:
            return stopping.is_set() or job.era != builder.era

        started, scene = time.perf_counter(), None
        try:
            new = [moment for moment in job.moments[job.overlap :] if not moment.still]
            self._mapper.look_ahead([frame for moment in new for frame in moment.frames])
            scene = self._runtime.observe(job.window, cancelled=unwanted)
            observe_ms = (time.perf_counter() - started) * 1e3
            self._pace.took(observe_ms / 1e3, self._runtime.info, self.options.query)
            check_geometry(scene.geometry, len(job.window))
            T_base_cams = self._scale.samples.T_base_cams()
            geometry = self.optics.corrected(scene.geometry, job.window, T_base_cams)
            with self._committing:
                if not unwanted():
                    kept = time.perf_counter()
                    record, added = self._enter(job, builder, scene, geometry)
                    self._scenes.add(record)  # first: who has heard of a scene may ask about it
                    scene = None  # from here on it is the store's to close
                    self._tell(job, record, added, observe_ms, kept)
        except ObservationCancelledError:
            builder.give_back(job)
        except BaseException as error:  # a foreign runtime's, exits and panics too: go on
            builder.give_back(job)
            if not stopping.is_set():
                self._board.condition("RUNTIME_FAILED", True, f"{type(error).__name__}: {error}")
        finally:
            if scene is not None:
                scene.close()

    def _enter(
        self, job: WindowJob, builder: WindowBuilder, scene: Scene, geometry: GeometryPrediction
    ) -> tuple[SceneRecord, Added]:
        """Make what a pass says part of the map."""
        tokens_ND = scene.tokens if isinstance(scene, TokenScene) else None
        added = self._mapper.add(_sightings(job), geometry, self._scale.estimate, tokens_ND)
        builder.commit(job)
        self._board.count_used(job.new_frames)
        self._tell_segment(added)
        self._measure_scale(job, added)
        version = self._view.now.version
        for told in self._view.level_changes():
            self._emit(MapChanged(version, "level", told))
        newest, scale = job.newest[0], added.depth_scale
        self.optics.note_scale(scale, self._scale.estimate)
        at = (self._mapper.segment, job.newest, added.T_map_body)
        record = SceneRecord(scene, newest, scale, *at, geometry, added.placed)
        return record, added

    def _tell(
        self, job: WindowJob, record: SceneRecord, added: Added, observe_ms: float, started: float
    ) -> None:
        """Tell a scene that is kept; `started` is when that began, s of `time.perf_counter`."""
        segment = record.segment
        failures = self._emit(SceneReady(record))
        if failures:
            self._board.condition("RUNTIME_FAILED", True, "; ".join(failures))
            return
        self._note_parallax(job)  # ahead of the count: who sees that sees what is said of it
        self._note_matches(added)
        shared_view = self._note_overlap(record.scene, record.newest)
        if self.options.loops.wait:  # ahead of the count: who sees that sees the map as it stays
            self.await_loops(_LOOPS_S)
        now_ns = time.monotonic_ns()
        latency = Latency(
            (now_ns - job.moments[-1].received_ns) / 1e6,
            observe_ms,
            (time.perf_counter() - started) * 1e3,
        )
        goes_on = self.newest.segment == segment
        self.newest = Newest(
            stamp_ns=record.stamp_ns,
            segment=segment,
            first_stamp_ns=self.newest.first_stamp_ns if goes_on else record.stamp_ns,
            keyframes=len(job.moments),
            overlap=job.overlap,
            shared_view=shared_view,
            latency=latency,
        )
        self._board.count_scene()
        self._board.condition("RUNTIME_FAILED", False)
        self._emit(PassFinished(latency))

    def _tell_segment(self, added: Added) -> None:
        """A keyframe hung on nothing, or a segment was met again."""
        if added.started:
            number = self._mapper.segment
            told = f"{added.started}; segment {number} starts"
            self._board.event("SEGMENT_BROKEN", told, time.monotonic())
            self._scale.reset(added.started)
            self._emit(SegmentBroken(self.newest.segment, added.started))
            self._emit(SegmentStarted(number, "broken", added.started))
        if added.joined:
            self.tell_past_changed("merged", added.joined)

    def _measure_scale(self, job: WindowJob, added: Added) -> None:
        """Ask the sensors that know metres about the new keyframes."""
        if not added.keyframes:
            return
        pictures = {frame.key: frame.image for frame in job.window.frames}
        known = self._mapper.graph.by_number()
        for placed in added.keyframes:
            keyframe = placed.keyframe
            now = known.get(keyframe.number, placed)
            seen = {
                frame.camera: pictures[frame.key]
                for moment in job.moments
                if moment.frames[0].key == keyframe.key
                for frame in moment.frames
            }
            edges = self._mapper.graph.edges_of(keyframe.number)
            denied = self._mapper.denied.pop(keyframe.number, ())
            self._scale.add_keyframe(now, known, seen, edges, denied)

    def _note_window(self) -> None:
        asked, got = self.options.window.size, self.window.size
        limits = self._runtime.info.limits
        most = limits.max_frames if limits is not None else 0
        text = (
            f"window.size is {asked} moments of {len(self.options.cameras)} cameras, the runtime "
            f"takes {most} frames; windows hold {got} moments"
        )
        self._board.condition("WINDOW_SHORTENED", got < asked, text)

    def _note_parallax(self, job: WindowJob) -> None:
        least = self.options.keyframe.min_parallax
        self._board.condition(
            "LOW_PARALLAX",
            job.parallax < least,
            f"largest parallax between keyframes is {job.parallax:.4f} frame widths, below "
            f"keyframe.min_parallax = {least:g}; move the camera sideways",
        )

    def _note_matches(self, added: Added) -> None:
        self._board.condition(
            "FEW_MATCHES",
            added.weak,
            f"the newest keyframe hangs on {added.verified} verified edges, wanted are "
            f"{added.wanted}: keyframes are taken nearer to each other meanwhile; move slower, or "
            "look at something with texture",
        )
        self._want_more(added.weak)

    def _note_overlap(self, scene: Scene, earlier: int) -> float:
        """What the newest frame shares with the best earlier one; negative where unknown."""
        overlap_N, least = scene.overlap, self.options.window.min_shared_view
        shared = -1.0
        if overlap_N is not None and earlier > 0:
            shared = float(np.max(overlap_N[:earlier]))
        self._board.condition(
            "LOW_OVERLAP",
            0 <= shared < least,
            f"the newest frame's shared view is {shared:.2f}, below "
            f"window.min_shared_view = {least:g}: the camera moved too far between keyframes, or "
            "sees what the model does not know",
        )
        return shared


def _sightings(job: WindowJob) -> tuple[Sighting, ...]:
    """The moments of a window as the mapper takes them."""
    made, start = [], 0
    for number, moment in enumerate(job.moments):
        end, motion = start + len(moment.frames), moment.motion
        made.append(
            Sighting(
                moment.frames,
                tuple(range(start, end)),
                is_new=number >= job.overlap,
                still=moment.still,
                movement=moment.aside,
                tracked=1.0 if motion is None else motion.tracked,
                tracks=None if motion is None else motion.tracks,
            )
        )
        start = end
    return tuple(made)
