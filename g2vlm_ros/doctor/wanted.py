# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node listens to, by its parameters. No rclpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from g2vlm_ros.camera_topics import FRAME_TYPES, Names, resolved_topics
from g2vlm_ros.params import NodeParams
from g2vlm_ros.topics import info_topic

__all__ = ["CAMERA_INFO", "IMAGE", "ODOMETRY", "TF", "GraphNames", "Want", "remaps", "wanted"]

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
ODOMETRY, TF = "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"


@dataclass(frozen=True)
class Want:
    """A topic that the node listens to.

    Args:
        topic: Resolved.
        msgtype: What it shall carry.
        role: frames, info, depth, depth_info, odometry, imu, cloud or scan.
        parameter: Names the topic.
        camera: Whose it is; "" of a sensor of the robot.
        reliability: What is asked for.
    """

    topic: str
    msgtype: str
    role: str
    parameter: str
    camera: str = ""
    reliability: str = "best_effort"


@dataclass(frozen=True)
class GraphNames:
    """Resolves names as a node does that nothing remaps.

    Args:
        node: Its name with namespace, e.g. /robot1/g2vlm.
    """

    node: str = "/g2vlm"

    def resolve_topic_name(self, topic: str) -> str:
        """The full name of a topic."""
        if topic.startswith("/"):
            return topic
        if topic.startswith("~/"):
            return f"{self.node}/{topic[2:]}"
        namespace = self.node.rpartition("/")[0]
        return f"{namespace}/{topic}"


def wanted(params: NodeParams, names: Names) -> list[Want]:
    """All that a node with these parameters subscribes but /tf, /clock and `initialpose`."""
    return [*_of_cameras(params, names), *_of_sensors(params, names)]


def remaps(wants: Sequence[Want], real: AbstractSet[tuple[str, str]]) -> dict[str, str]:
    """Where a node really listens, as far as that is unambiguous.

    Args:
        wants: What it listens to where nothing is remapped.
        real: Topics with their types that it subscribes, as the graph has them.

    Returns:
        The real topic by the wanted one, of those that are remapped.
    """
    met = {(want.topic, want.msgtype) for want in wants}
    unmet = [want for want in wants if (want.topic, want.msgtype) not in real]
    to = {}
    for want in unmet:
        others = [topic for topic, kind in real - met if kind == want.msgtype]
        if len(others) == 1 and sum(other.msgtype == want.msgtype for other in unmet) == 1:
            to[want.topic] = others[0]
    return to


def _of_cameras(params: NodeParams, names: Names) -> Iterator[Want]:
    reliability = params.images.reliability
    for camera in params.topics:
        name = camera.name
        frames, info = resolved_topics(names, camera)
        kind = FRAME_TYPES[camera.image_transport]
        yield Want(frames, kind, "frames", f"{name}.image_topic", name, reliability)
        if info:
            told = f"{name}.camera_info_topic"
            yield Want(info, CAMERA_INFO, "info", told, name, reliability)
        if camera.depth_topic:
            depth = names.resolve_topic_name(camera.depth_topic)
            beside = camera.depth_info_topic or info_topic(camera.depth_topic)
            beside = names.resolve_topic_name(beside)
            yield Want(depth, IMAGE, "depth", f"{name}.depth_topic", name)
            yield Want(beside, CAMERA_INFO, "depth_info", f"{name}.depth_info_topic", name)


def _of_sensors(params: NodeParams, names: Names) -> Iterator[Want]:
    sensors = params.sensors
    for role, kind, parameter, topics in (
        ("odometry", ODOMETRY, "odometry_topic", sensors.odometry_topic),
        ("imu", "sensor_msgs/msg/Imu", "imu_topic", sensors.imu_topic),
        ("cloud", "sensor_msgs/msg/PointCloud2", "cloud_topics", sensors.cloud_topics),
        ("scan", "sensor_msgs/msg/LaserScan", "scan_topics", sensors.scan_topics),
    ):
        for topic in topics.split():
            yield Want(names.resolve_topic_name(topic), kind, role, f"sensors.{parameter}")
