# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Worlds of boxes with exact depth, as frozen `World`s: what the dense map's tests look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float, float, float]  # x0, y0, z0, x1, y1, z1, metres
K = np.array([[70.0, 0, 55.5], [0, 70.0, 41.5], [0, 0, 1.0]])
HW = (84, 112)
ROOM: Box = (-3.0, -2.5, 0.0, 3.0, 2.5, 2.4)
CAMERA_HEIGHT = 0.5
UNIT_M = 0.4  # metres in a map unit: nothing may pass that forgets it
# Optical axes of a camera that looks along the base's x, level.
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def mount(pitch_deg: float = 8.0, roll_deg: float = 0.0, height: float = CAMERA_HEIGHT) -> Floats:
    """`T_base_cam` of a camera that looks ahead and down; a roll of 180 is upside down."""
    p, r = np.radians(pitch_deg), np.radians(roll_deg)
    down = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    turned = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    T = np.eye(4)
    T[:3, :3] = down @ OPTICAL @ turned
    T[:3, 3] = (0.1, 0.0, height)
    return T


def base_pose(x: float, y: float, yaw_deg: float) -> Floats:
    """`T_world_base` on the floor."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    T = np.eye(4)
    T[:2, :2] = [[c, -s], [s, c]]
    T[:2, 3] = (x, y)
    return T


def cast(T_world_cam: Floats, boxes: Sequence[Box], room: Box | None = ROOM) -> Floats:
    """(H, W) z-depth of what a camera sees: boxes from outside, the room from inside; 0: nothing.

    Args:
        T_world_cam: (4, 4), metres.
        boxes: Solid boxes.
        room: Seen from inside.
    """
    u, v = np.meshgrid(np.arange(HW[1]), np.arange(HW[0]))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(HW)], axis=-1)
    toward, start = rays @ T_world_cam[:3, :3].T, T_world_cam[:3, 3]
    nearest = np.full(HW, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for box in boxes:
            first = (np.array(box[:3]) - start) / toward
            second = (np.array(box[3:]) - start) / toward
            enter = np.minimum(first, second).max(axis=-1)
            leave = np.maximum(first, second).min(axis=-1)
            hit = (enter <= leave) & (enter > 0)
            nearest = np.where(hit, np.minimum(nearest, enter), nearest)
        if room is not None:
            ends = (np.where(toward > 0, room[3:], room[:3]) - start) / toward
            nearest = np.minimum(nearest, np.where(toward == 0, np.inf, ends).min(axis=-1))
    return np.where(np.isfinite(nearest), nearest, 0.0)


@dataclass
class Drive:
    """Collects keyframes of a robot with one camera.

    Args:
        T_base_cam: Its mount.
        metric: Whether the scale of the worlds carries.
    """

    T_base_cam: Floats
    metric: bool = True

    def __post_init__(self) -> None:
        self.placed: list[PlacedKeyframe] = []
        self.T_world_base: list[Floats] = []

    def add(self, T_world_base: Floats, depth_HW: Floats, number: int | None = None) -> None:
        """A keyframe with its depth in metres, kept in units that are neither metres nor the map's.

        Args:
            T_world_base: Where the base is.
            depth_HW: z-depth, metres.
            number: Of the keyframe; the next one where None.
        """
        self.T_world_base.append(T_world_base)
        first = self.T_world_base[0] @ self.T_base_cam
        T_map_body = np.linalg.inv(first) @ T_world_base @ self.T_base_cam
        T_map_body[:3, 3] /= UNIT_M
        number = len(self.placed) + 1 if number is None else number
        view = View(
            camera="camera", frame_id="camera_optical_frame", stamp_ns=number * 10**9,
            T_body_cam=np.eye(4), K=K, image_hw=HW, depth_HW=(depth_HW / 2).astype(np.float16),
            confidence_HW=np.full(HW, 255, np.uint8), color_HW3=np.full((*HW, 3), 90, np.uint8),
            feature_F2=np.zeros((0, 2), np.float32), descriptor_FE=np.zeros((0, 32), np.uint8),
        )  # fmt: skip
        keyframe = Keyframe(number, view.stamp_ns, str(number), (view,), {})
        log_scale = float(np.log(2 / UNIT_M))
        self.placed.append(PlacedKeyframe(keyframe, T_map_body, log_scale, np.eye(6), 1))

    def world(self, version: int = 1, **changes: object) -> World:
        """The world of what was added; the first base pose is the origin, z is up."""
        T_level_map = self.T_base_cam.copy()
        T_level_map[:3, 3] /= UNIT_M
        scale = ScaleEstimate(self.metric, float(np.log(UNIT_M)), 0.03, reason="not yet known")
        given: dict[str, object] = {
            "version": version, "segment": 1, "keyframes": tuple(self.placed), "scale": scale,
            "T_level_map": T_level_map, "up_source": "base", "T_base_body": self.T_base_cam,
        }  # fmt: skip
        return World(**{**given, **changes})  # type: ignore[arg-type]


def tour(
    boxes: Sequence[Box] = (), T_base_cam: Floats | None = None, stops: int = 12, **room: object
) -> Drive:
    """A drive from x = -2 to 0.2 on y = 0 that looks left and right a little."""
    drive = Drive(mount() if T_base_cam is None else T_base_cam)
    for x, yaw in zip(np.linspace(-2.0, 0.2, stops), 12 * np.sin(np.arange(stops)), strict=True):
        pose = base_pose(float(x), 0.0, float(yaw))
        drive.add(pose, cast(pose @ drive.T_base_cam, boxes, **room))  # type: ignore[arg-type]
    return drive
