# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arrays and a JSON header in one file that is either whole or not there.

The file is a zip of .npy members (what numpy calls an npz) and `header.json`. Members are stored,
never compressed: none can become larger than the file is, so a hostile one cannot ask for more
memory than its own size. Arrays are written and read piece by piece: neither way needs the whole
of them at once. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.npy import NpyHeader, read_npy_header
from g2vlm_model.interface.whole_files import whole_file
from g2vlm_model.interface.words import plain

__all__ = ["ArrayFileError", "ArrayReader", "ArrayWriter", "reading", "writing"]

HEADER = "header.json"
MAX_HEADER_BYTES = 64 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal maps make equal files


class ArrayFileError(ValueError):
    """A file that cannot be written or read; the text says which, why, and what to do."""


class ArrayWriter:
    """Members of a file that is being written; see `writing`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def header(self, values: Mapping[str, Any]) -> None:
        """Write the header; NaN and infinity are refused: JSON has none."""
        text = json.dumps(values, allow_nan=False, separators=(",", ":"))
        self._archive.writestr(zipfile.ZipInfo(HEADER, _EPOCH), text)

    def array(self, name: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        self.pieces(name, values.dtype, values.shape, (values,))

    def pieces(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        pieces: Iterable[NDArray[Any]],
    ) -> None:
        """Write an array whose pieces lie one behind the other.

        Args:
            name: Of the member, without ".npy".
            dtype, shape: Of the whole.
            pieces: C order; together as many elements as the shape says.
        """
        fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        left = int(np.prod(shape, dtype=np.int64))
        info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
        with self._archive.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {**fields, "shape": shape})
            for piece in pieces:
                assert piece.dtype == dtype, (name, piece.dtype, dtype)
                left -= piece.size
                member.write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        assert left == 0, (name, shape, left)


class ArrayReader:
    """Members of a file that is being read; see `reading`."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._path = path

    def header(self) -> dict[str, Any]:
        """The header.

        Raises:
            ArrayFileError: There is none, or it is no JSON object.
        """
        info = self._member(HEADER)
        if info.file_size > MAX_HEADER_BYTES:
            raise ArrayFileError(
                f"{self._path}: its header has {info.file_size} bytes, expected at most "
                f"{MAX_HEADER_BYTES}"
            )
        try:
            values = parse_json(self._archive.read(info))
        except ValueError as error:
            raise ArrayFileError(f"{self._path}: its header is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise ArrayFileError(f"{self._path}: its header is no JSON object")
        return values

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A whole array of a shape that is known.

        Raises:
            ArrayFileError: It is missing, or of another type or shape.
        """
        return next(self.pieces(name, dtype, shape, (shape,)))

    def pieces(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        pieces: Iterable[tuple[int, ...]],
    ) -> Iterator[NDArray[Any]]:
        """Pieces of an array that lie one behind the other; each owns its memory.

        Args:
            name: Of the member, without ".npy".
            dtype: Expected.
            shape: Expected of the whole; checked against the member's size before anything is
                allocated.
            pieces: Shapes.

        Raises:
            ArrayFileError: It is missing, or of another type or shape.
        """
        kind = np.dtype(dtype)
        info = self._member(f"{name}.npy")
        with self._archive.open(info) as member:
            found = self._npy_header(member, name)
            if found != (shape, False, kind):
                raise ArrayFileError(
                    f"{self._path}: {name} is {found[2]} {found[0]}, expected {kind} {shape}"
                )
            rest = info.file_size - member.tell()
            wanted = int(np.prod([int(side) for side in shape], dtype=object)) * kind.itemsize
            if wanted != rest:
                raise ArrayFileError(
                    f"{self._path}: {name} says {wanted} bytes and holds {rest}; it is damaged"
                )
            for piece in pieces:
                size = int(np.prod(piece, dtype=np.int64)) * kind.itemsize
                data = member.read(size)
                if len(data) != size:
                    raise ArrayFileError(f"{self._path}: {name} ends early; it is damaged")
                yield np.frombuffer(data, kind).reshape(piece)
            member.read()  # to the end, where its check sum is compared

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise ArrayFileError(f"{self._path}: it has no {name}; it is no map") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise ArrayFileError(f"{self._path}: {name} is compressed, expected stored")
        return info

    def _npy_header(self, member: IO[bytes], name: str) -> NpyHeader:
        try:
            return read_npy_header(member)
        except ValueError as error:
            raise ArrayFileError(f"{self._path}: {name} is no array: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[ArrayWriter]:
    """Write a file beside its place and move it there when it is whole and on the disk.

    Args:
        path: What is there before stays until the new one has taken its place.

    Raises:
        ArrayFileError: No folder, no room, no right to write; nothing of it is left behind.
    """
    try:
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            yield ArrayWriter(archive)
    except OSError as error:
        raise ArrayFileError(
            f"{path} could not be written: {error.strerror or error}; what was there before "
            "is unharmed"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[ArrayReader]:
    """Read a file that `writing` has made.

    Raises:
        ArrayFileError: It is missing, cut off, damaged, or something else; also where a piece
            turns out damaged inside the block.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(info.file_size for info in archive.infolist())
            if held > path.stat().st_size:
                raise ArrayFileError(f"{path}: its members say {held} bytes, more than it has")
            yield ArrayReader(archive, path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, struct.error) as error:
        # zipfile's words hold names as the file has them, of 64 kB where it says so.
        text = plain(str(error))
        raise ArrayFileError(f"{path} is cut off, damaged, or no map: {text}") from error
    except OSError as error:
        raise ArrayFileError(f"{path} could not be read: {error.strerror or error}") from error
