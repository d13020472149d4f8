# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pipeline's state in one place: counters, reason codes that flip, quiet logs.

A *condition* holds until it is cleared (NO_IMAGES). An *event* holds for a while after it
last happened (BAD_IMAGES), so that a status reader once a second cannot miss it. Every method
may be called from any thread; readers get a frozen `Snapshot`.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from g2vlm_model.interface import RuntimeInfo
from g2vlm_model.interface.words import plain

from .events import ConditionChanged, Emit, FramesDropped, Latency
from .known_rays import FocalEstimate
from .options import StatusOptions

__all__ = ["DROP_CODES", "REASON_CODES", "Reason", "Snapshot", "StatusBoard", "explained_at"]

REASON_CODES: dict[str, str] = {
    "NO_IMAGES": "A camera delivers no good frames.",
    "NO_CAMERA_INFO": "A camera delivers frames but no CameraInfo; its K is unknown.",
    "BAD_CAMERA_INFO": "A CameraInfo holds no usable K or lens, or is of another frame shape.",
    "CAMERA_CHANGED": "A camera's CameraInfo changed while it ran; frames from then on have it.",
    "BAD_IMAGES": "Frames were refused or are damaged: fields that contradict, data, no contrast.",
    "NO_EXTRINSICS": "A rig's camera has no known place on it: the model's guess stands for it.",
    "UNSYNCHRONISED": "The cameras' frames lie too far apart in time to belong together.",
    "TIME_JUMP": "Stamps went back or leapt; a leap starts a new segment.",
    "CLOCK_SKEW": "A camera's stamps are of another clock than the node's.",
    "LOW_PARALLAX": "The window's frames hardly differ: depth rests on appearance alone.",
    "LOW_OVERLAP": "The newest frames share too little with the rest of their window.",
    "FEW_MATCHES": "The newest keyframe hangs on fewer than two verified edges of the map.",
    "SCALE_UNKNOWN": "Lengths are up to scale: nothing metric fixes them.",
    "SCALE_CONFLICT": "Two sources of the scale contradict each other.",
    "SCALE_DRIFT": "A source says another scale than it did, or the map has no one scale.",
    "CALIBRATION_DOUBTFUL": "The pictures show other turns than odometry measures: K may be wrong.",
    "SENSOR_REFUSED": "Another sensor is not believed: it leaps, stands still, is in other units.",
    "DEPTH_MISSING": "depth.source asks for measured depth; the newest keyframe has none.",
    "SEGMENT_BROKEN": "A keyframe shares nothing with those before: a new segment starts.",
    "NOT_LOCALISED": "A map was loaded, and what is seen was not found in it yet.",
    "PLACES_ALIKE": "A place looks like another one where it cannot be; the loop was refused.",
    "MAP_FILE_FAILED": "A map could not be saved or loaded.",
    "RUNTIME_FALLBACK": "Another device, precision or runtime runs than was asked for.",
    "ENGINE_BUILDING": "What was asked for is being built; another runtime serves meanwhile.",
    "WINDOW_SHORTENED": "The runtime takes fewer frames than window.size asks for.",
    "RUNTIME_BUSY": "A pass that was given up still runs; the next window waits for its end.",
    "RUNTIME_SLOW": "A pass or an answer takes longer than a question may (query.timeout_s).",
    "RUNTIME_FAILED": "The runtime failed at the last window or at a question.",
    "UNEXPECTED_ERROR": "A thread met an error that nobody foresaw; it goes on.",
    "OVERLOADED": "Questions were turned away or frames dropped because all places are taken.",
    "QUERY_REJECTED": "A question was refused: see its answer's message.",
    "PAUSED": "Frames are not used: somebody asked for it, or nobody listens.",
    "TF_MISSING": "A transform or an odometry that was asked for is not known.",
    "TF_CONFLICT": "Another node gives a frame a parent already; the node's is not broadcast.",
    "EXTRINSICS_CHANGED": "A camera has moved on the robot since its place was taken over.",
    "ODOMETRY_JUMP": "The robot's odometry leapt or was reset; the leap is left out.",
    "OUTPUTS_MOVED": "Outputs moved between ~/... (metres) and ~/up_to_scale/... (map units).",
    "BASE_UNKNOWN": "Obstacles are asked for; where the cameras sit on the robot is unknown.",
    "NAME_TAKEN": "Another node has this one's name: who answers a question is chance.",
    "NOT_SAFETY_RATED": "Obstacles, scan or occupancy are listened to; they are no safety device.",
    "INCOMPATIBLE_QOS": "A publisher's QoS cannot serve a subscription; nothing arrives from it.",
}

# Reason code of a dropped frame; "" is policy and no reason for a warning.
DROP_CODES: dict[str, str] = {
    "not_keyframe": "",
    "superseded": "",
    "pass_failed": "",
    "failed": "",
    "reset": "",
    "paused": "",
    "deactivated": "",
    "time_jump": "TIME_JUMP",
    "frame_changed": "",
    "out_of_order": "TIME_JUMP",
    "unsynchronised": "",
    "no_free_slot": "OVERLOADED",
    "bad_size": "BAD_IMAGES",
    "bad_data": "BAD_IMAGES",
    "damaged": "BAD_IMAGES",
    "featureless": "BAD_IMAGES",
    "bad_encoding": "BAD_IMAGES",
    "bad_stamp": "BAD_IMAGES",
    "bad_frame_id": "BAD_IMAGES",
}

_LOG = logging.getLogger(__name__)

_REPEAT_LOG_S = 60.0  # a reason that stays in force is logged again after this time
_QUIET_S = 10.0  # a reason that flickers is logged no more often than this


def explained_at(code: str) -> str:
    """Where a reason code, or one of the doctor's, is explained: page and anchor."""
    return f"docs/troubleshooting.md#{code.lower()}"


@dataclass(frozen=True)
class Reason:
    """A reason code in force and its explanation with the present values."""

    code: str
    text: str


@dataclass(frozen=True)
class Snapshot:
    """How a pipeline stands at one moment.

    Args:
        running: Between `start` and `stop`; the numbers below are those since the start.
        received, used, scenes: Frames that came in, frames that a scene was made of, scenes.
        drops: (reason, frames), sorted by reason.
        questions_received, questions_answered, questions_rejected, questions_waiting: Counts.
        segment: Number of the present segment; 0 before the first start.
        scene_stamp_ns, scene_segment: Of the newest scene; 0 where there is none.
        first_scene_stamp_ns: Of the first scene of that segment.
        keyframes, overlap: Moments of the newest window, and those of them that the one before
            held too.
        shared_view: See `Scene.overlap`; of the newest frame with the best earlier one.
            Negative where unknown.
        latency: Of the newest scene.
        pass_s: Seconds that the pass that runs now has taken; negative where none runs.
        window_size: Moments that a window may hold with this runtime.
        runtime: What runs.
        reasons: In force, in the order of `REASON_CODES`.
        degraded: One of them is not tolerated.
        cameras: Focal length of each camera of the newest scene: given, or the model's averaged
            over the run, with its spread.
        errors: (work, unexpected errors at it), sorted; see `StatusBoard.guard`.
        map_counts: (what, how many) of the map's keyframes.
    """

    running: bool
    received: int
    used: int
    scenes: int
    drops: tuple[tuple[str, int], ...]
    questions_received: int
    questions_answered: int
    questions_rejected: int
    questions_waiting: int
    segment: int
    scene_stamp_ns: int
    scene_segment: int
    first_scene_stamp_ns: int
    keyframes: int
    overlap: int
    shared_view: float
    latency: Latency
    window_size: int
    runtime: RuntimeInfo
    reasons: tuple[Reason, ...]
    degraded: bool
    cameras: tuple[FocalEstimate, ...] = ()
    errors: tuple[tuple[str, int], ...] = ()
    map_counts: tuple[tuple[str, int], ...] = ()
    pass_s: float = -1.0

    @property
    def questions_open(self) -> bool:
        """Whether one has no answer yet."""
        return self.questions_received > self.questions_answered + self.questions_rejected

    @property
    def dropped(self) -> int:
        """Frames that were dropped for whatever reason."""
        return sum(frames for _, frames in self.drops)


class StatusBoard:
    """Counters since the start and the reasons in force.

    Args:
        options: How long events hold and what is tolerated; may be replaced at any time.
        emit: Told of frames that are dropped and of conditions that change.
    """

    def __init__(self, options: StatusOptions, emit: Emit = lambda event: None) -> None:
        self.options = options
        self._emit = emit
        self._lock = threading.Lock()
        self._conditions: dict[tuple[str, str], str] = {}  # (code, source) -> text
        self._events: dict[str, tuple[float, str]] = {}  # code -> (until, text)
        self._logged: dict[str, float] = {}  # code -> time of its last line
        self._announced: set[str] = set()
        self.clear_counts()

    def clear_reasons(self) -> None:
        """Nothing is in force any more: the pipeline has stopped."""
        with self._lock:
            self._events = {}
            over, self._conditions = self._conditions, {}
        for code, source in over:
            self._emit(ConditionChanged(code, source, False, ""))

    def clear_counts(self) -> None:
        """Zero the counters: a new start."""
        with self._lock:
            self.received = 0
            self.used = 0
            self.scenes = 0
            self.drops: Counter[str] = Counter()
            self.questions: Counter[str] = Counter()
            self.errors: Counter[str] = Counter()

    def count_received(self) -> None:
        """A frame has arrived, good or bad."""
        with self._lock:
            self.received += 1

    def count_used(self, frames: int) -> None:
        """A scene was made of frames for the first time."""
        with self._lock:
            self.used += frames

    def count_scene(self) -> None:
        """A scene is there and everybody has heard of it."""
        with self._lock:
            self.scenes += 1

    def count_question(self, kind: str) -> None:
        """A question was "received", "answered" or "rejected"."""
        with self._lock:
            self.questions[kind] += 1

    def drop(self, reason: str, frames: int) -> None:
        """Frames were dropped by policy."""
        assert reason in DROP_CODES, reason
        if frames:
            with self._lock:
                self.drops[reason] += frames
                total = self.drops[reason]
            self._emit(FramesDropped(reason, frames, total))

    def refuse(self, reason: str, text: str, now: float) -> None:
        """A frame was dropped because of what it is; raises the event of that reason."""
        self.drop(reason, 1)
        code = DROP_CODES[reason]
        if code:
            self.event(code, f"{reason} ({self.drops[reason]} frames so far): {text}", now)

    def event(self, code: str, text: str, now: float) -> None:
        """Something happened: the code is in force for `hold_s` from now."""
        assert code in REASON_CODES, code
        with self._lock:
            self._events[code] = (now + self.options.hold_s, plain(text))

    def condition(self, code: str, holds: bool, text: str = "", source: str = "") -> None:
        """Set or clear a lasting condition of one source (a camera, a topic)."""
        assert code in REASON_CODES, code
        text = plain(text)
        with self._lock:
            known = (code, source) in self._conditions
            if holds:
                self._conditions[code, source] = text
            else:
                self._conditions.pop((code, source), None)
        if known != holds:
            self._emit(ConditionChanged(code, source, holds, text if holds else ""))

    @contextmanager
    def guard(self, work: str, what: str) -> Iterator[None]:
        """Do one piece of a thread's work: an error that nobody foresaw must not end the thread.

        It is logged with its trace, counted, and UNEXPECTED_ERROR holds until a later piece of the
        same work was done without one.

        Args:
            work: Of which thread, or which part of its work.
            what: Which piece.
        """
        try:
            yield
        except Exception as error:
            _LOG.exception("%s: %s failed", work, what)
            with self._lock:
                self.errors[work] += 1
                count = self.errors[work]
            text = f"{what} failed ({count} times so far): {type(error).__name__}: {error}"
            self.condition("UNEXPECTED_ERROR", True, text, work)
        else:
            self.condition("UNEXPECTED_ERROR", False, source=work)

    def holds(self, code: str, source: str = "") -> bool:
        """Whether a condition is set."""
        with self._lock:
            return (code, source) in self._conditions

    def reasons(self, now: float) -> list[Reason]:
        """All reasons in force, in the order of `REASON_CODES`."""
        with self._lock:
            texts: dict[str, list[str]] = {}
            for (code, source), text in self._conditions.items():
                texts.setdefault(code, []).append(f"{source}: {text}" if source else text)
            for code, (until, text) in list(self._events.items()):
                if now >= until:
                    del self._events[code]
                else:
                    texts.setdefault(code, []).append(text)
        return [Reason(code, "; ".join(texts[code])) for code in REASON_CODES if code in texts]

    def degraded(self, reasons: Sequence[Reason]) -> bool:
        """Whether a reason is in force that is not tolerated."""
        return any(reason.code not in self.options.tolerated for reason in reasons)

    def messages(self, reasons: Sequence[Reason], now: float) -> list[str]:
        """What is worth a line in the log now: what is new, what is over, a rare reminder.

        A code that comes and goes is announced once per `_QUIET_S`, and its end only when
        its beginning was.
        """
        lines = []
        in_force = {reason.code: reason.text for reason in reasons}
        for code, text in in_force.items():
            wait = _REPEAT_LOG_S if code in self._announced else _QUIET_S
            if now - self._logged.get(code, -_REPEAT_LOG_S) >= wait:
                self._logged[code] = now
                self._announced.add(code)
                lines.append(f"{code}: {text} ({explained_at(code)})")
        for code in sorted(self._announced - set(in_force)):
            self._announced.discard(code)
            lines.append(f"{code}: over")
        return lines

    def drop_counts(self) -> tuple[tuple[str, int], ...]:
        """Dropped frames by reason, sorted by name."""
        with self._lock:
            return tuple(sorted(self.drops.items()))

    def error_counts(self) -> tuple[tuple[str, int], ...]:
        """Unexpected errors by the work that they befell, sorted by name."""
        with self._lock:
            return tuple(sorted(self.errors.items()))
