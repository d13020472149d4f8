"""A segment: the stretch of a recording whose windows are joined, with its map and path."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import GeometryPrediction

from .join import SegmentMap, Similarity
from .keyframes import Moment

__all__ = ["PathPose", "Segment", "check_geometry"]


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
