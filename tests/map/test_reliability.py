# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Probabilities of being right: the file, the curves, and how they decide."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import pytest

from g2vlm_map.answers.deciding import decided
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.reading import Reading
from g2vlm_map.answers.reliability import (
    FEATURES,
    VERSION,
    Curve,
    KnownReliability,
    Reliability,
    features_of,
    group_of,
    read_reliability,
)
from g2vlm_model.checkpoint import calibration_text, model_id
from g2vlm_model.interface import (
    AnswerSource,
    AnswerStatus,
    CrossCheck,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)
from tests.map.test_readers import MARKS, Encoded


def curve(low: float, high: float, **weights: float) -> Curve:
    """From `low` at a score of -2 to `high` at 2."""
    return Curve(
        tuple(weights.get(name, 0.0) for name in FEATURES), {"distance": 0.5}, (-2.0, 2.0),
        (low, high), 50, 0.5 * (low + high),
    )  # fmt: skip


def content(**changed: Any) -> str:
    curves = {"length/text": asdict(curve(0.1, 0.9, token=1.0))}
    return json.dumps({"version": VERSION, "model_id": "nano-1", "curves": curves, **changed})


def test_the_embedded_models_calibration_is_of_its_weights() -> None:
    """Whoever changes the weights runs `make calibrate`."""
    text = calibration_text("nano")
    assert read_reliability(text, model_id("nano")).curves


def test_a_calibration_of_other_weights_is_refused() -> None:
    assert set(read_reliability(content(), "nano-1").curves) == {"length/text"}
    with pytest.raises(ValueError, match="measured with nano-1, the weights are nano-2"):
        read_reliability(content(), "nano-2")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        content(version=99),
        content(curves={"length/text": {"weights": [1.0]}}),
        content(curves={"length/text": {**asdict(curve(0.9, 0.1)), "count": 1}}),
        content(curves=3),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"make calibrate"):
        read_reliability(text, "nano-1")


def test_a_model_without_one_has_no_probabilities() -> None:
    intent = understand("How far is A?", "A")
    features = features_of(CrossCheck.AGREES, 0.9, Reading(), False)
    assert read_reliability("", "x").probability(intent, "text", features) is None


def test_probabilities_rise_with_the_score_and_stay_within_the_knots() -> None:
    one = curve(0.1, 0.9, token=1.0)
    intent = understand("How far is A?", "A")
    reliability = Reliability("nano-1", {"length/text": one})
    shares = [
        reliability.probability(
            intent, "text", features_of(CrossCheck.NOT_CHECKABLE, p, Reading(), False)
        )
        for p in (0.0, 0.2, 0.5, 0.9, 1.0)
    ]
    known = [share for share in shares if share is not None]
    assert len(known) == 5
    assert known == sorted(known)
    assert min(known) == pytest.approx(0.1)
    assert max(known) == pytest.approx(0.9)


def test_features_are_finite_whatever_is_read() -> None:
    for reading in (Reading(), Reading(lack="no"), Reading(0.0, "m", sigma=0.0), Reading(1.0, "m")):
        for token in (0.0, 1.0, 0.5):
            found = features_of(CrossCheck.DISAGREES, token, reading, True)
            assert found.shape == (len(FEATURES),)
            assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("question", "group"),
    [
        ("How far is A?", "length"), ("Which is nearer, A or B?", "choice"),
        ("How many chairs are there?", "number"), ("Did the camera turn?", "motion"),
    ],
)  # fmt: skip
def test_groups(question: str, group: str) -> None:
    assert group_of(understand(question, "AB")) == group


def answered(text: float, geometry: float, said: str = "B") -> SpatialAnswer:
    """With words and geometry that are right so often; the geometry reads "A"."""
    question = "Which is nearer to the camera, A or B?"
    curves = {"choice/text": curve(text, text), "choice/geometry": curve(geometry, geometry)}
    return decided(
        SpatialAnswer(AnswerStatus.OK, text=said, confidence=0.9),
        cast(Scene, Encoded()),
        SpatialQuery(question, MARKS),
        understand(question, "ABCD"),
        min_confidence=0.5,
        reliability=Reliability("nano-1", curves),
    )


def test_the_reading_that_is_right_more_often_is_the_answer() -> None:
    words, geometry = answered(0.8, 0.6), answered(0.6, 0.8)
    assert (words.source, words.reply) == (AnswerSource.TEXT, "B")
    assert (geometry.source, geometry.reply) == (AnswerSource.GEOMETRY, "A")
    assert words.confidence == geometry.confidence == pytest.approx(0.8)
    assert words.is_calibrated


def test_what_is_right_too_seldom_is_no_answer() -> None:
    found = answered(0.3, 0.4)
    assert found.status is AnswerStatus.ABSTAINED
    assert "right in 40% of such cases" in found.message
    assert found.reply == ""
    assert found.confidence == pytest.approx(0.4)


def test_a_calibration_of_other_weights_is_told_and_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    info = RuntimeInfo("torch", "cpu", "fp32", "nano-1", 1, calibration=content())
    known = KnownReliability()
    assert known.of(info).curves
    assert not known.of(replace(info, model_id="nano-2")).curves
    assert "make calibrate" in caplog.text
    assert known.of(info).curves
