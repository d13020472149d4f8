# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An answer against the reconstruction: does the geometry say the same?

Pure functions, numpy only. `read_answer` turns the model's words into the structured part of
a `SpatialAnswer` and holds it against what the geometry says (`readers.py`).

Scale. Without a scale source nothing is metric, so
- a length that the model states in metres gets no `value` (it is the model's guess, it stays
  in the text, and `note` says so) and is not checkable;
- ratios, angles, sides and "which is nearer" need no scale and are always checkable;
- with a scale source (`metres_per_unit`) lengths are given and checked in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from g2vlm_model.interface import (
    AnswerStatus,
    CrossCheck,
    FrameWindow,
    GeometryPrediction,
    SpatialAnswer,
)

from .extents import SQUARE
from .intent import Intent
from .measure import Scale
from .quantity import Quantity, QuantityKind, parse_quantity
from .reading import Reading, Sighting
from .support import choice_in, is_number

__all__ = ["AnswerReading", "Reconstruction", "Scale", "read_answer", "with_reading"]

LENGTH_TOLERANCE = 0.25  # relative to the measured value
RATIO_TOLERANCE = 0.25
ANGLE_TOLERANCE_DEG = 5.0
ANGLE_TOLERANCE = 0.15  # relative; the larger of the two holds


@dataclass(frozen=True)
class AnswerReading:
    """The structured part of an answer; the fields are those of `SpatialAnswer`.

    Args:
        note: Whose metres `value` is in, or why a number in the text is not given as `value`.
    """

    value: float | None = None
    unit: str = ""
    is_metric: bool = False
    sigma: float | None = None
    cross_check: CrossCheck = CrossCheck.NOT_CHECKABLE
    measured_value: float | None = None
    note: str = ""


def read_answer(
    intent: Intent,
    text: str,
    labels: Sequence[str],
    measured: Reading,
    scale: Scale | None = None,
) -> AnswerReading:
    """Read value and unit off the answer's words and check them against the geometry.

    Args:
        intent: The question, understood.
        text: The model's words.
        labels: Of the question's marks.
        measured: What the geometry says.
        scale: None where nothing fixes the scale.
    """
    quantity = parse_quantity(text)
    if not is_number(intent):
        check = _same(choice_in(intent, text, labels), measured.choice)
        return replace(_value(quantity, "", scale), cross_check=check)
    reading = _value(quantity, _UNIT_ASKED.get(measured.unit, measured.unit), scale)
    if quantity is None or measured.value is None:
        return reading
    return _compare(reading, quantity, measured, scale)


_UNIT_ASKED = {"m": ""}  # told by the question itself: words are metres without a scale


class Reconstruction(Protocol):
    """What answers are held against: a runtime's scene, or that scene on known rays."""

    @property
    def window(self) -> FrameWindow:
        """The frames."""
        ...

    @property
    def geometry(self) -> GeometryPrediction:
        """What is known of them."""
        ...


def with_reading(
    answer: SpatialAnswer,
    intent: Intent,
    sighting: Sighting,
    measured: Reading,
    scale: Scale | None,
) -> SpatialAnswer:
    """An answer's words with their structured part: places, value, unit, cross-check.

    Words that were cut off have places only: "1" may be the beginning of "1.4 m". `points` stay in
    scene units: whoever publishes them scales them with the cloud.

    Args:
        answer: From `SpatialRuntime.ask`: the model's words.
        intent: The question, understood.
        sighting: The points of its marks.
        measured: What the geometry says.
        scale: None where nothing fixes the scale.
    """
    marked, reading = sighting.marked, AnswerReading()
    if answer.status is AnswerStatus.OK:
        reading = read_answer(intent, answer.text, marked.labels, measured, scale)
    return replace(
        answer,
        message=reading.note if answer.status is AnswerStatus.OK else answer.message,
        points=marked.world[marked.found],
        labels=tuple(np.array(marked.labels, dtype=object)[marked.found]),
        value=reading.value,
        unit=reading.unit,
        is_metric=reading.is_metric,
        sigma=reading.sigma,
        cross_check=reading.cross_check,
        measured_value=reading.measured_value,
    )


def _value(quantity: Quantity | None, unit: str, scale: Scale | None) -> AnswerReading:
    """Value and unit as far as the scale allows them; `unit` is that of the measured value."""
    if quantity is None:
        return AnswerReading()
    kind = quantity.kind
    if kind is QuantityKind.NUMBER:
        # "How many degrees ...": "12". A bare number for a length is in scene units.
        kind = {"deg": QuantityKind.ANGLE, "scene_unit": QuantityKind.SCENE_LENGTH}.get(unit, kind)
    if kind is QuantityKind.ANGLE:
        return AnswerReading(value=quantity.value, unit="deg")
    if kind is QuantityKind.SCENE_LENGTH:
        if scale is None:
            return AnswerReading(value=quantity.value, unit="scene_unit")
        metres = quantity.value * scale.metres_per_unit
        sigma = abs(metres) * scale.relative_sigma
        return AnswerReading(metres, "m", is_metric=True, sigma=sigma, note=scale.text)
    if kind is QuantityKind.METRIC_LENGTH:
        if scale is None:
            return AnswerReading(
                note="the text states a metric length, but nothing fixes this scene's scale: "
                "it is the model's guess and not given as a value"
            )
        return AnswerReading(
            value=quantity.value,
            unit="m",
            is_metric=True,
            note="the model's own words, not measured; measured_value is, where there is one",
        )
    return AnswerReading(value=quantity.value)


def _compare(
    reading: AnswerReading, quantity: Quantity, measured: Reading, scale: Scale | None
) -> AnswerReading:
    """Numbers against numbers, in the unit of the reading."""
    assert measured.value is not None
    value, said = measured.value, reading.value
    if measured.unit == "m":  # by the question's own scale
        if quantity.kind not in (QuantityKind.METRIC_LENGTH, QuantityKind.NUMBER):
            return reading
        reading = replace(reading, value=quantity.value, unit="m")
        said, allowed = quantity.value, LENGTH_TOLERANCE * abs(value)
    elif said is None:
        return reading
    elif measured.unit == SQUARE:
        if quantity.kind not in (QuantityKind.METRIC_LENGTH, QuantityKind.NUMBER):
            return reading
        reading = replace(reading, value=quantity.value, unit=SQUARE, note="")
        said, allowed = quantity.value, LENGTH_TOLERANCE * abs(value)
    elif measured.unit == "scene_unit":
        if reading.unit not in ("m", "scene_unit"):
            return reading
        if reading.unit == "m":
            assert scale is not None, "a metric reading without a scale"
            value *= scale.metres_per_unit
        allowed = LENGTH_TOLERANCE * abs(value)
        if scale is not None:
            allowed = max(allowed, 2.0 * scale.relative_sigma * abs(value))
    elif measured.unit == "deg":
        if reading.unit != "deg":
            return reading
        said, value = abs(said), abs(value)
        allowed = max(ANGLE_TOLERANCE_DEG, ANGLE_TOLERANCE * value)
    else:
        if quantity.kind not in (QuantityKind.RATIO, QuantityKind.NUMBER):
            return reading
        allowed = RATIO_TOLERANCE * abs(value)
    agrees = abs(said - value) <= allowed
    return replace(
        reading,
        cross_check=CrossCheck.AGREES if agrees else CrossCheck.DISAGREES,
        measured_value=value,
    )


def _same(said: str, measured: str) -> CrossCheck:
    if not said or not measured:
        return CrossCheck.NOT_CHECKABLE
    return CrossCheck.AGREES if said == measured else CrossCheck.DISAGREES
