# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Options as dataclass fields: default, meaning, unit and range in one place, checked when made.

A group of options is a frozen dataclass with the base `OptionGroup`; its fields are made by
`option`. Groups nest: the field `size` of the group `window` has the full name `window.size`,
under which parameter servers, files and documentation know it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

__all__ = ["Option", "OptionGroup", "Value", "described", "flat", "from_flat", "option"]

Value = bool | int | float | str | tuple[str, ...]
_T = TypeVar("_T")
_KEY = "g2vlm option"


@dataclass(frozen=True)
class Option:
    """What one option means and which values it takes.

    Args:
        default: Its type is the option's type.
        description: One sentence without its full stop; the unit follows it in listings.
        unit: "s", "px", ... or "" where there is none.
        low, high: Inclusive range of a number; None is open.
        choices: The accepted words of a text.
        changeable: It may be given another value while the pipeline runs.
    """

    default: Value
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    changeable: bool = False

    @property
    def text(self) -> str:
        """Description, unit and choices in one line."""
        parts = [self.description.rstrip(".")]
        if self.unit:
            parts.append(f"[{self.unit}]")
        if self.choices:
            parts.append("one of " + ", ".join(repr(word) for word in self.choices))
        return " ".join(parts)

    def check(self, name: str, value: Any) -> Value:
        """Return the value in the option's type: whole numbers pass for fractions.

        Args:
            name: For the message.
            value: Of whatever type.

        Raises:
            ValueError: Wrong type, outside of the range, or not one of the choices.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        expected = words.get(kind, "a list of texts" if kind is tuple else "a text")
        if type(value) is not kind:
            raise ValueError(f"{name} is {value!r:.80}, expected {expected}")
        if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} is {value!r:.80}, expected {expected}")
        if isinstance(value, int | float) and kind is not bool:
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
            if not low <= value <= high or not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value:g}, expected {low:g}..{high:g} {self.unit}".rstrip()
                )
        if self.choices and value not in self.choices:
            raise ValueError(f"{name} is {value!r:.80}, expected one of {self.choices}")
        result: Value = value
        return result


def option(
    default: _T,
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    changeable: bool = False,
) -> _T:
    """A dataclass field that is an option; the arguments are those of `Option`."""
    made = Option(cast("Value", default), description, unit, low, high, choices, changeable)
    # To a type checker the field's default is what it is, a value of the option's type.
    return field(default=default, metadata={_KEY: made})


class OptionGroup:
    """Base of options dataclasses: checks every field; `group` is the prefix of their names."""

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        problems = []
        for name, made in _own(type(self)):
            full = f"{self.group}.{name}" if self.group else name
            try:
                object.__setattr__(self, name, made.check(full, getattr(self, name)))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))


def described(kind: type) -> dict[str, Option]:
    """The options of a dataclass and of the groups in it, by full name, in their order."""
    found = dict(_named(kind))
    for _, inner in _groups(kind):
        found.update(described(inner))
    return found


def flat(options: Any) -> dict[str, Value]:
    """The values of an options object by full name."""
    values = {name: getattr(options, name.split(".")[-1]) for name, _ in _named(type(options))}
    for name, _ in _groups(type(options)):
        values.update(flat(getattr(options, name)))
    return values


def from_flat(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """An options object out of values by full name; names that it does not have are left alone.

    Raises:
        ValueError: Everything that is wrong, group by group.
    """
    given: dict[str, Any] = {
        name.split(".")[-1]: values[name] for name, _ in _named(kind) if name in values
    }
    problems: list[str] = []
    for name, inner in _groups(kind):
        try:
            given[name] = from_flat(inner, values)
        except ValueError as error:
            problems.append(str(error))
    try:
        made = kind(**given)
    except ValueError as error:
        raise ValueError("; ".join([str(error), *problems])) from error
    if problems:
        raise ValueError("; ".join(problems))
    return made


def _own(kind: type) -> Iterator[tuple[str, Option]]:
    """The options of a dataclass itself, by field name."""
    assert is_dataclass(kind), kind
    for item in fields(kind):
        if _KEY in item.metadata:
            yield item.name, item.metadata[_KEY]


def _named(kind: type) -> Iterator[tuple[str, Option]]:
    prefix = getattr(kind, "group", "")
    for name, made in _own(kind):
        yield (f"{prefix}.{name}" if prefix else name), made


def _groups(kind: type) -> Iterator[tuple[str, type]]:
    hints = get_type_hints(kind)
    for item in fields(cast("Any", kind)):
        if is_dataclass(hints[item.name]):
            yield item.name, cast("type", hints[item.name])
