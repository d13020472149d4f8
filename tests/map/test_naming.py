# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Things by their names: a place of the model's stands in for a mark, where that was judged."""

from __future__ import annotations

from typing import cast

import pytest

from g2vlm_map.answers.deciding import decided
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.intent import Intent, Kind, Role, Subject
from g2vlm_map.answers.naming import LEAST_SHARE, measurement_of
from g2vlm_map.answers.reliability import FEATURES, Curve, Reliability
from g2vlm_model.interface import (
    AnswerSource,
    AnswerStatus,
    NamedPlace,
    PixelMark,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from tests.map.test_readers import Encoded

CHAIR = NamedPlace(PixelMark(0, 14, 10, "chair"), 0.8)  # straight ahead, 2 away
TABLE = NamedPlace(PixelMark(0, 24, 10, "Table"), 0.5)  # right, 4 deep
A = PixelMark(0, 4, 10, "A")


def test_every_thing_becomes_a_mark() -> None:
    intent = understand("How far is the chair from the table?")
    found = measurement_of(intent, (), (CHAIR, TABLE))
    assert found.intent == Intent(
        intent.kind, (Subject(Role.MARK, "chair"), Subject(Role.MARK, "table"))
    )
    assert [(mark.label, mark.u) for mark in found.marks] == [("chair", 14), ("table", 24)]
    assert found.share == 0.5


def test_marks_of_the_question_come_first() -> None:
    found = measurement_of(understand("How far is A from the chair?", "A"), (A,), (CHAIR,))
    assert [mark.label for mark in found.marks] == ["A", "chair"]
    assert found.intent.marks == ("A", "chair")


def test_of_several_places_of_a_thing_the_surest_is_taken() -> None:
    other = NamedPlace(PixelMark(1, 3, 3, "chairs"), 0.9)
    found = measurement_of(understand("How far away is the chair?"), (), (CHAIR, other))
    assert (found.marks[0].frame_index, found.marks[0].label, found.share) == (1, "chair", 0.9)


@pytest.mark.parametrize(
    ("question", "marks", "named"),
    [
        ("How far is the chair from the table?", (), (CHAIR,)),  # one has no place
        ("How far away is the chair?", (), (NamedPlace(CHAIR.mark, 0.9 * LEAST_SHARE),)),
        ("How far away is the sofa?", (), (CHAIR,)),
        ("How far is A?", (A,), (CHAIR,)),  # no thing is named
        ("How far away is the chair?", (), ()),
        ("How far away is the chair?", (PixelMark(0, 1, 1, "chair"),), (CHAIR,)),
    ],
)
def test_else_the_question_stays_as_it_is(
    question: str, marks: tuple[PixelMark, ...], named: tuple[NamedPlace, ...]
) -> None:
    intent = understand(question, [mark.label for mark in marks if mark.label == "A"])
    found = measurement_of(intent, marks, named)
    assert (found.intent, found.marks, found.share) == (intent, marks, 1.0)


def test_the_view_from_a_thing_is_that_from_its_mark() -> None:
    subjects = (Subject(Role.MARK, "A"), Subject(Role.THING, "chair"))
    intent = Intent(Kind.RELATION, subjects, "thing:chair", "left")
    assert measurement_of(intent, (A,), (CHAIR,)).intent.frame == "mark:chair"


def answer(
    question: str, text: str, named: tuple[NamedPlace, ...], words: float, measured: float
) -> SpatialAnswer:
    """With readings by name that are right so often."""

    def curve(share: float) -> Curve:
        kinds = {"distance/name": 0.0}
        return Curve((0.0,) * len(FEATURES), kinds, (0.0,), (share,), 100, share)

    curves = {"length/text": curve(words), "length/geometry": curve(measured)}
    return decided(
        SpatialAnswer(AnswerStatus.OK, text=text, confidence=0.9, named=named),
        cast(Scene, Encoded()),
        SpatialQuery(question),
        understand(question),
        min_confidence=0.5,
        reliability=Reliability("nano-1", curves),
    )


FAR = "How far away is the chair?"


def test_a_name_is_measured_where_that_is_right_more_often() -> None:
    found = answer(FAR, "9 m", (CHAIR,), words=0.6, measured=0.7)
    assert (found.source, found.labels) == (AnswerSource.GEOMETRY, ("chair",))
    assert found.value == pytest.approx(2.0)
    assert found.confidence == pytest.approx(0.7)
    assert found.points[0] == pytest.approx([0.0, 0.0, 2.0], abs=1e-6)


@pytest.mark.parametrize(("words", "measured"), [(0.7, 0.6), (0.3, 0.4)])
def test_words_and_no_answer_have_no_place(words: float, measured: float) -> None:
    """A robot may drive to an answer's points: one that is not rested on is none."""
    found = answer(FAR, "9 m", (CHAIR,), words, measured)
    assert found.source is not AnswerSource.GEOMETRY
    assert found.measured_value == pytest.approx(2.0)
    assert (len(found.points), found.labels) == (0, ())


def test_a_kind_that_was_not_judged_by_name_is_not_measured() -> None:
    found = answer("How deep is the chair?", "9 m", (CHAIR,), words=0.6, measured=0.7)
    assert found.measured_value is None


def test_a_place_without_a_point_leaves_the_words() -> None:
    nowhere = NamedPlace(PixelMark(0, 14, 10, "chair"), 0.8)
    made = Encoded()
    made.geometry.valid[:] = False
    found = decided(
        SpatialAnswer(AnswerStatus.OK, text="9 m", confidence=0.9, named=(nowhere,)),
        cast(Scene, made),
        SpatialQuery(FAR),
        understand(FAR),
        reliability=Reliability(
            "nano-1",
            {
                f"length/{source}": Curve(
                    (0.0,) * len(FEATURES), {"distance/name": 0.0}, (0.0,), (0.7,), 100, 0.7
                )
                for source in ("text", "geometry")
            },
        ),
    )
    assert (found.source, found.reply) == (AnswerSource.TEXT, "9 m")
