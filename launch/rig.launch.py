# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras that are one rig (four by default; Video4Linux, driver usb_cam), and the perception node.

ros2 launch g2vlm_ros rig.launch.py base_frame:=base_link odom_frame:=odom
ros2 launch g2vlm_ros rig.launch.py cameras:=left,right video_device:=/dev/video0,/dev/video2
ros2 launch g2vlm_ros rig.launch.py driver:=false image_topic:=/cams/{camera}/image

Each camera needs a place on the base: a static transform from base_frame to its optical frame,
CAMERA_optical. The first one named leads. video_device and frame_id take one value for each
camera, with commas between. Every argument of g2vlm.launch.py may be given.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription

from g2vlm_ros.launch_actions import with_driver

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    return with_driver("rig", HERE / "g2vlm.launch.py")
