"""Rig synchronisation: frames of one instant, one per camera, found by their stamps."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cameras import NS, Arrival

__all__ = ["DropCounter", "Synchroniser"]

_BUFFERED = 8  # frames per camera that wait for their partners
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
        tolerance_s: Largest distance of the others' stamps.
        drop: Called with a reason and a number of frames for those without partners.
    """

    def __init__(self, cameras: Sequence[str], tolerance_s: float, drop: DropCounter) -> None:
        self._tolerance_s = tolerance_s
        self._tolerance_ns = round(tolerance_s * NS)
        self._drop = drop
        self._waiting: dict[str, deque[Arrival]] = {name: deque() for name in cameras}

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
            partners = [self._nearest(name, base) for name in expected]
            found = tuple(partner for partner in partners if partner is not None)
            if len(found) == len(expected):
                self._forget_until(found)
                return found
        return ()

    def clear(self, reason: str, camera: str = "") -> None:
        """Drop what waits, of one camera or ("") of all."""
        for name, queue in self._waiting.items():
            if camera in ("", name):
                self._drop(reason, len(queue))
                queue.clear()

    def explain(self) -> str:
        """Why what waits finds no partners, and what would pair it; "" where nobody can tell."""
        names = [name for name, queue in self._waiting.items() if queue]
        gaps = [self._gap(names[0], name) for name in names[1:]]
        if not gaps:
            return ""
        worst = max(gaps, key=lambda gap: gap.needed_s)
        late = "after" if worst.offset_s >= 0 else "before"
        text = (
            f"frames of {worst.camera} are stamped {abs(worst.offset_s):.3f} s {late} those of "
            f"{names[0]}, further apart than sync.tolerance_s = {self._tolerance_s:g}"
        )
        wanted_s = math.ceil(worst.needed_s * _MARGIN * 1000) / 1000
        if wanted_s > _MAX_TOLERANCE_S:
            return f"{text}: the cameras' clocks differ; synchronise them"
        return f"{text}; sync.tolerance_s = {wanted_s:g} would pair them"

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

    def _nearest(self, camera: str, base: Arrival) -> Arrival | None:
        def distance(arrival: Arrival) -> int:
            return abs(arrival.stamp_ns - base.stamp_ns)

        best = min(self._waiting[camera], key=distance, default=None)
        return best if best is not None and distance(best) <= self._tolerance_ns else None

    def _forget_until(self, found: tuple[Arrival, ...]) -> None:
        """Remove the instant's frames, and with a count all that came before them."""
        newest = max(arrival.stamp_ns for arrival in found)
        for arrival in found:
            queue = self._waiting[arrival.camera]
            while queue and queue[0] is not arrival:
                queue.popleft()
                self._drop("unsynchronised", 1)
            queue.popleft()
        for queue in self._waiting.values():  # a silent camera's left-overs
            while queue and queue[0].stamp_ns < newest - self._tolerance_ns:
                queue.popleft()
                self._drop("unsynchronised", 1)
