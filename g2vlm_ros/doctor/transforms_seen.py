# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Takes a tree of frames from messages of /tf and /tf_static, live or of a bag. No rclpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from g2vlm_map.cameras import NS
from g2vlm_map.recordings.source import RecordingError
from g2vlm_map.recordings.transforms import transform_from
from g2vlm_map.transform_tree import TransformTree
from g2vlm_ros.doctor.seen import Link, TransformsSeen

__all__ = ["TransformsHeard"]


class TransformsHeard:
    """Collects what is sent, link by link."""

    def __init__(self) -> None:
        self._links: set[Link] = set()
        self._refused: set[tuple[Link, str]] = set()
        self._tree = TransformTree()

    def take(self, message: Any, *, is_static: bool) -> None:
        """A tf2_msgs/TFMessage has come."""
        for item in message.transforms:
            link = Link(item.header.frame_id, item.child_frame_id, is_static)
            self._links.add(link)
            try:
                T = transform_from(item.transform.translation, item.transform.rotation)
            except RecordingError:
                T = np.full((4, 4), np.nan)
            stamp_ns = item.header.stamp.sec * NS + item.header.stamp.nanosec
            if cause := self._tree.add(link.parent, link.child, stamp_ns, T, static=is_static):
                self._refused.add((link, cause))

    def seen(self) -> TransformsSeen:
        """All of it."""
        return TransformsSeen(frozenset(self._links), self._tree, frozenset(self._refused))
