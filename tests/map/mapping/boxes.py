# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rooms without pictures: points on and before the walls of a box, each with a descriptor.

Keyframes of them have exact features and depth up to the noise that is asked for, so that what is
tested is the map's reasoning and not a detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2vlm_map.mapping.keyframe import Keyframe, View
from g2vlm_map.mapping.places import place_vectors

HW, IMAGE_HW = (48, 64), (240, 320)
FOCAL = 200.0
K_IMAGE = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1]])


def look(x: float, z: float, yaw: float, y: float = 0.0) -> np.ndarray:
    """T_world_body of a camera that stands at (x, y, z), y down, and looks along yaw from +z."""
    T = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = x, y, z
    return T


@dataclass
class Box:
    """A room of 4 x 2.6 x 4 m round its middle.

    Args:
        seed: Of its points; equal seeds are equal rooms.
        middle: (x, z) of it.
        points: In it; half of them stand before the walls: a plane alone says too little.
    """

    seed: int
    middle: tuple[float, float] = (0.0, 0.0)
    points: int = 3000

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.half = np.array([2.0, 1.3, 2.0])
        face = rng.integers(0, 3, self.points)
        place = rng.uniform(-1, 1, (self.points, 3)) * self.half
        rows = np.arange(self.points)
        place[rows, face] = np.where(rng.random(self.points) < 0.5, -1, 1) * self.half[face]
        place *= np.where(rows % 2, rng.uniform(0.6, 1.0, self.points), 1.0)[:, None]
        self.place_P3 = place + np.array([self.middle[0], 0.0, self.middle[1]])
        self.descriptor_PE = rng.integers(0, 256, (self.points, 128), dtype=np.uint8)

    def keyframe(
        self,
        number: int,
        T_world_body: np.ndarray,
        rng: np.random.Generator,
        log_depth_bias: float = 0.0,
        most: int = 300,
    ) -> Keyframe:
        """What a camera sees, its depth in units of its pass: exp(-log_depth_bias) m."""
        T = np.linalg.inv(T_world_body)
        seen = self.place_P3 @ T[:3, :3].T + T[:3, 3]
        ahead = np.flatnonzero(seen[:, 2] > 0.2)
        pixel = seen[ahead, :2] / seen[ahead, 2:] * FOCAL + K_IMAGE[:2, 2]
        height, width = IMAGE_HW
        inside = ((pixel > 0) & (pixel < [width - 1, height - 1])).all(axis=1)
        chosen, pixel = ahead[inside][:most], pixel[inside][:most]
        noisy = pixel + rng.normal(0, 0.3, pixel.shape)
        descriptor = self.descriptor_PE[chosen].astype(np.int16)
        descriptor = np.clip(descriptor + rng.integers(-8, 9, descriptor.shape), 0, 255)
        depth = self._depth(T_world_body) * np.exp(-log_depth_bias)
        kept = descriptor.astype(np.uint8)
        u, v = np.floor((pixel + 0.5) * HW[1] / width).astype(int).T
        depth[v, u] = seen[chosen, 2] * np.exp(-log_depth_bias)
        K = K_IMAGE.copy()
        K[:2] *= HW[1] / width
        K[:2, 2] = (K_IMAGE[:2, 2] + 0.5) * HW[1] / width - 0.5
        view = View(
            *("camera", "camera_optical", number * 10**8, np.eye(4), K, IMAGE_HW),
            depth_HW=depth.astype(np.float16),
            confidence_HW=np.full(HW, 255, np.uint8),
            color_HW3=np.zeros((*HW, 3), np.uint8),
            feature_F2=noisy.astype(np.float32),
            descriptor_FE=kept,
        )
        return Keyframe(number, view.stamp_ns, str(number), (view,), place_vectors(kept, None))

    def _depth(self, T_world_body: np.ndarray) -> np.ndarray:
        """(H, W) exact z-depth of the walls."""
        v, u = np.mgrid[: HW[0], : HW[1]]
        scale = IMAGE_HW[1] / HW[1]
        ray = np.stack(
            [
                ((u + 0.5) * scale - 0.5 - K_IMAGE[0, 2]) / FOCAL,
                ((v + 0.5) * scale - 0.5 - K_IMAGE[1, 2]) / FOCAL,
                np.ones(HW),
            ],
            axis=-1,
        )
        ray = ray @ T_world_body[:3, :3].T
        start = T_world_body[:3, 3] - [self.middle[0], 0, self.middle[1]]
        with np.errstate(divide="ignore"):
            reach = (np.sign(ray) * self.half - start) / ray
        found: np.ndarray = np.where(ray == 0, np.inf, reach).min(axis=-1)
        return found
