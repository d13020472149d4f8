# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A map that stretches as it goes has no scale: nothing is called metric in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale_runs import similarity_scale
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe
from g2vlm_map.poses import Floats, rigid, rotation
from g2vlm_map.scale.alignment import path_scale
from g2vlm_map.scale.estimate import ScaleReading
from g2vlm_map.scale.readings import Measured
from g2vlm_map.scale.steadiness import spread_of_lengths, spread_of_stretches, stretches
from tests.map.scale.made import T_BASE_CAM, Drive

PACE = 0.2  # metres between keyframes
KEYFRAMES = 121


def heard(log_scales: list[float], every: int = 4) -> list[ScaleReading]:
    return [
        ScaleReading("odometry", "trajectory", every * number, value, 0.03)
        for number, value in enumerate(log_scales)
    ]


def straight(number: float) -> Floats:
    """T_world_base of a robot that drives ahead through the box and beyond."""
    return rigid(np.eye(3), np.array([PACE * number - 2.0, 0.0, 0.0]))


def drive_in(log_scale_N: Floats, aside_N: Floats | None = None) -> Drive:
    """A map whose local scale is another one at each keyframe, by odometry that is exact.

    Args:
        log_scale_N: Log of metres per map unit of the step that ends there.
        aside_N: Map units by which the place is off to the side.
    """
    drive = Drive()
    drive.mount()
    seen = drive.view(0, straight(0) @ T_BASE_CAM)
    ahead_N = np.cumsum(PACE * np.exp(-log_scale_N))
    for number in range(len(log_scale_N)):
        drive.odometry(number, straight)
        T_map_body = straight(number) @ T_BASE_CAM
        T_map_body[0, 3] = ahead_N[number]
        T_map_body[1, 3] = 0.0 if aside_N is None else aside_N[number]
        view = replace(seen, stamp_ns=drive.stamp(number))
        keyframe = Keyframe(number, view.stamp_ns, f"k{number}", (view,), {})
        drive.history.append(
            (drive.place(PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1)), 0.0)
        )
    return drive


def metric(drive: Drive, start: int = 0) -> int:
    return sum(said.metric for said, _ in drive.history[start:])


@pytest.mark.parametrize("seed", range(2))
def test_a_steady_map_is_metric_although_its_steps_scatter(seed: int) -> None:
    scatter_N = np.random.default_rng(seed).normal(0, 0.10, KEYFRAMES)
    drive = drive_in(0.5 + scatter_N)
    assert metric(drive, 40) > 70
    assert not drive.reason("SCALE_DRIFT")
    estimate = drive.tracker.estimate
    assert abs(estimate.log_scale - 0.5) <= 2 * estimate.sigma


@pytest.mark.parametrize("seed", range(3))
def test_a_map_whose_scale_walks_is_not_metric_and_says_so(seed: int) -> None:
    """A random walk of 0.12 a keyframe: a factor of 3.7 over the drive."""
    walk_N = np.cumsum(np.random.default_rng(seed).normal(0, 0.12, KEYFRAMES))
    drive = drive_in(0.5 + walk_N)
    wrong = [
        number
        for number, (said, _) in enumerate(drive.history)
        if said.metric
        and abs(said.log_scale - 0.5 - walk_N[max(0, number - 19) : number + 1].mean())
        > 2 * said.sigma
    ]
    assert len(wrong) <= 2, wrong
    assert metric(drive, 80) <= 4
    assert "odometry" in drive.reason("SCALE_DRIFT") or "lengths" in drive.reason("SCALE_DRIFT")
    assert "scale.max_sigma" in drive.reason("SCALE_UNKNOWN")


def test_a_map_that_shrinks_at_once_loses_its_metres() -> None:
    drive = drive_in(np.where(np.arange(KEYFRAMES) < 60, 0.5, 1.5))
    assert metric(drive, 40) > 0
    assert metric(drive, 85) == 0
    assert "m a unit" in drive.reason("SCALE_DRIFT")


def test_a_path_that_zigzags_has_another_scale_over_short_lengths() -> None:
    """Each keyframe far off to the side: short lengths are long, long ones are right."""
    aside_N = np.random.default_rng(7).normal(0, 0.6, KEYFRAMES)
    drive = drive_in(np.full(KEYFRAMES, 0.5), aside_N)
    assert metric(drive) == 0
    assert "short and long lengths" in drive.reason("SCALE_DRIFT")


def test_stretches_that_agree_have_no_spread() -> None:
    values = 0.4 + np.random.default_rng(3).normal(0, 0.05, 40)
    assert len(stretches(heard(list(values)))) == 8
    assert spread_of_stretches(stretches(heard(list(values)))) == 0.0
    assert spread_of_stretches([]) == spread_of_stretches([(0.3, 0.01)]) == 0.0


def test_stretches_that_differ_have_the_spread_that_they_have() -> None:
    rng = np.random.default_rng(5)
    level_K = rng.normal(0, 0.5, 60)
    found = stretches(heard(list(np.repeat(level_K, 5))))
    assert spread_of_stretches(found) == pytest.approx(0.5, rel=0.25)


def test_one_stretch_that_slipped_is_forgiven_once_it_has_passed() -> None:
    values = [0.4] * 20 + [1.0] * 5
    assert spread_of_stretches(stretches(heard(values))) == pytest.approx(0.6, abs=0.01)
    assert spread_of_stretches(stretches(heard(values + [0.4] * 10))) == 0.0


def test_a_path_that_comes_back_has_one_scale_over_all_lengths() -> None:
    angle_N = 0.3 * np.arange(80)
    circle_N3 = np.stack((np.cos(angle_N), np.sin(angle_N), 0 * angle_N), axis=1)
    noise_N3 = np.random.default_rng(2).normal(0, 0.01, circle_N3.shape)
    assert spread_of_lengths([(circle_N3 / 2, circle_N3 + noise_N3)], np.log(2)) == 0.0
    assert spread_of_lengths([(circle_N3[:2], circle_N3[:2])], 0.0) == 0.0
    assert spread_of_lengths([], 0.0) == 0.0


def test_a_path_that_stood_still_has_no_scale() -> None:
    nowhere = np.zeros((2, 3))
    chords = [Measured("odometry", n, n + 1, 0.0, 0.02, nowhere) for n in range(5)]
    assert path_scale(chords, frozenset(range(3)), {}) is None


def path_of(
    true_N3: Floats, map_N3: Floats, every: int = 3
) -> tuple[list[Measured], dict[int, PlacedKeyframe]]:
    """Chords over some keyframes each, those on the way between them, and the map."""
    view = Drive().view(0, straight(0) @ T_BASE_CAM)
    placed = {
        number: PlacedKeyframe(
            Keyframe(number, number, f"k{number}", (view,), {}),
            rigid(np.eye(3), place),
            0.0,
            np.zeros((6, 6)),
            1,
        )
        for number, place in enumerate(map_N3)
    }
    chords = []
    for start in range(0, len(true_N3) - every, every):
        ends = true_N3[[start, start + every]]
        between = tuple((n, true_N3[n]) for n in range(start + 1, start + every))
        length = float(np.log(np.linalg.norm(ends[1] - ends[0])))
        chords.append(Measured("odometry", start, start + every, length, 0.02, ends, between))
    return chords, placed


def curve(count: int = 61) -> Floats:
    angle = 0.05 * np.arange(count)
    return np.stack((4 * np.sin(angle), 4 * np.cos(angle), 0 * angle), axis=1)


def believed(chords: list[Measured]) -> frozenset[int]:
    return frozenset(chord.keyframe for chord in chords)


def test_the_sigma_of_a_path_is_what_its_parts_differ_by() -> None:
    true_N3 = curve()
    chords, placed = path_of(true_N3, true_N3 / 2)
    exact = path_scale(chords, believed(chords), placed)
    assert exact is not None
    assert exact.log_scale == pytest.approx(np.log(2))
    assert exact.sigma < 1e-9
    step = np.diff(true_N3, axis=0, prepend=true_N3[:1])
    bent = np.cumsum(step * np.where(np.arange(61) < 30, 0.4, 0.6)[:, None], axis=0)
    chords, placed = path_of(true_N3, bent)
    parts = path_scale(chords, believed(chords), placed)
    assert parts is not None
    assert 0.05 < parts.sigma < 0.4
    few = path_scale(chords[:1], believed(chords[:1]), placed)
    assert few is not None
    assert few.sigma == np.inf


def test_keyframes_between_the_ends_of_chords_are_part_of_the_path() -> None:
    """The map throws them aside: the similarity that lays it on the truth counts them too."""
    true_N3 = curve()
    map_N3 = true_N3 / 2
    aside = np.arange(61) % 3 != 0
    map_N3 = map_N3 + np.where(aside, 1.0, 0.0)[:, None] * np.array([0.3, 0.2, 0.5])
    chords, placed = path_of(true_N3, map_N3)
    found = path_scale(chords, believed(chords), placed)
    assert found is not None
    assert found.log_scale < np.log(2) - 0.01
    # The ends alone know nothing of it.
    assert found.spread == 0.0


def test_steps_that_slip_are_as_long_as_those_around_them() -> None:
    """Of the wheels' steps 15 % have any length up to three times; the map is exact."""
    true_N3 = curve()
    rng = np.random.default_rng(5)
    gross = rng.random(61) < 0.15
    step = np.diff(true_N3, axis=0, prepend=true_N3[:1])
    wheels_N3 = np.cumsum(step * np.where(gross, rng.uniform(0, 3, 61), 1.0)[:, None], axis=0)
    chords, placed = path_of(wheels_N3, true_N3 / 2)
    found = path_scale(chords, believed(chords), placed)
    assert found is not None
    assert found.log_scale == pytest.approx(np.log(2), abs=0.02)
    assert found.apart > 0.03  # by which all steps as they were would have moved it


@pytest.mark.parametrize("seed", range(3))
def test_slips_that_the_map_followed_show_beside_the_pictures(seed: int) -> None:
    """A map that took the wheels in is bent as they are and agrees with them; pictures do not."""
    true_N3 = curve()
    rng = np.random.default_rng(seed)
    step = np.diff(true_N3, axis=0, prepend=true_N3[:1])
    way = np.where(rng.random(61) < 0.15, rng.uniform(1.5, 3, 61), 1.0)
    wheels_N3 = np.cumsum(step * way[:, None], axis=0)
    unit = np.exp(np.linspace(-0.4, 0.1, 61) + rng.normal(0, 0.05, 61))  # wanders, scatters
    seen = np.log(np.maximum(np.linalg.norm(step, axis=1), 1e-9) * unit)
    true_scale = float(np.log(similarity_scale(wheels_N3 / 2, true_N3)))
    chords, placed = path_of(wheels_N3, wheels_N3 / 2)
    alone = path_scale(chords, believed(chords), placed)
    assert alone is not None
    assert alone.log_scale - true_scale > 0.1  # and nothing of it shows:
    assert alone.apart < 1e-12
    assert alone.unlike == 0.0
    shown = [replace(item, seen=tuple(seen[item.start + 1 : item.keyframe + 1])) for item in chords]
    found = path_scale(shown, believed(shown), placed)
    assert found is not None
    assert found.log_scale == pytest.approx(true_scale, abs=0.05)
    assert found.apart > 0.1
    assert 0.1 < found.unlike < 0.6


def test_a_step_over_a_keyframe_that_was_culled_is_held_against_nothing() -> None:
    """What was seen of its second half says nothing of the whole."""
    true_N3 = curve()
    step = np.linalg.norm(np.diff(true_N3, axis=0, prepend=true_N3[:1]), axis=1)
    seen = np.log(np.maximum(step, 1e-9))
    chords, placed = path_of(true_N3, true_N3 / 2)
    chords = [
        replace(item, seen=tuple(seen[item.start + 1 : item.keyframe + 1])) for item in chords
    ]
    left = {number: item for number, item in placed.items() if number % 3 != 1}
    found = path_scale(chords, believed(chords), left)
    assert found is not None
    assert found.apart < 1e-12
    assert found.unlike == 0.0


def test_a_stretch_that_slips_is_held_against_what_the_gate_let_pass() -> None:
    true_N3 = curve()
    step = np.diff(true_N3, axis=0, prepend=true_N3[:1])
    slips = (np.arange(61) > 20) & (np.arange(61) <= 45)
    wheels_N3 = np.cumsum(step * np.where(slips, 1.8, 1.0)[:, None], axis=0)
    chords, placed = path_of(wheels_N3, true_N3 / 2)
    kept = frozenset(item.keyframe for item in chords if not slips[item.keyframe])
    found = path_scale(chords, kept, placed)
    assert found is not None
    assert found.log_scale == pytest.approx(np.log(2), abs=0.02)
    assert found.apart > 0.1
    everything = path_scale(chords, believed(chords), placed)
    assert everything is not None
    assert everything.log_scale > np.log(2) + 0.1


def test_a_part_of_the_map_that_is_unlike_the_rest_counts() -> None:
    """The map bends by a fifth, and nobody slipped: its scale is that of the whole of it."""
    true_N3 = curve()
    step = np.diff(true_N3, axis=0, prepend=true_N3[:1])
    map_N3 = np.cumsum(step * np.where(np.arange(61) < 30, 0.5, 0.6)[:, None], axis=0)
    chords, placed = path_of(true_N3, map_N3)
    found = path_scale(chords, believed(chords[:9]), placed)
    assert found is not None
    assert found.log_scale == pytest.approx(np.log(similarity_scale(map_N3, true_N3)), abs=1e-6)
    assert found.apart < 1e-9


def test_what_lies_between_the_pieces_was_not_measured() -> None:
    true_N3 = curve()
    chords, placed = path_of(true_N3, true_N3 / 2)
    whole = path_scale(chords, believed(chords), placed)
    gap = [item for item in chords if not 15 <= item.start < 45]
    broken = path_scale(gap, believed(gap), placed)
    assert whole is not None
    assert broken is not None
    assert whole.uncovered < 1e-9
    assert broken.uncovered > 0.08
    assert (whole.reach, broken.reach) == (60, 15)
    late = path_scale(gap[5:], believed(gap), placed, since=gap[5].start)
    assert late is not None
    assert late.uncovered < 1e-9


def test_a_length_that_goes_on_is_part_of_the_path_and_no_reading() -> None:
    """A robot that turns on the spot makes no length for long, and its map may bend there."""
    drive = Drive()
    drive.mount()
    seen = drive.view(0, straight(0) @ T_BASE_CAM)

    def pose(number: float) -> Floats:
        return straight(number) if number < 30 else rigid(
            rotation(np.array([0.0, 0.0, 0.05 * (number - 30)])), straight(30)[:3, 3]
        )  # fmt: skip

    for number in range(45):
        drive.odometry(number, pose)
        T_map_body = pose(number) @ T_BASE_CAM
        T_map_body[:3, 3] += rigid(np.eye(3), np.array([0, 0.05 * max(0, number - 30), 0]))[:3, 3]
        keyframe = Keyframe(number, drive.stamp(number), f"k{number}", (seen,), {})
        drive.place(PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1))
    tracker = drive.tracker
    assert tracker._open["odometry"].keyframe == 44
    assert max(item.keyframe for item, _ in tracker._measured["odometry"]) <= 34
    map_N3 = np.array([item.T_map_body[:3, 3] for item in tracker._placed.values()])
    true_N3 = np.array([(pose(number) @ T_BASE_CAM)[:3, 3] for number in range(45)])
    path = tracker._paths["odometry"][1]
    assert path is not None
    assert path.uncovered < 1e-9
    assert path.log_scale == pytest.approx(np.log(similarity_scale(map_N3, true_N3)), abs=0.01)
