# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How a camera moves: one function for each kind of path, which knows walls and things not yet.

`paths.camera_path` draws a path until it is free. A walk takes the scene, a source of chance, the
number of frames, the typical step in metres and the typical turn in radians; it gives (N, 4, 4)
`T_world_cam`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .builder import SceneObject

__all__ = ["WALKS", "Walk", "Walkable", "look_rotation", "pose_at", "somewhere"]

_PITCH = np.radians((-65.0, 25.0))  # no device looks further down or up


class Walkable(Protocol):
    """What camera paths need of a scene, procedural or furnished; see `Room`."""

    @property
    def seed(self) -> int:
        """Of the scene."""

    @property
    def size(self) -> tuple[float, float, float]:
        """Length, width, height, metres."""

    @property
    def roam(self) -> tuple[float, float, float, float]:
        """Where cameras go: x0, y0, x1, y1."""

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """The named things."""

    @property
    def shape_M(self) -> NDArray[np.int64]:
        """`Shape` numbers of what cameras keep clear of; the first counts for nothing."""

    @property
    def centre_M3(self) -> NDArray[np.float32]:
        """Middles."""

    @property
    def half_M3(self) -> NDArray[np.float32]:
        """Half sizes."""

    @property
    def turn_M33(self) -> NDArray[np.float32]:
        """Columns are their axes in the world."""


def look_rotation(yaw: float, pitch: float, roll: float = 0.0) -> NDArray[np.float64]:
    """(3, 3) camera-to-world rotation of optical axes.

    Args:
        yaw: Heading about world z, 0 looks along +x, radians.
        pitch: Above the horizon, radians.
        roll: Clockwise turn of the camera about its optical axis, radians.
    """
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    level = np.stack([right, down, forward], axis=1)
    c, s = np.cos(roll), np.sin(roll)
    rolled: NDArray[np.float64] = level @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    return rolled


def pose_at(
    position: NDArray[np.float64], yaw: float, pitch: float, roll: float
) -> NDArray[np.float64]:
    """(4, 4) `T_world_cam` of a level look; the pitch stays within what a device can do."""
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = look_rotation(yaw, float(np.clip(pitch, *_PITCH)), roll)
    T_world_cam[:3, 3] = position
    return T_world_cam


def somewhere(room: Walkable, rng: np.random.Generator, height: float) -> NDArray[np.float64]:
    """A place on the floor plan where cameras go, free or not, at a height."""
    x0, y0, x1, y1 = room.roam
    return np.array([rng.uniform(x0 + 0.3, x1 - 0.3), rng.uniform(y0 + 0.3, y1 - 0.3), height])


def _drive(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A wheeled robot: constant height, forward or now and then backward, or turning in place."""
    position = somewhere(room, rng, rng.uniform(0.2, 0.7))
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.8)
    pitch = rng.normal(-0.04, 0.07)
    speed = step * rng.uniform(0.3, 1.7) * (-1.0 if rng.random() < 0.1 else 1.0)
    if rng.random() < 0.12:
        speed *= 0.05
    rate = rng.normal(0, turn)
    poses = []
    for _ in range(frames):
        poses.append(pose_at(position, heading, pitch + rng.normal(0, 0.006), rng.normal(0, 0.004)))
        rate = 0.8 * rate + 0.6 * rng.normal(0, turn)
        heading += rate
        position = position + speed * np.array([np.cos(heading), np.sin(heading), 0.0])
    return np.stack(poses)


def _swing(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A camera on an arm: on an arc about the top of something between knee and chest."""
    tops = [
        thing
        for thing in room.objects
        if 0.3 < thing.centre[2] + thing.size[2] / 2 < 1.0 and min(thing.size[:2]) > 0.25
    ]
    if tops:
        thing = tops[int(rng.integers(len(tops)))]
        goal = np.array([*thing.centre[:2], thing.centre[2] + thing.size[2] / 2])
        goal[:2] += rng.uniform(-0.3, 0.3, 2) * thing.size[:2]
        reach = 0.25 * max(thing.size[:2]) + rng.uniform(0.25, 0.7)
    else:
        goal, reach = somewhere(room, rng, rng.uniform(0.05, 0.4)), rng.uniform(0.35, 0.9)
    height = float(np.clip(goal[2] + rng.uniform(0.12, 0.55), 0.4, 1.2))
    angle = rng.uniform(-np.pi, np.pi)
    slow = 0.5 * step * rng.uniform(0.4, 1.6)
    spin = np.clip(rng.choice([-1, 1]) * slow / reach, -1.5 * turn, 1.5 * turn)
    rise, aside, roll = rng.normal(0, 0.3 * slow), rng.normal(0, 0.15), rng.normal(0, 0.05)
    poses = []
    for _ in range(frames):
        place = goal + reach * np.array([np.cos(angle), np.sin(angle), 0.0])
        place[2] = height
        toward = goal - place
        yaw = np.arctan2(toward[1], toward[0]) + aside
        pitch = np.arctan2(toward[2], reach)
        poses.append(pose_at(place, yaw, pitch, roll))
        angle += spin * rng.uniform(0.6, 1.4)
        reach = max(0.2, reach + rng.normal(0, 0.3 * slow))
        height = float(np.clip(height + rise + rng.normal(0, 0.1 * slow), 0.4, 1.2))
        aside = 0.9 * aside + rng.normal(0, 0.2 * turn)
        roll = 0.9 * roll + rng.normal(0, 0.01)
    return np.stack(poses)


def _carry(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A camera in a hand: drifts, sways, looks at one thing or about."""
    position = somewhere(room, rng, rng.uniform(1.0, min(1.8, room.size[2] - 0.3)))
    target = somewhere(room, rng, rng.uniform(0.2, 1.2))
    fixates = rng.random() < 0.5
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.7)
    pitch_mean = np.radians(rng.uniform(-35, 10))
    speed = step * rng.uniform(0.3, 1.7)
    drift = rng.normal(0, 1.0, 3) * (1.0, 1.0, 0.25)
    rate = rng.normal(0, turn)
    pitch, roll = pitch_mean, rng.normal(0, 0.04)
    poses = []
    for _ in range(frames):
        if fixates:
            to = target - position
            heading = np.arctan2(to[1], to[0]) + rng.normal(0, 0.015)
            pitch = np.arctan2(to[2], np.hypot(to[0], to[1])) + rng.normal(0, 0.015)
        poses.append(pose_at(position, heading, pitch, roll))
        rate = 0.8 * rate + 0.6 * rng.normal(0, turn)
        heading += rate
        pitch = 0.9 * pitch + 0.1 * pitch_mean + rng.normal(0, 0.3 * turn)
        roll = 0.8 * roll + rng.normal(0, 0.015)
        drift = 0.85 * drift + 0.4 * rng.normal(0, 1.0, 3) * (1.0, 1.0, 0.25)
        position = position + speed * drift / max(1.0, float(np.linalg.norm(drift)))
        position[2] = np.clip(position[2], 0.9, min(1.85, room.size[2] - 0.2))
    return np.stack(poses)


def _straight(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A car, a train of trolleys: ahead along its optical axis, hardly turning."""
    position = somewhere(room, rng, rng.uniform(0.3, min(1.6, room.size[2] - 0.3)))
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.5)
    pitch, roll = rng.normal(-0.03, 0.05), rng.normal(0, 0.01)
    speed = step * rng.uniform(0.5, 1.5)
    rate = rng.normal(0, 0.1 * turn)
    poses = []
    for _ in range(frames):
        poses.append(pose_at(position, heading, pitch + rng.normal(0, 0.004), roll))
        heading += rate + rng.normal(0, 0.05 * turn)
        position = position + speed * np.array([np.cos(heading), np.sin(heading), 0.0])
    return np.stack(poses)


def _fly(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A drone: any direction, leaning into its motion, its camera tilted down."""
    top = min(4.0, room.size[2] - 0.35)
    position = somewhere(room, rng, rng.uniform(0.6, max(0.7, top)))
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.9)
    tilt = np.radians(rng.uniform(-50, 5))
    speed = step * rng.uniform(0.4, 1.8)
    drift = rng.normal(0, 1.0, 3) * (1.0, 1.0, 0.6)
    rate, roll = rng.normal(0, turn), 0.0
    poses = []
    for _ in range(frames):
        poses.append(pose_at(position, heading, tilt + rng.normal(0, 0.01), roll))
        rate = 0.85 * rate + 0.5 * rng.normal(0, turn)
        heading += rate
        drift = 0.9 * drift + 0.35 * rng.normal(0, 1.0, 3) * (1.0, 1.0, 0.6)
        move = drift / max(1.0, float(np.linalg.norm(drift)))
        aside = move[0] * np.sin(heading) - move[1] * np.cos(heading)
        roll = 0.7 * roll + 0.05 * aside + rng.normal(0, 0.01)
        position = position + speed * move
        position[2] = np.clip(position[2], 0.5, max(0.7, top))
    return np.stack(poses)


def _look_about(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """Turning on the spot; the lens sits up to 6 cm off the axis, a twentieth of a step shakes."""
    spot = somewhere(room, rng, rng.uniform(0.3, min(1.8, room.size[2] - 0.3)))
    heading, pitch = rng.uniform(-np.pi, np.pi), rng.normal(-0.1, 0.15)
    arm, roll = rng.uniform(0, 0.06), rng.normal(0, 0.02)
    rate = rng.choice([-1, 1]) * turn * rng.uniform(0.4, 1.6)
    poses = []
    for _ in range(frames):
        out = arm * np.array([np.cos(heading), np.sin(heading), 0.0])
        shake = rng.normal(0, 0.05 * step, 3)
        poses.append(pose_at(spot + out + shake, heading, pitch, roll))
        heading += rate * rng.uniform(0.6, 1.4)
        pitch += rng.normal(0, 0.15 * turn)
        roll = 0.9 * roll + rng.normal(0, 0.005)
    return np.stack(poses)


def _stay(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """On a stand, or in a hand that holds still: millimetres and tenths of a degree."""
    spot = somewhere(room, rng, rng.uniform(0.3, min(1.8, room.size[2] - 0.3)))
    heading, pitch = rng.uniform(-np.pi, np.pi), rng.normal(-0.15, 0.2)
    held = rng.random() < 0.5
    shake, nod = (0.004, 0.006) if held else (0.0003, 0.0003)
    return np.stack(
        [
            pose_at(
                spot + rng.normal(0, shake, 3),
                heading + rng.normal(0, nod), pitch + rng.normal(0, nod), rng.normal(0, nod),
            )
            for _ in range(frames)
        ]
    )  # fmt: skip


Walk = Callable[[Walkable, np.random.Generator, int, float, float], NDArray[np.float64]]
WALKS: dict[str, Walk] = {
    "robot": _drive, "arm": _swing, "hand": _carry, "drive": _straight, "drone": _fly,
    "turn": _look_about, "still": _stay,
}  # fmt: skip
