# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the readers share: one row becomes one item, or is refused with a reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ...datasets.pictures import ParquetCell, Picture
from .base import BenchmarkItem, Reading, Refusals
from .files import Row

__all__ = ["Ids", "choice_letter", "finite_number", "pictures_of", "read_rows"]

LETTERS = "ABCDEFGH"


class Ids:
    """Makes identities unique: the second "x" becomes "x#2", so the order of a file decides."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        """`name`, or `name#N` where it came before."""
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"


def read_rows(
    rows: Iterable[Row],
    items_of: Callable[[Row], Iterator[BenchmarkItem]],
    refusals: Refusals,
    notes: Sequence[str] = (),
) -> Reading:
    """Turn rows into items.

    Args:
        rows: In the file's order.
        items_of: Yields a row's items, none where it asks nothing; raises ValueError with a
            reason, FileNotFoundError where a picture is missing.
        refusals: What was refused before; the rows that fail are added.
        notes: For the table.

    Raises:
        ValueError: Not one item is left; the text says why.
    """
    items: list[BenchmarkItem] = []
    for row in rows:
        try:
            items.extend(items_of(row))
        except FileNotFoundError as error:
            refusals.add("missing picture or video", f"{row.where}: {error.filename}")
        except ValueError as error:
            refusals.add(str(error), row.where)
    if not items:
        why = "; ".join(refusals.lines()) or "the files hold no entry"
        raise ValueError(f"no question can be asked: {why}")
    return Reading(tuple(items), refusals, tuple(notes))


def pictures_of(row: Row, name: str, folders: Sequence[Path]) -> tuple[Picture, ...]:
    """The pictures of a row's field: cells of a parquet file, or paths below one of `folders`.

    Raises:
        ValueError: The field is no list of pictures, or an empty one.
        FileNotFoundError: A path is in none of the folders.
    """
    listed = row.fields.get(name)
    if isinstance(listed, str):
        listed = [listed]
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"field {name!r} holds no list of pictures")
    if row.parquet is not None and isinstance(listed[0], dict):
        path, group, index = row.parquet
        return tuple(ParquetCell(path, group, index, name, place) for place in range(len(listed)))
    return tuple(_existing(picture, name, folders) for picture in listed)


def choice_letter(answer: str, options: Sequence[str]) -> str:
    """The truth of a choice as a letter.

    Args:
        answer: A letter, also with a stop or with the option behind it.
        options: May be empty.

    Raises:
        ValueError: No letter, or one that has no option.
    """
    letter = answer.strip("( ")[:1].upper()
    rest = answer.strip("( ")[1:2]
    if letter not in LETTERS[: len(options) or len(LETTERS)] or rest not in (
        "",
        ".",
        ")",
        ":",
        ",",
    ):
        raise ValueError("answer is no letter of an option")
    return letter


def finite_number(answer: str) -> float:
    """The truth of a number.

    Raises:
        ValueError: No number, or not a finite one.
    """
    try:
        value = float(answer)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("answer is no finite number")
    return value


def _existing(name: object, field: str, folders: Sequence[Path]) -> Path:
    if not isinstance(name, str):
        raise ValueError(f"field {field!r} holds no list of pictures")
    for folder in folders:
        path = folder / name
        if path.is_file():
            return path
    raise FileNotFoundError(2, "no such picture", name)
