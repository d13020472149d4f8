# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map's poses say: the way, the way back, been here, where; by a walk that is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.recall import answered, is_of_poses, recall
from g2vlm_map.poses import inverse
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from tests.map.placed import NS, Floats, floor_depth, mounted, placed, pose

UNIT = 0.5  # metres
METRIC = ScaleEstimate(True, math.log(UNIT), 0.05, sources=("odometry",))
T_BASE_CAM = mounted()
DEPTH = floor_depth(0.6, 0.0)


def world(places: list[tuple[float, float]], *, scale: ScaleEstimate = METRIC) -> World:
    """Keyframes a second apart whose base stands at places (m), heading along the way."""
    ours, heading, before = [], 0.0, places[0]
    for number, place in enumerate(places, 1):
        if place != before:
            heading = math.atan2(place[1] - before[1], place[0] - before[0])
        T_level_base = pose((0, 0, heading), (*place, 0.0))
        body: Floats = T_level_base @ T_BASE_CAM
        body[:3, 3] /= UNIT
        ours.append(placed(number, body, depth_HW=DEPTH))
        before = place
    return World(
        segment=1, keyframes=tuple(ours), scale=scale, up_source="base", T_base_body=T_BASE_CAM
    )


SQUARE = [(0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)]


def ask(question: str, of: World) -> SpatialAnswer:
    intent = understand(question)
    assert is_of_poses(intent, True), intent
    return answered(intent, recall(intent, of), of)[0]


def test_the_way_since_the_start_and_in_its_last_seconds() -> None:
    whole = ask("How far have you travelled?", world(SQUARE))
    assert whole.value == pytest.approx(11.0)
    assert whole.unit == "m"
    assert whole.sigma is not None
    assert whole.sigma == pytest.approx(11.0 * math.hypot(0.05, 0.05), rel=1e-3)
    late = ask("How far did you drive in the last 2 seconds?", world(SQUARE))
    assert late.value == pytest.approx(7.0)
    minute = ask("How far have we come in the last minute?", world(SQUARE))
    assert minute.value == pytest.approx(11.0)


def test_without_a_scale_lengths_are_map_units() -> None:
    found = ask("How far have you travelled?", world(SQUARE, scale=ScaleEstimate()))
    # Without metres the lever of the camera is left out, so the way is the camera's.
    assert found.unit == "scene_unit"
    assert not found.is_metric
    assert found.value == pytest.approx(11.0 / UNIT, rel=0.1)


def test_the_way_back_says_how_far_and_where_to_turn() -> None:
    of = world(SQUARE)
    intent = understand("How do I get back to the start?")
    answer, recalled = answered(intent, recall(intent, of), of)
    assert answer.value == pytest.approx(3.0)
    # It came along -x and the start lies along -y: to its left.
    assert answer.reply == "3.00 m, 90 degrees to the left"
    np.testing.assert_allclose(answer.points[0], (0.0, 0.0, 0.0), atol=1e-5)
    assert recalled.stamp_ns == 5 * NS
    assert [pose.stamp_ns for pose in recalled.poses] == [1 * NS, 5 * NS]
    np.testing.assert_allclose(recalled.poses[1].T_level_base[:3, 3], (0.0, 3.0, 0.0), atol=1e-9)
    ahead = ask("how far back to where we began?", world([(0.0, 0.0), (1.0, 0.0), (0.9, 0.0)]))
    assert ahead.reply == "0.90 m, straight ahead"


def test_sigma_of_the_way_back_is_that_of_the_pose_along_it() -> None:
    of = world(SQUARE)
    spread = np.zeros((6, 6))
    spread[1, 1] = (0.2 / UNIT) ** 2 / 9.0  # along y, before what edges share
    last = replace(of.keyframes[-1], covariance=spread)
    of = replace(of, keyframes=(*of.keyframes[:-1], last))
    found = ask("How do I get back to the start?", of)
    assert found.sigma == pytest.approx(math.sqrt(0.2**2 + 0.03**2 + (0.05 * 3.0) ** 2), rel=1e-3)


def test_been_here_or_not_or_never_left() -> None:
    loop = [*SQUARE, (0.0, 1.0), (0.1, 0.0)]
    again = ask("Have I been here before?", world(loop))
    assert again.measured_choice == "yes"
    assert "6 s ago" in again.message
    assert ask("Have I been here before?", world(SQUARE)).measured_choice == "no"
    still = ask("Have I been here before?", world([(0.0, 0.0), (0.05, 0.0)]))
    assert still.status is AnswerStatus.UNSUPPORTED
    assert "has not left" in still.message
    apart = world(SQUARE)
    other = placed(9, np.eye(4), segment=2)
    apart = replace(apart, keyframes=(*apart.keyframes, other))
    unknown = ask("Have I been here before?", apart)
    assert unknown.status is AnswerStatus.UNSUPPORTED
    assert "~/localize" in unknown.message


def test_where_i_am_is_the_base_in_the_map() -> None:
    found = ask("Where are you?", world(SQUARE))
    assert found.reply == "x 0.00, y 3.00, z 0.00 m"
    assert "heading 180 degrees" in found.message.replace("-180", "180")


def test_a_level_map_is_what_answers_stand_in() -> None:
    """The same walk in map axes that are turned and shifted."""
    of, T = world(SQUARE), pose((0.3, -0.4, 0.2), (1.0, 2.0, 3.0))
    turned = tuple(replace(one, T_map_body=T @ one.T_map_body) for one in of.keyframes)
    of = replace(of, keyframes=turned, T_level_map=inverse(T))
    assert ask("How do I get back to the start?", of).reply == "3.00 m, 90 degrees to the left"


def test_only_what_poses_know_is_the_maps() -> None:
    for text, asked_of_map, expected in [
        ("How far have you travelled?", False, False),  # over the scene's frames
        ("How far have you travelled?", True, True),
        ("How far have we come since the start?", False, True),
        ("How far did you drive in the last minute?", False, True),
        ("How far did the camera move from frame 1 to frame 2?", True, False),
        ("Where am I?", False, True),
        ("How far is the chair?", True, False),
    ]:
        assert is_of_poses(understand(text), asked_of_map) is expected, text


def test_an_empty_map_says_so() -> None:
    found = ask("Where are you?", World())
    assert found.status is AnswerStatus.UNSUPPORTED
    assert "no keyframe" in found.message
