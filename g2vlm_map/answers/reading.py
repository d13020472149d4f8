# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the reconstruction says to a question, with a sigma that follows from its points.

A quantity is a function of a few points. Every point may be wrong along the line of sight that it
was seen on, independently of the others (`Sighting`); the sigma of a quantity is what a
displacement of each by that much makes of it, added in squares: first-order propagation by
differences, so that no reader carries derivatives of its own.

Shape letters: M points. Axes of world points are those of the window's first camera, x right,
y down, z forward; lengths are in scene units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import FrameWindow, GeometryPrediction, PixelMark

from .measure import MarkedPoints, model_pixel, points_at
from .surroundings import Surroundings

__all__ = [
    "Reading",
    "Sighting",
    "choice_reading",
    "number_reading",
    "sighting_of",
]

Floats = NDArray[np.float64]

FLOOR = 0.06  # relative error of a depth that nothing speaks against
DOUBT = 0.25  # more, where the confidence is 0
SPREAD_RADIUS = 2  # pixels around a mark whose depths are compared
STEP = 1e-3  # relative displacement of the differences


@dataclass(frozen=True)
class Reading:
    """What one source says to a question.

    Args:
        value: A number, lengths in scene units; None where it is a choice, or nothing.
        unit: "scene_unit", "deg", "m" (told by the question itself) or "" (ratio, count).
        choice: A label, "left", "yes", ...; "" where it is a number, or not decided.
        sigma: Standard deviation of `value`; None where unknown.
        lead: By how many of its sigmas a choice is clear of the other one; 0 for numbers.
        lack: Why there is nothing, and what would help; "" where there is something.
        confidence: [0, 1]: least of the points' own.
        note: What is worth saying beside it.
        evidence: Places that it rests on beside the marks: a name and a point, world axes.
        nowhere: A mark has no point: sky, or what the camera does not show. Words about it are of
            something else.
    """

    value: float | None = None
    unit: str = ""
    choice: str = ""
    sigma: float | None = None
    lead: float = 0.0
    lack: str = ""
    confidence: float = 0.0
    note: str = ""
    evidence: tuple[tuple[str, tuple[float, float, float]], ...] = ()
    nowhere: bool = False

    @property
    def relative_sigma(self) -> float:
        """Of a number; infinite where it has none."""
        if self.value is None or self.sigma is None or self.value == 0:
            return math.inf
        return abs(self.sigma / self.value)


@dataclass(frozen=True, eq=False)
class Sighting:
    """The points of a question's marks, how wrong each may be, and the cameras.

    Args:
        marked: The points.
        sigma_M: (M,) relative standard deviation of each one's distance from its camera.
        T_world_cam: (N, 4, 4) poses of the window.
        around: What is known beside the points.
        typical_depth: What motions are held against.
        robot_3: (3,) where the robot is, world axes, where it has a row of its own behind the
            marks (`with_robot`).
    """

    marked: MarkedPoints
    sigma_M: Floats
    T_world_cam: Floats
    around: Surroundings = field(default_factory=Surroundings)
    typical_depth: float = 1.0
    robot_3: Floats | None = None

    @property
    def up_3(self) -> Floats | None:
        """Unit vector up in world axes; None where nobody knows it."""
        return self.around.up_3

    def up_or_level(self) -> Floats:
        """Up, or what cameras held level on the whole say of it."""
        if self.up_3 is not None:
            return self.up_3
        mean_3 = -self.T_world_cam[:, :3, 1].mean(axis=0)
        up_3: Floats = mean_3 / np.linalg.norm(mean_3)
        return up_3

    def with_robot(self) -> Sighting:
        """The same with a row for the robot behind the marks: its base, or the newest camera."""
        T = self.around.T_world_base
        robot_3 = self.T_world_cam[-1, :3, 3] if T is None else T[:3, 3]
        return replace(self, robot_3=robot_3, sigma_M=np.append(self.sigma_M, 0.0))

    def moved(self, row: int, share: float) -> Floats:
        """(3,) world point of a mark with its distance from its camera longer by a share."""
        if row == len(self.marked.labels):
            assert self.robot_3 is not None, f"row {row} of {row} marks"
            return self.robot_3
        origin = self.T_world_cam[self.marked.frame_indices[row], :3, 3]
        point = self.marked.world[row].astype(np.float64)
        moved: Floats = origin + (point - origin) * (1.0 + share)
        return moved


def sighting_of(
    geometry: GeometryPrediction,
    window: FrameWindow,
    marks: tuple[PixelMark, ...],
    around: Surroundings | None = None,
) -> Sighting:
    """The points of a question's marks, with sigmas.

    Args:
        geometry: Of the scene.
        window: Its frames.
        marks: Of the question.
        around: What is known beside the points.
    """
    marked = points_at(geometry, window, marks)
    sigma_M = _point_sigmas(geometry, window, [(m.frame_index, m.u, m.v) for m in marks])
    depths = geometry.local_points[0, ..., 2][geometry.valid[0]]
    typical = float(np.median(depths)) if depths.size else math.inf
    T_world_cam = geometry.T_world_cam.astype(np.float64)
    return Sighting(marked, sigma_M, T_world_cam, around or Surroundings(), typical)


def _point_sigmas(
    geometry: GeometryPrediction, window: FrameWindow, pixels: list[tuple[int, float, float]]
) -> Floats:
    """(M,) relative sigma of depths: spread around each, and what the model doubts.

    Args:
        geometry: Of the window.
        window: The frames.
        pixels: Frame index, u, v in pixels of the original picture.
    """
    height, width = geometry.image_size
    found = []
    for frame, u, v in pixels:
        shape = window.frames[frame].image.shape
        column, row = model_pixel(u, v, (shape[0], shape[1]), (height, width))
        y, x, r = round(row), round(column), SPREAD_RADIUS
        ys, xs = slice(max(0, y - r), y + r + 1), slice(max(0, x - r), x + r + 1)
        depth = geometry.local_points[frame, ys, xs, 2].astype(np.float64)
        usable = np.isfinite(depth) & (depth > 0)
        confidence = float(geometry.confidence[frame, min(y, height - 1), min(x, width - 1)])
        spread = _roughness(depth, usable)
        found.append(math.hypot(FLOOR + DOUBT * (1.0 - confidence), spread))
    return np.array(found, np.float64)


def _roughness(depth: Floats, usable: NDArray[np.bool_]) -> float:
    """Spread of log depths about the plane through them; a slope is no error, an edge is."""
    if np.count_nonzero(usable) < 4:
        return 0.5
    rows, columns = np.nonzero(usable)
    plane = np.stack((rows, columns, np.ones(len(rows))), axis=1).astype(np.float64)
    logs = np.log(depth[usable])
    rest = logs - plane @ np.linalg.lstsq(plane, logs, rcond=None)[0]
    # Rounded: the last digits of a least-squares fit hang on the number of threads.
    return round(float(np.sqrt(rest @ rest / len(rest))), 6)


def _with_sigma(
    sighting: Sighting, rows: list[int], quantity: Callable[[list[Floats]], float]
) -> tuple[float, float]:
    """A quantity of some marks' points, and its sigma."""
    points = [sighting.moved(row, 0.0) for row in rows]
    value, square = quantity(points), 0.0
    for place, row in enumerate(rows):
        shifted = list(points)
        shifted[place] = sighting.moved(row, STEP)
        slope = (quantity(shifted) - value) / STEP
        square += (slope * sighting.sigma_M[row]) ** 2
    return value, math.sqrt(square)


def number_reading(
    sighting: Sighting, rows: list[int], unit: str, quantity: Callable[[list[Floats]], float]
) -> Reading:
    """A number of some marks' points; its sign is dropped."""
    value, sigma = _with_sigma(sighting, rows, quantity)
    return Reading(abs(value), unit, sigma=sigma, confidence=_least(sighting, rows))


def choice_reading(
    sighting: Sighting,
    rows: list[int],
    quantity: Callable[[list[Floats]], float],
    names: tuple[str, str],
    least: float = 0.0,
) -> Reading:
    """The first name where a quantity is above 0, the second where it is below.

    Args:
        sighting: The points.
        rows: Marks that it depends on.
        quantity: Its sign decides.
        names: For above and below 0.
        least: Nearer to 0 than this nothing is chosen.
    """
    value, sigma = _with_sigma(sighting, rows, quantity)
    confidence = _least(sighting, rows)
    if abs(value) <= least:
        return Reading(lack="too close to call", confidence=confidence)
    lead = abs(value) / max(sigma, 1e-9)
    return Reading(choice=names[0] if value > 0 else names[1], lead=lead, confidence=confidence)


def _least(sighting: Sighting, rows: list[int]) -> float:
    marked = sighting.marked.confidence
    return float(min((marked[row] for row in rows if row < len(marked)), default=1.0))
