"""One pass of the model after the other: windows in, scenes that belong to a segment out.

The thread takes the newest window when the model is free. A window belongs to the segment when
its pass has succeeded and its geometry fits what is there; where it does not fit, the window
begins a new segment. A pass whose scene nobody wants any more, because of a restart or a stop,
is told so between two layers of the model, and what comes of it is thrown away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from g2vlm_model.interface import (
    GeometryPrediction,
    ObservationCancelledError,
    RuntimeLimits,
    Scene,
    SpatialRuntime,
)

from .axes import LevelAxes
from .events import (
    Event,
    Latency,
    MapChanged,
    PassFinished,
    SceneReady,
    SegmentBroken,
    SegmentStarted,
)
from .mapping.keyframe import PlacedKeyframe
from .mapping.making import make_keyframe
from .mapping.options import FeatureOptions
from .optics import Optics
from .options import PipelineOptions, WindowOptions
from .pose_buffer import PoseBuffer
from .scenes import SceneRecord, SceneStore
from .segment import JoinError, PathPose, Segment, Similarity, check_geometry
from .sensing import Extrinsics, OdometrySample, Sample
from .status import StatusBoard
from .window import WindowBuilder, WindowJob
from .world import World

__all__ = ["Newest", "Passes", "fitting_window"]

_POLL_S = 0.5


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
    """Owns the present segment, and the thread that adds to it.

    Args:
        runtime: The loaded model.
        options: Of the pipeline.
        board: Counts, and holds the conditions of scenes.
        scenes: Where scenes are kept for questions.
        emit: Told of segments and scenes; returns what failed at it.

    Raises:
        ValueError: As `fitting_window`.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        options: PipelineOptions,
        board: StatusBoard,
        scenes: SceneStore,
        emit: Callable[[Event], list[str]],
    ) -> None:
        limits = runtime.info.limits
        self.options = options
        self.window = fitting_window(options.window, len(options.cameras), limits)
        self.newest = Newest()
        self.world = World()
        self.odometry = PoseBuffer()
        self._axes = LevelAxes(options.cameras[0])
        self.extrinsics: dict[str, Extrinsics] = {}
        self.optics = Optics(options.cameras[0])
        self.segment = Segment(0, options.path.max_poses)
        self.builder = WindowBuilder(self.window, self.segment, board.drop)
        self._runtime = runtime
        self._board = board
        self._scenes = scenes
        self._emit = emit
        self._committing = threading.Lock()  # a scene is out before a restart, or never comes
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin segment 1 and start the thread.

        Where a pass that `stop` gave up still runs, the first new one waits for its end, and
        RUNTIME_BUSY says so: there is never more than one.
        """
        self.newest = Newest()
        self.world = World(segment=1)
        self.odometry.clear()
        self._axes.forget()
        self.optics = Optics(self.options.cameras[0])
        self.segment = Segment(1, self.options.path.max_poses)
        self.builder = WindowBuilder(self.window, self.segment, self._board.drop)
        self._stopping = threading.Event()
        self._note_window()
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
        self.builder.restart(self.segment, "deactivated")

    def ended(self, timeout_s: float | None) -> bool:
        """Whether no pass runs any more; waits for that, without a limit where None."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def restart(self, cause: str, text: str) -> int:
        """Begin a segment that shares nothing with what was before; its number."""
        with self._committing:
            self.segment = Segment(self.segment.number + 1, self.options.path.max_poses)
            self.builder.restart(self.segment, cause)
            self._scenes.clear()
            self._emit(SegmentStarted(self.segment.number, cause, text))
            return self.segment.number

    def sense(self, sample: Sample) -> None:
        """Take over what another sensor says; from any thread."""
        self._axes.take(sample)
        if isinstance(sample, OdometrySample):
            self.odometry.add(sample.stamp_ns, sample.T_odom_base)
        elif isinstance(sample, Extrinsics):
            self.extrinsics = {**self.extrinsics, sample.camera: sample}

    def apply(self, options: PipelineOptions) -> None:
        """Take over what may change while passes run."""
        self.options = options
        self.segment.limit_path(options.path.max_poses)

    def _run(
        self, builder: WindowBuilder, stopping: threading.Event, before: threading.Thread | None
    ) -> None:
        if before is not None and before.is_alive():
            self._board.condition("RUNTIME_BUSY", True, "a pass from before the start still runs")
            before.join()
            self._board.condition("RUNTIME_BUSY", False)
        while not stopping.is_set():
            job = builder.take(_POLL_S)
            if job is not None:
                began = time.monotonic()
                self._observe(job, builder, stopping)
                builder.done()
                stopping.wait(self._rest_s(began))

    def _rest_s(self, began: float) -> float:
        """How long to rest after a pass, for no more of them than `max_rate_hz`."""
        rate = self.options.max_rate_hz
        return max(0.0, began + 1.0 / rate - time.monotonic()) if rate > 0 else 0.0

    def _observe(self, job: WindowJob, builder: WindowBuilder, stopping: threading.Event) -> None:
        def unwanted() -> bool:
            return stopping.is_set() or job.segment is not self.segment

        started, scene = time.perf_counter(), None
        try:
            scene = self._runtime.observe(job.window, cancelled=unwanted)
            observe_ms = (time.perf_counter() - started) * 1e3
            check_geometry(scene.geometry, len(job.window))
            T_base_cams = {name: it.T_base_cam for name, it in self.extrinsics.items()}
            geometry = self.optics.corrected(scene.geometry, job.window, T_base_cams)
            with self._committing:
                if not unwanted():
                    kept, scene = scene, None  # from here on it is the store's to close
                    self._keep(job, builder, kept, geometry, observe_ms)
        except ObservationCancelledError:
            builder.give_back(job)
        except Exception as error:  # a foreign runtime's: one window must not end the pipeline
            builder.give_back(job)
            if not stopping.is_set():
                text = f"{type(error).__name__}: {error}"
                self._board.condition("RUNTIME_FAILED", True, text)
        finally:
            if scene is not None:
                scene.close()

    def _keep(
        self,
        job: WindowJob,
        builder: WindowBuilder,
        scene: Scene,
        geometry: GeometryPrediction,
        observe_ms: float,
    ) -> None:
        """Make a scene part of its segment and tell it."""
        started = time.perf_counter()
        segment, placed, overlap = self._joined(job, geometry)
        builder.commit(job, segment)
        self.segment = segment
        self._board.count_used(job.new_frames)
        newest = job.newest[0]
        T_map_cam = None
        self._grow_world(job, geometry, placed, segment.number)
        if job.window.frames[newest].camera == self.options.cameras[0]:
            T_map_cam = placed.pose(geometry.T_world_cam[newest])
            segment.add_pose(PathPose(job.window.frames[newest].stamp_ns, T_map_cam))
        record = SceneRecord(
            scene, newest, placed.scale, segment.number, job.newest, T_map_cam, geometry
        )
        self._scenes.add(record)  # first: who has heard of a scene may ask about it
        failures = self._emit(SceneReady(record))
        if failures:
            self._board.condition("RUNTIME_FAILED", True, "; ".join(failures))
            return
        self._note_parallax(job)  # ahead of the count: who sees that sees what is said of it
        shared_view = self._note_overlap(scene, newest)
        now_ns = time.monotonic_ns()
        latency = Latency(
            (now_ns - job.moments[-1].received_ns) / 1e6,
            observe_ms,
            (time.perf_counter() - started) * 1e3,
        )
        goes_on = self.newest.segment == segment.number
        self.newest = Newest(
            stamp_ns=record.stamp_ns,
            segment=segment.number,
            first_stamp_ns=self.newest.first_stamp_ns if goes_on else record.stamp_ns,
            keyframes=len(job.moments),
            overlap=overlap,
            shared_view=shared_view,
            latency=latency,
        )
        self._board.count_scene()
        self._board.condition("RUNTIME_FAILED", False)
        self._emit(PassFinished(latency))

    def _grow_world(
        self, job: WindowJob, geometry: GeometryPrediction, placed: Similarity, segment: int
    ) -> None:
        """Add the newest moment as a keyframe where the window's similarity puts it."""
        frames = [job.window.frames[index] for index in job.newest]
        known = self.world.keyframes
        number = known[-1].keyframe.number + 1 if known else 1
        made = make_keyframe(number, frames, geometry, job.newest, FeatureOptions(count=8))
        T_map_body = placed.pose(geometry.T_world_cam[job.newest[0]])
        scale = float(np.log(placed.scale))
        added = PlacedKeyframe(made, T_map_body, scale, np.zeros((6, 6)), segment)
        world = replace(self.world, segment=segment, keyframes=(*known, added))
        world, told = self._axes.apply(world)
        self.world = replace(world, version=world.version + bool(told))
        if told:
            self._emit(MapChanged(self.world.version, "level", told))

    def _joined(
        self, job: WindowJob, geometry: GeometryPrediction
    ) -> tuple[Segment, Similarity, int]:
        """The segment that holds the window now, its place in there, the moments it shares."""
        try:
            return job.segment, job.segment.join(job.moments, geometry), job.overlap
        except JoinError as error:
            old, text = job.segment.number, str(error)
        segment = Segment(old + 1, self.options.path.max_poses)
        placed = segment.join(job.moments, geometry)
        told = f"{text}; segment {segment.number} starts"
        self._board.event("SEGMENT_BROKEN", told, time.monotonic())
        self._emit(SegmentBroken(old, text))
        self._emit(SegmentStarted(segment.number, "broken", text))
        return segment, placed, 0

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


def fitting_window(
    window: WindowOptions, cameras: int, limits: RuntimeLimits | None
) -> WindowOptions:
    """The window as far as a runtime takes it.

    Args:
        window: As asked for.
        cameras: Frames of a moment.
        limits: Of the runtime; None where it does not say.

    Raises:
        ValueError: Not even the smallest window that the other options need can be had.
    """
    if limits is None or window.size * cameras <= limits.max_frames:
        return window
    most = limits.max_frames // cameras
    least = max(2, window.min_moments, window.overlap + 1)
    if most < least:
        raise ValueError(
            f"the runtime takes {limits.max_frames} frames, which are {most} moments of {cameras} "
            f"cameras; window.min_moments = {window.min_moments} and window.overlap = "
            f"{window.overlap} need {least}; lower them, or use fewer cameras"
        )
    return replace(window, size=most)
