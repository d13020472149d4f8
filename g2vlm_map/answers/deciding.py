# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which reading is the answer: the words', the geometry's, or neither.

Where both say the same, the geometry's number is the answer, since it carries a sigma. Where they
contradict each other, the geometry is the answer for what it measured better in unseen rooms
(lengths, angles: `MEASURED`), unless the two lie apart by more than their sigmas and the geometry
is not sure of its own: then nobody answers, and the message says what would help.

A model with a calibration (`reliability.py`) decides by that: the reading that was right more often
at such scores is the answer, and `confidence` is that share.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from g2vlm_model.interface import (
    AnswerSource,
    AnswerStatus,
    CrossCheck,
    SpatialAnswer,
    SpatialQuery,
)

from .crosscheck import Reconstruction, with_reading
from .intent import Intent, Kind
from .measure import Scale
from .naming import measurement_of
from .readers import read_geometry
from .reading import Reading, Sighting, sighting_of
from .reliability import Reliability, features_of
from .support import answers_kind, choice_in, is_number
from .surroundings import Surroundings

__all__ = ["NOT_ASKED", "by_geometry", "decided", "in_words", "said_nothing"]

# What no words are asked for: poses say it, or nobody does.
NOT_ASKED = frozenset(
    {
        *(Kind.TRAVELLED, Kind.LOCATION, Kind.RETURN, Kind.VISITED, Kind.WAY_FREE),
        *(Kind.FREE_WIDTH, Kind.REACH, Kind.BETWEEN, Kind.LAST_SEEN),
    }
)
SURE_SIGMA = 0.25  # relative; a measured number within it stands against the words
SURE_LEAD = 2.0  # sigmas; a measured choice with it stands against the words
_UNMEASURED = Reliability()
MOVE = "move 20 cm sideways and ask again, or mark a place on a plain surface"


def said_nothing() -> SpatialAnswer:
    """In the place of words where no model is asked."""
    return SpatialAnswer(AnswerStatus.OK)


def decided(
    said: SpatialAnswer,
    scene: Reconstruction,
    query: SpatialQuery,
    intent: Intent,
    scale: Scale | None = None,
    min_confidence: float = 0.0,
    reliability: Reliability = _UNMEASURED,
    around: Surroundings | None = None,
) -> SpatialAnswer:
    """The answer to a question, of words and geometry.

    Args:
        said: The runtime's; a value or places that it gives itself stay as they are.
        scene: That was asked about.
        query: As asked.
        intent: The question, understood.
        scale: None where nothing fixes the scale.
        min_confidence: A reading is an answer from this probability on; without a calibration
            that is words alone, and their token probability.
        reliability: Of the model.
        around: What is known around the scene, in its axes and units.
    """
    said = replace(said, kind=intent.kind.value)
    if said.value is not None or len(said.points):
        return replace(said, source=AnswerSource.TEXT, reply=said.text)
    sighting, measured, attention = _read(said, scene, query, intent, reliability, around)
    if intent.kind is Kind.UNKNOWN or said.status is not AnswerStatus.OK:
        return with_reading(said, intent, sighting, Reading(), scale)
    labels = sighting.marked.labels
    fits = answers_kind(intent, said.text, labels)
    worded = said if fits else replace(said, text="")
    checked = with_reading(worded, intent, sighting, measured, scale)
    checked, measured = _places_apart(checked, measured, intent)
    checked = replace(checked, text=said.text, text_value=checked.value)
    checked = _with_measured(checked, measured, scale)
    if measured.lack and (measured.nowhere or not fits):
        return _nobody(checked, intent, measured)
    likeliest = _likeliest(checked, intent, measured, reliability, fits, attention)
    if likeliest is not None:
        best, share = likeliest
        checked = replace(checked, confidence=share, is_calibrated=True)
        geometry, doubtful = best == "geometry", share < min_confidence
    else:
        geometry = not measured.lack and (not fits or _prefers_geometry(checked, intent, measured))
        doubtful = not geometry and (
            checked.cross_check is CrossCheck.DISAGREES or said.confidence < min_confidence
        )
    if doubtful:
        return _abstained(checked, intent, measured)
    if geometry:
        return by_geometry(checked, measured, scale)
    choice = choice_in(intent, said.text, labels)
    return replace(
        checked,
        source=AnswerSource.TEXT,
        reply=said.text if is_number(intent) or not choice else choice,
    )


def _read(
    said: SpatialAnswer,
    scene: Reconstruction,
    query: SpatialQuery,
    intent: Intent,
    reliability: Reliability,
    around: Surroundings | None,
) -> tuple[Sighting, Reading, float]:
    """The points, what the geometry says, and the attention of things by name (`Measurement`)."""
    known = reliability.knows(intent, "geometry")  # of a thing by its name, how often it is right
    measurement = measurement_of(intent, query.marks, said.named if known else ())
    sighting = sighting_of(scene.geometry, scene.window, measurement.marks, around)
    measured = read_geometry(measurement.intent, query.question, sighting)
    if sighting.marked.found[: len(query.marks)].all():  # a thing without a point is no sky
        measured = replace(measured, nowhere=False)
    return sighting, measured, measurement.share


def _likeliest(
    answer: SpatialAnswer,
    intent: Intent,
    measured: Reading,
    reliability: Reliability,
    fits: bool,
    share: float,
) -> tuple[str, float] | None:
    """The source of the likelier reading and its probability; None without a calibration of it.

    Args:
        answer: The words with both readings, `confidence` that of their tokens.
        intent: The question.
        measured: What the geometry says.
        reliability: Of the model.
        fits: The words are an answer of the kind.
        share: See `Measurement`.
    """
    features = features_of(
        answer.cross_check, answer.confidence, measured, bool(intent.things), share
    )
    worth = []
    for source, there in (("text", fits), ("geometry", not measured.lack)):
        probability = reliability.probability(intent, source, features) if there else 0.0
        if probability is None:
            return None
        if there:
            worth.append((source, probability))
    return max(worth, key=lambda item: item[1])


def _places_apart(
    answer: SpatialAnswer, measured: Reading, intent: Intent
) -> tuple[SpatialAnswer, Reading]:
    """Places of things by name as evidence of the measured reading: words do not rest on them."""
    named = np.array([label in intent.things for label in answer.labels], bool)
    evidence = [
        (label, (float(x), float(y), float(z)))
        for label, (x, y, z), apart in zip(answer.labels, answer.points, named, strict=True)
        if apart
    ]
    labels = tuple(label for label in answer.labels if label not in intent.things)
    return (
        replace(answer, points=answer.points[~named], labels=labels),
        replace(measured, evidence=(*measured.evidence, *evidence)),
    )


def in_words(answer: SpatialAnswer) -> SpatialAnswer:
    """The answer with a measured number in words: it has them only once its unit is decided."""
    if answer.source is not AnswerSource.GEOMETRY or answer.value is None:
        return answer
    unit = {"scene_unit": " map units", "deg": " degrees"}.get(
        answer.unit, f" {answer.unit}".rstrip()
    )
    digits = 1 if answer.unit == "deg" else 2
    return replace(answer, reply=f"{answer.value:.{digits}f}{unit}")


def _with_measured(answer: SpatialAnswer, measured: Reading, scale: Scale | None) -> SpatialAnswer:
    """The geometry's reading beside that of the words, in the answer's unit."""
    if measured.value is None:
        return replace(answer, measured_choice=measured.choice)
    value, sigma, unit = _in_unit(measured, scale, answer.unit)
    return replace(answer, measured_value=value, measured_sigma=sigma, unit=answer.unit or unit)


def _in_unit(measured: Reading, scale: Scale | None, unit: str) -> tuple[float, float | None, str]:
    """Value, sigma and unit of a measured number: metres where the scale carries."""
    assert measured.value is not None
    value, sigma = measured.value, measured.sigma or 0.0
    if measured.unit != "scene_unit" or scale is None:
        return value, measured.sigma, measured.unit
    metres = value * scale.metres_per_unit
    spread = np.hypot(sigma * scale.metres_per_unit, metres * scale.relative_sigma)
    return metres, float(spread), "m"


def _prefers_geometry(answer: SpatialAnswer, intent: Intent, measured: Reading) -> bool:
    """Whether the measured reading is the better one where words fit too."""
    if is_number(intent):
        agrees = answer.cross_check is CrossCheck.AGREES
        return agrees or answer.text_value is None or measured.relative_sigma <= SURE_SIGMA
    return measured.lead >= SURE_LEAD and answer.cross_check is CrossCheck.DISAGREES


def by_geometry(answer: SpatialAnswer, measured: Reading, scale: Scale | None) -> SpatialAnswer:
    """The answer with a measured reading as its own; points stay in the reading's units."""
    answer = replace(answer, source=AnswerSource.GEOMETRY, value=None, sigma=None, unit="")
    if measured.evidence:
        names, places = zip(*measured.evidence, strict=True)
        points = np.concatenate((answer.points, np.array(places, np.float32).reshape(-1, 3)))
        answer = replace(answer, points=points, labels=(*answer.labels, *names))
    if measured.value is None:
        return replace(answer, reply=measured.choice, message=measured.note)
    value, sigma, unit = _in_unit(measured, scale, "")
    told = unit == "m" and measured.unit == "scene_unit" and scale is not None
    note = scale.text if told and scale is not None else ""
    if unit == "scene_unit":
        note = "nothing fixes this scene's scale: the length is in map units"
    note = ", ".join(part for part in (measured.note, note) if part)
    same = answer.text_value is not None and answer.cross_check is not CrossCheck.NOT_CHECKABLE
    return replace(
        answer,
        value=value,
        unit=unit,
        sigma=sigma,
        measured_value=value,
        measured_sigma=sigma,
        text_value=answer.text_value if same else None,
        is_metric=answer.is_metric or told,
        message=note,
    )


def _nobody(answer: SpatialAnswer, intent: Intent, measured: Reading) -> SpatialAnswer:
    """Neither measured nor answered in words of the kind."""
    why = measured.lack
    if answer.text and not measured.nowhere:
        why = f"the model said {answer.text!r:.60}, which answers no question of this kind; {why}"
    return replace(
        answer,
        status=AnswerStatus.UNSUPPORTED,
        value=None,
        message=f"{why} (asked: {intent.kind.value})",
    )


def _abstained(answer: SpatialAnswer, intent: Intent, measured: Reading) -> SpatialAnswer:
    """There are words, and they are not to be trusted."""
    if answer.is_calibrated:
        why = f"right in {answer.confidence:.0%} of such cases; " + (
            f"mark the {intent.things[0]}" if intent.things else MOVE
        )
    elif answer.cross_check is CrossCheck.DISAGREES:
        seen = measured.choice or f"{answer.measured_value:.2f} {answer.unit}".strip()
        why = f"words ({answer.text!r:.40}) and geometry ({seen}) contradict each other; {MOVE}"
    else:
        why = f"the words ({answer.text!r:.40}) are too likely wrong; " + (
            f"mark the {intent.things[0]}" if intent.things else MOVE
        )
    return replace(answer, status=AnswerStatus.ABSTAINED, value=None, sigma=None, message=why)
