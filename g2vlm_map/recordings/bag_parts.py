# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files of bags read from their start, record by record, as far as they go.

What a recorder left that was killed, a copy that was cut off, and what the library rosbags refuses
whole for one topic of it. MCAP after mcap.dev/spec, ROS 1 after wiki.ros.org/Bags/Format/2.0,
sqlite3 row by row. Of a chunk that is cut off or damaged the records before the damage are read,
and the chunks behind it; every length is held against the bytes that are there.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Protocol

from rosbags.rosbag1.reader import Header, ReaderError, RecordType, normalize
from rosbags.typesys.msg import normalize_msgtype
from rosbags.typesys.store import Typestore

from .source import LeftOut, RecordingError
from .unpacking import MAX_UNPACKED, UNPACKERS, ZstdError

__all__ = ["McapPart", "Part", "Place", "Ros1Part", "SqlitePart", "to_cdr"]

MCAP_START = b"\x89MCAP0\r\n"
ROS1_START = b"#ROSBAG V2.0\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 3, 4, 5, 6
_UNREADABLE = (
    *(struct.error, ValueError, EOFError, KeyError, RuntimeError, MemoryError, OSError),
    *(ReaderError, ZstdError),
)


@dataclass(frozen=True)
class Place:
    """Where a message is: its time, its topic and type, and what its file knows it by."""

    time_ns: int
    topic: tuple[str, str]
    key: tuple[int, ...]


class Part(Protocol):
    """One file of a bag."""

    places: list[Place]
    lost: list[LeftOut]

    def read(self, place: Place) -> bytes:
        """A message as CDR."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Records:
    """A file of records, some of which are chunks of records."""

    def __init__(self, path: Path, store: Typestore) -> None:
        self._store = store
        self._file: BinaryIO = path.open("rb")
        self._size = path.stat().st_size
        self._chunk: tuple[int, bytes] = (-1, b"")  # the last one that was unpacked
        self._broken = 0  # chunks
        self.places: list[Place] = []
        self.lost: list[LeftOut] = []

    def close(self) -> None:
        """See `Part`."""
        self._file.close()

    def read(self, place: Place) -> bytes:
        """See `Part`."""
        chunk, offset, size, ros1 = place.key
        if chunk < 0:
            self._file.seek(offset)
            data = self._file.read(size)
        else:
            if self._chunk[0] != chunk:
                self._file.seek(chunk)
                self._chunk = (chunk, self._records_at(self._file, chunk)[0])
            data = self._chunk[1][offset : offset + size]
        return to_cdr(self._store, data, place.topic[1]) if ros1 else data

    def _scan(self, file: BinaryIO, start: int, size: int, chunk: int) -> int:
        """Take over all records between two offsets; the offset of what cannot be read."""
        offset = start
        while offset < size:
            file.seek(offset)
            try:
                offset = self._step(file, offset, size, chunk)
            except _UNREADABLE:
                return offset
        return size

    def _scan_chunk(self, file: BinaryIO, offset: int) -> int:
        """Take over the records of a chunk, as many as can be read; where the next record is.

        Raises:
            EOFError: The chunk is cut off; what is there of it was taken over.
        """
        records, end = self._records_at(file, offset)
        if self._scan(BytesIO(records), 0, len(records), offset) < len(records):
            self._broken += 1
        if end > self._size:
            raise EOFError(f"chunk at byte {offset} is cut off")
        return end

    def _tell_broken(self, name: str) -> None:
        if self._broken:
            self.lost.append(LeftOut(name, f"{self._broken} chunks are damaged and read in part"))

    def _step(self, file: BinaryIO, offset: int, size: int, chunk: int) -> int:
        """Take over the record at an offset; the offset behind it."""
        raise NotImplementedError

    def _records_at(self, file: BinaryIO, offset: int) -> tuple[bytes, int]:
        """The records of the chunk at an offset, as far as they go, and where the chunk ends."""
        raise NotImplementedError


class McapPart(_Records):
    """An MCAP."""

    def __init__(self, path: Path, store: Typestore) -> None:
        super().__init__(path, store)
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str, str]] = {}  # topic, type, encoding
        self._strange: Counter[tuple[str, str]] = Counter()
        self._file.seek(max(0, self._size - len(MCAP_START)))
        ended = self._size > len(MCAP_START) and self._file.read() == MCAP_START  # at both ends
        size = self._size - len(MCAP_START) * ended
        end = self._scan(self._file, len(MCAP_START), size, -1)
        if end < size:
            text = f"cannot be read from byte {end} of {self._size} on (mcap recover)"
            self.lost.append(LeftOut(path.name, text))
        elif not ended:
            text = f"ends without an index: was its recorder killed? {len(self.places)} messages"
            self.lost.append(LeftOut(path.name, f"{text} are read (mcap recover)"))
        self._tell_broken(path.name)
        self.lost += [
            LeftOut(topic, f"{count} messages of encoding {encoding!r:.40}, expected cdr")
            for (topic, encoding), count in sorted(self._strange.items())
        ]

    def _step(self, file: BinaryIO, offset: int, size: int, chunk: int) -> int:
        code, length = struct.unpack("<BQ", file.read(9))
        end = int(offset + 9 + length)
        if code == _CHUNK and chunk < 0:
            return self._scan_chunk(file, offset)
        if end > size:
            raise EOFError(f"record of {length} bytes")
        if code in (_SCHEMA, _CHANNEL, _MESSAGE):
            self._take(code, file.read(length), offset + 9, chunk)
        return end

    def _records_at(self, file: BinaryIO, offset: int) -> tuple[bytes, int]:
        file.seek(offset)
        end = offset + 9 + struct.unpack("<BQ", file.read(9))[1]
        data = file.read(min(end, self._size) - offset - 9)
        size = struct.unpack_from("<Q", data, 16)[0]
        kind, at = _text(data, 28)
        length = struct.unpack_from("<Q", data, at)[0]
        return _unpacked(kind, data[at + 8 : at + 8 + length], size), end

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
        else:
            channel, _, time_ns = struct.unpack_from("<HIQ", data)
            topic, msgtype, encoding = self._channels[channel]
            if encoding not in ("cdr", "ros1"):
                self._strange[topic, encoding] += 1
                return
            key = (chunk, offset + 22, len(data) - 22, int(encoding == "ros1"))
            self.places.append(Place(time_ns, (topic, msgtype), key))


class Ros1Part(_Records):
    """A ROS 1 bag without a whole index: cut off, or `.active` as a killed recorder leaves it."""

    def __init__(self, path: Path, store: Typestore) -> None:
        super().__init__(path, store)
        self._connections: dict[int, tuple[str, str]] = {}
        end = self._scan(self._file, len(ROS1_START), self._size, -1)
        text = f"cannot be read from byte {end} of {self._size} on"
        if end == self._size:
            text = "has no index: was its recorder killed?"
        text += f" {len(self.places)} messages are read (rosbag reindex)"
        self.lost.append(LeftOut(path.name, text))
        self._tell_broken(path.name)

    def _step(self, file: BinaryIO, offset: int, size: int, chunk: int) -> int:
        header, length = _ros1_header(file, size - offset)
        begin = file.tell()
        code = header.get_uint8("op")
        if code == RecordType.CHUNK and chunk < 0:
            return self._scan_chunk(file, offset)
        if begin + length > size:
            raise EOFError(f"record of {length} bytes")
        if code == RecordType.CONNECTION:
            about = _ros1_fields(file.read(length))
            found = (
                normalize(header.get_string("topic")),
                normalize_msgtype(about.get_string("type")),
            )
            self._connections[header.get_uint32("conn")] = found
        elif code == RecordType.MSGDATA:
            topic = self._connections[header.get_uint32("conn")]
            key = (chunk, begin, length, 1)
            self.places.append(Place(header.get_time("time"), topic, key))
        return begin + length

    def _records_at(self, file: BinaryIO, offset: int) -> tuple[bytes, int]:
        file.seek(offset)
        header, length = _ros1_header(file, self._size - offset)
        end = file.tell() + length
        packed = file.read(min(end, self._size) - file.tell())
        return _unpacked(header.get_string("compression"), packed, header.get_uint32("size")), end


class SqlitePart:
    """A sqlite3 file of rosbag2, row by row until one cannot be read."""

    def __init__(self, path: Path) -> None:
        self.places: list[Place] = []
        self.lost: list[LeftOut] = []
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            # Else SQLite opens no file with fewer pages than its header says: one that was cut off.
            self._database.execute("PRAGMA writable_schema = ON")
            rows = self._database.execute("SELECT id, name, type FROM topics").fetchall()
            topics = {number: (str(name), str(msgtype)) for number, name, msgtype in rows}
            for row, topic, time_ns, _ in self._database.execute(
                "SELECT id, topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                if topic in topics:
                    self.places.append(Place(int(time_ns), topics[topic], (int(row),)))
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            after = f"after {len(self.places)} messages"
            self.lost.append(LeftOut(path.name, f"cannot be read {after}: {error}"))

    def close(self) -> None:
        """See `Part`."""
        self._database.close()

    def read(self, place: Place) -> bytes:
        """See `Part`."""
        (data,) = self._database.execute(
            "SELECT data FROM messages WHERE id = ?", place.key
        ).fetchone()
        return bytes(data)


def to_cdr(store: Typestore, data: bytes, msgtype: str) -> bytes:
    """A message of ROS 1 as ROS 2 serializes it.

    Raises:
        RecordingError: It is none of that type.
    """
    try:
        return bytes(store.ros1_to_cdr(data, msgtype))
    except Exception as error:  # rosbags compiles a reader for each type: no common base
        raise RecordingError(f"a {msgtype} of ROS 1 cannot be read: {error}") from error


def _unpacked(kind: str, packed: bytes, size: int) -> bytes:
    """The records of a chunk, as far as they can be unpacked; never more than `size` bytes."""
    if size > MAX_UNPACKED:
        raise ValueError(f"chunk of {size} bytes")
    if kind in ("", "none"):
        return packed[:size] if size else packed  # 0 until a recorder closes the chunk
    if kind not in UNPACKERS:
        raise ValueError(f"compression {kind!r:.40}")
    return bytes(UNPACKERS[kind]().decompress(packed, size)) if size else b""


def _ros1_header(file: BinaryIO, left: int) -> tuple[Header, int]:
    """The header of a ROS 1 record, and the length of the data behind it.

    Args:
        file: At the record.
        left: Bytes that there are at most; what claims more is not allocated.
    """
    (length,) = struct.unpack("<I", file.read(4))
    if length + 8 > left:
        raise EOFError(f"header of {length} bytes")
    fields = _ros1_fields(file.read(length))
    return fields, int(struct.unpack("<I", file.read(4))[0])


def _ros1_fields(data: bytes) -> Header:
    """`name=value` fields out of their bytes."""
    return Header.read(BytesIO(struct.pack("<I", len(data)) + data))


def _number(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<H", data, at)[0])


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A length and as many bytes of text; and where it ends."""
    (length,) = struct.unpack_from("<I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError(f"text of {length} bytes")
    return data[at + 4 : end].decode("utf-8", "replace"), end
