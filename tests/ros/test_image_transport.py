# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Topics of a camera by image_transport's conventions, in a real graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sensor_msgs.msg import CompressedImage, Image

from tests.ros.graph import image_message, picture

Make = Callable[..., Any]


def reason(status: Any, code: str) -> str:
    return str(status.reason_texts[list(status.reason_codes).index(code)])


def test_the_camera_info_is_looked_for_beside_the_frames(make_graph: Make) -> None:
    graph = make_graph(camera__image_topic="/rig/left/image_raw", images__timeout_s=0.3)
    graph.listen("status")
    graph.start()
    count = graph.client.count_subscribers
    graph.wait(lambda: count("/rig/left/camera_info"), "a subscription to the sibling")
    assert not count("/camera/camera_info")
    graph.stamp_ns += 1
    graph.publish(image_message(picture(12), graph.stamp_ns), "/rig/left/image_raw")
    assert "/rig/left/camera_info" in reason(graph.codes("NO_CAMERA_INFO"), "NO_CAMERA_INFO")


def test_a_camera_info_that_is_turned_off_is_not_missed(make_graph: Make) -> None:
    graph = make_graph(camera__camera_info_topic="", images__timeout_s=0.2)
    graph.listen("status")
    graph.start()
    for _ in range(5):
        graph.good_image()
        graph.spin_for(0.1)
    assert not graph.client.count_subscribers("/camera/camera_info")
    status = graph.status(lambda s: s.frames_received >= 5)
    assert "NO_CAMERA_INFO" not in status.reason_codes


@pytest.mark.parametrize(
    ("wanted", "topic", "kind", "said"),
    [
        ("raw", "/camera/image_raw/compressed", CompressedImage,
         "nobody publishes /camera/image_raw, but /camera/image_raw/compressed is there; set "
         "camera.image_transport to compressed"),
        ("compressed", "/camera/image_raw", Image,
         "nobody publishes /camera/image_raw/compressed, but /camera/image_raw is there; set "
         "camera.image_transport to raw"),
        ("compressed", "/camera/image_raw", CompressedImage,
         "/camera/image_raw carries CompressedImage: remap /camera/image_raw/compressed to it"),
    ],
)  # fmt: skip
def test_a_silent_camera_is_told_from_one_that_speaks_otherwise(
    make_graph: Make, wanted: str, topic: str, kind: type, said: str
) -> None:
    graph = make_graph(camera__image_transport=wanted, images__timeout_s=0.2)
    graph.listen("status")
    graph.client.create_publisher(kind, topic, 1)
    graph.start()
    graph.status(lambda s: "NO_IMAGES" in s.reason_codes and said in reason(s, "NO_IMAGES"))


def test_a_frame_name_of_ros_1_is_that_of_tf2(make_graph: Make) -> None:
    graph = make_graph()
    graph.listen()
    graph.start()
    topics = [topic for topic in graph.received if topic.endswith("points")]
    for _ in range(4):
        graph.stamp_ns += 10**8
        graph.shift += 12
        graph.publish(image_message(picture(graph.shift), graph.stamp_ns, "/old_optical"))
        graph.spin_for(0.1)
    graph.wait(lambda: any(graph.received[topic] for topic in topics), "a cloud")
    clouds = [cloud for topic in topics for cloud in graph.received[topic]]
    assert {cloud.header.frame_id[:11] for cloud in clouds} == {"old_optical"}
