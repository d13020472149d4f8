# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is told about a camera's topics, by the node and, from outside, by the doctor. No rclpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from g2vlm_map.camera_model import named_straight
from g2vlm_ros.params import CameraParams
from g2vlm_ros.topics import AUTO, compressed_topic, info_topic

__all__ = [
    "FRAME_TYPES",
    "Names",
    "Silence",
    "is_straight",
    "offers_best_effort",
    "resolved_topics",
    "why_silent",
]

# Message type of a camera's frames by `image_transport`.
FRAME_TYPES = {
    "raw": "sensor_msgs/msg/Image",
    "compressed": "sensor_msgs/msg/CompressedImage",
}
_OTHER = {"raw": "compressed", "compressed": "raw"}


class Names(Protocol):
    """Gives namespace and remapping, as an rclpy node does."""

    def resolve_topic_name(self, topic: str) -> str:
        """The full name of a topic."""
        ...


@dataclass(frozen=True)
class Silence:
    """Why nothing comes from a camera.

    Args:
        text: For the status.
        parameter, value: What set to what mends it; "" where no parameter does.
        is_other_type: Somebody publishes frames, of another type than is asked for.
    """

    text: str
    parameter: str = ""
    value: str = ""
    is_other_type: bool = False


def resolved_topics(names: Names, camera: CameraParams) -> tuple[str, str]:
    """The topics that a camera's frames and its CameraInfo come from.

    Args:
        names: Of the node.
        camera: Its parameters.

    Returns:
        Both names resolved; "" for a CameraInfo that is turned off. The sibling is that of the
        base topic as it is remapped, and can be remapped in turn.
    """
    base = names.resolve_topic_name(camera.image_topic)
    frames = base
    if camera.image_transport == "compressed":
        frames = names.resolve_topic_name(compressed_topic(base))
    info = info_topic(base) if camera.camera_info_topic == AUTO else camera.camera_info_topic
    return frames, names.resolve_topic_name(info) if info else ""


def is_straight(camera: CameraParams, topic: str) -> bool | None:
    """Whether a camera's frames are straight already; None leaves that to its CameraInfo."""
    if camera.rectified != "auto":
        return camera.rectified == "true"
    return True if named_straight(topic) else None


def offers_best_effort(publishers: Sequence[str]) -> str:
    """INCOMPATIBLE_QOS of nodes that offer less than `images.reliability` asks for."""
    return (
        f"{', '.join(publishers)} offers best_effort, images.reliability is reliable; set it to "
        "best_effort"
    )


def why_silent(
    names: Names, camera: CameraParams, types_of: Callable[[str], Sequence[str]]
) -> Silence:
    """Why no frame comes, as far as the graph tells.

    Args:
        names: Of the node.
        camera: The silent one.
        types_of: The message type of each publisher of a topic.
    """
    topic, _ = resolved_topics(names, camera)
    found, expected = types_of(topic), FRAME_TYPES[camera.image_transport]
    if not found:
        return _who_else_publishes(names, camera, topic, types_of)
    setting = f"{camera.name}.image_transport"
    if others := sorted(set(found) - {expected}):
        return Silence(
            f"{topic} carries {', '.join(others)}, expected {expected}; set {setting}",
            *(setting, _OTHER[camera.image_transport]),
            is_other_type=True,
        )
    return Silence(f"{len(found)} publisher of {topic} delivers nothing")


def _who_else_publishes(
    names: Names, camera: CameraParams, topic: str, types_of: Callable[[str], Sequence[str]]
) -> Silence:
    """The camera's other transport where that one has a publisher."""
    base = names.resolve_topic_name(camera.image_topic)
    other = _OTHER[camera.image_transport]
    name = compressed_topic(base) if other == "compressed" else base
    found = types_of(name) if name != topic else ()
    if FRAME_TYPES[other] in found:
        setting = f"{camera.name}.image_transport"
        return Silence(
            f"nobody publishes {topic}, but {name} is there; set {setting} to {other}",
            *(setting, other),
            is_other_type=True,
        )
    if camera.image_transport == "compressed" and found:
        return Silence(
            f"nobody publishes {topic}; {name} carries CompressedImage: remap {topic} to it",
            *(f"-r {topic}", name),
            is_other_type=True,
        )
    return Silence(
        f"nobody publishes {topic}; correct {camera.name}.image_topic or start the camera"
    )
