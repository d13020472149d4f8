# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node says on /tf, and when it says nothing.

map -> odom where the robot has an odometry, else map -> base; only in metres. Before a frame is
given a parent it is looked whether another node gives it one: two parents tear a tree apart, in
turns and silently. While the scale is unknown, `tf.up_to_scale` shows the camera between two
frames of names of their own, which no metric frame hangs on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy as np
from tf2_msgs.msg import TFMessage

from g2vlm_map.axes import map_to_odom
from g2vlm_map.poses import Floats
from g2vlm_map.status import StatusBoard
from g2vlm_ros import messages
from g2vlm_ros.params import NodeParams
from g2vlm_ros.robot_frames import RobotFrames
from g2vlm_ros.tf import TfTopics

__all__ = ["Broadcaster"]

_LOOK_S = 1.0  # how long others are listened to before the first transform
_FORGET_S = 10.0  # a parent on /tf that nobody has told of for this long is gone
_STATIC_S = float("inf")


class _Parents:
    """Who else gives a frame a parent, as far as it was heard."""

    def __init__(self, node: Any) -> None:
        self._own: deque[tuple[str, str, int]] = deque(maxlen=500)
        self._seen: dict[str, dict[str, float]] = {}  # child -> parent -> until
        self._topics = TfTopics(node, self._note)

    def sent(self, parent: str, child: str, stamp_ns: int) -> None:
        """A transform is the node's own; to be called before it is published."""
        self._own.append((parent, child, stamp_ns))

    def others(self, child: str) -> list[str]:
        """Parents that others give it at present."""
        now = time.monotonic()
        return [name for name, until in list(self._seen.get(child, {}).items()) if now < until]

    def close(self) -> None:
        self._topics.close()

    def _note(self, transform: Any, static: bool) -> None:
        parent, child = transform.header.frame_id, transform.child_frame_id
        if (parent, child, messages.nanoseconds(transform.header.stamp)) in self._own:
            return
        until = _STATIC_S if static else time.monotonic() + _FORGET_S
        self._seen.setdefault(child.lstrip("/"), {})[parent.lstrip("/")] = until


class Broadcaster:
    """From activation to deactivation; made only where `tf.publish` or `tf.up_to_scale` is set.

    Args:
        node: The node.
        params: Checked parameters.
        frames: Knows the base and its odometry.
        board: TF_CONFLICT is set on it.
        publisher: Of /tf.
    """

    def __init__(
        self, node: Any, params: NodeParams, frames: RobotFrames, board: StatusBoard, publisher: Any
    ) -> None:
        self._params, self._frames, self._board = params, frames, board
        self._publisher = publisher
        self._parents = _Parents(node)
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._waiting: tuple[int, Floats] | None = None  # a pose without its odometry yet
        self._T_map_odom: Floats | None = None
        self._told_ns = 0  # stamp of the newest map -> odom

    def close(self) -> None:
        """Say nothing any more."""
        self._parents.close()
        self._board.condition("TF_CONFLICT", False)

    def place(self, stamp_ns: int, T_map_base: Floats) -> None:
        """The base's best pose in metres, new or corrected; from any thread."""
        if not self._params.tf.publish:
            return
        if not self._params.frames.odom:
            self._tell(self._params.frames.map, self._frames.base, stamp_ns, T_map_base)
            return
        with self._lock:
            self._waiting = (stamp_ns, T_map_base)
        self.tick()

    def lose(self) -> None:
        """The scale does not carry any more: map -> odom is not known."""
        with self._lock:
            self._waiting = self._T_map_odom = None

    def show(self, stamp_ns: int, map_frame: str, camera_frame: str, T_map_cam: Floats) -> None:
        """The camera in map units, between frames of names of their own."""
        if self._params.tf.up_to_scale:
            self._tell(map_frame, camera_frame, stamp_ns, T_map_cam)

    def tick(self) -> None:
        """Broadcast map -> odom for every new stamp of the odometry; some times a second.

        It holds for the odometry's newest stamp although it was found at an earlier one: what it
        corrects is the drift, which is slow. Nothing is stamped with a time that nobody measured.
        """
        odometry = self._frames.odometry
        with self._lock:
            if self._waiting is not None:
                stamp_ns, T_map_base = self._waiting
                T_odom_base = odometry.at(stamp_ns)
                if T_odom_base is not None:
                    self._T_map_odom = map_to_odom(T_map_base, T_odom_base)
                    self._told_ns, self._waiting = 0, None
            T_map_odom, newest_ns = self._T_map_odom, odometry.newest_ns
            if T_map_odom is None or newest_ns == self._told_ns:
                return
            self._told_ns = newest_ns
        frames = self._params.frames
        self._tell(frames.map, frames.odom, newest_ns, T_map_odom)

    def _tell(self, parent: str, child: str, stamp_ns: int, T: Floats) -> None:
        if not child or time.monotonic() - self._started < _LOOK_S:
            return
        others = self._parents.others(child)
        self._board.condition(
            "TF_CONFLICT",
            bool(others),
            f"{child} has the parent {', '.join(others)} already, and a frame has one: {parent} -> "
            f"{child} is not broadcast. Set frames.odom and frames.base to the robot's frames, or "
            "stop the other one",
        )
        if others or not np.isfinite(T).all():
            return
        self._parents.sent(parent, child, stamp_ns)
        self._publisher.publish(
            TFMessage(transforms=[messages.transform(T, stamp_ns, parent, child)])
        )
