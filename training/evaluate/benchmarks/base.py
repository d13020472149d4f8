# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What every published benchmark is made of: items, what was refused, tasks and columns.

A benchmark is a record of functions (`Benchmark`), not a class to derive from. Scores are in
[0, 1] until they are printed as percent. NaN means "there is no such number" (guessing a
distance at random), None means "nothing was asked".
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.pictures import Picture

__all__ = [
    "AnswerKind",
    "Benchmark",
    "BenchmarkItem",
    "Column",
    "Mean",
    "Node",
    "Pooled",
    "Reading",
    "Refusals",
    "Score",
    "Table",
    "column_value",
    "tasks_of",
]


class AnswerKind(enum.Enum):
    """What an answer has to be."""

    CHOICE = "choice"  # one of the options, by letter or by its words
    NUMBER = "number"  # a quantity in the item's unit
    COUNT = "count"  # a whole number, right or wrong
    MOTION = "motion"  # "move_right:0.4,rotate_left:15"


@dataclass(frozen=True)
class BenchmarkItem:
    """One question of a benchmark.

    Args:
        id: Unique within the benchmark.
        task: One of the tasks that the benchmark's columns are made of.
        question: As it stands in the file.
        answer: The truth: a letter for CHOICE, else what the file says.
        kind: What the answer has to be.
        images: In the order in which the model sees them; empty where `video` is given.
        video: The frames come from here instead.
        options: What the letters A, B, ... stand for; empty where the question's words do not
            tell them.
        unit: Of a NUMBER: "m", "cm", "m2", "deg" or "".
        turns: (number of the turn, pictures of it) of a dialogue so far.
    """

    id: str
    task: str
    question: str
    answer: str
    kind: AnswerKind
    images: tuple[Picture, ...] = ()
    video: Path | None = None
    options: tuple[str, ...] = ()
    unit: str = ""
    turns: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        assert bool(self.images) != (self.video is not None), (self.id, self.images, self.video)

    @property
    def scene(self) -> tuple[Picture | Path, ...]:
        """What is looked at; items with the same scene are asked about one encoding."""
        return self.images if self.video is None else (self.video,)


@dataclass
class Refusals:
    """Items that cannot be asked, counted by reason, with one example each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Count one more; the first example of a reason is kept."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, example)

    def merged(self, other: Refusals) -> Refusals:
        """Both together."""
        return Refusals(self.counts + other.counts, {**other.examples, **self.examples})

    @property
    def total(self) -> int:
        """How many items were refused."""
        return sum(self.counts.values())

    def lines(self) -> list[str]:
        """One line for each reason, the most frequent first."""
        return [
            f"refused {count} x {reason}; first: {self.examples[reason]}"
            for reason, count in self.counts.most_common()
        ]


@dataclass(frozen=True)
class Reading:
    """What a benchmark's files hold.

    Args:
        items: That can be asked.
        refusals: Entries that cannot.
        notes: What a reader of the table should know.
    """

    items: tuple[BenchmarkItem, ...]
    refusals: Refusals
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """What an answer is worth: [0, 1], and whether any answer could be read off the words."""

    value: float
    readable: bool = True


@dataclass(frozen=True)
class Mean:
    """Mean of what its parts are worth, each part counting the same; empty parts are left out."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Pooled:
    """Mean over all items of these tasks, each item counting the same."""

    tasks: tuple[str, ...]


Node = str | Mean | Pooled  # a string is a task: the mean over its items


@dataclass(frozen=True)
class Column:
    """A number of a table."""

    name: str
    node: Node


@dataclass(frozen=True)
class Table:
    """Columns over the items that `keep` selects."""

    title: str
    columns: tuple[Column, ...]
    keep: Callable[[BenchmarkItem], bool] = lambda item: True


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark.

    Args:
        name: On the command line.
        title: In tables.
        layout: The files that `read` expects, for errors and help.
        read: Items of a folder (or of the one annotation file that is given instead).
            Raises FileNotFoundError or ValueError where nothing fits the layout.
        prompt: What is asked; the second argument holds the indices of the pictures that the
            model is shown.
        score: What an answer is worth.
        tables: The first one is the paper's headline.
    """

    name: str
    title: str
    layout: str
    read: Callable[[Path], Reading]
    prompt: Callable[[BenchmarkItem, Sequence[int]], str]
    score: Callable[[BenchmarkItem, str], Score]
    tables: tuple[Table, ...]


def tasks_of(node: Node) -> tuple[str, ...]:
    """The tasks that a number is made of."""
    if isinstance(node, str):
        return (node,)
    if isinstance(node, Pooled):
        return node.tasks
    return tuple(task for part in node.parts for task in tasks_of(part))


def column_value(node: Node, values: Mapping[str, Sequence[float]]) -> float | None:
    """A column's number from the values of each task's items.

    Args:
        node: What the column is made of.
        values: Of each task's items; NaN where an item has no such value.

    Returns:
        None where no item belongs to the column; NaN where an item has no value.
    """
    if isinstance(node, str):
        return _mean(values.get(node, ()))
    if isinstance(node, Pooled):
        return _mean([value for task in node.tasks for value in values.get(task, ())])
    parts = [column_value(part, values) for part in node.parts]
    return _mean([part for part in parts if part is not None])


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None
