# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A USB camera (Video4Linux, driver usb_cam) and the perception node.

ros2 launch g2vlm_ros usb_camera.launch.py video_device:=/dev/video2
ros2 launch g2vlm_ros usb_camera.launch.py driver:=false image_topic:=/image_raw

Calibrate it and give the driver its file, or say camera_info:=false. The pictures' frame is
frame_id; join it to the robot with a static transform. Every argument of g2vlm.launch.py may be
given.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription

from g2vlm_ros.launch_actions import with_driver

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    return with_driver("usb_camera", HERE / "g2vlm.launch.py")
