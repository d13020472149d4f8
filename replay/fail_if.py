"""Conditions such as `abs_rel>0.3` that turn a replay into a failure."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from g2vlm_map.recordings.errors import ReplayInputError

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
CONDITION = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*$")


@dataclass(frozen=True)
class FailCondition:
    """`metric operator limit`; the replay fails where it holds."""

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:g}"


def parse_condition(text: str, known: Mapping[str, object]) -> FailCondition:
    """Read one condition.

    Args:
        text: e.g. "abs_rel>0.3".
        known: names of the metrics that a replay can measure.

    Raises:
        ReplayInputError: Not of that form, an unknown metric, or no finite number.
    """
    match = CONDITION.match(text)
    if match is None:
        raise ReplayInputError(
            f"--fail-if {text!r} is no condition; expected METRIC OPERATOR NUMBER such as "
            f"'abs_rel>0.3', operators are {' '.join(OPERATORS)}"
        )
    metric, comparison, number = match.groups()
    if metric not in known:
        close = difflib.get_close_matches(metric, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ReplayInputError(
            f"--fail-if {text!r}: unknown metric {metric!r}{hint} Known: {', '.join(known)}"
        )
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ReplayInputError(f"--fail-if {text!r}: {number!r} is no finite number")
    return FailCondition(metric, comparison, limit)


def failures(conditions: Sequence[FailCondition], values: Mapping[str, float | None]) -> list[str]:
    """One line for each condition that holds.

    A condition on a metric that this run could not measure fails too: a guard that silently
    passes is none.
    """
    lines = []
    for condition in conditions:
        value = values.get(condition.metric)
        if value is None or math.isnan(value):
            lines.append(
                f"FAILED {condition}: {condition.metric} was not measured in this run "
                "(no ground truth, or nothing was published)"
            )
        elif OPERATORS[condition.comparison](value, condition.limit):
            lines.append(f"FAILED {condition}: {condition.metric} is {value:.6g}")
    return lines
