# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which topics of a bag are the camera, its CameraInfo and its true depth.

What a topic is, its first message says: an encoding of depth is depth, whatever the name; a name
counts only where the encoding fits both. Depth is taken as the truth where it is of the camera's
own frame and size; else it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..decode import BadInputError
from ..pictures import open_picture
from .frames import PNG_SIGNATURE
from .source import CAMERA_INFO, COMPRESSED, IMAGE, RecordingError, TopicChoice

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

# Transports of image_transport by their topic's last name, those that are read first.
TRANSPORTS = ("", "compressed", "zstd", "ffmpeg", "theora", "h264", "compressedDepth", "nvjpeg")
DEPTH_ENCODINGS = ("32FC1", "16UC1", "mono16")
DEPTH_WORDS = ("depth", "disparity", "range")


@dataclass(frozen=True)
class PictureTopic:
    """A topic and the first message of it, where it carries pictures.

    Args:
        connection: Of the bag.
        first: Image or CompressedImage; None where it carries something else, or nothing.
    """

    connection: Connection
    first: Any = None

    @property
    def base(self) -> str:
        """The camera's base topic."""
        head, _, last = self.connection.topic.rpartition("/")
        return head if last in TRANSPORTS[1:] else self.connection.topic

    @property
    def rank(self) -> int:
        """Which transport of a camera is read first: the lowest."""
        last = self.connection.topic.removeprefix(self.base).lstrip("/")
        return TRANSPORTS.index(last) * 2 + (self.connection.msgtype == COMPRESSED)

    @property
    def is_depth(self) -> bool:
        """Whether its pictures are of distances."""
        last_names = self.base.lower().split("/")[-2:]
        named = any(word in name for name in last_names for word in DEPTH_WORDS)
        encoding = getattr(self.first, "encoding", None)
        if encoding is not None:
            return encoding == "32FC1" or (encoding in DEPTH_ENCODINGS and named)
        told = str(getattr(self.first, "format", ""))
        if "compressedDepth" in told or told.startswith(("32FC1", "16UC1")):
            return True
        return named and (self.first is None or "png" in told.lower())


@dataclass(frozen=True)
class BagTopics:
    """What was chosen; "" where the bag has none."""

    image: Connection
    info: str
    depth: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DepthTopic:
    """A topic of depth beside a camera.

    Args:
        picture: The topic and its first message.
        info: Topic of its CameraInfo; "" where there is none.
        registered: Whether its pixels are the camera's.
    """

    picture: PictureTopic
    info: str
    registered: bool

    @property
    def frame_id(self) -> str:
        """TF name of its optical axes; "" unknown."""
        return _frame(self.picture.first)


def depth_topics(topics: list[PictureTopic], chosen: BagTopics) -> list[DepthTopic]:
    """The depth that belongs to a camera, or might: the chosen one first."""
    image = next(item for item in topics if item.connection.topic == chosen.image.topic)
    connections = [item.connection for item in topics]
    others = [
        item
        for item in topics
        if item.connection.msgtype in {IMAGE, COMPRESSED} and item.connection.msgcount
    ]
    depths = [
        item
        for item in others
        if item.connection.topic == chosen.depth
        or (item.is_depth and item.connection.topic != chosen.image.topic)
    ]
    depths.sort(
        key=lambda item: (
            item.connection.topic != chosen.depth,
            bool(_unlike(item, image)),
            item.rank,
            item.connection.topic,
        )
    )
    return [
        DepthTopic(item, _pick_info(connections, "", item), not _unlike(item, image))
        for item in depths
    ]


def choose_topics(topics: list[PictureTopic], named: TopicChoice) -> BagTopics:
    """Choose the topics of one camera.

    Args:
        topics: of the bag.
        named: by the user.

    Raises:
        RecordingError: A named topic is missing, there is no camera, or there are several.
    """
    image = _pick_image(topics, named.image)
    connections = [item.connection for item in topics]
    depth, notes = _pick_depth(topics, named.depth, image)
    info = _pick_info(connections, named.camera_info, image)
    return BagTopics(image.connection, info, depth, notes)


def _pick_image(topics: list[PictureTopic], named: str) -> PictureTopic:
    images = [item for item in topics if item.connection.msgtype in {IMAGE, COMPRESSED}]
    shown = (f"{item.connection.topic} ({item.connection.msgtype})" for item in images)
    listing = ", ".join(sorted(set(shown))) or "none"
    if named:
        found = [item for item in images if item.connection.topic == named]
        if found:
            return max(found, key=lambda item: item.connection.msgcount)
        raise RecordingError(f"image topic {named} is no image topic of the bag; it has: {listing}")
    colour = cameras_in(topics)
    if len(colour) > 1:
        names = ", ".join(sorted(item.connection.topic for item in colour))
        raise RecordingError(
            f"the bag has several cameras: {names}; choose one as image topic (--image-topic), or "
            "play them as a rig (--cameras all)"
        )
    return colour[0]


def cameras_in(topics: Sequence[PictureTopic]) -> list[PictureTopic]:
    """The image topics of all cameras, one of each.

    Raises:
        RecordingError: There is none.
    """
    images = [item for item in topics if item.connection.msgtype in {IMAGE, COMPRESSED}]
    colour = [item for item in images if not item.is_depth and item.connection.msgcount]
    if not colour:
        names = ", ".join(sorted({item.connection.topic for item in topics})) or "none at all"
        raise RecordingError(
            "the bag has no topic with colour frames (sensor_msgs/Image or CompressedImage that "
            f"is not of depth); it has: {names}"
        )
    # A camera that was recorded in several transports, or through several channels, is one.
    cameras: dict[str, PictureTopic] = {}
    for item in sorted(colour, key=lambda item: (item.rank, -item.connection.msgcount)):
        cameras.setdefault(item.base, item)
    return list(cameras.values())


def _pick_info(connections: list[Connection], named: str, image: PictureTopic) -> str:
    topics = [item.topic for item in connections if item.msgtype == CAMERA_INFO and item.msgcount]
    if named:
        if named not in topics:
            raise RecordingError(
                f"camera info topic {named} is no CameraInfo topic of the bag; it has: "
                f"{', '.join(sorted(topics)) or 'none'}"
            )
        return named
    beside = image.base.rsplit("/", 1)[0]
    for candidate in (f"{beside}/camera_info", f"{image.base}/camera_info"):
        if candidate in topics:
            return candidate
    return ""


def _pick_depth(
    topics: list[PictureTopic], named: str, image: PictureTopic
) -> tuple[str, list[str]]:
    images = [item for item in topics if item.connection.msgtype in {IMAGE, COMPRESSED}]
    others = [item for item in images if item.connection.topic != image.connection.topic]
    if named:
        if named not in {item.connection.topic for item in others}:
            raise RecordingError(
                f"true depth topic {named} is no image topic of the bag; it has: "
                f"{', '.join(sorted(item.connection.topic for item in others)) or 'none'}"
            )
        return named, []
    depths = [item for item in others if item.is_depth and item.connection.msgcount]
    notes: list[str] = []
    for item in sorted(depths, key=lambda item: (item.rank, item.connection.topic)):
        why = _unlike(item, image)
        if not why:
            return item.connection.topic, notes
        notes.append(
            f"{item.connection.topic} is not taken as true depth: {why}. Choose it as true depth "
            "topic (--truth-depth-topic) where it is registered to the camera."
        )
    return "", notes


def _unlike(depth: PictureTopic, image: PictureTopic) -> str:
    """Why a depth picture cannot be of the camera's own pixels; "" where it can."""
    frames = [_frame(item.first) for item in (depth, image)]
    if all(frames) and frames[0] != frames[1]:
        return f"it is in frame {frames[0]}, the camera in {frames[1]}"
    sizes = [_size(item.first) for item in (depth, image)]
    if all(sizes) and sizes[0] != sizes[1]:
        (rows, columns), (own_rows, own_columns) = sizes  # type: ignore[misc]
        return f"it is {columns} x {rows}, the camera {own_columns} x {own_rows}"
    return ""


def _frame(message: Any) -> str:
    return "" if message is None else str(message.header.frame_id).lstrip("/")


def _size(message: Any) -> tuple[int, int] | None:
    """(H, W) of a picture, as its message says; None where it cannot be told."""
    if message is None:
        return None
    if hasattr(message, "encoding"):
        return int(message.height), int(message.width)

    data = bytes(message.data)
    start = max(0, data[:16].find(PNG_SIGNATURE))
    try:
        return open_picture(data[start:]).size
    except BadInputError:
        return None
