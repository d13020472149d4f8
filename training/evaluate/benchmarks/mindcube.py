# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""MindCube: one scene from a few views, what is where out of sight (arXiv 2506.21458).

Lines have `id`, `category`, `type`, `meta_info`, `question` (its options inside), `images` and
`gt_answer`; the beginning of `id` says the setting. `translation` is not scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import AnswerKind, Benchmark, BenchmarkItem, Column, Pooled, Reading, Refusals, Table
from .files import Row, find_annotations, options_in, rows_of, text_field
from .reading import Ids, choice_letter, pictures_of, read_rows
from .scoring import score_item

__all__ = ["MINDCUBE"]

LAYOUT = """\
  DIR/raw/MindCube_tinybench.jsonl   what the published tables use, or raw/MindCube.jsonl
  DIR/other_all_image/...            the pictures; paths in `images` are relative to DIR
  (data.zip of the hub's MLL-Lab/MindCube; DIR is its folder `data` or the one above)
  fields: id, question, images, gt_answer"""
_TINY, _FULL = "MindCube_tinybench.jsonl", "MindCube.jsonl"
_PATTERNS = tuple(
    f"{folder}{name}" for name in (_TINY, _FULL) for folder in ("data/raw/", "raw/", "")
)
SETTINGS = {"rotation": "Rotation", "among": "Among", "around": "Around"}


def _read(root: Path) -> Reading:
    path = find_annotations(root, _PATTERNS, "MindCube", LAYOUT)[0]
    folders = [path.parent, path.parent.parent]
    refusals, ids, unscored = Refusals(), Ids(), 0

    def items_of(row: Row) -> Iterator[BenchmarkItem]:
        nonlocal unscored
        name = text_field(row, "id")
        setting = _setting(name)
        if setting == "translation":
            unscored += 1
            return
        question = text_field(row, "question")
        options = options_in(question)
        yield BenchmarkItem(
            id=ids.unique(name),
            task=setting,
            question=question,
            answer=choice_letter(text_field(row, "gt_answer"), options),
            kind=AnswerKind.CHOICE,
            images=pictures_of(row, "images", folders),
            options=options,
        )

    reading = read_rows(rows_of(path, refusals), items_of, refusals)
    notes = [f"questions of {path.name}"]
    if unscored:
        notes.append(
            f"{unscored} questions of the setting translation are not scored, as published"
        )
    return Reading(reading.items, refusals, tuple(notes))


def _setting(name: str) -> str:
    """rotation, among, around or translation, from an item's id."""
    found = [word for word in (*SETTINGS, "translation") if word in name.lower()]
    if len(found) != 1:
        raise ValueError("id names no known setting")
    return found[0]


def _prompt(item: BenchmarkItem, shown: Sequence[int]) -> str:
    return (
        "The pictures show one scene from different viewpoints.\n"
        f"{item.question}\nAnswer with the letter of the right option only."
    )


MINDCUBE = Benchmark(
    name="mindcube",
    title="MindCube",
    layout=LAYOUT,
    read=_read,
    prompt=_prompt,
    score=score_item,
    tables=(
        Table(
            "accuracy over questions",
            (
                Column("Avg.", Pooled(tuple(SETTINGS))),
                *(Column(name, setting) for setting, name in SETTINGS.items()),
            ),
        ),
    ),
)
