# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Straightening the frames of a camera: which pinhole it becomes, and how pixels get there.

The straight picture has the frame's size and axes. It is the largest one that holds no empty
corner, not wider than a limit: the corners of a fisheye, stretched without end, would leave
nothing for the rest. Maps are made once per camera. Shape letters: H W pixels, M points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera_model import FISHEYE, CameraModel

__all__ = ["Rectification"]

Floats = NDArray[np.float64]
_COARSE = 8  # pixels
MIN_SPAN = 0.01  # of a straight picture, as x / z


class Rectification:
    """From the frames of a camera to straight ones of the same size.

    Args:
        model: The camera; any lens.
        max_fov_deg: Widest angle of the straight picture, across and down.

    Raises:
        ValueError: The lens leaves no straight picture.
    """

    def __init__(self, model: CameraModel, max_fov_deg: float) -> None:
        self.model = model
        self.K = _straight_K(model, math.tan(math.radians(max_fov_deg) / 2))
        height, width = model.size_hw
        lens = (model.K, np.array(model.D), np.eye(3), self.K, (width, height), cv2.CV_32FC1)
        if model.lens == FISHEYE:
            u_HW, v_HW = cv2.fisheye.initUndistortRectifyMap(*lens)
        else:
            u_HW, v_HW = cv2.initUndistortRectifyMap(*lens)
        inside_HW = (u_HW >= -0.5) & (u_HW <= width - 0.5)
        inside_HW &= (v_HW >= -0.5) & (v_HW <= height - 0.5)
        # Where coefficients fold the picture over, it would be seen a second time, mirrored.
        with np.errstate(invalid="ignore"):  # infinitely far outside, as some lenses throw rays
            rises_HW = (np.gradient(u_HW, axis=1) > 0) & (np.gradient(v_HW, axis=0) > 0)
        self.seen_HW: NDArray[np.bool_] = inside_HW & rises_HW
        self._maps = cv2.convertMaps(u_HW, v_HW, cv2.CV_16SC2)

    def apply(self, frame_HW3: NDArray[np.uint8], out_HW3: NDArray[np.uint8]) -> None:
        """Straighten a frame; what it does not show is black.

        Args:
            frame_HW3: (H, W, 3) uint8 as it was delivered.
            out_HW3: (H, W, 3) uint8 C-contiguous, overwritten.
        """
        result = cv2.remap(frame_HW3, *self._maps, cv2.INTER_LINEAR, dst=out_HW3)
        if result is not out_HW3 and not np.shares_memory(result, out_HW3):
            np.copyto(out_HW3, result)

    def undo(self, straight_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) a straight picture with its pixels where the camera delivered them.

        What straightening cut away is black.
        """
        return cv2.remap(straight_HW3, *self._back, cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    @cached_property
    def _back(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of `undo`: inverting a lens takes long, so every `_COARSE`th pixel is inverted."""
        height, width = self.model.size_hw
        rows, columns = -(-height // _COARSE) + 1, -(-width // _COARSE) + 1
        v, u = np.mgrid[0:rows, 0:columns] * float(_COARSE)
        straight = self.to_straight(np.column_stack([u.ravel(), v.ravel()]))
        coarse = np.nan_to_num(straight, nan=-1e4).reshape(rows, columns, 2).astype(np.float32)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / _COARSE
        fine = cv2.remap(coarse, x, y, cv2.INTER_LINEAR)
        return np.ascontiguousarray(fine[..., 0]), np.ascontiguousarray(fine[..., 1])

    def nearest(self, depth_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Straighten a depth picture: the nearest reading, 0 where the frame shows nothing.

        Args:
            depth_HW: (H, W) float32 along the optical axis, which straightening does not turn.
        """
        maps = cv2.convertMaps(*self._maps, cv2.CV_32FC1)
        straight_HW = cv2.remap(depth_HW, *maps, cv2.INTER_NEAREST, borderValue=0)
        return np.where(self.seen_HW, straight_HW, np.float32(0))

    def to_straight(self, pixels_M2: Floats) -> Floats:
        """(M, 2) pixels of the straight picture; NaN for what looks out of it backwards."""
        rays_M2 = self.model.rays(pixels_M2)
        straight: Floats = rays_M2 * self.K[[0, 1], [0, 1]] + self.K[:2, 2]
        return straight

    def to_original(self, pixels_M2: Floats) -> Floats:
        """(M, 2) pixels of the frame as it was delivered, of pixels of the straight picture."""
        rays_M2 = (np.asarray(pixels_M2, np.float64) - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]
        return self.model.pixels(rays_M2)


def _straight_K(model: CameraModel, limit: float) -> Floats:
    """(3, 3) of the largest upright rectangle of rays that the frame fills, at most `limit`.

    Edges that a fisheye sees sideways or backwards set no bound. The ratio of the focal lengths
    stays.
    """
    left, right, upper, lower = model.border_rays()
    low = np.array([_bound(left[:, 0], np.max, -limit), _bound(upper[:, 1], np.max, -limit)])
    high = np.array([_bound(right[:, 0], np.min, limit), _bound(lower[:, 1], np.min, limit)])
    low, high = np.maximum(low, -limit), np.minimum(high, limit)
    span = high - low
    if not (span > MIN_SPAN).all():
        raise ValueError(
            f"rays of the picture's edges lie at {low.round(3).tolist()} and "
            f"{high.round(3).tolist()}: no straight picture is in there"
        )
    height, width = model.size_hw
    steps = np.array([width - 1, height - 1])
    focal = model.K[[0, 1], [0, 1]]
    focal = focal * (steps / span / focal).max()
    corner = (low + high - steps / focal) / 2  # ray of the first pixel, the picture in the middle
    K = np.eye(3)
    K[[0, 1], [0, 1]] = focal
    K[:2, 2] = -corner * focal
    return K


def _bound(edge: Floats, inner: Callable[[Floats], float], otherwise: float) -> float:
    known = edge[np.isfinite(edge)]
    return float(inner(known)) if len(known) else otherwise
