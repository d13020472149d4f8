# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which moments become keyframes: something new is seen, or enough time has gone by.

The time since the last keyframe is looked at first, the small grey picture only then, and the
flow last: most frames of a fast camera cost next to nothing.

A keyframe is what the matcher needs next: the picture moved, or its rim did (a camera that drives
forward sees most of it hardly move), or features get lost. What hardly moved for a while takes the
place of the newest keyframe.

Movement is sparse optical flow on pictures of `GRAY_WIDTH` columns, well below a millisecond;
lengths are shares of the picture's width, so they mean the same at every resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame

from .cameras import NS
from .live_marks import LivePictures
from .options import KeyframeOptions
from .pixels import GRAY_WIDTH

__all__ = [
    "KeyframeChooser",
    "Moment",
    "Motion",
    "PictureTracks",
    "Reference",
    "Verdict",
]

_MAX_FEATURES = 80
_MIN_FEATURES = 12
_ROUND_TRIP_PX = 0.7
_SAME_LEVELS = 4.0  # mean difference of grey levels of pictures that look the same
_REACH = 0.85
_REACHED = 1.2  # times the movement that makes a keyframe, for the features that moved most
_LOST = 0.5  # share of the features below which matching grows hard
_STILL = 0.5  # share of the movement up to which a timed keyframe takes the newest one's place
_DENSE = 0.5  # share of the movement that makes a keyframe where the map asks for more
_MIN_TRACKED = 0.25  # below this share the view has changed altogether


@dataclass(frozen=True)
class Motion:
    """Difference between a keyframe and a later picture.

    Args:
        movement: Median length of the flow, picture widths; infinite where too few features
            are found again, 0 where the keyframe has no texture to follow.
        reach: The same of the features that moved most: their upper 15 % moved further. Ahead of
            a camera that drives forward most of the picture hardly moves while its rim does.
        parallax: Upper quartile of what the best affine map of the picture leaves of the
            flow, picture widths. A pure turn of the camera is close to such a map; depth
            seen from two places is not.
        tracked: Share of the features that were found again. Where the keyframe has none to
            follow, 1 if the pictures look the same, else 0: nobody knows what moved.
        tracks: Where the features went; None where nothing is known of it.
    """

    movement: float
    parallax: float
    tracked: float
    reach: float = 0.0
    tracks: PictureTracks | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class PictureTracks:
    """Features that were followed from a keyframe's picture through all pictures up to a later one.

    Args:
        since_ns: Stamp of the keyframe.
        start_M2, end_M2: (u, v) of the centres of pixels in both pictures, shares of their width
            and height.
    """

    since_ns: int
    start_M2: NDArray[np.float64]
    end_M2: NDArray[np.float64]


class Reference:
    """A keyframe's small grey picture with the features to find again in later ones.

    A feature is looked for where it was last seen, so that between two pictures it need not be
    told from the next of its kind: a facade's windows are further apart than what a car does in a
    tenth of a second, and nearer than what it does between two keyframes.

    Args:
        gray: The picture.
        stamp_ns: When it was taken.
    """

    def __init__(self, gray: NDArray[np.uint8], stamp_ns: int = 0) -> None:
        self._gray = gray
        self._stamp_ns = stamp_ns
        found = cv2.goodFeaturesToTrack(gray, _MAX_FEATURES, qualityLevel=0.01, minDistance=5)
        self._points_M12 = (
            np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)
        )
        self._seen_M12 = self._points_M12.copy()  # where each was seen last

    def motion_to(self, gray: NDArray[np.uint8]) -> Motion:
        """Measure a later picture against this keyframe; the pictures come in their order."""
        if gray.shape != self._gray.shape:
            return Motion(math.inf, math.inf, 0.0, math.inf)
        if len(self._points_M12) < _MIN_FEATURES:
            difference = float(cv2.absdiff(gray, self._gray).mean())
            return Motion(0.0, 0.0, 1.0 if difference < _SAME_LEVELS else 0.0)
        moved_M12, there = self._flow(self._gray, gray, self._points_M12, self._seen_M12)
        back_M12, back = self._flow(gray, self._gray, moved_M12, self._points_M12)
        # A feature counts when the way back leads to where it came from.
        error = np.abs(back_M12 - self._points_M12).max(axis=(1, 2))
        good = there & back & (error < _ROUND_TRIP_PX)
        tracked = float(good.mean())
        if tracked < _MIN_TRACKED or good.sum() < _MIN_FEATURES:
            return Motion(math.inf, math.inf, tracked, math.inf)
        # What was lost is looked for where the others went.
        step_M12 = moved_M12 - self._seen_M12
        self._seen_M12 = np.where(
            good[:, None, None], moved_M12, self._seen_M12 + np.median(step_M12[good], axis=0)
        )
        start, end = (m[good, 0].astype(np.float64) for m in (self._points_M12, moved_M12))
        flow = end - start
        length = np.hypot(flow[:, 0], flow[:, 1]) / GRAY_WIDTH
        movement, reach = float(np.median(length)), float(np.quantile(length, _REACH))
        size = np.array(gray.shape[::-1], np.float64)
        tracks = PictureTracks(self._stamp_ns, (start + 0.5) / size, (end + 0.5) / size)
        return Motion(movement, _parallax(start, flow) / GRAY_WIDTH, tracked, reach, tracks)

    @staticmethod
    def _flow(
        old: NDArray[np.uint8],
        new: NDArray[np.uint8],
        points_M12: NDArray[np.float32],
        first_M12: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where the points are in the new picture, and whether they were found."""
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            old,
            new,
            points_M12,
            first_M12.copy(),
            winSize=(13, 13),
            maxLevel=2,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return np.asarray(moved, np.float32), np.asarray(status).reshape(-1) == 1


def _parallax(start_M2: NDArray[np.float64], flow_M2: NDArray[np.float64]) -> float:
    """Upper quartile of the residual of an affine fit in pixels; the fit forgets outliers."""
    design = np.column_stack([start_M2, np.ones(len(start_M2))])
    keep = np.ones(len(start_M2), bool)
    residual = np.zeros(len(start_M2))
    for _ in range(2):
        fit, *_ = np.linalg.lstsq(design[keep], flow_M2[keep], rcond=None)
        residual = np.hypot(*(flow_M2 - design @ fit).T)
        keep = residual <= np.quantile(residual, 0.7)
    return float(np.quantile(residual, 0.75))


@dataclass(frozen=True, eq=False)
class Moment:
    """The frames of one instant, in rig order: a keyframe.

    Args:
        frames: At least one.
        received_ns: Monotonic clock when the last of them arrived.
        motion: Against the keyframe before; None for the first of a segment.
        still: Nothing moved since the keyframe before: it takes that one's place.
        aside: Of one that is still: how far it has moved all the same, picture widths.
    """

    frames: tuple[Frame, ...]
    received_ns: int
    motion: Motion | None = None
    still: bool = False
    aside: float = 0.0

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
        self.dense = False  # the map wants keyframes that lie nearer to each other
        self.live = LivePictures()
        self.restart()

    def restart(self) -> None:
        """The next moment is the first keyframe of a segment."""
        self.live.clear()
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
            picture = gray()
            self.live.add(camera, stamp_ns, picture)
            return Verdict(camera, stamp_ns, picture, None, False)
        options = self.options
        elapsed_s = (stamp_ns - self._stamp_ns) / NS
        if elapsed_s < options.min_interval_s:
            return None
        name, reference = self._reference
        picture = gray()
        self.live.add(camera, stamp_ns, picture)
        if name == camera:
            motion = reference.motion_to(picture)
        else:  # another camera leads the rig now: nothing to compare with
            motion = Motion(float("inf"), 0.0, 0.0, float("inf"))
        least = options.min_motion * (_DENSE if self.dense else 1.0)
        moved = motion.movement >= least or motion.reach >= _REACHED * least
        if moved or 0 < motion.tracked < _LOST:
            return Verdict(camera, stamp_ns, picture, motion, False)
        if 0 < options.max_interval_s <= elapsed_s:
            still = motion.tracked > 0 and motion.reach <= _STILL * _REACHED * options.min_motion
            return Verdict(camera, stamp_ns, picture, motion, still)
        return None

    def accept(self, verdict: Verdict, frames: tuple[Frame, ...], received_ns: int) -> Moment:
        """Make the keyframe; later moments are compared with it.

        One that stands for the keyframe before leaves the comparison where it was, so that slow
        motion adds up.
        """
        self._stamp_ns = verdict.stamp_ns
        if not verdict.still:
            self._reference = (verdict.camera, Reference(verdict.gray, verdict.stamp_ns))
            self._motion = verdict.motion
        aside = verdict.motion.movement if verdict.still and verdict.motion else 0.0
        return Moment(frames, received_ns, self._motion, verdict.still, aside)
