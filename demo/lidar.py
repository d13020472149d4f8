# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A 2D lidar: one row of ranges about the sensor's z axis.

Letters: N scans, A angles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from g2vlm_training.synthetic import Room
from g2vlm_training.synthetic.geometry import pack_geometry
from g2vlm_training.synthetic.raycast import Cameras, camera_hits
from numpy.typing import NDArray

__all__ = ["Lidar", "Scanner"]

Floats = NDArray[np.float64]

_SIDES = 4  # a round is four views of 90 degrees


@dataclass(frozen=True)
class Lidar:
    """What a lidar can do.

    Args:
        beams: Of one round; a multiple of 4. The first looks back, they go on to the left.
        noise_m: Standard deviation of a reading.
        range_min, range_max: Metres; beyond there is no echo.

    Raises:
        ValueError: A number of beams that is no multiple of 4.
    """

    beams: int = 360
    noise_m: float = 0.01
    range_min: float = 0.1
    range_max: float = 12.0

    def __post_init__(self) -> None:
        if self.beams < _SIDES or self.beams % _SIDES:
            raise ValueError(f"beams is {self.beams}, expected a multiple of {_SIDES}")

    @property
    def step(self) -> float:
        """Radians between two beams."""
        return 2 * math.pi / self.beams

    @property
    def angles(self) -> Floats:
        """(A,) radians about the sensor's z axis, 0 ahead, from -pi on."""
        return (np.arange(self.beams, dtype=np.float64) + 0.5) * self.step - math.pi


class Scanner:
    """Measures true ranges in a scene.

    Args:
        room: The scene.
        lidar: The sensor.
    """

    def __init__(self, room: Room, lidar: Lidar) -> None:
        self.lidar = lidar
        self._geometry = pack_geometry([room], torch.device("cpu"))
        # Rays of a view that looks along the middle of its 90 degrees, z = 1.
        beams = lidar.beams // _SIDES
        angle = (np.arange(beams) + 0.5) * lidar.step - math.pi / 4
        self._slope = -np.tan(angle)[::-1].copy()  # x to the right, beams to the left
        self._stretch = 1.0 / np.cos(angle)

    def ranges(self, T_world_laser_N44: Floats) -> Floats:
        """(N, A) true metres along the beams; inf where nothing is within the range."""
        count = len(T_world_laser_N44)
        views = np.concatenate([self._views(T) for T in T_world_laser_N44])
        cameras = Cameras(
            room_F=(0,) * len(views),
            centre_F3=torch.from_numpy(views[:, :3, 3]).float(),
            R_world_cam_F33=torch.from_numpy(views[:, :3, :3].copy()).float(),
            x_FW=torch.from_numpy(self._slope).float().expand(len(views), -1),
            y_FH=torch.zeros(len(views), 1),
        )
        hits = camera_hits(self._geometry, cameras)
        depth = cameras.grid.to_pictures(hits.t_GT)[:, 0].double().numpy()[:, ::-1]
        ranges: Floats = (depth * self._stretch).reshape(count, -1)
        return np.where(ranges <= self.lidar.range_max, ranges, np.inf)

    def measured(self, T_world_laser_N44: Floats, rng: np.random.Generator) -> Floats:
        """(N, A) as the sensor says them: with noise, inf where there is no echo."""
        true = self.ranges(T_world_laser_N44)
        noisy = true + rng.normal(0.0, self.lidar.noise_m, true.shape)
        return np.where(true >= self.lidar.range_min, noisy, np.inf)

    def _views(self, T_world_laser: Floats) -> Floats:
        """(4, 4, 4) poses, optical axes, of views back, right, ahead and left... of a round."""
        views = np.tile(np.eye(4), (_SIDES, 1, 1))
        for side in range(_SIDES):
            yaw = -math.pi + (side + 0.5) * math.pi / 2
            ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
            axes = np.stack([right, np.array([0.0, 0.0, -1.0]), ahead], axis=1)
            views[side, :3, :3] = T_world_laser[:3, :3] @ axes
            views[side, :3, 3] = T_world_laser[:3, 3]
        return views
