# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Odometry as a source of the scale, good and bad."""

from __future__ import annotations

import numpy as np
import pytest

from g2vlm_map.poses import Floats, rigid
from g2vlm_map.sensing import OdometrySample
from tests.map.scale.made import METRES_PER_UNIT, PARTS, Drive, Pose, base_pose


def mounted() -> Drive:
    drive = Drive()
    drive.mount()
    return drive


def nothing_wrong_was_metric(drive: Drive) -> bool:
    """Whether every estimate that was called metric had the truth inside two sigma."""
    return all(not said.metric or abs(error) < 2 * said.sigma for said, error in drive.history)


def test_the_true_scale_becomes_metric_once_readings_lie_far_apart() -> None:
    drive = mounted()
    drive.drive(40)
    first = next(number for number, (said, _) in enumerate(drive.history) if said.metric)
    assert first == 24  # chords end at 3, 6, ..: the first that is beyond 3 + 20
    estimate = drive.tracker.estimate
    assert estimate.metres_per_unit == pytest.approx(METRES_PER_UNIT, rel=0.005)
    assert estimate.sources == ("odometry",)
    assert 0.02 < estimate.sigma < 0.1
    assert not drive.board.holds("SCALE_UNKNOWN")
    (change,) = drive.changes
    assert change.now.metric
    assert not change.before.metric
    assert "1.6 m a unit" in change.text


def test_before_that_nothing_is_metric_and_the_status_says_why() -> None:
    drive = mounted()
    drive.drive(20)
    assert not any(said.metric for said, _ in drive.history)
    assert "odometry" in drive.reason("SCALE_UNKNOWN")
    assert not drive.changes


def test_odometry_that_arrives_late_is_used_when_it_is_there() -> None:
    drive = mounted()
    drive.drive(20, pose=None)
    assert drive.tracker.estimate.sources == ()
    assert drive.drive(40).metric
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def test_odometry_that_stops_leaves_the_scale_as_it_is() -> None:
    drive = mounted()
    drive.drive(40)
    assert drive.drive(70, pose=None).metric
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def leaping(far: float, every: float) -> Pose:
    """An odometry that leaps sideways again and again."""

    def pose(number: float) -> Floats:
        T = base_pose(number)
        T[1, 3] += far * (number // every)
        return T

    return pose


@pytest.mark.parametrize("far", [0.8, 500.0])
def test_odometry_that_leaps_gives_no_length_across_a_leap(far: float) -> None:
    drive = mounted()
    drive.drive(60, leaping(far, 5.7))
    assert "leaps" in drive.reason("SENSOR_REFUSED")
    assert nothing_wrong_was_metric(drive)
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def test_a_reset_is_no_length() -> None:
    drive = mounted()

    def reset(number: float) -> Floats:
        T = base_pose(number)
        if number > 33.5:
            T[:3, 3] -= base_pose(33.5)[:3, 3]
        return T

    drive.drive(60, reset)
    assert "leaps" in drive.reason("SENSOR_REFUSED")
    assert nothing_wrong_was_metric(drive)
    assert drive.tracker.estimate.metric
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def test_stamps_that_go_back_begin_odometry_anew() -> None:
    drive = mounted()
    drive.drive(40)
    drive.tracker.sense(OdometrySample(drive.stamp(10), base_pose(3)))
    drive.drive(41)
    assert "went back" in drive.reason("SENSOR_REFUSED")
    drive.drive(60)
    assert nothing_wrong_was_metric(drive)
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def test_a_frozen_value_is_told_and_says_nothing() -> None:
    drive = mounted()
    drive.drive(40, lambda number: base_pose(3))
    assert "repeats its last value" in drive.reason("SENSOR_REFUSED")
    assert not any(said.metric for said, _ in drive.history)
    assert not np.isfinite(drive.tracker.estimate.sigma)


def test_a_value_that_freezes_later_leaves_the_scale_as_it_is() -> None:
    drive = mounted()
    drive.drive(80, lambda number: base_pose(min(number, 40.0)))
    assert "repeats its last value" in drive.reason("SENSOR_REFUSED")
    assert drive.tracker.estimate.metric
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def slipping(first: float, last: float, factor: float) -> Pose:
    """Wheels that slip between two keyframes: each way in there counts `factor` times."""
    parts = np.arange(200 * PARTS + 1) / PARTS
    places = np.array([base_pose(part)[:3, 3] for part in parts])
    steps = np.diff(places, axis=0, prepend=places[:1])
    steps[(parts > first) & (parts <= last)] *= factor
    slipped = np.cumsum(steps, axis=0) + places[0]

    def pose(number: float) -> Floats:
        return rigid(base_pose(number)[:3, :3], slipped[round(number * PARTS)])

    return pose


def test_wheels_that_slip_for_a_while_do_not_change_the_scale() -> None:
    drive = mounted()
    drive.drive(90, slipping(40, 52, 1.8))
    assert nothing_wrong_was_metric(drive)
    assert drive.tracker.estimate.metric
    assert drive.error() == pytest.approx(0.0, abs=0.03)


def test_wheels_that_slip_for_long_take_the_metres_away_and_say_so() -> None:
    drive = mounted()
    drive.drive(60, slipping(40, 60, 1.8))
    assert "odometry" in drive.reason("SCALE_DRIFT")
    assert not drive.tracker.estimate.metric
    assert not drive.changes[-1].now.metric
    assert drive.drive(110, slipping(40, 60, 1.8)).metric
    assert nothing_wrong_was_metric(drive)
    assert not drive.reason("SCALE_DRIFT")
    assert drive.error() == pytest.approx(0.0, abs=0.03)


def test_a_start_with_slipping_wheels_cannot_lock_the_truth_out() -> None:
    drive = mounted()
    drive.drive(120, slipping(0, 18, 1.8))
    assert nothing_wrong_was_metric(drive)
    assert drive.tracker.estimate.metric
    assert drive.error() == pytest.approx(0.0, abs=0.05)


def test_odometry_that_is_not_finite_is_left_out() -> None:
    drive = mounted()
    drive.drive(30)
    drive.tracker.sense(OdometrySample(drive.stamp(30) + 1, np.full((4, 4), np.nan)))
    drive.drive(40)
    assert "not finite" in drive.reason("SENSOR_REFUSED")
    assert drive.error() == pytest.approx(0.0, abs=0.01)


def test_without_extrinsics_turns_make_a_length_less_sure() -> None:
    drives = [mounted(), Drive()]
    for drive in drives:
        drive.drive(40)
        assert abs(drive.error()) < 2 * drive.tracker.estimate.sigma
    assert drives[1].tracker.estimate.sigma > drives[0].tracker.estimate.sigma
