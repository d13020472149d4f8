# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an answer's words say, and what that is worth.

A choice is right or wrong. A number scores the mean relative accuracy of VSI-Bench: the share
of the thresholds .5, .55 ... .95 with a relative error of at most 1 - threshold. A camera's
motion scores that along each of SPAR-Bench's five axes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from g2vlm_map.answers.quantity import QuantityKind, parse_quantity

from .base import AnswerKind, BenchmarkItem, Score

__all__ = ["read_choice", "read_motion", "read_number", "relative_accuracy", "score_item"]

_TOLERANCES = 1.0 - np.linspace(0.5, 0.95, 10)
_ROUNDING = 1e-9  # a decimal fraction that meets a threshold exactly must not depend on its bits
_ANSWER_PART = re.compile(
    r"<answer>(?P<tag>.*?)(?:</answer>|$)|[\"']answer[\"']\s*:\s*[\"']?(?P<json>[^\"'\n,}]*)"
    r"|\banswer\s*(?:is|:)\s*(?P<said>[^\n]*)",
    re.IGNORECASE | re.DOTALL,
)
_LEADING_LETTER = re.compile(r"[\s\"'*]*(?:option\s+)?\(?([A-H])\)?[\"'*]*\s*(?:[.):,]|$)")
_LONE_LETTER = re.compile(r"(?<!\w)([A-H])(?!\w)(?! [a-z])")
_AMOUNT = r"[_ ]?(right|left|up|down|forward|backward)\s*[:=]?\s*([-+]?\d+(?:\.\d+)?)"
_ACTION = re.compile(r"\b(move|rotate)" + _AMOUNT, re.IGNORECASE)
_DIRECTION = re.compile(r"\b()" + _AMOUNT, re.IGNORECASE)
_AXES = (
    ("move_right", "move_left"),
    ("move_up", "move_down"),
    ("move_forward", "move_backward"),
    ("rotate_right", "rotate_left"),
    ("rotate_up", "rotate_down"),
)


def score_item(item: BenchmarkItem, text: str, strict: bool = False) -> Score:
    """Score an answer's words by the item's kind.

    Args:
        item: The question with its truth.
        text: The model's words.
        strict: A relative error that meets a threshold exactly fails it (OST-Bench's rule).
    """
    if item.kind is AnswerKind.CHOICE:
        letter = read_choice(text, item.options)
        return Score(float(letter == item.answer), letter is not None)
    if item.kind is AnswerKind.MOTION:
        moved = read_motion(text)
        if moved is None:
            return Score(0.0, readable=False)
        return Score(_motion_accuracy(moved, read_motion(item.answer) or {}))
    number = read_number(text, item.unit)
    if number is None:
        return Score(0.0, readable=False)
    if item.kind is AnswerKind.COUNT:
        return Score(float(number == float(item.answer)))
    return Score(relative_accuracy(number, float(item.answer), strict))


def relative_accuracy(said: float, truth: float, strict: bool = False) -> float:
    """Mean relative accuracy (VSI-Bench, section 3.3); with a truth of 0 the error is absolute."""
    error = abs(said - truth) / abs(truth) if truth else abs(said)
    slack = -_ROUNDING if strict else _ROUNDING
    return float((error <= _TOLERANCES + slack).mean())


def read_number(text: str, unit: str = "") -> float | None:
    """The number that an answer says, in `unit`; None where it says none.

    A length said with its unit is converted; one without is taken to be in `unit`.
    """
    quantity = parse_quantity(_answer_part(text))
    if quantity is None or not math.isfinite(quantity.value):
        return None
    if quantity.kind is QuantityKind.METRIC_LENGTH and unit == "cm":
        return quantity.value * 100.0
    return quantity.value


def read_choice(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that an answer chooses, by letter or by the option's words.

    Args:
        text: The model's words; `<answer>` tags, JSON and "the answer is" are unwrapped.
        options: What the letters stand for; may be empty.

    Returns:
        None where the choice is not clear, or the letter has no option.
    """
    part = _answer_part(text)
    letters = "ABCDEFGH"[: len(options)] if options else "ABCDEFGH"
    leading = _LEADING_LETTER.match(part)
    if leading:
        return leading[1] if leading[1] in letters else None
    if len(part.strip(" .")) == 1 and part.strip(" .").upper() in letters:
        return part.strip(" .").upper()
    by_words = _option_named(part, options)
    if by_words is not None:
        return letters[by_words]
    lone = {letter for letter in _LONE_LETTER.findall(part) if letter in letters}
    return lone.pop() if len(lone) == 1 else None


def read_motion(text: str) -> dict[str, float] | None:
    """Amounts by action ("move_right" in metres, "rotate_up" in degrees); None where none.

    Reads SPAR-Bench's `move_right:0.4,rotate_left:15`, and `right 0.4 turn left 15`, the words
    that the embedded model learns.
    """
    named = _ACTION.findall(text)
    if not named:
        moved, _, turned = text.lower().partition("turn")
        named = [("move", way, amount) for _, way, amount in _DIRECTION.findall(moved)]
        named += [("rotate", way, amount) for _, way, amount in _DIRECTION.findall(turned)]
    return {f"{verb}_{way}".lower(): float(amount) for verb, way, amount in named} or None


def _motion_accuracy(said: dict[str, float], truth: dict[str, float]) -> float:
    """Mean over SPAR-Bench's five axes; an action that is not named is 0."""
    return math.fsum(
        relative_accuracy(
            said.get(plus, 0.0) - said.get(minus, 0.0),
            truth.get(plus, 0.0) - truth.get(minus, 0.0),
        )
        for plus, minus in _AXES
    ) / len(_AXES)


def _answer_part(text: str) -> str:
    """The words of an answer that are the answer itself; the last where it is said twice."""
    found = list(_ANSWER_PART.finditer(text))
    parts = [match["tag"] or match["json"] or match["said"] or "" for match in found]
    named = [part.strip() for part in parts if part.strip()]
    return named[-1] if named else text.strip()


def _option_named(text: str, options: Sequence[str]) -> int | None:
    """Index of the one option whose words a text holds; the longest where one holds another."""
    plain = _plain(text)
    named = [
        (index, words)
        for index, words in enumerate(map(_plain, options))
        if words and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", plain)
    ]
    longest = max(named, key=lambda pair: len(pair[1]), default=None)
    if longest is None or any(words not in longest[1] for _, words in named):
        return None
    same = [index for index, words in named if words == longest[1]]
    return same[0] if len(same) == 1 else None


def _plain(text: str) -> str:
    """Lower case, single spaces, without a full stop at the end."""
    return " ".join(text.lower().split()).strip(" .'\"")
