# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Subscriptions: what all have in common, and the cameras'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2vlm_map.decode import SampleBits
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_ros import messages
from g2vlm_ros.camera_topics import is_straight, offers_best_effort, resolved_topics, why_silent
from g2vlm_ros.frame_thread import FrameThread
from g2vlm_ros.params import CameraParams, NodeParams
from g2vlm_ros.topics import frame_name

__all__ = ["CameraSubscriptions", "Subscriptions"]

_CLASSES = {"raw": Image, "compressed": CompressedImage}


class Subscriptions:
    """What one part of the node listens to, until `destroy`.

    Args:
        node: The node.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._subscriptions: list[Any] = []

    @property
    def topics(self) -> list[str]:
        """Resolved names of what is subscribed."""
        return [subscription.topic_name for subscription in self._subscriptions]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Where one of the subscriptions made within fails, none of them stays."""
        try:
            yield
        except BaseException:
            self.destroy()
            raise


class CameraSubscriptions(Subscriptions):
    """Feeds a pipeline from topics, from construction until `destroy`.

    Args:
        node: The node.
        params: Checked parameters.
        pipeline: Takes the frames, asks why a camera is silent; INCOMPATIBLE_QOS is set on its
            board.

    Raises:
        Exception: What rclpy raises where a topic cannot be subscribed, e.g. of another type
            within this process, or a QoS override that is none; nothing stays subscribed.
    """

    def __init__(self, node: Any, params: NodeParams, pipeline: Pipeline) -> None:
        super().__init__(node)
        self._pipeline = pipeline
        self._cameras = {camera.name: camera for camera in params.topics}
        self._images = params.images
        self._frames = FrameThread(pipeline, params.images.queue)
        self._used = {camera.name: SampleBits(camera.name) for camera in params.topics}
        # Told the optical frame of every frame that comes, by camera.
        self.on_frame_id: Callable[[str, str], object] = lambda camera, frame_id: None
        pipeline.tell_clock(lambda: node.get_clock().now().nanoseconds)
        pipeline.explain_silence(lambda name: self._why_silent(self._cameras[name]))
        with self._all_or_none():
            for camera in params.topics:
                self._subscribe_camera(camera)

    def destroy(self) -> None:
        """Unsubscribe, and look at no more frames."""
        super().destroy()
        self._frames.cancel()

    def wait(self, timeout_s: float) -> None:
        """Wait, after `destroy`, for the frame that is looked at; no longer than the time."""
        self._frames.join(timeout_s)

    def check(self) -> None:
        """Update INCOMPATIBLE_QOS; once a period."""
        for subscription in self._subscriptions:
            self._check_qos(subscription)

    def _subscribe_camera(self, camera: CameraParams) -> None:
        message_type = _CLASSES[camera.image_transport]
        frames, info = resolved_topics(self._node, camera)
        self._subscribe(message_type, frames, self._images.queue, partial(self._take, camera))
        if info:
            sent = partial(self._node.count_publishers, info)
            self._pipeline.expect_calibration(camera.name, info, lambda: sent() > 0)
            straight = is_straight(camera, frames)
            calibrate = partial(self._frames.calibrate, camera.name, rectified=straight)
            self._subscribe(CameraInfo, info, 1, calibrate)

    def _take(self, camera: CameraParams, message: Any) -> None:
        raw = camera.image_transport == "raw"
        pixels = RawPixels(message, self._used[camera.name]) if raw else CompressedPixels(message)
        frame_id = frame_name(camera.frame_id or message.header.frame_id)
        self.on_frame_id(camera.name, frame_id)
        stamp_ns = messages.nanoseconds(message.header.stamp)
        self._frames.put(InputFrame(pixels, stamp_ns, camera.name, frame_id))

    def _subscribe(
        self, message_type: Any, topic: str, depth: int, take: Callable[[Any], None]
    ) -> None:
        reliability = ReliabilityPolicy[self._images.reliability.upper()]
        qos = QoSProfile(depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda _: self.check(), use_default_callbacks=False
        )
        self._subscriptions.append(
            self._node.create_subscription(
                message_type,
                topic,
                take,
                qos,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

    def _check_qos(self, subscription: Any) -> None:
        """Publishers whose offer is less than what is asked for: they stay unheard."""
        topic = subscription.topic_name
        reliable = subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        unheard = [
            info.node_name
            for info in self._node.get_publishers_info_by_topic(topic)
            if reliable and info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        ]
        self._pipeline.board.condition(
            "INCOMPATIBLE_QOS", bool(unheard), offers_best_effort(unheard), topic
        )

    def _why_silent(self, camera: CameraParams) -> str:
        """What can be told about a camera's topics by who publishes."""
        return why_silent(self._node, camera, self._types_of).text

    def _types_of(self, topic: str) -> list[str]:
        """The message type of each publisher of a topic."""
        return [info.topic_type for info in self._node.get_publishers_info_by_topic(topic)]
