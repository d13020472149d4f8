"""Which moments become keyframes: something new is seen, or enough time has gone by.

The time since the last keyframe is looked at first, the small grey picture only then, and the
flow last: most frames of a fast camera cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame

from .cameras import NS
from .motion import Motion, Reference
from .options import KeyframeOptions

__all__ = ["KeyframeChooser", "Moment", "Verdict"]


@dataclass(frozen=True, eq=False)
class Moment:
    """The frames of one instant, in rig order: a keyframe.

    Args:
        frames: At least one.
        received_ns: Monotonic clock when the last of them arrived.
        motion: Against the keyframe before; None for the first of a segment.
        still: Nothing moved since the keyframe before: it takes that one's place.
    """

    frames: tuple[Frame, ...]
    received_ns: int
    motion: Motion | None = None
    still: bool = False

    @property
    def stamp_ns(self) -> int:
        """Stamp of the first camera's frame."""
        return self.frames[0].stamp_ns


@dataclass(frozen=True, eq=False)
class Verdict:
    """Why a moment is a keyframe; see `Moment` for `motion` and `still`."""

    camera: str
    stamp_ns: int
    gray: NDArray[np.uint8]
    motion: Motion | None
    still: bool


class KeyframeChooser:
    """Compares moments with the last keyframe of its segment.

    Args:
        options: May be replaced at any time.
    """

    def __init__(self, options: KeyframeOptions) -> None:
        self.options = options
        self.restart()

    def restart(self) -> None:
        """The next moment is the first keyframe of a segment."""
        self._reference: tuple[str, Reference] | None = None
        self._stamp_ns = 0
        self._motion: Motion | None = None

    def judge(
        self, camera: str, stamp_ns: int, gray: Callable[[], NDArray[np.uint8]]
    ) -> Verdict | None:
        """Whether a moment is a keyframe; None where it is not.

        Args:
            camera: That leads the moment.
            stamp_ns: Of its frame.
            gray: Makes its small grey picture; not called before the interval is over.
        """
        if self._reference is None:
            return Verdict(camera, stamp_ns, gray(), None, False)
        options = self.options
        elapsed_s = (stamp_ns - self._stamp_ns) / NS
        if elapsed_s < options.min_interval_s:
            return None
        name, reference = self._reference
        picture = gray()
        if name == camera:
            motion = reference.motion_to(picture)
        else:  # another camera leads the rig now: nothing to compare with
            motion = Motion(float("inf"), 0.0, 0.0)
        if motion.movement >= options.min_motion:
            return Verdict(camera, stamp_ns, picture, motion, False)
        if 0 < options.max_interval_s <= elapsed_s:
            return Verdict(camera, stamp_ns, picture, motion, motion.tracked > 0)
        return None

    def accept(self, verdict: Verdict, frames: tuple[Frame, ...], received_ns: int) -> Moment:
        """Make the keyframe; later moments are compared with it.

        One that stands for the keyframe before leaves the comparison where it was, so that slow
        motion adds up.
        """
        self._stamp_ns = verdict.stamp_ns
        if not verdict.still:
            self._reference = (verdict.camera, Reference(verdict.gray))
            self._motion = verdict.motion
        return Moment(frames, received_ns, self._motion, verdict.still)
