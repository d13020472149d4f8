# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A rosbag2 recording (sqlite3 or MCAP) of one camera: its frames, calibration, ground truth."""

from __future__ import annotations

import functools
import sqlite3
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ..sensing import Sample
from .bag_poses import TF, PoseTopic, find_poses, read_poses, read_tree
from .bag_sensors import RobotTopics, find_robot, read_samples
from .bag_topics import cameras_in, choose_topics
from .frames import RecordedFrame, message_depth, message_rgb
from .source import (
    CAMERA_INFO,
    NS,
    Calibration,
    LeftOut,
    RecordingError,
    RecordingInfo,
    TopicChoice,
    TruePoses,
)

# What the storage back ends raise on a file that is no bag or was cut off.
BAG_ERRORS = (ReaderError, OSError, sqlite3.Error, ValueError, KeyError, IndexError, EOFError)
DEPTH_TOLERANCE_NS = 25_000_000  # at most between a depth map and the frame that it is of


@dataclass(frozen=True)
class RecordedMessage:
    """A serialized message of the camera.

    Args:
        time_ns: when it was received while recording.
        stamp_ns: of its header; of TF, which has none, when it was received.
        topic, msgtype: e.g. "/camera/image_raw", "sensor_msgs/msg/Image".
        data: CDR bytes.
        frame: index of the frame, -1 for what is none.
    """

    time_ns: int
    stamp_ns: int
    topic: str
    msgtype: str
    data: bytes
    frame: int = -1


class BagRecording:
    """One camera of a bag; a `Recording`.

    Args:
        path: the bag's folder, or its single .mcap or .db3 file.
        choice: topics that the user names.
        limit: take at most this many frames; 0 takes all.

    Raises:
        RecordingError: Not a bag, a corrupt one, or topics that cannot be told apart.
    """

    def __init__(self, path: Path, choice: TopicChoice | None = None, limit: int = 0) -> None:
        self._path = path
        self._limit = limit
        self._typestore = rosbags_typestore()
        with self._open() as reader:
            self._topics = choose_topics(reader.connections, choice or TopicChoice())
            named = choice.pose if choice else ""
            self._info, self._poses = self._index(reader, named)
            self._robot = find_robot(reader, self._info.frame_id, self._deserialize)

    @property
    def info(self) -> RecordingInfo:
        """What the bag holds of this camera."""
        return self._info

    @property
    def robot(self) -> RobotTopics:
        """The robot that carries the camera."""
        return self._robot

    def stand_on(self, base: str) -> None:
        """Take a frame for the robot's base where nothing moves one."""
        if not self._robot.base:
            self._robot = replace(self._robot, base=base)

    @property
    def root_frame(self) -> str:
        """The frame that the camera hangs on in the end, by TF."""
        with self._open() as reader:
            return read_tree(reader, self._deserialize).chain(self._info.frame_id)[-1]

    def T_frame_cam(self, frame: str) -> NDArray[np.float64] | None:
        """(4, 4) of the camera's optical axes in a frame that it is fixed to; None: it is not."""
        with self._open() as reader:
            tree = read_tree(reader, self._deserialize)
            return tree.static_between(frame, self._info.frame_id)

    @property
    def robot_topics(self) -> dict[str, str]:
        """Message type by topic of what the robot says, as `messages` gives it."""
        with self._open() as reader:
            found = {item.topic: item.msgtype for item in reader.connections}
        return {topic: found[topic] for topic in self._robot.topics if topic in found}

    def samples(self, camera: str) -> Iterator[tuple[int, Sample]]:
        """(time_ns, sample) of the robot's other sensors, in the order of the bag."""
        with self._open() as reader:
            yield from read_samples(
                reader, self._robot, camera, self._info.frame_id, self._deserialize
            )

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """All frames in the order of the bag, or some by index; each is read already."""
        image, info = self._topics.image, self._info
        count = len(info.stamps_ns)
        with self._open() as reader:
            found: Iterator[tuple[int, tuple[Connection, int, bytes]]]
            if indices is None:
                found = zip(range(count), _of_topics(reader, {image.topic}), strict=False)
            else:
                wanted = [index for index in indices if 0 <= index < count]
                found = (
                    (index, _nth_at(reader, image.topic, info.times_ns, index)) for index in wanted
                )
            for index, (connection, time_ns, data) in found:
                stamp_ns, frame_id = header_of(data)
                load = functools.partial(self._deserialize, bytes(data), connection.msgtype)
                yield RecordedFrame(index, stamp_ns, time_ns, frame_id, load)

    def messages(self) -> Iterator[RecordedMessage]:
        """Frames, CameraInfo and what the robot says, as recorded, in the order of the bag."""
        image = self._topics.image
        index = 0
        topics = {image.topic, self._topics.info, *self._robot.topics}
        with self._open() as reader:
            for connection, time_ns, data in _of_topics(reader, topics):
                frame = -1
                if connection.topic == image.topic:
                    if index == len(self._info.stamps_ns):
                        return
                    frame, index = index, index + 1
                yield RecordedMessage(
                    time_ns,
                    time_ns if connection.msgtype == TF else header_stamp_ns(data),
                    connection.topic,
                    connection.msgtype,
                    bytes(data),
                    frame,
                )

    def true_poses(self) -> TruePoses | None:
        """True poses of the camera, or None."""
        if self._poses is None:
            return None
        with self._open() as reader:
            return read_poses(reader, self._poses, self._info.frame_id, self._deserialize)

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The depth map nearest to each stamp (within 25 ms), metres."""
        topic = self._topics.depth
        stamps, times = self._depth_times
        if not stamps.size:
            return
        with self._open() as reader:
            for wanted in sorted(stamps_ns):
                nearest = int(np.argmin(np.abs(stamps - wanted)))
                if abs(int(stamps[nearest]) - wanted) > DEPTH_TOLERANCE_NS:
                    continue
                connection, _, data = _nth_at(reader, topic, times, nearest)
                name = f"{topic} at {stamps[nearest]} ns"
                try:
                    depth_HW = message_depth(self._deserialize(data, connection.msgtype), name)
                except RecordingError as error:
                    if left_out is not None:
                        left_out.append(LeftOut(name, str(error).removeprefix(f"{name}: ")))
                    continue
                yield wanted, depth_HW

    @functools.cached_property
    def _depth_times(self) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        """Stamp and time of reception of each depth map, in the order of the bag."""
        stamps, times = [], []
        if self._topics.depth:
            with self._open() as reader:
                for _, time_ns, data in _of_topics(reader, {self._topics.depth}):
                    stamps.append(header_stamp_ns(data))
                    times.append(time_ns)
        return np.array(stamps, np.int64), tuple(times)

    def _index(self, reader: Reader, poses: str) -> tuple[RecordingInfo, PoseTopic | None]:
        image, info_topic = self._topics.image, self._topics.info
        stamps: list[int] = []
        times: list[int] = []
        first: tuple[str, tuple[int, int]] | None = None  # frame and size of the first good one
        calibration: Calibration | None = None
        for connection, time_ns, data in _of_topics(reader, {image.topic, info_topic}):
            if connection.topic == image.topic:
                if self._limit and len(stamps) == self._limit:
                    break
                stamps.append(header_stamp_ns(data))
                times.append(time_ns)
                if first is None:
                    first = self._frame_and_size(data, connection.msgtype)
            elif calibration is None:
                calibration = _calibration(self._deserialize(data, CAMERA_INFO))
        if first is None:
            raise RecordingError(
                f"{self._path}: none of {len(stamps)} frames of {image.topic} can be decoded"
            )
        frame_id, size_hw = first
        pose_topic, notes = find_poses(reader, poses, frame_id, self._deserialize)
        if not info_topic:
            notes.append("The bag has no CameraInfo for this camera.")
        info = RecordingInfo(
            path=self._path,
            kind="MCAP bag" if _is_mcap(self._path) else "sqlite3 bag",
            image_topic=image.topic,
            image_type=image.msgtype,
            info_topic=info_topic,
            frame_id=frame_id,
            stamps_ns=tuple(stamps),
            times_ns=tuple(times),
            size_hw=size_hw,
            calibration=calibration,
            notes=tuple(notes),
        )
        return info, pose_topic

    def _frame_and_size(self, data: bytes, msgtype: str) -> tuple[str, tuple[int, int]] | None:
        message = self._deserialize(data, msgtype)
        try:
            height, width = message_rgb(message, "frame").shape[:2]
        except RecordingError:
            return None  # the node will refuse and count it
        return str(message.header.frame_id).lstrip("/"), (height, width)

    def _deserialize(self, data: bytes, msgtype: str) -> Any:
        return self._typestore.deserialize_cdr(data, msgtype)

    @contextmanager
    def _open(self) -> Iterator[Reader]:
        try:
            with Reader(self._path) as reader:
                yield reader
        except RecordingError:
            raise
        except BAG_ERRORS as error:
            raise unreadable(self._path, error) from error


def image_topics(path: Path) -> list[str]:
    """Topics of all cameras of a bag, each once, in the order of their names.

    Raises:
        RecordingError: It cannot be read, or has none.
    """
    try:
        with Reader(path) as reader:
            return sorted(item.topic for item in cameras_in(reader.connections))
    except RecordingError:
        raise
    except BAG_ERRORS as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> RecordingError:
    """What is said of a bag that cannot be read."""
    return RecordingError(
        f"{path} cannot be read as a bag: {type(error).__name__}: {error}. Expected a rosbag2 "
        "folder with metadata.yaml, or a .mcap or .db3 file; was the recording cut off? `ros2 bag "
        "reindex` repairs metadata"
    )


@functools.cache
def rosbags_typestore() -> Typestore:
    """The message definitions of the ROS distribution; shared, so nobody may add to them."""
    return get_typestore(Stores.ROS2_KILTED)


def header_stamp_ns(cdr: bytes) -> int:
    """Stamp of a serialized message that begins with a std_msgs/Header."""
    return header_of(cdr)[0]


def header_of(cdr: bytes) -> tuple[int, str]:
    """Stamp and frame of a serialized message that begins with a std_msgs/Header.

    CDR: 4 bytes of encapsulation (the second says the byte order), then sec, nanosec, and the
    text's length with its closing zero.

    Raises:
        RecordingError: It is too short.
    """
    order = "<" if len(cdr) > 1 and cdr[1] & 1 else ">"
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", cdr, 4)
    except struct.error as error:
        raise RecordingError(f"message of {len(cdr)} bytes is too short for a header") from error
    frame_id = bytes(cdr[16 : 16 + length]).rstrip(b"\0").decode("utf-8", "replace")
    return int(seconds) * NS + int(nanoseconds), frame_id


def _calibration(message: Any) -> Calibration:
    return Calibration(
        K=np.asarray(message.k, np.float64).reshape(3, 3),
        size_hw=(int(message.height), int(message.width)),
        distortion_model=str(message.distortion_model),
        distortion=tuple(float(value) for value in message.d),
    )


def _is_mcap(path: Path) -> bool:
    return path.suffix == ".mcap" or (path.is_dir() and next(path.glob("*.mcap"), None) is not None)


def _of_topics(reader: Reader, topics: set[str]) -> Iterator[tuple[Connection, int, bytes]]:
    connections = [item for item in reader.connections if item.topic in topics]
    return reader.messages(connections=connections) if connections else iter(())


def _nth_at(
    reader: Reader, topic: str, times_ns: tuple[int, ...], index: int
) -> tuple[Connection, int, bytes]:
    """One message of a topic by its number, without reading those before it."""
    time_ns = times_ns[index]
    connections = [item for item in reader.connections if item.topic == topic]
    there = reader.messages(connections=connections, start=time_ns, stop=time_ns + 1)
    for number, item in enumerate(there, start=bisect_left(times_ns, time_ns)):
        if number == index:  # several may have come in the same nanosecond
            return item
    raise KeyError(f"message {index} of {topic} is not where the index has it")
