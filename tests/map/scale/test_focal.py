# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A focal length that is wrong, by turns that odometry measures."""

from __future__ import annotations

import numpy as np
import pytest

from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.poses import Floats, inverse, rigid, rotation, rotation_vector
from g2vlm_map.scale.focal import FocalCheck
from g2vlm_map.sensing import OdometrySample
from tests.map.scale.made import T_BASE_CAM, Drive, base_pose


def seen_turns(number: int, factor: float, rng: np.random.Generator) -> list[Edge]:
    """Edges to the last three keyframes, as a K whose focal length is `factor` times it sees."""
    edges = []
    for before in range(max(0, number - 3), number):
        T = inverse(base_pose(before) @ T_BASE_CAM) @ base_pose(number) @ T_BASE_CAM
        turn = rotation_vector(T[:3, :3]) * (1 / factor, 1 / factor, 1.0)
        R: Floats = rotation(turn + rng.normal(0, 0.01, 3))
        edges.append(Edge(before, number, "visual", rigid(R, T[:3, 3]), 0.01, 0.1, 0.1))
    return edges


def driven(factor: float, keyframes: int, seed: int = 1) -> Drive:
    drive, rng = Drive(), np.random.default_rng(seed)
    drive.mount()
    for number in range(keyframes):
        drive.odometry(number)
        drive.add(number, edges=seen_turns(number, factor, rng))
    return drive


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_focal_length_that_is_wrong_by_a_tenth_is_told(factor: float) -> None:
    drive = driven(factor, 100)
    told = drive.reason("CALIBRATION_DOUBTFUL")
    assert f"about {factor:.1f}" in told
    assert "turns" in told


def test_a_right_one_is_not_doubted() -> None:
    for seed in range(5):
        assert not driven(1.0, 60, seed).reason("CALIBRATION_DOUBTFUL")


def test_a_few_pairs_say_nothing() -> None:
    assert not driven(1.3, 8).reason("CALIBRATION_DOUBTFUL")


def test_without_odometry_or_turns_nothing_is_said() -> None:
    drive = Drive()
    drive.mount()
    rng = np.random.default_rng(1)
    for number in range(60):
        drive.add(number, edges=seen_turns(number, 1.3, rng))
    assert not drive.reason("CALIBRATION_DOUBTFUL")
    check = FocalCheck()
    still = [Edge(0, 1, "visual", np.eye(4), 0.01, 0.1, 0.1)]
    drive.tracker.sense(OdometrySample(drive.stamp(0), np.eye(4)))
    drive.tracker.sense(OdometrySample(drive.stamp(1), np.eye(4)))
    check.add(still, drive.placed, drive.tracker.samples)
    assert check.gain == (1.0, np.inf)


def test_odometry_that_comes_late_is_waited_for() -> None:
    drive, rng = Drive(), np.random.default_rng(1)
    drive.mount()
    for number in range(40):
        if number > 4:
            drive.odometry(number - 4)
        drive.add(number, edges=seen_turns(number, 1.2, rng))
    assert drive.reason("CALIBRATION_DOUBTFUL")


def test_another_k_is_judged_by_its_own_turns() -> None:
    drive, rng = driven(1.3, 100), np.random.default_rng(2)
    assert drive.reason("CALIBRATION_DOUBTFUL")
    drive.tracker.recalibrated()
    assert not drive.reason("CALIBRATION_DOUBTFUL")
    for number in range(100, 160):
        drive.odometry(number)
        drive.add(number, edges=seen_turns(number, 1.0, rng))
        assert not drive.reason("CALIBRATION_DOUBTFUL"), number
