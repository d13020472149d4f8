# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Scores against cases that are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from g2vlm_replay.depth_metrics import depth_error, mean_depth_map, resample_truth, score_depths
from g2vlm_replay.pose_metrics import PoseSegment, rotation_angle_deg, score_poses

from g2vlm_map.recordings import TruePoses

MS = 1_000_000


def rotation_z(angle_deg: float) -> np.ndarray:
    a = np.radians(angle_deg)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])


def curve(count: int) -> np.ndarray:
    """Camera poses on a curved path that turns 10 degrees a step."""
    T_M44 = np.tile(np.eye(4), (count, 1, 1))
    for i in range(count):
        T_M44[i, :3, :3] = rotation_z(10.0 * i)
        T_M44[i, :3, 3] = [0.1 * i, 0.02 * i * i, 0.01 * (-1) ** i]
    return T_M44


def stamps(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * 100 * MS


def true_poses(T_M44: np.ndarray, tolerance_ns: int = 10 * MS) -> TruePoses:
    return TruePoses(stamps(len(T_M44)), T_M44, "by hand", tolerance_ns)


def test_depth_error_by_hand() -> None:
    truth = np.full((10, 10), 2.0, np.float32)
    predicted = np.full((10, 10), 1.0, np.float32)
    predicted[0, :4] = 2.0  # 4 of 100 pixels twice as far as the rest
    error = depth_error(predicted, truth)
    assert error is not None
    assert error.scale == pytest.approx(2.0)  # median 2 over median 1
    assert error.abs_rel == pytest.approx(0.04)  # 4 pixels with |4 - 2| / 2 = 1
    assert error.delta_125 == pytest.approx(0.96)
    assert error.pixels == 100
    assert error.coverage == 1.0


def test_depth_error_counts_only_what_both_read() -> None:
    truth = np.full((10, 10), 3.0, np.float32)
    predicted = np.full((10, 10), 3.0, np.float32)
    truth[0] = 0.0
    predicted[1, :5] = np.nan
    predicted[2, 0] = -1.0
    predicted[3, 0] = np.inf
    error = depth_error(predicted, truth)
    assert error is not None
    assert error.pixels == 100 - 10 - 5 - 2
    assert error.abs_rel == 0.0
    assert error.coverage == pytest.approx(83 / 90)  # of what the truth reads


def test_depth_error_needs_fifty_pixels_and_one_size() -> None:
    truth = np.zeros((10, 10), np.float32)
    truth.flat[:49] = 1.0
    assert depth_error(np.ones((10, 10), np.float32), truth) is None
    with pytest.raises(ValueError, match="differ"):
        depth_error(np.ones((5, 10), np.float32), truth)


def test_mean_picture_is_geometric_and_skips_holes() -> None:
    a = np.array([[1.0, 2.0, 0.0]], np.float32)
    b = np.array([[4.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(mean_depth_map([a, b]), [[2.0, 2.0, 0.0]], rtol=1e-6)


def test_baselines_see_the_pixels_of_the_prediction() -> None:
    truth = np.ones((10, 20), np.float32)
    truth[:, 10:] = 3.0
    predicted = truth.copy()
    predicted[:, 10:] = 0.0  # the prediction only speaks of the left half, where truth is flat
    report = score_depths([(0, predicted, truth)])
    assert report is not None
    assert report.constant.abs_rel == 0.0
    both = score_depths([(0, truth, truth)])
    assert both is not None
    # median of half 1 and half 3 is 2: errors |2-1|/1 and |2-3|/3
    assert both.constant.abs_rel == pytest.approx((1.0 + 1.0 / 3.0) / 2)
    assert both.mean_picture.abs_rel == pytest.approx(0.0, abs=1e-6)
    assert both.scale_at(0) == pytest.approx(1.0)
    assert both.scale_at(5) is None


def test_no_comparable_frame_is_no_score() -> None:
    assert score_depths([(0, np.zeros((9, 9), np.float32), np.ones((9, 9), np.float32))]) is None


def test_resample_reads_the_nearest_pixel() -> None:
    truth = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(resample_truth(truth, (2, 2)), [[5, 7], [13, 15]])
    np.testing.assert_array_equal(resample_truth(truth, (4, 4)), truth)


@pytest.mark.parametrize("angle_deg", [0.0, 1e-5, 30.0, 179.99, 180.0])
def test_rotation_angle(angle_deg: float) -> None:
    assert rotation_angle_deg(rotation_z(angle_deg)) == pytest.approx(angle_deg, abs=1e-6)


def test_a_similar_trajectory_has_no_error() -> None:
    truth = curve(12)
    estimate = truth.copy()
    estimate[:, :3, 3] *= 0.25  # up to scale
    other_axes = np.eye(4)
    other_axes[:3, :3] = rotation_z(70.0)
    other_axes[:3, 3] = [5, -3, 1]
    segment = PoseSegment(0, tuple(stamps(12)), other_axes @ estimate)
    report = score_poses([segment], true_poses(truth, 10 * MS))
    assert report is not None
    assert report.predicted.ate_m == pytest.approx(0.0, abs=1e-9)
    assert report.predicted.rpe_trans_m == pytest.approx(0.0, abs=1e-9)
    assert report.predicted.rpe_rot_deg == pytest.approx(0.0, abs=1e-5)
    assert report.predicted.direction_30 == 1.0
    assert report.segments[0].scale == pytest.approx(4.0)


def test_identity_baseline_by_hand() -> None:
    truth = np.tile(np.eye(4), (3, 1, 1))
    truth[:, 0, 3] = [0.0, 0.3, 0.6]
    truth[1, :3, :3], truth[2, :3, :3] = rotation_z(5), rotation_z(10)
    segment = PoseSegment(0, tuple(stamps(3)), np.tile(np.eye(4), (3, 1, 1)))
    report = score_poses([segment], true_poses(truth, 10 * MS))
    assert report is not None
    identity = report.identity
    assert identity.ate_m == pytest.approx(np.sqrt((0.3**2 + 0 + 0.3**2) / 3))
    assert identity.rpe_trans_m == pytest.approx(0.3)
    assert identity.rpe_rot_deg == pytest.approx(5.0)
    assert identity.rot_median_deg == pytest.approx(5.0)
    assert identity.direction_30 == 0.0
    assert report.line_ate_m == pytest.approx(0.0, abs=1e-12)  # the true path is a straight line
    assert report.constant_direction_30 == 1.0  # it always moves along x of its first camera
    assert report.predicted == identity  # an estimate that does not move is the identity


def test_line_baseline_by_hand() -> None:
    truth = np.tile(np.eye(4), (3, 1, 1))
    truth[:, 1, 3] = [0.0, 0.3, 0.0]  # a peak: the best line is flat at 0.1
    segment = PoseSegment(0, tuple(stamps(3)), truth)
    report = score_poses([segment], true_poses(truth, 10 * MS))
    assert report is not None
    assert report.line_ate_m == pytest.approx(np.sqrt((0.1**2 + 0.2**2 + 0.1**2) / 3))


def test_constant_direction_by_hand() -> None:
    truth = np.tile(np.eye(4), (3, 1, 1))
    truth[1, :3, 3], truth[2, :3, 3] = [1, 0, 0], [1, 0, 1]
    # Pairs move along x, along x + z and along z: only x + z is near the mean direction.
    report = score_poses([PoseSegment(0, tuple(stamps(3)), truth)], true_poses(truth, MS))
    assert report is not None
    assert report.constant_direction_30 == pytest.approx(1 / 3)
    still = np.tile(np.eye(4), (3, 1, 1))
    report = score_poses([PoseSegment(0, tuple(stamps(3)), truth)], true_poses(still, MS))
    assert report is not None
    assert np.isnan(report.constant_direction_30)


def test_a_still_estimate_keeps_its_rotations() -> None:
    truth = curve(5)
    turning = truth.copy()
    turning[:, :3, 3] = 0.0
    report = score_poses([PoseSegment(0, tuple(stamps(5)), turning)], true_poses(truth, 10 * MS))
    assert report is not None
    assert report.predicted.rpe_rot_deg == pytest.approx(0.0, abs=1e-5)
    assert report.identity.rpe_rot_deg == pytest.approx(10.0)
    assert report.segments[0].scale == 0.0


def test_segments_are_aligned_apart_and_pooled() -> None:
    truth = curve(8)
    first = PoseSegment(0, tuple(stamps(8)[:4]), truth[:4] * 1.0)
    moved = truth[4:].copy()
    moved[:, :3, 3] = moved[:, :3, 3] * 7.0 + 100.0
    second = PoseSegment(1, tuple(stamps(8)[4:]), moved)
    short = PoseSegment(2, tuple(stamps(8)[:2]), truth[:2])
    late = PoseSegment(3, (10**15, 10**15 + 1, 10**15 + 2), truth[:3])
    report = score_poses([first, second, short, late], true_poses(truth, 10 * MS))
    assert report is not None
    assert report.poses == 8
    assert report.segments_too_short == 2
    assert report.poses_without_truth == 3
    assert report.predicted.ate_m == pytest.approx(0.0, abs=1e-9)
    assert score_poses([short, late], true_poses(truth, 10 * MS)) is None
