# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Transforms between the robot's frames: tf2's own buffer where there is one, else a small one.

Wheels of ROS 2 bring no tf2; a robot's installation does. Both sides answer the same two
questions (`TransformBuffer`); what is not known raises `TransformUnknownError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from g2vlm_map.poses import Floats
from g2vlm_map.transform_tree import TransformTree, TransformUnknownError
from g2vlm_ros import messages

__all__ = ["TfTopics", "TransformBuffer", "TransformUnknownError", "transform_buffer"]

KEEP_S = 30.0  # a model may take seconds for a frame, and TF is asked at the frame's stamp
_TF_QOS = QoSProfile(depth=200)
_STATIC_QOS = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)

OnTransform = Callable[[Any, bool], object]  # TransformStamped, whether it is static


class TransformBuffer(Protocol):
    """What is asked of a buffer."""

    @property
    def kind(self) -> str:
        """Who answers: "tf2_ros" or "own"."""

    def lookup(self, target: str, source: str, stamp_ns: int = 0) -> Floats:
        """T_target_source (4, 4) at a stamp; 0: the newest.

        Raises:
            TransformUnknownError: The frames do not hang together, or not at that time.
        """

    def newest(self, target: str, source: str) -> int:
        """The latest stamp at which a transform is known; 0: all is static.

        Raises:
            TransformUnknownError: As `lookup`.
        """

    def refused(self) -> dict[str, int]:
        """Transforms that could not be taken, by cause; see `TransformTree.add`."""

    def restart(self) -> None:
        """Stamps have gone back: what moves begins anew."""

    def close(self) -> None:
        """Unsubscribe."""


class TfTopics:
    """Hears /tf and /tf_static, transform by transform, until `close`."""

    def __init__(self, node: Any, take: OnTransform) -> None:
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                TFMessage, "/tf", lambda message: _each(message, take, False), _TF_QOS
            ),
            node.create_subscription(
                TFMessage, "/tf_static", lambda message: _each(message, take, True), _STATIC_QOS
            ),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []


def _each(message: Any, take: OnTransform, static: bool) -> None:
    for transform in message.transforms:
        take(transform, static)


class OwnBuffer:
    """`TransformTree` fed from the topics."""

    kind = "own"

    def __init__(self, node: Any) -> None:
        self._tree = TransformTree(KEEP_S)
        self._refused: dict[str, int] = {}
        self._topics = TfTopics(node, self._take)

    def lookup(self, target: str, source: str, stamp_ns: int = 0) -> Floats:
        return self._tree.lookup(target, source, stamp_ns)

    def newest(self, target: str, source: str) -> int:
        return self._tree.newest(target, source)

    def refused(self) -> dict[str, int]:
        return dict(self._refused)

    def restart(self) -> None:
        return  # the tree notices by itself

    def close(self) -> None:
        self._topics.close()

    def _take(self, transform: Any, static: bool) -> None:
        T = messages.matrix(transform.transform.translation, transform.transform.rotation)
        cause = self._tree.add(
            transform.header.frame_id,
            transform.child_frame_id,
            messages.nanoseconds(transform.header.stamp),
            np.full((4, 4), np.nan) if T is None else T,
            static=static,
        )
        if cause:
            self._refused[cause] = self._refused.get(cause, 0) + 1


class Tf2Buffer:
    """tf2_ros, as every other node of the robot uses it."""

    kind = "tf2_ros"

    def __init__(self, node: Any, tf2_ros: Any) -> None:
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=KEEP_S))
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        self._error = tf2_ros.TransformException

    def lookup(self, target: str, source: str, stamp_ns: int = 0) -> Floats:
        transform = self._look(target, source, stamp_ns).transform
        T = messages.matrix(transform.translation, transform.rotation)
        if T is None:
            raise TransformUnknownError(f"{source} in {target} is no rigid transform")
        return T

    def newest(self, target: str, source: str) -> int:
        return messages.nanoseconds(self._look(target, source, 0).header.stamp)

    def refused(self) -> dict[str, int]:
        return {}  # tf2 logs what it refuses

    def restart(self) -> None:
        self._buffer.clear()  # else it drops all that is older than what it has; static ones stay

    def close(self) -> None:
        self._listener.unregister()

    def _look(self, target: str, source: str, stamp_ns: int) -> Any:
        try:
            return self._buffer.lookup_transform(
                target.lstrip("/"), source.lstrip("/"), Time(nanoseconds=stamp_ns)
            )
        except self._error as error:
            raise TransformUnknownError(str(error)) from error


def transform_buffer(node: Any) -> TransformBuffer:
    """tf2's buffer where tf2_ros can be imported, else the own one."""
    try:
        import tf2_ros
    except ImportError:
        return OwnBuffer(node)
    return Tf2Buffer(node, tf2_ros)
