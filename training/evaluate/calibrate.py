# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fits `calibration.json`: a logistic score and a monotone map, per group of kinds and source.

The score is ridge-regularised logistic regression by Newton's method; the map is isotonic
regression by pooling adjacent violators (Ayer et al. 1955) on scores of held-out folds, whose
blocks are shrunk to the group's accuracy so that few questions promise no certainty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.answers.crosscheck import with_reading
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.intent import Intent
from g2vlm_map.answers.measure import Scale
from g2vlm_map.answers.naming import measurement_of
from g2vlm_map.answers.quantity import parse_quantity
from g2vlm_map.answers.readers import read_geometry
from g2vlm_map.answers.reading import sighting_of
from g2vlm_map.answers.reliability import FEATURES, VERSION, Curve, features_of, group_of, kind_of
from g2vlm_map.answers.support import answers_kind, choice_in
from g2vlm_model.interface.whole_files import write_text

from .answer_cases import SCALE_SIGMA, AnswerCase, SceneCase

__all__ = ["Rated", "fit_curves", "is_right", "pooled", "rated", "write_calibration"]

Floats = NDArray[np.float64]

TOLERANCE, ANGLE_DEG, ANGLE = 0.25, 5.0, 0.15  # what counts as right
_RIDGE, _FOLDS, _SHRINK = 1.0, 5, 4.0


@dataclass(frozen=True, eq=False)
class Rated:
    """A question's readings and whether each is right.

    Args:
        intent: Understood.
        scene: Number of its window; folds keep windows together.
        features: Of `reliability.features_of`.
        text_right, measured_right: None where that source has no reading.
        token: Probability of the words, as the model has it.
        task: Type of the question.
    """

    intent: Intent
    scene: int
    features: Floats
    text_right: bool | None
    measured_right: bool | None
    token: float
    task: str = ""


def rated(cases: Iterable[SceneCase]) -> list[Rated]:
    """Readings of every question that has one right answer and is understood."""
    found = []
    for number, case in enumerate(cases):
        for answer in case.answers:
            if not answer.question.values:
                found.append(_rated(number, case, answer))
    return found


def _rated(number: int, case: SceneCase, answer: AnswerCase) -> Rated:
    labels = [mark.label for mark in answer.query.marks]
    intent = understand(answer.query.question, labels)
    measurement = measurement_of(intent, answer.query.marks, answer.said.named)
    sighting = sighting_of(case.geometry, case.window, measurement.marks, case.around)
    measured = read_geometry(measurement.intent, answer.query.question, sighting)
    scale = Scale(case.metres_per_unit, SCALE_SIGMA)
    fits = answers_kind(intent, answer.said.text, labels)
    checked = with_reading(answer.said, intent, sighting, measured, scale)
    features = features_of(
        *(checked.cross_check, answer.said.confidence, measured, bool(intent.things)),
        measurement.share,
    )
    value = measured.value
    if value is not None and measured.unit == "scene_unit":
        value *= case.metres_per_unit
    quantity = parse_quantity(answer.said.text)
    said = choice_in(intent, answer.said.text, labels) or answer.said.text.strip().rstrip(".")
    number_said = None if quantity is None else quantity.value
    return Rated(
        intent, number, features,
        is_right(answer, number_said, said) if fits else None,
        None if measured.lack else is_right(answer, value, measured.choice),
        answer.said.confidence,
        answer.question.task,
    )  # fmt: skip


def is_right(answer: AnswerCase, value: float | None, choice: str) -> bool:
    """Whether a number (metres, degrees) or a choice is the truth's: 25 %, or 5 degrees or 15 %."""
    truth = answer.question.value
    if truth is None:
        return choice == answer.question.answer
    if value is None:
        return False
    allowed = (
        max(ANGLE_DEG, ANGLE * truth) if answer.question.task == "angle" else TOLERANCE * truth
    )
    return abs(value - truth) <= abs(allowed)


def fit_curves(readings: Sequence[Rated]) -> dict[str, Curve]:
    """A curve for each group and source with at least 20 questions."""
    curves = {}
    for group in sorted({group_of(one.intent) for one in readings}):
        members = [one for one in readings if group_of(one.intent) == group]
        for source in ("text", "geometry"):
            pairs = [(one, _right(one, source)) for one in members]
            known = [(one, right) for one, right in pairs if right is not None]
            if len(known) >= 20:
                curves[f"{group}/{source}"] = _curve(*zip(*known, strict=True))
    return curves


def _right(one: Rated, source: str) -> bool | None:
    return one.text_right if source == "text" else one.measured_right


def _curve(members: Sequence[Rated], right: Sequence[bool]) -> Curve:
    kinds = sorted({kind_of(one.intent) for one in members})
    x_MF = np.array([_row(one, kinds) for one in members])
    y_M = np.array(right, np.float64)
    fold_M = np.array([one.scene % _FOLDS for one in members])
    held_M = np.zeros(len(members))
    for fold in range(_FOLDS):
        rest = fold_M != fold
        if rest.any() and (~rest).any():
            held_M[~rest] = x_MF[~rest] @ _logistic(x_MF[rest], y_M[rest])
    weights = _logistic(x_MF, y_M)
    scores, probabilities = pooled(held_M, y_M)
    count = len(FEATURES)
    return Curve(
        weights=tuple(weights[:count].tolist()),
        kinds=dict(zip(kinds, (weights[count:-1] + weights[-1]).tolist(), strict=True)),
        scores=scores,
        probabilities=probabilities,
        count=len(members),
        accuracy=float(y_M.mean()),
    )


def _row(one: Rated, kinds: Sequence[str]) -> list[float]:
    own = [float(kind_of(one.intent) == kind) for kind in kinds]
    return [*one.features.tolist(), *own, 1.0]


def _logistic(x_MF: Floats, y_M: Floats) -> Floats:
    """Weights of a logistic regression; all but the last, the constant, are drawn to 0."""
    w_F = np.zeros(x_MF.shape[1])
    ridge_F = np.full(x_MF.shape[1], _RIDGE)
    ridge_F[-1] = 1e-3
    for _ in range(30):
        p_M = 1.0 / (1.0 + np.exp(-np.clip(x_MF @ w_F, -30, 30)))
        gradient_F = x_MF.T @ (y_M - p_M) - ridge_F * w_F
        hessian_FF = (x_MF.T * (p_M * (1 - p_M))) @ x_MF + np.diag(ridge_F)
        step_F = np.linalg.solve(hessian_FF, gradient_F)
        w_F = w_F + step_F
        if np.abs(step_F).max() < 1e-6:
            break
    return w_F


def pooled(score_M: Floats, right_M: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots of the monotone map from scores to probabilities, by pooling adjacent violators.

    Args:
        score_M: (M,) any order.
        right_M: (M,) 0 or 1.

    Returns:
        Mean score and shrunk accuracy of each block, both ascending.
    """
    order = np.argsort(score_M, kind="stable")
    prior = float(right_M.mean())
    least = max(10, len(order) // 12)
    blocks: list[list[float]] = []  # count, right, sum of scores
    for start in range(0, len(order), least):
        rows = order[start : start + least]
        blocks.append([len(rows), float(right_M[rows].sum()), float(score_M[rows].sum())])
        while len(blocks) > 1 and _mean(blocks[-2], prior) >= _mean(blocks[-1], prior):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    scores = tuple(block[2] / block[0] for block in blocks)
    return scores, tuple(_mean(block, prior) for block in blocks)


def _mean(block: Sequence[float], prior: float) -> float:
    return (block[1] + _SHRINK * prior) / (block[0] + _SHRINK)


def write_calibration(
    path: Path, model_id: str, curves: Mapping[str, Curve], how: Mapping[str, object]
) -> None:
    """Write `calibration.json`.

    Args:
        path: The file.
        model_id: Of the weights that it holds for.
        curves: Fitted.
        how: What it was fitted on, for whoever reads the file.
    """
    rounded = {name: _rounded(asdict(curve)) for name, curve in curves.items()}
    content = {"version": VERSION, "model_id": model_id, "fitted_on": dict(how), "curves": rounded}
    write_text(path, json.dumps(content, indent=1) + "\n")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) else value
