# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Quantities read off a reconstruction: depths, distances, turns of the camera.

numpy only, pure functions. Nothing here knows whether a length is metric: every length is
in the unit of the points that come in (scene units, unless a scale source turned them into
metres).

Shape letters: N frames, H W pixels of the model's picture, M points.
Axes are OpenCV optical axes: x right, y down, z forward. `T_a_b` maps coordinates of b to a.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import FrameWindow, GeometryPrediction, PixelMark

__all__ = [
    "MarkedPoints",
    "Scale",
    "distance_between",
    "model_pixel",
    "nearest",
    "points_at",
    "turn_between",
]

SEARCH_RADIUS = 2  # pixels around a mark in which a usable point is looked for


@dataclass(frozen=True)
class Scale:
    """What makes a reconstruction metric.

    Args:
        metres_per_unit: Metres of one scene unit, above 0.
        relative_sigma: Relative standard deviation of it, at least 0.
        by: The kinds of sensors that it comes from.
    """

    metres_per_unit: float
    relative_sigma: float = 0.0
    by: str = ""

    def __post_init__(self) -> None:
        if not (self.metres_per_unit > 0 and np.isfinite(self.metres_per_unit)):
            raise ValueError(f"metres_per_unit is {self.metres_per_unit}, expected above 0")
        if not self.relative_sigma >= 0:
            raise ValueError(f"relative_sigma is {self.relative_sigma}, expected at least 0")

    @property
    def text(self) -> str:
        """By whom a length in metres is one: of a value that it has made metres, and no other."""
        return f"metres by {self.by or 'the given scale'}, +- {self.relative_sigma:.0%}"


@dataclass(frozen=True)
class MarkedPoints:
    """The points that marks lie on; row i belongs to mark i.

    Args:
        world: (M, 3) float32, axes of the window's first camera; NaN where `found` is False.
        local: (M, 3) float32, axes of each mark's own camera.
        confidence: (M,) float32 in [0, 1]; 0 where `found` is False.
        found: (M,) bool; False where no usable point lies within `SEARCH_RADIUS` pixels.
        labels: M names, "" where a mark has none.
        frame_indices: M indices into the window.
    """

    world: NDArray[np.float32]
    local: NDArray[np.float32]
    confidence: NDArray[np.float32]
    found: NDArray[np.bool_]
    labels: tuple[str, ...]
    frame_indices: tuple[int, ...]

    @property
    def depth(self) -> NDArray[np.float32]:
        """(M,) z-depth in the mark's own camera."""
        return self.local[:, 2]

    @property
    def range(self) -> NDArray[np.float32]:
        """(M,) straight-line distance from the mark's own camera."""
        lengths: NDArray[np.float32] = np.linalg.norm(self.local, axis=1).astype(np.float32)
        return lengths

    def index(self, label: str) -> int | None:
        """Row of the mark called `label` (upper or lower case), None where there is none."""
        names = [name.casefold() for name in self.labels]
        wanted = label.casefold()
        return names.index(wanted) if wanted in names else None


def model_pixel(
    u: float, v: float, original_hw: tuple[int, int], model_hw: tuple[int, int]
) -> tuple[float, float]:
    """A pixel of the original picture in the model's picture (whole picture resized, no crop).

    Pixel centres are integers in both, so the edges and not the centres coincide.

    Args:
        u: Column in the original picture.
        v: Row in the original picture.
        original_hw: (height, width) of the original picture.
        model_hw: (height, width) of the model's picture.

    Returns:
        Column and row in the model's picture, clamped into it.
    """
    (h0, w0), (h1, w1) = original_hw, model_hw
    column = (u + 0.5) * w1 / w0 - 0.5
    row = (v + 0.5) * h1 / h0 - 0.5
    return min(max(column, 0.0), w1 - 1.0), min(max(row, 0.0), h1 - 1.0)


def points_at(
    geometry: GeometryPrediction, window: FrameWindow, marks: Sequence[PixelMark]
) -> MarkedPoints:
    """Read the reconstruction at marks.

    The nearest pixel is taken where its point is valid, else the nearest valid pixel within
    `SEARCH_RADIUS`, else the nearest finite point in front of the camera (a mark on a depth
    edge is still a place).

    Raises:
        ValueError: As `FrameWindow.check_marks`.
    """
    window.check_marks(marks)
    count = len(marks)
    world = np.full((count, 3), np.nan, np.float32)
    local = np.full((count, 3), np.nan, np.float32)
    confidence = np.zeros(count, np.float32)
    found = np.zeros(count, np.bool_)
    for row, mark in enumerate(marks):
        frame = mark.frame_index
        height, width = window.frames[frame].image.shape[:2]
        column_row = model_pixel(mark.u, mark.v, (height, width), geometry.image_size)
        pixel = _usable_pixel(geometry, frame, *column_row)
        if pixel is None:
            continue
        y, x = pixel
        world[row] = geometry.world_points[frame, y, x]
        local[row] = geometry.local_points[frame, y, x]
        confidence[row] = geometry.confidence[frame, y, x]
        found[row] = True
    return MarkedPoints(
        world=world,
        local=local,
        confidence=confidence,
        found=found,
        labels=tuple(mark.label for mark in marks),
        frame_indices=tuple(mark.frame_index for mark in marks),
    )


def _usable_pixel(
    geometry: GeometryPrediction, frame: int, column: float, row: float
) -> tuple[int, int] | None:
    """(y, x) of the pixel to read, None where nothing near the place is usable."""
    height, width = geometry.image_size
    y0, x0 = round(row), round(column)
    ys = slice(max(0, y0 - SEARCH_RADIUS), min(height, y0 + SEARCH_RADIUS + 1))
    xs = slice(max(0, x0 - SEARCH_RADIUS), min(width, x0 + SEARCH_RADIUS + 1))
    yy, xx = np.mgrid[ys, xs]
    square = (yy - row) ** 2 + (xx - column) ** 2
    points = geometry.local_points[frame, ys, xs]
    in_front = np.isfinite(points).all(axis=-1) & (points[..., 2] > 0)
    if geometry.invalid is not None:
        in_front &= ~geometry.invalid[frame, ys, xs]
    for usable in (geometry.valid[frame, ys, xs] & in_front, in_front):
        if usable.any():
            best = int(np.argmin(np.where(usable, square, np.inf)))
            return int(yy.flat[best]), int(xx.flat[best])
    return None


def distance_between(a_3: NDArray[np.floating], b_3: NDArray[np.floating]) -> float:
    """Straight-line distance of two points of the same axes, in their unit."""
    return float(np.linalg.norm(np.asarray(a_3, np.float64) - np.asarray(b_3, np.float64)))


def turn_between(
    T_world_from_44: NDArray[np.floating], T_world_to_44: NDArray[np.floating]
) -> tuple[float, float]:
    """How a camera turned from one pose to another.

    Returns:
        The whole rotation angle (0..180 degrees) and its yaw: the azimuth, in the first
        camera's axes, of the second camera's optical axis (positive to the right).
    """
    rotation = (
        np.asarray(T_world_from_44, np.float64)[:3, :3].T
        @ np.asarray(T_world_to_44, np.float64)[:3, :3]
    )
    skew = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    angle = np.degrees(np.arctan2(np.linalg.norm(skew), np.trace(rotation) - 1.0))
    yaw = np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))
    return float(angle), float(yaw)


def nearest(distances_M: NDArray[np.floating], margin: float = 0.0) -> int | None:
    """Index of the smallest distance.

    Args:
        distances_M: (M,) distances or depths; NaN rows are left out.
        margin: How much smaller than the runner-up it must be, relative to the runner-up.

    Returns:
        None where fewer than two distances are finite or the lead is within the margin.
    """
    values = np.asarray(distances_M, np.float64)
    order = [int(index) for index in np.argsort(values) if np.isfinite(values[index])]
    if len(order) < 2 or values[order[0]] > values[order[1]] * (1.0 - margin):
        return None
    return order[0]
