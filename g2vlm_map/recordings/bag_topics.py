# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which topics of a bag are the camera, its CameraInfo and its true depth."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .source import CAMERA_INFO, COMPRESSED, IMAGE, RecordingError, TopicChoice

if TYPE_CHECKING:
    from rosbags.interfaces import Connection


@dataclass(frozen=True)
class BagTopics:
    """What was chosen; "" where the bag has none."""

    image: Connection
    info: str
    depth: str


def choose_topics(connections: list[Connection], named: TopicChoice) -> BagTopics:
    """Choose the topics of one camera.

    Args:
        connections: of the bag.
        named: by the user.

    Raises:
        RecordingError: A named topic is missing, there is no camera, or there are several.
    """
    image = _pick_image(connections, named.image)
    return BagTopics(
        image,
        _pick_info(connections, named.camera_info, image.topic),
        _pick_depth(connections, named.depth, image.topic),
    )


def _is_depth(connection: Connection) -> bool:
    return "depth" in connection.topic.lower() or "disparity" in connection.topic.lower()


def _pick_image(connections: list[Connection], named: str) -> Connection:
    images = [item for item in connections if item.msgtype in {IMAGE, COMPRESSED}]
    listing = ", ".join(sorted(f"{item.topic} ({item.msgtype})" for item in images)) or "none"
    if named:
        for item in images:
            if item.topic == named:
                return item
        raise RecordingError(f"image topic {named} is no image topic of the bag; it has: {listing}")
    colour = cameras_in(connections)
    if len(colour) > 1:
        raise RecordingError(
            f"the bag has several cameras: {', '.join(sorted(item.topic for item in colour))}; "
            "choose one as image topic (--image-topic), or play them as a rig (--cameras all)"
        )
    return colour[0]


def cameras_in(connections: Collection[Connection]) -> list[Connection]:
    """The image topics of all cameras.

    Raises:
        RecordingError: There is none.
    """
    images = [item for item in connections if item.msgtype in {IMAGE, COMPRESSED}]
    colour = [item for item in images if not _is_depth(item) and item.msgcount]
    if not colour:
        topics = ", ".join(sorted(item.topic for item in connections)) or "none at all"
        raise RecordingError(
            "the bag has no topic with colour frames (sensor_msgs/Image or CompressedImage, "
            f"not named depth); it has: {topics}"
        )
    # A camera that was recorded raw and compressed is one camera: the raw one serves.
    raw = {item.topic for item in colour}
    return [
        item
        for item in colour
        if item.topic.removesuffix("/compressed") not in raw
        or not item.topic.endswith("/compressed")
    ]


def _pick_info(connections: list[Connection], named: str, image_topic: str) -> str:
    topics = [item.topic for item in connections if item.msgtype == CAMERA_INFO and item.msgcount]
    if named:
        if named not in topics:
            raise RecordingError(
                f"camera info topic {named} is no CameraInfo topic of the bag; it has: "
                f"{', '.join(sorted(topics)) or 'none'}"
            )
        return named
    beside = image_topic.removesuffix("/compressed").rsplit("/", 1)[0]
    for candidate in (f"{beside}/camera_info", f"{image_topic}/camera_info"):
        if candidate in topics:
            return candidate
    return ""


def _pick_depth(connections: list[Connection], named: str, image_topic: str) -> str:
    images = [item for item in connections if item.msgtype in {IMAGE, COMPRESSED}]
    topics = [item.topic for item in images if item.topic != image_topic]
    if named:
        if named not in topics:
            raise RecordingError(
                f"true depth topic {named} is no image topic of the bag; it has: "
                f"{', '.join(sorted(topics)) or 'none'}"
            )
        return named
    candidates = [item.topic for item in images if "depth" in item.topic.lower() and item.msgcount]
    return sorted(candidates)[0] if candidates else ""
