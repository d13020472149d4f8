"""How much a picture differs from a keyframe: movement and parallax on small grey pictures.

Sparse optical flow on pictures of `GRAY_WIDTH` columns: well below a millisecond, so that the
image callback can afford it. Lengths are shares of the picture's width, so they mean the
same at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Motion", "Reference", "gray_step", "shrink_gray", "small_gray"]

GRAY_WIDTH = 160
_MAX_FEATURES = 80
_MIN_FEATURES = 12
_ROUND_TRIP_PX = 0.7
_SAME_LEVELS = 4.0  # mean difference of grey levels of pictures that look the same
_MIN_TRACKED = 0.25  # below this share the view has changed altogether


@dataclass(frozen=True)
class Motion:
    """Difference between a keyframe and a later picture.

    Args:
        movement: Median length of the flow, picture widths; infinite where too few features
            are found again, 0 where the keyframe has no texture to follow.
        parallax: Upper quartile of what the best affine map of the picture leaves of the
            flow, picture widths. A pure turn of the camera is close to such a map; depth
            seen from two places is not.
        tracked: Share of the features that were found again. Where the keyframe has none to
            follow, 1 if the pictures look the same, else 0: nobody knows what moved.
    """

    movement: float
    parallax: float
    tracked: float


def small_gray(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture of `GRAY_WIDTH` columns from an RGB picture of any size."""
    height, width = image_HW3.shape[:2]
    step = gray_step(width)
    gray = cv2.cvtColor(np.ascontiguousarray(image_HW3[::step, ::step]), cv2.COLOR_RGB2GRAY)
    return shrink_gray(np.asarray(gray, np.uint8), (height, width))


def gray_step(width: int) -> int:
    """Every how many columns are enough: a factor of two is left to the averaging resize."""
    return max(1, width // (2 * GRAY_WIDTH))


def shrink_gray(gray: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A grey picture of `GRAY_WIDTH` columns.

    Args:
        gray: Of any size.
        size: (H, W) of the original, whose proportions it gets.
    """
    rows = max(16, round(GRAY_WIDTH * size[0] / size[1]))
    small = cv2.resize(gray, (GRAY_WIDTH, min(rows, 4 * GRAY_WIDTH)), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


class Reference:
    """A keyframe's small grey picture with the features to find again in later ones."""

    def __init__(self, gray: NDArray[np.uint8]) -> None:
        self._gray = gray
        found = cv2.goodFeaturesToTrack(gray, _MAX_FEATURES, qualityLevel=0.01, minDistance=5)
        self._points_M12 = (
            np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)
        )

    def motion_to(self, gray: NDArray[np.uint8]) -> Motion:
        """Measure a later picture against this keyframe."""
        if gray.shape != self._gray.shape:
            return Motion(math.inf, math.inf, 0.0)
        if len(self._points_M12) < _MIN_FEATURES:
            difference = float(cv2.absdiff(gray, self._gray).mean())
            return Motion(0.0, 0.0, 1.0 if difference < _SAME_LEVELS else 0.0)
        moved_M12, there = self._flow(self._gray, gray, self._points_M12)
        back_M12, back = self._flow(gray, self._gray, moved_M12)
        # A feature counts when the way back leads to where it came from.
        error = np.abs(back_M12 - self._points_M12).max(axis=(1, 2))
        good = there & back & (error < _ROUND_TRIP_PX)
        tracked = float(good.mean())
        if tracked < _MIN_TRACKED or good.sum() < _MIN_FEATURES:
            return Motion(math.inf, math.inf, tracked)
        start = self._points_M12[good, 0].astype(np.float64)
        flow = moved_M12[good, 0].astype(np.float64) - start
        movement = float(np.median(np.hypot(flow[:, 0], flow[:, 1]))) / GRAY_WIDTH
        return Motion(movement, _parallax(start, flow) / GRAY_WIDTH, tracked)

    @staticmethod
    def _flow(
        old: NDArray[np.uint8], new: NDArray[np.uint8], points_M12: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where the points are in the new picture, and whether they were found."""
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            old, new, points_M12, points_M12.copy(), winSize=(13, 13), maxLevel=2
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
