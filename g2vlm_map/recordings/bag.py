"""Reads a rosbag2 recording (sqlite3 or MCAP): which topics count, pictures, ground truth."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from .bag_truth import TruthTopic, find_pose_truth, read_pose_truth
from .errors import ReplayInputError
from .pictures import message_depth, message_rgb
from .source import (
    CAMERA_INFO,
    COMPRESSED,
    DEPTH_TOLERANCE_NS,
    IMAGE,
    PlayMessage,
    PoseTruth,
    SourceInfo,
    header_stamp_ns,
)

# What the storage back ends raise on a file that is no bag or was cut off.
BAG_ERRORS = (ReaderError, OSError, sqlite3.Error, ValueError, KeyError, IndexError, EOFError)


@dataclass(frozen=True)
class TopicChoice:
    """Topics that the user names; "" leaves the choice to the reader."""

    image: str = ""
    camera_info: str = ""
    truth_pose: str = ""
    truth_depth: str = ""


class BagSource:
    """One camera of a bag.

    Args:
        path: the bag's folder, or its single .mcap or .db3 file.
        choice: topics that the user names.
        limit: take at most this many pictures; 0 takes all.

    Raises:
        ReplayInputError: Not a bag, a corrupt one, or topics that cannot be told apart.
    """

    def __init__(self, path: Path, choice: TopicChoice | None = None, limit: int = 0) -> None:
        self._path = path
        self._limit = limit
        self._choice = choice or TopicChoice()
        self._typestore = rosbags_typestore()
        with self._open() as reader:
            self._image = _pick_image(reader.connections, self._choice.image)
            self._info_topic = _pick_info(
                reader.connections, self._choice.camera_info, self._image.topic
            )
            self._depth_topic = _pick_depth(
                reader.connections, self._choice.truth_depth, self._image.topic
            )
            kind = "MCAP bag" if _is_mcap(path) else "sqlite3 bag"
            self._info, self._truth = self._index(reader, kind)

    @property
    def info(self) -> SourceInfo:
        """What there is to play."""
        return self._info

    def messages(self) -> Iterator[PlayMessage]:
        """Pictures and camera info in the order of the bag."""
        wanted = {self._image.topic, self._info_topic}
        index = 0
        with self._open() as reader:
            for connection, time_ns, data in _of_topics(reader, wanted):
                picture = -1
                if connection.topic == self._image.topic:
                    if index == len(self._info.stamps_ns):
                        return
                    picture, index = index, index + 1
                yield PlayMessage(
                    time_ns,
                    connection.topic,
                    connection.msgtype,
                    bytes(data),
                    header_stamp_ns(data),
                    picture,
                )

    def pictures(self, indices: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
        """Pictures (H, W, 3) uint8 RGB by index; those that cannot be decoded are left out."""
        wanted = set(indices)
        found: dict[int, NDArray[np.uint8]] = {}
        for message in self.messages():
            if message.picture in wanted:
                try:
                    decoded = self._deserialize(message.data, message.msgtype)
                    found[message.picture] = message_rgb(decoded, f"picture {message.picture}")
                except ReplayInputError:
                    continue
        return found

    def truth_poses(self) -> PoseTruth | None:
        """True poses of the camera, or None."""
        if self._truth is None:
            return None
        with self._open() as reader:
            return read_pose_truth(reader, self._truth, self._info.frame_id, self._deserialize)

    def truth_depths(
        self, stamps_ns: Iterable[int], unreadable: list[str] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Depth pictures nearest to stamps (within 25 ms), metres."""
        if not self._depth_topic:
            return
        wanted = np.array(sorted(stamps_ns), np.int64)
        with self._open() as reader:
            for connection, _, data in _of_topics(reader, {self._depth_topic}):
                if not wanted.size:
                    return
                stamp = header_stamp_ns(data)
                nearest = int(wanted[np.argmin(np.abs(wanted - stamp))])
                if abs(nearest - stamp) <= DEPTH_TOLERANCE_NS:
                    wanted = wanted[wanted != nearest]
                    message = self._deserialize(data, connection.msgtype)
                    try:
                        depth = message_depth(message, f"{self._depth_topic} at {stamp} ns")
                    except ReplayInputError as error:
                        if unreadable is not None:
                            unreadable.append(str(error))
                        continue
                    yield nearest, depth

    def _index(self, reader: Reader, kind: str) -> tuple[SourceInfo, TruthTopic | None]:
        stamps: list[int] = []
        times: list[int] = []
        first: tuple[str, tuple[int, int]] | None = None  # frame and size of the first good picture
        K: NDArray[np.float64] | None = None
        for connection, time_ns, data in _of_topics(reader, {self._image.topic, self._info_topic}):
            if connection.topic == self._image.topic:
                if self._limit and len(stamps) == self._limit:
                    break
                stamps.append(header_stamp_ns(data))
                times.append(time_ns)
                if first is None:
                    first = self._frame_and_size(data, connection.msgtype)
            elif K is None:
                matrix = np.asarray(self._deserialize(data, CAMERA_INFO).k, np.float64)
                K = matrix.reshape(3, 3)
        if first is None:
            raise ReplayInputError(
                f"{self._path}: none of {len(stamps)} pictures of {self._image.topic} can be "
                "decoded"
            )
        frame_id, size = first
        truth, notes = find_pose_truth(reader, self._choice.truth_pose, frame_id, self._deserialize)
        if not self._info_topic:
            notes.append("The bag has no CameraInfo for this camera.")
        info = SourceInfo(
            path=self._path,
            kind=kind,
            image_topic=self._image.topic,
            image_type=self._image.msgtype,
            info_topic=self._info_topic,
            frame_id=frame_id,
            stamps_ns=tuple(stamps),
            times_ns=tuple(times),
            size=size,
            K=K,
            notes=tuple(notes),
        )
        return info, truth

    def _frame_and_size(self, data: bytes, msgtype: str) -> tuple[str, tuple[int, int]] | None:
        message = self._deserialize(data, msgtype)
        try:
            height, width = message_rgb(message, "picture").shape[:2]
        except ReplayInputError:
            return None  # the node will refuse and count it
        return str(message.header.frame_id).lstrip("/"), (height, width)

    def _deserialize(self, data: bytes, msgtype: str) -> Any:
        return self._typestore.deserialize_cdr(data, msgtype)

    @contextmanager
    def _open(self) -> Iterator[Reader]:
        try:
            with Reader(self._path) as reader:
                yield reader
        except ReplayInputError:
            raise
        except BAG_ERRORS as error:
            raise ReplayInputError(
                f"{self._path} cannot be read as a bag: {type(error).__name__}: {error}. Expected "
                "a rosbag2 folder with metadata.yaml, or a .mcap or .db3 file; was the recording "
                "cut off? `ros2 bag reindex` repairs metadata"
            ) from error


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a known file ending, or a folder with metadata.yaml."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            next(path.glob(pattern), None) for pattern in ("*.mcap", "*.db3")
        )
    return path.suffix in {".mcap", ".db3", ".bag"}


@functools.cache
def rosbags_typestore() -> Typestore:
    """The message definitions of the ROS distribution; shared, so nobody may add to them."""
    return get_typestore(Stores.ROS2_KILTED)


def _is_mcap(path: Path) -> bool:
    return path.suffix == ".mcap" or (path.is_dir() and next(path.glob("*.mcap"), None) is not None)


def _of_topics(reader: Reader, topics: set[str]) -> Iterator[tuple[Connection, int, bytes]]:
    connections = [item for item in reader.connections if item.topic in topics]
    return reader.messages(connections=connections) if connections else iter(())


def _is_depth(connection: Connection) -> bool:
    return "depth" in connection.topic.lower() or "disparity" in connection.topic.lower()


def _pick_image(connections: list[Connection], named: str) -> Connection:
    pictures = [item for item in connections if item.msgtype in {IMAGE, COMPRESSED}]
    listing = ", ".join(sorted(f"{item.topic} ({item.msgtype})" for item in pictures)) or "none"
    if named:
        for item in pictures:
            if item.topic == named:
                return item
        raise ReplayInputError(
            f"--image-topic {named} is no picture topic of the bag; it has: {listing}"
        )
    colour = [item for item in pictures if not _is_depth(item) and item.msgcount]
    if not colour:
        topics = ", ".join(sorted(item.topic for item in connections)) or "none at all"
        raise ReplayInputError(
            "the bag has no topic with colour pictures (sensor_msgs/Image or CompressedImage, "
            f"not named depth); it has: {topics}"
        )
    # A camera that was recorded raw and compressed is one camera: the raw one serves.
    raw = {item.topic for item in colour}
    colour = [
        item
        for item in colour
        if item.topic.removesuffix("/compressed") not in raw
        or not item.topic.endswith("/compressed")
    ]
    if len(colour) > 1:
        raise ReplayInputError(
            f"the bag has several cameras: {', '.join(sorted(item.topic for item in colour))}; "
            "choose one with --image-topic"
        )
    return colour[0]


def _pick_info(connections: list[Connection], named: str, image_topic: str) -> str:
    topics = [item.topic for item in connections if item.msgtype == CAMERA_INFO and item.msgcount]
    if named:
        if named not in topics:
            raise ReplayInputError(
                f"--camera-info-topic {named} is no CameraInfo topic of the bag; it has: "
                f"{', '.join(sorted(topics)) or 'none'}"
            )
        return named
    beside = image_topic.removesuffix("/compressed").rsplit("/", 1)[0]
    for candidate in (f"{beside}/camera_info", f"{image_topic}/camera_info"):
        if candidate in topics:
            return candidate
    return ""


def _pick_depth(connections: list[Connection], named: str, image_topic: str) -> str:
    pictures = [item for item in connections if item.msgtype in {IMAGE, COMPRESSED}]
    topics = [item.topic for item in pictures if item.topic != image_topic]
    if named:
        if named not in topics:
            raise ReplayInputError(
                f"--truth-depth-topic {named} is no picture topic of the bag; it has: "
                f"{', '.join(sorted(topics)) or 'none'}"
            )
        return named
    candidates = [
        item.topic for item in pictures if "depth" in item.topic.lower() and item.msgcount
    ]
    return sorted(candidates)[0] if candidates else ""
