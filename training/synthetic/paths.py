"""Camera paths of wheeled robots and of cameras held in a hand, at their heights and speeds."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .parts import Shape
from .room import Room

__all__ = ["PATH_STYLES", "PathStyle", "camera_path", "intrinsics", "look_rotation"]

PathStyle = Literal["robot", "hand"]
PATH_STYLES: tuple[str, ...] = get_args(PathStyle)

_CLEARANCE = 0.22  # metres between the lens and any surface
_TRIES = 60


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
    room: Room,
    seed: int,
    num_frames: int,
    style: PathStyle = "robot",
    *,
    step: float = 0.07,
    turn_deg: float = 4.5,
) -> NDArray[np.float64]:
    """Drive or carry a camera through the free space of a room.

    A robot keeps its height and looks where it goes; a hand drifts sideways and up and down,
    and often keeps looking at one thing.

    Args:
        room: Where.
        seed: Of the path; one room has many.
        num_frames: N, at least 1.
        style: "robot" (0.25 to 0.7 m above the floor) or "hand" (0.95 to 1.8 m).
        step: Typical metres between neighbouring frames.
        turn_deg: Typical turn between neighbouring frames, degrees.

    Returns:
        (N, 4, 4) float64 `T_world_cam`.

    Raises:
        ValueError: Unknown style or a length below 1.
    """
    if style not in PATH_STYLES:
        raise ValueError(f"style is {style!r}, expected one of {PATH_STYLES}")
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, expected at least 1")
    rng = np.random.default_rng([room.seed, seed, 23])
    best: list[NDArray[np.float64]] = []
    for _ in range(_TRIES):
        poses = _attempt(room, rng, num_frames, style, step, np.radians(turn_deg))
        if len(poses) > len(best):
            best = poses
        if len(best) == num_frames:
            break
    while len(best) < num_frames:  # boxed in: turn round on the spot from the last free place
        last = best[-1] if best else _pose(np.array([0, 0, 0.9 * room.size[2]]), 0.0, -0.4, 0.0)
        turned = last.copy()
        spin = np.radians(turn_deg)
        c, s = np.cos(spin), np.sin(spin)
        turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ last[:3, :3]
        best.append(turned)
    return np.stack(best)


def _pose(
    position: NDArray[np.float64], yaw: float, pitch: float, roll: float
) -> NDArray[np.float64]:
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = look_rotation(yaw, pitch, roll)
    T_world_cam[:3, 3] = position
    return T_world_cam


def _attempt(
    room: Room,
    rng: np.random.Generator,
    num_frames: int,
    style: str,
    step: float,
    turn: float,
) -> list[NDArray[np.float64]]:
    """One random walk; stops early where it would touch something."""
    robot = style == "robot"
    height = rng.uniform(0.25, 0.7) if robot else rng.uniform(0.95, min(1.8, room.size[2] - 0.3))
    reach = np.array([room.roam[2], room.roam[3], 0.0]) - 0.4
    position = np.array([*(rng.uniform(-1, 1, 2) * reach[:2]), height])
    target = np.array([*(rng.uniform(-1, 1, 2) * reach[:2]), rng.uniform(0.2, 1.2)])
    fixates = (not robot) and rng.random() < 0.5
    heading = np.arctan2(*(-position[1::-1])) + rng.normal(0, 0.7)
    pitch_mean = rng.normal(-0.05, 0.06) if robot else rng.uniform(-0.5, 0.1)
    speed = step * rng.uniform(0.3, 1.7)
    drift = rng.normal(0, 1.0, 3) * np.array([1.0, 1.0, 0.25])
    rate = rng.normal(0, turn)
    pitch, roll = pitch_mean, 0.0
    poses: list[NDArray[np.float64]] = []
    for _ in range(num_frames):
        if not _is_free(room, position):
            break
        if fixates:
            to = target - position
            heading = np.arctan2(to[1], to[0]) + rng.normal(0, 0.015)
            pitch = np.arctan2(to[2], np.hypot(to[0], to[1])) + rng.normal(0, 0.015)
        poses.append(_pose(position, heading, float(np.clip(pitch, -1.1, 0.7)), roll))
        rate = 0.8 * rate + 0.6 * rng.normal(0, turn)
        if robot:
            heading += rate
            pitch = pitch_mean + rng.normal(0, 0.006)
            position = position + speed * np.array([np.cos(heading), np.sin(heading), 0.0])
        else:
            heading += rate
            pitch = 0.9 * pitch + 0.1 * pitch_mean + rng.normal(0, 0.3 * turn)
            roll = 0.8 * roll + rng.normal(0, 0.012)
            drift = 0.85 * drift + 0.4 * rng.normal(0, 1.0, 3) * np.array([1.0, 1.0, 0.25])
            position = position + speed * drift / max(1.0, float(np.linalg.norm(drift)))
    return poses


def _is_free(room: Room, position: NDArray[np.float64]) -> bool:
    """Whether a ball of the clearance around a position touches nothing."""
    x0, y0, x1, y1 = room.roam
    edge = _CLEARANCE
    if not (x0 + edge < position[0] < x1 - edge and y0 + edge < position[1] < y1 - edge):
        return False
    if not 0.15 < position[2] < room.size[2] - 0.15:
        return False
    offset = position - room.centre_M3[1:]
    local = np.einsum("mij,mi->mj", room.turn_M33[1:], offset)
    outside = np.maximum(np.abs(local) - room.half_M3[1:], 0.0)
    distance = np.linalg.norm(outside, axis=1)
    round_parts = room.shape_M[1:] == Shape.SPHERE
    smallest = room.half_M3[1:].min(axis=1)
    ball = (np.linalg.norm(local / room.half_M3[1:], axis=1) - 1) * smallest
    return bool(np.all(np.where(round_parts, np.maximum(ball, distance), distance) > _CLEARANCE))
