# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The floor, and how high the camera is above it: a weak source, for a counter looks like a floor.

A plane counts as the floor where nothing lies below it, it is wide, level, and stays at the same
height under the camera over several keyframes; elsewhere the source says nothing.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from ...poses import Floats
from ..readings import Measured
from ..samples import Samples
from .sight import Sight

__all__ = ["HeightSource", "floor_height"]

_GRID = 2  # every n-th row and column
_BINS_PER_UNIT = 20  # of the log height
_LEAST_SHARE = 0.08  # of the picture that the plane fills
_MOST_BELOW = 0.02  # of the picture that may lie below it
_BELOW = 1.15  # times its height
_BAND = 0.06  # relative, half width of the plane
_MOST_TILT_DEG = 8.0  # of the plane from level
_MOST_HEIGHT_SPREAD = 0.12  # over the keyframes that vouch for it
_VOUCHING = 5  # keyframes in a row
_UP_WITHIN_NS = 200_000_000
_SIGMA = 0.10


class HeightSource:
    """Height of the reference camera over the floor.

    Args:
        camera_height: Metres.
    """

    def __init__(self, camera_height: float) -> None:
        self._log_metres = math.log(camera_height)
        self._heights: deque[float] = deque(maxlen=_VOUCHING)

    def forget(self) -> None:
        """No keyframe vouches for another any more."""
        self._heights.clear()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement; none before several keyframes have seen one floor."""
        view = sight.placed.keyframe.views[0]
        T_base_cam = samples.T_base_cam(view.camera)
        if T_base_cam is None:
            return []
        gravity = samples.up(view.stamp_ns, _UP_WITHIN_NS)
        up_base = np.array([0.0, 0.0, 1.0]) if gravity is None else gravity.up_base_3
        depth_HW = view.depth_HW.astype(np.float64)
        height = floor_height(depth_HW, view.K, T_base_cam[:3, :3].T @ up_base)
        if height is None:
            self._heights.clear()
            return []
        self._heights.append(math.log(height) + sight.placed.log_depth_scale)
        if len(self._heights) < _VOUCHING or float(np.ptp(self._heights)) > _MOST_HEIGHT_SPREAD:
            return []
        number = sight.placed.keyframe.number
        return [Measured("height", number, number, self._log_metres - math.log(height), _SIGMA)]


def floor_height(depth_HW: Floats, K: Floats, up_cam_3: Floats) -> float | None:
    """How far below the camera the floor is, in units of the depth.

    Args:
        depth_HW: z-depth; 0 where there is none.
        K: (3, 3) intrinsics.
        up_cam_3: Unit vector up in the camera's axes.

    Returns:
        None where nothing in the picture can be told to be the floor.
    """
    rows, columns = depth_HW.shape
    row, column = np.mgrid[0:rows:_GRID, 0:columns:_GRID].reshape(2, -1)
    depth = depth_HW[row, column]
    seen = np.isfinite(depth) & (depth > 0)
    pixel = np.stack((column[seen], row[seen], np.ones(int(seen.sum()))), axis=1)
    point_M3 = pixel @ np.linalg.inv(K).T * depth[seen][:, None]
    below_M = -(point_M3 @ up_cam_3)
    under = below_M > 1e-6
    if under.sum() < _LEAST_SHARE * len(row):
        return None
    log_M = np.log(below_M[under])
    bins = np.floor(log_M * _BINS_PER_UNIT).astype(np.int64)
    names, counts = np.unique(bins, return_counts=True)
    wide = names[counts >= 0.5 * _LEAST_SHARE * len(row)]
    if not len(wide):
        return None
    height = math.exp((wide[-1] + 0.5) / _BINS_PER_UNIT)  # the lowest wide layer
    plane_M = np.abs(below_M - height) < _BAND * height
    for _ in range(3):
        if plane_M.sum() < _LEAST_SHARE * len(row):
            return None
        height = float(np.median(below_M[plane_M]))
        plane_M = np.abs(below_M - height) < _BAND * height
    if (below_M > _BELOW * height).sum() > _MOST_BELOW * len(row):
        return None
    return height if _tilt_deg(point_M3[plane_M], up_cam_3) < _MOST_TILT_DEG else None


def _tilt_deg(point_M3: Floats, up_3: Floats) -> float:
    """Angle of the plane through points (least squares) from level."""
    centred = point_M3 - point_M3.mean(axis=0)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    return float(np.degrees(np.arccos(min(1.0, abs(float(axes[2] @ up_3))))))
