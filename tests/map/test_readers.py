# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every measurable kind against geometry that is known exactly; sigmas; which reading answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from g2vlm_map.answers.deciding import decided, in_words
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.measure import Scale
from g2vlm_map.answers.readers import read_geometry
from g2vlm_map.answers.reading import Reading, sighting_of
from g2vlm_map.answers.surroundings import Surroundings
from g2vlm_model.interface import (
    AnswerSource,
    AnswerStatus,
    FrameWindow,
    GeometryPrediction,
    PixelMark,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from tests.map.test_measure import F, make_scene, poses, yaw

UP = np.array([0.0, -1.0, 0.0])
MARKS = (
    PixelMark(0, 14, 10, "A"),  # the middle column: straight ahead, 2 away
    PixelMark(0, 24, 10, "B"),  # right, 4 deep
    PixelMark(0, 4, 10, "C"),  # left, 2 deep
    PixelMark(1, 14, 4, "D"),  # in the second frame, above
)


def scene() -> tuple[GeometryPrediction, FrameWindow]:
    """A wall at 2 whose right third is at 4; the second camera is 0.4 ahead, turned by 20."""
    depth = np.full((2, 21, 29), 2.0)
    depth[:, :, 20:] = 4.0
    transforms = poses(2)
    transforms[1, :3, :3] = yaw(20)
    transforms[1, :3, 3] = [0.1, 0.0, 0.4]
    return make_scene(depth, transforms, (21, 29))


def read(question: str, marks: tuple[PixelMark, ...] = MARKS, up: Any = UP) -> Reading:
    geometry, window = scene()
    sighting = sighting_of(geometry, window, marks, Surroundings(up_3=up))
    intent = understand(question, [mark.label for mark in marks])
    return read_geometry(intent, question, sighting)


RIGHT = 10 / F * 4.0  # how far right B is


@pytest.mark.parametrize(
    ("question", "value", "unit"),
    [
        ("What is the depth of B?", 4.0, "scene_unit"),
        ("How far is B?", math.hypot(4.0, RIGHT), "scene_unit"),
        ("How far apart are A and C?", 1.0, "scene_unit"),
        ("How much free space is there between A and C?", 1.0, "scene_unit"),
        ("How much deeper is B than A?", 2.0, "scene_unit"),
        ("How many times farther is B than A?", math.hypot(4.0, RIGHT) / 2.0, ""),
        ("What is the angle between A and B?", math.degrees(math.atan2(RIGHT, 4.0)), "deg"),
        ("How many degrees off the optical axis is C?", math.degrees(math.atan2(1.0, 2.0)), "deg"),
        ("The depth of A is 1.0 m. What is the depth of B?", 2.0, "m"),
        ("How much higher is D than A?", 0.6, "scene_unit"),
        ("By how many degrees did the camera turn?", 20.0, "deg"),
        ("How far did the camera move?", math.hypot(0.1, 0.4), "scene_unit"),
    ],
)
def test_numbers(question: str, value: float, unit: str) -> None:
    found = read(question)
    assert not found.lack
    assert found.value == pytest.approx(value, rel=1e-3)
    assert found.unit == unit
    assert found.sigma is not None
    assert 0 < found.sigma < 0.5 * value + 2.0


@pytest.mark.parametrize(
    ("question", "choice"),
    [
        ("Which is nearer to the camera, A or B?", "A"),
        ("Which is farthest: A, B or C?", "B"),
        ("Which is nearer to C, A or B?", "A"),
        ("Is B farther away than A?", "yes"),
        ("Is A to the left of B?", "yes"),
        ("Is A to the left of C?", "no"),
        ("Is B left or right of C?", "right"),
        ("Is A in front of or behind B?", "in front"),
        ("Is D above or below A?", "above"),
        ("Which is higher, A or D?", "D"),
        ("Is A between B and C?", "yes"),
        ("Is C between A and B?", "no"),
        ("Where is B from C?", "right behind"),
        ("Where is B from C? A. left in front B. right behind", "B"),
        ("Where is C, left or right?", "left"),
        ("You stand at A and face B. Where is C?", "left behind"),
        ("Did the camera turn left or right?", "right"),
        ("Did the camera turn?", "yes"),
        ("Which way did the camera move?", "forward"),
    ],
)
def test_choices(question: str, choice: str) -> None:
    found = read(question)
    assert found.choice == choice
    assert found.lead > 0


@pytest.mark.parametrize(
    ("question", "helps"),
    [
        ("How tall is A?", "mark its top and its bottom"),
        ("How far is the chair?", "mark the chair"),
        ("How big is the room?", "mark two"),
        ("Can I drive forward?", "frames.base"),
        ("What colour is A?", "does not know"),
        ("How far did the camera move from frame 1 to frame 5?", "frames 1 to 2"),
        ("From the robot's point of view, is A left of B?", "give frames.base"),
    ],
)
def test_what_is_not_measured_says_what_would_help(question: str, helps: str) -> None:
    assert helps in read(question).lack
    assert read(question).value is None


def test_heights_need_to_know_up() -> None:
    assert "the floor is not known" in read("How much higher is D than A?", up=None).lack


def test_doubt_and_edges_widen_the_sigma() -> None:
    geometry, window = scene()
    sure = sighting_of(geometry, window, MARKS[:1]).sigma_M[0]
    doubtful = replace(geometry, confidence=geometry.confidence * 0.2)
    assert sighting_of(doubtful, window, MARKS[:1]).sigma_M[0] > 2 * sure
    edge = (PixelMark(0, 19.6, 10, "E"),)
    assert sighting_of(geometry, window, edge).sigma_M[0] > 2 * sure


def test_the_sigma_is_that_of_points_displaced_along_their_lines_of_sight() -> None:
    geometry, window = scene()
    sighting = sighting_of(geometry, window, MARKS)
    question = "How far apart are A and B?"
    found = read_geometry(understand(question, "ABCD"), question, sighting)
    rng = np.random.default_rng(0)
    draws = rng.normal(0.0, 0.2 * sighting.sigma_M[:2], (4000, 2))
    gaps = [np.linalg.norm(sighting.moved(0, a) - sighting.moved(1, b)) for a, b in draws]
    assert found.sigma is not None
    assert found.sigma == pytest.approx(5 * np.std(gaps), rel=0.05)


class Encoded:
    def __init__(self) -> None:
        self.geometry, self.window = scene()


def answer(question: str, text: str, scale: Scale | None = None, **said: Any) -> SpatialAnswer:
    labels = [mark.label for mark in MARKS]
    query = SpatialQuery(question, MARKS)
    given = SpatialAnswer(AnswerStatus.OK, text=text, **{"confidence": 0.9, **said})
    return in_words(
        decided(
            given, cast(Scene, Encoded()), query, understand(question, labels), scale,
            min_confidence=0.3,
        )
    )  # fmt: skip


def test_the_measured_length_is_the_answer_beside_the_words() -> None:
    found = answer("How far is A?", "1.1 m", Scale(0.5, 0.02))
    assert (found.status, found.source) == (AnswerStatus.OK, AnswerSource.GEOMETRY)
    assert found.value == pytest.approx(1.0)
    assert (found.unit, found.is_metric) == ("m", True)
    assert found.text_value == pytest.approx(1.1)
    assert found.measured_value == found.value
    assert found.sigma is not None
    assert found.sigma > 0.02
    assert (found.text, found.reply, found.kind) == ("1.1 m", "1.00 m", "distance")


def test_without_a_scale_a_length_is_in_map_units_and_the_message_says_why() -> None:
    found = answer("How far is A?", "1.1 m")
    assert found.value == pytest.approx(2.0)
    assert (found.unit, found.is_metric) == ("scene_unit", False)
    assert (found.reply, found.text_value) == ("2.00 map units", None)
    assert "nothing fixes this scene's scale" in found.message


def test_words_answer_what_is_not_measured() -> None:
    found = answer("What colour is A?", "red")
    assert (found.status, found.source, found.reply) == (AnswerStatus.OK, AnswerSource.TEXT, "red")
    assert found.measured_value is None


def test_words_of_little_probability_are_no_answer() -> None:
    found = answer("What colour is the sofa?", "red", confidence=0.2)
    assert found.status is AnswerStatus.ABSTAINED
    assert "mark the sofa" in found.message
    assert (found.source, found.reply, found.text) == (AnswerSource.NONE, "", "red")


def test_words_of_another_kind_give_way_to_what_is_measured() -> None:
    found = answer("How far is A?", "door")
    assert (found.status, found.source) == (AnswerStatus.OK, AnswerSource.GEOMETRY)
    found = answer("Is A to the left of B?", "3")
    assert (found.source, found.reply) == (AnswerSource.GEOMETRY, "yes")


def test_a_clear_choice_of_the_geometry_stands_against_the_words() -> None:
    clear = answer("Which is nearer to the camera, A or B?", "B")
    assert (clear.source, clear.reply, clear.measured_choice) == (AnswerSource.GEOMETRY, "A", "A")
    agreed = answer("Which is nearer to the camera, A or B?", "A")
    assert (agreed.source, agreed.reply) == (AnswerSource.TEXT, "A")


def test_who_contradicts_an_unsure_geometry_is_not_an_answer() -> None:
    made = Encoded()
    made.geometry = replace(made.geometry, confidence=made.geometry.confidence * 0.1)
    question = "Which is nearer to the camera, A or B?"
    query = SpatialQuery(question, MARKS)
    said = SpatialAnswer(AnswerStatus.OK, text="B", confidence=0.9)
    found = decided(said, cast(Scene, made), query, understand(question, "ABCD"))
    assert found.status is AnswerStatus.ABSTAINED
    assert "contradict each other; move 20 cm sideways" in found.message
    assert found.value is None


def test_what_nobody_knows_is_unsupported() -> None:
    found = answer("How tall is A?", "bin")
    assert found.status is AnswerStatus.UNSUPPORTED
    assert "'bin'" in found.message
    assert "mark its top and its bottom" in found.message


def test_a_runtimes_own_value_stays() -> None:
    found = answer("How far is A?", "9", value=9.0, unit="scene_unit")
    assert (found.value, found.source) == (9.0, AnswerSource.TEXT)
