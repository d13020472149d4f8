# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Subscriptions of sensors beside the cameras: each message becomes one sample of the pipeline.

What a message says of itself is checked first; then its frame is looked up. What cannot be used is
counted, and SENSOR_REFUSED says why, by topic.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, Imu, LaserScan, PointCloud2

from g2vlm_map.camera_model import read_camera_info
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import inverse
from g2vlm_map.recordings.frames import message_depth
from g2vlm_map.sensing import DepthSample, Gravity, PointSample, depth_step, thinned_K
from g2vlm_ros import messages, sensor_messages
from g2vlm_ros.params import CameraParams, NodeParams
from g2vlm_ros.robot_frames import RobotFrames
from g2vlm_ros.subscriptions import Subscriptions
from g2vlm_ros.tf import TransformUnknownError
from g2vlm_ros.topics import frame_name, info_topic

__all__ = ["SensorSubscriptions"]

_IMU_PERIOD_NS = 100_000_000  # up is slow; an IMU is not
_LATE_S = 1.0  # how long a message waits for the transform of its time
_WAITING = 20  # messages of one topic that may


class SensorSubscriptions(Subscriptions):
    """From activation to `destroy`.

    Args:
        node: The node.
        params: Checked parameters.
        pipeline: Takes the samples.
        frames: Knows where the sensors sit.
    """

    def __init__(
        self, node: Any, params: NodeParams, pipeline: Pipeline, frames: RobotFrames
    ) -> None:
        super().__init__(node)
        self._params, self._pipeline, self._frames = params, pipeline, frames
        self._refused: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[float, Callable[[], None]]]] = {}
        self._depth_info: dict[str, Any] = {}
        self._imu_ns = 0
        sensors = params.sensors
        with self._all_or_none():
            if sensors.odometry_topic:
                self._listen(Odometry, sensors.odometry_topic, self._take_odometry)
            if sensors.imu_topic:
                self._listen(Imu, sensors.imu_topic, self._take_imu)
            for topic in sensors.cloud_topics.split():
                self._listen(PointCloud2, topic, self._take_cloud, sensor_messages.cloud_points)
            for topic in sensors.scan_topics.split():
                self._listen(LaserScan, topic, self._take_scan, sensor_messages.scan_points)
            for camera in params.topics:
                if camera.depth_topic:
                    self._listen_to_depth(camera)

    def tick(self) -> None:
        """Try again what waits for a transform; some times a second."""
        for topic, waiting in self._waiting.items():
            for _ in range(len(waiting)):
                self._attempt(topic, *waiting.popleft())

    def _listen(
        self,
        kind: Any,
        topic: str,
        take: Callable[[str, Any, Any], None],
        convert: Callable[[Any], Any] = lambda message: message,
    ) -> None:
        self._waiting[topic] = deque(maxlen=_WAITING)

        def heard(message: Any) -> None:
            deadline = time.monotonic() + _LATE_S
            try:
                content = convert(message)  # once, however often it then waits for its transform
            except ValueError as error:
                self._refuse(topic, str(error))
                return
            self._attempt(topic, deadline, partial(take, topic, message.header, content))

        self._subscriptions.append(
            self._node.create_subscription(kind, topic, heard, qos_profile_sensor_data)
        )

    def _attempt(self, topic: str, deadline: float, take: Callable[[], None]) -> None:
        """Use a message; one whose transform is not there yet waits a little."""
        try:
            take()
        except TransformUnknownError as error:
            if time.monotonic() < deadline:
                if len(self._waiting[topic]) == _WAITING:
                    self._refuse(topic, f"{_WAITING} wait for a transform already: {error}")
                self._waiting[topic].append((deadline, take))
            else:
                self._refuse(topic, str(error))
        except ValueError as error:
            self._refuse(topic, str(error))

    def _refuse(self, topic: str, why: str) -> None:
        self._refused[topic] = count = self._refused.get(topic, 0) + 1
        text = f"{topic} ({count} messages so far): {why}"
        self._pipeline.board.event("SENSOR_REFUSED", text, time.monotonic())

    # One for each type.

    def _take_odometry(self, topic: str, header: Any, message: Any) -> None:
        frames, child = self._params.frames, frame_name(message.child_frame_id)
        parent = frame_name(message.header.frame_id)
        if frames.odom and parent != frames.odom:
            raise ValueError(f"its frame is {parent!r:.60}, expected frames.odom = {frames.odom!r}")
        T_odom_child = messages.matrix(message.pose.pose.position, message.pose.pose.orientation)
        if T_odom_child is None:
            raise ValueError("its pose is no rigid transform")
        stamp_ns = messages.nanoseconds(message.header.stamp)
        T_base_child = np.eye(4)
        if frames.base and child != frames.base:
            T_base_child = self._frames.T_base(child, 0)
        self._frames.take_odometry(stamp_ns, T_odom_child @ inverse(T_base_child), topic)

    def _take_imu(self, topic: str, header: Any, message: Any) -> None:
        stamp_ns = messages.nanoseconds(message.header.stamp)
        if 0 <= stamp_ns - self._imu_ns < _IMU_PERIOD_NS:
            return
        said = sensor_messages.up_of_imu(message)
        if said is None:
            return
        up_3, sigma = said
        T_base_imu = self._frames.T_base(message.header.frame_id, 0)
        self._imu_ns = stamp_ns
        self._pipeline.sense(Gravity(stamp_ns, T_base_imu[:3, :3] @ up_3, sigma))

    def _take_cloud(self, topic: str, header: Any, points_M3: Any) -> None:
        self._take_points(header, points_M3, is_scan=False)

    def _take_scan(self, topic: str, header: Any, points_M3: Any) -> None:
        self._take_points(header, points_M3, is_scan=True)

    def _take_points(self, header: Any, points_M3: Any, *, is_scan: bool) -> None:
        stamp_ns = messages.nanoseconds(header.stamp)
        T_base_sensor = self._frames.T_base(header.frame_id, stamp_ns)
        self._pipeline.sense(PointSample(stamp_ns, points_M3, T_base_sensor, is_scan))

    # Depth needs the K of its own pixels.

    def _listen_to_depth(self, camera: CameraParams) -> None:
        topic = camera.depth_info_topic or info_topic(camera.depth_topic)
        self._listen(CameraInfo, topic, partial(self._take_depth_info, camera.name))
        take = partial(self._take_depth, camera.name, topic)
        self._listen(Image, camera.depth_topic, take, _depth_of)

    def _take_depth_info(self, camera: str, topic: str, header: Any, message: Any) -> None:
        self._depth_info[camera] = message

    def _take_depth(self, camera: str, beside: str, topic: str, header: Any, depth: _Depth) -> None:
        if camera not in self._depth_info:
            raise ValueError(f"no CameraInfo has come on {beside} yet")
        K = read_camera_info(self._depth_info[camera], depth.size_hw, rectified=True).K
        stamp_ns = messages.nanoseconds(header.stamp)
        T_cam_depth = self._frames.T_cam(camera, header.frame_id)
        sample = DepthSample(
            stamp_ns, camera, depth.depth_HW, thinned_K(K, depth.step), T_cam_depth
        )
        self._pipeline.sense(sample)


@dataclass(frozen=True)
class _Depth:
    """Every step-th row and column of a depth image of that size, float32 metres; 0: none."""

    depth_HW: NDArray[np.float32]
    size_hw: tuple[int, int]
    step: int


def _depth_of(message: Any) -> _Depth:
    step = depth_step(message.width)
    depth_HW = message_depth(message, "the depth image", step)
    return _Depth(depth_HW, (message.height, message.width), step)
