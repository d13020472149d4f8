# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""VSI-Bench: eight kinds of questions about videos of rooms (arXiv 2412.14171).

Rows have `id`, `dataset`, `scene_name`, `question_type`, `question`, `options` (null for
numbers) and `ground_truth`; the video is DATASET/SCENE_NAME.mp4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import AnswerKind, Benchmark, BenchmarkItem, Column, Mean, Reading, Refusals, Table
from .files import Row, find_annotations, rows_of, text_field
from .reading import LETTERS, Ids, choice_letter, finite_number, read_rows
from .scoring import score_item

__all__ = ["VSI"]

LAYOUT = """\
  DIR/test.jsonl (or test-*.parquet)   the questions
  DIR/scannet/*.mp4, DIR/scannetpp/*.mp4, DIR/arkitscenes/*.mp4   the unpacked zip files
  (of the hub's nyu-visionx/VSI-Bench; give DIR/test_debiased.parquet for that subset)
  fields: id, dataset, scene_name, question_type, question, options, ground_truth"""
_PATTERNS = ("test.jsonl", "test-*.parquet", "test.parquet", "data/test-*.parquet", "*.jsonl")
# Type of question -> unit of its number.
NUMBERS = {
    "object_counting": "",
    "object_abs_distance": "m",
    "object_size_estimation": "cm",
    "room_size_estimation": "m2",
}
DIRECTIONS = (
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
)
CHOICES = ("object_rel_distance", *DIRECTIONS, "route_planning", "obj_appearance_order")
_UNIT_WORDS = {"m": " in meters", "cm": " in centimeters", "m2": " in square meters", "": ""}
_COLUMNS = (
    Column("Obj. Count", "object_counting"),
    Column("Abs. Dist", "object_abs_distance"),
    Column("Obj. Size", "object_size_estimation"),
    Column("Room Size", "room_size_estimation"),
    Column("Rel. Dist", "object_rel_distance"),
    Column("Rel. Dir", Mean(DIRECTIONS)),
    Column("Route Plan", "route_planning"),
    Column("Appr. Order", "obj_appearance_order"),
)


def _read(root: Path) -> Reading:
    paths = find_annotations(root, _PATTERNS, "VSI-Bench", LAYOUT)
    folder = root if root.is_dir() else root.parent
    refusals, ids = Refusals(), Ids()

    def items_of(row: Row) -> Iterator[BenchmarkItem]:
        task, answer = text_field(row, "question_type"), text_field(row, "ground_truth")
        options: tuple[str, ...] = ()
        if task in NUMBERS:
            finite_number(answer)
        elif task in CHOICES:
            options = _options(row)
            answer = choice_letter(answer, options)
        else:
            raise ValueError("unknown task")
        identity = ids.unique(text_field(row, "id"))
        name = f"{text_field(row, 'dataset')}/{text_field(row, 'scene_name')}.mp4"
        video = folder / name
        if not video.is_file():
            raise FileNotFoundError(2, "no such video", name)
        yield BenchmarkItem(
            id=identity,
            task=task,
            question=text_field(row, "question"),
            answer=answer,
            kind=AnswerKind.NUMBER if task in NUMBERS else AnswerKind.CHOICE,
            video=video,
            options=options,
            unit=NUMBERS.get(task, ""),
        )

    rows = (row for path in paths for row in rows_of(path, refusals))
    return read_rows(rows, items_of, refusals, [f"questions of {paths[0].name}"])


def _options(row: Row) -> tuple[str, ...]:
    """The options without the letters in front of them."""
    listed = row.fields.get("options")
    if not isinstance(listed, list) or not 2 <= len(listed) <= len(LETTERS):
        raise ValueError(f"field 'options' is no list of 2 to {len(LETTERS)}")
    return tuple(
        str(option).strip().removeprefix(f"{letter}.").strip()
        for letter, option in zip(LETTERS, listed, strict=False)
    )


def _prompt(item: BenchmarkItem, shown: Sequence[int]) -> str:
    lines = ["These are frames of a video.", item.question]
    if item.kind is AnswerKind.NUMBER:
        lines.append(f"Answer with one number{_UNIT_WORDS[item.unit]}.")
    else:
        lines += [
            f"{letter}. {words}" for letter, words in zip(LETTERS, item.options, strict=False)
        ]
        lines.append("Answer with the letter of the right option only.")
    return "\n".join(lines)


VSI = Benchmark(
    name="vsi",
    title="VSI-Bench",
    layout=LAYOUT,
    read=_read,
    prompt=_prompt,
    score=score_item,
    tables=(
        Table(
            "means of the eight kinds",
            (Column("Avg.", Mean(tuple(column.node for column in _COLUMNS))), *_COLUMNS),
        ),
    ),
)
