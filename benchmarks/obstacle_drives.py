# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives of a wheeled robot through synthetic rooms, with the truth about what stands there.

Axes are those of the rooms: z up, the floor at z = 0, metres. Camera axes are optical.

Shape letters: N frames, H W pixels, X Y cells, P points, M primitives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from g2vlm_training.synthetic import Room, camera_path, intrinsics, make_room, render, scene_seed
from g2vlm_training.synthetic.parts import Shape
from g2vlm_training.synthetic.room import Split
from numpy.typing import NDArray

__all__ = ["Drive", "DriveOptions", "TrueGrid", "drives", "true_grid"]

Floats = NDArray[np.float64]
_LEAST_WAY_M = 3.0  # shorter drives turn on the spot and say little of a way
_BASE_CELL_M, _WHEELS_M = 0.05, 0.1  # lower things are driven over
_SAMPLES = 3  # per side of a cell
_SAMPLE_M = 0.04  # between the heights at which a cell is looked at


@dataclass(frozen=True)
class DriveOptions:
    """How the drives are made.

    Args:
        frames: Keyframes of a drive.
        step, turn_deg: Typical way and turn between them.
        fov_deg: Horizontal field of view.
        size_hw: Of the pictures.
    """

    frames: int = 40
    step: float = 0.16
    turn_deg: float = 8.0
    fov_deg: float = 70.0
    size_hw: tuple[int, int] = (240, 320)


@dataclass(frozen=True, eq=False)
class Drive:
    """A drive and all that is true of it.

    Args:
        room: Where.
        rgb_NHW3: uint8 pictures.
        depth_NHW: float32 true z-depth, metres.
        T_world_cam_N44: True poses.
        T_base_cam: (4, 4): the base stands on the floor under the camera, its x where the
            camera looks.
        K: (3, 3) in pixels of the pictures.
    """

    room: Room
    rgb_NHW3: NDArray[np.uint8]
    depth_NHW: NDArray[np.float32]
    T_world_cam_N44: Floats
    T_base_cam: Floats
    K: Floats

    @property
    def way_m(self) -> float:
        """Metres that the robot drove."""
        steps = np.diff(self.T_world_cam_N44[:, :3, 3], axis=0)
        return float(np.linalg.norm(steps, axis=1).sum())


def drives(split: Split, count: int, options: DriveOptions, first: int = 0) -> Iterator[Drive]:
    """The first drives of a split that are a way over free floor, in rooms (none outdoors).

    The paths keep the lens free, so one may lead over a low table: no robot drives there.

    Args:
        split: Whose rooms; "train" are those that the embedded model has seen.
        count: How many.
        options: How they are made.
        first: Number of the room to begin with.
    """
    number = first
    while count > 0:
        seed = scene_seed(split, number)
        number += 1
        room = make_room(seed, "indoor")
        T_N44 = camera_path(
            room, 0, options.frames, "robot", step=options.step, turn_deg=options.turn_deg
        )
        steps = np.linalg.norm(np.diff(T_N44[:, :3, 3], axis=0), axis=1)
        if steps.sum() < _LEAST_WAY_M or not _stands_free(room, T_N44):
            continue
        count -= 1
        K = intrinsics(options.fov_deg, options.size_hw)
        seen = render(room, T_N44, K, options.size_hw, supersample=2)
        yield Drive(room, seen.rgb, seen.depth, T_N44, _mount(T_N44[0]), K)


def _stands_free(room: Room, T_N44: Floats) -> bool:
    """Whether nothing is where the base is, from its wheels up to the camera."""
    grid = true_grid(room, _BASE_CELL_M, _WHEELS_M, float(T_N44[0, 2, 3]))
    cells_N2 = np.floor((T_N44[:, :2, 3] - grid.origin) / grid.cell).astype(np.intp)
    return not bool(grid.occupied_XY[cells_N2[:, 0], cells_N2[:, 1]].any())


def _mount(T_world_cam: Floats) -> Floats:
    """Where the first camera sits on a base that stands level on the floor under it."""
    forward = T_world_cam[:2, 2]
    c, s = forward / np.linalg.norm(forward)
    T_world_base = np.eye(4)
    T_world_base[:2, :2] = [[c, -s], [s, c]]
    T_world_base[:2, 3] = T_world_cam[:2, 3]
    T_base_cam: Floats = np.linalg.inv(T_world_base) @ T_world_cam
    return T_base_cam


def _fills(room: Room, primitive: int, points_P3: Floats) -> NDArray[np.bool_]:
    """(P,) whether a primitive, the shell as a solid box, fills points."""
    local_P3 = (points_P3 - room.centre_M3[primitive]) @ room.turn_M33[primitive]
    unit_P3 = local_P3.astype(np.float64) / room.half_M3[primitive]
    if room.shape_M[primitive] == Shape.SPHERE:
        inside: NDArray[np.bool_] = np.linalg.norm(unit_P3, axis=1) <= 1
        return inside
    inside = (np.abs(unit_P3) <= 1).all(axis=1)
    if room.shape_M[primitive] == Shape.CONE:
        slope = float(room.slope_M[primitive])
        radius_P = 1 - abs(slope) + slope * unit_P3[:, 2]
        inside &= np.hypot(unit_P3[:, 0], unit_P3[:, 1]) <= radius_P
    return inside


@dataclass(frozen=True, eq=False)
class TrueGrid:
    """What a band of heights is filled with, seen from above.

    Args:
        origin: x, y of the corner of cell (0, 0), metres.
        cell: Edge of a cell, metres.
        occupied_XY: Cells that something reaches into.
    """

    origin: tuple[float, float]
    cell: float
    occupied_XY: NDArray[np.bool_]


def true_grid(room: Room, cell: float, low: float, high: float) -> TrueGrid:
    """Occupancy of a room between two heights, a metre beyond its walls included."""
    half_x, half_y = room.size[0] / 2 + 1.0, room.size[1] / 2 + 1.0
    count_x, count_y = (int(np.ceil(2 * half / cell)) for half in (half_x, half_y))
    fine = cell / _SAMPLES
    fine_x = -half_x + (np.arange(count_x * _SAMPLES) + 0.5) * fine
    fine_y = -half_y + (np.arange(count_y * _SAMPLES) + 0.5) * fine
    levels = np.arange(low, high, _SAMPLE_M)
    outside_x, outside_y = np.abs(fine_x) > room.size[0] / 2, np.abs(fine_y) > room.size[1] / 2
    filled = outside_x[:, None] | outside_y
    for primitive in range(1, len(room.shape_M)):
        reach_3 = np.abs(room.turn_M33[primitive]) @ room.half_M3[primitive]
        x, y, z = (
            axis[np.abs(axis - room.centre_M3[primitive, number]) <= reach_3[number]]
            for number, axis in enumerate((fine_x, fine_y, levels))
        )
        if not len(x) * len(y) * len(z):
            continue
        points_P3 = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = _fills(room, primitive, points_P3).reshape(len(x), len(y), len(z)).any(axis=2)
        first_x, first_y = np.searchsorted(fine_x, x[0]), np.searchsorted(fine_y, y[0])
        filled[first_x : first_x + len(x), first_y : first_y + len(y)] |= inside
    blocks = filled.reshape(count_x, _SAMPLES, count_y, _SAMPLES)
    return TrueGrid((-half_x, -half_y), cell, blocks.any(axis=(1, 3)))
