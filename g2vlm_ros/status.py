"""The state of the node in one place: counters, reason codes that flip, quiet logs.

A *condition* holds until it is cleared (NO_IMAGES). An *event* holds for a while after it
last happened (BAD_IMAGES), so that a status reader once a second cannot miss it. No rclpy;
every method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DROP_CODES", "REASON_CODES", "Reason", "StatusBoard"]

REASON_CODES: dict[str, str] = {
    "NO_IMAGES": "A camera delivers no pictures.",
    "NO_CAMERA_INFO": "A camera delivers pictures but no CameraInfo; its K is unknown.",
    "BAD_CAMERA_INFO": "A CameraInfo holds no usable K, or one of another picture size.",
    "BAD_IMAGES": "Pictures were refused: their fields contradict each other or cannot be read.",
    "TIME_JUMP": "Stamps went back or leapt; a leap starts a new segment.",
    "LOW_PARALLAX": "The window's pictures hardly differ: depth rests on appearance alone.",
    "LOW_OVERLAP": "The newest pictures share too little with the rest of their window.",
    "SCALE_UNKNOWN": "Lengths are up to scale: nothing metric fixes them.",
    "SEGMENT_BROKEN": "The last window could not be joined with the one before.",
    "RUNTIME_FALLBACK": "Another device, precision or runtime runs than was asked for.",
    "ENGINE_BUILDING": "What was asked for is being built; another runtime serves meanwhile.",
    "RUNTIME_FAILED": "The runtime failed at the last window or at a question.",
    "OVERLOADED": "Questions were turned away or pictures dropped because all places are taken.",
    "QUERY_REJECTED": "A question was refused: see its answer's message.",
    "INCOMPATIBLE_QOS": "A publisher's QoS cannot serve a subscription; nothing arrives from it.",
}

# Reason code of a dropped picture; "" is policy and no reason for a warning.
DROP_CODES: dict[str, str] = {
    "not_keyframe": "",
    "superseded": "",
    "reset": "",
    "deactivated": "",
    "time_jump": "TIME_JUMP",
    "out_of_order": "TIME_JUMP",
    "unsynchronised": "",
    "no_free_slot": "OVERLOADED",
    "bad_size": "BAD_IMAGES",
    "bad_data": "BAD_IMAGES",
    "bad_encoding": "BAD_IMAGES",
    "bad_stamp": "BAD_IMAGES",
    "bad_frame_id": "BAD_IMAGES",
}

_REPEAT_LOG_S = 60.0  # a reason that stays in force is logged again after this time
_QUIET_S = 10.0  # a reason that flickers is logged no more often than this


@dataclass(frozen=True)
class Reason:
    """A reason code in force and its explanation with the present values."""

    code: str
    text: str


class StatusBoard:
    """Counters since activation and the reasons in force.

    Args:
        hold_s: How long an event stays in force.
        tolerated: Codes that do not make the state degraded.
    """

    def __init__(self, hold_s: float, tolerated: Sequence[str] = ()) -> None:
        self.hold_s = hold_s
        self.tolerated = frozenset(tolerated)
        self._lock = threading.Lock()
        self._conditions: dict[tuple[str, str], str] = {}  # (code, source) -> text
        self._events: dict[str, tuple[float, str]] = {}  # code -> (until, text)
        self._logged: dict[str, float] = {}  # code -> time of its last line
        self._announced: set[str] = set()
        self.clear_counts()

    def clear_reasons(self) -> None:
        """Nothing is in force any more: the node is not active."""
        with self._lock:
            self._events = {}
            self._conditions = {}

    def clear_counts(self) -> None:
        """Zero the counters: a new activation."""
        with self._lock:
            self.received = 0
            self.used = 0
            self.scenes = 0
            self.drops: Counter[str] = Counter()
            self.queries: Counter[str] = Counter()

    def count_received(self) -> None:
        """A picture has arrived, good or bad."""
        with self._lock:
            self.received += 1

    def count_used(self, frames: int) -> None:
        """Pictures were taken into a window for the first time."""
        with self._lock:
            self.used += frames

    def count_scene(self) -> None:
        """A scene was published."""
        with self._lock:
            self.scenes += 1

    def count_query(self, kind: str) -> None:
        """A question was "received", "answered" or "rejected"."""
        with self._lock:
            self.queries[kind] += 1

    def drop(self, reason: str, frames: int) -> None:
        """Pictures were dropped by policy."""
        assert reason in DROP_CODES, reason
        if frames:
            with self._lock:
                self.drops[reason] += frames

    def refuse(self, reason: str, text: str, now: float) -> None:
        """A picture was dropped because of what it is; raises the event of that reason."""
        self.drop(reason, 1)
        code = DROP_CODES[reason]
        if code:
            self.event(code, f"{reason} ({self.drops[reason]} pictures so far): {text}", now)

    def event(self, code: str, text: str, now: float) -> None:
        """Something happened: the code is in force for `hold_s` from now."""
        assert code in REASON_CODES, code
        with self._lock:
            self._events[code] = (now + self.hold_s, text)

    def condition(self, code: str, holds: bool, text: str = "", source: str = "") -> None:
        """Set or clear a lasting condition of one source (a camera, a topic)."""
        assert code in REASON_CODES, code
        with self._lock:
            if holds:
                self._conditions[code, source] = text
            else:
                self._conditions.pop((code, source), None)

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
        return any(reason.code not in self.tolerated for reason in reasons)

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
                lines.append(f"{code}: {text}")
        for code in sorted(self._announced - set(in_force)):
            self._announced.discard(code)
            lines.append(f"{code}: over")
        return lines

    def drop_counts(self) -> list[tuple[str, int]]:
        """Dropped pictures by reason, sorted by name."""
        with self._lock:
            return sorted(self.drops.items())
