# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Occupancy on the floor: where something stands, where nothing does, and where nobody knows.

Every view is turned into a fan of bearings about its camera. In a bearing the nearest points
in the band of heights, and those that the depth's error cannot tell from them, are a hit; from the
nearest to the furthest floor that is seen in front of it, less that error, nothing stands. Both
are counted in cells of level axes and summed as log-odds (Moravec and Elfes, 1985: evidence of
independent views adds up), so the order of views is of no matter. What lies under the picture or
behind an obstacle stays unknown.

A depth's error grows with the range (`sigma`), so a view counts less for what is further away, as
the likelihood in a cell falls where it is spread over more of them, and beyond
`occupancy.max_range` not at all: errors of neighbouring views are alike, and no number of them
places a wall that each sees half a metre off. So what a later, nearer view says carries.

Shape letters: P points, C cells, B bearings, X Y cells of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .obstacles import Standing
from .options import OccupancyOptions

__all__ = [
    "FREE",
    "OCCUPIED",
    "UNKNOWN",
    "CellTable",
    "Grid",
    "cells_of",
    "grid",
    "merged_cells",
    "sigma",
]

Floats = NDArray[np.float64]
Keys = NDArray[np.int64]
UNKNOWN, FREE, OCCUPIED = -1, 0, 100  # as nav_msgs/OccupancyGrid says them
_BEARINGS = 420  # a column of the model's picture is 0.6 to 0.9 degrees wide
_NEAREST = 2  # the hit of a bearing is its second nearest point: a single one may be noise
_HALF = 1 << 30
_DRIVEN = 8  # views that a robot's own wheels weigh
_UNITS = 64  # of a view's word: whole numbers, so that sums do not depend on their order
_SURE_M = 0.15  # what is known this well counts in full
_SIGMA = (0.03, 0.05, 0.01)  # of a range r in metres: s0 + s1 r + s2 r^2
_SAME, _CLEAR = 3.0, 1.5  # sigmas: behind the nearest and still a hit; in front and not free


@dataclass(frozen=True, eq=False)
class CellTable:
    """Cells that a view says something of, by rising key.

    Args:
        size: Edge of a cell, metres.
        key_C: int64, x and y packed.
        hit_C: int32 views that see something stand there, in 64ths of a near one.
        pass_C: int32 views that see that nothing does, in the same.
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


def sigma(range_P: Floats) -> Floats:
    """(P,) standard deviation of ranges, both in metres; `docs/map.md` says of what."""
    s0, s1, s2 = _SIGMA
    return s0 + (s1 + s2 * range_P) * range_P


def cells_of(view: Standing, rules: OccupancyOptions) -> CellTable:
    """What one view says of cells."""
    size, most = rules.resolution, rules.max_range
    flat_P2 = view.point_P3[:, :2] - view.camera_3[:2]
    obstacles_P2, floor_P2 = flat_P2[view.is_obstacle_P], flat_P2[view.is_floor_P]
    T_level_base, foot_2 = view.T_level_base, view.camera_3[:2]

    def table(flat_P2: Floats, hits: bool, least: int = 1) -> CellTable:
        """What these places, about the camera's foot, add to cells that hold enough of them."""
        level_P2 = (flat_P2 + foot_2) @ T_level_base[:2, :2].T + T_level_base[:2, 3]
        keys_P = _packed(np.floor(level_P2 / size).astype(np.int64))
        key_C, cell_P, count_C = np.unique(keys_P, return_inverse=True, return_counts=True)
        away_P = np.hypot(flat_P2[:, 0], flat_P2[:, 1])
        away_C = np.bincount(cell_P, away_P, len(key_C)) / count_C
        word_C = np.rint(_UNITS * np.minimum(1.0, _SURE_M / sigma(away_C))).astype(np.int32)
        word_C[(away_C > most) | (count_C < least)] = 0
        none_C = np.zeros_like(word_C)
        made = CellTable(size, key_C, *((word_C, none_C) if hits else (none_C, word_C)))
        return made.chosen(word_C > 0)

    bearing_P, range_P = _polar(obstacles_P2)
    hit_B = _nearest_hits(bearing_P, range_P)
    is_front_P = range_P <= (hit_B + _SAME * sigma(hit_B))[bearing_P]
    hits = table(obstacles_P2[is_front_P], True, _NEAREST)
    passed = table(_seen_free(hit_B, floor_P2, size), False)
    passed = passed.chosen(~np.isin(passed.key_C, hits.key_C))
    driven = table(_disc(rules.driven_radius, size) - foot_2, False)
    driven.pass_C[:] = _DRIVEN * _UNITS
    return merged_cells([hits, passed, driven], size)


def _nearest_hits(bearing_P: NDArray[np.intp], range_P: Floats) -> Floats:
    """(B,) range of the second nearest obstacle of each bearing, or of the only one; else inf."""
    hit_B = np.full(_BEARINGS, np.inf)
    order = np.lexsort((range_P, bearing_P))
    bearing_P, range_P = bearing_P[order], range_P[order]
    starts, counts = np.unique(bearing_P, return_index=True, return_counts=True)[1:]
    nth = starts + np.minimum(_NEAREST, counts) - 1
    hit_B[bearing_P[starts]] = range_P[nth]
    return hit_B


def _seen_free(hit_B: Floats, floor_P2: Floats, size: float) -> Floats:
    """(P, 2) places, about the camera's foot, at which a view sees that nothing stands."""
    bearing_P, range_P = _polar(floor_P2)
    clear_B = hit_B.copy()
    clear_B[np.isfinite(hit_B)] -= _CLEAR * sigma(hit_B[np.isfinite(hit_B)])
    in_front_P = range_P < clear_B[bearing_P]
    bearing_P, range_P = bearing_P[in_front_P], range_P[in_front_P]
    near_B, far_B = np.full(_BEARINGS, np.inf), np.zeros(_BEARINGS)
    np.minimum.at(near_B, bearing_P, range_P)
    np.maximum.at(far_B, bearing_P, range_P)
    seen = np.flatnonzero(far_B > near_B)
    steps = np.arange(int(far_B.max(initial=0.0) / (0.5 * size)) + 1) * 0.5 * size
    along_BS = np.broadcast_to(steps, (len(seen), len(steps)))
    free_BS = (along_BS >= near_B[seen, None]) & (along_BS <= far_B[seen, None])
    angle_B = (seen + 0.5) / _BEARINGS * 2 * np.pi - np.pi
    places_BS2 = along_BS[..., None] * np.stack([np.cos(angle_B), np.sin(angle_B)], -1)[:, None]
    places: Floats = places_BS2[free_BS]
    return places


def _polar(flat_P2: Floats) -> tuple[NDArray[np.intp], Floats]:
    angle_P = np.arctan2(flat_P2[:, 1], flat_P2[:, 0])
    bearing_P = ((angle_P + np.pi) / (2 * np.pi) * _BEARINGS).astype(np.intp) % _BEARINGS
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
    odds_C /= _UNITS
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
