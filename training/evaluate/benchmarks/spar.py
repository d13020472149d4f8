# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""SPAR-Bench: 20 tasks on single and several views, in three levels (arXiv 2503.22976).

Rows have `id`, `img_type`, `format_type`, `task`, `source`, `image` (a list), `question` and
`answer`; the options of a choice stand inside the question. The hub has parquet files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import AnswerKind, Benchmark, BenchmarkItem, Column, Mean, Reading, Refusals, Table
from .files import Row, find_annotations, options_in, rows_of, text_field
from .reading import Ids, choice_letter, finite_number, pictures_of, read_rows
from .scoring import read_motion, score_item

__all__ = ["SPAR"]

LAYOUT = """\
  DIR/data/test-*.parquet          as on the hub (jasonzhango/SPAR-Bench), or
  DIR/*.jsonl or DIR/*.json        the same rows, `image` a list of paths relative to DIR
  fields: id, task, question, answer, image"""
_PATTERNS = ("data/test-*.parquet", "test-*.parquet", "*.parquet", "*.jsonl", "*.json")

# The names of the paper's table (G2VLM, table 3) in its order.
LOW = {
    "depth_prediction_oc": "Depth-OC",
    "depth_prediction_oc_mv": "Depth-OC-MV",
    "depth_prediction_oo": "Depth-OO",
    "depth_prediction_oo_mv": "Depth-OO-MV",
    "distance_prediction_oc": "Dist-OC",
    "distance_prediction_oc_mv": "Dist-OC-MV",
    "distance_prediction_oo": "Dist-OO",
    "distance_prediction_oo_mv": "Dist-OO-MV",
}
MEDIUM = {
    "position_matching": "PosMatch",
    "camera_motion_infer": "CamMotion",
    "view_change_infer": "ViewChgI",
}
HIGH = {
    "distance_infer_center_oo": "DistI-OO",
    "distance_infer_center_oo_mv": "DistI-OO-MV",
    "obj_spatial_relation_oc_mv": "ObjRel-OC-MV",
    "obj_spatial_relation_oo": "ObjRel-OO",
    "obj_spatial_relation_oo_mv": "ObjRel-OO-MV",
    "spatial_imagination_oc": "SpImag-OC",
    "spatial_imagination_oc_mv": "SpImag-OC-MV",
    "spatial_imagination_oo": "SpImag-OO",
    "spatial_imagination_oo_mv": "SpImag-OO-MV",
}
TASKS = {**LOW, **MEDIUM, **HIGH}
_BOXES = ("position_matching", "camera_motion_infer")


def _read(root: Path) -> Reading:
    paths = find_annotations(root, _PATTERNS, "SPAR-Bench", LAYOUT)
    folder = root if root.is_dir() else root.parent
    refusals = Refusals()
    rows = (row for path in paths for row in rows_of(path, refusals))
    ids = Ids()

    def item_of(row: Row) -> Iterator[BenchmarkItem]:
        task = text_field(row, "task")
        if task not in TASKS:
            raise ValueError("unknown task")
        question, answer = text_field(row, "question"), text_field(row, "answer")
        kind, options = AnswerKind.CHOICE, options_in(question)
        if task in LOW:
            kind, options = AnswerKind.NUMBER, ()
            finite_number(answer)
        elif task == "view_change_infer":
            kind, options = AnswerKind.MOTION, ()
            if read_motion(answer) is None:
                raise ValueError("answer names no camera motion")
        else:
            answer = choice_letter(answer, options)
        yield BenchmarkItem(
            id=ids.unique(f"{task}/{text_field(row, 'id')}"),
            task=task,
            question=question,
            answer=answer,
            kind=kind,
            images=pictures_of(row, "image", [folder]),
            options=options,
            unit="m" if kind is AnswerKind.NUMBER else "",
        )

    return read_rows(rows, item_of, refusals)


def _prompt(item: BenchmarkItem, shown: Sequence[int]) -> str:
    if item.kind is AnswerKind.NUMBER:
        return f"{item.question}\nAnswer with one number in meters."
    if item.kind is AnswerKind.MOTION:
        return item.question
    boxes = (
        "\nBoxes are in thousandths of the picture's size, from its top left corner."
        if item.task in _BOXES
        else ""
    )
    return f"{item.question}{boxes}\nAnswer with the letter of the right option only."


SPAR = Benchmark(
    name="spar",
    title="SPAR-Bench",
    layout=LAYOUT,
    read=_read,
    prompt=_prompt,
    score=score_item,
    tables=(
        Table(
            "levels: means of their tasks",
            (
                Column("Avg.", Mean(tuple(TASKS))),
                Column("Low", Mean(tuple(LOW))),
                Column("Medium", Mean(tuple(MEDIUM))),
                Column("High", Mean(tuple(HIGH))),
            ),
        ),
        Table("low", tuple(Column(name, task) for task, name in LOW.items())),
        Table("medium", tuple(Column(name, task) for task, name in MEDIUM.items())),
        Table("high", tuple(Column(name, task) for task, name in HIGH.items())),
    ),
)
