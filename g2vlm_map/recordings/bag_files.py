# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Readers of bags that the library rosbags does not read: cut off, ROS 1, of mixed encodings.

Each has what `rosbags.rosbag2.Reader` has, as far as it is used here: `connections`, and `messages`
in the order of time, as CDR. What cannot be given is told in `lost`. MCAP is scanned record by
record (mcap.dev/spec), sqlite3 row by row, until something cannot be read.
"""

from __future__ import annotations

import sqlite3
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.rosbag2 import storage_mcap
from rosbags.typesys.store import Typestore

from .layouts.file_names import natural_key
from .source import LeftOut, RecordingError

__all__ = ["BagReader", "open_bag"]

MCAP_START = b"\x89MCAP0\r\n"
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 3, 4, 5, 6
_PACKERS: Any = storage_mcap  # it knows which modules of lz4 and zstd there are
_MAX_RECORD = 2**31  # bytes; a length beyond is nonsense
Item = tuple[Connection, int, bytes]


class BagReader(Protocol):
    """What a bag is read through."""

    @property
    def connections(self) -> Any:
        """Of each topic and type, with the number of its messages."""
        ...

    def messages(
        self, connections: Collection[Connection] = (), start: Any = None, stop: Any = None
    ) -> Iterator[Item]:
        """(connection, time_ns, CDR) in the order of time, of start <= time_ns < stop."""
        ...


def open_bag(path: Path, store: Typestore) -> tuple[BagReader, list[LeftOut]]:
    """A reader of a bag, open, and what of the bag it does not give.

    Args:
        path: A folder or a file.
        store: Message definitions, of ROS 2.

    Raises:
        RecordingError: Nothing of it can be read.
        Exception: What rosbags raises.
    """
    if path.suffix == ".bag":
        return _Ros1Bag(path, store), []
    try:
        reader = Rosbag2Reader(path)
        reader.open()
    except Exception as error:  # rosbags and its back ends: no common base
        salvaged = _salvage(path, store)
        if salvaged is None:
            raise
        why = LeftOut(path.name, f"is no whole bag ({type(error).__name__}: {error}); read in part")
        return salvaged, [why, *salvaged.lost]
    return reader, []


def _salvage(path: Path, store: Typestore) -> _Joined | None:
    """What can be read of the files of a bag; None where that is nothing."""
    files = [path]
    if path.is_dir():
        found = [item for item in path.iterdir() if item.suffix in (".mcap", ".db3")]
        files = sorted(found, key=lambda item: natural_key(item.name))
    parts: list[_Part] = []
    for file in files:
        if not file.is_file():
            continue
        with file.open("rb") as opened:
            head = opened.read(16)
        if head.startswith(MCAP_START):
            parts.append(_Mcap(file, store))
        elif head == b"SQLite format 3\0":
            parts.append(_Sqlite(file))
    joined = _Joined(parts)
    return joined if joined.connections else None


@dataclass(frozen=True)
class _Place:
    """Where a message is: its time, its topic and type, and what its file knows it by."""

    time_ns: int
    topic: tuple[str, str]
    key: tuple[int, ...]


class _Part(Protocol):
    """One file of a bag."""

    places: list[_Place]
    lost: list[LeftOut]

    def read(self, place: _Place) -> bytes:
        """A message as CDR."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Joined:
    """Files of one bag as one reader."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        self.lost = [item for part in parts for item in part.lost]
        self._order = sorted(
            ((place.time_ns, number, place) for number, part in enumerate(parts)
             for place in part.places),
            key=lambda item: item[0],
        )  # fmt: skip
        counts = Counter(place.topic for _, _, place in self._order)
        self.connections = [
            _connection(number, topic, msgtype, count, self)
            for number, ((topic, msgtype), count) in enumerate(counts.items(), start=1)
        ]

    def messages(
        self, connections: Collection[Connection] = (), start: Any = None, stop: Any = None
    ) -> Iterator[Item]:
        """See `BagReader`."""
        wanted = {(item.topic, item.msgtype): item for item in connections or self.connections}
        first = 0 if start is None else bisect_left(self._order, start, key=lambda item: item[0])
        for time_ns, number, place in self._order[first:]:
            if stop is not None and time_ns >= stop:
                return
            if place.topic in wanted:
                yield wanted[place.topic], time_ns, self._parts[number].read(place)

    def close(self) -> None:
        """Close all files."""
        for part in self._parts:
            part.close()


class _Mcap:
    """An MCAP, from its start to where it cannot be read on."""

    def __init__(self, path: Path, store: Typestore) -> None:
        self._store = store
        self._file: BinaryIO = path.open("rb")
        self.places: list[_Place] = []
        self.lost: list[LeftOut] = []
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str, str]] = {}  # topic, type, encoding
        self._strange: Counter[tuple[str, str]] = Counter()
        self._chunk: tuple[int, bytes] = (-1, b"")  # the last one that was unpacked
        size = path.stat().st_size
        end = self._scan(self._file, len(MCAP_START), size, -1)
        if end < size:
            self.lost.append(
                LeftOut(path.name, f"cannot be read from byte {end} of {size} on (mcap recover)")
            )
        self.lost += [
            LeftOut(topic, f"{count} messages of encoding {encoding!r:.40}, expected cdr")
            for (topic, encoding), count in sorted(self._strange.items())
        ]

    def close(self) -> None:
        """See `_Part`."""
        self._file.close()

    def read(self, place: _Place) -> bytes:
        """See `_Part`."""
        chunk, offset, size, ros1 = place.key
        if chunk < 0:
            self._file.seek(offset)
            data = self._file.read(size)
        else:
            if self._chunk[0] != chunk:
                self._file.seek(chunk)
                self._chunk = (chunk, _unpacked(self._record(self._file)[1]))
            data = self._chunk[1][offset : offset + size]
        return _to_cdr(self._store, data, place.topic[1]) if ros1 else data

    @staticmethod
    def _record(file: BinaryIO) -> tuple[int, bytes]:
        head = file.read(9)
        code, length = struct.unpack("<BQ", head)
        if length > _MAX_RECORD:
            raise ValueError(f"record of {length} bytes")
        data = file.read(length)
        if len(data) < length:
            raise EOFError(f"record of {length} bytes is cut off")
        return code, data

    def _scan(self, file: BinaryIO, start: int, size: int, chunk: int) -> int:
        """Take over all records between two offsets; the offset of what cannot be read."""
        file.seek(start)
        offset = start
        while offset < size:
            try:
                code, data = self._record(file)
                if code == _CHUNK and chunk < 0:
                    body = _unpacked(data)
                    if self._scan(BytesIO(body), 0, len(body), offset) < len(body):
                        return offset
                    file.seek(offset + 9 + len(data))
                else:
                    self._take(code, data, offset + 9, chunk)
            except (struct.error, ValueError, EOFError, KeyError, RuntimeError, MemoryError):
                is_end = size - offset == len(MCAP_START)  # the magic stands at both ends
                return size if is_end and chunk < 0 else offset
            offset += 9 + len(data)
        return size

    def _take(self, code: int, data: bytes, offset: int, chunk: int) -> None:
        if code == _SCHEMA:
            name, _ = _text(data, 2)
            self._schemas[_number(data, 0)] = name
        elif code == _CHANNEL:
            topic, at = _text(data, 4)
            encoding, _ = _text(data, at)
            msgtype = self._schemas.get(_number(data, 2), "")
            if encoding == "ros1" and msgtype.count("/") == 1:
                msgtype = msgtype.replace("/", "/msg/")
            self._channels[_number(data, 0)] = (topic, msgtype, encoding)
        elif code == _MESSAGE:
            channel, _, time_ns = struct.unpack_from("<HIQ", data)
            topic, msgtype, encoding = self._channels[channel]
            if encoding not in ("cdr", "ros1"):
                self._strange[topic, encoding] += 1
                return
            key = (chunk, offset + 22, len(data) - 22, int(encoding == "ros1"))
            self.places.append(_Place(time_ns, (topic, msgtype), key))


class _Sqlite:
    """A sqlite3 file of rosbag2, row by row until one cannot be read."""

    def __init__(self, path: Path) -> None:
        self.places: list[_Place] = []
        self.lost: list[LeftOut] = []
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            rows = self._database.execute("SELECT id, name, type FROM topics").fetchall()
            topics = {number: (name, msgtype) for number, name, msgtype in rows}
            for row, topic, time_ns, _ in self._database.execute(
                "SELECT id, topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                if topic in topics:
                    self.places.append(_Place(int(time_ns), topics[topic], (int(row),)))
        except (sqlite3.Error, ValueError, TypeError) as error:
            after = f"after {len(self.places)} messages"
            self.lost.append(LeftOut(path.name, f"cannot be read {after}: {error}"))

    def close(self) -> None:
        """See `_Part`."""
        self._database.close()

    def read(self, place: _Place) -> bytes:
        """See `_Part`."""
        (data,) = self._database.execute(
            "SELECT data FROM messages WHERE id = ?", place.key
        ).fetchone()
        return bytes(data)


class _Ros1Bag:
    """A ROS 1 bag, its messages as CDR."""

    def __init__(self, path: Path, store: Typestore) -> None:
        self._store = store
        self._reader = Rosbag1Reader(path)
        self._reader.open()
        self._by_topic = {(item.topic, item.msgtype): item for item in self._reader.connections}
        self.connections = [
            _connection(number, item.topic, item.msgtype, item.msgcount, self)
            for number, item in enumerate(self._reader.connections, start=1)
        ]

    def messages(
        self, connections: Collection[Connection] = (), start: Any = None, stop: Any = None
    ) -> Iterator[Item]:
        """See `BagReader`."""
        wanted = {(item.topic, item.msgtype): item for item in connections or self.connections}
        inner = [item for item in self._reader.connections if (item.topic, item.msgtype) in wanted]
        for item, time_ns, data in self._reader.messages(inner, start, stop):
            cdr = _to_cdr(self._store, data, item.msgtype)
            yield wanted[item.topic, item.msgtype], time_ns, cdr

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _connection(number: int, topic: str, msgtype: str, count: int, owner: Any) -> Connection:
    ext = ConnectionExtRosbag2("cdr", [])
    return Connection(number, topic, msgtype, _NO_DEFINITION, "", count, ext, owner)


def _to_cdr(store: Typestore, data: bytes, msgtype: str) -> bytes:
    try:
        return bytes(store.ros1_to_cdr(data, msgtype))
    except Exception as error:  # rosbags compiles a reader for each type: no common base
        raise RecordingError(f"a {msgtype} of ROS 1 cannot be read: {error}") from error


def _unpacked(chunk: bytes) -> bytes:
    """The records of a chunk; its sizes are held against what comes out."""
    size = struct.unpack_from("<Q", chunk, 16)[0]
    kind, at = _text(chunk, 28)
    length = struct.unpack_from("<Q", chunk, at)[0]
    packed = chunk[at + 8 : at + 8 + length]
    if size > _MAX_RECORD or len(packed) < length:
        raise ValueError(f"chunk of {size} bytes")
    if kind == "":
        return packed
    if kind == "lz4":
        data = bytes(_PACKERS.lz4_decompress(packed))
    elif kind == "zstd":
        data = _zstd(packed, size)
    else:
        raise ValueError(f"compression {kind!r}")
    if len(data) != size:
        raise ValueError(f"chunk of {size} bytes has {len(data)}")
    return data


def _zstd(packed: bytes, size: int) -> bytes:
    decompressor: Any = _PACKERS.zstd.ZstdDecompressor()
    try:
        return bytes(decompressor.decompress(packed, size))
    except _PACKERS.zstd.ZstdError as error:
        raise ValueError(f"zstd: {error}") from error


def _number(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A length and as many bytes of text; and where it ends."""
    (length,) = struct.unpack_from("<I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError(f"text of {length} bytes")
    return data[at + 4 : end].decode("utf-8", "replace"), end
