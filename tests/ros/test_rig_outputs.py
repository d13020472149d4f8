# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A rig: depth, colours and K of each camera beside those of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CameraInfo, Image

from tests.ros.graph import NS, image_message, picture

Make = Callable[..., Any]
CAMERAS = ("left", "right")
KINDS = {"depth/image": Image, "depth/camera_info": CameraInfo, "image": Image}


def test_every_camera_of_a_rig_has_its_depth(make_graph: Make) -> None:
    graph = make_graph(cameras=list(CAMERAS))
    graph.start()
    heard: dict[str, list[Any]] = {}
    for camera in ("", *CAMERAS):
        for name, kind in KINDS.items():
            topic = f"{camera}/{name}" if camera else name
            heard[topic] = []
            graph.client.create_subscription(
                kind, f"/g2vlm/up_to_scale/{topic}", heard[topic].append, 50
            )
    for camera in CAMERAS:
        graph.publisher(f"/{camera}/image_raw")
    for step in range(4):
        for camera in CAMERAS:
            stamp_ns = graph.stamp_ns + step * NS // 10
            message = image_message(picture(12 * step), stamp_ns, f"{camera}_optical")
            graph.publish(message, f"/{camera}/image_raw")
        graph.spin_for(0.1)
    graph.wait(lambda: all(heard.values()), f"a message on each of {sorted(heard)}")
    for camera in CAMERAS:
        depth, info, image = (heard[f"{camera}/{name}"][-1] for name in KINDS)
        assert depth.header == info.header == image.header
        assert depth.header.frame_id == f"{camera}_optical_up_to_scale"
        assert (depth.height, depth.width) == (image.height, image.width)
        assert (info.height, info.width) == (depth.height, depth.width)
    assert heard["depth/image"][-1].header.frame_id == "left_optical_up_to_scale"


def test_one_camera_has_no_second_name(make_graph: Make) -> None:
    graph = make_graph()
    graph.start()
    assert graph.client.count_publishers("/g2vlm/depth/image") == 1
    assert graph.client.count_publishers("/g2vlm/camera/depth/image") == 0
