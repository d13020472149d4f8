# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras with a launch file of their own: what their drivers call things. No launch, no rclpy.

Names are those of the drivers' releases for Jazzy and later: realsense2_camera 4.55 and newer
(topics below /CAMERA_NAMESPACE/CAMERA_NAME), zed_wrapper 5 (topics below /CAMERA_NAME/NODE_NAME),
usb_cam 0.8 (topics relative to its namespace).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from g2vlm_ros.topics import compressed_topic, info_topic

__all__ = ["DRIVERS", "Driver", "driver_nodes", "driver_remappings", "driver_values"]


@dataclass(frozen=True)
class Driver:
    """The driver of one kind of camera.

    Args:
        package: Of its driver.
        launch_file: The driver's own, below share/PACKAGE/launch; "" where a node is started.
        executable: The driver's node where there is no launch file to include.
        told: What the driver is told: its launch arguments, or its parameters; of a rig with
            commas between what each camera is told, or with its name in place of {camera}.
        topics: Arguments of g2vlm.launch.py: pictures, whose sibling is the CameraInfo, and what
            the driver publishes in metres; the names of a rig's cameras.
        frame: Optical frame of the pictures, for the documentation and the tests.
    """

    package: str
    launch_file: str = ""
    executable: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)
    frame: str = ""


DRIVERS: Mapping[str, Driver] = {
    "realsense": Driver(
        package="realsense2_camera",
        launch_file="rs_launch.py",
        told={
            "camera_namespace": "camera",
            "camera_name": "camera",
            "align_depth.enable": "true",
        },
        topics={
            "image_topic": "/camera/camera/color/image_raw",
            "depth_topic": "/camera/camera/aligned_depth_to_color/image_raw",
        },
        frame="camera_color_optical_frame",
    ),
    "zed": Driver(
        package="zed_wrapper",
        launch_file="zed_camera.launch.py",
        told={"camera_name": "zed", "node_name": "zed_node", "camera_model": "zed2i"},
        topics={
            "image_topic": "/zed/zed_node/rgb/color/rect/image",
            "depth_topic": "/zed/zed_node/depth/depth_registered",
            "odometry_topic": "/zed/zed_node/odom",
        },
        frame="zed_left_camera_frame_optical",
    ),
    "usb_camera": Driver(
        package="usb_cam",
        executable="usb_cam_node_exe",
        told={"video_device": "/dev/video0", "frame_id": "camera_optical"},
        topics={"image_topic": "/camera/image_raw"},
        frame="camera_optical",
    ),
    "rig": Driver(
        package="usb_cam",
        executable="usb_cam_node_exe",
        told={
            "video_device": "/dev/video0,/dev/video2,/dev/video4,/dev/video6",
            "frame_id": "{camera}_optical",
        },
        topics={"cameras": "front,left,rear,right", "image_topic": "/rig/{camera}/image_raw"},
        frame="front_optical",
    ),
}


def driver_values(
    driver: Driver, given: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """What the driver and the node are told.

    Args:
        driver: The camera's.
        given: Launch arguments with their values; an empty one leaves what stands in `DRIVERS`.

    Returns:
        The driver's arguments or parameters, and those of g2vlm.launch.py.
    """
    told = {name: given.get(name) or value for name, value in driver.told.items()}
    topics = {name: given.get(name) or value for name, value in driver.topics.items()}
    return told, topics


def driver_nodes(
    told: Mapping[str, str], topics: Mapping[str, str]
) -> list[tuple[str, dict[str, str], list[tuple[str, str]]]]:
    """The nodes of a driver that is a node: one, or one for each camera of a rig.

    Args:
        told, topics: As `driver_values` gives them.

    Returns:
        Name, parameters and remappings of each. The name is "" where there is one.

    Raises:
        ValueError: A rig's argument holds neither one value nor one for each camera.
    """
    names = [name.strip() for name in topics.get("cameras", "").split(",")]
    nodes = []
    for at, name in enumerate(names):
        own = {}
        for key, value in told.items():
            values = value.split(",")
            if len(values) not in (1, len(names)):
                raise ValueError(
                    f"{key}: {value!r} is {len(values)} values for {len(names)} cameras; give one "
                    "for each, with commas between, or one for all"
                )
            own[key] = values[at if len(values) > 1 else 0].strip().replace("{camera}", name)
        pictures = topics["image_topic"].replace("{camera}", name)
        nodes.append((name and f"{name}_camera", own, driver_remappings(pictures)))
    return nodes


def driver_remappings(image_topic: str) -> list[tuple[str, str]]:
    """From the relative names of a driver's node to a base topic and what belongs to it."""
    return [
        ("image_raw", image_topic),
        ("image_raw/compressed", compressed_topic(image_topic)),
        ("camera_info", info_topic(image_topic)),
    ]
