"""Subscriptions of the cameras, and what can be told about the topics behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_ros import messages
from g2vlm_ros.params import CameraParams, NodeParams

__all__ = ["CameraSubscriptions"]

_TYPES = {
    "raw": (Image, "sensor_msgs/msg/Image"),
    "compressed": (CompressedImage, "sensor_msgs/msg/CompressedImage"),
}


class CameraSubscriptions:
    """Feeds a pipeline from topics, from construction until `destroy`.

    Args:
        node: The node.
        params: Checked parameters.
        pipeline: Takes the frames, asks why a camera is silent; INCOMPATIBLE_QOS is set on its
            board.

    Raises:
        Exception: What rclpy raises where a topic cannot be subscribed, e.g. of another type
            within this process; nothing stays subscribed.
    """

    def __init__(self, node: Any, params: NodeParams, pipeline: Pipeline) -> None:
        self._node = node
        self._pipeline = pipeline
        self._cameras = {camera.name: camera for camera in params.topics}
        self._images = params.images
        self._subscriptions: list[Any] = []
        pipeline.explain_silence(lambda name: self._why_silent(self._cameras[name]))
        try:
            for camera in params.topics:
                self._subscribe_camera(camera)
        except BaseException:
            self.destroy()
            raise

    @property
    def topics(self) -> list[str]:
        """Resolved names of what is subscribed."""
        return [subscription.topic_name for subscription in self._subscriptions]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def check(self) -> None:
        """Update INCOMPATIBLE_QOS; once a period."""
        for subscription in self._subscriptions:
            self._check_qos(subscription.topic_name)

    def _subscribe_camera(self, camera: CameraParams) -> None:
        message_type, _ = _TYPES[camera.transport]
        take = partial(self._take, camera)
        self._subscribe(message_type, camera.image_topic, self._images.queue, take)
        if camera.camera_info_topic:
            self._pipeline.expect_calibration(camera.name, camera.camera_info_topic)
            calibrate = partial(self._pipeline.calibrate, camera.name)
            self._subscribe(CameraInfo, camera.camera_info_topic, 1, calibrate)

    def _take(self, camera: CameraParams, message: Any) -> None:
        pixels = RawPixels if camera.transport == "raw" else CompressedPixels
        self._pipeline.add(
            InputFrame(
                pixels(message),
                messages.nanoseconds(message.header.stamp),
                camera.name,
                camera.frame_id or message.header.frame_id,
            )
        )

    def _subscribe(
        self, message_type: Any, topic: str, depth: int, take: Callable[[Any], None]
    ) -> None:
        reliability = ReliabilityPolicy[self._images.reliability.upper()]
        qos = QoSProfile(depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)
        resolved = self._node.resolve_topic_name(topic)
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda _: self._check_qos(resolved), use_default_callbacks=False
        )
        self._subscriptions.append(
            self._node.create_subscription(message_type, topic, take, qos, event_callbacks=events)
        )

    def _check_qos(self, topic: str) -> None:
        """Publishers whose offer is less than what is asked for: they stay unheard."""
        unheard = [
            info.node_name
            for info in self._node.get_publishers_info_by_topic(topic)
            if self._images.reliability == "reliable"
            and info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        ]
        text = (
            f"{', '.join(unheard)} offers best_effort, images.reliability is reliable; set it to "
            "best_effort"
        )
        self._pipeline.board.condition("INCOMPATIBLE_QOS", bool(unheard), text, topic)

    def _why_silent(self, camera: CameraParams) -> str:
        topic = self._node.resolve_topic_name(camera.image_topic)
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return (
                f"nobody publishes {topic}; correct {camera.name}.image_topic or start the camera"
            )
        _, expected = _TYPES[camera.transport]
        others = sorted({info.topic_type for info in publishers} - {expected})
        if others:
            return (
                f"{topic} carries {', '.join(others)}, expected {expected}; set "
                f"{camera.name}.transport"
            )
        return f"{len(publishers)} publisher of {topic} delivers nothing"
