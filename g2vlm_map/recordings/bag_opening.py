# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Opens a bag and says what is wrong with it; what its topics are, by their first messages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from .bag_files import BagReader, open_bag
from .bag_topics import PictureTopic, cameras_in
from .source import COMPRESSED, IMAGE, LeftOut, RecordingError

__all__ = ["image_topics", "opened", "picture_topics", "rosbags_typestore"]


@functools.cache
def rosbags_typestore() -> Typestore:
    """The message definitions of the ROS distribution; shared, so nobody may add to them."""
    return get_typestore(Stores.ROS2_KILTED)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BagReader, list[LeftOut]]]:
    """A reader of a bag, and what of the bag it does not give.

    Raises:
        RecordingError: It cannot be read.
    """
    reader: Any = None
    if path.is_file() and path.stat().st_size == 0:
        raise RecordingError(f"{path} is empty (0 bytes): nothing was recorded; record it again")
    try:
        reader, lost = open_bag(path, rosbags_typestore())
        yield reader, lost
    except RecordingError:
        raise
    except Exception as error:  # rosbags and its back ends: no common base
        raise RecordingError(
            f"{path} cannot be read as a bag: {type(error).__name__}: {error}. Expected a rosbag2 "
            "folder with metadata.yaml, or a .mcap, .db3 or .bag file; was the recording cut off? "
            f"{_repair(path)}"
        ) from error
    finally:
        if reader is not None:
            reader.close()


def _repair(path: Path) -> str:
    """What repairs a bag of this kind."""
    if path.suffix == ".bag":
        return "`rosbag reindex` repairs its index"
    if path.is_file() and path.suffix == ".mcap":
        return "`mcap recover` repairs the file"
    return "`ros2 bag reindex` repairs metadata, `mcap recover` a file"


def deserialize(path: Path, data: bytes, msgtype: str) -> Any:
    """A message out of its bytes.

    Raises:
        RecordingError: They are none of that type; names the bag.
    """
    try:
        return rosbags_typestore().deserialize_cdr(data, msgtype)
    except Exception as error:  # rosbags compiles a reader for each type: no common base
        raise RecordingError(
            f"{path}: a {msgtype} of {len(data)} bytes cannot be read: {error}"
        ) from error


def picture_topics(
    reader: BagReader, deserialize: Callable[[bytes, str], Any]
) -> list[PictureTopic]:
    """The topics of a bag with the first picture of each that has pictures."""
    topics = []
    for item in reader.connections:
        first = None
        if item.msgtype in (IMAGE, COMPRESSED) and item.msgcount:
            _, _, data = next(iter(reader.messages(connections=[item])), (None, 0, b""))
            if data:
                first = deserialize(data, item.msgtype)
        topics.append(PictureTopic(item, first))
    return topics


def image_topics(path: Path) -> list[str]:
    """Topics of all cameras of a bag, each once, in the order of their names.

    Raises:
        RecordingError: It cannot be read, or has none.
    """
    with opened(path) as (reader, _):
        found = cameras_in(picture_topics(reader, functools.partial(deserialize, path)))
        return sorted(item.connection.topic for item in found)
