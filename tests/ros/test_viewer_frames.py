# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""RViz's one fixed frame: both map frames hang on it, in a copy of TF and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from g2vlm_ros import messages
from g2vlm_ros.topics import VIEWER_TF
from g2vlm_ros.viewer_frames import VIEW_FRAME, ViewerFrames
from tests.helpers import REPO
from tests.map.placed import NS, pose

Make = Callable[..., Any]
LATCHED = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Ears:
    """What is told on /tf, /tf_static and their copies, as (topic, parent, child)."""

    def __init__(self, node: Any) -> None:
        self.heard: list[tuple[str, str, str]] = []
        for pair in VIEWER_TF:
            for topic in pair:
                qos = LATCHED if topic.endswith("static") else QoSProfile(depth=200)
                node.create_subscription(TFMessage, topic, self._hear(topic), qos)

    def _hear(self, topic: str) -> Callable[[Any], None]:
        def hear(message: Any) -> None:
            for one in message.transforms:
                self.heard.append((topic, one.header.frame_id, one.child_frame_id))

        return hear

    def on(self, topic: str) -> set[tuple[str, str]]:
        return {(parent, child) for where, parent, child in self.heard if where == topic}


def test_both_states_hang_on_the_viewers_frame_and_tf_stays_as_it_is(make_graph: Make) -> None:
    graph = make_graph()
    graph.start()
    ears, _ = Ears(graph.client), ViewerFrames(graph.client)
    tf = graph.client.create_publisher(TFMessage, "/tf", QoSProfile(depth=10))
    static = graph.client.create_publisher(TFMessage, "/tf_static", LATCHED)
    moved = messages.transform(pose((0, 0, 0.5)), 5 * NS, "odom", "base_link")
    fixed = messages.transform(pose((0, 0, 0.5)), 5 * NS, "base_link", "camera_optical")
    earth = messages.transform(np.eye(4), 5 * NS, "earth", "g2vlm_map")
    graph.spin_for(0.3)
    tf.publish(TFMessage(transforms=[moved]))
    static.publish(TFMessage(transforms=[fixed, earth]))
    (tf_copy, static_copy) = (copy for _, copy in VIEWER_TF)
    graph.wait(lambda: ("base_link", "camera_optical") in ears.on(static_copy), "the copy")
    graph.wait(lambda: ("odom", "base_link") in ears.on(tf_copy), "the copy of what moves")
    graph.scene()  # up to scale: nothing says how long a unit is
    up_to_scale = (VIEW_FRAME, "g2vlm_map_up_to_scale")
    graph.wait(lambda: up_to_scale in ears.on(static_copy), "the link up to scale")
    graph.node.pipeline._scale.set_length(1.0, 2.0)
    graph.scene()
    # In metres; somebody gave the map a parent, so that is what hangs on the view.
    graph.wait(lambda: (VIEW_FRAME, "earth") in ears.on(static_copy), "the link in metres")
    for topic in ("/tf", "/tf_static"):
        assert not any(VIEW_FRAME in pair for pair in ears.on(topic))
        assert not any("g2vlm_map_up_to_scale" in pair for pair in ears.on(topic))
    assert sum(pair[1] == VIEW_FRAME for pair in ears.heard) == 2  # each once


def test_the_configurations_show_both_states() -> None:
    views = yaml.safe_load((REPO / "launch" / "g2vlm.rviz").read_text(encoding="utf-8"))
    manager = views["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == VIEW_FRAME
    shown = {one["Topic"]["Value"] for one in manager["Displays"] if "Topic" in one}
    for name in ("points", "path", "pose"):
        assert {f"/g2vlm/{name}", f"/g2vlm/up_to_scale/{name}"} <= shown
    layout = json.loads((REPO / "launch" / "foxglove.json").read_text(encoding="utf-8"))
    panels = {name: one for name, one in layout["configById"].items() if name.startswith("3D!")}
    frames = {one["followTf"]: set(one["topics"]) for one in panels.values()}
    assert set(frames) == {"g2vlm_map", "g2vlm_map_up_to_scale"}
    assert "/g2vlm/points" in frames["g2vlm_map"]
    assert "/g2vlm/up_to_scale/points" in frames["g2vlm_map_up_to_scale"]
    assert all(name in json.dumps(layout["layout"]) for name in panels)
