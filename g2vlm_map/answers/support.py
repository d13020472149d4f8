# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question lacks before anybody is asked, and whether words answer its kind at all.

Pure functions. Each reason says what would help, in plain words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from g2vlm_model.interface import FrameWindow

from .intent import Intent, Kind, Role
from .lexicon import COLOURS
from .quantity import QuantityKind, chosen_label, labels_in, parse_quantity, side_in

__all__ = ["KNOWN_QUESTIONS", "answers_kind", "choice_in", "darkness", "is_number", "missing"]

DARK_LEVEL = 6.0  # mean of a picture, of 255
DARK_SPREAD = 4.0  # standard deviation of it; a dark room with a lamp has more

KNOWN_QUESTIONS = (
    "how far, deep, high, wide or big something is, how far apart two are, which is "
    "nearer or higher, "
    "left or right, in front or behind, how many there are, which colour, how the "
    "camera moved or turned"
)
LENGTHS = frozenset(
    {
        Kind.DEPTH, Kind.DISTANCE, Kind.DIFFERENCE, Kind.ELEVATION, Kind.HEIGHT, Kind.WIDTH,
        Kind.GAP, Kind.FREE_WIDTH, Kind.TRAVELLED,
    }
)  # fmt: skip
_YES_NO = frozenset({Kind.BETWEEN, Kind.REACH, Kind.WAY_FREE, Kind.VISITED, Kind.EXISTS})
_SIDES = (
    r"\b(?:left|right|front|behind|back|ahead|above|below|forwards?|backwards?|up|"
    r"down|(?:counter-?)?clockwise)\b"
)


def missing(intent: Intent, labels: Sequence[str], frames: int) -> str:
    """Why a question cannot be answered whoever is asked; "" where it can be.

    Args:
        intent: The question, understood.
        labels: Of its marks.
        frames: Of the scene.
    """
    if intent.kind is Kind.UNKNOWN:
        return f"the question is not understood; in English, ask {KNOWN_QUESTIONS}"
    given = {label.casefold() for label in labels}
    unmarked = [name for name in intent.marks if name.casefold() not in given]
    if unmarked:
        return f"no mark is called {' or '.join(unmarked)}: mark it in the picture by that name"
    pointed = "it" in intent.things or (intent.kind is Kind.NAME and not intent.subjects)
    if pointed:
        return "which one? mark it in the picture, and name the mark in the question"
    if intent.kind is Kind.NEAREST and not intent.subjects and len(labels) < 2:
        return "which is nearest of what? mark the places that are to be compared"
    if intent.kind is Kind.MATCH and len(labels) < 2:
        return "mark the places that may be the same, in the frame that the question names"
    numbers = [s.name for s in intent.subjects if s.role is Role.FRAME]
    numbers += [intent.frame.partition(":")[2]] if intent.frame.startswith("frame:") else []
    outside = [name for name in numbers if name.isdigit() and not 1 <= int(name) <= frames]
    if outside:
        return f"frame {outside[0]} is not in the scene, which has frames 1 to {frames}"
    return ""


def darkness(window: FrameWindow) -> str:
    """Why the newest frame's picture shows nothing; "" where it shows something."""
    image = window.frames[-1].image[::4, ::4]
    level, spread = float(np.mean(image)), float(np.std(image))
    if level >= DARK_LEVEL or spread >= DARK_SPREAD:
        return ""
    return f"the picture is dark (mean {level:.0f} of 255): give it light, or uncover the camera"


def answers_kind(intent: Intent, text: str, labels: Sequence[str]) -> bool:
    """Whether words are an answer of the kind that was asked for, right or wrong.

    Args:
        intent: The question.
        text: What the model said.
        labels: Of the question's marks.
    """
    kind, said = intent.kind, text.strip().casefold()
    if not said or kind in (Kind.UNKNOWN, Kind.LOCATION, Kind.RETURN, Kind.LAST_SEEN):
        return False
    quantity = parse_quantity(text)
    number = None if quantity is None else quantity.kind
    counted = number is QuantityKind.NUMBER
    if intent.options:
        return re.match(r"[A-D]\b", text.strip()) is not None
    if kind in LENGTHS:
        return counted or number in (QuantityKind.METRIC_LENGTH, QuantityKind.SCENE_LENGTH)
    if kind is Kind.RATIO:
        return counted or number is QuantityKind.RATIO
    if kind is Kind.ANGLE or (kind is Kind.TURNED and intent.modifier == "angle"):
        return counted or number is QuantityKind.ANGLE
    if kind in (Kind.SIZE, Kind.ROOM_SIZE):
        return number is not None
    if kind is Kind.COUNT:
        return counted and quantity is not None and float(quantity.value).is_integer()
    if kind is Kind.COLOUR:
        return any(word in COLOURS for word in re.findall(r"\w+", said))
    return _is_choice(intent, text, labels)


def is_number(intent: Intent) -> bool:
    """Whether the answer is a number: not a side, a name, yes or no."""
    return (
        intent.kind in LENGTHS
        or intent.kind in (Kind.RATIO, Kind.ANGLE, Kind.COUNT, Kind.SIZE, Kind.ROOM_SIZE)
        or (intent.kind is Kind.TURNED and intent.modifier == "angle")
    ) and not intent.options


def choice_in(intent: Intent, text: str, labels: Sequence[str]) -> str:
    """The choice that words make, as `readers` names it; "" where it is not clear."""
    said = text.strip().casefold()
    if intent.options:
        return text.strip()[:1] if re.match(r"[A-D]\b", text.strip()) else ""
    whether = re.match(r"(yes|no)\b", said)
    if whether:
        return whether[1]
    if intent.kind in (Kind.NEAREST, Kind.TALLEST, Kind.MATCH):
        return chosen_label(text, labels) or ""
    if intent.kind in (Kind.MOVED, Kind.TURNED):
        return side_in(text) or ""
    if intent.kind in (Kind.RELATION, Kind.DIRECTION, Kind.IMAGINED):
        return _sides(said)
    return ""


def _sides(said: str) -> str:
    """Sides such as "left", "in front", "left in front", "above": at most one of each pair."""
    parts = []
    for pair in (("left", "right"), ("in front", "behind"), ("above", "below")):
        named = [side for side in pair if re.search(rf"\b{side}\b", said)]
        if len(named) > 1:
            return ""
        parts += named
    return " ".join(parts)


def _is_choice(intent: Intent, text: str, labels: Sequence[str]) -> bool:
    """The kinds whose answers are words: yes or no, a side, a name."""
    kind, said = intent.kind, text.strip().casefold()
    yes_no = re.match(r"(?:yes|no)\b", said) is not None
    if kind in _YES_NO or (kind is Kind.TURNED and intent.modifier == "yes"):
        return yes_no
    if kind is Kind.NAME:
        return parse_quantity(text) is None and not (
            labels_in(text, labels) or side_in(text) or said in COLOURS or yes_no
        )
    if kind in (Kind.NEAREST, Kind.TALLEST, Kind.MATCH):
        named = chosen_label(text, labels) is not None
        return named or yes_no or any(name in said for name in intent.things)
    if kind is Kind.VIEW_CHANGE:
        return parse_quantity(text) is not None and re.search(_SIDES, said) is not None
    return yes_no or re.search(_SIDES, said) is not None
