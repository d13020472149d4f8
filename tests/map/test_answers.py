# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words to numbers, labels and sides; answers against geometry that is known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from g2vlm_map.answers.crosscheck import (
    AnswerReading,
    Reconstruction,
    Scale,
    read_answer,
    with_reading,
)
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.measure import MarkedPoints, points_at
from g2vlm_map.answers.quantity import (
    QuantityKind,
    chosen_label,
    labels_in,
    parse_quantity,
    side_in,
)
from g2vlm_map.answers.readers import read_geometry
from g2vlm_map.answers.reading import Sighting, sighting_of
from g2vlm_model.interface import (
    AnswerStatus,
    CrossCheck,
    Frame,
    FrameWindow,
    GeometryPrediction,
    PixelMark,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from tests.map.test_measure import make_scene, poses, yaw

AGREES, DISAGREES, UNCHECKED = CrossCheck.AGREES, CrossCheck.DISAGREES, CrossCheck.NOT_CHECKABLE


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("1.2 meters", 1.2, QuantityKind.METRIC_LENGTH),
        ("about 1,250 mm.", 1.25, QuantityKind.METRIC_LENGTH),
        ("2,5 m", 2.5, QuantityKind.METRIC_LENGTH),
        ("It is 35cm away", 0.35, QuantityKind.METRIC_LENGTH),
        ("5 feet", 1.524, QuantityKind.METRIC_LENGTH),
        ("0.31 units", 0.31, QuantityKind.SCENE_LENGTH),
        ("12° to the left", 12.0, QuantityKind.ANGLE),
        ("-30 degrees", -30.0, QuantityKind.ANGLE),
        ("B is 3 times farther", 3.0, QuantityKind.RATIO),
        ("40%", 0.4, QuantityKind.RATIO),
        ("two chairs", 2.0, QuantityKind.NUMBER),
        ("2 in the room", 2.0, QuantityKind.NUMBER),
        ("frame 2 is 1.5 m away", 1.5, QuantityKind.METRIC_LENGTH),
        ("1,234,567", 1234567.0, QuantityKind.NUMBER),
        ("1.4e3 m", 1400.0, QuantityKind.METRIC_LENGTH),
        ("2E-1m", 0.2, QuantityKind.METRIC_LENGTH),
    ],
)
def test_numbers_and_units(text: str, value: float, kind: QuantityKind) -> None:
    quantity = parse_quantity(text)
    assert quantity is not None
    assert quantity.value == pytest.approx(value)
    assert quantity.kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "A1 is near B2",
        "someone",
        "the tent",
        "1.9.1.9.9",
        "1.9.1.9 m",
        "192.168.0.1",
        "1e400 m",
    ],
)
def test_texts_without_a_number(text: str) -> None:
    assert parse_quantity(text) is None


def test_labels_are_whole_words_in_their_case() -> None:
    assert labels_in("Is B closer than a chair or A?", ["A", "B"]) == ["B", "A"]
    assert labels_in("ABBA", ["A", "B"]) == []
    assert chosen_label("B.", ["A", "B"]) == "B"
    assert chosen_label("B, because A is behind", ["A", "B"]) == "B"
    assert chosen_label("Both A and B", ["A", "B"]) is None
    assert chosen_label("neither", ["A", "B"]) is None


def test_sides() -> None:
    assert side_in("To the left.") == "left"
    assert side_in("clockwise") == "right"
    assert side_in("counter-clockwise") == "left"
    assert side_in("left or right") is None
    assert side_in("It moved forward.") == "forward"
    assert side_in("up") is None


def two_marks() -> tuple[GeometryPrediction, MarkedPoints]:
    """A is left of B and nearer: ranges 2 and 4 up to the small angle, one camera."""
    depth = np.full((2, 9, 21), 2.0)
    depth[0, :, 11:] = 4.0
    transforms = poses(2)
    transforms[1, :3, :3] = yaw(20)
    transforms[1, :3, 3] = [0.1, 0.0, 0.4]
    geometry, window = make_scene(depth, transforms, (9, 21))
    marks = [PixelMark(0, 9, 4, "A"), PixelMark(0, 11, 4, "B")]
    return geometry, points_at(geometry, window, marks)


def read(
    question: str,
    text: str,
    geometry: GeometryPrediction,
    marked: MarkedPoints,
    scale: Scale | None = None,
) -> AnswerReading:
    """An answer's words against a geometry whose points are 5 % sure."""
    sigma_M = np.full(len(marked.labels), 0.05)
    sighting = Sighting(marked, sigma_M, geometry.T_world_cam.astype(np.float64), typical_depth=2.0)
    intent = understand(question, marked.labels)
    measured = read_geometry(intent, question, sighting)
    return read_answer(intent, text, marked.labels, measured, scale)


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("Which is closer to the camera, A or B?", "A", "B"),
        ("Which is nearest: A, B?", "A.", "B."),
        ("Which is farther from the camera, A or B?", "B", "A"),
        ("Is A to the left or right of B?", "left", "right"),
        ("Is B to the left or right of A?", "It is on the right", "left"),
        ("Did the camera turn left or right?", "right", "left"),
        ("How many degrees did the camera rotate?", "23 degrees", "40 degrees"),
        ("How many degrees did the camera turn?", "18", "11"),
        ("Did the camera turn left or right from frame 2 to frame 1?", "left", "right"),
        ("By how many degrees did the camera turn from frame 1 to frame 2?", "19 degrees", "5"),
        ("Which way did the camera move from frame 1 to frame 2?", "forward", "left"),
        ("Did the camera move forward, backward, left or right?", "forward", "backward"),
        ("How many times farther is B than A?", "about 2 times", "5 times"),
        ("How many times closer is A than B?", "2.1 times", "1.2 times"),
    ],
)
def test_checks_that_need_no_scale(question: str, right: str, wrong: str) -> None:
    geometry, marked = two_marks()
    assert read(question, right, geometry, marked).cross_check is AGREES
    assert read(question, wrong, geometry, marked).cross_check is DISAGREES
    assert read(question, "I do not know", geometry, marked).cross_check is UNCHECKED


def test_frames_that_do_not_exist_are_not_checked() -> None:
    geometry, marked = two_marks()
    question = "Did the camera turn left or right from frame 1 to frame 3?"
    assert read(question, "right", geometry, marked).cross_check is UNCHECKED


def test_a_camera_that_hardly_moved_has_no_direction() -> None:
    geometry, marked = two_marks()
    transforms = geometry.T_world_cam.copy()
    transforms[1, :3, 3] *= 0.01
    still = replace(geometry, T_world_cam=transforms)
    question = "Which way did the camera move from frame 1 to frame 2?"
    assert read(question, "forward", still, marked).cross_check is UNCHECKED


def test_nearest_to_a_mark() -> None:
    depth = np.full((1, 9, 21), 2.0)
    geometry, window = make_scene(depth, poses(1), (9, 21))
    marks = [PixelMark(0, 2, 4, "A"), PixelMark(0, 6, 4, "B"), PixelMark(0, 18, 4, "C")]
    marked = points_at(geometry, window, marks)
    question = "Which is closer to B, A or C?"
    assert read(question, "A", geometry, marked).cross_check is AGREES
    assert read(question, "C", geometry, marked).cross_check is DISAGREES


def test_nothing_is_metric_without_a_scale_source() -> None:
    geometry, marked = two_marks()
    reading = read("What is the distance between A and B?", "2 m", geometry, marked)
    assert reading.value is None
    assert reading.unit == ""
    assert not reading.is_metric
    assert reading.cross_check is UNCHECKED
    assert "guess" in reading.note
    units = read("What is the distance between A and B?", "2.0", geometry, marked)
    assert (units.value, units.unit, units.is_metric) == (2.0, "scene_unit", False)
    assert units.cross_check is AGREES
    assert units.measured_value == pytest.approx(2.0, abs=0.1)


def test_lengths_are_checked_in_metres_with_a_scale() -> None:
    geometry, marked = two_marks()
    question = "What is the distance between A and B?"
    scale = Scale(metres_per_unit=0.5, relative_sigma=0.02)
    reading = read(question, "110 cm", geometry, marked, scale)
    assert reading.value == pytest.approx(1.1)
    assert reading.unit == "m"
    assert reading.is_metric
    assert reading.cross_check is AGREES
    assert reading.measured_value == pytest.approx(1.0, abs=0.05)
    assert read(question, "2 m", geometry, marked, scale).cross_check is DISAGREES
    units = read(question, "2.0 units", geometry, marked, scale)
    assert units.value == pytest.approx(1.0)
    assert units.unit == "m"
    assert units.sigma == pytest.approx(0.02)
    wide = Scale(metres_per_unit=0.5, relative_sigma=0.6)
    assert read(question, "2 m", geometry, marked, wide).cross_check is AGREES
    with pytest.raises(ValueError, match="metres_per_unit"):
        Scale(metres_per_unit=0.0)


def test_a_count_has_no_unit_and_is_not_checked() -> None:
    geometry, marked = two_marks()
    reading = read("How many chairs are there?", "3", geometry, marked)
    assert (reading.value, reading.unit, reading.cross_check) == (3.0, "", UNCHECKED)


def test_a_number_beside_a_choice_is_given_too() -> None:
    geometry, marked = two_marks()
    question = "Which is closer to the camera, A or B?"
    reading = read(question, "A, by 2.0 units", geometry, marked)
    assert (reading.value, reading.unit, reading.cross_check) == (2.0, "scene_unit", AGREES)


def test_geometry_that_does_not_trust_itself_checks_nothing() -> None:
    geometry, marked = two_marks()
    question = "Which is closer to the camera, A or B?"
    doubtful = replace(marked, confidence=np.array([0.9, 0.01], np.float32))
    assert read(question, "B", geometry, doubtful).cross_check is UNCHECKED
    lost = replace(marked, found=np.array([True, False]))
    assert read(question, "B", geometry, lost).cross_check is UNCHECKED


def test_a_lead_within_the_margin_is_not_checked() -> None:
    depth = np.full((1, 9, 21), 2.0)
    depth[0, :, 11:] = 2.05
    geometry, window = make_scene(depth, poses(1), (9, 21))
    marked = points_at(geometry, window, [PixelMark(0, 9, 4, "A"), PixelMark(0, 11, 4, "B")])
    question = "Which is closer to the camera, A or B?"
    assert read(question, "B", geometry, marked).cross_check is UNCHECKED


class Encoded:
    """A scene as a runtime hands it out; only what reading an answer needs."""

    def __init__(self, window: FrameWindow, geometry: GeometryPrediction) -> None:
        self.window = window
        self.geometry = geometry


def encoded() -> tuple[Scene, SpatialQuery]:
    geometry, _ = two_marks()
    image = np.zeros((9, 21, 3), np.uint8)
    frames = tuple(Frame(image, 1 + i, "camera", "camera", f"{i}") for i in range(2))
    marks = (PixelMark(0, 4, 4, "A"), PixelMark(0, 16, 4, "B"))
    query = SpatialQuery("Which is nearer to the camera, A or B?", marks)
    return cast(Scene, Encoded(FrameWindow(frames), geometry)), query


def words_read(
    said: SpatialAnswer, scene: Reconstruction, query: SpatialQuery, scale: Scale | None = None
) -> SpatialAnswer:
    """The words' own reading, before anybody decides whose reading answers."""
    intent = understand(query.question, [mark.label for mark in query.marks])
    sighting = sighting_of(scene.geometry, scene.window, query.marks)
    return with_reading(
        said, intent, sighting, read_geometry(intent, query.question, sighting), scale
    )


def test_points_and_check_come_from_the_marks() -> None:
    scene, query = encoded()
    said = SpatialAnswer(AnswerStatus.OK, text="A", confidence=0.5, tokens=3)
    answer = words_read(said, scene, query)
    assert (answer.text, answer.confidence, answer.tokens) == ("A", 0.5, 3)
    assert answer.labels == ("A", "B")
    np.testing.assert_allclose(answer.points[:, 2], [2.0, 4.0], atol=0.1)
    assert answer.cross_check is AGREES
    far = replace(query, question="Which is farther from the camera, A or B?")
    assert words_read(said, scene, far).cross_check is DISAGREES


def test_metres_without_a_scale_stay_words() -> None:
    scene, query = encoded()
    asked = replace(query, question="What is the distance between A and B?")
    said = SpatialAnswer(AnswerStatus.OK, text="1.5 m")
    answer = words_read(said, scene, asked)
    assert (answer.text, answer.value, answer.unit, answer.is_metric) == ("1.5 m", None, "", False)
    assert "nothing fixes this scene's scale" in answer.message
    assert answer.cross_check is UNCHECKED
    cut = SpatialAnswer(AnswerStatus.TRUNCATED, "the answer was cut", text="1.5 m")
    assert words_read(cut, scene, asked).message == "the answer was cut"


@pytest.mark.parametrize(
    "status", [AnswerStatus.TRUNCATED, AnswerStatus.TIMEOUT, AnswerStatus.CANCELLED]
)
def test_words_that_were_cut_off_give_no_number(status: AnswerStatus) -> None:
    scene, query = encoded()
    asked = replace(query, question="What is the distance between A and B?")
    cut = words_read(SpatialAnswer(status, "cut", text="1"), scene, asked)  # of "1.4 m"
    assert (cut.text, cut.value, cut.unit, cut.cross_check) == ("1", None, "", UNCHECKED)
    whole = words_read(SpatialAnswer(AnswerStatus.OK, text="1"), scene, asked)
    assert (whole.value, whole.unit) == (1.0, "scene_unit")
