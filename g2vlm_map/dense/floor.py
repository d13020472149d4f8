# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The floor under a robot, seen from its base.

The base stands on the floor, so the floor's height and slope are known to some centimetres and
degrees before anything is measured. A plane z = a x + b y + c in the base's axes is fitted to
the points near it, by weighted least squares that are repeated with a narrower gate, with what
the base says as a prior; so a table's top is never taken for the floor, and where the floor is
hidden the base's word stands.

Shape letters: P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .options import ObstacleOptions

__all__ = ["Floor", "fit_floor"]

Floats = NDArray[np.float64]
_ROUNDS = 4
_NARROW = 0.35  # the last gate as a share of the first
_LEAST_POINTS = 60
_PRIOR_POINTS = 40.0  # how much the base's word weighs
_MAX_POINTS = 4000  # more are thinned out


@dataclass(frozen=True)
class Floor:
    """The plane z = a x + b y + c in the base's axes, metres.

    Args:
        a, b: Slope along x and y.
        c: Height under the base's origin.
        points: That lie on it; 0 where it is the base's word alone.
    """

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    points: int = 0

    def heights(self, points_P3: Floats) -> Floats:
        """(P,) heights of points above it (base axes, metres)."""
        x_P, y_P, z_P = points_P3.T
        above_P = z_P - (self.a * x_P + self.b * y_P + self.c)
        heights: Floats = above_P / np.sqrt(1 + self.a**2 + self.b**2)
        return heights


def fit_floor(points_P3: Floats, rules: ObstacleOptions) -> Floor:
    """The floor that points show.

    Args:
        points_P3: Base axes, metres.
        rules: Where the base says that it is, and how far it may be from there.
    """
    said = Floor(c=-rules.base_height)
    points_P3 = points_P3[:: max(1, len(points_P3) // _MAX_POINTS)]
    x_P, y_P, z_P = points_P3.T
    steepest = float(np.tan(np.radians(rules.max_slope_deg)))
    reach_P = np.hypot(x_P, y_P)
    A_P3 = np.stack([x_P, y_P, np.ones_like(x_P)], axis=-1)
    plane = np.array([said.a, said.b, said.c])
    # The prior in the units of the points: a slope moves a point at one metre by its height.
    prior = np.diag([_PRIOR_POINTS] * 3)
    on_it = 0
    for number in range(_ROUNDS):
        share = 1.0 - (1.0 - _NARROW) * number / (_ROUNDS - 1)
        gate_P = share * (rules.floor_gate + (steepest * reach_P if number == 0 else 0.0))
        off_P = np.abs(z_P - A_P3 @ plane) / gate_P
        weight_P = np.where(off_P < 1, (1 - off_P**2) ** 2, 0.0)  # Tukey's
        on_it = int((weight_P > 0).sum())
        if on_it < _LEAST_POINTS:
            return said
        AtW_3P = A_P3.T * weight_P
        right = AtW_3P @ z_P + prior @ (0.0, 0.0, said.c)
        plane = np.linalg.solve(AtW_3P @ A_P3 + prior, right)
    a, b, c = (float(value) for value in plane)
    if np.hypot(a, b) > steepest or abs(c - said.c) > rules.floor_gate:
        return said
    return Floor(a, b, c, on_it)
