# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ranges against the model's depth: a depth image, a cloud, or the row of a 2D lidar."""

from __future__ import annotations

import math

import numpy as np

from ...mapping.keyframe import View
from ...poses import Floats, inverse
from ...sensing import DepthSample, PointSample
from ..odometry_history import NotYetError
from ..readings import Measured
from ..samples import Samples
from .depth_ratio import DepthRatio, compare, in_millimetres
from .ranged_path import RangedPath
from .sight import Sight

__all__ = ["DepthSource", "RangeSource", "ScanSource", "depth_pixels", "point_pixels"]

_WITHIN_NS = 100_000_000  # between a sample and the keyframe
_MEASURED_SIGMA = 0.02  # of one keyframe's measured depth
_MOST_SKEW_NS = 50_000_000  # of depth that a path is made of, where nobody knows the motion
_SKEW_SIGMA = 0.5  # of the log depth per second between the two, where nobody knows the motion


class DepthSource:
    """Depth that the map itself has from a sensor (`depth.source`): its unit is known."""

    def forget(self) -> None:
        """Nothing is kept between keyframes."""

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """One measurement where the reference camera's depth was measured."""
        view, number = sight.placed.keyframe.views[0], sight.placed.keyframe.number
        if not view.metres:
            return []
        return [Measured("depth", number, number, math.log(view.metres), _MEASURED_SIGMA)]


class RangeSource:
    """Depth images of other sensors, and clouds with several rows, beside the model's depth.

    Says nothing of a keyframe whose depth was measured: that sensor has spoken (`DepthSource`).
    """

    def __init__(self) -> None:
        self._path = RangedPath("range")

    def forget(self) -> None:
        """The path begins anew."""
        self._path.forget()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement of the reference camera's depth, and one of its path."""
        view = sight.placed.keyframe.views[0]
        if view.metres:
            return []
        depth = samples.depth(view.camera, view.stamp_ns, _WITHIN_NS)
        if depth is not None:
            told = in_millimetres(depth.depth_HW)
            if told:
                samples.complain(f"depth of camera {depth.camera!r}: {told}; left out")
            skew_ns = view.stamp_ns - depth.stamp_ns
            points = None if told else (*depth_pixels(depth, view), skew_ns)
        else:
            cloud = samples.points(view.stamp_ns, _WITHIN_NS, scan=False)
            points = None if cloud is None else _laid_over(sight, samples, cloud)
        if points is None:
            return self._path.add(sight, None)
        pixel_M2, depth_M, skew_ns = points
        made = _measured(sight, "range", compare(view, pixel_M2, depth_M), skew_ns)
        return made + self._path.add(
            sight, (pixel_M2, depth_M) if abs(skew_ns) <= _MOST_SKEW_NS else None
        )


class ScanSource:
    """A 2D lidar: one row of ranges, which sees one kind of surface."""

    def forget(self) -> None:
        """Nothing is kept between keyframes."""

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement, of the reference camera's depth."""
        stamp_ns = sight.placed.keyframe.stamp_ns
        row = samples.points(stamp_ns, _WITHIN_NS, scan=True)
        points = None if row is None else _laid_over(sight, samples, row)
        if points is None:
            return []
        found = compare(sight.placed.keyframe.views[0], *points[:2])
        return _measured(sight, "scan", found, points[2])


def depth_pixels(sample: DepthSample, view: View) -> tuple[Floats, Floats]:
    """Places (M, 2) in the model's picture and z-depths (M,) in metres of a depth image.

    A sensor beside the camera may see what is hidden from it; of that there is little, and a
    median is taken.
    """
    height, width = sample.depth_HW.shape
    row, column = np.mgrid[0:height, 0:width].reshape(2, -1)
    depth_M = np.asarray(sample.depth_HW[row, column], np.float64)
    homogeneous = np.stack((column, row, np.ones_like(row)), axis=1).astype(np.float64)
    ray_M3 = homogeneous @ np.linalg.inv(sample.K).T
    if sample.T_cam_depth is None:
        return ray_M3 @ view.K[:2].T, depth_M
    local = (ray_M3 * depth_M[:, None]) @ sample.T_cam_depth[:3, :3].T + sample.T_cam_depth[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.isfinite(depth_M) & (depth_M > 0) & (local[:, 2] > 1e-3)
        pixel_M2 = (local @ view.K.T)[:, :2] / local[:, 2:]
    return pixel_M2, np.where(ahead, local[:, 2], 0.0)


def point_pixels(sample: PointSample, view: View, T_cam_base: Floats) -> tuple[Floats, Floats]:
    """Places (M, 2) in the model's picture and z-depths (M,) in metres of a cloud's points.

    Args:
        sample: The cloud.
        view: Whose picture.
        T_cam_base: (4, 4), from the base's axes to the view's, at the stamps of the two.
    """
    points = np.asarray(sample.points_M3, np.float64)
    with np.errstate(invalid="ignore"):
        points = points[np.isfinite(points).all(axis=1) & (np.abs(points).max(axis=1) > 1e-3)]
    T_cam_sensor = T_cam_base @ sample.T_base_sensor
    local = points @ T_cam_sensor[:3, :3].T + T_cam_sensor[:3, 3]
    local = local[local[:, 2] > 1e-3]
    image = local @ view.K.T
    return image[:, :2] / image[:, 2:], local[:, 2]


def _laid_over(
    sight: Sight, samples: Samples, sample: PointSample
) -> tuple[Floats, Floats, int] | None:
    """A cloud's points in the picture.

    Returns:
        (M, 2) places, (M,) z-depths there in metres, and nanoseconds between the two that no
        odometry bridges; None where the cloud cannot be believed.
    """
    name = "scan" if sample.is_scan else "range"
    view = sight.placed.keyframe.views[0]
    T_base_cam = samples.T_base_cam(view.camera)
    if T_base_cam is None:
        samples.complain(
            f"ranges arrive, but nobody told where camera {view.camera!r} sits on the robot: they "
            "cannot be laid over its picture"
        )
        return None
    told = in_millimetres(np.linalg.norm(sample.points_M3, axis=1))
    if told:
        samples.complain(f"{name}: {told}; left out")
        return None
    skew_ns = view.stamp_ns - sample.stamp_ns
    moved = _base_motion(samples, sample.stamp_ns, view.stamp_ns) if skew_ns else np.eye(4)
    T_cam_base = inverse(T_base_cam) @ (np.eye(4) if moved is None else moved)
    return (*point_pixels(sample, view, T_cam_base), skew_ns if moved is None else 0)


def _base_motion(samples: Samples, from_ns: int, to_ns: int) -> Floats | None:
    """(4, 4) from the base's axes at one stamp to those at another; None where nobody knows."""
    try:
        early, late = samples.odometry(from_ns), samples.odometry(to_ns)
    except NotYetError:
        return None
    if early is None or late is None or early.epoch != late.epoch:
        return None
    return np.asarray(inverse(late.T_odom_base) @ early.T_odom_base)


def _measured(sight: Sight, name: str, found: DepthRatio | None, skew_ns: int) -> list[Measured]:
    if found is None:
        return []
    number = sight.placed.keyframe.number
    sigma = float(np.hypot(found.sigma, _SKEW_SIGMA * abs(skew_ns) * 1e-9))
    return [Measured(name, number, number, found.log_metric, sigma)]
