# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""OmniSpatial: four dimensions of spatial reasoning on one picture each (arXiv 2506.03135).

Entries have `id`, `question`, `options`, `answer` (index of the option), `task_type` and
`sub_task_type`; some copies have `gt` (letter) and `image_path` instead. The picture of id
"12_3" is TASK_TYPE/12.png.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...datasets.pictures import Picture
from .base import AnswerKind, Benchmark, BenchmarkItem, Column, Pooled, Reading, Refusals, Table
from .files import Row, find_annotations, rows_of, text_field
from .reading import LETTERS, Ids, choice_letter, pictures_of, read_rows
from .scoring import score_item

__all__ = ["OMNISPATIAL"]

LAYOUT = """\
  DIR/data.json                      a list of questions
  DIR/TASK_TYPE/NUMBER.png           e.g. Perspective_Taking/12.png for the ids 12_0, 12_1, ...
  (OmniSpatial-test.zip of the hub's qizekun/OmniSpatial)
  fields: id, question, options, answer (or gt), task_type, sub_task_type"""
_PATTERNS = ("data.json", "OmniSpatial-test/data.json", "*.json", "*.jsonl", "*.parquet")
DIMENSIONS = {
    "Dynamic_Reasoning": ("Manipulation", "Motion_Analysis"),
    "Spatial_Interaction": ("Traffic_Analysis", "Localization", "Geospatial_Strategy"),
    "Complex_Logic": ("Pattern_Recognition", "Geometric_Reasoning"),
    "Perspective_Taking": ("Egocentric", "Allocentric", "Hypothetical"),
}
_ALL = tuple(task for tasks in DIMENSIONS.values() for task in tasks)
_PAPER = DIMENSIONS["Spatial_Interaction"] + DIMENSIONS["Perspective_Taking"]


def _read(root: Path) -> Reading:
    path = find_annotations(root, _PATTERNS, "OmniSpatial", LAYOUT)[0]
    refusals, ids = Refusals(), Ids()

    def items_of(row: Row) -> Iterator[BenchmarkItem]:
        dimension, task = text_field(row, "task_type"), text_field(row, "sub_task_type")
        if task not in DIMENSIONS.get(dimension, ()):
            raise ValueError("unknown task")
        listed = row.fields.get("options")
        if not isinstance(listed, list) or not 2 <= len(listed) <= len(LETTERS):
            raise ValueError(f"field 'options' is no list of 2 to {len(LETTERS)}")
        options = tuple(str(option).strip() for option in listed)
        name = text_field(row, "id")
        yield BenchmarkItem(
            id=ids.unique(f"{dimension}/{name}"),
            task=task,
            question=text_field(row, "question"),
            answer=_answer(row, options),
            kind=AnswerKind.CHOICE,
            images=_picture(row, path.parent, dimension, name),
            options=options,
        )

    return read_rows(rows_of(path, refusals), items_of, refusals)


def _answer(row: Row, options: Sequence[str]) -> str:
    """The letter of the right option, of either copy of the data."""
    index = row.fields.get("answer")
    if isinstance(index, int) and not isinstance(index, bool):
        if not 0 <= index < len(options):
            raise ValueError("answer is no index of an option")
        return LETTERS[index]
    return choice_letter(text_field(row, "gt" if "gt" in row.fields else "answer"), options)


def _picture(row: Row, folder: Path, dimension: str, name: str) -> tuple[Picture, ...]:
    if "image_path" in row.fields:
        return pictures_of(row, "image_path", [folder])
    stem = name.split("_")[0]
    for ending in (".png", ".jpg", ".jpeg"):
        path = folder / dimension / f"{stem}{ending}"
        if path.is_file():
            return (path,)
    raise FileNotFoundError(2, "no such picture", f"{dimension}/{stem}.png")


def _prompt(item: BenchmarkItem, shown: Sequence[int]) -> str:
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, item.options, strict=False)]
    return "\n".join([item.question, *lines, "Answer with the letter of the right option only."])


OMNISPATIAL = Benchmark(
    name="omnispatial",
    title="OmniSpatial",
    layout=LAYOUT,
    read=_read,
    prompt=_prompt,
    score=score_item,
    tables=(
        Table(
            "the two dimensions of G2VLM's table",
            (
                Column("Avg.*", Pooled(_PAPER)),
                Column("SI", Pooled(DIMENSIONS["Spatial_Interaction"])),
                Column("PT", Pooled(DIMENSIONS["Perspective_Taking"])),
            ),
        ),
        Table(
            "all four dimensions",
            (
                Column("Avg.", Pooled(_ALL)),
                *(
                    Column(dimension.replace("_", " "), Pooled(tasks))
                    for dimension, tasks in DIMENSIONS.items()
                ),
            ),
        ),
        Table("sub-types", tuple(Column(task.replace("_", " "), task) for task in _ALL)),
    ),
)
