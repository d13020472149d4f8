# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small robots for the doctor: real publishers of one namespace each, healthy unless told.

All of them share a node and are driven tick by tick; a tick is 0.1 s of their stamps.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

NS = 1_000_000_000
TICK_NS = NS // 10
HEIGHT, WIDTH = 24, 32
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
PICTURE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
_, _jpeg = cv2.imencode(".jpg", PICTURE)
BENT = (-0.25, 0.05, 0.0, 0.0, 0.0)

Stamp = Callable[[int, int], int]  # (start_ns, tick) -> stamp


def steady(start_ns: int, tick: int) -> int:
    """Stamps as they should be."""
    return start_ns + tick * TICK_NS


class SmallRobot:
    """Publishers of one namespace.

    Args:
        node: Publishes for all.
        space: Namespace, e.g. "/healthy"; its frames begin with its name.
    """

    def __init__(self, node: Any, space: str) -> None:
        self.node, self.space, self.name = node, space, space.strip("/")
        self.start_ns = time.time_ns()
        self._on_tick: list[Callable[[int], None]] = []

    def tick(self, number: int) -> None:
        """All that is due."""
        for send in self._on_tick:
            send(number)

    def header(self, stamp_ns: int, frame: str) -> Any:
        return Header(stamp=Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS), frame_id=frame)

    def camera(
        self,
        topic: str = "camera/image_raw",
        *,
        frame: str = "",
        compressed: bool = False,
        encoding: str = "rgb8",
        stamp: Stamp = steady,
        every: int = 1,
        qos: Any = 10,
        silent: bool = False,
        info: Any = None,
        info_topic: str = "camera/camera_info",
    ) -> SmallRobot:
        """Frames and their CameraInfo; `info` False: none."""
        frame = frame or f"{self.name}_optical"
        kind = CompressedImage if compressed else Image
        name = f"{topic}/compressed" if compressed else topic
        frames = self._publisher(kind, name, qos)
        infos = None if info is False else self._publisher(CameraInfo, info_topic, qos)
        said = camera_info() if info is None else info

        def send(number: int) -> None:
            if silent or number % every:
                return
            header = self.header(stamp(self.start_ns, number), frame)
            frames.publish(jpeg(header) if compressed else image(header, encoding))
            if infos is not None:
                said.header = header
                infos.publish(said)

        self._on_tick.append(send)
        return self

    def depth(self, info: Any) -> SmallRobot:
        """Registered depth on depth/image_raw, with its CameraInfo beside it."""
        frames = self._publisher(Image, "depth/image_raw", 10)
        infos = self._publisher(CameraInfo, "depth/camera_info", 10)

        def send(number: int) -> None:
            header = self.header(steady(self.start_ns, number), f"{self.name}_optical")
            pixels = np.full((HEIGHT, WIDTH), 1.5, "<f4")
            message = Image(
                header=header, height=HEIGHT, width=WIDTH, encoding="32FC1", step=4 * WIDTH,
                data=array.array("B", pixels.tobytes()),
            )  # fmt: skip
            frames.publish(message)
            info.header = header
            infos.publish(info)

        self._on_tick.append(send)
        return self

    def scan(self, frame: str) -> SmallRobot:
        """A lidar on scan."""
        publisher = self._publisher(LaserScan, "scan", 10)

        def send(number: int) -> None:
            header = self.header(steady(self.start_ns, number), frame)
            publisher.publish(LaserScan(header=header, ranges=array.array("f", [1.0, 2.0])))

        self._on_tick.append(send)
        return self

    def odometry(self, frame: str) -> SmallRobot:
        """Wheels on odom, in a frame; about the base."""
        publisher = self._publisher(Odometry, "odom", 10)

        def send(number: int) -> None:
            header = self.header(steady(self.start_ns, number), frame)
            message = Odometry(header=header, child_frame_id=f"{self.name}_base")
            message.pose.pose.orientation.w = 1.0
            publisher.publish(message)

        self._on_tick.append(send)
        return self

    def link(self, parent: str, child: str) -> SmallRobot:
        """A static transform."""
        publisher = self.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        publisher.publish(TFMessage(transforms=[self._transform(self.start_ns, parent, child)]))
        return self

    def moving(self, parent: str, child: str, late_s: float = 0.0) -> SmallRobot:
        """A transform that is told again and again; its stamps stay behind."""
        publisher = self.node.create_publisher(TFMessage, "/tf", 10)

        def send(number: int) -> None:
            stamp_ns = steady(self.start_ns, number) - round(late_s * NS)
            publisher.publish(TFMessage(transforms=[self._transform(stamp_ns, parent, child)]))

        self._on_tick.append(send)
        return self

    def placed(self) -> SmallRobot:
        """Base -> optical, as a robot has it."""
        return self.link(f"{self.name}_base", f"{self.name}_optical")

    def _publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        return self.node.create_publisher(kind, f"{self.space}/{topic}", qos)

    def _transform(self, stamp_ns: int, parent: str, child: str) -> Any:
        transform = TransformStamped(header=self.header(stamp_ns, parent), child_frame_id=child)
        transform.transform.rotation.w = 1.0
        return transform


def image(header: Any, encoding: str = "rgb8") -> Any:
    """A picture under an encoding, true or not."""
    return Image(
        header=header, height=HEIGHT, width=WIDTH, encoding=encoding, step=3 * WIDTH,
        data=array.array("B", PICTURE.tobytes()),
    )  # fmt: skip


def jpeg(header: Any) -> Any:
    """The picture as JPEG."""
    return CompressedImage(header=header, format="jpeg", data=array.array("B", _jpeg.tobytes()))


def camera_info(
    width: int = WIDTH, height: int = HEIGHT, bent: bool = False, focal: float = 30.0
) -> Any:
    """A CameraInfo, of a straight lens unless told."""
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    info.k, info.d = k, list(BENT if bent else (0.0,) * 5)
    info.p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    return info
