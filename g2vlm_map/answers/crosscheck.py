# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An answer against the reconstruction: does the geometry say the same?

Pure functions, numpy only. `read_answer` turns the model's words into the structured part of
a `SpatialAnswer` and checks it where the geometry can.

Scale. Without a scale source nothing is metric, so
- a length that the model states in metres gets no `value` (it is the model's guess, it stays
  in the text, and `note` says so) and is not checkable;
- ratios, angles, sides and "which is nearer" need no scale and are always checkable;
- with a scale source (`metres_per_unit`) lengths are given and checked in metres.
Order relations are only checked where the geometry leads by `MARGIN`; marks whose points
have a confidence below `MIN_CONFIDENCE` are never used against the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import (
    AnswerStatus,
    CrossCheck,
    FrameWindow,
    GeometryPrediction,
    SpatialAnswer,
    SpatialQuery,
)

from . import measure
from .measure import MarkedPoints, Scale
from .quantity import Quantity, QuantityKind, chosen_label, labels_in, parse_quantity, side_in

__all__ = ["AnswerReading", "Scale", "check_answer", "read_answer"]

MIN_CONFIDENCE = 0.05
MARGIN = 0.05  # lead of an order relation, relative to the runner-up
LENGTH_TOLERANCE = 0.25  # relative to the measured value
RATIO_TOLERANCE = 0.25
ANGLE_TOLERANCE_DEG = 5.0
MIN_TURN_DEG = 1.0  # a smaller turn, or angle between lines of sight, has no side
MIN_MOTION = 0.01  # a shorter way of the camera, relative to the median depth, has no direction
MOTION_LEAD = 1.5  # of the strongest direction over the other
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


@dataclass(frozen=True)
class _Evidence:
    """What the geometry says about the quantity that a question asks for.

    Args:
        kind: "length", "ratio", "angle", "label" or "side".
        value: Of a length (scene units), ratio or angle (degrees).
        choice: Of a label or side; None where the geometry does not decide.
    """

    kind: str
    value: float | None = None
    choice: str | None = None


def read_answer(
    question: str,
    text: str,
    geometry: GeometryPrediction,
    marked: MarkedPoints,
    scale: Scale | None = None,
) -> AnswerReading:
    """Read value and unit off the answer's words and check them against the geometry.

    Args:
        question: As asked; labels in it are those of `marked`.
        text: The model's words.
        geometry: Of the scene that was asked about.
        marked: The points of the question's marks.
        scale: None where nothing fixes the scale.
    """
    quantity = parse_quantity(text)
    evidence = _evidence(question, geometry, marked)
    if evidence is not None and evidence.kind in ("label", "side"):
        labels = labels_in(question, marked.labels)
        said = chosen_label(text, labels) if evidence.kind == "label" else side_in(text)
        return replace(_value(quantity, None, scale), cross_check=_same(said, evidence.choice))
    reading = _value(quantity, evidence, scale)
    if quantity is None or evidence is None or evidence.value is None:
        return reading
    return _compare(reading, quantity, evidence, scale)


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


def check_answer(
    answer: SpatialAnswer, scene: Reconstruction, query: SpatialQuery, scale: Scale | None = None
) -> SpatialAnswer:
    """A runtime's answer with its structured part: places, value, unit, cross-check.

    Words that were cut off have places only: "1" may be the beginning of "1.4 m".

    `points` stay in scene units: whoever publishes them scales them with the cloud.

    Args:
        answer: From `SpatialRuntime.ask`: the model's words. A value or places that a runtime
            of somebody's own gives with them stay as they are.
        scene: That was asked about.
        query: As asked.
        scale: None where nothing fixes the scale.
    """
    if answer.value is not None or len(answer.points):
        return answer
    marked = measure.points_at(scene.geometry, scene.window, query.marks)
    reading = AnswerReading()
    if answer.status is AnswerStatus.OK:
        reading = read_answer(query.question, answer.text, scene.geometry, marked, scale)
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


def _value(
    quantity: Quantity | None, evidence: _Evidence | None, scale: Scale | None
) -> AnswerReading:
    """Value and unit as far as the scale allows them."""
    if quantity is None:
        return AnswerReading()
    kind = quantity.kind
    if kind is QuantityKind.NUMBER and evidence is not None:
        # "How many degrees ...": "12". A bare number for a length is in scene units.
        kind = {"angle": QuantityKind.ANGLE, "length": QuantityKind.SCENE_LENGTH}.get(
            evidence.kind, kind
        )
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
    reading: AnswerReading, quantity: Quantity, evidence: _Evidence, scale: Scale | None
) -> AnswerReading:
    """Numbers against numbers, in the unit of the reading."""
    assert evidence.value is not None
    measured, said = evidence.value, reading.value
    if said is None:
        return reading
    if evidence.kind == "length":
        if reading.unit not in ("m", "scene_unit"):
            return reading
        if reading.unit == "m":
            assert scale is not None, "a metric reading without a scale"
            measured *= scale.metres_per_unit
        allowed = LENGTH_TOLERANCE * abs(measured)
        if scale is not None:
            allowed = max(allowed, 2.0 * scale.relative_sigma * abs(measured))
    elif evidence.kind == "ratio":
        if quantity.kind not in (QuantityKind.RATIO, QuantityKind.NUMBER):
            return reading
        allowed = RATIO_TOLERANCE * abs(measured)
    else:
        if reading.unit != "deg":
            return reading
        said, measured = abs(said), abs(measured)
        allowed = max(ANGLE_TOLERANCE_DEG, ANGLE_TOLERANCE * measured)
    agrees = abs(said - measured) <= allowed
    return replace(
        reading,
        cross_check=CrossCheck.AGREES if agrees else CrossCheck.DISAGREES,
        measured_value=measured,
    )


def _same(said: str | None, measured: str | None) -> CrossCheck:
    if said is None or measured is None:
        return CrossCheck.NOT_CHECKABLE
    return CrossCheck.AGREES if said == measured else CrossCheck.DISAGREES


_NEAR = r"\b(?:closer|closest|nearer|nearest)\b"
_FAR = r"\b(?:farther|farthest|further|furthest|more distant|most distant)\b"
_MOVE = r"\b(?:move(?:d|s)?|motion|translat(?:e|ed|ion)|travel(?:l?ed)?)\b"
_TURN = r"\b(?:turn(?:ed|s)?|rotat(?:e|ed|es|ion)|pan(?:ned)?|yaw(?:ed)?)\b"


def _evidence(
    question: str, geometry: GeometryPrediction, marked: MarkedPoints
) -> _Evidence | None:
    """What the geometry can say to a question; None where its kind is not recognised."""
    words = question.casefold()
    if re.search(r"\bcamera\b", words):
        moved = re.search(_TURN, words), re.search(_MOVE, words)
        if any(moved):
            return _camera(words, geometry, turned=moved[0] is not None)
    rows = _rows(question, marked)
    if rows is None:
        return None
    if re.search(r"\bhow many times\b", words):
        return _ratio(question, marked, rows)
    if re.search(r"\bleft\b", words) and re.search(r"\bright\b", words) and len(rows) == 2:
        return _left_or_right(geometry, marked, rows)
    if re.search(_NEAR, words) or re.search(_FAR, words):
        return _which_is_nearer(question, geometry, marked, rows)
    if re.search(r"\bhow far\b|\bdistance\b|\bdepth\b|\bfar away\b", words):
        return _length(geometry, marked, rows)
    return None


def _rows(question: str, marked: MarkedPoints) -> list[int] | None:
    """Rows of the marks that the question names (all, where it names none), if trustworthy."""
    named = [marked.labels.index(label) for label in labels_in(question, marked.labels)]
    rows = named or list(range(len(marked.labels)))
    if not rows or any(not marked.found[row] for row in rows):
        return None
    if any(marked.confidence[row] < MIN_CONFIDENCE for row in rows):
        return None
    return rows


def _camera(words: str, geometry: GeometryPrediction, turned: bool) -> _Evidence | None:
    """How the camera turned or moved between the two frames named, else first to last."""
    last = len(geometry.T_world_cam) - 1
    named = [int(number) - 1 for number in re.findall(r"\bframe (\d+)\b", words)]
    start, end = named if len(named) == 2 else (0, last)
    if not (0 <= start <= last and 0 <= end <= last) or start == end:
        return None
    T_world_start, T_world_end = geometry.T_world_cam[start], geometry.T_world_cam[end]
    if not turned:
        return _camera_motion(T_world_start, T_world_end, _typical_depth(geometry, start))
    angle, yaw = measure.turn_between(T_world_start, T_world_end)
    if re.search(r"\bdegrees\b|\bby how much\b|\bangle\b|\bhow far\b", words):
        return _Evidence("angle", value=angle)
    side = "right" if yaw > 0 else "left"
    return _Evidence("side", choice=side if abs(yaw) > MIN_TURN_DEG else None)


def _camera_motion(
    T_world_start: NDArray[np.float32], T_world_end: NDArray[np.float32], depth: float
) -> _Evidence:
    """The direction that a camera's way has most of, in the axes of its first pose."""
    way = (T_world_end[:3, 3] - T_world_start[:3, 3]) @ T_world_start[:3, :3]
    right, forward = float(way[0]), float(way[2])
    big, small = max(abs(right), abs(forward)), min(abs(right), abs(forward))
    if big < MIN_MOTION * depth or big < MOTION_LEAD * small:
        return _Evidence("side")
    if abs(right) > abs(forward):
        return _Evidence("side", choice="right" if right > 0 else "left")
    return _Evidence("side", choice="forward" if forward > 0 else "backward")


def _typical_depth(geometry: GeometryPrediction, frame: int) -> float:
    """Median depth of a frame's valid pixels; infinite where it has none."""
    depths = geometry.local_points[frame, ..., 2][geometry.valid[frame]]
    return float(np.median(depths)) if depths.size else float("inf")


def _ratio(question: str, marked: MarkedPoints, rows: Sequence[int]) -> _Evidence | None:
    """Answers "how many times farther is B than A": range of the first named over the second."""
    if len(rows) != 2 or len({marked.frame_indices[row] for row in rows}) != 1:
        return None
    first, second = (float(marked.range[row]) for row in rows)
    if re.search(_NEAR, question, re.IGNORECASE):
        first, second = second, first
    return _Evidence("ratio", value=first / second) if second > 0 else None


def _in_one_camera(
    geometry: GeometryPrediction, marked: MarkedPoints, rows: Sequence[int]
) -> NDArray[np.float64]:
    """(M, 3) points of the rows in the axes of their common camera, else of the newest."""
    frames = {marked.frame_indices[row] for row in rows}
    frame = frames.pop() if len(frames) == 1 else len(geometry.T_world_cam) - 1
    transform = geometry.T_world_cam[frame].astype(np.float64)
    world = marked.world[list(rows)].astype(np.float64)
    local: NDArray[np.float64] = (world - transform[:3, 3]) @ transform[:3, :3]
    return local


def _left_or_right(
    geometry: GeometryPrediction, marked: MarkedPoints, rows: Sequence[int]
) -> _Evidence:
    """On which side of the second the first one is, by the angle between the lines of sight."""
    points = _in_one_camera(geometry, marked, rows)
    azimuth_deg = np.degrees(np.arctan2(points[:, 0], points[:, 2]))
    lead = float(azimuth_deg[0] - azimuth_deg[1])
    side = "right" if lead > 0 else "left"
    return _Evidence("side", choice=side if abs(lead) > MIN_TURN_DEG else None)


def _which_is_nearer(
    question: str, geometry: GeometryPrediction, marked: MarkedPoints, rows: Sequence[int]
) -> _Evidence | None:
    """The nearer (or farther) mark; z-depth and range have to name the same one."""
    far = re.search(_FAR, question, re.IGNORECASE) is not None
    others = list(rows)
    anchor = re.search(
        rf"(?:{_NEAR}|{_FAR})\s+(?:to|from)\s+(?:the\s+|point\s+|mark\s+)*(\w+)",
        question,
        re.IGNORECASE,
    )
    named = anchor.group(1) if anchor else ""
    if named in marked.labels:
        origin = marked.world[marked.labels.index(named)]
        others.remove(marked.labels.index(named))
        distances = [np.linalg.norm(marked.world[others] - origin, axis=1)]
    else:
        points = _in_one_camera(geometry, marked, others)
        distances = [points[:, 2], np.linalg.norm(points, axis=1)]
    if len(others) < 2:
        return None
    choices = set()
    for values in distances:
        best = measure.nearest(1.0 / np.maximum(values, 1e-9) if far else values, MARGIN)
        choices.add(None if best is None else marked.labels[others[best]])
    return _Evidence("label", choice=choices.pop() if len(choices) == 1 else None)


def _length(
    geometry: GeometryPrediction, marked: MarkedPoints, rows: Sequence[int]
) -> _Evidence | None:
    """One mark: its distance from the camera; two: the distance between them."""
    if len(rows) == 1:
        return _Evidence("length", value=float(marked.range[rows[0]]))
    if len(rows) == 2:
        a, b = marked.world[rows[0]], marked.world[rows[1]]
        return _Evidence("length", value=measure.distance_between(a, b))
    return None
