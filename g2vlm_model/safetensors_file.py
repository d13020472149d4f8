# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads tensors of a safetensors file into given memory, a few megabytes at a time.

The file is memory-mapped; what has been copied is given back to the system at once, so that
reading takes no memory beside the tensors themselves, also where the type is converted.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from .interface.documents import parse_json
from .interface.words import plain
from .model_folder import require_file

__all__ = ["SafetensorsFile", "StoredRows", "StoredWeight", "TensorEntry", "write_errors"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
CHUNK_BYTES = 8 << 20


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Make an OSError of what the library raises where a disk is full or not writable.

    Args:
        path: Named in the error.
    """
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise OSError(f"{path} could not be written: {error}") from error


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: bytes [begin, end) of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """An open file; use it as a context manager.

    Args:
        path: The file.

    Attributes:
        entries: Name -> entry.
        metadata: The file's own key/value strings.
        header: The header's bytes.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a safetensors file, damaged, cut off, or with a type that no weight has.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        require_file(self.path, "it holds weights")
        self.size = self.path.stat().st_size
        with self.path.open("rb") as file:
            self.header = self._read_header(file)
            self.metadata, self.entries = self._parse_header()
            self._map: mmap.mmap | None = None
            if self.size > LENGTH_BYTES:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __enter__(self) -> SafetensorsFile:
        """Return the open file."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Unmap the file; tensors read from it stay."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def copy_into(self, name: str, target: Tensor, row: int = 0) -> None:
        """Copy a tensor, or some of its rows, converting to the target's type and device.

        Args:
            name: One of `entries`.
            target: Contiguous tensor of the entry's shape, or of fewer rows.
            row: The first one to copy.

        Raises:
            ValueError: A number of it is not finite, or none that the target's type holds.
        """
        assert self._map is not None, f"{self.path} is closed"
        assert target.is_contiguous(), f"{name}: target is not contiguous"
        entry = self.entries[name]
        assert target.shape[1:] == entry.shape[1:], (name, target.shape, entry.shape)
        if entry.shape:  # one number alone has no rows
            assert row + len(target) <= entry.shape[0], (name, row, target.shape, entry.shape)
        flat = target.view(-1)
        size = entry.dtype.itemsize
        start = entry.begin + row * math.prod(entry.shape[1:]) * size
        step = CHUNK_BYTES // size
        for first in range(0, flat.numel(), step):
            count = min(step, flat.numel() - first)
            begin = start + first * size
            values = self._view(entry.dtype, begin, count)
            self._check_numbers(name, values, target.dtype)
            flat[first : first + count].copy_(values)
            self._forget()

    def mapped(self, name: str) -> Tensor:
        """A tensor that is the file's own pages, in the type that it has there; only read.

        Raises:
            ValueError: A number of it is not finite.
        """
        entry = self.entries[name]
        count, size = math.prod(entry.shape), entry.dtype.itemsize
        step = CHUNK_BYTES // size
        for first in range(0, count, step):
            begin = entry.begin + first * size
            values = self._view(entry.dtype, begin, min(step, count - first))
            self._check_numbers(name, values, entry.dtype)
            self._forget()
        return self._view(entry.dtype, entry.begin, count).view(entry.shape)

    def _check_numbers(self, name: str, values: Tensor, dtype: torch.dtype) -> None:
        """Refuse what would make every prediction NaN, or nonsense, without a word."""
        low, high = (float(number) for number in torch.aminmax(values))
        limit = torch.finfo(dtype).max
        if not (-limit <= low and high <= limit):  # NaN fails both
            raise self._error(
                f"holds weights from {low:g} to {high:g} in {name}, expected finite numbers that "
                f"{str(dtype).removeprefix('torch.')} holds"
            )

    def sample_bytes(self, begin: int, end: int) -> bytes:
        """Return raw bytes of the file."""
        assert self._map is not None, f"{self.path} is closed"
        content = self._map[begin:end]
        self._forget()
        return content

    def _view(self, dtype: torch.dtype, begin: int, count: int) -> Tensor:
        """Return mapped memory as a flat tensor that is only read."""
        assert self._map is not None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            if begin % dtype.itemsize == 0:
                return torch.frombuffer(self._map, dtype=dtype, count=count, offset=begin)
            raw = bytearray(self._map[begin : begin + count * dtype.itemsize])
            return torch.frombuffer(raw, dtype=dtype)

    def _forget(self) -> None:
        """Give mapped pages back, all that there are; they can be read again from the file.

        The kernel maps more than was read, as far as a folio of its cache goes.
        """
        assert self._map is not None
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"{self.path} {plain(problem)}; download or write it again")

    def _read_header(self, file: Any) -> bytes:
        prefix = file.read(LENGTH_BYTES)
        if len(prefix) < LENGTH_BYTES:
            raise self._error(f"is cut off: {self.size} bytes are no safetensors file")
        length = int.from_bytes(prefix, "little")
        if length > MAX_HEADER_BYTES:
            raise self._error("is no safetensors file (a pickle or an archive by another name?)")
        header: bytes = file.read(length)
        if len(header) < length:
            raise self._error(f"is cut off within its header ({self.size} bytes)")
        return header

    def _parse_header(self) -> tuple[dict[str, str], dict[str, TensorEntry]]:
        try:
            content = parse_json(self.header)
            metadata = content.pop("__metadata__", {})
            tensors = list(content.items())
        except (ValueError, AttributeError, TypeError):
            raise self._error("has a damaged header") from None
        return metadata, {name: self._entry(name, raw) for name, raw in tensors}

    def _entry(self, name: str, raw: dict[str, Any]) -> TensorEntry:
        start = LENGTH_BYTES + len(self.header)
        try:
            kind = str(raw["dtype"])
            shape = tuple(_count(side) for side in raw["shape"])
            begin, end = (start + _count(offset) for offset in raw["data_offsets"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._error(f"has a damaged header at {name!r}") from None
        if kind not in DTYPES:
            raise self._error(f"holds {name} as {kind}, weights must be one of {', '.join(DTYPES)}")
        dtype = DTYPES[kind]
        numel = math.prod(shape)
        if end - begin != numel * dtype.itemsize:
            raise self._error(f"has a damaged header: {name} {list(shape)} in {end - begin} bytes")
        if end > self.size:
            raise self._error(f"is cut off: {name} ends at byte {end}, the file has {self.size}")
        return TensorEntry(dtype, shape, begin, end)


@dataclass(frozen=True)
class StoredWeight:
    """A parameter in a weight file.

    Args:
        name: Of the parameter, as `named_parameters` has it.
        reader, stored_as: The open file, and the tensor's name there.
    """

    name: str
    reader: SafetensorsFile
    stored_as: str

    @property
    def dtype(self) -> torch.dtype:
        """As it is stored."""
        return self.reader.entries[self.stored_as].dtype

    @property
    def shape(self) -> torch.Size:
        """As it is stored, which is the parameter's."""
        return torch.Size(self.reader.entries[self.stored_as].shape)

    def read(
        self,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        rows: slice = slice(None),
    ) -> Tensor:
        """Read it, or some rows of it, converted on the way.

        Raises:
            ValueError: A number of it is not finite, or none that the type holds.
        """
        shape = self.shape
        first = 0
        if shape:
            first, end, _ = rows.indices(shape[0])
            shape = torch.Size((end - first, *shape[1:]))
        target = torch.empty(shape, device=device, dtype=dtype)
        self.reader.copy_into(self.stored_as, target, first)
        return target


@dataclass(frozen=True)
class StoredRows:
    """A stored weight as `quantised.Rows`, rounded from what is there: it is never whole in memory.

    Args:
        stored: The weight.
        place: Where rows are handed out.
    """

    stored: StoredWeight
    place: torch.device | str

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return self.stored.shape

    @property
    def device(self) -> torch.device:
        """For torch."""
        return torch.device(self.place)

    def __getitem__(self, rows: slice) -> Tensor:
        """Read some rows."""
        return self.stored.read(self.stored.dtype, self.place, rows)


def _count(number: Any) -> int:
    """A number of elements or bytes, as JSON has it; "-2 by 3" in "-12 bytes" agrees with itself.

    Raises:
        ValueError: It is none.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{number!r:.40} is no count")
    return number
