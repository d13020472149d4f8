# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A RealSense camera and the perception node on its colour stream.

ros2 launch g2vlm_ros realsense.launch.py
ros2 launch g2vlm_ros realsense.launch.py driver:=false rviz:=true   # the driver runs already

Frames: camera_color_optical_frame, which the driver joins to camera_link. Depth in metres lies on
/camera/camera/aligned_depth_to_color/image_raw. Every argument of g2vlm.launch.py may be given.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription

from g2vlm_ros.launch_actions import with_driver

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    return with_driver("realsense", HERE / "g2vlm.launch.py")
