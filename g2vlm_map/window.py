# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Overlapping windows of keyframes: what one pass of the model sees.

A window is the newest keyframes, oldest first, and shares at least `overlap` of them with the
window before. Whoever runs the passes takes the newest window when it is free: latest wins,
and every frame that no window ever held is counted with its reason. A keyframe is done with when
a pass over it has succeeded; until then it waits. Windows share keyframes within an *era*: a
restart begins another one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from g2vlm_model.interface import FrameWindow, RuntimeLimits

from .keyframes import Moment
from .options import WindowOptions
from .sync import DropCounter

__all__ = ["WindowBuilder", "WindowJob", "fitting_window"]


@dataclass(frozen=True, eq=False)
class WindowJob:
    """A window to be reconstructed.

    Args:
        moments: Oldest first.
        overlap: How many of them the last window of the era held too.
        era: That it is meant for.
    """

    moments: tuple[Moment, ...]
    overlap: int
    era: int
    window: FrameWindow = field(init=False)

    def __post_init__(self) -> None:
        frames = tuple(frame for moment in self.moments for frame in moment.frames)
        object.__setattr__(self, "window", FrameWindow(frames))

    @property
    def new_frames(self) -> int:
        """Frames that no window of the era held before."""
        return _frames(self.moments[self.overlap :])

    @property
    def newest(self) -> tuple[int, ...]:
        """Indices of the newest moment's frames in the window."""
        return tuple(range(len(self.window) - len(self.moments[-1].frames), len(self.window)))

    @property
    def parallax(self) -> float:
        """Largest parallax between neighbouring keyframes, frame widths."""
        steps = [moment.motion.parallax for moment in self.moments[1:] if moment.motion]
        return max(steps, default=0.0)


class WindowBuilder:
    """Keeps keyframes and hands out windows; safe between those who add and the one who takes.

    Args:
        options: Sizes.
        drop: Called with a reason and a number of frames.
    """

    def __init__(self, options: WindowOptions, drop: DropCounter) -> None:
        self._options = options
        self._drop = drop
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False  # a window is out
        self._fresh = False  # a keyframe has come since the last window was taken
        self.era = 1
        self._committed: tuple[Moment, ...] = ()  # the last window of the era
        self._pending: list[Moment] = []  # keyframes that no window has held yet
        self._in_work: list[Moment] = []  # those of the window that is out
        self._failed: list[Moment] = []  # those whose pass failed once

    @property
    def pending_frames(self) -> int:
        """Frames of keyframes that no pass has succeeded over yet."""
        with self._changed:
            return _frames(self._pending) + _frames(self._in_work)

    def restart(self, reason: str) -> None:
        """Begin an era that shares no keyframe with what was before."""
        with self._changed:
            self._drop(reason, _frames(self._pending) + _frames(self._in_work))
            self._pending, self._in_work, self._failed = [], [], []
            self._fresh = False
            self._committed = ()
            self.era += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake `take` for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def offer(self, moment: Moment) -> None:
        """Add a keyframe; one of a still camera takes the place of the newest."""
        with self._changed:
            self._pending = self._appended(self._pending, moment)
            self._fresh = True
            self._thin()
            self._changed.notify_all()

    def take(self, timeout_s: float) -> WindowJob | None:
        """The newest window, once it holds a new keyframe; None after the time or `close`.

        What becomes of it is told by `commit` or `give_back`, and then by `done`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_window(), timeout_s)
            if self._closed or not self._has_window():
                return None
            before = list(self._committed)
            if self._pending[0].still:
                before.pop()  # whose place it takes
            moments = (*before, *self._pending)[-self._options.size :]
            overlap = len(moments) - len(self._pending)
            self._in_work, self._pending = self._pending, []
            self._busy, self._fresh = True, False
            return WindowJob(moments, overlap, self.era)

    def commit(self, job: WindowJob) -> bool:
        """The window's pass succeeded; False where nobody wants it now."""
        with self._changed:
            if job.era != self.era:
                return False
            self._committed = job.moments
            self._in_work, self._failed = [], []
            return True

    def give_back(self, job: WindowJob) -> None:
        """The window's pass failed: its new keyframes wait for another one, once."""
        with self._changed:
            if job.era != self.era:
                return
            again = [m for m in self._in_work if not any(m is other for other in self._failed)]
            self._drop("pass_failed", _frames(self._in_work) - _frames(again))
            waiting, self._pending = self._pending, again
            for moment in waiting:
                self._pending = self._appended(self._pending, moment)
            self._in_work, self._failed = [], again
            self._thin()

    def done(self) -> None:
        """All that follows from the window that was taken has happened."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no window is out and none could be taken; False after the time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or not (self._busy or self._has_window()), timeout_s
            )

    def _appended(self, pending: list[Moment], moment: Moment) -> list[Moment]:
        """`pending` with a keyframe more, or with another newest one."""
        if not moment.still:
            return [*pending, moment]
        known = len(self._committed) + len(self._in_work) + len(pending)
        # Two keyframes at least: what replaces the only one shares nothing with it.
        if known < max(2, self._options.min_moments):
            return [*pending, _as_new(moment)]
        if not pending:
            return [moment]
        self._drop("superseded", len(pending[-1].frames))
        return [*pending[:-1], moment if pending[-1].still else _as_new(moment)]

    def _has_window(self) -> bool:
        if not self._pending or not self._fresh:
            return False
        return bool(self._committed) or len(self._pending) >= self._options.min_moments

    def _thin(self) -> None:
        """Make room for the newest keyframe: leave out the one that is missed least."""
        before = self._in_work or self._committed
        room = self._options.size - (self._options.overlap if before else 0)
        while len(self._pending) > room:
            gone = self._pending.pop(_least_missed(self._pending, before))
            self._drop("superseded", len(gone.frames))


def _least_missed(pending: Sequence[Moment], before: Sequence[Moment]) -> int:
    """Index of the keyframe without which the largest gap in time stays smallest."""
    stamps = [moment.stamp_ns for moment in pending]
    start = before[-1].stamp_ns if before else stamps[0]
    gaps = [
        after - (stamps[index - 1] if index else start) for index, after in enumerate(stamps[1:])
    ]
    return gaps.index(min(gaps)) if gaps else 0


def _frames(moments: Sequence[Moment]) -> int:
    return sum(len(moment.frames) for moment in moments)


def _as_new(moment: Moment) -> Moment:
    return Moment(moment.frames, moment.received_ns, moment.motion)


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
