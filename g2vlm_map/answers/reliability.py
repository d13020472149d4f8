# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How likely a reading is right, as it was measured: `calibration.json` of a model folder.

For each group of kinds and each source the file holds a score, linear in a few features, and a
monotone map from it to the probability of being right, both fitted on validation rooms
(`g2vlm evaluate questions --calibrate`). A file of other weights is refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import CrossCheck, RuntimeInfo
from g2vlm_model.interface.documents import parse_json

from .intent import Intent, Kind
from .reading import Reading
from .support import LENGTHS, is_number

__all__ = [
    "FEATURES",
    "Curve",
    "KnownReliability",
    "Reliability",
    "features_of",
    "group_of",
    "kind_of",
    "read_reliability",
]

_LOG = logging.getLogger(__name__)

VERSION = 2
FEATURES = (
    *("agrees", "disagrees", "token", "confidence", "log_sigma", "log_lead", "named"),
    "log_share",
)
_MAX_SIGMA, _MAX_LEAD = 3.0, 10.0


@dataclass(frozen=True)
class Curve:
    """From features to a probability.

    Args:
        weights: Of `FEATURES`.
        kinds: Added for each kind, by marks and by names (`kind_of`); 0 for one that validation did
            not ask.
        scores, probabilities: Knots of the monotone map, ascending; between them it is linear.
        count, accuracy: Of what it was fitted on.
    """

    weights: tuple[float, ...]
    kinds: Mapping[str, float]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    count: int
    accuracy: float

    def score(self, kind: str, features: NDArray[np.float64]) -> float:
        """The raw score, in logits."""
        return float(np.dot(self.weights, features)) + self.kinds.get(kind, 0.0)

    def probability(self, kind: str, features: NDArray[np.float64]) -> float:
        """Of being right."""
        return float(np.interp(self.score(kind, features), self.scores, self.probabilities))


@dataclass(frozen=True)
class Reliability:
    """Curves by "group/source"; none where a model has no calibration.

    Args:
        model_id: Of the weights that it was measured with.
        curves: One for each group and source that validation rooms showed.
    """

    model_id: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def knows(self, intent: Intent, source: str) -> bool:
        """Whether readings of the very kind were judged, by marks or by names as the intent has."""
        curve = self.curves.get(f"{group_of(intent)}/{source}")
        return curve is not None and kind_of(intent) in curve.kinds

    def probability(
        self, intent: Intent, source: str, features: NDArray[np.float64]
    ) -> float | None:
        """Of a source's reading being right; None where nobody measured it."""
        curve = self.curves.get(f"{group_of(intent)}/{source}")
        return None if curve is None else curve.probability(kind_of(intent), features)


def kind_of(intent: Intent) -> str:
    """Kind of a question, apart where a subject is a thing by its name."""
    return f"{intent.kind.value}/name" if intent.things else intent.kind.value


def group_of(intent: Intent) -> str:
    """Kinds whose readings are right or wrong for the same reasons."""
    if intent.kind in (Kind.MOVED, Kind.TURNED, Kind.TRAVELLED, Kind.VIEW_CHANGE):
        return "motion"
    if intent.kind in (Kind.ELEVATION, Kind.HEIGHT, Kind.WIDTH, Kind.SIZE):
        return "extent"
    if intent.kind is Kind.LAST_SEEN:
        return "memory"
    if intent.kind in (Kind.REACH, Kind.WAY_FREE, Kind.FREE_WIDTH):
        return "robot"
    if intent.kind in LENGTHS:
        return "length"
    if is_number(intent):
        return "number"
    return "choice"


def features_of(
    check: CrossCheck,
    token_probability: float,
    measured: Reading,
    named: bool,
    share: float = 1.0,
) -> NDArray[np.float64]:
    """(8,) `FEATURES` of a question's readings.

    Args:
        check: Of the words against the geometry.
        token_probability: Geometric mean over the words.
        measured: The geometry's reading, with or without a lack.
        named: Whether a subject is a thing by its name.
        share: Of the attention that lies where the thing is measured; 1 where none is.
    """
    token = min(max(token_probability, 1e-3), 1 - 1e-3)
    sigma = min(measured.relative_sigma, _MAX_SIGMA)
    lead = min(measured.lead, _MAX_LEAD)
    return np.array(
        [
            float(check is CrossCheck.AGREES),
            float(check is CrossCheck.DISAGREES),
            math.log(token / (1.0 - token)),
            measured.confidence,
            math.log(max(sigma, 1e-3)) if measured.value is not None else 0.0,
            math.log1p(lead),
            float(named),
            math.log(max(share, 1e-3)),
        ]
    )


class KnownReliability:
    """Of the model that runs; read once, and again where another one has taken over."""

    def __init__(self) -> None:
        self._key = ("", "")
        self._known = Reliability()

    def of(self, info: RuntimeInfo) -> Reliability:
        """What its calibration says; nothing, and a warning, where that is not of its weights."""
        key = (info.calibration, info.model_id)
        if key != self._key:
            self._key, self._known = key, Reliability()
            try:
                self._known = read_reliability(*key)
            except ValueError as error:
                _LOG.warning("answers come without their probability: %s", error)
        return self._known


def read_reliability(text: str, model_id: str) -> Reliability:
    """What a `calibration.json` says.

    Args:
        text: Of the file; "" is a model without one.
        model_id: Of the weights that run.

    Raises:
        ValueError: It is of other weights, or no calibration.
    """
    if not text:
        return Reliability()
    try:
        content = parse_json(text)
        if content["version"] != VERSION:
            raise ValueError(f"version is {content['version']}, expected {VERSION}")
        curves = {name: _curve(entry) for name, entry in content["curves"].items()}
        made_of = str(content["model_id"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"calibration.json is not readable: {error}; make calibrate") from error
    if made_of != model_id:
        raise ValueError(
            f"calibration.json was measured with {made_of}, the weights are {model_id}; "
            "make calibrate"
        )
    return Reliability(made_of, curves)


def _curve(entry: Mapping[str, Any]) -> Curve:
    weights, scores, probabilities = (
        tuple(float(value) for value in entry[name])
        for name in ("weights", "scores", "probabilities")
    )
    rising = bool(np.all(np.diff(scores) >= 0)) and bool(np.all(np.diff(probabilities) >= 0))
    if len(weights) != len(FEATURES) or not rising or not scores:
        raise ValueError("a curve has other features or does not rise")
    return Curve(
        weights=weights,
        kinds={str(kind): float(value) for kind, value in entry["kinds"].items()},
        scores=scores,
        probabilities=probabilities,
        count=int(entry["count"]),
        accuracy=float(entry["accuracy"]),
    )
