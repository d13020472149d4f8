"""A segment: windows that are joined through the keyframes that they share, and their path.

The model expresses a window in the axes of its first frame and in a scale of its own.
`SegmentMap` finds for each window the similarity that takes its scene units and axes to
those of the segment's first window:

    p_map = s * R_map_scene @ p_scene + t_map_scene

s from the ratio of the two windows' depths of the shared frames (hundreds of points a frame, no
baseline needed), R from their orientations, t from their positions. Where the windows share
nothing, or what they share contradicts itself, the join is refused: a path never jumps
silently. Joining segments, loop closure and refinement are not done here.

Shape letters: N frames, M points. Axes are OpenCV optical axes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import GeometryPrediction

from .keyframes import Moment

__all__ = [
    "JoinError",
    "PathPose",
    "Segment",
    "SegmentMap",
    "Similarity",
    "check_geometry",
    "quaternion_xyzw",
]

_DEPTH_STRIDE = 8  # every 8th row and column of a shared frame's depth fixes the scale
_SCALE_FRAMES = 4  # so many of the shared frames say enough
_MIN_SHARED_POINTS = 8
_MAX_SCALE_STEP = 4.0  # two windows of one place differ less than this in scale
_MAX_DEPTH_SPREAD = 0.5  # interquartile range of the log depth ratio
_MAX_TURN_RAD = 0.35  # disagreement of the shared frames' orientations
_MAX_SHIFT = 0.35  # disagreement of their positions, in median depths


class JoinError(ValueError):
    """Two windows cannot be joined; the text says why with the numbers."""


@dataclass(frozen=True)
class Similarity:
    """p_map = scale * R @ p + t; scale in segment units per scene unit."""

    scale: float
    R: NDArray[np.float64]
    t: NDArray[np.float64]

    def pose(self, T_world_cam: NDArray[np.floating]) -> NDArray[np.float64]:
        """(4, 4) camera pose of a window's frame in the segment's axes and units."""
        T = np.eye(4)
        T[:3, :3] = self.R @ T_world_cam[:3, :3]
        T[:3, 3] = self.scale * self.R @ T_world_cam[:3, 3] + self.t
        return T


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class _Anchor:
    """What is remembered of a frame: pose in the segment, sparse depth in segment units."""

    T_map_cam: NDArray[np.float64]
    depth: NDArray[np.float32]  # NaN where invalid


class SegmentMap:
    """Poses of one segment's frames; holds only the frames of its last window."""

    def __init__(self) -> None:
        self._anchors: dict[str, _Anchor] = {}

    def join(self, keys: Sequence[str], geometry: GeometryPrediction) -> Similarity:
        """Place a window in the segment; the first one defines its axes.

        Args:
            keys: `Frame.key` of the window's frames, in its order.
            geometry: The window's prediction.

        Raises:
            JoinError: No shared frame, or the shared frames disagree. The segment is unchanged.
        """
        if not np.isfinite(geometry.T_world_cam).all():
            raise JoinError("the window's poses are not finite")
        depth_Nhw = _sparse_depth(geometry)
        placed = self._align(keys, geometry, depth_Nhw) if self._anchors else IDENTITY
        self._anchors = {
            key: _Anchor(
                placed.pose(geometry.T_world_cam[index]),
                (depth_Nhw[index] * placed.scale).astype(np.float32),
            )
            for index, key in enumerate(keys)
        }
        return placed

    def _align(
        self,
        keys: Sequence[str],
        geometry: GeometryPrediction,
        depth_Nhw: NDArray[np.float32],
    ) -> Similarity:
        shared = [(i, self._anchors[key]) for i, key in enumerate(keys) if key in self._anchors]
        if not shared:
            raise JoinError("the windows share no frame")
        newest = shared[-_SCALE_FRAMES:]
        scale = _scale_from_depth([(depth_Nhw[i], anchor.depth) for i, anchor in newest])
        T_scene = np.stack([geometry.T_world_cam[i] for i, _ in shared]).astype(np.float64)
        T_map = np.stack([anchor.T_map_cam for _, anchor in shared])
        R = _mean_rotation(T_map[:, :3, :3] @ T_scene[:, :3, :3].transpose(0, 2, 1))
        offsets_N3 = T_map[:, :3, 3] - scale * T_scene[:, :3, 3] @ R.T
        t = offsets_N3.mean(0)
        self._check(R, offsets_N3 - t, T_scene, T_map, shared)
        return Similarity(scale, R, t)

    @staticmethod
    def _check(
        R: NDArray[np.float64],
        residual_N3: NDArray[np.float64],
        T_scene: NDArray[np.float64],
        T_map: NDArray[np.float64],
        shared: Sequence[tuple[int, _Anchor]],
    ) -> None:
        """Refuse a join whose shared frames do not agree on it."""
        between = T_map[:, :3, :3].transpose(0, 2, 1) @ R @ T_scene[:, :3, :3]
        cosine = (np.trace(between, axis1=1, axis2=2) - 1.0) / 2.0
        turn = float(np.arccos(np.clip(cosine, -1.0, 1.0)).max())
        if turn > _MAX_TURN_RAD:
            raise JoinError(f"shared frames disagree by {np.degrees(turn):.1f} deg in orientation")
        # Of the frames that gave the scale: a single one may have no usable depth.
        depths = [anchor.depth.ravel() for _, anchor in shared[-_SCALE_FRAMES:]]
        median = float(np.nanmedian(np.concatenate(depths)))
        shift = float(np.linalg.norm(residual_N3, axis=1).max()) / median
        if shift > _MAX_SHIFT:
            raise JoinError(f"shared frames disagree by {shift:.2f} median depths in position")


def quaternion_xyzw(R: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a (3, 3) rotation, w >= 0.

    The largest of the four components is computed from the diagonal and divides the others,
    which keeps the precision for every rotation.
    """
    m = np.asarray(R, np.float64)
    squares = np.array(
        [
            1.0 + m[0, 0] - m[1, 1] - m[2, 2],
            1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2],
            1.0 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    sums = np.array(
        [
            [0.0, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], 0.0, m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 0.0, m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 0.0],
        ]
    )
    largest = int(np.argmax(squares))
    quaternion = sums[largest]
    quaternion[largest] = squares[largest]
    quaternion /= np.linalg.norm(quaternion) * (1.0 if quaternion[3] >= 0 else -1.0)
    x, y, z, w = (float(component) for component in quaternion)
    return x, y, z, w


def _sparse_depth(geometry: GeometryPrediction) -> NDArray[np.float32]:
    """(N, h, w) depth of every 8th row and column, NaN where invalid or behind the camera."""
    window = (slice(None), slice(None, None, _DEPTH_STRIDE), slice(None, None, _DEPTH_STRIDE))
    depth = geometry.local_points[window][..., 2]
    with np.errstate(invalid="ignore"):
        usable = geometry.valid[window] & np.isfinite(depth) & (depth > 1e-6)
    return np.where(usable, depth, np.float32(np.nan))


def _scale_from_depth(
    pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> float:
    """Median ratio of the remembered depths to the new ones, over all shared frames."""
    ratios = [
        np.log(old[both] / new[both])
        for new, old in pairs
        if new.shape == old.shape
        for both in [np.isfinite(new) & np.isfinite(old)]
    ]
    logs = np.concatenate(ratios) if ratios else np.zeros(0, np.float32)
    if len(logs) < _MIN_SHARED_POINTS:
        raise JoinError(
            f"shared frames have {len(logs)} valid points in common, expected at least "
            f"{_MIN_SHARED_POINTS}"
        )
    low, middle, high = np.percentile(logs, (25, 50, 75))
    scale = float(np.exp(middle))
    if not 1.0 / _MAX_SCALE_STEP < scale < _MAX_SCALE_STEP or high - low > _MAX_DEPTH_SPREAD:
        raise JoinError(
            f"depths of the shared frames differ by a factor of {scale:.2f} with a spread of "
            f"{np.exp(high - low):.2f}"
        )
    return scale


def _mean_rotation(R_N33: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation nearest to the mean of some rotations (least squares, by SVD)."""
    U, _, Vt = np.linalg.svd(R_N33.mean(0))
    U[:, -1] *= np.sign(np.linalg.det(U @ Vt))
    return np.asarray(U @ Vt)


@dataclass(frozen=True, eq=False)
class PathPose:
    """Where the reference camera was.

    Args:
        stamp_ns: When.
        T_map_cam: (4, 4) float64 in the segment's axes and units.
    """

    stamp_ns: int
    T_map_cam: NDArray[np.float64]


class Segment:
    """Windows that share keyframes, in the axes and the unit of the first of them.

    Owned by the pipeline; a window belongs to it once its pass has succeeded.

    Args:
        number: Running number, from 1 on.
        max_poses: Length of the path; the oldest poses fall out.
    """

    def __init__(self, number: int, max_poses: int) -> None:
        self.number = number
        self.moments: tuple[Moment, ...] = ()  # of the last window
        self.map = SegmentMap()
        self._path: deque[PathPose] = deque(maxlen=max_poses)
        self._path_lock = threading.Lock()

    @property
    def poses(self) -> tuple[PathPose, ...]:
        """The path, oldest first."""
        with self._path_lock:
            return tuple(self._path)

    def add_pose(self, pose: PathPose) -> None:
        """The path goes on; its oldest pose may fall out."""
        with self._path_lock:
            self._path.append(pose)

    def limit_path(self, max_poses: int) -> None:
        """Keep another number of poses."""
        with self._path_lock:
            self._path = deque(self._path, maxlen=max_poses)

    def join(self, moments: Iterable[Moment], geometry: GeometryPrediction) -> Similarity:
        """Place a window in the segment and make it the last one.

        Raises:
            JoinError: It does not fit; the segment is as before.
        """
        moments = tuple(moments)
        keys = [frame.key for moment in moments for frame in moment.frames]
        placed = self.map.join(keys, geometry)
        self.moments = moments
        return placed


def check_geometry(geometry: GeometryPrediction, frames: int) -> None:
    """Refuse a prediction whose arrays do not fit together.

    Raises:
        RuntimeError: A shape that differs from the one that `GeometryPrediction` promises.
    """
    height, width = geometry.image_size
    grid = (frames, height, width)
    expected = {
        "local_points": (*grid, 3),
        "world_points": (*grid, 3),
        "T_world_cam": (frames, 4, 4),
        "confidence": grid,
        "valid": grid,
        "K": (frames, 3, 3),
        "colors": (*grid, 3),
    }
    for name, shape in expected.items():
        got = getattr(geometry, name).shape
        if got != shape:
            raise RuntimeError(f"the runtime's {name} has shape {got}, expected {shape}")
