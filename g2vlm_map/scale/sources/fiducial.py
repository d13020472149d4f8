# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Square markers of a known size: OpenCV finds them, their pose is in metres."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from ...poses import Floats
from ..readings import Measured
from ..samples import Samples
from .depth_ratio import DepthRatio
from .ranged_path import RangedPath
from .sight import Sight

__all__ = ["FiducialSource"]

_LEAST_SIDE_PX = 16.0  # of a marker in the picture
_MOST_ERROR = 0.03  # of its side: corners that do not fit a square are none
_CORNER_PX = 0.3
_DEPTH_SIGMA = 0.05  # of the model's depth over something small and flat
_FAMILIES = {  # names in cv2.aruco
    "4x4_50": "DICT_4X4_50",
    "5x5_100": "DICT_5X5_100",
    "6x6_250": "DICT_6X6_250",
    "7x7_1000": "DICT_7X7_1000",
    "original": "DICT_ARUCO_ORIGINAL",
    "april_36h11": "DICT_APRILTAG_36h11",
}


class FiducialSource:
    """Depth of markers by their size in the picture against the model's depth there.

    Args:
        size: Side of the black square in metres.
        family: One of `options.MARKER_FAMILIES`.

    Raises:
        ValueError: This OpenCV finds no markers.
    """

    def __init__(self, size: float, family: str) -> None:
        self._size = size
        self._path = RangedPath("fiducial")
        aruco: Any = getattr(cv2, "aruco", None)
        if not hasattr(aruco, "ArucoDetector"):
            raise ValueError(
                f"scale.marker_size is {size:g} m, but OpenCV {cv2.__version__} finds no markers; "
                "4.7 and later do"
            )
        dictionary = aruco.getPredefinedDictionary(getattr(aruco, _FAMILIES[family]))
        settings = aruco.DetectorParameters()
        settings.cornerRefinementMethod = aruco.CORNER_REFINE_SUBPIX
        self._detector = aruco.ArucoDetector(dictionary, settings)

    def forget(self) -> None:
        """The path begins anew."""
        self._path.forget()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement of the reference camera's depth, and one of its path."""
        found = self._found(sight)
        if not found:
            return self._path.add(sight, None)
        number = sight.placed.keyframe.number
        log_metric = float(np.median([item.log_metric for item in found]))
        sigma = min(item.sigma for item in found)
        chords = self._path.add(sight, None, log_metric)
        return [Measured("fiducial", number, number, log_metric, sigma), *chords]

    def _found(self, sight: Sight) -> list[DepthRatio]:
        """What each marker says."""
        view = sight.placed.keyframe.views[0]
        picture = sight.pictures.get(view.camera)
        if picture is None or picture.shape[:2] != view.image_hw:
            return []
        grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        corners, names, _ = self._detector.detectMarkers(grey)
        if names is None:
            return []
        return [
            ratio
            for corner in corners
            for ratio in [self._ratio(corner[0].astype(np.float64), view.K_image, sight)]
            if ratio is not None
        ]

    def _ratio(self, corner_42: Floats, K: Floats, sight: Sight) -> DepthRatio | None:
        side_px = float(np.linalg.norm(np.roll(corner_42, 1, axis=0) - corner_42, axis=1).mean())
        if side_px < _LEAST_SIDE_PX:
            return None
        half = self._size / 2
        square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
        done, turn, shift = cv2.solvePnP(square, corner_42, K, None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
        if not done:
            return None
        projected = cv2.projectPoints(square, turn, shift, K, None)[0][:, 0]
        if np.abs(projected - corner_42).max() > _MOST_ERROR * side_px:
            return None
        return _over_depth(float(shift[2, 0]), corner_42, side_px, sight)


def _over_depth(
    metres: float, corner_42: Floats, side_px: float, sight: Sight
) -> DepthRatio | None:
    """Metres over the median of the model's depth inside the marker."""
    view = sight.placed.keyframe.views[0]
    height, width = view.depth_HW.shape
    stretch = np.array([width / view.image_hw[1], height / view.image_hw[0]])
    low, high = (corner_42.min(axis=0) * stretch, corner_42.max(axis=0) * stretch)
    (x0, y0), (x1, y1) = np.floor(low).astype(int), np.ceil(high).astype(int) + 1
    patch = view.depth_HW[max(0, y0) : y1, max(0, x0) : x1].astype(np.float64)
    patch = patch[patch > 0]
    if not patch.size:
        return None
    sigma = math.hypot(_DEPTH_SIGMA, _CORNER_PX / side_px)
    return DepthRatio(math.log(metres / float(np.median(patch))), sigma, patch.size, 0.0)
