# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes of points with known poses and depths, for the tests of the map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2vlm_map.mapping.keyframe import Keyframe, View
from g2vlm_map.mapping.rotations import exp_rotation

Floats = NDArray[np.float64]

IMAGE_HW = (480, 640)
DEPTH_HW = (60, 80)
FOCAL = 70.0  # pixels of the depth
K = np.array([[FOCAL, 0, 39.5], [0, FOCAL, 29.5], [0, 0, 1]])


def pose(turn_deg: ArrayLike, centre: ArrayLike) -> Floats:
    """(4, 4) camera-to-world."""
    T = np.eye(4)
    T[:3, :3] = exp_rotation(np.radians(np.asarray(turn_deg, np.float64)))
    T[:3, 3] = centre
    return T


class Points:
    """Points with descriptors, seen by keyframes with noise.

    Args:
        count: Of the points.
        low, high: Corners of the box that they fill.
        seed: Of everything random.
    """

    def __init__(
        self,
        count: int = 600,
        low: Sequence[float] = (-3.0, -2.0, 2.0),
        high: Sequence[float] = (3.0, 2.0, 7.0),
        seed: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.points = self.rng.uniform(low, high, (count, 3))
        self.descriptors = self.rng.integers(0, 256, (count, 128), np.uint8)

    def keyframe(
        self,
        number: int,
        T_world_cam: Floats,
        noise_px: float = 0.3,
        depth_factor: float = 1.0,
        outliers: float = 0.0,
        camera: str = "camera",
        T_body_cam: Floats | None = None,
    ) -> Keyframe:
        """What a camera there gives; its depth is `depth_factor` times the true one."""
        made = self.view(T_world_cam, noise_px, depth_factor, outliers, camera, T_body_cam)
        return Keyframe(number, number * 10**9, f"{camera}@{number}", (made,), {})

    def view(
        self,
        T_world_cam: Floats,
        noise_px: float = 0.3,
        depth_factor: float = 1.0,
        outliers: float = 0.0,
        camera: str = "camera",
        T_body_cam: Floats | None = None,
    ) -> View:
        """The view of one camera; see `keyframe`."""
        local = (self.points - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
        ahead = local[:, 2] > 0.3
        place = (local @ K.T)[:, :2] / np.maximum(local[:, 2:], 0.3)
        seen = ahead & (place > -0.5).all(axis=1) & (place < (79.5, 59.5)).all(axis=1)
        depth = np.zeros(DEPTH_HW, np.float16)
        order = np.flatnonzero(seen)[np.argsort(-local[seen, 2])]  # the nearest is written last
        column, row = np.rint(place[order]).astype(int).T
        depth[row, column] = (local[order, 2] * depth_factor).astype(np.float16)
        stretch = np.array([IMAGE_HW[1] / DEPTH_HW[1], IMAGE_HW[0] / DEPTH_HW[0]])
        pixel = (place[seen] + 0.5) * stretch - 0.5
        pixel += self.rng.normal(scale=noise_px, size=pixel.shape) if noise_px else 0.0
        wrong = self.rng.random(len(pixel)) < outliers
        pixel[wrong] = self.rng.uniform((0, 0), (639, 479), (int(wrong.sum()), 2))
        return View(
            camera=camera,
            frame_id=f"{camera}_optical",
            stamp_ns=0,
            T_body_cam=np.eye(4) if T_body_cam is None else T_body_cam,
            K=K,
            image_hw=IMAGE_HW,
            depth_HW=depth,
            confidence_HW=np.full(DEPTH_HW, 255, np.uint8),
            color_HW3=np.zeros((*DEPTH_HW, 3), np.uint8),
            feature_F2=pixel.astype(np.float32),
            descriptor_FE=self.descriptors[seen],
        )


def turn_between_deg(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Angle of the rotation that lies between two."""
    residual = np.asarray(a[:3, :3], np.float64).T @ b[:3, :3]
    sine = np.linalg.norm(
        [
            residual[2, 1] - residual[1, 2],
            residual[0, 2] - residual[2, 0],
            residual[1, 0] - residual[0, 1],
        ]
    )
    return float(np.degrees(np.arctan2(sine, np.trace(residual) - 1)))
