# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Camera, listener and questioner of a node in another process."""

from __future__ import annotations

import array
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovarianceStamped
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_model.interface import AnswerStatus

__all__ = ["SoakClient"]

NS = 1_000_000_000
UP_S = 120.0  # for the node to load and to be discovered
OPEN_QUESTIONS = 2  # at once; the node is asked, not swamped
LAST_ANSWERS_S = 30.0


class SoakClient:
    """A context manager; everything runs in the caller's thread.

    Args:
        domain: ROS domain of the node.
    """

    def __init__(self, domain: int) -> None:
        self.scenes = self.asked = 0
        self.answers: Counter[str] = Counter()
        self.reasons: set[str] = set()
        self._status: Any = None
        self._posed_ns = 0
        self._open: list[Any] = []
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self._node = rclpy.create_node("soak", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        deep = QoSProfile(depth=50)
        for prefix in ("/g2vlm", "/g2vlm/up_to_scale"):
            self._node.create_subscription(
                PoseWithCovarianceStamped, f"{prefix}/pose", self._take_pose, deep
            )
        self._node.create_subscription(SceneStatus, "/g2vlm/status", self._take_status, deep)
        self._camera = self._node.create_publisher(Image, "/camera/image_raw", deep)
        self._query = self._node.create_client(SpatialQuery, "/g2vlm/query")

    def __enter__(self) -> SoakClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_until_up(self, ended: Callable[[], int | None]) -> None:
        """Wait until the node is active and hears the camera.

        Raises:
            RuntimeError: It ended, or is not up in time.
        """
        deadline = time.monotonic() + UP_S
        while self._status is None or not self._camera.get_subscription_count():
            if ended() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the node is not up: exit code {ended()}; see node.log")
            self._spin(0.1)

    def scene_of(self, rgb: NDArray[np.uint8], stamp_ns: int, timeout_s: float) -> bool:
        """Publish a picture and wait for the pose of its scene; False where none comes in time."""
        self._camera.publish(_message(rgb, stamp_ns))
        # The first frames make no scene: they are not waited for.
        deadline = time.monotonic() + (timeout_s if self.scenes else 0.3)
        while self._posed_ns < stamp_ns:
            if time.monotonic() > deadline:
                return False
            self._spin(deadline - time.monotonic())
        return True

    def ask(self) -> None:
        """Ask, where not too many questions are open; the answer is counted when it comes."""
        if len(self._open) >= OPEN_QUESTIONS or not self._query.service_is_ready():
            return
        self.asked += 1
        request = SpatialQuery.Request(question="How far is the wall?", max_tokens=8)
        future = self._query.call_async(request)
        self._open.append(future)
        future.add_done_callback(self._take_answer)

    def settle(self) -> None:
        """Wait for the answers that are open."""
        deadline = time.monotonic() + LAST_ANSWERS_S
        while self._open and time.monotonic() < deadline:
            self._spin(0.1)

    def map_facts(self) -> dict[str, Any]:
        """What the last status says of the map."""
        status = self._status
        return {
            "keyframes": int(status.map_keyframes),
            "loops": int(status.map_loops),
            "segment": int(status.segment),
            "dropped": int(status.frames_dropped),
            "received": int(status.frames_received),
            "used": int(status.frames_used),
            "told_scenes": int(status.scenes),
            "reason_codes": list(status.reason_codes),
        }

    def _spin(self, seconds: float) -> None:
        self._executor.spin_once(timeout_sec=max(0.0, seconds))

    def _take_pose(self, message: Any) -> None:
        stamp = message.header.stamp
        self._posed_ns = stamp.sec * NS + stamp.nanosec
        self.scenes += 1

    def _take_status(self, message: Any) -> None:
        self._status = message
        self.reasons.update(message.reason_codes)

    def _take_answer(self, future: Any) -> None:
        self._open.remove(future)
        self.answers[AnswerStatus(future.result().answer.status).name] += 1


def _message(rgb: NDArray[np.uint8], stamp_ns: int) -> Any:
    message = Image(
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding="rgb8",
        step=3 * rgb.shape[1],
        data=array.array("B", rgb.tobytes()),
    )
    message.header.stamp = Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    message.header.frame_id = "camera_optical"
    return message
