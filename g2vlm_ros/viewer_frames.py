# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One frame for RViz in both states, metric and up to scale, that nobody else ever sees.

    python -m g2vlm_ros.viewer_frames --ros-args -r /g2vlm/pose:=/robot/g2vlm/pose

The node's metric outputs are in one map frame, those up to scale in another, and no transform may
join them: a robot would take map units for metres. RViz has one fixed frame. So RViz is remapped
from /tf to a copy of it (`g2vlm.launch.py rviz:=true` does that), in which both map frames, or what
they hang on, lie in `g2vlm_view`. /tf and /tf_static themselves stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from tf2_msgs.msg import TFMessage

from g2vlm_ros import messages
from g2vlm_ros.logs import log_arguments
from g2vlm_ros.tf import TfTopics
from g2vlm_ros.topics import VIEWER_TF

__all__ = ["VIEW_FRAME", "ViewerFrames", "main"]

VIEW_FRAME = "g2vlm_view"
POSE_TOPICS = ("/g2vlm/pose", "/g2vlm/up_to_scale/pose")
_MOST_PARENTS = 64  # above a frame; more are a loop


class ViewerFrames:
    """Copies TF, and puts the frames of the node's poses into `VIEW_FRAME`.

    Args:
        node: That publishes and subscribes; whoever made it spins it.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._parents: dict[str, str] = {}
        self._joined: set[str] = set()
        moving, static = (topic for _, topic in VIEWER_TF)
        self._moving = node.create_publisher(TFMessage, moving, QoSProfile(depth=200))
        latched = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = node.create_publisher(TFMessage, static, latched)
        self._topics = TfTopics(node, self._copy)
        for topic in POSE_TOPICS:
            node.create_subscription(
                PoseWithCovarianceStamped, topic, self._join, qos_profile_sensor_data
            )

    def _copy(self, transform: Any, static: bool) -> None:
        self._parents[transform.child_frame_id] = transform.header.frame_id
        (self._static if static else self._moving).publish(TFMessage(transforms=[transform]))

    def _join(self, message: Any) -> None:
        """Put what the pose's frame hangs on in the end into the view; once."""
        frame = message.header.frame_id
        for _ in range(_MOST_PARENTS):
            if frame not in self._parents:
                break
            frame = self._parents[frame]
        if frame and frame not in self._joined:
            self._joined.add(frame)
            link = messages.transform(np.eye(4), 0, VIEW_FRAME, frame)
            self._static.publish(TFMessage(transforms=[link]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; exit code 0."""
    given = sys.argv[1:] if argv is None else argv
    rclpy.init(args=["viewer_frames", *given, *log_arguments()])
    node = rclpy.create_node("g2vlm_viewer_frames")
    ViewerFrames(node)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
