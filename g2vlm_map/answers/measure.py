"""Quantities read off a reconstruction: depths, distances, directions, planes and sizes.

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
    "Direction",
    "Extent",
    "MarkedPoints",
    "Plane",
    "direction_of",
    "distance_between",
    "extent_of",
    "fit_plane",
    "model_pixel",
    "nearest",
    "points_at",
    "turn_between",
]

SEARCH_RADIUS = 2  # pixels around a mark in which a usable point is looked for
PLANE_TRIALS = 64
PLANE_SEED = 0


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


@dataclass(frozen=True)
class Direction:
    """Where a point is, seen from a camera.

    Args:
        azimuth_deg: Positive to the right, -180..180, 0 is straight ahead.
        elevation_deg: Positive upwards, -90..90.
        distance: Length of the line of sight, unit of the points.
    """

    azimuth_deg: float
    elevation_deg: float
    distance: float


@dataclass(frozen=True)
class Plane:
    """normal . x + offset = 0.

    Args:
        normal: (3,) float64 unit vector, pointing to the origin's side.
        offset: Distance of the origin from the plane, at least 0, unit of the points.
        rms: Root mean square distance of the inliers.
        inliers: (M,) bool.
    """

    normal: NDArray[np.float64]
    offset: float
    rms: float
    inliers: NDArray[np.bool_]


@dataclass(frozen=True)
class Extent:
    """Box around points along their own principal axes.

    Args:
        size: (3,) float64, longest first, unit of the points.
        axes: (3, 3) float64; row i is the direction of `size[i]`.
        centre: (3,) float64.
    """

    size: NDArray[np.float64]
    axes: NDArray[np.float64]
    centre: NDArray[np.float64]


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
    for usable in (geometry.valid[frame, ys, xs] & in_front, in_front):
        if usable.any():
            best = int(np.argmin(np.where(usable, square, np.inf)))
            return int(yy.flat[best]), int(xx.flat[best])
    return None


def distance_between(a_3: NDArray[np.floating], b_3: NDArray[np.floating]) -> float:
    """Straight-line distance of two points of the same axes, in their unit."""
    return float(np.linalg.norm(np.asarray(a_3, np.float64) - np.asarray(b_3, np.float64)))


def direction_of(
    point_world_3: NDArray[np.floating], T_world_cam_44: NDArray[np.floating]
) -> Direction:
    """Where a world point is, seen from a camera.

    Raises:
        ValueError: The point is the camera's own centre: there is no direction.
    """
    transform = np.asarray(T_world_cam_44, np.float64)
    offset = np.asarray(point_world_3, np.float64) - transform[:3, 3]
    x, y, z = transform[:3, :3].T @ offset
    distance = float(np.linalg.norm(offset))
    if distance == 0.0:
        raise ValueError("direction of the camera's own centre is undefined")
    return Direction(
        azimuth_deg=float(np.degrees(np.arctan2(x, z))),
        elevation_deg=float(np.degrees(np.arctan2(-y, np.hypot(x, z)))),
        distance=distance,
    )


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


def fit_plane(points_M3: NDArray[np.floating], tolerance: float) -> Plane:
    """The plane that most points lie on: sampled triples, then least squares of the inliers.

    Deterministic: the triples come from a fixed seed.

    Args:
        points_M3: (M, 3) points; rows that are not finite are ignored.
        tolerance: Inlier distance, unit of the points.

    Raises:
        ValueError: Fewer than 3 finite points, or all of them on one line.
    """
    points = np.asarray(points_M3, np.float64)
    finite = np.isfinite(points).all(axis=1)
    usable = points[finite]
    if len(usable) < 3:
        raise ValueError(f"a plane needs at least 3 finite points, got {len(usable)}")
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}, expected above 0")
    rng = np.random.default_rng(PLANE_SEED)
    triples = usable[rng.integers(0, len(usable), (PLANE_TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    spread = np.ptp(usable, axis=0).max()
    proper = lengths > 1e-9 * spread**2
    if not proper.any():
        raise ValueError("the points lie on one line: no plane is defined")
    normals = normals[proper] / lengths[proper, None]
    offsets = -(normals * triples[proper, 0]).sum(axis=1)
    counts = (np.abs(usable @ normals.T + offsets) < tolerance).sum(axis=0)
    best = int(np.argmax(counts))  # its own three points are inliers, so at least 3 are
    inside = np.abs(usable @ normals[best] + offsets[best]) < tolerance
    centre = usable[inside].mean(axis=0)
    centred = usable[inside] - centre
    normal = np.linalg.eigh(centred.T @ centred)[1][:, 0]
    offset = -float(normal @ centre)
    if offset < 0:
        normal, offset = -normal, -offset
    distances = np.abs(points @ normal + offset)
    inliers: NDArray[np.bool_] = finite & (distances < tolerance)
    rms = float(np.sqrt(np.mean(distances[inliers] ** 2))) if inliers.any() else 0.0
    return Plane(normal=normal, offset=offset, rms=rms, inliers=inliers)


def extent_of(points_M3: NDArray[np.floating], trim: float = 0.02) -> Extent:
    """Size of an object's visible points along their principal axes.

    Args:
        points_M3: (M, 3) points; rows that are not finite are ignored.
        trim: Share of the points left out at each end of each axis (stray points).

    Raises:
        ValueError: Fewer than 2 finite points.
    """
    points = np.asarray(points_M3, np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        raise ValueError(f"an extent needs at least 2 finite points, got {len(points)}")
    mean = points.mean(axis=0)
    axes = np.linalg.eigh((points - mean).T @ (points - mean))[1].T
    along = (points - mean) @ axes.T
    low, high = np.quantile(along, [trim, 1.0 - trim], axis=0)
    order = np.argsort(low - high)
    centre = mean + ((low + high) / 2) @ axes
    return Extent(size=(high - low)[order], axes=axes[order], centre=centre)
