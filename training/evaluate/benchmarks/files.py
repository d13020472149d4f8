# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rows of annotation files: JSON, JSON lines and parquet, with what is broken counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_model.interface.documents import parse_json

from ...datasets.pictures import import_parquet
from .base import Refusals

__all__ = ["Row", "find_annotations", "options_in", "rows_of", "text_field"]

_MAX_BYTES = 2**31
BROKEN = "line or entry that is no JSON object"


@dataclass(frozen=True)
class Row:
    """One entry of an annotation file.

    Args:
        where: File and place, for refusals.
        fields: Column or key to value; of a parquet file's pictures only their names.
        parquet: (file, row group, row within it) of a parquet file, else None.
    """

    where: str
    fields: Mapping[str, Any]
    parquet: tuple[Path, int, int] | None = None


def find_annotations(root: Path, patterns: Sequence[str], title: str, layout: str) -> list[Path]:
    """The annotation files: `root` itself where it is a file, else what the first pattern finds.

    Raises:
        FileNotFoundError: No such folder, or nothing in it fits; the text says the layout.
    """
    if root.is_file():
        return [root]
    for pattern in patterns if root.is_dir() else ():
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if found:
            return found
    problem = f"holds none of {', '.join(patterns)}" if root.is_dir() else "does not exist"
    raise FileNotFoundError(f"{root} {problem}; {title} is read from this layout:\n{layout}")


def rows_of(path: Path, refusals: Refusals) -> Iterator[Row]:
    """Yield a file's entries; the ending of its name says which format.

    Args:
        path: .json (a list of objects), .jsonl (one object a line) or .parquet.
        refusals: Counts lines and entries that are no objects.

    Raises:
        ValueError: Another ending, a file that is no list, or one that cannot be parsed.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    if path.suffix == ".jsonl":
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if line.strip():
                yield from _object(_parsed(line), f"{path.name}:{number}", refusals)
        return
    if path.suffix != ".json":
        raise ValueError(f"{path} is not read; expected .json, .jsonl or .parquet")
    try:
        entries = parse_json(path.read_bytes(), _MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}; is it cut off?") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} holds a {type(entries).__name__}, expected a list of objects")
    for number, entry in enumerate(entries, start=1):
        yield from _object(entry, f"{path.name} entry {number}", refusals)


def text_field(row: Row, name: str) -> str:
    """A field that must hold words or a number.

    Raises:
        ValueError: It is missing, empty, or neither.
    """
    value = row.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"no field {name!r} with text")
    text = str(value).strip()
    if not text:
        raise ValueError(f"empty field {name!r}")
    return text


def options_in(question: str) -> tuple[str, ...]:
    """What the letters of a question with inline options stand for.

    Understands `A. left B. right`, `(A) left (B) right` and one option a line; the letters have
    to follow each other from A. Returns () where fewer than two are found.
    """
    places: list[tuple[int, int]] = []
    at = 0
    for letter in "ABCDEFGH":
        found = [
            (question.find(mark, at), len(mark))
            for mark in (
                f"({letter})",
                f"\n{letter}.",
                f" {letter}.",
                f"\n{letter}:",
                f" {letter}:",
            )
        ]
        found = [pair for pair in found if pair[0] >= 0]
        if not found:
            break
        start, length = min(found)
        places.append((start, start + length))
        at = start + length
    if len(places) < 2:
        return ()
    ends = [start for start, _ in places[1:]] + [len(question)]
    return tuple(
        question[begin:end].strip(" \n,;") for (_, begin), end in zip(places, ends, strict=True)
    )


def _parsed(line: bytes) -> object:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _object(entry: object, where: str, refusals: Refusals) -> Iterator[Row]:
    if isinstance(entry, dict):
        yield Row(where, entry)
    else:
        refusals.add(BROKEN, where)


def _parquet_rows(path: Path) -> Iterator[Row]:
    parquet = import_parquet()
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise ValueError(f"{path} is no parquet file: {error}; is it cut off?") from error
    leaves = [file.schema.column(index).path for index in range(len(file.schema))]
    names = [leaf for leaf in leaves if not leaf.endswith(".bytes")]
    number = 0
    for group in range(file.num_row_groups):
        for row, fields in enumerate(file.read_row_group(group, columns=names).to_pylist()):
            number += 1
            yield Row(f"{path.name} row {number}", fields, (path, group, row))
