# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The obstacles as a planar scanner on the base would see them, for what takes a LaserScan.

REP 117 says what a range means: a number is an obstacle, +inf says that nothing stands within
the range, NaN that nobody looked. A bearing is only called empty where the floor is seen up to
the longest range.

Shape letters: P points, A angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .options import ScanOptions

__all__ = ["ScanRow", "scan_row"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScanRow:
    """Content of a sensor_msgs/LaserScan.

    Args:
        angle_min, angle_increment: Of the first range, and between two; rad about the base's z,
            0 along its x.
        range_min, range_max: Metres.
        range_A: float32 metres; +inf: seen empty; NaN: not seen.
    """

    angle_min: float
    angle_increment: float
    range_min: float
    range_max: float
    range_A: NDArray[np.float32]


def scan_row(obstacles_P3: Floats, floor_P3: Floats, rules: ScanOptions) -> ScanRow:
    """The nearest obstacle of each bearing.

    Args:
        obstacles_P3: Base axes, metres.
        floor_P3: Floor that is seen, base axes, metres.
        rules: Angles and ranges.
    """
    count = max(8, round(360.0 / rules.increment_deg))
    increment = 2 * np.pi / count
    nearest_A, furthest_A = np.full(count, np.inf), np.zeros(count)
    angle_P, range_P = _polar(obstacles_P3, count)
    in_range_P = (range_P >= rules.min_range) & (range_P <= rules.max_range)
    np.minimum.at(nearest_A, angle_P[in_range_P], range_P[in_range_P])
    angle_P, range_P = _polar(floor_P3, count)
    np.maximum.at(furthest_A, angle_P, range_P)
    nearest_A[np.isinf(nearest_A) & (furthest_A < rules.max_range)] = np.nan
    return ScanRow(
        angle_min=-np.pi + 0.5 * increment,
        angle_increment=increment,
        range_min=rules.min_range,
        range_max=rules.max_range,
        range_A=nearest_A.astype(np.float32),
    )


def _polar(points_P3: Floats, count: int) -> tuple[NDArray[np.intp], Floats]:
    angle_P = np.arctan2(points_P3[:, 1], points_P3[:, 0])
    index_P = ((angle_P + np.pi) / (2 * np.pi) * count).astype(np.intp) % count
    return index_P, np.hypot(points_P3[:, 0], points_P3[:, 1])
