# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Packed parts of bags, never unpacked to more than there can be of them.

A hundred kilobytes of zstd, lz4 or bz2 stand for gigabytes of zeros, and what a file says of the
size need not be true. rosbags unpacks whatever comes, all at once; `bound_rosbags` gives it these
functions in place of its own.
"""

from __future__ import annotations

import bz2
import functools
import io
from typing import Any, BinaryIO

from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap

__all__ = ["MAX_UNPACKED", "UNPACKERS", "ZstdError", "bound_rosbags", "unpacked"]

_MCAP: Any = storage_mcap
_ROSBAG1: Any = rosbag1_reader
_ROSBAG2: Any = rosbag2_reader
_ZSTD = _MCAP.zstd  # of Python 3.14, or its backport
ZstdError: type[Exception] = _ZSTD.ZstdError
# Of a chunk or a message: twice a picture of `images.max_pixels` with four channels of 16 bits.
MAX_UNPACKED = 1 << 29
# Of a whole file, which goes to the disk. Cameras' raw pictures pack 2 to 20 times.
MOST_TIMES, ANYWAY = 200, 1 << 26
_PIECE = 1 << 20
UNPACKERS: dict[str, Any] = {
    "lz4": LZ4FrameDecompressor,
    "zstd": _ZSTD.ZstdDecompressor,
    "bz2": bz2.BZ2Decompressor,
}


def unpacked(kind: str, packed: bytes, most: int) -> bytes:
    """All that was packed.

    Args:
        kind: Of `UNPACKERS`.
        packed: One frame or more, one behind the other.
        most: Bytes.

    Raises:
        ValueError: It is more than `most`, or the last frame is cut off.
        Exception: What the library raises at damaged data.
    """
    pieces, size, left = [], 0, packed
    while left:
        unpacker = UNPACKERS[kind]()
        pieces.append(unpacker.decompress(left, most - size + 1))
        size += len(pieces[-1])
        if size > most:
            raise ValueError(f"{len(packed)} bytes of {kind} unpack to more than {most}")
        if not unpacker.eof:
            raise ValueError(f"{len(packed)} bytes of {kind} are cut off")
        left = unpacker.unused_data or b""
    return b"".join(pieces)


@functools.cache
def bound_rosbags() -> None:
    """Have rosbags unpack by the functions of this module, in this process, from now on."""
    for kind in ("lz4", "zstd"):
        _MCAP.DECOMPRESSORS[kind] = functools.partial(_chunk, kind)
    for kind in ("lz4", "bz2"):
        _ROSBAG1.decompressors[kind] = functools.partial(_part, kind)
    _ROSBAG2.zstd = _BoundZstd


def _chunk(kind: str, packed: bytes, size: int) -> bytes:
    """A chunk of an MCAP that says that it holds so many bytes."""
    if size > MAX_UNPACKED:
        raise ValueError(f"chunk of {size} bytes, expected at most {MAX_UNPACKED}")
    return unpacked(kind, packed, size)


def _part(kind: str, packed: bytes) -> bytes:
    """A chunk or a message whose size nobody says."""
    return unpacked(kind, packed, MAX_UNPACKED)


class _BoundZstd:
    """What rosbags takes of the module zstd where a whole file or each message is packed."""

    @staticmethod
    def decompress(packed: bytes) -> bytes:
        """A message."""
        return _part("zstd", packed)

    @staticmethod
    def open(file: BinaryIO, mode: str) -> _BoundFile:
        """A file, to be read."""
        return _BoundFile(file, mode)


class _BoundFile(io.RawIOBase):
    """A packed file that ends in an error where it unpacks to far more than its size.

    Args:
        file: Packed, at its beginning.
        mode: "rb".
    """

    def __init__(self, file: BinaryIO, mode: str) -> None:
        super().__init__()
        self._most = file.seek(0, io.SEEK_END) * MOST_TIMES + ANYWAY
        file.seek(0)
        self._inner = _ZSTD.open(file, mode)

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Some bytes; none at the end.

        Raises:
            ValueError: There are too many in all.
        """
        piece: bytes = self._inner.read(size if 0 < size < _PIECE else _PIECE)
        self._most -= len(piece)
        if self._most < 0:
            raise ValueError(f"a packed file holds more than {MOST_TIMES} times its size")
        return piece

    def close(self) -> None:
        """Close what unpacks; the packed file is its owner's."""
        self._inner.close()
        super().close()
