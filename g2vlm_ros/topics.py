# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names of topics by the conventions of image_transport, and of frames. No rclpy.

A camera has one base topic. Its compressed frames are `<base>/compressed`, its CameraInfo is
`camera_info` beside it; who gives the base topic and the transport has said all.
"""

from __future__ import annotations

from g2vlm_ros.frame_options import UP_TO_SCALE

__all__ = ["AUTO", "VIEWER_TF", "compressed_topic", "frame_name", "info_topic", "unit_frame"]

AUTO = "auto"  # value of `camera_info_topic`: by the convention
# Where RViz is remapped to from /tf and /tf_static; see `viewer_frames`.
VIEWER_TF = (("/tf", "/g2vlm_viewer/tf"), ("/tf_static", "/g2vlm_viewer/tf_static"))
_COMPRESSED = "compressed"


def compressed_topic(topic: str) -> str:
    """The topic of the compressed frames of a base topic.

    A last name that holds the word already is taken as it is: `/cam/image_raw/compressed`, or
    `/cam/image_compressed` as usb_cam's launch files have it.
    """
    if _COMPRESSED in topic.rsplit("/", 1)[-1]:
        return topic
    return f"{topic}/{_COMPRESSED}"


def info_topic(topic: str) -> str:
    """The topic of the CameraInfo of a base topic, or of its compressed frames: its sibling."""
    base = topic.removesuffix(f"/{_COMPRESSED}")
    parent, slash, _ = base.rpartition("/")
    return f"{parent}{slash}camera_info"


def frame_name(frame_id: str) -> str:
    """A frame id as tf2 wants it: without the leading slash of ROS 1."""
    return frame_id.lstrip("/")


def unit_frame(name: str, is_metric: bool) -> str:
    """The name of a frame whose lengths are metres, or of its like in map units."""
    return name if is_metric else f"{name}_{UP_TO_SCALE}"
