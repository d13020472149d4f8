# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A bag (ROS 2's sqlite3 or MCAP, ROS 1's) of one camera: its frames, calibration, ground truth."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection

from ..sensing import Sample
from .bag_files import BagReader
from .bag_opening import deserialize, opened, picture_topics
from .bag_poses import TF, PoseTopic, find_poses, read_poses, read_tree
from .bag_sensors import RobotTopics, find_robot, read_samples
from .bag_topics import choose_topics, depth_topics
from .frames import RecordedFrame, message_depth, message_rgb
from .layouts.file_names import are_stamps
from .layouts.plain import kind_of_file
from .source import (
    CAMERA_INFO,
    NS,
    Calibration,
    DepthCamera,
    LeftOut,
    RecordingError,
    RecordingInfo,
    TopicChoice,
    TruePoses,
    header_of,
    header_stamp_ns,
    stamped,
)

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
        path: the bag's folder, or its single .mcap, .db3 or .bag file.
        choice: topics that the user names.
        limit: take at most this many frames; 0 takes all.

    Raises:
        RecordingError: Not a bag, a corrupt one, or topics that cannot be told apart.
    """

    def __init__(self, path: Path, choice: TopicChoice | None = None, limit: int = 0) -> None:
        self._path = path
        self._limit = limit
        self._lost: list[LeftOut] = []
        self._by_arrival = False  # the frames' own stamps say nothing
        with self._open() as reader:
            choice = choice or TopicChoice()
            self._topics = choose_topics(picture_topics(reader, self._deserialize), choice)
            self._info, self._poses = self._index(reader, choice.pose)
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

    @functools.cached_property
    def depth_cameras(self) -> tuple[DepthCamera, ...]:
        """Whose depth the bag holds: that of `true_depths` first, then what may be asked for."""
        with self._open() as reader:
            tree = read_tree(reader, self._deserialize)
            found = []
            for item in depth_topics(picture_topics(reader, self._deserialize), self._topics):
                first = next(_of_topics(reader, {item.info}), None) if item.info else None
                told = None if first is None else self._deserialize(first[2], CAMERA_INFO)
                T_cam_depth = (
                    tree.static_between(self._info.frame_id, item.frame_id)
                    if item.frame_id
                    else None
                )
                found.append(
                    DepthCamera(
                        item.picture.connection.topic,
                        None if told is None else _calibration(told),
                        T_cam_depth,
                        item.registered,
                    )
                )
        return tuple(found)

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
                stamp_ns = time_ns if self._by_arrival else stamp_ns
                load = functools.partial(self._deserialize, bytes(data), connection.msgtype)
                yield RecordedFrame(index, stamp_ns, time_ns, frame_id, load)

    def messages(self) -> Iterator[RecordedMessage]:
        """Frames, CameraInfo and what the robot says, as recorded, in the order of the bag."""
        image = self._topics.image
        index = 0
        topics = {image.topic, self._topics.info, *self._robot.topics}
        with self._open() as reader:
            for connection, time_ns, data in _of_topics(reader, topics):
                frame, data = -1, bytes(data)
                if connection.topic == image.topic:
                    if index == len(self._info.stamps_ns):
                        return
                    frame, index = index, index + 1
                    data = stamped(data, time_ns) if self._by_arrival else data
                yield RecordedMessage(
                    time_ns,
                    time_ns if connection.msgtype == TF else header_stamp_ns(data),
                    connection.topic,
                    connection.msgtype,
                    data,
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

    def _index(self, reader: BagReader, poses: str) -> tuple[RecordingInfo, PoseTopic | None]:
        image, info_topic = self._topics.image, self._topics.info
        stamps: list[int] = []
        times: list[int] = []
        first: tuple[str, tuple[int, int]] | None = None  # frame and size of the first good one
        why = ""
        calibration: Calibration | None = None
        for connection, time_ns, data in _of_topics(reader, {image.topic, info_topic}):
            if connection.topic == image.topic:
                if self._limit and len(stamps) == self._limit:
                    break
                stamps.append(header_stamp_ns(data))
                times.append(time_ns)
                if first is None:
                    try:
                        first = self._frame_and_size(data, connection.msgtype)
                    except RecordingError as error:  # the node will refuse and count it
                        why = why or str(error)
            elif calibration is None:
                calibration = _calibration(self._deserialize(data, CAMERA_INFO))
        if first is None:
            raise RecordingError(
                f"{self._path}: none of {len(stamps)} frames of {image.topic} can be decoded"
                + (f"; {why}" if why else "")
            )
        frame_id, size_hw = first
        pose_topic, notes = find_poses(reader, poses, frame_id, self._deserialize)
        notes += self._topics.notes
        if len(set(stamps)) == 1 and (len(stamps) > 1 or not stamps[0]) and are_stamps(times):
            self._by_arrival = True
            notes.append(
                f"All frames are stamped {stamps[0] / NS:g} s; in place of that stand the times at "
                "which they were recorded."
            )
            stamps = times
        if not info_topic:
            notes.append("The bag has no CameraInfo for this camera.")
        info = RecordingInfo(
            path=self._path,
            kind=_kind(self._path),
            image_topic=image.topic,
            image_type=image.msgtype,
            info_topic=info_topic,
            frame_id=frame_id,
            stamps_ns=tuple(stamps),
            times_ns=tuple(times),
            size_hw=size_hw,
            calibration=calibration,
            left_out=tuple(self._lost),
            notes=tuple(notes),
        )
        return info, pose_topic

    def _frame_and_size(self, data: bytes, msgtype: str) -> tuple[str, tuple[int, int]]:
        message = self._deserialize(data, msgtype)
        height, width = message_rgb(message, "frame").shape[:2]
        return str(message.header.frame_id).lstrip("/"), (height, width)

    def _deserialize(self, data: bytes, msgtype: str) -> Any:
        return deserialize(self._path, data, msgtype)

    @contextmanager
    def _open(self) -> Iterator[BagReader]:
        with opened(self._path) as (reader, lost):
            self._lost = self._lost or lost
            yield reader


def _calibration(message: Any) -> Calibration:
    return Calibration(
        K=np.asarray(message.k, np.float64).reshape(3, 3),
        size_hw=(int(message.height), int(message.width)),
        distortion_model=str(message.distortion_model),
        distortion=tuple(float(value) for value in message.d),
        projection=tuple(float(value) for value in message.p),
    )


def _kind(path: Path) -> str:
    file = path if path.is_file() else next(path.glob("*.mcap"), path)
    return "sqlite3 bag" if file.is_dir() else kind_of_file(file)


def _of_topics(reader: BagReader, topics: set[str]) -> Iterator[tuple[Connection, int, bytes]]:
    connections = _one_type(reader, topics)
    return reader.messages(connections=connections) if connections else iter(())


def _nth_at(
    reader: BagReader, topic: str, times_ns: tuple[int, ...], index: int
) -> tuple[Connection, int, bytes]:
    """One message of a topic by its number, without reading those before it."""
    time_ns = times_ns[index]
    connections = _one_type(reader, {topic})
    there = reader.messages(connections=connections, start=time_ns, stop=time_ns + 1)
    for number, item in enumerate(there, start=bisect_left(times_ns, time_ns)):
        if number == index:  # several may have come in the same nanosecond
            return item
    raise KeyError(f"message {index} of {topic} is not where the index has it")


def _one_type(reader: BagReader, topics: set[str]) -> list[Connection]:
    """Connections of some topics; where one has two types, those of the one with most messages."""
    counts: dict[str, dict[str, int]] = {}
    for item in reader.connections:
        if item.topic in topics:
            of_type = counts.setdefault(item.topic, {})
            of_type[item.msgtype] = of_type.get(item.msgtype, 0) + item.msgcount
    types = {topic: max(found, key=lambda name: found[name]) for topic, found in counts.items()}
    return [item for item in reader.connections if types.get(item.topic) == item.msgtype]
