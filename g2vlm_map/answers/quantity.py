# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an answer's words say: the number and its unit, the chosen label, the side.

Standard library only, pure functions. The words themselves are never changed.

Lengths in words and lengths of a reconstruction are two different things. The model says
"1.2 meters" from experience; the reconstruction is up to scale. `Quantity` therefore keeps
the kind of unit that was *said*; whether the scene has a scale that makes it comparable is
decided in `crosscheck.py`.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Quantity", "QuantityKind", "chosen_label", "labels_in", "parse_quantity", "side_in"]


class QuantityKind(enum.Enum):
    """What a number in an answer counts."""

    METRIC_LENGTH = "metric length"  # value in metres
    SCENE_LENGTH = "scene length"  # value in scene units
    ANGLE = "angle"  # value in degrees
    RATIO = "ratio"  # "2.5 times", "40 %"
    NUMBER = "number"  # no unit was said: a count, or a length whose unit the question names


@dataclass(frozen=True)
class Quantity:
    """A number in an answer.

    Args:
        value: In the unit that `kind` names.
        kind: What it counts.
    """

    value: float
    kind: QuantityKind


_UNITS: tuple[tuple[str, QuantityKind, float], ...] = (
    (r"scene[ _-]?units?|units?", QuantityKind.SCENE_LENGTH, 1.0),
    (r"centimet(?:er|re)s?|cm", QuantityKind.METRIC_LENGTH, 0.01),
    (r"millimet(?:er|re)s?|mm", QuantityKind.METRIC_LENGTH, 0.001),
    (r"kilomet(?:er|re)s?|km", QuantityKind.METRIC_LENGTH, 1000.0),
    (r"met(?:er|re)s?|m", QuantityKind.METRIC_LENGTH, 1.0),
    (r"feet|foot|ft", QuantityKind.METRIC_LENGTH, 0.3048),
    (r"inch(?:es)?|in(?=\.?$)", QuantityKind.METRIC_LENGTH, 0.0254),
    (r"degrees?|deg|°", QuantityKind.ANGLE, 1.0),
    (r"radians?|rad", QuantityKind.ANGLE, 180.0 / math.pi),
    (r"times|x|×", QuantityKind.RATIO, 1.0),
    (r"percent|%", QuantityKind.RATIO, 0.01),
)
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[-+−]?)"
    r"(?:(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?![.,]?\d)"
    r"(?:e(?P<exponent>[+-]?\d{1,2})(?!\d))?(?!e[+-]?\d)"
    rf"|(?P<word>{'|'.join(_WORDS)})\b)"
    r"[ \u00a0]*-?(?:(?P<unit>"
    + "|".join(f"(?:{pattern})" for pattern, _, _ in _UNITS)
    + r")(?![\w]))?",
    re.IGNORECASE,
)
_SIDES = {
    "left": r"\bleft\b|\bcounter-?clockwise\b",
    "right": r"\bright\b|(?<!counter)(?<!counter-)\bclockwise\b",
    "forward": r"\bforwards?\b",
    "backward": r"\bbackwards?\b",
}


def parse_quantity(text: str) -> Quantity | None:
    """The number in an answer, in the base unit of its kind.

    Where the text holds several numbers, the first one with a unit counts, else the first.
    A comma before exactly three digits separates thousands, any other comma is decimal. Chains
    such as "1.9.1.9" are no number.

    Args:
        text: The model's words.

    Returns:
        None where the text holds no number.
    """
    matches = list(_NUMBER.finditer(text))
    if not matches:
        return None
    match = next((found for found in matches if found["unit"]), matches[0])
    if match["word"]:
        value = float(_WORDS.index(match["word"].lower()))
    else:
        digits = match["digits"]
        thousands = re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", digits)
        value = float(digits.replace(",", "" if thousands else "."))
        value *= 10.0 ** int(match["exponent"] or 0)
    if match["sign"] in ("-", "−"):
        value = -value
    if not match["unit"]:
        return Quantity(value, QuantityKind.NUMBER)
    for pattern, kind, factor in _UNITS:
        if re.fullmatch(pattern, match["unit"], re.IGNORECASE):
            return Quantity(value * factor, kind)
    raise AssertionError(f"unit {match['unit']!r} matched as a whole but not by itself")


def labels_in(text: str, labels: Sequence[str]) -> list[str]:
    """Labels that a text names, in the order of their first appearance.

    Upper and lower case count ("A" is a label, "a" an article), whole words only.
    """
    places = []
    for label in labels:
        found = re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) if label else None
        if found:
            places.append((found.start(), label))
    return [label for _, label in sorted(places)]


def chosen_label(text: str, labels: Sequence[str]) -> str | None:
    """The one label that an answer chooses.

    Returns:
        The only label named, or the first one where the text starts with it ("B, because A
        ..."); None where the choice is not clear.
    """
    named = labels_in(text, labels)
    if len(named) == 1:
        return named[0]
    if named and text.lstrip(" \"'(").startswith(named[0]):
        return named[0]
    return None


def side_in(text: str) -> str | None:
    """The one of left, right, forward and backward that a text names; None where it is not one."""
    named = [side for side, pattern in _SIDES.items() if re.search(pattern, text, re.IGNORECASE)]
    return named[0] if len(named) == 1 else None
