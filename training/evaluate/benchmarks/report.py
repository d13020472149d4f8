# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The table of a run: the paper's columns for the model and for the rows beside it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from g2vlm_model.interface import RuntimeInfo

from .base import Benchmark, BenchmarkItem, Node, Refusals, Table, column_value, tasks_of
from .baselines import best_constant, chance
from .runner import AskOptions

__all__ = ["CHANCE", "FREQUENCY", "QaReport", "make_report"]

CHANCE, FREQUENCY = "chance", "frequency"
_NAMED = 6  # so many missing tasks are named, more are only counted


@dataclass(frozen=True)
class QaReport:
    """Numbers of a run.

    Args:
        benchmark: Its title.
        info: What ran.
        methods: Names of the rows.
        tables: (title, columns); a column is (name, items, value of each method in percent,
            None where there is no such number).
        unreadable: Answers of each model row that say no answer; they count as wrong.
        refusals: What was not asked, one line a reason.
        notes: What a reader should know.
    """

    benchmark: str
    info: RuntimeInfo
    methods: tuple[str, ...]
    tables: tuple[tuple[str, tuple[tuple[str, int, tuple[float | None, ...]], ...]], ...]
    unreadable: Mapping[str, int]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Every table, one line a column of the paper."""
        width = max(12, *(len(name) for name in self.methods)) + 2
        lines = [f"{self.benchmark}, percent, {self.info.device}, {self.info.precision}"]
        for title, columns in self.tables:
            head = "".join(f"{name:>{width}}" for name in self.methods)
            lines += ["", title, f"{'':<28}{'n':>7}{head}"]
            for name, count, values in columns:
                lines.append(
                    f"{name:<28}{count:>7}" + "".join(f"{_cell(v):>{width}}" for v in values)
                )
        remarks = [
            *(
                f"{name}: {count} answers could not be read and count as wrong"
                for name, count in self.unreadable.items()
            ),
            *self.refusals,
            *self.notes,
        ]
        return "\n".join([*lines, "", *remarks])

    def csv(self) -> str:
        """One row a method, one column a number, as the paper prints them."""
        out = io.StringIO()
        columns = [column for _, table in self.tables for column in table]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["method", *(name for name, _, _ in columns)])
        writer.writerow(["n", *(count for _, count, _ in columns)])
        for index, method in enumerate(self.methods):
            cells = [values[index] for _, _, values in columns]
            writer.writerow([method, *("" if v is None else f"{v:.2f}" for v in cells)])
        return out.getvalue()

    def content(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {
            "benchmark": self.benchmark,
            "model": self.info.model_id,
            "device": self.info.device,
            "precision": self.info.precision,
            "tables": {
                title: {
                    name: {"n": count, **dict(zip(self.methods, values, strict=True))}
                    for name, count, values in columns
                }
                for title, columns in self.tables
            },
            "unreadable": dict(self.unreadable),
            "refusals": list(self.refusals),
            "notes": list(self.notes),
        }


def make_report(
    benchmark: Benchmark,
    items: Sequence[BenchmarkItem],
    answers: Mapping[str, Mapping[str, str]],
    info: RuntimeInfo,
    refusals: Refusals,
    notes: Sequence[str],
    options: AskOptions,
) -> QaReport:
    """Score answers and put the chance and frequency rows beside them.

    Args:
        benchmark: Gives scores and tables.
        items: That were to be asked; what some method has no answer to is left out of every row.
        answers: Of each model row, by item.
        info: What ran.
        refusals: From reading and asking.
        notes: From reading.
        options: How the model was asked.
    """
    scored = [item for item in items if all(item.id in told for told in answers.values())]
    values: dict[str, dict[str, float]] = {
        CHANCE: {item.id: chance(item) for item in scored},
        FREQUENCY: _frequency(benchmark, scored),
    }
    unreadable = {}
    for method, told in answers.items():
        scores = {item.id: benchmark.score(item, told[item.id]) for item in scored}
        values[method] = {name: score.value for name, score in scores.items()}
        unreadable[method] = sum(not score.readable for score in scores.values())
    return QaReport(
        benchmark=benchmark.title,
        info=info,
        methods=tuple(values),
        tables=tuple(_table(table, scored, values) for table in benchmark.tables),
        unreadable=unreadable,
        refusals=tuple(refusals.lines()),
        notes=(*notes, *_own_notes(benchmark, scored, len(items), options)),
    )


def _frequency(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> dict[str, float]:
    by_task: dict[str, list[BenchmarkItem]] = {}
    for item in items:
        by_task.setdefault(item.task, []).append(item)
    return {
        item.id: value
        for group in by_task.values()
        for item, value in zip(group, best_constant(benchmark, group), strict=True)
    }


def _table(
    table: Table, items: Sequence[BenchmarkItem], values: Mapping[str, Mapping[str, float]]
) -> tuple[str, tuple[tuple[str, int, tuple[float | None, ...]], ...]]:
    kept = [item for item in items if table.keep(item)]
    counts: dict[str, int] = {}
    for item in kept:
        counts[item.task] = counts.get(item.task, 0) + 1
    by_method = []
    for method in values.values():
        tasks: dict[str, list[float]] = {}
        for item in kept:
            tasks.setdefault(item.task, []).append(method[item.id])
        by_method.append(tasks)
    columns = tuple(
        (
            column.name,
            sum(counts.get(task, 0) for task in tasks_of(column.node)),
            tuple(_percent(column.node, tasks) for tasks in by_method),
        )
        for column in table.columns
    )
    return table.title, columns


def _percent(node: Node, tasks: Mapping[str, Sequence[float]]) -> float | None:
    value = column_value(node, tasks)
    return None if value is None or math.isnan(value) else 100.0 * value


def _own_notes(
    benchmark: Benchmark, scored: Sequence[BenchmarkItem], wanted: int, options: AskOptions
) -> list[str]:
    notes = [
        f"{FREQUENCY}: the constant answer that suits each task best, chosen with its answers; "
        f"{CHANCE}: guessing, choices only"
    ]
    everything = {
        task for table in benchmark.tables for c in table.columns for task in tasks_of(c.node)
    }
    missing = sorted(everything - {item.task for item in scored})
    if missing:
        names = f"; without {', '.join(missing)}" if len(missing) <= _NAMED else ""
        notes.append(
            f"averages are over the {len(everything) - len(missing)} of {len(everything)} tasks "
            f"that have an item{names}"
        )
    if len(scored) < wanted:
        notes.append(f"{len(scored)} of {wanted} questions are scored")
    videos = sum(item.video is not None for item in scored)
    if videos:
        notes.append(f"{videos} questions show at most {options.frames} frames of their video")
    many = sum(len(item.images) > options.frames for item in scored)
    if many:
        notes.append(f"{many} questions have more pictures than {options.frames}, evenly thinned")
    return notes


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
