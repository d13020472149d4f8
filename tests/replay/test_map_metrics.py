# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The final map against ground truth, on cases whose numbers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from g2vlm_replay.map_metrics import (
    FinalMap,
    LoopClosure,
    MapSegment,
    ScaleSample,
    nees,
    published_nees,
    score_map,
)
from g2vlm_replay.pose_metrics import PoseSegment
from scipy.spatial.transform import Rotation

from g2vlm_map.recordings import TruePoses

MS = 1_000_000
UNIT_M = 1.25  # metres in one map unit


def arc(count: int) -> np.ndarray:
    """Poses along a quarter of a circle of 2 m that always look ahead."""
    T_M44 = np.tile(np.eye(4), (count, 1, 1))
    angle = np.linspace(0, np.pi / 2, count)
    T_M44[:, :3, :3] = Rotation.from_euler("y", angle[:, None]).as_matrix()
    T_M44[:, 0, 3], T_M44[:, 2, 3] = 2 * (1 - np.cos(angle)), 2 * np.sin(angle)
    return T_M44


def stamps(count: int) -> tuple[int, ...]:
    return tuple(100 * MS * (index + 1) for index in range(count))


def truth_of(T_M44: np.ndarray) -> TruePoses:
    return TruePoses(np.array(stamps(len(T_M44))), T_M44, "by hand", 10 * MS)


def in_map_units(T_M44: np.ndarray) -> np.ndarray:
    poses: np.ndarray = np.linalg.inv(T_M44[0]) @ T_M44
    poses[:, :3, 3] /= UNIT_M
    return poses


def said(metres: float, sigma: float, *, metric: bool = True) -> ScaleSample:
    return ScaleSample(0, 1, metric, metres, sigma)


def test_a_perfect_map_has_no_error() -> None:
    true = arc(20)
    poses = PoseSegment(1, stamps(20), in_map_units(true))
    closed = np.linalg.inv(poses.T_seg_cam_M44[2]) @ poses.T_seg_cam_M44[18]
    loop = LoopClosure(stamps(20)[2], stamps(20)[18], closed, 1)
    final = FinalMap((MapSegment(poses),), (loop,), said(UNIT_M, 0.05))
    report = score_map(final, [said(UNIT_M, 0.05)], truth_of(true))
    assert report.poses is not None
    assert report.poses.predicted.ate_m == pytest.approx(0, abs=1e-9)
    assert report.ate_se3_m == pytest.approx(0, abs=1e-9)
    assert report.scale.error == pytest.approx(0, abs=1e-9)
    assert report.scale.inside == 1.0
    assert report.scale.true_by_segment == {1: pytest.approx(UNIT_M)}
    assert report.loops_wrong == 0


def test_a_wrong_scale_shows_in_metres_and_not_behind_a_similarity() -> None:
    true = arc(20)
    poses = PoseSegment(1, stamps(20), in_map_units(true))
    final = FinalMap((MapSegment(poses),), (), said(UNIT_M * 1.1, 0.02))
    samples = [said(UNIT_M * 1.1, 0.02), said(UNIT_M * 1.03, 0.02), said(9.0, 0.02, metric=False)]
    report = score_map(final, samples, truth_of(true))
    assert report.poses is not None
    assert report.poses.predicted.ate_m == pytest.approx(0, abs=1e-9)
    # Laid upon each other at their centres, each point is off by a tenth of its distance there.
    centred = true[:, :3, 3] - true[:, :3, 3].mean(0)
    expected = 0.1 * np.sqrt((centred**2).sum(1).mean())
    assert report.ate_se3_m == pytest.approx(expected, rel=1e-6)
    assert report.scale.error == pytest.approx(0.1)
    assert (report.scale.inside, report.scale.samples) == (0.5, 2)


def test_without_metres_nothing_is_said_in_metres() -> None:
    true = arc(6)
    poses = PoseSegment(1, stamps(6), in_map_units(true))
    report = score_map(FinalMap((MapSegment(poses),)), [], truth_of(true))
    assert math.isnan(report.ate_se3_m)
    assert math.isnan(report.scale.error)
    assert math.isnan(report.scale.inside)
    assert math.isnan(report.nees)
    assert report.loops_wrong is None


def test_loops_that_are_off_are_counted() -> None:
    true = arc(20)
    poses = PoseSegment(1, stamps(20), in_map_units(true))

    def loop(i: int, j: int, turn_deg: float, shift_m: float) -> LoopClosure:
        T = np.linalg.inv(poses.T_seg_cam_M44[i]) @ poses.T_seg_cam_M44[j]
        T[:3, :3] = T[:3, :3] @ Rotation.from_euler("z", turn_deg, degrees=True).as_matrix()
        T[0, 3] += shift_m / UNIT_M
        return LoopClosure(stamps(20)[i], stamps(20)[j], T, 1)

    unseen = LoopClosure(10**15, 2 * 10**15, np.eye(4), 1)
    loops = (loop(0, 19, 9.5, 0.0), loop(0, 18, 10.5, 0.0), loop(1, 17, 0.0, 0.45), unseen)
    report = score_map(FinalMap((MapSegment(poses),), loops), [], truth_of(true))
    assert report.loops_wrong == 1
    wrong = (*loops, loop(2, 17, 0.0, 0.55))
    assert score_map(FinalMap((MapSegment(poses),), wrong), [], truth_of(true)).loops_wrong == 2
    only = FinalMap((MapSegment(poses),), (unseen,))
    assert score_map(only, [], truth_of(true)).loops_wrong is None


@pytest.mark.parametrize(("claimed", "low", "high"), [(1.0, 5.0, 7.0), (0.5, 20.0, 28.0)])
def test_the_error_squared_tells_whether_a_covariance_is_honest(
    claimed: float, low: float, high: float
) -> None:
    rng = np.random.default_rng(3)
    true = arc(400)
    sigma = np.array([0.04, 0.06, 0.05, 0.02, 0.01, 0.03])  # map units and rad
    poses = in_map_units(true)
    noise = rng.normal(size=(400, 6)) * sigma
    noise[0] = 0.0
    poses[:, :3, 3] += noise[:, :3]
    poses[:, :3, :3] = Rotation.from_rotvec(noise[:, 3:]).as_matrix() @ poses[:, :3, :3]
    covariance = np.tile(np.diag((claimed * sigma) ** 2), (400, 1, 1))
    segment = PoseSegment(1, stamps(400), poses)
    errors = nees(segment, covariance, true, UNIT_M)
    assert errors.shape == (399,)
    assert low < errors.mean() < high


@pytest.mark.parametrize("in_metres", [False, True])
def test_poses_as_published_are_held_against_the_first_of_their_unit(in_metres: bool) -> None:
    """The first one is as uncertain as the others; metres that are none count as an error."""
    true = arc(300)
    sigma = np.array([0.02, 0.02, 0.02, 0.01, 0.01, 0.01])
    unit = 1.0 if in_metres else UNIT_M
    covariances: dict[int, np.ndarray] = {}
    means = []
    for seed in range(6):  # each with another first pose
        poses = true.copy() if in_metres else in_map_units(true)
        noise = np.random.default_rng(seed).normal(size=(300, 6)) * sigma
        poses[:, :3, 3] += noise[:, :3]
        poses[:, :3, :3] = Rotation.from_rotvec(noise[:, 3:]).as_matrix() @ poses[:, :3, :3]
        segment = PoseSegment(1, stamps(300), poses, in_metres)
        covariances = dict.fromkeys(stamps(300), np.diag(sigma**2))
        means.append(published_nees([segment], covariances, truth_of(true)))
    assert 2.0 < float(np.mean(means)) < 20.0, means
    wrong = PoseSegment(1, stamps(300), true * 1.0, in_metres)
    wrong.T_seg_cam_M44[:, :3, 3] *= 1.3 / unit
    off = published_nees([wrong], covariances, truth_of(true))
    assert (off > 100) is in_metres
    assert math.isnan(published_nees([segment], {}, truth_of(true)))


def test_each_segment_has_a_unit_of_its_own() -> None:
    """A scale is one of a segment: of another it says nothing, and loops are held to their own."""
    true, stamp = arc(40), stamps(40)
    first = PoseSegment(1, stamp[:20], in_map_units(true[:20]))
    second = PoseSegment(2, stamp[20:], in_map_units(true[20:]))
    second.T_seg_cam_M44[:, :3, 3] *= 2.0  # its unit is half as long
    closed = np.linalg.inv(second.T_seg_cam_M44[1]) @ second.T_seg_cam_M44[18]
    loop = LoopClosure(stamp[21], stamp[38], closed, 2)
    last = ScaleSample(0, 2, True, UNIT_M / 2, 0.02)
    final = FinalMap((MapSegment(first), MapSegment(second)), (loop,), last)
    assert final.unit == "map units"
    np.testing.assert_array_equal(final.path()[1].T_seg_cam_M44, second.T_seg_cam_M44)
    report = score_map(final, [], truth_of(true))
    assert [segment.number for segment in report.metric] == [2]
    assert report.ate_se3_m == pytest.approx(0, abs=1e-9)
    assert report.loops_wrong == 0
    known = score_map(final, [said(UNIT_M * 1.1, 0.02)], truth_of(true))
    assert [segment.number for segment in known.metric] == [1, 2]
    assert known.ate_se3_m > 0.01
    lost = FinalMap(final.segments, (), ScaleSample(0, 2, False, 1.0, math.inf))
    taken_back = score_map(lost, [said(UNIT_M, 0.02), last], truth_of(true))
    assert [segment.number for segment in taken_back.metric] == [1]
    alone = FinalMap((MapSegment(second),), (), last)
    assert alone.unit == "m"
    np.testing.assert_allclose(alone.path()[0].T_seg_cam_M44[:, :3, 3][-1], in_metres_end(true))


def in_metres_end(true: np.ndarray) -> np.ndarray:
    moved: np.ndarray = (np.linalg.inv(true[20]) @ true[-1])[:3, 3]
    return moved
