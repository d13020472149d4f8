# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A frame with what is known of how its camera drew it.

Runtimes see a `Frame`: straight pixels and their K. Whoever deals with pixels of the frame as it
was delivered (marks of questions, drawings on it), or wants to know which pixels show nothing,
finds that here. Shape letters: H W pixels, M points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame

from .rectify import Rectification

__all__ = ["CameraFrame", "FrameOptics", "RimFinder"]

Floats = NDArray[np.float64]

_RIM_LEVEL = 12  # grey levels; noise and compression leave no more in a rim
_LIT_LEVEL = 40  # a picture that is nowhere this bright says nothing about rims
_LIT_PERCENT = 80  # the circle of a fisheye fills 44 % of a wide frame
_MIN_SHARE = 0.005  # of the picture


@dataclass(frozen=True, eq=False)
class FrameOptics:
    """How the pixels of a frame come from those that its camera delivered.

    Args:
        rectification: None where they are the same.
        rim_HW: Small picture of the delivered frame, True where the lens leaves it black; None
            where it does not.
    """

    rectification: Rectification | None = None
    rim_HW: NDArray[np.bool_] | None = None
    _seen: dict[tuple[int, ...], NDArray[np.bool_] | None] = field(default_factory=dict)

    def to_frame(self, u: float, v: float) -> tuple[float, float]:
        """(u, v) in the frame of a pixel of the picture as it was delivered; NaN: nowhere."""
        if self.rectification is None:
            return u, v
        ((straight_u, straight_v),) = self.rectification.to_straight(np.array([[u, v]]))
        return float(straight_u), float(straight_v)

    def to_delivered(self, pixels_M2: Floats) -> Floats:
        """(M, 2) pixels of the picture as it was delivered, of pixels of the frame."""
        if self.rectification is None:
            return np.asarray(pixels_M2, np.float64)
        return self.rectification.to_original(pixels_M2)

    def seen(self, frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Which pixels of a resized frame show anything; None where all do.

        Args:
            frame_hw: (H, W) of the frame.
            size_hw: (H, W) of the resized one.

        Returns:
            (H, W) bool, shared: not to be written to.
        """
        sizes = (*frame_hw, *size_hw)
        if sizes not in self._seen:
            self._seen[sizes] = self._find_seen(frame_hw, size_hw)
        return self._seen[sizes]

    def _find_seen(
        self, frame_hw: tuple[int, int], size_hw: tuple[int, int]
    ) -> NDArray[np.bool_] | None:
        seen: NDArray[np.bool_] | None = None
        if self.rectification is not None and not self.rectification.seen_HW.all():
            # Area: a pixel that is partly black is not seen.
            full = self.rectification.seen_HW.astype(np.float32)
            small = cv2.resize(full, size_hw[::-1], interpolation=cv2.INTER_AREA)
            seen = small > 0.999
        if self.rim_HW is not None:
            lit = ~self._rim_of(frame_hw, size_hw, self.rim_HW)
            seen = lit if seen is None else seen & lit
        return seen

    def _rim_of(
        self, frame_hw: tuple[int, int], size_hw: tuple[int, int], rim_HW: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """The rim in pixels of the resized frame."""
        stretch = np.array([frame_hw[1] / size_hw[1], frame_hw[0] / size_hw[0]])
        v, u = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
        pixels_M2 = (np.column_stack([u.reshape(-1), v.reshape(-1)]) + 0.5) * stretch - 0.5
        delivered_M2 = self.to_delivered(pixels_M2)
        # Rectification keeps the size of the frame, so the small picture is scaled alike.
        last = np.array(rim_HW.shape[::-1]) - 1
        small_M2 = np.floor((delivered_M2 + 0.5) * (last + 1) / frame_hw[::-1])
        column, row = np.nan_to_num(small_M2.clip(0, last), nan=0.0).T
        found: NDArray[np.bool_] = rim_HW[row.astype(int), column.astype(int)].reshape(size_hw)
        return found


@dataclass(frozen=True)
class CameraFrame(Frame):
    """A `Frame` that knows its camera's optics; see there."""

    optics: FrameOptics = field(default_factory=FrameOptics)


class RimFinder:
    """Finds what a lens never lights: the black corners around the circle of a fisheye.

    A pixel that was ever lit is none; a rim joins an edge of the picture, and all four corners
    belong to one, so that a shadow is not taken for it.
    """

    def __init__(self) -> None:
        self._brightest_HW: NDArray[np.uint8] | None = None
        self._rim_HW: NDArray[np.bool_] | None = None

    def add(self, gray_HW: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """Look at a keyframe, small and grey as it was delivered; the rim so far, or None."""
        known = self._brightest_HW
        if known is not None and known.shape == gray_HW.shape:
            if not (gray_HW > known).any():
                return self._rim_HW
            self._brightest_HW = np.maximum(known, gray_HW)
        else:
            self._brightest_HW = gray_HW.copy()
        found = _rim(self._brightest_HW)
        if found is None or self._rim_HW is None or not np.array_equal(found, self._rim_HW):
            self._rim_HW = found  # else the same array: what follows from it is kept
        return self._rim_HW


def _rim(gray_HW: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    dark_HW = (gray_HW <= _RIM_LEVEL).astype(np.uint8)
    corners = dark_HW[[0, 0, -1, -1], [0, -1, 0, -1]]
    if not corners.all() or np.percentile(gray_HW, _LIT_PERCENT) < _LIT_LEVEL:
        return None
    _, labels_HW = cv2.connectedComponents(dark_HW, connectivity=4)
    at_corners = np.unique(labels_HW[[0, 0, -1, -1], [0, -1, 0, -1]])
    rim_HW = np.isin(labels_HW, at_corners)
    if rim_HW.mean() < _MIN_SHARE:
        return None
    # The last lit pixels blend with the rim.
    return cv2.dilate(rim_HW.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
