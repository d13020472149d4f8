# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Entries of the files of a language data set, found at once and parsed when they are drawn.

Millions of entries are held as places in a file (JSON lines, parquet, tar), or, of a JSON list,
which cannot be read in parts, as the bytes of each. So a worker process gets little, and a line
that is none costs its own entry alone.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from g2vlm_model.interface.documents import parse_json

from ..base import DataError
from ..pictures import ParquetCell, Picture, import_parquet
from ..shards import MappedFile, mapped, tar_members

__all__ = ["Row", "RowFile", "open_rows"]

_MAX_LIST = 2**31
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Row:
    """One entry.

    Args:
        where: File and place, for messages.
        path: The file.
        fields: Keys and values.
        pictures: Pictures that came with the entry: cells of a parquet file, members of a tar by
            their names; None where it names files.
    """

    where: str
    path: Path
    fields: Mapping[str, Any]
    pictures: Mapping[str, Picture] | None = None


class RowFile(Protocol):
    """A file of entries."""

    path: Path

    def __len__(self) -> int:
        """How many there are, broken ones among them."""

    def row(self, index: int) -> Row:
        """One of them.

        Raises:
            DataError: It is no JSON object.
        """


def open_rows(path: Path) -> RowFile:
    """Open a file by the end of its name: .jsonl, .json, .parquet, .tar.

    Raises:
        DataError: It cannot be read, or as a whole is not what it is called.
    """
    kinds: dict[str, type[_Lines | _List | _Parquet | _Tar]] = {
        ".jsonl": _Lines, ".json": _List, ".parquet": _Parquet, ".tar": _Tar,
    }  # fmt: skip
    if path.suffix not in kinds:
        raise DataError(f"{path} is not read; expected one of {sorted(kinds)}")
    try:
        return kinds[path.suffix](path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


class _Lines:
    """JSON lines, by where each begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        begins, number, at = [], [], 0
        with path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                if line.strip():
                    begins.append(at)
                    number.append(line_number)
                at += len(line)
        self._begin = np.array(begins, np.int64)
        self._number = np.array(number, np.int64)

    def __len__(self) -> int:
        return len(self._begin)

    def row(self, index: int) -> Row:
        where = f"{self.path}:{self._number[index]}"
        with self.path.open("rb") as file:
            file.seek(int(self._begin[index]))
            return Row(where, self.path, _object(file.readline(), where))


class _List:
    """A JSON list, as the bytes of its entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            entries = parse_json(path.read_bytes(), _MAX_LIST)
        except ValueError as error:
            raise DataError(f"{path} is no JSON: {error}; is it cut off?") from error
        if not isinstance(entries, list):
            raise DataError(f"{path} holds a {type(entries).__name__}, expected a list of objects")
        texts = [json.dumps(entry).encode() for entry in entries]
        self._ends = np.cumsum([0, *map(len, texts)])
        self._texts = b"".join(texts)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def row(self, index: int) -> Row:
        where = f"{self.path} entry {index + 1}"
        text = self._texts[self._ends[index] : self._ends[index + 1]]
        return Row(where, self.path, _object(text, where))


class _Parquet:
    """A parquet file with the hub's pictures: {bytes, path}, or a list of them, in `image`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file = import_parquet().ParquetFile(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
            raise DataError(f"{path} cannot be read as parquet: {error}") from error
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._ends = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def row(self, index: int) -> Row:
        where = f"{self.path} row {index + 1}"
        group = int(np.searchsorted(self._ends, index, side="right")) - 1
        at = index - int(self._ends[group])
        fields = dict(_parquet_group(self.path, group)[at])
        held = fields.pop("image", fields.pop("images", None))
        held = held if isinstance(held, list) else [held] if held is not None else []
        name = "image" if "image" in _parquet_names(self.path) else "images"
        cells: dict[str, Picture] = {
            str(place): ParquetCell(self.path, group, at, name, place) for place in range(len(held))
        }
        return Row(where, self.path, fields, cells)


@functools.lru_cache(maxsize=2)
def _parquet_group(path: Path, group: int) -> list[dict[str, Any]]:
    """The entries of a row group, of pictures their names alone; the newest two stay in memory."""
    file = import_parquet().ParquetFile(path)
    leaves = [file.schema.column(index).path for index in range(len(file.schema))]
    names = [leaf for leaf in leaves if not leaf.endswith(".bytes")]
    rows: list[dict[str, Any]] = file.read_row_group(group, columns=names).to_pylist()
    return rows


@functools.lru_cache(maxsize=64)
def _parquet_names(path: Path) -> tuple[str, ...]:
    return tuple(import_parquet().ParquetFile(path).schema_arrow.names)


@dataclass(frozen=True)
class _Sample:
    """What a tar holds of one entry: where its description and its pictures lie."""

    key: str
    json: slice | None = None
    pictures: dict[str, slice] = field(default_factory=dict)


class _Tar:
    """A WebDataset tar: the members `KEY.json` and `KEY.jpg`, or `KEY.1.jpg`, `KEY.2.jpg`, ..."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = MappedFile.of(path)
        try:
            with path.open("rb") as file:
                members = tar_members(file)
        except (ValueError, tarfile.TarError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        places: dict[str, tuple[dict[str, slice], dict[str, slice]]] = {}
        for name, place in members.items():
            parts = PurePosixPath(name)
            key = str(parts.parent / parts.name.partition(".")[0])
            found = places.setdefault(key, ({}, {}))
            if parts.suffix == ".json":
                found[0][name] = place
            elif parts.suffix.lower() in _PICTURES:
                found[1][name] = place
        self._samples = [
            _Sample(key, next(iter(jsons.values()), None), pictures)
            for key, (jsons, pictures) in sorted(places.items())
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def row(self, index: int) -> Row:
        sample = self._samples[index]
        where = f"{self.path}: {sample.key}"
        if sample.json is None:
            raise DataError(f"{where} has no .json")
        content = mapped(self._file)
        pictures: dict[str, Picture] = {
            PurePosixPath(name).name: bytes(content[place])
            for name, place in sorted(sample.pictures.items(), key=lambda item: _natural(item[0]))
        }
        return Row(where, self.path, _object(bytes(content[sample.json]), where), pictures)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts KEY.2.jpg ahead of KEY.10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _object(text: bytes, where: str) -> Mapping[str, Any]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{where} is no JSON object")
    return content
