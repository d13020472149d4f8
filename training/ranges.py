# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ranges of options: one way to check a number and to say what was expected."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "CHANCE",
    "COUNT",
    "FRACTION",
    "POSITIVE",
    "WEIGHT",
    "Range",
    "check_choice",
    "check_range",
]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Args:
        low, high: The ends; an infinite end is never part of the range.
        without_low, without_high: Leave out an end.
    """

    low: float = 0.0
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"more than {self.low:g}" if self.without_low else f"{self.low:g} or more"
        low = f"more than {self.low:g}" if self.without_low else f"{self.low:g}"
        return f"{low} {'up to but not' if self.without_high else 'to'} {self.high:g}"


POSITIVE = Range(without_low=True)
COUNT = Range(1)
WEIGHT = Range()
CHANCE = Range(0, 1)
FRACTION = Range(0, 1, without_high=True)


def check_range(options: object, allowed: Range, *names: str, part: str = "") -> None:
    """Refuse numbers out of range.

    Args:
        options: Holds them as attributes.
        allowed: The range; no range holds NaN.
        names: Of the attributes, each a number or a tuple of numbers.
        part: Of the config that `options` are, named in errors.

    Raises:
        ValueError: Names the value and the range.
    """
    for name in names:
        value = getattr(options, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number not in allowed:
                where = f"{part}: {name}" if part else name
                raise ValueError(f"{where} is {value}, expected {allowed}")


def check_choice(options: object, name: str, choices: tuple[str, ...], part: str = "") -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ValueError: Names the word and the choices.
    """
    value = getattr(options, name)
    if value not in choices:
        where = f"{part}: {name}" if part else name
        raise ValueError(f"{where} is {value!r}, expected one of {choices}")
