# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about a scene and their structured answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .frames import PixelMark
from .words import make_plain, plain_lines

__all__ = [
    "AnswerSource",
    "AnswerStatus",
    "CrossCheck",
    "NamedPlace",
    "SpatialAnswer",
    "SpatialQuery",
]


@dataclass(frozen=True)
class SpatialQuery:
    """A question about a scene.

    Args:
        question: Plain text, at most `MAX_QUESTION_CHARS` characters.
        marks: Places that the question refers to.
        max_tokens: Upper bound of answer tokens, at least 1.
        temperature: 0 is greedy; above 0 samples with this temperature.
        seed: Seed of the sampling.
        max_seconds: Decoding ends after this time with status TIMEOUT; None is no limit.
        reason: What the model reads between the question and its own answer: "off" is nothing,
            "geometry" the poses, and depths and points of the marks, that its geometric expert says
            (`g2vlm_model.reasoning`). For models that were trained with it.

    Raises:
        ValueError: Empty or too long question, control characters, a number out of range, an
            unknown reason.
    """

    MAX_QUESTION_CHARS = 4096
    MAX_TOKENS = 1024
    REASONS = ("off", "geometry")

    question: str
    marks: tuple[PixelMark, ...] = ()
    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    max_seconds: float | None = None
    reason: str = "off"

    def __post_init__(self) -> None:
        text = self.question
        if not text.strip():
            raise ValueError("question is empty")
        if len(text) > self.MAX_QUESTION_CHARS:
            raise ValueError(
                f"question has {len(text)} characters, at most {self.MAX_QUESTION_CHARS}"
            )
        bad = sorted({ch for ch in text if not ch.isprintable() and ch not in "\n\t"})
        if bad:
            raise ValueError(f"question holds unprintable characters: {bad[:5]!r}")
        if not 1 <= self.max_tokens <= self.MAX_TOKENS:
            raise ValueError(f"max_tokens is {self.max_tokens}, expected 1..{self.MAX_TOKENS}")
        if not 0.0 <= self.temperature <= 10.0:
            raise ValueError(f"temperature is {self.temperature}, expected 0..10")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds is {self.max_seconds}, expected > 0 or None")
        if self.reason not in self.REASONS:
            raise ValueError(f"reason is {self.reason!r:.80}, expected one of {self.REASONS}")


class AnswerStatus(enum.IntEnum):
    """Why an answer ended; the same numbers as in SpatialAnswer.msg."""

    OK = 0
    TRUNCATED = 1  # the token limit came before the end of the answer
    NO_SCENE = 2
    REJECTED = 3  # a bad question or mark; see the message
    TIMEOUT = 4
    OVERLOADED = 5
    CANCELLED = 6
    FAILED = 7
    UNSUPPORTED = 8  # nothing here can answer it: not understood, a mark missing, a dark picture
    ABSTAINED = 9  # there is an answer, and it is too likely wrong; see the message


class AnswerSource(enum.IntEnum):
    """Whose reading an answer gives; as in SpatialAnswer.msg."""

    NONE = 0
    TEXT = 1  # the semantic expert's words
    GEOMETRY = 2  # read off the scene's reconstruction


class CrossCheck(enum.IntEnum):
    """The answer's number against the one read off the geometry; as in SpatialAnswer.msg."""

    NOT_CHECKABLE = 0
    AGREES = 1
    DISAGREES = 2


@dataclass(frozen=True)
class NamedPlace:
    """Where the model looked for a thing that a question names.

    Args:
        mark: The place; its label is the thing's name as the question spells it.
        share: [0, 1] of all that the model looked at for it, what lies there and right beside it.
    """

    mark: PixelMark
    share: float


@dataclass(frozen=True)
class SpatialAnswer:
    """A structured answer.

    Its words become plain (`interface.words`): a model, or whoever made its folder, chose them, and
    they reach logs and terminals.

    Args:
        status, message: How it ended, and why in words where it is not OK.
        text: The model's words.
        kind, source, reply, value, unit, points, labels, cross_check and what follows them with
            `text_` or `measured_`: Filled by whoever knows the scene's scale
            (`g2vlm_map.answers`), never by a runtime.
        kind: Of the question, as it was understood; "" where it was not.
        source: Whose reading `reply`, `value` and `sigma` are.
        reply: The answer in words, e.g. "1.52 m", "left", "B"; "" where there is none.
        value, unit: The answer's number and its unit ("" for a count or ratio, "deg",
            "scene_unit", "m", "m2", "s"); None where it is no number, and for a length that was
            only said in metres while nothing fixes the scene's scale: that is the model's guess,
            it stays in `text` and `message` says so.
        is_metric: True only where a scale source fixed the scene's scale: then `points`, and
            lengths that were read in scene units, are metres, whatever `unit` is.
        sigma: Standard deviation of `value` in `unit`; None where unknown.
        points: (M, 3) float32 places the answer is about, axes of the window's first
            camera, scene units; `labels` names each.
        confidence: [0, 1]: the probability that the answer is right where it `is_calibrated`,
            else the geometric mean of the probabilities of the text's tokens.
        is_calibrated: Whether the model's `calibration.json` says how often such answers are right.
        cross_check: Whether words and geometry say the same.
        text_value: The number in the text, in `unit`; None where there is none in that unit.
        measured_value, measured_sigma: The same quantity read off the geometry, in `unit`.
        measured_choice: A choice read off the geometry: a label, "left", "yes".
        named: Where the model looked for things that the question names; empty for models
            without reference features.
        prefill_ms, decode_ms: Time of the semantic expert.
        tokens: Answer tokens that were computed.
        model_id: Name and short hash of the weights.
    """

    status: AnswerStatus
    message: str = ""
    text: str = ""
    value: float | None = None
    unit: str = ""
    is_metric: bool = False
    sigma: float | None = None
    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    labels: tuple[str, ...] = ()
    confidence: float = 0.0
    is_calibrated: bool = False
    cross_check: CrossCheck = CrossCheck.NOT_CHECKABLE
    measured_value: float | None = None
    kind: str = ""
    source: AnswerSource = AnswerSource.NONE
    reply: str = ""
    text_value: float | None = None
    measured_sigma: float | None = None
    measured_choice: str = ""
    named: tuple[NamedPlace, ...] = ()
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    tokens: int = 0
    model_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", plain_lines(self.text))
        make_plain(self, "message", "unit", "labels", "reply", "measured_choice", "model_id")
