# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small bags with real messages, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.poses import quaternion_xyzw

NS = 1_000_000_000
K = np.array([[100.0, 0, 31.5], [0, 100.0, 23.5], [0, 0, 1]])
OPTICAL = "camera_optical"


@dataclass
class Scribe:
    """Writes messages of one camera; `types` are rosbags' classes."""

    writer: BagWriter

    def __post_init__(self) -> None:
        self.types: dict[str, Any] = self.writer.types()

    def stamp(self, ns: int) -> Any:
        return self.types["builtin_interfaces/msg/Time"](sec=ns // NS, nanosec=ns % NS)

    def header(self, ns: int, frame_id: str = OPTICAL) -> Any:
        return self.types["std_msgs/msg/Header"](stamp=self.stamp(ns), frame_id=frame_id)

    def compressed(self, topic: str, ns: int, payload: bytes, kind: str = "jpeg") -> None:
        name = "sensor_msgs/msg/CompressedImage"
        message = self.types[name](
            header=self.header(ns), format=kind, data=np.frombuffer(payload, np.uint8)
        )
        self.writer.write_message(topic, name, ns, message)

    def image(
        self, topic: str, ns: int, pixels: np.ndarray, encoding: str, frame_id: str = OPTICAL
    ) -> None:
        name = "sensor_msgs/msg/Image"
        message = self.types[name](
            header=self.header(ns, frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=np.frombuffer(pixels.tobytes(), np.uint8),
        )
        self.writer.write_message(topic, name, ns, message)

    def info(
        self,
        topic: str,
        ns: int,
        size: tuple[int, int],
        matrix: np.ndarray = K,
        distortion: tuple[float, ...] = (0.0,) * 5,
    ) -> None:
        self.writer.write_camera_info(topic, ns, self.header(ns), matrix, size, distortion)

    def tf(self, topic: str, ns: int, parent: str, child: str, T: np.ndarray) -> None:
        name = "tf2_msgs/msg/TFMessage"
        item = self.types["geometry_msgs/msg/TransformStamped"](
            header=self.header(ns, parent), child_frame_id=child, transform=self._transform(T)
        )
        self.writer.write_message(topic, name, ns, self.types[name](transforms=[item]))

    def pose(self, topic: str, ns: int, T: np.ndarray) -> None:
        name = "geometry_msgs/msg/PoseStamped"
        message = self.types[name](header=self.header(ns, "world"), pose=self._pose(T))
        self.writer.write_message(topic, name, ns, message)

    def scan(self, topic: str, ns: int, frame_id: str, ranges: np.ndarray) -> None:
        name = "sensor_msgs/msg/LaserScan"
        message = self.types[name](
            header=self.header(ns, frame_id),
            angle_min=-1.0,
            angle_max=1.0,
            angle_increment=2.0 / max(1, len(ranges) - 1),
            time_increment=0.0,
            scan_time=0.1,
            range_min=0.05,
            range_max=30.0,
            ranges=ranges.astype(np.float32),
            intensities=np.zeros(0, np.float32),
        )
        self.writer.write_message(topic, name, ns, message)

    def pose_with_covariance(self, topic: str, ns: int, T: np.ndarray) -> None:
        name = "geometry_msgs/msg/PoseWithCovarianceStamped"
        covariant = self.types["geometry_msgs/msg/PoseWithCovariance"](
            pose=self._pose(T), covariance=np.zeros(36)
        )
        message = self.types[name](header=self.header(ns, "world"), pose=covariant)
        self.writer.write_message(topic, name, ns, message)

    def odometry(self, topic: str, ns: int, child: str, T: np.ndarray) -> None:
        name = "nav_msgs/msg/Odometry"
        zero = self.types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        message = self.types[name](
            header=self.header(ns, "world"),
            child_frame_id=child,
            pose=self.types["geometry_msgs/msg/PoseWithCovariance"](
                pose=self._pose(T), covariance=np.zeros(36)
            ),
            twist=self.types["geometry_msgs/msg/TwistWithCovariance"](
                twist=self.types["geometry_msgs/msg/Twist"](linear=zero, angular=zero),
                covariance=np.zeros(36),
            ),
        )
        self.writer.write_message(topic, name, ns, message)

    def _quaternion(self, T: np.ndarray) -> Any:
        x, y, z, w = quaternion_xyzw(T[:3, :3])
        return self.types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)

    def _transform(self, T: np.ndarray) -> Any:
        x, y, z = (float(v) for v in T[:3, 3])
        vector = self.types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)
        return self.types["geometry_msgs/msg/Transform"](
            translation=vector, rotation=self._quaternion(T)
        )

    def _pose(self, T: np.ndarray) -> Any:
        x, y, z = (float(v) for v in T[:3, 3])
        point = self.types["geometry_msgs/msg/Point"](x=x, y=y, z=z)
        return self.types["geometry_msgs/msg/Pose"](position=point, orientation=self._quaternion(T))


def pattern(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A frame (H, W, 3) RGB that differs from index to index."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()


def png(raw: np.ndarray) -> bytes:
    return cv2.imencode(".png", raw)[1].tobytes()


def translation(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = [x, y, z]
    return T


def write_places_bag(path: Path) -> None:
    """Twenty frames at 5 Hz that show another place every four frames."""
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        for i in range(20):
            if i % 4 == 0:
                noise = rng.integers(0, 255, (24, 60, 3), np.uint8)
                place = cv2.resize(noise, (300, 120), interpolation=cv2.INTER_CUBIC)
            shown = np.ascontiguousarray(place[:, 12 * (i % 4) :][:, :160])
            scribe.image("/camera/image", 10 * NS + i * NS // 5, shown, "rgb8")


def write_plain_bag(path: Path, *, mcap: bool, count: int = 5) -> None:
    """Compressed frames at 10 Hz from 10 s, camera info, TF with a static mount, depth."""
    with BagWriter(path, mcap=mcap) as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", 10 * NS, "base", OPTICAL, translation(0, 0, 0.5))
        for i in range(count):
            ns = 10 * NS + i * NS // 10
            scribe.tf("/tf", ns, "world", "base", translation(0.1 * i))
            scribe.info("/camera/camera_info", ns, (48, 64))
            scribe.compressed("/camera/image_raw/compressed", ns, jpeg(pattern(i)))
            depth_mm = np.full((48, 64), 1000 + 10 * i, np.uint16)
            depth_mm[0] = 0
            scribe.compressed("/camera/depth/image/compressed", ns, png(depth_mm), "16UC1; png")
