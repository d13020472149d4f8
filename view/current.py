# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The camera's newest frame of a running node, listened to beside it while a page is open.

Which topic that is the node's parameters say, and the graph where the topic is remapped. Messages
stay serialised until one is shown: a camera's full rate costs no decoding here.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from g2vlm_map.decode import BadInputError
from g2vlm_map.pictures import PICTURE_PIXELS
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_ros.doctor.running_node import parameters_of
from g2vlm_ros.doctor.told import told_by
from g2vlm_ros.doctor.wanted import GraphNames, Want, remaps, wanted
from g2vlm_ros.messages import nanoseconds

from .replies import jpeg

__all__ = ["CurrentFrame"]

_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_PERIOD_S = 0.25  # of the frames that are decoded
_AGAIN_S = 3.0  # after which it is asked again what the node listens to
_SILENT_S = 5.0  # without a frame, after which the node may listen to something else
_CLASSES: dict[str, Any] = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}


class CurrentFrame:
    """Listens while `follow` says so.

    Args:
        node: rclpy's, of this process, which another thread spins.
        name: Of the node whose frames they are, with its namespace.

    Attributes:
        shown: Stamp and JPEG of the newest frame; None while there is none.
        why: In words why there is none; "" where there is one.
    """

    def __init__(self, node: Any, name: str) -> None:
        self._node, self._name = node, name
        self.shown: tuple[str, bytes] | None = None
        self.why = f"asking {name} which images it takes"
        self._want: Want | None = None
        self._subscription: Any = None
        self._asking: threading.Thread | None = None
        self._asked = -_AGAIN_S
        self._heard = self._decoded = 0.0

    def follow(self, wanted_now: bool) -> None:
        """Listen, or no more; in the thread that spins, again and again."""
        now = time.monotonic()
        if self._subscription is not None:
            if not wanted_now or now - self._heard > _SILENT_S:
                self._node.destroy_subscription(self._subscription)
                self._subscription = self._want = None
            return
        if not wanted_now:
            return
        if (want := self._want) is not None:
            kind = _CLASSES[want.msgtype]
            self._heard = now
            self._subscription = self._node.create_subscription(
                kind, want.topic, self._take, _QOS, raw=True
            )
        elif self._asking is None or (not self._asking.is_alive() and now - self._asked > _AGAIN_S):
            self._asked = now
            self._asking = threading.Thread(target=self._ask, name="g2vlm-camera", daemon=True)
            self._asking.start()

    def _ask(self) -> None:
        """Find out what the node's reference camera is."""
        running = parameters_of(self._node, self._name, time.sleep)
        if running is None:
            self._none(f"{self._name} does not say which images it takes: is it up?")
            return
        wants = wanted(told_by(self._name, running=running).params, GraphNames(self._name))
        real = self._listened()
        to = remaps(wants, real)
        for want in wants:
            topic = to.get(want.topic, want.topic)
            if want.role == "frames" and (topic, want.msgtype) in real:
                self._want = Want(topic, want.msgtype, want.role, want.parameter, want.camera)
                if self.shown is None:
                    self.why = f"no frame has come on {topic} yet"
                return
        there = sorted(topic for topic, kind in real if kind in _CLASSES)
        self._none(
            f"{self._name} takes images of {', '.join(there)}, and which of them is its first "
            "camera's is not to be told: they are remapped"
            if there
            else f"{self._name} takes no images: it is not active"
        )

    def _listened(self) -> set[tuple[str, str]]:
        """Topics with their types that the node subscribes."""
        space, _, short = self._name.rpartition("/")
        try:
            found = self._node.get_subscriber_names_and_types_by_node(short, space or "/")
        except NodeNameNonExistentError:
            return set()
        return {(topic, kind) for topic, kinds in found for kind in kinds}

    def _none(self, why: str) -> None:
        self.shown, self.why = None, why

    def _take(self, data: bytes) -> None:
        self._heard = now = time.monotonic()
        want = self._want
        if now - self._decoded < _PERIOD_S or want is None:
            return
        message = deserialize_message(data, _CLASSES[want.msgtype])
        pixels = RawPixels(message) if isinstance(message, Image) else CompressedPixels(message)
        try:
            rgb_HW3 = np.empty((*pixels.size(PICTURE_PIXELS), 3), np.uint8)
            pixels.write_rgb(rgb_HW3)
        except BadInputError as error:
            self._none(f"a frame of {want.topic} cannot be shown: {error}")
        else:
            self.shown = str(nanoseconds(message.header.stamp)), jpeg(rgb_HW3)
            self.why = ""
        self._decoded = time.monotonic()
