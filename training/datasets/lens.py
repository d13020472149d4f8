# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures and depth maps of different lenses brought onto one pinhole grid."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["depth_on_picture", "straightened"]


def straightened(
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float32] | None,
    K: NDArray[np.float64],
    lens: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Take the distortion of a lens out; what the lens did not see is black, its depth unknown.

    Args:
        rgb: (H, W, 3).
        depth: (H, W) z-depth on the same distorted grid, or None.
        K: Intrinsics, before and afterwards.
        lens: OpenCV's k1, k2, p1, p2, k3.
    """
    if not lens.any():
        return rgb, depth
    size_wh = (rgb.shape[1], rgb.shape[0])
    maps = cv2.initUndistortRectifyMap(K, lens, np.eye(3), K, size_wh, cv2.CV_32FC1)
    straight = np.asarray(cv2.remap(rgb, *maps, cv2.INTER_LINEAR), np.uint8)
    if depth is None:
        return straight, None
    return straight, np.asarray(cv2.remap(depth, *maps, cv2.INTER_NEAREST), np.float32)


def depth_on_picture(
    depth: NDArray[np.float32], K_depth: NDArray[Any], size_hw: tuple[int, int], K: NDArray[Any]
) -> NDArray[np.float32]:
    """Depth of one camera centre resampled to the pixels of a picture, by the nearest reading.

    Args:
        depth: (h, w).
        K_depth: Its intrinsics.
        size_hw: Of the picture.
        K: Intrinsics of the picture; the two cameras have the same place and axes.
    """
    height, width = size_hw
    u = (np.arange(width) - K[0, 2]) / K[0, 0] * K_depth[0, 0] + K_depth[0, 2]
    v = (np.arange(height) - K[1, 2]) / K[1, 1] * K_depth[1, 1] + K_depth[1, 2]
    column, row = np.rint(u).astype(int), np.rint(v).astype(int)
    inside = ((row >= 0) & (row < depth.shape[0]))[:, None] & (
        (column >= 0) & (column < depth.shape[1])
    )
    rows = row.clip(0, depth.shape[0] - 1)
    columns = column.clip(0, depth.shape[1] - 1)
    return np.where(inside, depth[rows][:, columns], 0).astype(np.float32)
