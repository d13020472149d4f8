# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Camera paths of wheeled robots, robot arms and hands, at their heights and speeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from .builder import SceneObject
from .parts import Shape

__all__ = [
    "PATH_STYLES",
    "PathStyle",
    "Walkable",
    "camera_path",
    "intrinsics",
    "look_rotation",
    "surface_gaps",
]

PathStyle = Literal["robot", "arm", "hand"]
PATH_STYLES: tuple[str, ...] = get_args(PathStyle)


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


_CLEARANCE = {"robot": 0.22, "arm": 0.12, "hand": 0.22}  # metres between lens and surfaces
_TRIES = 60
_SIGHT = (0.4, 0.8, 1.2)  # metres ahead of the first frame that are free, or it sees one wall only
_PITCH = np.radians((-65.0, 25.0))  # no device looks further down or up


def intrinsics(fov_deg: float, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(3, 3) pinhole matrix with square pixels and a horizontal field of view.

    The centre of the top-left pixel is (0, 0).

    Raises:
        ValueError: A field of view outside 1..170 degrees.
    """
    if not 1.0 <= fov_deg <= 170.0:
        raise ValueError(f"fov_deg is {fov_deg}, expected 1..170")
    height, width = size_hw
    focal = 0.5 * width / np.tan(np.radians(fov_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


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


def camera_path(
    room: Walkable,
    seed: int,
    num_frames: int,
    style: PathStyle = "robot",
    *,
    step: float = 0.07,
    turn_deg: float = 4.5,
) -> NDArray[np.float64]:
    """Drive or carry a camera through the free space of a room.

    A robot keeps its height and looks where it goes; an arm swings about the top of a piece of
    furniture and looks down on it, half as fast; a hand drifts sideways and up and down, and
    often keeps looking at one thing.

    Args:
        room: Where.
        seed: Of the path; one room has many.
        num_frames: N, at least 1.
        style: "robot" (0.2 to 0.7 m above the floor), "arm" (0.4 to 1.2 m), "hand" (1 to 1.8 m).
        step: Typical metres between neighbouring frames.
        turn_deg: Typical turn between neighbouring frames, degrees.

    Returns:
        (N, 4, 4) float64 `T_world_cam`.

    Raises:
        ValueError: Unknown style or a length below 1.
        RuntimeError: The room has no free place.
    """
    if style not in PATH_STYLES:
        raise ValueError(f"style is {style!r}, expected one of {PATH_STYLES}")
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, expected at least 1")
    rng = np.random.default_rng([room.seed, seed, 23])
    turn = np.radians(turn_deg)
    best: list[NDArray[np.float64]] = []
    for attempt in range(_TRIES):
        poses = _WALKS[style](room, rng, num_frames, step, turn)
        free = _free(room, poses[:, :3, 3], _CLEARANCE[style])
        ahead = poses[:1, :3, 3] + np.outer(_SIGHT, poses[0, :3, 2])
        if style != "arm" and attempt < _TRIES // 2 and not _free(room, ahead, 0.05).all():
            continue
        length = num_frames if free.all() else int(np.argmin(free))
        if length > len(best):
            best = list(poses[:length])
        if length == num_frames:
            break
    if not best:
        best = [_anywhere(room, rng)]
    while len(best) < num_frames:  # boxed in: turn round on the spot from the last free place
        turned = best[-1].copy()
        turned[:3, :3] = _about_z(turn) @ turned[:3, :3]
        best.append(turned)
    return np.stack(best)


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _pose(
    position: NDArray[np.float64], yaw: float, pitch: float, roll: float
) -> NDArray[np.float64]:
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = look_rotation(yaw, float(np.clip(pitch, *_PITCH)), roll)
    T_world_cam[:3, 3] = position
    return T_world_cam


def _somewhere(room: Walkable, rng: np.random.Generator, height: float) -> NDArray[np.float64]:
    x0, y0, x1, y1 = room.roam
    return np.array([rng.uniform(x0 + 0.3, x1 - 0.3), rng.uniform(y0 + 0.3, y1 - 0.3), height])


def _anywhere(room: Walkable, rng: np.random.Generator) -> NDArray[np.float64]:
    """A pose in some free place, however narrow.

    Raises:
        RuntimeError: There is none.
    """
    for clearance in (0.2, 0.12, 0.06):
        heights = rng.uniform(0.3, min(2.2, room.size[2] - 0.2), 400)
        places = np.stack([_somewhere(room, rng, height) for height in heights])
        free = np.flatnonzero(_free(room, places, clearance))
        if len(free):
            return _pose(places[free[0]], float(rng.uniform(-np.pi, np.pi)), -0.2, 0.0)
    raise RuntimeError(f"room {room.seed} has no free place for a camera; take another seed")


def _drive(
    room: Walkable, rng: np.random.Generator, frames: int, step: float, turn: float
) -> NDArray[np.float64]:
    """A wheeled robot: constant height, forward or now and then backward, or turning in place."""
    position = _somewhere(room, rng, rng.uniform(0.2, 0.7))
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.8)
    pitch = rng.normal(-0.04, 0.07)
    speed = step * rng.uniform(0.3, 1.7) * (-1.0 if rng.random() < 0.1 else 1.0)
    if rng.random() < 0.12:
        speed *= 0.05
    rate = rng.normal(0, turn)
    poses = []
    for _ in range(frames):
        poses.append(_pose(position, heading, pitch + rng.normal(0, 0.006), rng.normal(0, 0.004)))
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
        goal, reach = _somewhere(room, rng, rng.uniform(0.05, 0.4)), rng.uniform(0.35, 0.9)
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
        poses.append(_pose(place, yaw, pitch, roll))
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
    position = _somewhere(room, rng, rng.uniform(1.0, min(1.8, room.size[2] - 0.3)))
    target = _somewhere(room, rng, rng.uniform(0.2, 1.2))
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
        poses.append(_pose(position, heading, pitch, roll))
        rate = 0.8 * rate + 0.6 * rng.normal(0, turn)
        heading += rate
        pitch = 0.9 * pitch + 0.1 * pitch_mean + rng.normal(0, 0.3 * turn)
        roll = 0.8 * roll + rng.normal(0, 0.015)
        drift = 0.85 * drift + 0.4 * rng.normal(0, 1.0, 3) * (1.0, 1.0, 0.25)
        position = position + speed * drift / max(1.0, float(np.linalg.norm(drift)))
        position[2] = np.clip(position[2], 0.9, min(1.85, room.size[2] - 0.2))
    return np.stack(poses)


_Walk = Callable[[Walkable, np.random.Generator, int, float, float], NDArray[np.float64]]
_WALKS: dict[str, _Walk] = {"robot": _drive, "arm": _swing, "hand": _carry}


def surface_gaps(
    room: Walkable, places_K3: NDArray[np.float64], things: slice | None = None
) -> NDArray[np.float64]:
    """(K,) metres from places to the nearest thing in the room, its shell left out.

    Of a ball it is the larger of the distance to its box and that along its shortest axis; inside
    of a thing the gap is 0 or less.

    Args:
        room: Where.
        places_K3: World coordinates, metres.
        things: Which primitives; None: all but the shell.
    """
    some = slice(1, None) if things is None else things
    offset = places_K3[:, None] - room.centre_M3[some]
    local = np.einsum("mij,kmi->kmj", room.turn_M33[some], offset)
    half = room.half_M3[some]
    gap = np.linalg.norm(np.maximum(np.abs(local) - half, 0.0), axis=2)
    ball = (np.linalg.norm(local / half, axis=2) - 1) * half.min(axis=1)
    gap = np.where(room.shape_M[some] == Shape.SPHERE, np.maximum(ball, gap), gap)
    nearest: NDArray[np.float64] = gap.min(axis=1, initial=np.inf)
    return nearest


def _free(room: Walkable, places_K3: NDArray[np.float64], clearance: float) -> NDArray[np.bool_]:
    """(K,) whether a ball of the clearance around each place touches nothing."""
    x0, y0, x1, y1 = room.roam
    x, y, z = places_K3.T
    free: NDArray[np.bool_] = (x > x0 + clearance) & (x < x1 - clearance)
    free &= (y > y0 + clearance) & (y < y1 - clearance)
    free &= (z > min(0.15, clearance)) & (z < room.size[2] - 0.15)
    free &= surface_gaps(room, places_K3) > clearance
    return free
