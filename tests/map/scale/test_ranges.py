# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth images, clouds and a 2D lidar as sources of the scale, good and bad."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.poses import Floats, inverse, rigid, rotation
from g2vlm_map.sensing import DepthSample, PointSample
from tests.map.scale.made import (
    SIZE,
    STEP_NS,
    T_BASE_CAM,
    Drive,
    K,
    base_pose,
    edges_back,
    room_depth,
)


def depth_image(number: int, factor: float = 1.0) -> NDArray[np.float32]:
    """(120, 160) true depth in metres of a keyframe's view."""
    wide = K * 2
    wide[2, 2] = 1
    depth = room_depth(base_pose(number) @ T_BASE_CAM, wide, (SIZE[0] * 2, SIZE[1] * 2))
    return (depth * factor).astype(np.float32)


def sense_depth(drive: Drive, number: int, depth: NDArray[np.float32]) -> None:
    wide = K * 2
    wide[2, 2] = 1
    drive.tracker.sense(DepthSample(drive.stamp(number), "camera", depth, wide))


def cloud(number: float, T_base_sensor: Floats, elevation: NDArray[np.float64]) -> Floats:
    """(M, 3) points of a lidar in its own axes, at some elevations in rad."""
    angle, up = np.meshgrid(np.linspace(-np.pi, np.pi, 361), elevation)
    ray = np.stack((np.cos(angle) * np.cos(up), np.sin(angle) * np.cos(up), np.sin(up)), axis=-1)
    T_world_sensor = base_pose(number) @ T_base_sensor
    world = ray.reshape(-1, 3) @ T_world_sensor[:3, :3].T
    low, high = np.array([-4.0, -3.0, 0.0]), np.array([4.0, 3.0, 3.0])
    bound = np.where(world > 0, high, low) - T_world_sensor[:3, 3]
    along = np.where(np.abs(world) > 1e-9, world, 1e-9 * np.sign(bound))
    reach = (bound / along).min(axis=1)
    return np.asarray(ray.reshape(-1, 3) * reach[:, None])


ROWS = np.radians(np.linspace(-15, 15, 16))
LIDAR = rigid(np.eye(3), np.array([0.1, 0.0, 0.6]))
UPSIDE_DOWN = rigid(rotation(np.array([np.pi, 0, 0])), np.array([0.1, 0.0, 0.6]))


def test_depth_images_fix_the_scale() -> None:
    drive = Drive()
    metric = []
    for number in range(40):
        sense_depth(drive, number, depth_image(number))
        metric.append(drive.add(number, edges_back(number)).metric)
    estimate = drive.tracker.estimate
    assert estimate.metric
    assert not any(metric[:20])  # one sensor's depth and its path do not vouch for each other
    assert set(estimate.sources) == {"range", "range_path"}
    assert drive.error() == pytest.approx(0.0, abs=0.02)
    assert drive.error(estimate.log_trajectory_scale) == pytest.approx(0.0, abs=0.02)
    assert drive.error(estimate.log_depth_scale) == pytest.approx(0.0, abs=0.01)
    assert 0.04 <= estimate.sigma <= 0.10


def test_a_depth_that_drifts_from_the_path_leaves_the_paths_scale_right() -> None:
    """The model's depth is 40 % too large and the map's poses are not: ranges say both."""
    drive = Drive(depth_bias=math.log(1.4))
    for number in range(40):
        sense_depth(drive, number, depth_image(number))
        drive.add(number, edges_back(number))
    estimate = drive.tracker.estimate
    assert drive.error(estimate.log_trajectory_scale) == pytest.approx(0.0, abs=0.02)
    assert drive.error(estimate.log_depth_scale) == pytest.approx(-math.log(1.4), abs=0.01)
    assert abs(drive.error()) <= 2 * estimate.sigma
    assert "range_path says 1.6" in drive.reason("SCALE_CONFLICT")


def test_depth_without_a_view_that_goes_on_says_little_of_the_path() -> None:
    """No edge follows a feature: the depth is known to a hair, and the path's scale is not."""
    drive = Drive()
    for number in range(40):
        sense_depth(drive, number, depth_image(number))
        drive.add(number)
    estimate = drive.tracker.estimate
    assert not estimate.metric
    assert estimate.depth_sigma < 0.1
    assert estimate.sigma > 0.25
    assert not np.isfinite(estimate.trajectory_sigma)


def test_one_depth_image_is_not_enough() -> None:
    drive = Drive()
    sense_depth(drive, 0, depth_image(0))
    estimate = drive.add(0)
    assert drive.error() == pytest.approx(0.0, abs=0.01)
    assert not estimate.metric
    assert estimate.sigma > 0.25


@pytest.mark.parametrize("T_base_sensor", [LIDAR, UPSIDE_DOWN], ids=["upright", "upside down"])
def test_a_cloud_is_laid_over_the_picture_however_the_lidar_is_mounted(
    T_base_sensor: Floats,
) -> None:
    drive = Drive()
    drive.mount()
    for number in range(30):
        points = cloud(number, T_base_sensor, ROWS).astype(np.float32)
        drive.tracker.sense(PointSample(drive.stamp(number), points, T_base_sensor))
        drive.add(number)
    assert drive.tracker.estimate.sources == ("range",)
    assert drive.error() == pytest.approx(0.0, abs=0.02)


def test_a_lidar_hung_upside_down_that_nobody_told_of_is_not_metric_and_wrong() -> None:
    drive = Drive()
    drive.mount()
    for number in range(60):
        points = cloud(number, UPSIDE_DOWN, np.zeros(1)).astype(np.float32)
        drive.tracker.sense(PointSample(drive.stamp(number), points, LIDAR, is_scan=True))
        assert not drive.add(number).metric


def test_the_row_of_a_lidar_never_carries_alone() -> None:
    drive = Drive()
    drive.mount()
    for number in range(100):
        points = cloud(number, LIDAR, np.zeros(1)).astype(np.float32)
        drive.tracker.sense(PointSample(drive.stamp(number), points, LIDAR, is_scan=True))
        estimate = drive.add(number)
        assert not estimate.metric
        assert estimate.sigma >= 0.3
    assert estimate.sources == ("scan",)
    assert drive.error() == pytest.approx(0.0, abs=0.03)
    assert "scan" in drive.reason("SCALE_UNKNOWN")


def test_readings_that_are_not_finite_are_none() -> None:
    drive = Drive()
    drive.mount()
    rng = np.random.default_rng(1)
    for number in range(30):
        points = cloud(number, LIDAR, ROWS)
        broken = rng.random(len(points)) < 0.4
        junk = rng.choice([np.inf, -np.inf, np.nan, 0.0], len(points))
        points[broken] = junk[broken, None]
        drive.tracker.sense(PointSample(drive.stamp(number), points.astype(np.float32), LIDAR))
        drive.add(number)
    assert drive.error() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0])
def test_a_sensor_without_a_single_reading_says_nothing(value: float) -> None:
    drive = Drive()
    drive.mount()
    points = np.full((360, 3), value, np.float32)
    drive.tracker.sense(PointSample(drive.stamp(0), points, LIDAR))
    drive.tracker.sense(PointSample(drive.stamp(0), points, LIDAR, is_scan=True))
    sense_depth(drive, 0, np.full((120, 160), value, np.float32))
    assert not np.isfinite(drive.add(0).sigma)


def test_millimetres_that_are_said_to_be_metres_are_told() -> None:
    drive = Drive()
    drive.mount()
    for number in range(40):
        sense_depth(drive, number, np.rint(depth_image(number, 1000.0)))
        assert not drive.add(number).metric
    assert "millimetres" in drive.reason("SENSOR_REFUSED")
    points = 1000 * cloud(40, LIDAR, ROWS).astype(np.float32)
    drive.tracker.sense(PointSample(drive.stamp(40), points, LIDAR))
    assert not np.isfinite(drive.add(40).sigma)


def test_millimetres_of_something_near_are_told_by_their_whole_numbers() -> None:
    drive = Drive()
    sense_depth(drive, 0, np.rint(depth_image(0, 30.0)))  # as of a room of 20 cm
    assert not np.isfinite(drive.add(0).sigma)
    assert "whole numbers" in drive.reason("SENSOR_REFUSED")


def test_ranges_without_extrinsics_say_what_is_missing() -> None:
    drive = Drive()
    points = cloud(0, LIDAR, ROWS).astype(np.float32)
    drive.tracker.sense(PointSample(drive.stamp(0), points, LIDAR))
    assert not np.isfinite(drive.add(0).sigma)
    assert "where camera 'camera' sits" in drive.reason("SENSOR_REFUSED")


def test_a_cloud_of_another_instant_is_moved_by_odometry() -> None:
    drive = Drive()
    drive.mount()
    errors = []
    for number in range(1, 20):
        drive.odometry(number)
        points = cloud(number - 0.2, LIDAR, ROWS).astype(np.float32)
        stamp_ns = drive.stamp(number) - STEP_NS // 5
        drive.tracker.sense(PointSample(stamp_ns, points, LIDAR))
        errors.append(drive.error(drive.add(number).log_depth_scale))
    assert errors[-1] == pytest.approx(0.0, abs=0.01)


def test_depth_of_another_room_is_no_measurement() -> None:
    drive = Drive()
    rng = np.random.default_rng(2)
    for number in range(30):
        noise = np.exp(rng.normal(0, 1.5, (120, 160))).astype(np.float32)
        sense_depth(drive, number, noise)
        drive.add(number)
    assert not np.isfinite(drive.tracker.estimate.sigma)


def test_the_pose_of_the_sensor_is_turned_the_right_way() -> None:
    """The cloud's own maker against the room's: one point, seen by both."""
    points = cloud(4, UPSIDE_DOWN, ROWS)
    T_cam_sensor = inverse(T_BASE_CAM) @ UPSIDE_DOWN
    local = points @ T_cam_sensor[:3, :3].T + T_cam_sensor[:3, 3]
    depth = room_depth(base_pose(4) @ T_BASE_CAM)
    pixel = local @ K.T
    ahead = local[:, 2] > 0.1
    u, v = np.rint(pixel[ahead, :2] / pixel[ahead, 2:]).astype(int).T
    inside = (u >= 0) & (u < SIZE[1]) & (v >= 0) & (v < SIZE[0])
    assert inside.sum() > 200
    ratio = depth[v[inside], u[inside]] / local[ahead][inside, 2]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
