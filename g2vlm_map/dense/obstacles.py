# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a robot can run into: points in a band of heights over the floor, in its base's axes.

It is made of one model's depth and is not safety-rated: see docs/map.md.

Shape letters: H W pixels, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from .floor import Floor, fit_floor
from .metric import MetricView
from .options import ObstacleOptions

__all__ = ["NoBaseError", "Standing", "merged_cells", "obstacles_around", "standing"]

Floats = NDArray[np.float64]
_CELL_M = 0.05  # obstacles that share a cell of this edge are one
_LEAST_POINTS = 2  # in such a cell, over all keyframes: a single one is noise


class NoBaseError(ValueError):
    """Nobody said where the camera sits on the robot, so nothing is known of its floor."""


@dataclass(frozen=True, eq=False)
class Standing:
    """A view's points, sorted by what they are to a robot.

    Args:
        T_level_base: (4, 4) of the base that saw them.
        camera_3: Where the camera is, base axes.
        floor: Under that base.
        point_P3: Base axes, metres, within the range of obstacles.
        height_P: Above the floor, metres.
        is_obstacle_P, is_floor_P: In the band of heights; below it.
    """

    T_level_base: Floats
    camera_3: Floats
    floor: Floor
    point_P3: Floats
    height_P: Floats
    is_obstacle_P: NDArray[np.bool_]
    is_floor_P: NDArray[np.bool_]


def standing(view: MetricView, keep_HW: NDArray[np.bool_], rules: ObstacleOptions) -> Standing:
    """What a view's points are to the robot that saw them.

    Args:
        view: In metres.
        keep_HW: Which of its pixels are part of the map.
        rules: Band, range and floor.

    Raises:
        NoBaseError: The view's base is not known.
    """
    if view.T_level_base is None:
        raise NoBaseError(
            "no obstacles: where the camera sits on the base is unknown; give its extrinsics "
            "by TF or parameters"
        )
    depth_HW = view.depth_HW
    T_base_cam = inverse(view.T_level_base) @ view.T_level_cam
    local_P3 = view.points(keep_HW, depth_HW)
    in_range_P = np.einsum("pi,pi->p", local_P3, local_P3) <= rules.max_range**2
    point_P3 = local_P3[in_range_P] @ T_base_cam[:3, :3].T + T_base_cam[:3, 3]
    floor = fit_floor(point_P3, rules)
    height_P = floor.heights(point_P3)
    low, high = rules.min_height, rules.max_height
    return Standing(
        T_level_base=view.T_level_base,
        camera_3=T_base_cam[:3, 3],
        floor=floor,
        point_P3=point_P3,
        height_P=height_P,
        is_obstacle_P=(height_P >= low) & (height_P <= high),
        is_floor_P=np.abs(height_P) < low,
    )


def obstacles_around(views: Sequence[Standing], rules: ObstacleOptions) -> Floats:
    """(P, 3) obstacles that several views saw, in the axes of the last one's base, metres.

    One point for each cell of 5 cm that holds two points, their mean.

    Args:
        views: Oldest first; no view, no obstacles.
        rules: How far around the base.
    """
    if not views:
        return np.zeros((0, 3))
    T_now_level = inverse(views[-1].T_level_base)
    parts = []
    for view in views:
        T = T_now_level @ view.T_level_base
        parts.append(view.point_P3[view.is_obstacle_P] @ T[:3, :3].T + T[:3, 3])
    points_P3 = np.concatenate(parts)
    return merged_cells(points_P3[np.hypot(points_P3[:, 0], points_P3[:, 1]) <= rules.max_range])


def merged_cells(points_P3: Floats) -> Floats:
    """(P, 3) the mean of the points in each cell of 5 cm that holds at least two."""
    cells_P3 = np.floor(points_P3 / _CELL_M).astype(np.int64)
    _, cell_P, count_C = np.unique(cells_P3, axis=0, return_inverse=True, return_counts=True)
    cell_P = cell_P.reshape(-1)
    sums = [np.bincount(cell_P, points_P3[:, axis], len(count_C)) for axis in range(3)]
    means_C3: Floats = np.stack(sums, axis=-1) / count_C[:, None]
    return means_C3[count_C >= _LEAST_POINTS]
