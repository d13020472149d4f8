# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a map of obstacles is right: recall, free cells that are not, phantoms.

A cell or a point is held against everything solid in the band of heights, hidden insides of
furniture included; what has to be found is what the robot's camera could see within some metres.

Shape letters: P points, X Y cells.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from g2vlm_training.evaluate.summary import drawn_groups, interval_of
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import cKDTree

from benchmarks.obstacle_drives import Drive, TrueGrid, true_grid
from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.obstacles import obstacles_around
from g2vlm_map.dense.occupancy import FREE, OCCUPIED, Grid, grid
from g2vlm_map.poses import inverse
from g2vlm_map.world import World

__all__ = ["NEAR_M", "RANGE_M", "Score", "intervals", "score", "summed"]

Floats = NDArray[np.float64]
NEAR_M = 0.25  # what lies this near is found
RANGE_M = 3.0  # of the camera, within which obstacles have to be found
_TRUE_CELL_M = 0.05
_PHANTOM_CELLS = 3  # a smaller speck stops no planner
_FIRST = 2  # the keyframes before it have too few others to agree with


@dataclass(frozen=True)
class Score:
    """Counts of one drive, or of several.

    Args:
        seen, found: Places of obstacles that the camera could see, and of these those near which
            the newest keyframes' obstacles are; over all keyframes.
        grid_seen, grid_found: The same of the finished grid's occupied cells.
        free, wrong: Free cells, and of these those that something reaches into.
        free_m2: Area of the free cells.
        points, astray: Points of obstacles, and of these those that stand nowhere near anything.
        phantoms: Patches of the grid's occupied cells that stand nowhere near anything.
        way_m: Metres driven.
        usable, left_out, seen_through: Pixels; see `Verdict`.
        seconds: CPU time of the map.
        keyframes: In it.
    """

    seen: float
    found: float
    grid_seen: float
    grid_found: float
    free: float
    wrong: float
    free_m2: float
    points: float
    astray: float
    phantoms: float
    way_m: float
    usable: float
    left_out: float
    seen_through: float
    seconds: float
    keyframes: float

    @property
    def numbers(self) -> dict[str, float]:
        """What is quoted."""
        return {
            "recall": self.found / max(1, self.seen),
            "grid recall": self.grid_found / max(1, self.grid_seen),
            "free but occupied": self.wrong / max(1, self.free),
            "free m2": self.free_m2,
            "phantoms per 10 m": 10 * self.phantoms / max(1e-9, self.way_m),
            "points astray": self.astray / max(1, self.points),
            "left out": self.left_out / max(1, self.usable),
            "seen through": self.seen_through / max(1, self.usable),
            "ms per keyframe": 1e3 * self.seconds / max(1, self.keyframes),
        }


def summed(scores: Sequence[Score]) -> Score:
    """All drives together."""
    return Score(*(sum(getattr(item, part.name) for item in scores) for part in fields(Score)))


def intervals(scores: Sequence[Score], draws: int = 2000) -> dict[str, tuple[float, float]]:
    """95 % of what is quoted, over rooms drawn with replacement (Efron, 1979); one room tells none.

    Args:
        scores: One a room.
        draws: Of as many rooms.
    """
    chosen = drawn_groups(len(scores), draws)
    drawn = [summed([scores[index] for index in row]).numbers for row in chosen]
    return {key: interval_of(np.array([one[key] for one in drawn])) for key in drawn[0]}


def score(drive: Drive, world: World, rules: DenseRules) -> Score:
    """Hold the map of a world against the room that was driven through.

    Args:
        drive: The truth.
        world: Of the drive's pictures, the k-th (from 1 on) with the stamp of k half seconds.
        rules: Of the map.
    """
    band, dense, started = rules.obstacles, DenseMap(rules), time.process_time()
    snapshot = dense.update(world)
    cpu_seconds = time.process_time() - started
    true = true_grid(drive.room, _TRUE_CELL_M, band.min_height, band.max_height)
    away_XY = distance_transform_edt(~true.occupied_XY) * true.cell
    views = dense.views
    frames = [2 * view.stamp_ns // 1_000_000_000 - 1 for view in views]
    T_room_level = drive.T_world_cam_N44[frames[0]] @ inverse(drive.T_base_cam)
    made = grid(snapshot.cells, rules.occupancy, (0.0, 0.0))
    free_P2 = _places(made, made.cells_YX == FREE, T_room_level)
    occupied_P2 = _places(made, made.cells_YX == OCCUPIED, T_room_level)
    of_frames = _seen(drive, band.min_height, band.max_height)
    seen = [of_frames[frame] for frame in frames]
    ever_P2 = np.unique(np.floor(np.concatenate(seen) / _TRUE_CELL_M), axis=0) + 0.5
    ever_P2 *= _TRUE_CELL_M
    found, points, astray = 0.0, 0, 0
    stands = [dense.standing(view) for view in views]
    for index in range(_FIRST, len(views)):
        recent = stands[max(0, index + 1 - band.keyframes) : index + 1]
        around_P3 = obstacles_around(recent, band)
        T = T_room_level @ recent[-1].T_level_base
        flat_P2 = (around_P3 @ T[:3, :3].T + T[:3, 3])[:, :2]
        found += _near(seen[index], flat_P2)
        points += len(flat_P2)
        astray += int((_looked_up(flat_P2, true, away_XY, np.inf) > NEAR_M).sum())
    return Score(
        seen=sum(len(places) for places in seen[_FIRST:]),
        found=found,
        grid_seen=len(ever_P2),
        grid_found=_near(ever_P2, occupied_P2),
        free=len(free_P2),
        wrong=int(_looked_up(free_P2, true, true.occupied_XY, True).sum()),
        free_m2=len(free_P2) * made.resolution**2,
        points=points,
        astray=astray,
        phantoms=_phantoms(made, _looked_up(occupied_P2, true, away_XY, np.inf)),
        way_m=drive.way_m,
        usable=snapshot.usable,
        left_out=snapshot.unconfirmed + snapshot.seen_through,
        seen_through=snapshot.seen_through,
        seconds=cpu_seconds,
        keyframes=snapshot.keyframes,
    )


def _places(made: Grid, chosen_YX: NDArray[np.bool_], T_room_level: Floats) -> Floats:
    """(P, 2) middles of cells in the room's axes."""
    level_P2 = (np.argwhere(chosen_YX)[:, ::-1] + 0.5) * made.resolution + made.origin
    places: Floats = level_P2 @ T_room_level[:2, :2].T + T_room_level[:2, 3]
    return places


def _seen(drive: Drive, low: float, high: float) -> list[Floats]:
    """For each frame the (P, 2) places of what its camera sees in the band and in range."""
    height, width = drive.depth_NHW.shape[1:]
    v, u = np.mgrid[0:height:2, 0:width:2]
    K = drive.K
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    found = []
    for T, depth_HW in zip(drive.T_world_cam_N44, drive.depth_NHW, strict=True):
        sampled = depth_HW[::2, ::2]
        points = (rays * sampled[..., None])[sampled > 0] @ T[:3, :3].T + T[:3, 3]
        flat = points[(points[:, 2] > low) & (points[:, 2] < high), :2]
        found.append(flat[np.linalg.norm(flat - T[:2, 3], axis=1) < RANGE_M])
    return found


def _near(wanted_P2: Floats, there_P2: Floats) -> float:
    """How many of the wanted places have something near them."""
    if not len(wanted_P2) or not len(there_P2):
        return 0.0
    return float((cKDTree(there_P2).query(wanted_P2)[0] < NEAR_M).sum())


def _looked_up(
    places_P2: Floats, true: TrueGrid, values_XY: NDArray[Any], outside: float
) -> NDArray[Any]:
    """(P,) values of the true grid's cells at places; `outside` beyond it."""
    cells_P2 = np.floor((places_P2 - true.origin) / true.cell).astype(np.intp)
    inside_P = ((cells_P2 >= 0) & (cells_P2 < values_XY.shape)).all(axis=1)
    values_P = np.full(len(places_P2), outside, values_XY.dtype)
    values_P[inside_P] = values_XY[cells_P2[inside_P, 0], cells_P2[inside_P, 1]]
    return values_P


def _phantoms(made: Grid, away_P: Floats) -> int:
    """Patches of occupied cells that are further than `NEAR_M` from anything."""
    phantom_YX = np.zeros(made.cells_YX.shape, bool)
    phantom_YX[made.cells_YX == OCCUPIED] = away_P > NEAR_M
    patches_YX, count = label(phantom_YX, np.ones((3, 3)))
    return int((np.bincount(patches_YX.ravel(), minlength=count + 1)[1:] >= _PHANTOM_CELLS).sum())
