# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Readers of bags that the library rosbags does not read: cut off, ROS 1, of mixed encodings.

Each has what `rosbags.rosbag2.Reader` has, as far as it is used here: `connections`, and `messages`
in the order of time, as CDR. What cannot be given is told in `lost`. Files of broken
ones are read by `bag_parts.py`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.typesys.store import Typestore

from .bag_parts import McapPart, Part, Ros1Part, SqlitePart, to_cdr
from .layouts.file_names import natural_key
from .layouts.plain import kind_of_file
from .source import LeftOut
from .unpacking import bound_rosbags

__all__ = ["BagReader", "open_bag"]

_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")
_LOG = logging.getLogger(__name__)
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
    bound_rosbags()
    try:
        if kind_of_file(path) == "ROS 1 bag":
            return _Ros1Bag(path, store), []
        reader = Rosbag2Reader(path)
        reader.open()
    except Exception as error:  # rosbags and its back ends: no common base
        salvaged = _salvage(path, store)
        if salvaged is None:
            raise
        _LOG.debug("%s is read record by record: %s: %s", path, type(error).__name__, error)
        lost = salvaged.lost
        if path.is_dir():  # its metadata may name what is not there
            text = f"is no whole bag ({type(error).__name__}: {error}); what is there is read"
            lost = [LeftOut(path.name, text), *lost]
        return salvaged, lost
    return reader, []


def _salvage(path: Path, store: Typestore) -> _Joined | None:
    """What can be read of the files of a bag; None where that is nothing."""
    files = [path]
    if path.is_dir():
        found = [item for item in path.iterdir() if item.suffix in (".mcap", ".db3")]
        files = sorted(found, key=lambda item: natural_key(item.name))
    parts: list[Part] = []
    for file in files:
        kind = kind_of_file(file) if file.is_file() else ""
        if kind == "sqlite3 bag":
            parts.append(SqlitePart(file))
        elif kind:
            parts.append((McapPart if kind == "MCAP bag" else Ros1Part)(file, store))
    joined = _Joined(parts)
    if joined.connections:
        return joined
    joined.close()
    return None


class _Joined:
    """Files of one bag as one reader."""

    def __init__(self, parts: list[Part]) -> None:
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
            cdr = to_cdr(self._store, data, item.msgtype)
            yield wanted[item.topic, item.msgtype], time_ns, cdr

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _connection(number: int, topic: str, msgtype: str, count: int, owner: Any) -> Connection:
    ext = ConnectionExtRosbag2("cdr", [])
    return Connection(number, topic, msgtype, _NO_DEFINITION, "", count, ext, owner)
