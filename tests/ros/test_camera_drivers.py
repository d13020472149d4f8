# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The cameras' launch files: what they tell the driver and the node. No launch."""

from __future__ import annotations

import re

import pytest

from g2vlm_ros.camera_drivers import (
    DRIVERS,
    driver_nodes,
    driver_remappings,
    driver_values,
)
from g2vlm_ros.launch_arguments import NODE_ARGUMENTS, driver_arguments, node_parameters
from g2vlm_ros.params import parse
from tests.helpers import REPO


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
