# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rig synchronisation: frames of one instant, one per camera, found by their stamps.

Cameras that expose at times of their own give no frames of one instant. Where every camera's place
on the rig is known, that is no harm: a moment then is a frame of the reference and the nearest one
of each other camera, and whoever places them takes the rig's pose of each frame's own stamp.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cameras import NS, Arrival
from .options import SyncOptions

__all__ = ["DropCounter", "Synchroniser"]

_BUFFERED = 8  # frames per camera that wait for their partners
_MISSED = 20  # moments without a camera, and it is told
_MARGIN = 1.1  # of a suggested tolerance over what was seen
_MAX_TOLERANCE_S = 1.0  # of `sync.tolerance_s`; beyond it clocks differ

DropCounter = Callable[[str, int], None]


@dataclass(frozen=True)
class _Gap:
    """How far a camera's frames lie from the reference's.

    Args:
        camera: Its name.
        offset_s: Median of (stamp - nearest reference stamp).
        needed_s: Median of the absolute values.
    """

    camera: str
    offset_s: float
    needed_s: float


class Synchroniser:
    """Puts frames of several cameras that belong together into one.

    Args:
        cameras: Names in rig order; the first that delivers sets the time.
        options: How far apart frames may lie.
        drop: Called with a reason and a number of frames for those without partners.

    Attributes:
        is_rigid: Every camera's place on the rig is known: frames of other instants are taken too.
    """

    def __init__(self, cameras: Sequence[str], options: SyncOptions, drop: DropCounter) -> None:
        self.is_rigid = False
        self._tolerance_s = options.tolerance_s
        self._tolerance_ns = round(options.tolerance_s * NS)
        self._gap_ns = max(self._tolerance_ns, round(options.max_gap_s * NS))
        self._max_gap_s = options.max_gap_s
        self._drop = drop
        self._waiting: dict[str, deque[Arrival]] = {name: deque() for name in cameras}
        self._missed = dict.fromkeys(cameras, 0)  # moments in a row without a camera

    @property
    def leaves_out(self) -> bool:
        """Whether a camera delivers frames that belong to no moment any more."""
        return max(self._missed.values()) >= _MISSED

    @property
    def waiting(self) -> int:
        """Frames that wait for partners."""
        return sum(len(queue) for queue in self._waiting.values())

    def add(self, arrival: Arrival, silent: frozenset[str]) -> tuple[Arrival, ...]:
        """Add a frame; returns those of the instant that it completes, in rig order, or none.

        Args:
            arrival: The frame.
            silent: Cameras that deliver nothing good at present and are not waited for.
        """
        if len(self._waiting) == 1:
            return (arrival,)
        queue = self._waiting[arrival.camera]
        queue.append(arrival)
        if len(queue) > _BUFFERED:
            queue.popleft()
            self._drop("unsynchronised", 1)
        expected = [n for n in self._waiting if n not in silent or n == arrival.camera]
        for base in reversed(self._waiting[expected[0]]):
            found = self._around(base, expected, self._tolerance_ns)
            if len(found) == len(expected):
                self._missed = dict.fromkeys(self._missed, 0)
                self._forget_until(found, self._tolerance_ns)
                return found
        return self._around_reference(expected) if self.is_rigid else ()

    def clear(self, reason: str, camera: str = "") -> None:
        """Drop what waits, of one camera or ("") of all."""
        for name, queue in self._waiting.items():
            if camera in ("", name):
                self._drop(reason, len(queue))
                queue.clear()

    def explain(self) -> str:
        """Why what waits finds no partners, and what would pair it; "" where nobody can tell."""
        left_out = [name for name, missed in self._missed.items() if missed >= _MISSED]
        if left_out:
            return (
                f"the last {_MISSED} moments and more had no frame of {', '.join(left_out)}: its "
                f"stamps lie further from the others' than sync.max_gap_s = {self._max_gap_s:g}; "
                "synchronise the cameras' clocks"
            )
        worst, reference = self._worst()
        if worst is None:
            return ""
        late = "after" if worst.offset_s >= 0 else "before"
        text = (
            f"frames of {worst.camera} are stamped {abs(worst.offset_s):.3f} s {late} those of "
            f"{reference}, further apart than sync.tolerance_s = {self._tolerance_s:g}"
        )
        if not self.pairing_tolerance_s:
            return f"{text}: the cameras' clocks differ; synchronise them"
        return (
            f"{text}; sync.tolerance_s = {self.pairing_tolerance_s:g} would pair them, and with "
            "the extrinsics of all cameras their own stamps are used"
        )

    @property
    def pairing_tolerance_s(self) -> float:
        """The `sync.tolerance_s` that would pair what waits; 0 where none would."""
        worst, _ = self._worst()
        wanted_s = 0.0 if worst is None else math.ceil(worst.needed_s * _MARGIN * 1000) / 1000
        return wanted_s if wanted_s <= _MAX_TOLERANCE_S else 0.0

    def _worst(self) -> tuple[_Gap | None, str]:
        """The camera whose waiting frames lie furthest from the reference's; and that one."""
        names = [name for name, queue in self._waiting.items() if queue]
        gaps = [self._gap(names[0], name) for name in names[1:]]
        worst = max(gaps, key=lambda gap: gap.needed_s, default=None)
        return worst, names[0] if names else ""

    def _gap(self, reference: str, camera: str) -> _Gap:
        stamps = [arrival.stamp_ns for arrival in self._waiting[camera]]
        offsets = [
            min((stamp - base.stamp_ns for stamp in stamps), key=abs) / NS
            for base in self._waiting[reference]
        ]
        return _Gap(
            camera,
            statistics.median_low(offsets),
            statistics.median_high([abs(offset) for offset in offsets]),
        )

    def _around_reference(self, expected: Sequence[str]) -> tuple[Arrival, ...]:
        """The oldest frame of the reference with the nearest of each other camera, once they are.

        A camera's nearest frame is known when it has delivered a later one, or when the reference
        has: then it is too slow to be waited for, and the moment goes without it.
        """
        waiting = self._waiting[expected[0]]
        if not waiting:
            return ()
        base = waiting[0]
        latest = [queue[-1].stamp_ns for queue in map(self._waiting.get, expected) if queue]
        complete = len(latest) == len(expected) and min(latest) >= base.stamp_ns
        if not complete and len(waiting) < 2:
            return ()
        found = self._around(base, expected, self._gap_ns)
        there = {arrival.camera for arrival in found}
        for name in expected:
            self._missed[name] = 0 if name in there else self._missed[name] + 1
        self._forget_until(found, self._gap_ns)
        return found

    def _around(self, base: Arrival, expected: Sequence[str], limit_ns: int) -> tuple[Arrival, ...]:
        """The frame nearest to one of the reference of each camera that has one within a time."""

        def distance(arrival: Arrival) -> int:
            return abs(arrival.stamp_ns - base.stamp_ns)

        nearest = (min(self._waiting[name], key=distance, default=None) for name in expected)
        return tuple(item for item in nearest if item is not None and distance(item) <= limit_ns)

    def _forget_until(self, found: tuple[Arrival, ...], limit_ns: int) -> None:
        """Remove the moment's frames, and with a count all that came before them."""
        newest = max(arrival.stamp_ns for arrival in found)
        for arrival in found:
            queue = self._waiting[arrival.camera]
            while queue and queue[0] is not arrival:
                queue.popleft()
                self._drop("unsynchronised", 1)
            queue.popleft()
        for queue in self._waiting.values():  # a silent camera's left-overs
            while queue and queue[0].stamp_ns < newest - limit_ns:
                queue.popleft()
                self._drop("unsynchronised", 1)
