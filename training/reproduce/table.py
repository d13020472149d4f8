# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a comparison's runs say together: means, spread over seeds, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .study import Metric, Study

__all__ = ["study_table", "verdict"]

Runs = Mapping[str, Sequence[Mapping[str, float]]]
"""Measured numbers of each variant, one entry per seed."""


def verdict(metric: Metric, first: Sequence[float], other: Sequence[float]) -> str:
    """Whether the paper's direction holds between two lines in one metric.

    Args:
        metric: Which way is better.
        first: The line that the paper holds to be better, one number per seed.
        other: The other one.

    Returns:
        "yes" where every seed of the first is better than every seed of the other, "no" where
        every one is worse, "not shown" between or where there are no numbers.
    """
    if not first or not other:
        return "not shown"
    sign = 1 if metric.lower else -1
    mine, theirs = [sign * value for value in first], [sign * value for value in other]
    if max(mine) < min(theirs):
        return "yes"
    return "no" if min(mine) > max(theirs) else "not shown"


def study_table(study: Study, runs: Runs) -> str:
    """A Markdown section: the question, the paper, a row per line, the verdicts."""
    names = [variant.name for variant in study.variants if runs.get(variant.name)]
    head = ["", "seeds", *(f"{m.name} {'↓' if m.lower else '↑'}" for m in study.metrics)]
    lines = [f"### {study.asks}", "", f"Paper: {study.paper}", "", _row(head)]
    lines.append(_row(["---"] * len(head)))
    for name in names:
        cells = [_cell(metric, _values(runs, name, metric)) for metric in study.metrics]
        lines.append(_row([name, str(len(runs[name])), *cells]))
    lines.append("")
    for other in names[1:]:
        pairs = [[_values(runs, name, m) for name in (names[0], other)] for m in study.metrics]
        said = ", ".join(
            f"{metric.name}: {verdict(metric, *pair)}"
            for metric, pair in zip(study.metrics, pairs, strict=True)
        )
        lines.append(f"`{names[0]}` better than `{other}`? {said}")
    return "\n".join(lines) + "\n"


def _values(runs: Runs, name: str, metric: Metric) -> list[float]:
    """One number per seed that has it."""
    return [run[metric.name] for run in runs[name] if metric.name in run]


def _cell(metric: Metric, values: Sequence[float]) -> str:
    """Mean, and half the range over the seeds; "-" where there is none."""
    if not values:
        return "-"
    middle = sum(values) / len(values)
    text = f"{middle:.{metric.digits}f}"
    if len(values) > 1:
        text += f" ± {(max(values) - min(values)) / 2:.{metric.digits}f}"
    return text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
