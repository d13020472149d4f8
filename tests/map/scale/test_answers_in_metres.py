# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers where the scale carries: metres, their sigma, and by whom."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instant_runtime import InstantScene, wall
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scenes import SceneRecord
from g2vlm_model.interface import (
    AnswerStatus,
    CrossCheck,
    Frame,
    FrameWindow,
    PixelMark,
    SpatialAnswer,
    SpatialQuery,
)
from tests.map.test_answers import words_read

METRIC = ScaleEstimate(True, math.log(1.5), 0.1, sources=("odometry", "range"))
UNKNOWN = ScaleEstimate(False, math.log(1.5), 0.3, sources=("scan",))
SCENE_TO_MAP = 2.0


def record() -> SceneRecord:
    picture = np.zeros((20, 30, 3), np.uint8)
    frames = tuple(Frame(picture, 1 + i, "optical", "cam", f"#{i}") for i in (0, 1))
    scene = InstantScene(FrameWindow(frames), wall((0.0, 0.0), 20, 30), {})
    return SceneRecord(scene, 1, SCENE_TO_MAP, 1)


def answered(text: str, scale: ScaleEstimate) -> SpatialAnswer:
    """What a model's words about the distance to a mark come to, given out."""
    made, said = record(), SpatialAnswer(AnswerStatus.OK, text=text)
    query = SpatialQuery("How far away is A?", (PixelMark(1, 14.5, 9.5, "A"),))
    return made.given_out(words_read(said, made.scene, query, made.metric(scale)), scale)


def test_a_length_in_scene_units_becomes_metres() -> None:
    """The words count scene units; 2 map units each, and 1.5 m a map unit."""
    units, metres = answered("4.0", UNKNOWN), answered("4.0", METRIC)
    assert units.value == pytest.approx(8.0)
    assert (units.unit, units.is_metric) == ("scene_unit", False)
    assert metres.value == pytest.approx(12.0)
    assert (metres.unit, metres.is_metric) == ("m", True)
    assert metres.sigma == pytest.approx(1.2)
    assert metres.message == "metres by odometry+range, +- 10%"
    assert units.message == ""
    assert units.measured_value is not None
    assert metres.measured_value == pytest.approx(1.5 * units.measured_value)
    np.testing.assert_allclose(metres.points, 1.5 * units.points, rtol=1e-6)


def test_metres_in_words_are_checked_where_the_scale_carries() -> None:
    measured = answered("4.0", METRIC).measured_value
    assert measured is not None
    right = answered(f"{measured:.2f} meters", METRIC)
    assert right.cross_check is CrossCheck.AGREES
    assert right.is_metric
    assert right.value == pytest.approx(measured, abs=0.01)
    assert answered(f"{3 * measured:.2f} meters", METRIC).cross_check is CrossCheck.DISAGREES
    guess = answered(f"{measured:.2f} meters", UNKNOWN)
    assert guess.value is None
    assert "nothing fixes this scene's scale" in guess.message


def test_the_sigma_of_a_runtimes_own_value_and_that_of_the_scale_add_up() -> None:
    said = SpatialAnswer(AnswerStatus.OK, value=4.0, unit="scene_unit", sigma=0.3)
    out = record().given_out(said, METRIC)
    assert out.value == pytest.approx(12.0)
    assert out.sigma == pytest.approx(math.hypot(0.9, 1.2))


def test_what_is_no_length_stays_as_it_is() -> None:
    said = SpatialAnswer(AnswerStatus.OK, value=3.0, unit="")
    for answer in (said, replace(said, unit="deg")):
        out = record().given_out(answer, METRIC)
        assert (out.value, out.unit, out.is_metric) == (3.0, answer.unit, True)
        assert out.message == ""


def asked(question: str, said: SpatialAnswer, scale: ScaleEstimate) -> SpatialAnswer:
    made = record()
    query = SpatialQuery(question, (PixelMark(1, 14.5, 9.5, "A"), PixelMark(1, 4.5, 9.5, "B")))
    return made.given_out(words_read(said, made.scene, query, made.metric(scale)), scale)


@pytest.mark.parametrize(
    ("question", "text", "status"),
    [
        ("Which is closer, A or B?", "A", AnswerStatus.OK),
        ("How far is A?", "1", AnswerStatus.TRUNCATED),
        ("How far is A?", "12 degrees", AnswerStatus.OK),
        ("How far is A?", "4.0", AnswerStatus.OK),
        ("How far is A?", "4.0 meters", AnswerStatus.OK),
    ],
)
def test_one_flag_says_the_unit_of_the_points_of_every_answer(
    question: str, text: str, status: AnswerStatus
) -> None:
    said = SpatialAnswer(status, text=text)
    units, metres = asked(question, said, UNKNOWN), asked(question, said, METRIC)
    assert (units.is_metric, metres.is_metric) == (False, True)
    assert len(units.points) == 2
    np.testing.assert_allclose(metres.points, 1.5 * units.points, rtol=1e-6)


@pytest.mark.parametrize("said", ["2.5 meters", "9000 meters"])
def test_what_the_model_only_said_is_not_called_measured(said: str) -> None:
    answer = answered(said, METRIC)
    assert (answer.unit, answer.sigma) == ("m", None)
    assert "the model's own words" in answer.message
    assert "odometry" not in answer.message
    own = SpatialAnswer(AnswerStatus.OK, value=4.0, unit="m")
    assert record().given_out(own, METRIC).message == ""
