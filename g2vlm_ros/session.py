"""One activation of the node: pictures in at one end, scenes and answers out at the other.

Owns everything between `activate` and `deactivate`: the cameras' state, the window builder,
the worker, the kept scenes, the question desk, the segment's map. No rclpy: messages come in
as objects with fields, `outputs` is anything with the methods of `Publisher`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.decode import BadInputError
from g2vlm_map.join import JoinError, SegmentMap, Similarity
from g2vlm_map.scenes import SceneRecord, SceneStore
from g2vlm_map.window import KeyframeRules, Synchroniser, WindowBuilder, WindowJob, WindowRules
from g2vlm_model.interface import AnswerStatus, Scene, SpatialRuntime
from g2vlm_ros.cameras import CameraIntake
from g2vlm_ros.params import NodeParams
from g2vlm_ros.queries import QueryDesk, QueryLimits
from g2vlm_ros.status import StatusBoard
from g2vlm_ros.worker import SceneWorker

__all__ = ["Latency", "Publisher", "Session"]

NS = 1_000_000_000
_WAITING_FOR_PARTNERS = 8  # pictures per camera that the synchroniser may hold


class Publisher(Protocol):
    """Where scenes go; `outputs.Outputs` in the node."""

    def publish(
        self, record: SceneRecord, moment: list[int], T_map_cam: NDArray[np.float64] | None
    ) -> None:
        """Publish a scene; see `Outputs.publish`."""
        ...

    def clear_path(self) -> None:
        """Begin a new path."""
        ...


@dataclass(frozen=True)
class Latency:
    """Milliseconds of the last scene; negative before the first.

    Args:
        total: From the receipt of the newest picture to the end of the publication.
        observe: In the runtime.
        publish: Joining, building and publishing the messages.
    """

    total: float = -1.0
    observe: float = -1.0
    publish: float = -1.0


class Session:
    """Everything that lives while the node is active.

    Args:
        params: Checked parameters.
        runtime: The loaded model; not closed here.
        board: Counters and reasons.
        outputs: Called in the worker's thread with every scene.
        on_published: Called in the worker's thread after every scene.
    """

    def __init__(
        self,
        params: NodeParams,
        runtime: SpatialRuntime,
        board: StatusBoard,
        outputs: Publisher,
        on_published: Callable[[], None] = lambda: None,
    ) -> None:
        self._params = params
        self._board = board
        self._outputs = outputs
        self._on_published = on_published
        names = [camera.name for camera in params.cameras]
        size = params.count("window.size")
        # Alive at once at most: the kept scenes, the one in work, the keyframes that wait.
        slots = size * (params.count("scenes.keep") + 3) + _WAITING_FOR_PARTNERS
        self.cameras = {
            camera.name: CameraIntake(camera, slots, params.count("images.max_pixels"))
            for camera in params.cameras
        }
        self._synchroniser = Synchroniser(
            names, round(params.number("sync.tolerance_s") * NS), board.drop
        )
        self._builder = WindowBuilder(
            WindowRules(size, params.count("window.min_moments"), params.count("window.overlap")),
            _keyframe_rules(params),
            board.drop,
        )
        self._builder.reset("reset")  # segment 1
        self._map = SegmentMap()
        self._map_segment = 0
        self._overlap = 0
        self._keyframes = 0
        self._shared_view = -1.0
        self._scenes = SceneStore(params.count("scenes.keep"))
        self.desk = QueryDesk(
            runtime, self._scenes, names, _query_limits(params), self._count_answer
        )
        self._worker = SceneWorker(
            runtime, self._builder, self._count_used, self._on_scene, self._on_failure
        )
        self._publishing = threading.Lock()
        self._latency = Latency()
        self._started_ns = time.monotonic_ns()
        self._first_image_ns: dict[str, int] = {}

    def start(self) -> None:
        """Start the threads."""
        self._worker.start()
        self.desk.start()

    def stop(self, why: str) -> None:
        """Answer open questions, end the threads, close the scenes."""
        self.desk.cancel_all(why)
        self._worker.stop()
        self.desk.stop(why)
        self._synchroniser.clear("deactivated")
        self._builder.reset("deactivated")
        self._scenes.clear()

    def apply(self, params: NodeParams) -> None:
        """Take over parameters that may change while active."""
        self._params = params
        self._builder.keyframe_rules = _keyframe_rules(params)
        self.desk.limits = _query_limits(params)

    def receive(self, camera: str, message: Any) -> None:
        """Take a picture in; what is wrong with it is counted, never raised."""
        now_ns = time.monotonic_ns()
        self._board.count_received()
        self._first_image_ns.setdefault(camera, now_ns)
        try:
            received = self.cameras[camera].receive(
                message, now_ns, self._params.number("images.max_jump_s")
            )
        except BadInputError as error:
            self._board.refuse(error.reason, f"{camera}: {error}", now_ns / NS)
            return
        self._note_camera_info(camera, now_ns)
        if received.jump:
            self._board.event("TIME_JUMP", f"{received.jump}; a new segment starts", now_ns / NS)
            self._restart("time_jump", "the pictures' time leapt")
        timeout_s = self._params.number("images.timeout_s")
        silent = frozenset(
            name
            for name, intake in self.cameras.items()
            if len(self.cameras) > 1 and intake.silent(now_ns, self._started_ns, timeout_s)
        )
        moment = self._synchroniser.add(received.frame, now_ns, silent)
        if moment is not None:
            self._builder.offer(moment)

    def receive_info(self, camera: str, info: Any) -> None:
        """Take a CameraInfo in."""
        self.cameras[camera].receive_info(info)
        self._note_camera_info(camera, time.monotonic_ns())

    def reset(self) -> int:
        """Forget scenes, windows and open questions; returns the new segment's number."""
        return self._restart("reset", "the node was reset")

    def check(self, now_ns: int) -> list[str]:
        """Update the conditions that follow from time passing; names of the silent cameras."""
        timeout_s = self._params.number("images.timeout_s")
        for name in self._first_image_ns:
            self._note_camera_info(name, now_ns)
        return [
            name
            for name, intake in self.cameras.items()
            if intake.silent(now_ns, self._started_ns, timeout_s)
        ]

    def fill(self, status: Any) -> None:
        """Write the session's numbers into a `SceneStatus`."""
        latency = self._latency
        status.keyframes = self._keyframes
        status.segment = self._builder.segment
        status.overlap_frames = self._overlap
        status.shared_view = self._shared_view
        status.latency_ms = latency.total
        status.observe_ms = latency.observe
        status.publish_ms = latency.publish
        status.queries_waiting = self.desk.waiting

    @property
    def pending_frames(self) -> int:
        """Pictures that were neither used nor dropped yet."""
        return self._synchroniser.waiting + self._builder.pending_frames

    def _restart(self, reason: str, why: str) -> int:
        self._synchroniser.clear(reason)
        with self._publishing:  # a scene of the old segment is out before, or never comes
            segment = self._builder.reset(reason)
            self._scenes.clear()
            self._outputs.clear_path()
        self.desk.cancel_all(why)
        return segment

    def _note_camera_info(self, camera: str, now_ns: int) -> None:
        intake = self.cameras[camera]
        topic = intake.camera.camera_info_topic
        if not topic:
            return
        first_ns = self._first_image_ns.get(camera, now_ns)
        waited = now_ns - first_ns > self._params.number("images.timeout_s") * NS
        missing = not intake.has_info and waited
        self._board.condition(
            "NO_CAMERA_INFO", missing, f"nothing on {topic}; K stays unknown", camera
        )
        problem = intake.info_problem
        self._board.condition("BAD_CAMERA_INFO", bool(problem), problem, camera)

    def _on_failure(self, job: WindowJob, text: str) -> None:
        self._board.condition("RUNTIME_FAILED", True, text)

    def _on_scene(self, job: WindowJob, scene: Scene, observe_ms: float) -> None:
        """Join, publish and keep a scene; in the worker's thread."""
        started = time.perf_counter()
        with self._publishing:
            if job.segment != self._builder.segment:  # a reset came in between
                scene.close()
                return
            if job.segment != self._map_segment:
                self._map_segment = job.segment
                self._map.clear()
                self._outputs.clear_path()
            placed = self._join(job, scene)
            newest, moment = _newest_moment(job)
            record = SceneRecord(scene, newest, placed.scale, self._map_segment)
            reference = next(iter(self.cameras))
            leads = record.frames[newest].camera == reference
            T_map_cam = placed.pose(scene.geometry.T_world_cam[newest]) if leads else None
            self._scenes.add(record)  # first: who has heard of a scene may ask about it
            self._outputs.publish(record, moment, T_map_cam)
        finished_ns = time.monotonic_ns()
        self._note_parallax(job)  # ahead of the count: who sees that sees what is said of it
        self._note_overlap(scene, newest)
        self._board.count_scene()
        self._board.condition("RUNTIME_FAILED", False)
        self._keyframes = len(job.moments)
        self._latency = Latency(
            (finished_ns - job.moments[-1].received_ns) / 1e6,
            observe_ms,
            (time.perf_counter() - started) * 1e3,
        )
        self._on_published()

    def _join(self, job: WindowJob, scene: Scene) -> Similarity:
        keys = [frame.key for frame in job.window.frames]
        try:
            placed = self._map.join(keys, scene.geometry)
            self._overlap = job.overlap
        except JoinError as error:
            self._map_segment = self._builder.renumber()
            self._board.event(
                "SEGMENT_BROKEN", f"{error}; segment {self._map_segment} starts", time.monotonic()
            )
            self._overlap = 0
            self._map.clear()
            self._outputs.clear_path()
            placed = self._map.join(keys, scene.geometry)
        return placed

    def _note_parallax(self, job: WindowJob) -> None:
        least = self._params.number("keyframe.min_parallax")
        self._board.condition(
            "LOW_PARALLAX",
            job.parallax < least,
            f"largest parallax between keyframes is {job.parallax:.4f} picture widths, below "
            f"keyframe.min_parallax = {least:g}; move the camera sideways",
        )

    def _note_overlap(self, scene: Scene, earlier: int) -> None:
        """Whether the newest picture belongs to the `earlier` ones of its window."""
        overlap_N, least = scene.overlap, self._params.number("window.min_shared_view")
        self._shared_view = -1.0
        if overlap_N is not None and earlier > 0:
            self._shared_view = float(overlap_N[:earlier].max())
        self._board.condition(
            "LOW_OVERLAP",
            0 <= self._shared_view < least,
            f"the newest picture's shared view is {self._shared_view:.2f}, below "
            f"window.min_shared_view = {least:g}: the camera moved too far between keyframes, or "
            "sees what the model does not know",
        )

    def _count_used(self, job: WindowJob) -> None:
        self._board.count_used(sum(len(moment.frames) for moment in job.moments[job.overlap :]))

    def _count_answer(self, status: AnswerStatus, message: str) -> None:
        now = time.monotonic()
        self._board.count_query("received")
        answered = status in (AnswerStatus.OK, AnswerStatus.TRUNCATED)
        self._board.count_query("answered" if answered else "rejected")
        if status == AnswerStatus.OVERLOADED:
            self._board.event("OVERLOADED", message, now)
        elif status in (AnswerStatus.REJECTED, AnswerStatus.NO_SCENE):
            self._board.event("QUERY_REJECTED", message, now)
        elif status == AnswerStatus.FAILED:
            self._board.event("RUNTIME_FAILED", f"question: {message}", now)


def _keyframe_rules(params: NodeParams) -> KeyframeRules:
    return KeyframeRules(
        min_motion=params.number("keyframe.min_motion"),
        min_interval_s=params.number("keyframe.min_interval_s"),
        max_interval_s=params.number("keyframe.max_interval_s"),
    )


def _query_limits(params: NodeParams) -> QueryLimits:
    return QueryLimits(
        queue=params.count("query.queue"),
        timeout_s=params.number("query.timeout_s"),
        max_tokens=params.count("query.max_tokens"),
    )


def _newest_moment(job: WindowJob) -> tuple[int, list[int]]:
    """Index of the newest moment's first frame, and the indices of all of its frames."""
    count = len(job.moments[-1].frames)
    first = len(job.window) - count
    return first, list(range(first, first + count))
