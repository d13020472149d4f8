# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tracker: what is said, who contradicts whom, maps that move, maps that are loaded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.poses import Floats
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.options import ScaleOptions
from tests.map.scale.made import METRES_PER_UNIT, Drive, base_pose
from tests.map.scale.test_ranges import depth_image, sense_depth


def too_long(factor: float) -> object:
    def pose(number: float) -> Floats:
        T = base_pose(number)
        T[:3, 3] *= factor
        return T

    return pose


def both(factor: float, until: int = 60) -> Drive:
    """Depth images that are right, and an odometry that is off by a factor."""
    drive = Drive()
    drive.mount()
    for number in range(until):
        sense_depth(drive, number, depth_image(number))
        drive.drive(number, too_long(factor))  # type: ignore[arg-type]
    return drive


def test_two_sources_that_agree_are_metric_before_one_alone_would_be() -> None:
    drive = both(1.0)
    first = next(number for number, (said, _) in enumerate(drive.history) if said.metric)
    assert first < 20
    estimate = drive.tracker.estimate
    assert estimate.sources == ("odometry", "range")
    assert drive.error() == pytest.approx(0.0, abs=0.01)
    assert drive.error(estimate.log_trajectory_scale) == pytest.approx(0.0, abs=0.01)
    assert drive.error(estimate.log_depth_scale) == pytest.approx(0.0, abs=0.01)
    assert not drive.reason("SCALE_CONFLICT")


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_two_sources_that_contradict_each_other_make_nothing_metric(factor: float) -> None:
    drive = both(factor)
    assert not drive.tracker.estimate.metric
    conflict = drive.reason("SCALE_CONFLICT")
    assert "odometry says" in conflict
    assert "range says 1.6" in conflict
    assert float(conflict.split("a factor of ")[1]) == pytest.approx(2.0, abs=0.08)
    assert "contradict" in drive.reason("SCALE_UNKNOWN")
    assert not any(said.metric for said, _ in drive.history[5:])


def test_a_contradiction_that_comes_later_takes_the_metres_away() -> None:
    drive = Drive()
    drive.mount()
    drive.drive(60)
    assert drive.tracker.estimate.metric
    for number in range(61, 110):
        sense_depth(drive, number, depth_image(number, 2.0))
        drive.drive(number)
    assert "a factor of 2.0" in drive.reason("SCALE_CONFLICT")
    assert not drive.changes[-1].now.metric
    assert drive.changes[-1].before.metric


def test_trajectory_and_depth_apart_raise_an_alarm_and_are_given_out_apart() -> None:
    apart, together = both(1.4), both(1.0)
    assert "a factor of 1.3" in apart.reason("SCALE_CONFLICT")
    assert not together.reason("SCALE_CONFLICT")
    assert apart.tracker.estimate.metric
    assert apart.tracker.estimate.log_scale == pytest.approx(
        apart.tracker.estimate.log_trajectory_scale, abs=0.01
    )
    difference = (
        apart.tracker.estimate.log_trajectory_scale - apart.tracker.estimate.log_depth_scale
    )
    assert difference == pytest.approx(math.log(1.4), abs=0.04)


def test_a_map_whose_past_moves_is_read_anew() -> None:
    drive = Drive()
    drive.mount()
    drive.drive(40)
    before = drive.tracker.estimate
    shrunk = []
    for placed in drive.placed.values():
        T_map_body = placed.T_map_body.copy()
        T_map_body[:3, 3] *= 0.8
        shrunk.append(replace(placed, T_map_body=T_map_body, log_depth_scale=math.log(0.8)))
    now = drive.tracker.poses_changed(shrunk, "a loop closed")
    assert now.metric
    assert now.metres_per_unit == pytest.approx(METRES_PER_UNIT / 0.8, rel=0.005)
    assert now.version == before.version + 1
    assert drive.changes[-1].text.startswith("a loop closed: 2 m a unit")
    assert "1.6 before" in drive.changes[-1].text


def test_depth_readings_follow_the_depth_scales_of_their_keyframes() -> None:
    drive = Drive()
    for number in range(40):
        sense_depth(drive, number, depth_image(number))
        drive.add(number)
    doubled = [replace(item, log_depth_scale=math.log(2.0)) for item in drive.placed.values()]
    now = drive.tracker.poses_changed(doubled, "solved")
    assert math.exp(now.log_depth_scale) == pytest.approx(METRES_PER_UNIT / 2, rel=0.01)


def test_readings_of_keyframes_that_were_culled_stay() -> None:
    drive = Drive()
    drive.mount()
    drive.drive(60)
    before = drive.tracker.estimate
    left = [item for number, item in drive.placed.items() if number > 50]
    now = drive.tracker.poses_changed(left, "culled")
    assert now.metric
    assert now.log_scale == before.log_scale
    assert before.sigma <= now.sigma <= 2 * before.sigma  # there is less path to measure


def test_a_new_segment_has_no_scale() -> None:
    drive = Drive()
    drive.mount()
    drive.drive(40)
    version = drive.tracker.estimate.version
    drive.tracker.reset("segment 2")
    estimate = drive.tracker.estimate
    assert not estimate.metric
    assert estimate.version == version + 1
    assert drive.changes[-1].text.startswith("segment 2: the unit")
    assert drive.board.holds("SCALE_UNKNOWN")
    drive.drive(80)
    assert drive.tracker.estimate.metric


def test_the_version_stays_while_the_estimate_hardly_moves() -> None:
    rng = np.random.default_rng(3)
    drive = Drive()
    drive.mount()
    place = np.zeros(3)

    def noisy(number: float) -> Floats:
        T = base_pose(number)
        T[:3, 3] += place
        return T

    for number in range(200):
        place = place + rng.normal(0, 0.004, 3)
        drive.drive(number, noisy)
    assert drive.tracker.estimate.metric
    assert drive.tracker.estimate.version <= 6
    assert abs(drive.error()) < 2 * drive.tracker.estimate.sigma


def test_a_fixed_scale_carries_at_once_and_in_every_segment() -> None:
    drive = Drive(fixed=METRES_PER_UNIT)
    for number in range(2):
        assert drive.add(number).metric
        assert drive.error() == pytest.approx(0.0, abs=1e-9)
        assert drive.tracker.estimate.sources == ("fixed",)
        assert 0.05 <= drive.tracker.estimate.sigma < 0.1
        drive.tracker.reset("next")
        assert not drive.tracker.estimate.metric


def test_a_fixed_scale_that_a_sensor_contradicts_is_no_longer_metric() -> None:
    drive = Drive(fixed=2 * METRES_PER_UNIT)
    drive.mount()
    drive.drive(60)
    assert not drive.tracker.estimate.metric
    assert "fixed says" in drive.reason("SCALE_CONFLICT")


def test_a_length_that_a_person_gives_carries() -> None:
    drive = Drive()
    drive.add(0)
    estimate = drive.tracker.set_length(units=2.0, metres=2.0 * METRES_PER_UNIT)
    assert estimate.metric
    assert drive.error() == pytest.approx(0.0, abs=1e-9)
    assert estimate.sources == ("length",)
    assert "a length of 3.2 m was given" in drive.changes[-1].text
    again = drive.tracker.set_length(units=1.0, metres=2.0)
    assert again.metres_per_unit == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("units", "metres", "sigma", "said"),
    [
        (0.0, 1.0, 0.05, "mark two places"),
        (1.0, -1.0, 0.05, "expected both above 0"),
        (math.nan, 1.0, 0.05, "nan map units"),
        (1.0, 1.0, 0.0, "sigma of the length is 0"),
    ],
)
def test_a_length_that_is_none_is_refused(
    units: float, metres: float, sigma: float, said: str
) -> None:
    drive = Drive()
    drive.add(0)
    with pytest.raises(ValueError, match=said):
        drive.tracker.set_length(units, metres, sigma)
    with pytest.raises(ValueError, match="no keyframe yet"):
        Drive().tracker.set_length(1.0, 1.0)


def test_the_scale_of_a_loaded_map_goes_on_and_is_held_against_the_sensors() -> None:
    saved = ScaleEstimate(
        metric=True, log_scale=math.log(METRES_PER_UNIT), sigma=0.06, sources=("odometry",)
    )
    drive = Drive()
    drive.mount()
    restored = drive.tracker.restore(saved)
    assert restored.metric
    assert restored.sources == ("map",)
    assert drive.drive(40).sources == ("odometry", "map")
    assert drive.error() == pytest.approx(0.0, abs=0.01)
    assert not drive.tracker.restore(ScaleEstimate()).metric


def in_segment(drive: Drive, number: int, segment: int) -> ScaleEstimate:
    drive.add(number)
    placed = replace(drive.placed[number], segment=segment)
    return drive.place(placed)


def told(drive: Drive, length: float = 3.2) -> Drive:
    """A drive in segment 1 whose scale a person has said."""
    in_segment(drive, 0, 1)
    assert drive.tracker.set_length(units=2.0, metres=length).metric
    return drive


def test_what_a_person_said_of_a_segment_counts_again_where_it_is_met_again() -> None:
    """One blurred keyframe between: by its edges, or straight back into the segment."""
    for joins in (True, False):
        drive = Drive()
        for number in (0, 1):
            drive.add(number)
        told(drive)
        assert not drive.tracker.reset("broken").metric
        placed = {n: replace(p, segment=1) for n, p in drive.placed.items()}
        if joins:
            blurred = replace(drive.placed[1], segment=2)
            assert not drive.tracker.add_keyframe(blurred, {**placed, 1: blurred}).metric
            said = drive.tracker.poses_changed(placed.values(), "met again")
        else:
            said = drive.tracker.add_keyframe(placed[1], placed)
        assert said.metric
        assert said.sources == ("length",)
        assert said.metres_per_unit == pytest.approx(1.6)


def test_what_was_said_follows_a_segment_into_the_unit_of_another() -> None:
    drive = told(Drive())
    drive.tracker.joined(1, 7, math.log(2.0))  # one of its units is two of the other's
    placed = [replace(one, segment=7) for one in drive.placed.values()]
    now = drive.tracker.poses_changed(placed, "found in the map")
    assert now.metric
    assert now.metres_per_unit == pytest.approx(0.8)
    left = told(Drive())
    left.tracker.reset("broken")
    left.tracker.joined(1, 2, math.log(2.0))  # while nothing is known of the present one
    assert in_segment(left, 1, 2).metres_per_unit == pytest.approx(0.8)


def test_what_was_said_last_counts_where_two_segments_become_one() -> None:
    drive = told(Drive())
    drive.tracker.reset("broken")
    in_segment(drive, 1, 2)
    assert drive.tracker.set_length(units=1.0, metres=3.0).metric
    drive.tracker.joined(2, 1, 0.0)
    placed = [replace(one, segment=1) for one in drive.placed.values()]
    assert drive.tracker.poses_changed(placed, "merged").metres_per_unit == pytest.approx(3.0)


def test_a_map_that_goes_takes_what_was_said_of_it_along() -> None:
    drive = told(Drive())
    drive.tracker.reset("reset", forget=True)
    assert not in_segment(drive, 1, 1).metric


def test_start_forgets_everything_but_the_extrinsics() -> None:
    drive = Drive()
    drive.mount()
    drive.drive(40)
    drive.tracker.start()
    assert drive.tracker.estimate == ScaleEstimate()
    assert drive.board.holds("SCALE_UNKNOWN")
    assert drive.tracker.samples.T_base_cam("camera") is not None


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lose_sigma is 0.1, expected at least scale.max_sigma"):
        ScaleOptions(lose_sigma=0.1)
    with pytest.raises(ValueError, match=r"names \['gps'\]"):
        ScaleOptions(sources=("gps",))
