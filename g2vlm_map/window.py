"""Which pictures the model sees: rig synchronisation, keyframes, overlapping windows.

Pictures of one instant form a *moment* (one picture per camera). Moments that show something
new become keyframes; a window is the newest keyframes, oldest first, and shares at least
`overlap` of them with the window before. The worker takes the newest window when it is free:
latest wins, and every picture that no window ever held is counted with its reason.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from g2vlm_model.interface import Frame, FrameWindow

from .motion import Motion, Reference, small_gray

__all__ = ["KeyframeRules", "Moment", "Synchroniser", "WindowBuilder", "WindowJob", "WindowRules"]

_BUFFERED = 8  # pictures per camera that wait for their partners
NS = 1_000_000_000

DropCounter = Callable[[str, int], None]


@dataclass(frozen=True)
class KeyframeRules:
    """When a moment becomes a keyframe; see the parameters `keyframe.*`."""

    min_motion: float = 0.05
    min_interval_s: float = 0.1
    max_interval_s: float = 1.0


@dataclass(frozen=True)
class WindowRules:
    """Size of a window in moments; see the parameters `window.*`."""

    size: int = 8
    min_moments: int = 2
    overlap: int = 2


@dataclass(frozen=True)
class Moment:
    """The pictures of one instant, in the order of the `cameras` parameter.

    Args:
        frames: At least one picture.
        received_ns: Monotonic clock when the last of them arrived.
        motion: Against the keyframe before; None for the first of a segment.
    """

    frames: tuple[Frame, ...]
    received_ns: int
    motion: Motion | None = None

    @property
    def stamp_ns(self) -> int:
        """Stamp of the first camera's picture."""
        return self.frames[0].stamp_ns


@dataclass(frozen=True)
class WindowJob:
    """A window to be reconstructed.

    Args:
        moments: Oldest first.
        overlap: How many of them the previous window of this segment held too.
        segment: Running number of the stretch whose windows can be joined.
    """

    moments: tuple[Moment, ...]
    overlap: int
    segment: int
    window: FrameWindow = field(init=False)

    def __post_init__(self) -> None:
        frames = tuple(frame for moment in self.moments for frame in moment.frames)
        object.__setattr__(self, "window", FrameWindow(frames))

    @property
    def parallax(self) -> float:
        """Largest parallax between neighbouring keyframes, picture widths."""
        steps = [moment.motion.parallax for moment in self.moments[1:] if moment.motion]
        return max(steps, default=0.0)


class Synchroniser:
    """Puts pictures of several cameras that belong together into moments.

    Args:
        cameras: Names in rig order; the first that delivers sets the time.
        tolerance_ns: Largest distance of the others' stamps.
        drop: Called with a reason and a number of pictures for those without partners.
    """

    def __init__(self, cameras: Sequence[str], tolerance_ns: int, drop: DropCounter) -> None:
        self._order = {name: index for index, name in enumerate(cameras)}
        self._tolerance_ns = tolerance_ns
        self._drop = drop
        self._waiting: dict[str, deque[Frame]] = {name: deque() for name in cameras}

    def add(
        self, frame: Frame, received_ns: int, silent: frozenset[str] = frozenset()
    ) -> Moment | None:
        """Add a picture; returns the moment that it completes, if any.

        Args:
            frame: The picture.
            received_ns: Monotonic clock of its arrival.
            silent: Cameras that deliver nothing at present and are not waited for.
        """
        if len(self._waiting) == 1:
            return Moment((frame,), received_ns)
        queue = self._waiting[frame.camera]
        queue.append(frame)
        if len(queue) > _BUFFERED:
            queue.popleft()
            self._drop("unsynchronised", 1)
        expected = [n for n in self._order if n not in silent or n == frame.camera]
        for base in reversed(self._waiting[expected[0]]):
            partners = [self._nearest(name, base) for name in expected]
            frames = tuple(partner for partner in partners if partner is not None)
            if len(frames) == len(expected):
                self._forget_until(frames)
                return Moment(frames, received_ns)
        return None

    def clear(self, reason: str) -> None:
        """Drop everything that waits."""
        for queue in self._waiting.values():
            self._drop(reason, len(queue))
            queue.clear()

    @property
    def waiting(self) -> int:
        """Pictures that wait for partners."""
        return sum(len(queue) for queue in self._waiting.values())

    def _nearest(self, camera: str, base: Frame) -> Frame | None:
        def distance(frame: Frame) -> int:
            return abs(frame.stamp_ns - base.stamp_ns)

        best = min(self._waiting[camera], key=distance, default=None)
        return best if best is not None and distance(best) <= self._tolerance_ns else None

    def _forget_until(self, frames: tuple[Frame, ...]) -> None:
        """Remove the moment's pictures, and with a count all that came before them."""
        newest = max(frame.stamp_ns for frame in frames)
        for frame in frames:
            queue = self._waiting[frame.camera]
            while queue and queue[0] is not frame:
                queue.popleft()
                self._drop("unsynchronised", 1)
            queue.popleft()
        for name, queue in self._waiting.items():  # a silent camera's left-overs
            while queue and queue[0].stamp_ns < newest - self._tolerance_ns:
                self._waiting[name].popleft()
                self._drop("unsynchronised", 1)


class WindowBuilder:
    """Chooses keyframes and hands out windows; safe between the callback and the worker."""

    def __init__(self, rules: WindowRules, keyframes: KeyframeRules, drop: DropCounter) -> None:
        self.keyframe_rules = keyframes
        self._rules = rules
        self._drop = drop
        self._ready = threading.Condition()
        self._closed = False
        self._segment = 0
        self._previous: tuple[Moment, ...] = ()  # of the last window that was taken
        self._pending: list[Moment] = []  # keyframes since then
        self._reference: tuple[str, Reference] | None = None
        self._keyframe_ns = 0

    @property
    def segment(self) -> int:
        """Number of the present segment, from 1 on; 0 before the first `reset`."""
        return self._segment

    @property
    def pending_frames(self) -> int:
        """Pictures of keyframes that no window has held yet."""
        with self._ready:
            return sum(len(moment.frames) for moment in self._pending)

    def reset(self, reason: str) -> int:
        """Start a new segment that shares no keyframe with what was before; its number."""
        with self._ready:
            self._drop(reason, sum(len(moment.frames) for moment in self._pending))
            self._previous = ()
            self._pending = []
            self._reference = None
            self._segment += 1
            return self._segment

    def renumber(self) -> int:
        """Start a new segment that keeps the keyframes: its first window could not be joined."""
        with self._ready:
            self._segment += 1
            return self._segment

    def close(self) -> None:
        """Wake `take` for good."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def offer(self, moment: Moment) -> bool:
        """Keep the moment if it is a keyframe; else its pictures are counted as dropped."""
        first = moment.frames[0]
        gray = small_gray(first.image)
        motion: Motion | None = None
        if self._reference is not None:
            camera, reference = self._reference
            if camera == first.camera:
                motion = reference.motion_to(gray)
            else:  # another camera leads the rig now: nothing to compare with
                motion = Motion(float("inf"), 0.0, 0.0)
            if not self._wanted(motion, (first.stamp_ns - self._keyframe_ns) / NS):
                self._drop("not_keyframe", len(moment.frames))
                return False
        self._reference = (first.camera, Reference(gray))
        self._keyframe_ns = first.stamp_ns
        with self._ready:
            self._pending.append(Moment(moment.frames, moment.received_ns, motion))
            self._thin()
            self._ready.notify_all()
        return True

    def take(self, timeout_s: float) -> WindowJob | None:
        """The newest window, once it holds a new keyframe; None after the time or `close`."""
        with self._ready:
            self._ready.wait_for(lambda: self._closed or self._has_window(), timeout_s)
            if self._closed or not self._has_window():
                return None
            moments = (*self._previous, *self._pending)[-self._rules.size :]
            overlap = len(moments) - len(self._pending)
            self._previous = moments
            self._pending = []
            return WindowJob(moments, overlap, self._segment)

    def _wanted(self, motion: Motion, elapsed_s: float) -> bool:
        rules = self.keyframe_rules
        if elapsed_s < rules.min_interval_s:
            return False
        due = 0 < rules.max_interval_s <= elapsed_s
        return due or motion.movement >= rules.min_motion

    def _has_window(self) -> bool:
        if not self._pending:
            return False
        return bool(self._previous) or len(self._pending) >= self._rules.min_moments

    def _thin(self) -> None:
        """Make room for the newest keyframe: leave out the one that is missed least."""
        room = self._rules.size - (self._rules.overlap if self._previous else 0)
        while len(self._pending) > room:
            stamps = [moment.stamp_ns for moment in self._pending]
            before = self._previous[-1].stamp_ns if self._previous else stamps[0]
            gaps = [
                after - (stamps[index - 1] if index else before)
                for index, after in enumerate(stamps[1:])
            ]
            gone = self._pending.pop(gaps.index(min(gaps)) if gaps else 0)
            self._drop("superseded", len(gone.frames))
