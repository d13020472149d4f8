# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Occupancy on the floor: where something stands, where nothing does, and where nobody knows.

Every view is turned into a fan of bearings about its camera. In a bearing the nearest points
in the band of heights are a hit; from the nearest to the furthest floor that is seen in front
of it, nothing stands. Both are counted in cells of level axes and summed as log-odds
(Moravec and Elfes, 1985: evidence of independent views adds up), so the order of views is of no
matter. What lies under the picture or behind an obstacle stays unknown.

Shape letters: P points, C cells, B bearings, X Y cells of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .obstacles import Standing
from .options import OccupancyOptions

__all__ = ["FREE", "OCCUPIED", "UNKNOWN", "CellTable", "Grid", "cells_of", "grid", "merged_cells"]

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]
UNKNOWN, FREE, OCCUPIED = -1, 0, 100  # as nav_msgs/OccupancyGrid says them
_BEARING_RAD = 0.015  # a column of the model's picture is 0.6 to 0.9 degrees wide
_NEAREST = 2  # the hit of a bearing is its second nearest point: a single one may be noise
_HALF = 1 << 30
_DRIVEN = 8  # views that a robot's own wheels weigh


@dataclass(frozen=True, eq=False)
class CellTable:
    """Cells that a view says something of, by rising key.

    Args:
        size: Edge of a cell, metres.
        key_C: int64, x and y packed.
        hit_C: int32 views that see something stand there.
        pass_C: int32 views that see that nothing does.
    """

    size: float
    key_C: Keys
    hit_C: NDArray[np.int32]
    pass_C: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.key_C)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.key_C.nbytes + self.hit_C.nbytes + self.pass_C.nbytes

    def chosen(self, keep_C: NDArray[np.bool_]) -> CellTable:
        """The cells that are marked."""
        return CellTable(self.size, self.key_C[keep_C], self.hit_C[keep_C], self.pass_C[keep_C])

    def centres(self) -> Floats:
        """(C, 2) middles of the cells, level axes, metres."""
        centres: Floats = (_unpacked(self.key_C).astype(np.float64) + 0.5) * self.size
        return centres


@dataclass(frozen=True, eq=False)
class Grid:
    """Content of a nav_msgs/OccupancyGrid.

    Args:
        resolution: Edge of a cell, metres.
        origin: x, y of the corner of its first cell, level axes, metres.
        cells_YX: int8, row by row: UNKNOWN, FREE or OCCUPIED.
    """

    resolution: float
    origin: tuple[float, float]
    cells_YX: NDArray[np.int8]


def cells_of(view: Standing, rules: OccupancyOptions) -> CellTable:
    """What one view says of cells."""
    size = rules.resolution
    flat_P2 = view.point_P3[:, :2] - view.camera_3[:2]
    obstacles_P2, floor_P2 = flat_P2[view.is_obstacle_P], flat_P2[view.is_floor_P]
    T_level_base, foot_2 = view.T_level_base, view.camera_3[:2]

    def keys(flat_P2: Floats) -> Keys:
        level_P2 = (flat_P2 + foot_2) @ T_level_base[:2, :2].T + T_level_base[:2, 3]
        return _packed(np.floor(level_P2 / size).astype(np.int64))

    hits_C, count_C = np.unique(keys(obstacles_P2), return_counts=True)
    hits_C = hits_C[count_C >= _NEAREST]
    passed_C = np.unique(keys(_seen_free(obstacles_P2, floor_P2, size)))
    passed_C = np.setdiff1d(passed_C, hits_C, assume_unique=True)
    driven_C = np.unique(keys(_disc(rules.driven_radius, size) - foot_2))
    parts = [
        CellTable(size, hits_C, np.ones(len(hits_C), np.int32), np.zeros(len(hits_C), np.int32)),
        CellTable(size, passed_C, *_counts(passed_C, 1)),
        CellTable(size, driven_C, *_counts(driven_C, _DRIVEN)),
    ]
    return merged_cells(parts, size)


def _counts(keys_C: Keys, passes: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return np.zeros(len(keys_C), np.int32), np.full(len(keys_C), passes, np.int32)


def _seen_free(obstacles_P2: Floats, floor_P2: Floats, size: float) -> Floats:
    """(P, 2) places, about the camera's foot, at which a view sees that nothing stands."""
    if not len(floor_P2):
        return np.zeros((0, 2))
    bearings = int(np.ceil(2 * np.pi / _BEARING_RAD))
    hit_B = np.full(bearings, np.inf)
    bearing_P, range_P = _polar(obstacles_P2, bearings)
    order = np.lexsort((range_P, bearing_P))
    bearing_P, range_P = bearing_P[order], range_P[order]
    starts, counts = np.unique(bearing_P, return_index=True, return_counts=True)[1:]
    nth = starts + np.minimum(_NEAREST, counts) - 1
    hit_B[bearing_P[starts]] = range_P[nth]
    bearing_P, range_P = _polar(floor_P2, bearings)
    in_front_P = range_P < hit_B[bearing_P]
    bearing_P, range_P = bearing_P[in_front_P], range_P[in_front_P]
    near_B, far_B = np.full(bearings, np.inf), np.zeros(bearings)
    np.minimum.at(near_B, bearing_P, range_P)
    np.maximum.at(far_B, bearing_P, range_P)
    seen = np.flatnonzero(far_B > near_B)
    steps = np.arange(int(far_B.max(initial=0.0) / (0.5 * size)) + 1) * 0.5 * size
    along_BS = np.broadcast_to(steps, (len(seen), len(steps)))
    free_BS = (along_BS >= near_B[seen, None]) & (along_BS <= far_B[seen, None])
    angle_B = (seen + 0.5) / bearings * 2 * np.pi - np.pi
    places_BS2 = along_BS[..., None] * np.stack([np.cos(angle_B), np.sin(angle_B)], -1)[:, None]
    places: Floats = places_BS2[free_BS]
    return places


def _polar(flat_P2: Floats, bearings: int) -> tuple[NDArray[np.intp], Floats]:
    angle_P = np.arctan2(flat_P2[:, 1], flat_P2[:, 0])
    bearing_P = ((angle_P + np.pi) / (2 * np.pi) * bearings).astype(np.intp) % bearings
    return bearing_P, np.hypot(flat_P2[:, 0], flat_P2[:, 1])


def _disc(radius: float, size: float) -> Floats:
    """(P, 2) places within a radius of the origin, half a cell apart."""
    count = int(radius / (0.5 * size))
    axis = np.arange(-count, count + 1) * 0.5 * size
    places_P2 = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    inside_P2: Floats = places_P2[np.hypot(places_P2[:, 0], places_P2[:, 1]) <= radius]
    return inside_P2


def merged_cells(tables: Sequence[CellTable], size: float) -> CellTable:
    """One table of several: views add up."""
    if not tables:
        none = np.zeros(0, np.int32)
        return CellTable(size, np.zeros(0, np.int64), none, none)
    key_C, cell_P = np.unique(
        np.concatenate([table.key_C for table in tables]), return_inverse=True
    )

    def summed(name: str) -> NDArray[np.int32]:
        values_P = np.concatenate([getattr(table, name) for table in tables])
        return np.rint(np.bincount(cell_P, values_P, len(key_C))).astype(np.int32)

    return CellTable(size, key_C, summed("hit_C"), summed("pass_C"))


def grid(table: CellTable, rules: OccupancyOptions, centre: tuple[float, float]) -> Grid:
    """The grid that holds all cells, or the part around a place where they are too many.

    Args:
        table: Of cells of `rules.resolution`.
        rules: What evidence is worth.
        centre: x, y of the robot, level axes, metres.
    """
    size = table.size
    xy_C2 = _unpacked(table.key_C)
    most = max(1, int(rules.max_extent / size))
    middle = np.floor(np.array(centre) / size).astype(np.int64)
    low, high = middle, middle
    if len(table):
        low, high = xy_C2.min(axis=0), xy_C2.max(axis=0)
    wide = high - low + 1 > most
    low = np.where(wide, middle - most // 2, low)
    high = np.where(wide, low + most - 1, high)
    inside_C = ((xy_C2 >= low) & (xy_C2 <= high)).all(axis=1)
    odds_C = table.hit_C * _log_odds(rules.hit) + table.pass_C * _log_odds(rules.passed)
    said_C = np.full(len(table), UNKNOWN, np.int8)
    said_C[odds_C > _log_odds(rules.occupied_above)] = OCCUPIED
    said_C[odds_C < _log_odds(rules.free_below)] = FREE
    width, height = (int(count) for count in high - low + 1)
    cells_YX = np.full((height, width), UNKNOWN, np.int8)
    at_C2 = xy_C2[inside_C] - low
    cells_YX[at_C2[:, 1], at_C2[:, 0]] = said_C[inside_C]
    return Grid(size, (float(low[0] * size), float(low[1] * size)), cells_YX)


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def _packed(cells_P2: NDArray[np.int64]) -> Keys:
    shifted = np.clip(cells_P2 + _HALF, 0, 2 * _HALF - 1)
    keys: Keys = (shifted[:, 0] << 31) | shifted[:, 1]
    return keys


def _unpacked(keys_P: Keys) -> NDArray[np.int64]:
    cells: NDArray[np.int64] = np.stack([keys_P >> 31, keys_P & (2 * _HALF - 1)], axis=-1)
    return cells - _HALF
