"""One ROS parameter: what it means and what it accepts. No rclpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Spec", "Value"]

Value = bool | int | float | str | list[str]


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Args:
        name: ROS name, e.g. "window.size".
        default: Its type is the parameter's type.
        description: One sentence; `unit` follows it in the descriptor.
        unit: "s", "px", ... or "" where there is none.
        low, high: Inclusive range of a number; None is open.
        choices: The accepted words of a text.
        changeable: It may be set while the node is active.
    """

    name: str
    default: Value
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    changeable: bool = False

    @property
    def text(self) -> str:
        """Description, unit and choices in one line, for the parameter descriptor."""
        parts = [self.description.rstrip(".")]
        if self.unit:
            parts.append(f"[{self.unit}]")
        if self.choices:
            parts.append("one of " + ", ".join(repr(word) for word in self.choices))
        return " ".join(parts)

    def check(self, value: Any) -> Value:
        """Return the value in the parameter's type.

        Raises:
            ValueError: Wrong type, outside of the range, or not one of the choices.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if kind is list and isinstance(value, tuple | list):
            if not all(isinstance(item, str) for item in value):
                raise ValueError(f"{self.name} is {value!r}, expected a list of texts")
            return list(value)
        if type(value) is not kind:
            names = {bool: "true or false", int: "a whole number", float: "a number"}
            expected = names.get(kind, "a list of texts" if kind is list else "a text")
            raise ValueError(f"{self.name} is {value!r:.80}, expected {expected}")
        if isinstance(value, int | float) and kind is not bool:
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
            if not low <= value <= high or not math.isfinite(value):
                raise ValueError(
                    f"{self.name} is {value:g}, expected {low:g}..{high:g} {self.unit}".rstrip()
                )
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} is {value!r:.80}, expected one of {self.choices}")
        result: Value = value
        return result
