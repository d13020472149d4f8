# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The doctor beside the real node: its parameters, its state, its outputs, what it says itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from g2vlm_ros.doctor import running_node
from g2vlm_ros.doctor.command import examine
from g2vlm_ros.doctor.findings import Finding
from g2vlm_ros.doctor.live import GraphLook, told_in
from g2vlm_ros.doctor.seen import Seen
from tests.ros.graph import Graph

Make = Callable[..., Any]
LISTEN_S = 0.4
QUIET = {
    "images__max_skew_s": 0.0,
    "camera__camera_info_topic": "",
    "camera__image_topic": "own/image_raw",
    "status__tolerated": ["SCALE_UNKNOWN", "OUTPUTS_MOVED", "LOW_PARALLAX", "NO_IMAGES"],
}


class Doctor:
    """A node of its own that looks as often as it is asked to."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("g2vlm_doctor", start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def look(self, graph: Any, name: str = "/g2vlm", send: bool = True) -> Seen:
        """One look while the graph's camera sends."""
        self.spin(LISTEN_S)
        look = GraphLook(self.node, told_in(self.node, name, None, {}, self.spin))
        for _ in range(4):
            look.listen()
            if send:
                graph.good_image()
            self.spin(LISTEN_S / 4)
        return look.seen()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def doctor(ros: None) -> Iterator[Doctor]:
    made = Doctor()
    yield made
    made.close()


def codes(found: list[Finding]) -> list[str]:
    return [item.code for item in found]


@pytest.fixture
def graph(make_graph: Make) -> Any:
    """An active node with the parameters above, whose camera is there."""
    made = make_graph(**QUIET)
    made.start()
    made.publish = _publish_to(made, made.publish)
    return made


def _publish_to(
    graph: Any, publish: Callable[..., None], topic: str = "/own/image_raw"
) -> Callable[[Any], None]:
    return lambda message: publish(message, topic)


def test_a_healthy_node_is_looked_at_by_its_own_parameters(graph: Any, doctor: Doctor) -> None:
    graph.good_image()
    seen = doctor.look(graph)
    assert examine(seen) == []
    assert seen.node is not None
    assert (seen.node.name, seen.node.state) == ("/g2vlm", "active")
    assert len(seen.heard["/own/image_raw"].marks) >= 3


def test_an_output_that_a_viewer_cannot_hear(graph: Any, doctor: Doctor) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.client.create_subscription(PointCloud2, "/g2vlm/points", lambda _: None, latched)
    graph.good_image()
    (item,) = examine(doctor.look(graph))
    assert (item.code, item.about) == ("INCOMPATIBLE_QOS", "/g2vlm/points")
    assert item.text.startswith("/client hears nothing of /g2vlm")
    assert item.mend == "let /client ask for durability volatile"


def test_static_transforms_that_only_who_was_there_hears(graph: Any, doctor: Doctor) -> None:
    graph.client.create_publisher(TFMessage, "/tf_static", 10)
    graph.good_image()
    (item,) = examine(doctor.look(graph))
    assert (item.code, item.about) == ("INCOMPATIBLE_QOS", "/tf_static")
    assert "with durability transient_local" in item.mend


def test_simulated_stamps_and_a_node_that_goes_by_the_wall(
    make_graph: Make, doctor: Doctor
) -> None:
    graph = make_graph(**{**QUIET, "images__max_skew_s": 10.0})
    graph.start()
    graph.publish = _publish_to(graph, graph.publish)
    clock = graph.client.create_publisher(Clock, "/clock", 10)
    timer = graph.client.create_timer(0.05, lambda: clock.publish(_clock(graph.stamp_ns)))
    graph.good_image()
    send = graph.good_image

    def good_image() -> None:
        send()
        graph.spin_for(0.1)

    graph.good_image = good_image
    (item,) = examine(doctor.look(graph))
    timer.cancel()
    assert item.code == "CLOCK_SKEW"
    assert item.mend == "use_sim_time: true (its stamps are those of /clock)"


def _clock(stamp_ns: int) -> Any:
    message = Clock()
    message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message


def test_a_node_that_is_not_active(make_graph: Make, doctor: Doctor) -> None:
    graph = make_graph(**QUIET)
    (item,) = [f for f in examine(doctor.look(graph, send=False)) if f.code == "NODE_INACTIVE"]
    assert item.mend.startswith("ros2 lifecycle set /g2vlm configure")
    assert graph.configure()
    (item,) = [f for f in examine(doctor.look(graph, send=False)) if f.code == "NODE_INACTIVE"]
    assert item.mend.startswith("ros2 lifecycle set /g2vlm activate")


def test_parameters_that_the_node_refuses(make_graph: Make, doctor: Doctor) -> None:
    graph = make_graph(**{**QUIET, "window__sise": 4})
    assert not graph.configure()
    found = examine(doctor.look(graph, send=False))
    assert codes(found) == ["PARAMETERS", "NODE_INACTIVE"]
    assert "did you mean window.size?" in found[0].text


def test_what_only_the_node_can_know_is_taken_over(graph: Any, doctor: Doctor) -> None:
    graph.good_image()
    graph.runtime.observe_error = RuntimeError("out of memory")
    graph.listen("status")
    for _ in range(3):
        graph.good_image()
    graph.codes("RUNTIME_FAILED")
    (item,) = examine(doctor.look(graph))
    assert (item.code, item.about) == ("RUNTIME_FAILED", "/g2vlm")
    assert "out of memory" in item.text


def test_a_node_that_does_not_answer(
    ros: None, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_node, "_PATIENCE_S", 0.3)
    mute = rclpy.create_node("mute", start_parameter_services=False)
    found = examine(doctor.look(None, "/mute", send=False))
    mute.destroy_node()
    assert codes(found)[0] == "NODE_SILENT"


def test_a_node_that_was_remapped_is_looked_for_where_it_listens(ros: None, doctor: Doctor) -> None:
    values = {name.replace("__", "."): value for name, value in QUIET.items()}
    graph: Any = Graph(values, remaps=("own/image_raw:=cam/image_raw",))
    try:
        graph.start()
        graph.publish = _publish_to(graph, graph.publish, "/cam/image_raw")
        graph.good_image()
        seen = doctor.look(graph)
    finally:
        graph.close()
    assert examine(seen) == []
    assert len(seen.heard["/cam/image_raw"].marks) >= 3
