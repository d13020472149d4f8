# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lengths in the unit that a question asks for, beside metres.

`value` and `unit` of an answer stay in metres, whatever was asked: a robot computes with them. Its
words, for people, have the number in the asker's unit first.
"""

from __future__ import annotations

import re
from dataclasses import replace

from g2vlm_model.interface import AnswerSource, SpatialAnswer

__all__ = ["in_asked_unit"]

# Pattern, name in words, metres of one, digits.
_ASKED: tuple[tuple[str, str, float, int], ...] = (
    (r"inch(?:es)?", "inches", 0.0254, 1),
    (r"feet|foot|ft", "feet", 0.3048, 2),
    (r"yards?", "yards", 0.9144, 2),
    (r"centimet(?:er|re)s?|cm", "cm", 0.01, 0),
    (r"millimet(?:er|re)s?|mm", "mm", 0.001, 0),
)
_ASKS = re.compile(
    r"\b(?:how many|in|number of)\s+(?P<unit>"
    + "|".join(f"(?:{pattern})" for pattern, *_ in _ASKED)
    + r")\b",
    re.IGNORECASE,
)


def in_asked_unit(answer: SpatialAnswer, question: str) -> SpatialAnswer:
    """The answer with a measured length also in the unit that the question names.

    Args:
        answer: As it is given out.
        question: Its words: "how many feet", "in inches".

    Returns:
        With `reply` such as "4.99 feet (1.52 m)". The answer itself where it is no measured length
        in metres: map units are no feet, and a model's words stay as they are.
    """
    asked = _ASKS.search(question)
    if asked is None or answer.source is not AnswerSource.GEOMETRY:
        return answer
    if answer.unit != "m" or answer.value is None:
        return answer
    for pattern, name, metres, digits in _ASKED:
        if re.fullmatch(pattern, asked["unit"], re.IGNORECASE):
            words = f"{answer.value / metres:.{digits}f} {name} ({answer.value:.2f} m)"
            return replace(answer, reply=words)
    raise AssertionError(f"unit {asked['unit']!r} matched as a whole but not by itself")
