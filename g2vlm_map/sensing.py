# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What enters a pipeline beside frames: what other sensors of the robot say, in metres.

All are handed in through `Pipeline.sense`, in any order, from any thread; whoever needs them
looks up what lies around a stamp. Frames (axes) by their TF names; `T_a_b` maps coordinates of
b to a.

Shape letters: H W pixels, M points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DepthSample",
    "Extrinsics",
    "Gravity",
    "OdometrySample",
    "PointSample",
    "PoseSample",
    "Sample",
    "depth_step",
    "thinned_K",
]

Floats = NDArray[np.float64]

_MOST_DEPTH_COLUMNS = 640  # no model's picture has more


@dataclass(frozen=True, eq=False)
class OdometrySample:
    """Where wheels, or another odometry, say that the base is.

    Args:
        stamp_ns: When.
        T_odom_base: (4, 4) float64, metres; drifts but never jumps.
        sigma_share: Its translation's standard deviation as a share of the way; 0: not told.
    """

    stamp_ns: int
    T_odom_base: Floats
    sigma_share: float = 0.0


@dataclass(frozen=True, eq=False)
class PointSample:
    """Ranges: a lidar's row or rows, or a cloud, as points in the sensor's own frame.

    Args:
        stamp_ns: When.
        points_M3: float32, metres; not finite or at the origin: no reading.
        T_base_sensor: (4, 4) float64, metres.
        is_scan: One row of a 2D lidar, which sees one kind of surface.
    """

    stamp_ns: int
    points_M3: NDArray[np.float32]
    T_base_sensor: Floats
    is_scan: bool = False


@dataclass(frozen=True, eq=False)
class DepthSample:
    """Depth of another sensor, registered to one of the cameras or beside it.

    Args:
        stamp_ns: When.
        camera: That it is registered to, or sits beside.
        depth_HW: float32 (float16 where it is kept) z-depth, metres; not finite or 0: no reading.
        K: (3, 3) float64 intrinsics in pixels of it.
        T_cam_depth: (4, 4) float64 of the sensor's optical axes in the camera's, metres; None: it
            is registered, so they are the same.
    """

    stamp_ns: int
    camera: str
    depth_HW: NDArray[np.float32 | np.float16]
    K: Floats
    T_cam_depth: Floats | None = None

    def thinned(self, step: int, kind: type[np.float32 | np.float16]) -> DepthSample:
        """Every step-th row and column with the K of them, in memory of its own."""
        with np.errstate(over="ignore", invalid="ignore"):
            depth: NDArray[np.float32 | np.float16] = np.array(self.depth_HW[::step, ::step], kind)
        return replace(self, depth_HW=depth, K=thinned_K(self.K, step))


@dataclass(frozen=True, eq=False)
class Gravity:
    """Which way is up.

    Args:
        stamp_ns: When.
        up_base_3: Unit vector in the base's axes.
        sigma_rad: Its standard deviation.
    """

    stamp_ns: int
    up_base_3: Floats
    sigma_rad: float


@dataclass(frozen=True, eq=False)
class Extrinsics:
    """Where a camera sits on the robot; the latest one given holds.

    Args:
        camera: Its name.
        T_base_cam: (4, 4) float64 of its optical frame, metres; z of the base is up.
    """

    camera: str
    T_base_cam: Floats


@dataclass(frozen=True, eq=False)
class PoseSample:
    """A pose that is known, by motion capture or a map of somebody else: it does not drift.

    Args:
        stamp_ns: When.
        T_world_cam: (4, 4) float64 of the reference camera's optical frame, metres.
        sigma_rotation: Its standard deviation, rad.
        sigma_translation: The same of its place, metres.
    """

    stamp_ns: int
    T_world_cam: Floats
    sigma_rotation: float = 0.01
    sigma_translation: float = 0.02


Sample = OdometrySample | PointSample | DepthSample | Gravity | Extrinsics | PoseSample


def depth_step(width: int) -> int:
    """Which columns and rows of a depth image are worth keeping: every step-th."""
    return 1 + max(0, width - 1) // _MOST_DEPTH_COLUMNS


def thinned_K(K: Floats, step: int) -> Floats:
    """(3, 3) intrinsics in pixels of every step-th row and column, from the first one on."""
    thinned = np.array(K, np.float64)
    thinned[:2] /= step
    return thinned
