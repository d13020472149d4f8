# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How large the room is, by its walls, floor and ceiling as the map has them.

Walls are upright patches. Most rooms are right-angled: the turn that their normals agree on modulo
90 degrees gives two directions, and along each the outermost wall that faces inward on either side
bounds the room. A side whose wall was not seen makes no guess.

Axes are level, z up; any length unit. Shape letters: P patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RoomExtent", "patches_of", "room_extent"]

Floats = NDArray[np.float64]

_UPRIGHT = 0.3  # largest |z| of a wall's normal
_ALONG = math.cos(math.radians(25.0))  # of a wall's normal with the direction that it bounds
_SHARE = 0.02  # of all patches that a wall holds
_THICK = 0.04  # of a wall, of the extent of all patches
WALL_SIGMA = 0.05  # of a distance between two walls, relative: depth errors that they share


@dataclass(frozen=True, eq=False)
class RoomExtent:
    """What bounds a room, in the unit of its points.

    Args:
        sides: Length (the longer) and width between walls; None where a wall was not seen.
        height: Between floor and ceiling; None where either was not seen.
        sigma: Relative standard deviation of each.
        corners_43: (4, 3) corners on the floor, axes of the points; empty without both sides.
        lack: Which walls were not seen; "" where all were.
    """

    sides: tuple[float | None, float | None] = (None, None)
    height: float | None = None
    sigma: float = WALL_SIGMA
    corners_43: Floats | None = None
    lack: str = ""


def patches_of(
    point_HW3: Floats, good_HW: NDArray[np.bool_], eye_3: Floats
) -> tuple[Floats, Floats]:
    """Middles and normals of the patches of a picture's points.

    Args:
        point_HW3: Points row by row, any axes.
        good_HW: Which are known.
        eye_3: Of the camera: normals point to its side.

    Returns:
        (P, 3) points and (P, 3) unit normals.
    """
    along = point_HW3[:-1, 1:] - point_HW3[:-1, :-1]
    down = point_HW3[1:, :-1] - point_HW3[:-1, :-1]
    normal = np.cross(along, down)
    length = np.linalg.norm(normal, axis=-1)
    whole = good_HW[:-1, :-1] & good_HW[:-1, 1:] & good_HW[1:, :-1] & (length > 0)
    point_P3 = point_HW3[:-1, :-1][whole]
    normal_P3 = normal[whole] / length[whole][:, None]
    facing_P = np.einsum("pi,pi->p", normal_P3, eye_3 - point_P3)
    return point_P3, normal_P3 * np.sign(facing_P)[:, None]


def room_extent(point_P3: Floats, normal_P3: Floats) -> RoomExtent:
    """The room that patches lie in.

    Args:
        point_P3: Level axes.
        normal_P3: Unit normals, towards whoever saw the patch.
    """
    upright = np.abs(normal_P3[:, 2]) < _UPRIGHT
    if np.count_nonzero(upright) < 100:
        return RoomExtent(lack="no wall was seen: turn round in the room")
    angle_P = np.arctan2(normal_P3[upright, 1], normal_P3[upright, 0])
    turn = float(np.angle(np.exp(4j * angle_P).sum())) / 4.0
    c, s = math.cos(turn), math.sin(turn)
    axes_23 = np.array([[c, s, 0.0], [-s, c, 0.0]])
    size = float(np.ptp(np.quantile(point_P3, [0.02, 0.98], axis=0), axis=0).max())
    bounds = [_between(point_P3, normal_P3, axis_3, size) for axis_3 in axes_23]
    up_3 = np.array([0.0, 0.0, 1.0])
    floor, ceiling = _between(point_P3, normal_P3, up_3, size)
    height = None if floor is None or ceiling is None else ceiling - floor
    spans = [None if a is None or b is None else b - a for a, b in bounds]
    missing = sum(edge is None for pair in bounds for edge in pair)
    lack = f"{missing} of 4 walls were not seen: turn round in the room" if missing else ""
    corners = None
    if not missing:
        level = floor if floor is not None else float(np.quantile(point_P3[:, 2], 0.02))
        (a0, a1), (b0, b1) = bounds
        places = [(a0, b0), (a1, b0), (a1, b1), (a0, b1)]
        corners = np.array([a * axes_23[0] + b * axes_23[1] + level * up_3 for a, b in places])
    known = sorted((span for span in spans if span is not None), reverse=True)
    sides = (*known, None, None)[:2]
    return RoomExtent((sides[0], sides[1]), height, WALL_SIGMA, corners, lack)


def _between(
    point_P3: Floats, normal_P3: Floats, axis_3: Floats, size: float
) -> tuple[float | None, float | None]:
    """Where the outermost inward walls along a direction lie, low and high."""
    along_P, facing_P = point_P3 @ axis_3, normal_P3 @ axis_3
    least = max(30, _SHARE * len(point_P3))
    found: list[float | None] = []
    for sign in (1.0, -1.0):  # the low wall looks up the axis, the high one down
        place_W = np.sort(sign * along_P[sign * facing_P > _ALONG])
        count_W = np.searchsorted(place_W, place_W + _THICK * size, "right") - np.arange(
            len(place_W)
        )
        full = np.flatnonzero(count_W >= least)
        if len(full):
            first = int(full[0])
            found.append(sign * float(np.median(place_W[first : first + int(count_W[first])])))
        else:
            found.append(None)
    low, high = found
    return low, high
