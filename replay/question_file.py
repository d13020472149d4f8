# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions of a JSON file, and how an answer compares with the expected one.

The file is a list of objects:

    {"question": "How far is A from B?",
     "at": {"frame": 12},                     the frame it is asked at (see below)
     "marks": [{"label": "A", "u": 101.5, "v": 80}],
     "expected": {"value": 1.2, "unit": "m", "tolerance": 0.25, "text": ["yes"]},
     "kind": "distance", "max_tokens": 16}

`at` is {"frame": index}, {"seconds": from the first frame}, {"stamp": "sec.nanosec"} or
absent: the last scene. Marks are pixels of that frame. `expected` may also be a bare number
or text. A relative tolerance (default 0.25) bounds lengths, ratios and areas; an angle in "deg"
may be off by `tolerance` degrees (default 15); a count must be equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from g2vlm_map.answers.quantity import QuantityKind, parse_quantity
from g2vlm_map.recordings import NS
from g2vlm_model.interface import SpatialQuery
from g2vlm_model.interface.command_line import reason
from g2vlm_model.interface.documents import parse_json

from .errors import ReplayInputError

UNITS = ("", "deg", "scene_unit", "m", "ratio")
RELATIVE_TOLERANCE = 0.25
ANGLE_TOLERANCE_DEG = 15.0
KEYS = {"question", "at", "marks", "expected", "kind", "max_tokens", "reason"}


@dataclass(frozen=True)
class Mark:
    """A labelled pixel (u column, v row) of the frame that the question is asked at."""

    label: str
    u: float
    v: float


@dataclass(frozen=True)
class Expected:
    """What the answer should be: a value with unit and tolerance, or one of some texts."""

    value: float | None = None
    unit: str = ""
    tolerance: float | None = None
    texts: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.value is None:
            return " / ".join(self.texts)
        return f"{self.value:g} {self.unit}".strip()


@dataclass(frozen=True)
class Question:
    """One question of the file.

    Args:
        text: the words.
        frame: index of the frame that it is asked at; None is the last scene.
        marks: pixels of that frame.
        expected: the right answer, where the file knows it.
        kind: a word that groups the results.
        max_tokens: bound of the answer; 0 leaves it to the node.
        reason: what the model reads ahead of its answer; "" leaves it to the node.
    """

    text: str
    frame: int | None = None
    marks: tuple[Mark, ...] = ()
    expected: Expected | None = None
    kind: str = ""
    max_tokens: int = 0
    reason: str = ""


def load_questions(path: Path, stamps_ns: tuple[int, ...]) -> list[Question]:
    """Read a questions file.

    Args:
        path: the JSON file.
        stamps_ns: stamps of the frames that will be played, for `at`.

    Raises:
        ReplayInputError: Not JSON, or an entry that is not understood; names file and entry.
    """
    try:
        entries = parse_json(path.read_bytes())
    except OSError as error:
        raise ReplayInputError(f"questions file {reason(error)}") from error
    except ValueError as error:
        raise ReplayInputError(f"questions file {path} is no JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ReplayInputError(
            f"questions file {path} holds {_kind(entries)}, expected a list of questions, each "
            '{"question": "...", ...}'
        )
    questions = []
    for number, entry in enumerate(entries):
        try:
            questions.append(_question(entry, stamps_ns))
        except ValueError as error:
            raise ReplayInputError(f"questions file {path}, entry {number}: {error}") from error
    return questions


def compare(
    expected: Expected, text: str, value: float | None, unit: str, metres_per_unit: float | None
) -> bool | None:
    """Whether an answer is right; None where it cannot be judged.

    Args:
        expected: the right answer.
        text: the answer's words.
        value: the number in it; None where there is none.
        unit: its unit as SpatialAnswer.msg names it.
        metres_per_unit: turns scene units into metres (median scaling against the depth
            ground truth); None where unknown.
    """
    if expected.value is None:
        return _plain(text) in {_plain(option) for option in expected.texts}
    if value is None and expected.unit == "m":
        # A length in metres of a scene without a scale has no value: it is the model's guess.
        # Against the truth a guess can be judged.
        quantity = parse_quantity(text)
        if quantity is not None and quantity.kind is QuantityKind.METRIC_LENGTH:
            value, unit = quantity.value, "m"
    if value is None or not math.isfinite(value):
        return False
    if expected.unit == "m" and unit == "scene_unit":
        if metres_per_unit is None:
            return None
        value *= metres_per_unit
    elif expected.unit != unit and {expected.unit, unit} - {"", "ratio"}:
        return False
    error = abs(value - expected.value)
    if expected.unit == "deg":
        bound = ANGLE_TOLERANCE_DEG if expected.tolerance is None else expected.tolerance
        return min(error, abs(360.0 - error)) <= bound
    if expected.unit == "" and expected.tolerance is None:
        return error == 0.0
    relative = RELATIVE_TOLERANCE if expected.tolerance is None else expected.tolerance
    return error <= relative * abs(expected.value)


def _question(entry: Any, stamps_ns: tuple[int, ...]) -> Question:
    fields = _object(entry, KEYS, "a question")
    text = fields.get("question")
    if not isinstance(text, str):
        raise ValueError(f'"question" is {_kind(text)}, expected text')
    max_tokens = fields.get("max_tokens", 0)
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise ValueError(f'"max_tokens" is {_kind(max_tokens)}, expected a whole number')
    reason = fields.get("reason", "")
    if not isinstance(reason, str):
        raise ValueError(f'"reason" is {_kind(reason)}, expected a text')
    # The checks that the node will make.
    SpatialQuery(text, max_tokens=max_tokens or 1, reason=reason or "off")
    kind = fields.get("kind", "")
    if not isinstance(kind, str):
        raise ValueError(f'"kind" is {_kind(kind)}, expected text')
    marks = fields.get("marks", [])
    if not isinstance(marks, list):
        raise ValueError(f'"marks" is {_kind(marks)}, expected a list')
    return Question(
        text,
        _frame(fields.get("at"), stamps_ns),
        tuple(_mark(mark) for mark in marks),
        _expected(fields["expected"]) if "expected" in fields else None,
        kind,
        max_tokens,
        reason,
    )


def _frame(at: Any, stamps_ns: tuple[int, ...]) -> int | None:
    """Index of the frame that `at` names."""
    if at is None:
        return None
    fields = _object(at, {"frame", "seconds", "stamp"}, '"at"')
    if len(fields) != 1:
        raise ValueError(f'"at" has {len(fields)} keys, expected one of frame, seconds, stamp')
    ((key, value),) = fields.items()
    if key == "frame":
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f'"frame" is {_kind(value)}, expected a whole number')
        if not 0 <= value < len(stamps_ns):
            raise ValueError(f'"frame" is {value}, the recording has 0..{len(stamps_ns) - 1}')
        return value
    try:
        nanoseconds = int(Decimal(str(value)) * NS)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise ValueError(f'"{key}" is {value!r:.40}, expected seconds') from error
    stamp = nanoseconds + (stamps_ns[0] if key == "seconds" else 0)
    nearest = min(range(len(stamps_ns)), key=lambda i: abs(stamps_ns[i] - stamp))
    if abs(stamps_ns[nearest] - stamp) > NS:
        raise ValueError(
            f'"{key}" {value} is more than a second away from every frame; they last from '
            f"{stamps_ns[0] / NS:.3f} s to {stamps_ns[-1] / NS:.3f} s"
        )
    return nearest


def _mark(entry: Any) -> Mark:
    fields = _object(entry, {"label", "u", "v"}, "a mark")
    label = fields.get("label", "")
    if not isinstance(label, str):
        raise ValueError(f'"label" of a mark is {_kind(label)}, expected text')
    return Mark(label, _number(fields, "u"), _number(fields, "v"))


def _expected(entry: Any) -> Expected:
    if isinstance(entry, str):
        return Expected(texts=(entry,))
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        entry = {"value": entry}
    fields = _object(entry, {"value", "unit", "tolerance", "text"}, '"expected"')
    unit = fields.get("unit", "")
    if unit not in UNITS:
        raise ValueError(f'"unit" is {unit!r:.40}, expected one of {UNITS}')
    texts = fields.get("text", [])
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError('"text" is neither a text nor a list of texts')
    tolerance = _number(fields, "tolerance") if "tolerance" in fields else None
    if tolerance is not None and tolerance < 0:
        raise ValueError(f'"tolerance" is {tolerance}, expected at least 0')
    value = _number(fields, "value") if "value" in fields else None
    if value is None and not texts:
        raise ValueError('"expected" has neither "value" nor "text"')
    return Expected(value, unit, tolerance, tuple(texts))


def _number(fields: Mapping[str, Any], key: str) -> float:
    value = fields.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f'"{key}" is {_kind(value)}, expected a finite number')
    return float(value)


def _object(entry: Any, known: set[str], what: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"{what} is {_kind(entry)}, expected an object")
    unknown = sorted(set(entry) - known)
    if unknown:
        raise ValueError(f"{what} has unknown keys {unknown}, known are {sorted(known)}")
    return entry


def _kind(value: Any) -> str:
    """A value in words, short."""
    if value is None:
        return "missing"
    return f"{type(value).__name__} {str(value)[:40]!r}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w.]+", " ", text.casefold()).strip(" .")
