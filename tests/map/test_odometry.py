# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The continuous odometry: sums of steps, no jump at a loop, no rescaling of the past."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from g2vlm_map.mapping.keyframe import Edge, PlacedKeyframe
from g2vlm_map.odometry import ContinuousOdometry, OdometryFeed
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from tests.map.placed import NS, mounted, placed, pose

METRIC = ScaleEstimate(metric=True, log_scale=math.log(2.0), sigma=0.03)
T_BASE_CAM = mounted(tilt=0.2)


def camera_pose(step: int, units: float = 2.0) -> np.ndarray:
    """T_map_body of a base that drives an arc, in map units."""
    T_base = pose((0, 0, 0.05 * step), (0.2 * step, 0.01 * step**2, 0))
    T = np.linalg.inv(T_BASE_CAM) @ T_base @ T_BASE_CAM
    T[:3, 3] /= units
    return np.asarray(T)


def world(keyframes: list[PlacedKeyframe], **changes: Any) -> World:
    base = World(segment=1, keyframes=tuple(keyframes), scale=METRIC, T_base_body=T_BASE_CAM.copy())
    return dataclasses.replace(base, **changes)


def test_it_follows_the_base_in_metres() -> None:
    odometry = ContinuousOdometry(scaled=True)
    keyframes: list[PlacedKeyframe] = []
    for step in range(8):
        keyframes.append(placed(step + 1, camera_pose(step)))
        found = odometry.step(world(keyframes))
        assert found is not None
    assert found is not None
    expected = pose((0, 0, 0.35), (1.4, 0.49, 0))
    np.testing.assert_allclose(found.T_odom_base, expected, atol=1e-9)
    assert found.stamp_ns == 8 * NS
    np.testing.assert_allclose(found.twist_6[3:], [0, 0, 0.05], atol=1e-9)
    assert np.linalg.norm(found.twist_6[:3]) == pytest.approx(0.25, abs=0.03)
    assert odometry.step(world(keyframes)) is None, "no new keyframe"


def test_a_loop_and_another_scale_move_nothing_that_was() -> None:
    odometry = ContinuousOdometry(scaled=True)
    keyframes = [placed(step + 1, camera_pose(step)) for step in range(6)]
    for count in range(1, 7):
        odometry.step(world(keyframes[:count]))
    assert odometry.pose is not None
    before = odometry.pose.T_odom_base
    # A loop turns and shifts the newer half of the map; then the scale doubles.
    moved = pose((0, 0.2, 0), (0.3, 0, 0.4))
    corrected = [
        dataclasses.replace(item, T_map_body=moved @ item.T_map_body) for item in keyframes[3:]
    ]
    after = [*keyframes[:3], *corrected]
    assert odometry.step(world(after, version=1)) is None
    after.append(placed(7, moved @ camera_pose(6)))
    doubled = dataclasses.replace(METRIC, log_scale=math.log(4.0))
    found = odometry.step(world(after, version=2, scale=doubled))
    assert found is not None
    step = np.linalg.inv(before) @ found.T_odom_base
    camera_step = np.linalg.inv(camera_pose(5)) @ camera_pose(6)
    camera_step[:3, 3] *= 4.0  # this step alone is in the metres of now
    np.testing.assert_allclose(
        step, T_BASE_CAM @ camera_step @ np.linalg.inv(T_BASE_CAM), atol=1e-9
    )
    assert np.linalg.norm(step[:3, 3]) < 1.0


def test_it_starts_when_the_scale_carries_and_waits_through_a_loss() -> None:
    odometry = ContinuousOdometry(scaled=True)
    unknown = ScaleEstimate()
    keyframes = [placed(1, camera_pose(0))]
    assert odometry.step(world(keyframes, scale=unknown)) is None
    keyframes.append(placed(2, camera_pose(1)))
    first = odometry.step(world(keyframes))
    assert first is not None
    np.testing.assert_allclose(first.T_odom_base, np.eye(4))
    keyframes.append(placed(3, camera_pose(2)))
    lost = odometry.step(world(keyframes, scale=unknown))
    assert lost is not None
    assert lost.is_gap
    assert lost.covariance_66[0, 0] >= 1.0, "a second that nobody saw"


def test_between_segments_another_odometry_bridges() -> None:
    T_bridge = pose((0, 0, 0.1), (0.5, 0, 0))
    asked = []

    def bridge(start: int, end: int) -> np.ndarray | None:
        asked.append((start, end))
        return T_bridge

    for known in (True, False):
        odometry = ContinuousOdometry(True, bridge if known else lambda start, end: None)
        odometry.step(world([placed(1, camera_pose(0))]))
        found = odometry.step(world([placed(2, np.eye(4), segment=2)], segment=2))
        assert found is not None
        assert found.is_gap
        np.testing.assert_allclose(found.T_odom_base, T_bridge if known else np.eye(4))
        assert (found.covariance_66[0, 0] < 0.01) == known
    assert asked == [(NS, 2 * NS)]


def test_without_a_scale_it_is_the_camera_in_map_units() -> None:
    odometry = ContinuousOdometry(scaled=False)
    keyframes = [placed(step + 1, camera_pose(step)) for step in range(4)]
    for count in range(1, 5):
        found = odometry.step(world(keyframes[:count], scale=ScaleEstimate()))
    assert found is not None
    assert not found.is_gap
    way = camera_pose(3)[:3, 3]
    np.testing.assert_allclose(found.T_odom_base[:3, 3], T_BASE_CAM[:3, :3] @ way, atol=1e-9)


def test_mean_nees_of_drawn_runs_is_six() -> None:
    """120 runs whose steps and scale are wrong by what the edges and the estimate say."""
    rng = np.random.default_rng(5)
    steps, sigma_turn, sigma_direction, sigma_length = 15, 0.01, 0.05, 0.04
    true = [camera_pose(step) for step in range(steps)]
    truth = pose((0, 0, 0.05 * (steps - 1)), (0.2 * (steps - 1), 0.01 * (steps - 1) ** 2, 0))
    edges = tuple(
        Edge(n, n + 1, "visual", np.eye(4), sigma_turn, sigma_direction, sigma_length)
        for n in range(1, steps)
    )
    nees = []
    for _ in range(120):
        estimate = dataclasses.replace(METRIC, log_scale=math.log(2.0) + rng.normal(0, 0.03))
        T, keyframes = true[0], [placed(1, true[0])]
        odometry = ContinuousOdometry(scaled=True)
        odometry.step(world(keyframes, scale=estimate, edges=edges))
        for number in range(1, steps):
            T = T @ _disturbed(np.linalg.inv(true[number - 1]) @ true[number], rng)
            keyframes.append(placed(number + 1, T))
            found = odometry.step(world(keyframes, scale=estimate, edges=edges))
        assert found is not None
        turn = Rotation.from_matrix(found.T_odom_base[:3, :3] @ truth[:3, :3].T).as_rotvec()
        error = np.concatenate([found.T_odom_base[:3, 3] - truth[:3, 3], turn])
        nees.append(error @ np.linalg.solve(found.covariance_66, error))
    assert 4.8 < float(np.mean(nees)) < 7.2, np.mean(nees)


def _disturbed(T_step: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A step with errors of its rotation, of the direction and of the length of its way."""
    t = T_step[:3, 3]
    length = float(np.linalg.norm(t))
    across = np.cross(t / length, rng.normal(0, 0.05, 3))
    T: np.ndarray = T_step.copy()
    turn = rng.normal(0, math.hypot(0.01, 0.0125), 3)  # of the edge, and of what edges share
    T[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ T[:3, :3]
    T[:3, 3] = t * math.exp(rng.normal(0, 0.04)) + length * across
    return T


def test_a_moment_that_is_no_keyframe_is_told_and_forgotten() -> None:
    odometry = ContinuousOdometry(scaled=True)
    keyframes = [placed(1, camera_pose(0)), placed(2, camera_pose(1))]
    odometry.step(world(keyframes[:1]))
    at = odometry.step(world(keyframes))
    head = placed(0, camera_pose(1), stamp_ns=2 * NS + NS // 2)
    still = odometry.step(world(keyframes), head)
    assert at is not None
    assert still is not None
    assert still.stamp_ns == 2 * NS + NS // 2
    np.testing.assert_allclose(still.T_odom_base, at.T_odom_base, atol=1e-12)
    np.testing.assert_allclose(still.twist_6, 0.0, atol=1e-12)
    keyframes.append(placed(3, camera_pose(2)))
    told = odometry.step(world(keyframes))
    direct = ContinuousOdometry(scaled=True)
    for count in (1, 2, 3):
        expected = direct.step(world(keyframes[:count]))
    assert told is not None
    assert expected is not None
    np.testing.assert_allclose(told.T_odom_base, expected.T_odom_base, atol=1e-12)
    np.testing.assert_allclose(told.covariance_66, expected.covariance_66, atol=1e-12)


def test_a_reset_of_the_wheels_is_told_as_standing_still() -> None:
    feed = OdometryFeed(0.02)
    for step in range(10):
        sample, cause = feed.take(NS + step * NS // 10, pose(shift=(0.1 * step, 0, 0)))
        assert cause == ""
    assert sample is not None
    assert sample.sigma_share == 0.02
    for step in range(3):  # the counter starts again at a place far away
        stamp_ns = 2 * NS + step * NS // 10
        sample, cause = feed.take(stamp_ns, pose((0, 0, 1), (-50 + 0.1 * step, 0, 0)))
        assert cause == ("leap" if step == 0 else "")
    assert sample is not None
    np.testing.assert_allclose(
        sample.T_odom_base,
        pose(shift=(0.9 + 0.2 * np.cos(1), -0.2 * np.sin(1), 0)),
        atol=1e-12,
    )
    raw = feed.at(2 * NS + NS // 10)
    assert raw is not None
    assert raw[0, 3] == pytest.approx(-49.9), "in the odometry's own frame"
    assert feed.at(NS + NS // 2) is None
    assert feed.motion(2 * NS, 2 * NS + NS // 5) is not None
    assert feed.take(2 * NS, pose()) == (None, "order")
    assert feed.refused == {"order": 1, "value": 0, "loop": 0, "leap": 1}
