# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames in; scenes, segments and answers out: the embeddable object.

    with Pipeline(runtime) as pipeline:
        pipeline.add(InputFrame(image, stamp_ns))
        pipeline.wait()
        answer = pipeline.ask("How far away is A?", marks=[Mark(320, 240, "A")]).answer

`add` checks a frame and decides; it never waits for the model. One thread runs the passes, on
the newest window when the model is free; one asks questions; one looks at the clock. What
happens is told to listeners (`events.py`); how things stand, to whoever asks (`snapshot`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from g2vlm_model.interface import AnswerStatus, SpatialRuntime

from .camera_model import CameraInfoLike
from .cameras import InputFrame
from .events import QuestionAnswered
from .intake import Intake
from .listeners import Listener, Listeners
from .map_desk import MapDesk
from .map_keeper import KeepsMaps, MapKeeper
from .mapping.mapper import Mapper
from .mapping.sensed_edges import SensedEdges
from .mapping.store import MapContent
from .measured_depth import MeasuredDepth
from .option_fields import described, flat
from .options import PipelineOptions
from .passes import Passes
from .question_line import Cancel, Watch
from .questions import Mark, Question, QuestionDesk, Reply, Respond
from .scale.tracker import ScaleTracker
from .scenes import SceneRecord, SceneStore
from .sensing import Sample
from .status import Snapshot, StatusBoard
from .world import PathPose, World
from .world_view import WorldView

__all__ = ["InputFrame", "Mark", "Pipeline", "Question"]

STOP_S = 0.8  # how long `stop` waits for the runtime
_WATCH_S = 0.1


class Pipeline(KeepsMaps):
    """Everything between frames and answers; start and stop it as often as you like.

    Args:
        runtime: The loaded model; not closed here.
        options: All defaults where None.
        on_event: The first listener; see `listen`.

    Raises:
        ValueError: The runtime takes fewer frames than the smallest window of these cameras.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        options: PipelineOptions | None = None,
        on_event: Listener | None = None,
    ) -> None:
        options = options or PipelineOptions()
        self.options, self._runtime = options, runtime
        self._listeners = Listeners(on_event)
        self._emit = self._listeners.tell
        self.board = StatusBoard(options.status, self._emit)
        self._scenes = SceneStore(options.scenes.keep)
        reference = options.cameras[0]
        self._scale = ScaleTracker(options.scale, self.board, self._emit)
        self._sensed = SensedEdges(
            *(self._scale.samples, reference),
            lambda why: self.board.event("SENSOR_REFUSED", why, time.monotonic()),
        )
        self.mapper = Mapper(options.mapping, reference, self._sensed)
        self._view = WorldView(self.mapper, reference, lambda: self._scale.estimate)
        self._depth = MeasuredDepth(options.depth, self.board)
        self._passes = Passes(
            *(runtime, options, self.board, self._scenes, self.mapper, self._scale, self._view),
            *(self._depth, self._emit, lambda more: self._intake.want_more(more)),
        )
        self._keeper = MapKeeper(
            *(runtime, options, self.board, self.mapper, self._view, self._scale, self._passes)
        )
        self._passes.await_loops = self._keeper.closer.wait_idle
        self._intake: Intake = Intake(
            *(options, self.board, self._emit),
            lambda moment: self._passes.builder.offer(moment),
            self._restart,
        )
        self.map_desk = MapDesk(self._scenes, self._scale)
        self._desk = QuestionDesk(
            *(runtime, self._scenes, options, self._on_reply),
            *(lambda: self._view.now, self.board, self._intake.live),
        )
        self._stopping = threading.Event()
        self._stopping.set()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Pipeline:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop("the pipeline has ended")

    # From start to stop.

    @property
    def running(self) -> bool:
        """Between `start` and `stop`."""
        return not self._stopping.is_set()

    def start(self) -> None:
        """Start the threads; counters begin at zero, segments at 1, and nothing is paused.

        Where a pass that `stop` gave up still runs, the first new one waits for its end, and
        RUNTIME_BUSY says so.
        """
        assert not self.running, "the pipeline runs already"
        self.board.clear_counts()
        self._intake.start()
        self.pause(False)  # the reason that would say so went with the last `stop`
        self._stopping = stopping = threading.Event()
        self._scale.start()
        self._passes.start()
        self._keeper.start()
        self._desk.start()
        self._watch = threading.Thread(
            target=self._run_watch, args=(stopping,), name="g2vlm-watch", daemon=True
        )
        self._watch.start()

    def stop(self, why: str = "the pipeline was stopped") -> None:
        """Answer open questions with CANCELLED, end the threads, close the scenes.

        Returns within a second: a pass or an answer that does not end by then is given up, and
        what comes of it is thrown away.

        Raises:
            RuntimeError: Called by a listener.
        """
        self._listeners.refuse("stop")
        if not self.running:
            return
        deadline = time.monotonic() + STOP_S
        self._stopping.set()
        self._passes.cancel()
        self._keeper.cancel()
        self._desk.stop(why, STOP_S)
        self._passes.stop(max(0.0, deadline - time.monotonic()))
        self._keeper.stop(max(0.0, deadline - time.monotonic()))
        if self._watch is not None:
            self._watch.join()
        self._intake.stop("deactivated")
        self._scenes.clear()
        self.board.clear_reasons()

    def ended(self, timeout_s: float | None = None) -> bool:
        """Whether nothing runs in the runtime any more, also of what `stop` gave up.

        Args:
            timeout_s: How long to wait for that; None waits as long as it takes.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._passes.ended(timeout_s) and self._desk.ended(
            None if deadline is None else max(0.0, deadline - time.monotonic())
        )

    def reset(self, why: str = "the pipeline was reset") -> int:
        """Forget scenes, windows and open questions; the number of the new segment.

        Raises:
            RuntimeError: Called by a listener.
        """
        self._listeners.refuse("reset")
        with self._intake.lock:
            return self._restart("reset", why)

    def pause(self, paused: bool, why: str = "") -> None:
        """Use no frames from now on and say why, or use them again; map and scenes stay."""
        self._intake.pause(paused)
        self.board.condition("PAUSED", paused, why)

    @property
    def paused(self) -> bool:
        """Whether frames are dropped because of `pause`."""
        return self._intake.paused

    def apply(self, options: PipelineOptions) -> None:
        """Take over options that may change while it runs.

        Raises:
            ValueError: Another one differs.
        """
        old, new = flat(self.options), flat(options)
        for name, made in described(PipelineOptions).items():
            if old[name] != new[name] and not made.changeable:
                raise ValueError(f"{name} is fixed: it is {old[name]!r}, asked for {new[name]!r}")
        self.options = options
        self.board.options = options.status
        self._desk.options = options
        self._intake.apply(options)
        self._passes.apply(options)

    # In.

    def add(self, frame: InputFrame) -> None:
        """Take a frame in. What is wrong with it is counted and told, never raised.

        Raises:
            ValueError: It names a camera that does not exist.
        """
        if not self.running:
            self.board.count_received()
            self.board.drop("deactivated", 1)
            return
        self._intake.add(frame)

    def sense(self, sample: Sample) -> None:
        """Take in what a sensor beside the cameras says; see `sensing.py`.

        In any order and from any thread; it is looked at when a keyframe of its time comes.
        """
        self._intake.sense(sample)
        self._depth.sense(sample)
        self._scale.sense(sample)
        self._view.sense(sample)
        self._sensed.sense(sample)

    def calibrate(self, camera: str, info: CameraInfoLike, rectified: bool | None = None) -> None:
        """Take over a camera's intrinsics; refused in a listener, as `reset` is.

        Args:
            camera: Its name.
            info: K, lens, binning, region of interest; `camera_model` says what is read.
            rectified: Whether its frames are straight already; None: as the lens says.
        """
        self._listeners.refuse("calibrate")
        changed = self._intake.calibrate(camera, info, rectified)
        if changed and camera == self.options.cameras[0]:
            self._scale.recalibrated()

    def expect_calibration(
        self, camera: str, source: str, sent: Callable[[], bool] | None = None
    ) -> None:
        """See `Intake.expect_calibration`."""
        self._intake.expect_calibration(camera, source, sent)

    def tell_clock(self, clock_ns: Callable[[], int]) -> None:
        """CLOCK_SKEW where stamps are of another clock than this one, ns; 0 while it is unknown."""
        self._intake.clock_ns = clock_ns

    def explain_silence(self, explain: Callable[[str], str]) -> None:
        """Let somebody who knows more say why a camera delivers nothing, by its name."""
        self._intake.explain_silence = explain

    def ask(self, question: str | Question, marks: Sequence[Mark] = ()) -> Reply:
        """Ask, and wait for the answer; it always comes, of whatever status.

        Args:
            question: Words, or all that can be said with them.
            marks: Places that it is about, beside those of the question.
        """
        done = threading.Event()
        replies: list[Reply] = []

        def respond(reply: Reply) -> None:
            replies.append(reply)
            done.set()

        asked = Question(question) if isinstance(question, str) else question
        self.submit(replace(asked, marks=(*asked.marks, *marks)), respond)
        done.wait()
        return replies[0]

    def submit(self, question: Question, respond: Respond, watch: Watch | None = None) -> Cancel:
        """Ask; `respond` gets the answer, once, from any thread; see `QuestionDesk.submit`."""
        return self._desk.submit(question, respond, watch)

    # Out.

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell somebody all events from now on; returns what ends that.

        A listener runs in the thread that the event came about in, and holds that up: it may ask
        how things stand and `pause`, but neither hand frames in nor `calibrate`, `reset`, `stop`.
        """
        return self._listeners.add(listener)

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Wait until every keyframe has had its scene and was looked for; False after the time.

        Keyframes too few for a first window are not waited for.
        """
        idle = self._passes.builder.wait_idle(timeout_s)
        return idle and self._keeper.closer.wait_idle(timeout_s)

    @property
    def scene(self) -> SceneRecord | None:
        """The newest scene."""
        return self._scenes.newest

    @property
    def world(self) -> World:
        """The map as it is now; it never changes, the next one is another object."""
        return self._view.now

    @property
    def path(self) -> tuple[PathPose, ...]:
        """Where the reference camera was in the present segment."""
        return self._view.path(self.options.path.max_poses)

    @property
    def pending_frames(self) -> int:
        """Frames that were neither used nor dropped yet."""
        return self._intake.pending_frames + self._passes.builder.pending_frames

    def snapshot(self) -> Snapshot:
        """How things stand now."""
        board, newest, info = self.board, self._passes.newest, self._runtime.info
        board.condition("ENGINE_BUILDING", info.building is not None, str(info.building))
        board.condition("RUNTIME_FALLBACK", bool(info.fallback_reason), info.fallback_reason)
        reasons = tuple(board.reasons(time.monotonic()))
        return Snapshot(
            running=self.running,
            received=board.received,
            used=board.used,
            scenes=board.scenes,
            drops=board.drop_counts(),
            questions_received=board.questions["received"],
            questions_answered=board.questions["answered"],
            questions_rejected=board.questions["rejected"],
            questions_waiting=self._desk.waiting,
            segment=self.mapper.segment,
            scene_stamp_ns=newest.stamp_ns,
            scene_segment=newest.segment,
            first_scene_stamp_ns=newest.first_stamp_ns,
            keyframes=newest.keyframes,
            overlap=newest.overlap,
            shared_view=newest.shared_view,
            latency=newest.latency,
            window_size=self._passes.window.size,
            runtime=info,
            reasons=reasons,
            degraded=board.degraded(reasons),
            cameras=self._passes.optics.cameras,
            errors=board.error_counts(),
            map_counts=self._keeper.counts,
            pass_s=self._passes.pass_s,
        )

    # What follows.

    def _restart(self, cause: str, text: str) -> int:
        """Begin a new segment that shares nothing with what was before; the intake is locked."""
        self._intake.clear(cause)
        number = self._passes.restart(cause, text)
        if cause == "reset":
            self._keeper.forget()
        self._desk.cancel_all(text)
        return number

    def _exchange(self, content: MapContent) -> str:
        """Put a map in the place of the present one."""
        self._listeners.refuse("load_map")
        with self._intake.lock:
            self._intake.clear("reset")
            text = self._keeper.put_in(content)
            self._desk.cancel_all(text)
        return text

    def _run_watch(self, stopping: threading.Event) -> None:
        while not stopping.wait(_WATCH_S):
            with self.board.guard("watch", "looking for questions that are late"):
                self._desk.expire()
            with self.board.guard("cameras", "looking at what cameras lack"):
                self._intake.check()

    def _on_reply(self, reply: Reply) -> None:
        status, message, now = reply.answer.status, reply.answer.message, time.monotonic()
        self.board.count_question("received")
        answered = status in (AnswerStatus.OK, AnswerStatus.TRUNCATED)
        self.board.count_question("answered" if answered else "rejected")
        if status == AnswerStatus.OVERLOADED:
            self.board.event("OVERLOADED", message, now)
        elif status in (AnswerStatus.REJECTED, AnswerStatus.NO_SCENE):
            self.board.event("QUERY_REJECTED", message, now)
        elif status == AnswerStatus.FAILED:
            self.board.event("RUNTIME_FAILED", f"question: {message}", now)
        self._emit(QuestionAnswered(reply))
