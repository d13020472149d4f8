# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The cameras' launch files: what they tell the driver and the node. No launch.

The nodes that they describe are run, with the simulated camera in the driver's place.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rclpy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from g2vlm_ros.camera_drivers import (
    DRIVERS,
    driver_nodes,
    driver_remappings,
    driver_values,
)
from g2vlm_ros.launch_arguments import NODE_ARGUMENTS, driver_arguments, node_parameters
from g2vlm_ros.params import parse
from tests.helpers import REPO, wait_for
from tests.ros.test_launch import change, node_process, observer

__all__ = ["observer"]  # the fixture


@pytest.mark.parametrize("name", DRIVERS)
def test_each_driver_has_a_launch_file_that_says_what_it_needs(name: str) -> None:
    text = (REPO / "launch" / f"{name}.launch.py").read_text(encoding="utf-8")
    assert f'with_driver("{name}"' in text
    own = {item.name for item in driver_arguments(name)}
    shown = set(re.findall(r"(\w+):=", text))
    assert shown <= own | {item.name for item in NODE_ARGUMENTS}
    page = (REPO / "docs" / "interfaces.md").read_text(encoding="utf-8")
    driver = DRIVERS[name]
    for word in (driver.package, driver.frame, *driver.topics.values()):
        assert word in page, f"{word} is not documented"


@pytest.mark.parametrize("name", DRIVERS)
def test_the_node_knows_what_it_is_told(name: str) -> None:
    driver = DRIVERS[name]
    assert bool(driver.launch_file) != bool(driver.executable)
    parameters = node_parameters(
        {item.name: item.default or "" for item in NODE_ARGUMENTS} | dict(driver.topics)
    )
    cameras = driver.topics.get("cameras", "camera").split(",")
    told = {value for value in parameters.values() if isinstance(value, str)}
    asked = {name: value for name, value in driver.topics.items() if name != "cameras"}
    assert {v.replace("{camera}", c) for v in asked.values() for c in cameras} <= told
    pictures = [topics.image_topic for topics in parse(parameters).topics]
    assert pictures == [asked["image_topic"].replace("{camera}", name) for name in cameras]
    names = [item.name for item in driver_arguments(name)]
    assert len(names) == len(set(names))
    # An argument of the driver that is also the node's would be given to both.
    assert not set(driver.told) & {item.name for item in NODE_ARGUMENTS}


def test_what_is_given_wins_and_what_is_empty_does_not() -> None:
    given = {"camera_model": "zedx", "image_topic": ""}
    told, topics = driver_values(DRIVERS["zed"], given)
    assert told["camera_model"] == "zedx"
    assert told["camera_name"] == "zed"
    assert topics["image_topic"] == "/zed/zed_node/rgb/color/rect/image"
    assert topics["odometry_topic"] == "/zed/zed_node/odom"


def test_each_camera_of_a_rig_has_a_driver_of_its_own_where_the_node_listens() -> None:
    told, topics = driver_values(
        DRIVERS["rig"], {"cameras": "a,b", "video_device": "/dev/x,/dev/y"}
    )
    nodes = driver_nodes(told, topics)
    assert [(name, own["video_device"], own["frame_id"]) for name, own, _ in nodes] == [
        ("a_camera", "/dev/x", "a_optical"),
        ("b_camera", "/dev/y", "b_optical"),
    ]
    assert nodes[1][2] == driver_remappings("/rig/b/image_raw")
    ((name, own, remappings),) = driver_nodes(*driver_values(DRIVERS["usb_camera"], {}))
    assert (name, own["video_device"]) == ("", "/dev/video0")
    assert remappings == driver_remappings("/camera/image_raw")
    with pytest.raises(ValueError, match="video_device: '/dev/x,/dev/y' is 2 values for 3 cameras"):
        driver_nodes(told, {**topics, "cameras": "a,b,c"})


def test_a_drivers_node_publishes_where_the_node_listens() -> None:
    assert driver_remappings("/front/image_raw") == [
        ("image_raw", "/front/image_raw"),
        ("image_raw/compressed", "/front/image_raw/compressed"),
        ("camera_info", "/front/camera_info"),
    ]


def simulated_camera(topics: dict[str, str], pictures: str) -> subprocess.Popen[bytes]:
    """The simulator, with its camera (and depth, and wheels) where the driver's would be."""
    moved = {f"/camera/{own}": topic for own, topic in driver_remappings(pictures)}
    moved |= {"/tf": "/unheard/tf", "/tf_static": "/unheard/tf_static"}
    values = {"index": 1, "width": 64, "height": 48, "rate_hz": 5.0}
    if depth := topics.get("depth_topic"):
        moved["/ground_truth/depth"], values["depth"] = depth, True
    if odometry := topics.get("odometry_topic"):
        moved["/odom"] = odometry
    words = [word for old, new in moved.items() for word in ("-r", f"{old}:={new}")]
    words += [word for key, value in values.items() for word in ("-p", f"{key}:={value}".lower())]
    command = [sys.executable, "-m", "g2vlm_demo.simulator", "--ros-args", *words]
    return subprocess.Popen(command, cwd=REPO)


def repeat(observer: Any, first: str, others: list[str]) -> None:
    """Have the other cameras of a rig see what the first one does, at the same time."""
    for (_, source), kind in zip(driver_remappings(first)[::2], (Image, CameraInfo), strict=True):
        targets = [source.replace("/front/", f"/{name}/") for name in others]
        publishers = [observer.create_publisher(kind, target, 10) for target in targets]

        def pass_on(message: Any, publishers: list[Any] = publishers) -> None:
            for publisher, name in zip(publishers, others, strict=True):
                message.header.frame_id = f"{name}_optical"
                publisher.publish(message)

        observer.create_subscription(kind, source, pass_on, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_a_cloud_comes_of_what_a_simulated_camera_publishes_in_the_drivers_place(
    name: str, observer: Any, tmp_path: Path
) -> None:
    """The node as the launch file starts it, with the topics and parameters that it gives."""
    told, topics = driver_values(DRIVERS[name], {})
    cameras = topics.get("cameras", "camera").split(",")
    pictures = [topics["image_topic"].replace("{camera}", camera) for camera in cameras]
    if DRIVERS[name].executable:  # the driver is told to publish where the node listens
        assert [remapped[0][1] for *_, remapped in driver_nodes(told, topics)] == pictures
    clouds: list[int] = []
    for topic in ("/g2vlm/points", "/g2vlm/up_to_scale/points"):
        observer.create_subscription(
            PointCloud2, topic, lambda cloud: clouds.append(cloud.width * cloud.height), 10
        )
    repeat(observer, pictures[0], cameras[1:])
    node = node_process(tmp_path, **topics)
    camera = simulated_camera(topics, pictures[0])
    try:
        assert change(observer, 1)  # configure
        assert change(observer, 3)  # activate

        def seen() -> bool:
            rclpy.spin_once(observer, timeout_sec=0.1)
            assert camera.poll() is None, "the simulator ended"
            return any(clouds)

        wait_for(seen, 120.0, what=f"a cloud from {pictures}")
        assert all(observer.count_subscribers(topic) for topic in pictures)
    finally:
        for process in (camera, node):
            process.kill()
        camera.wait()
        print(node.communicate()[0])
