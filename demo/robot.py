# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The robots: two driven wheels, a camera that looks ahead, a 2D lidar on top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BASE",
    "CAMERA",
    "CAMERA_OPTICAL",
    "CAR",
    "LASER",
    "ODOM",
    "RIGHT_OPTICAL",
    "ROVER",
    "Robot",
    "turn_z",
]

Floats = NDArray[np.float64]

ODOM, BASE = "odom", "base_link"
CAMERA, CAMERA_OPTICAL, RIGHT_OPTICAL = (
    "camera_link",
    "camera_optical_frame",
    "right_camera_optical_frame",
)
LASER = "laser"
# Optical axes (x right, y down, z forward) in those of a body (x forward, y left, z up).
R_BODY_OPTICAL: Floats = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Robot:
    """Where things sit on the base, and what its wheels can do; metres, seconds, radians.

    Args:
        camera_xyz: The camera's body in the base.
        camera_pitch: Its turn about y; above 0 it looks down.
        laser_xyz: The lidar in the base.
        radius: Of the circle that it needs.
        wheel_base: Between the two driven wheels.
        wheel_radius: Of both.
        speed: Fastest drive.
        speed_at_least: Slowest drive between two stops; 0 where corners may be taken as slowly
            as they need.
        acceleration: Along the path.
        side_acceleration: Across it, in curves.
        turn_rate: Fastest turn.
        turn_acceleration: Of turns on the spot.
        shake: Standard deviation of roll and pitch while it drives.
        scan_range: Farthest reading of the lidar.
    """

    camera_xyz: tuple[float, float, float] = (0.12, 0.0, 0.45)
    camera_pitch: float = 0.10
    laser_xyz: tuple[float, float, float] = (0.0, 0.0, 0.28)
    radius: float = 0.20
    wheel_base: float = 0.34
    wheel_radius: float = 0.05
    speed: float = 0.5
    speed_at_least: float = 0.0
    acceleration: float = 0.5
    side_acceleration: float = 0.4
    turn_rate: float = 0.8
    turn_acceleration: float = 1.6
    shake: float = 0.002
    scan_range: float = 12.0

    def T_base_camera(self) -> Floats:
        """(4, 4) of the camera's body (x forward, z up)."""
        c, s = np.cos(self.camera_pitch), np.sin(self.camera_pitch)
        T = np.eye(4)
        T[:3, :3] = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        T[:3, 3] = self.camera_xyz
        return T

    def T_camera_optical(self, right: float = 0.0) -> Floats:
        """(4, 4) of optical axes in the camera's body.

        Args:
            right: Metres to the right of it: the other eye of a stereo pair.
        """
        T = np.eye(4)
        T[:3, :3] = R_BODY_OPTICAL
        T[1, 3] = -right
        return T

    def T_base_optical(self, right: float = 0.0) -> Floats:
        """(4, 4) of the camera's optical axes in the base; `right` as above."""
        T: Floats = self.T_base_camera() @ self.T_camera_optical(right)
        return T

    def T_base_laser(self, upside_down: bool = False) -> Floats:
        """(4, 4) of the lidar; it may hang upside down."""
        T = np.eye(4)
        if upside_down:
            T[:3, :3] = np.diag([1.0, -1.0, -1.0])
        T[:3, 3] = self.laser_xyz
        return T


ROVER = Robot()
CAR = Robot(
    camera_xyz=(0.9, 0.0, 1.25),
    camera_pitch=0.03,
    laser_xyz=(0.6, 0.0, 1.0),
    radius=1.0,
    wheel_base=1.3,
    wheel_radius=0.28,
    speed=10.0,
    speed_at_least=2.0,
    acceleration=1.5,
    side_acceleration=2.0,
    turn_rate=0.7,
    turn_acceleration=0.8,
    shake=0.003,
    scan_range=30.0,
)


def turn_z(yaw: float) -> Floats:
    """(3, 3) turn about z, radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
