# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is the way free, and how wide: of the obstacles that `~/obstacles` publishes, in metres.

Nothing is called free that was not seen: a way is free where no obstacle stands in it and the
floor is seen all along. It is made of one model's depth and is not safety-rated: see docs/map.md.

Axes are the base's: x forward, y left, z up, metres. Shape letters: P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEADINGS", "Nearby", "Opening", "Way", "opening", "way"]

Floats = NDArray[np.float64]

HEADINGS = {"ahead": 0.0, "": 0.0, "back": math.pi, "left": math.pi / 2, "right": -math.pi / 2}
_CELL = 0.1  # of the floor that is looked for
_SEEN_SHARE = 0.5  # of a row of cells across the way that must show floor
_RANGE_SIGMA = 0.06  # of the distance of an obstacle: that of a depth (`reading.FLOOR`)


@dataclass(frozen=True, eq=False)
class Nearby:
    """What stands around the base, and where its floor is seen.

    Args:
        obstacles_P3: float64, as `dense.obstacles.obstacles_around` has them.
        floor_P3: float64 floor that the same keyframes saw.
        T_world_base: (4, 4) to the scene's axes, scene units, for the evidence; the scale of the
            turn's columns is scene units per metre.
        width: That the robot needs.
        length: How far a way without an end is looked at.
    """

    obstacles_P3: Floats
    floor_P3: Floats
    T_world_base: Floats
    width: float
    length: float

    def in_scene(self, points_P3: Floats) -> Floats:
        """Points of the base's axes in the scene's."""
        moved: Floats = points_P3 @ self.T_world_base[:3, :3].T + self.T_world_base[:3, 3]
        return moved


@dataclass(frozen=True, eq=False)
class Way:
    """What is known of a way.

    Args:
        free: None where not enough of it was seen.
        clear: Metres to the obstacle, or that are seen to be free.
        lead: Sigmas by which it is clear.
        points_P3: Evidence: the obstacle, or the end of what is seen.
        text: In words.
    """

    free: bool | None
    clear: float
    lead: float
    points_P3: Floats
    text: str


def way(nearby: Nearby, heading: float, length: float = 0.0) -> Way:
    """Whether the robot fits through, straight on.

    Args:
        nearby: What stands around.
        heading: About z, rad; 0 is ahead.
        length: Metres to look at; 0 is `Nearby.length`.
    """
    length = length or nearby.length
    turn = _turn(heading)
    x_P, y_P = (nearby.obstacles_P3 @ turn)[:, :2].T
    inside = (x_P > 0) & (x_P <= length) & (np.abs(y_P) <= 0.5 * nearby.width)
    if inside.any():
        nearest = int(np.argmin(np.where(inside, x_P, np.inf)))
        clear = float(x_P[nearest])
        lead = (length - clear + 0.5 * _CELL) / max(_RANGE_SIGMA * clear, 0.01)
        point = nearby.obstacles_P3[nearest : nearest + 1]
        return Way(False, clear, lead, point, f"something stands {clear:.2f} m along it")
    seen = _seen_along(nearby.floor_P3 @ turn, nearby.width, length)
    end = np.array([[seen, 0.0, 0.0]]) @ turn.T
    if seen < length:
        text = f"nothing was seen of it beyond {seen:.1f} m of {length:.1f} m"
        return Way(None, seen, 0.0, end, text)
    beside = (x_P > 0) & (x_P <= length)
    room = np.abs(y_P[beside]).min() - 0.5 * nearby.width if beside.any() else nearby.width
    lead = float(room) / (_RANGE_SIGMA * length)
    return Way(True, length, lead, end, f"free and seen for {length:.1f} m")


@dataclass(frozen=True, eq=False)
class Opening:
    """How wide the free room ahead is.

    Args:
        width: Metres; None where it is not bounded by what was seen.
        sigma: Standard deviation.
        points_P3: What bounds it left and right.
        text: Why there is none.
    """

    width: float | None
    sigma: float
    points_P3: Floats
    text: str = ""


def opening(nearby: Nearby) -> Opening:
    """The narrowest free width ahead, up to where something stands straight ahead."""
    x_P, y_P = nearby.obstacles_P3[:, :2].T
    ahead = (x_P > 0) & (x_P <= nearby.length)
    middle = ahead & (np.abs(y_P) < 0.5 * _CELL)
    if middle.any():
        ahead &= x_P < x_P[middle].min() - 2 * _CELL
    sides, none = [], []
    for name, side in (("left", ahead & (y_P > 0)), ("right", ahead & (y_P < 0))):
        if side.any():
            sides.append(int(np.argmin(np.where(side, np.abs(y_P), np.inf))))
        else:
            none.append(name)
    points_P3 = nearby.obstacles_P3[sides]
    if none:
        text = f"nothing that was seen bounds it to the {' and to the '.join(none)}"
        return Opening(None, math.inf, points_P3, text)
    left, right = points_P3
    ranges = np.hypot(points_P3[:, 0], points_P3[:, 1])
    sigma = _RANGE_SIGMA * float(np.hypot(ranges[0], ranges[1]))
    return Opening(float(left[1] - right[1]), sigma, points_P3)


def _turn(heading: float) -> Floats:
    """(3, 3) whose product behind row vectors turns a heading to 0."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _seen_along(floor_P3: Floats, width: float, length: float) -> float:
    """Metres along x to which the floor is seen without a gap; the robot's own place counts."""
    rows, columns = math.ceil(length / _CELL), max(1, round(width / _CELL))
    row_P = np.floor(floor_P3[:, 0] / _CELL).astype(int)
    column_P = np.floor((floor_P3[:, 1] / width + 0.5) * columns).astype(int)
    good = (row_P >= 0) & (row_P < rows) & (column_P >= 0) & (column_P < columns)
    seen = np.zeros((rows, columns), bool)
    seen[row_P[good], column_P[good]] = True
    seen[: math.ceil(0.5 * width / _CELL)] = True
    known = np.maximum.reduce([seen, _shifted(seen, 1), _shifted(seen, -1)])
    gaps = np.flatnonzero(known.mean(axis=1) < _SEEN_SHARE)
    return length if not len(gaps) else float(gaps[0] * _CELL)


def _shifted(seen: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Rows one further: points thin out with distance."""
    moved = np.zeros_like(seen)
    if by > 0:
        moved[by:] = seen[:-by]
    else:
        moved[:by] = seen[-by:]
    return moved
