# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Camera paths of robots, arms, hands, cars and drones, and of cameras that stand still."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .parts import Shape
from .walks import WALKS, Walkable, look_rotation, pose_at, somewhere

__all__ = [
    "PATH_STYLES",
    "PathStyle",
    "Walkable",
    "camera_path",
    "intrinsics",
    "look_rotation",
    "surface_gaps",
]

PathStyle = Literal["robot", "arm", "hand", "drive", "drone", "turn", "still"]
PATH_STYLES: tuple[str, ...] = get_args(PathStyle)

_CLEARANCE = {  # metres between lens and surfaces
    "robot": 0.22, "arm": 0.12, "hand": 0.22, "drive": 0.22, "drone": 0.3, "turn": 0.15,
    "still": 0.15,
}  # fmt: skip
_TRIES = 60
_SIGHT = (0.4, 0.8, 1.2)  # metres ahead of the first frame that are free, or it sees one wall only


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
    often keeps looking at one thing. A drive goes straight ahead, so that little parallax shows; a
    drone flies any way, climbs, sinks, leans and looks down; a camera that turns stays where it is
    to a few centimetres; one that is still shakes by millimetres.

    Args:
        room: Where.
        seed: Of the path; one room has many.
        num_frames: N, at least 1.
        style: "robot" (0.2 to 0.7 m above the floor), "arm" (0.4 to 1.2 m), "hand" (1 to 1.8 m),
            "drive" (0.3 to 1.6 m), "drone" (0.6 m up to under the ceiling, 4 m outdoors), "turn"
            and "still" (0.3 to 1.8 m).
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
        poses = WALKS[style](room, rng, num_frames, step, turn)
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


def _anywhere(room: Walkable, rng: np.random.Generator) -> NDArray[np.float64]:
    """A pose in some free place, however narrow.

    Raises:
        RuntimeError: There is none.
    """
    for clearance in (0.2, 0.12, 0.06):
        heights = rng.uniform(0.3, min(2.2, room.size[2] - 0.2), 400)
        places = np.stack([somewhere(room, rng, height) for height in heights])
        free = np.flatnonzero(_free(room, places, clearance))
        if len(free):
            return pose_at(places[free[0]], float(rng.uniform(-np.pi, np.pi)), -0.2, 0.0)
    raise RuntimeError(f"room {room.seed} has no free place for a camera; take another seed")


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
