# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A ZED camera and the perception node on its rectified left picture.

ros2 launch g2vlm_ros zed.launch.py camera_model:=zed2i
ros2 launch g2vlm_ros zed.launch.py driver:=false   # the driver runs already

Frames: zed_left_camera_frame_optical, which the driver joins to zed_camera_link and, with its own
tracking, to odom and map: leave publish_tf to one of the two. Odometry in metres lies on
/zed/zed_node/odom. Version 4 of the wrapper calls the picture rgb/image_rect_color: give
image_topic. Every argument of g2vlm.launch.py may be given.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchDescription

from g2vlm_ros.launch_actions import with_driver

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; what is started depends on their values."""
    return with_driver("zed", HERE / "g2vlm.launch.py")
