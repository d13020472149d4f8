# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reason codes come and go over the wire: each is made true, then false again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2vlm_interfaces.msg import SceneStatus
from tests.ros.graph import camera_info, image_message, picture

Make = Callable[..., Any]


def test_no_images(graph: Any) -> None:
    status = graph.codes("NO_IMAGES")
    assert status.state == SceneStatus.STATE_DEGRADED
    text = status.reason_texts[list(status.reason_codes).index("NO_IMAGES")]
    assert "nobody publishes /camera/image_raw" in text
    graph.good_image()
    graph.codes("NO_IMAGES", present=False)
    status = graph.codes("NO_IMAGES")  # the camera stops
    text = status.reason_texts[list(status.reason_codes).index("NO_IMAGES")]
    assert "1 publisher of /camera/image_raw delivers nothing" in text
    graph.scene()
    graph.codes("NO_IMAGES", present=False)


def test_no_images_names_the_wrong_type(graph: Any) -> None:
    other = rclpy.Context()  # one participant cannot hold two types under one name
    rclpy.init(context=other)
    try:
        node = rclpy.create_node("stranger", context=other)
        node.create_publisher(CompressedImage, "/camera/image_raw", 1)
        status = graph.status(
            lambda s: any("set camera.image_transport" in t for t in s.reason_texts)
        )
        assert "NO_IMAGES" in status.reason_codes
        node.destroy_node()
    finally:
        rclpy.shutdown(context=other)


def test_camera_info(make_graph: Make) -> None:
    graph = make_graph(images__timeout_s=0.3)
    graph.listen("status")
    graph.start()
    publisher = graph.publisher("/camera/camera_info", CameraInfo)
    graph.good_image()
    graph.codes("NO_CAMERA_INFO")
    publisher.publish(camera_info(focal=float("nan")))
    status = graph.codes("BAD_CAMERA_INFO")
    assert "NO_CAMERA_INFO" not in status.reason_codes
    graph.good_image()
    publisher.publish(camera_info(focal=0.0))
    status = graph.status(lambda s: any("uncalibrated" in text for text in s.reason_texts))
    publisher.publish(camera_info())
    graph.codes("BAD_CAMERA_INFO", present=False)
    graph.scene()  # perhaps still that of the picture before this calibration
    graph.scene()
    assert graph.runtime.windows[-1].frames[-1].K[0, 0] == 130.0
    publisher.publish(camera_info(width=320, height=320))

    def told() -> bool:
        graph.good_image()  # one that comes after the info has been taken
        return "BAD_CAMERA_INFO" in graph.status().reason_codes

    graph.wait(told, "BAD_CAMERA_INFO")
    graph.scene()
    assert graph.runtime.windows[-1].frames[-1].K is None


@pytest.mark.parametrize(
    ("parameters", "topic", "focal"),
    [
        ({}, "image_raw", None),
        ({"camera__rectified": "true"}, "image_raw", 90.0),
        ({"camera__image_topic": "camera/image_rect"}, "image_rect", 90.0),
        (
            {"camera__image_topic": "camera/image_rect", "camera__rectified": "false"},
            "image_rect",
            None,
        ),
    ],
)
def test_rectified_topics_have_the_k_of_p(
    make_graph: Make, parameters: dict[str, str], topic: str, focal: float | None
) -> None:
    """A bent lens is straightened unless the topic is straight already; then P is its K."""
    graph = make_graph(**parameters)
    graph.listen("status")
    graph.start()
    info = camera_info()
    info.distortion_model, info.d = "plumb_bob", [-0.25, 0.05, 0.0, 0.0, 0.0]
    info.p = [90.0, 0.0, 80.0, 0.0, 0.0, 90.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    publisher = graph.publisher("/camera/camera_info", CameraInfo)

    def calibrated() -> bool:
        publisher.publish(info)
        graph.stamp_ns, graph.shift = graph.stamp_ns + 100_000_000, graph.shift + 12
        graph.publish(image_message(picture(graph.shift), graph.stamp_ns), f"/camera/{topic}")
        return any(
            frame.K is not None for window in graph.runtime.windows for frame in window.frames
        )

    graph.wait(calibrated, "a calibrated frame")
    found = graph.runtime.windows[-1].frames[-1].K[0, 0]
    if focal is not None:
        assert found == focal
    else:  # the straightened picture's own: a barrel lens reaches further out
        assert 90.0 < found < 130.0


def test_time_jump(graph: Any) -> None:
    graph.scene()
    assert graph.status().segment == 1
    graph.stamp_ns += 3600 * 1_000_000_000
    graph.good_image()
    status = graph.codes("TIME_JUMP")
    assert status.segment == 2
    graph.scene()
    graph.codes("TIME_JUMP", present=False)
    graph.stamp_ns -= 7200 * 1_000_000_000
    graph.good_image()
    assert graph.codes("TIME_JUMP").segment == 3
    graph.scene()
    graph.stamp_ns -= 400_000_000  # a little late: refused, no new segment
    graph.good_image()
    assert graph.board.drops["out_of_order"] == 0  # the next one tells what it was
    graph.stamp_ns += 400_000_000
    graph.good_image()
    assert graph.board.drops["out_of_order"] == 1
    assert graph.status().segment == 3


def test_low_parallax(make_graph: Make) -> None:
    graph = make_graph(keyframe__max_interval_s=0.05)
    graph.listen("status")
    graph.start()
    graph.scene()
    # The whole texture moves by the same amount: what a turn of the camera looks like.
    status = graph.codes("LOW_PARALLAX")
    assert status.state == SceneStatus.STATE_DEGRADED
    for step in range(1, 10):  # two halves that move differently: depth
        graph.stamp_ns += 100_000_000
        rgb = picture(1000 + 2 * step)
        rgb[60:] = picture(1000 + 8 * step)[60:]
        graph.publish(image_message(rgb, graph.stamp_ns))
    graph.codes("LOW_PARALLAX", present=False)


def test_scale_unknown_and_tolerated(make_graph: Make) -> None:
    graph = make_graph(status__tolerated=["SCALE_UNKNOWN", "NO_CAMERA_INFO", "LOW_PARALLAX"])
    graph.listen("status")
    graph.start()
    status = graph.codes("SCALE_UNKNOWN")
    assert status.state == SceneStatus.STATE_WAITING
    graph.scene()
    status = graph.status(lambda s: s.scenes == 1)
    assert status.state == SceneStatus.STATE_RUNNING
    assert graph.deactivate()
    status = graph.codes("SCALE_UNKNOWN", present=False)
    assert status.state == SceneStatus.STATE_INACTIVE


def test_runtime_fallback(make_graph: Make) -> None:
    graph = make_graph(device="cuda")
    graph.listen("status")
    graph.start()
    status = graph.codes("RUNTIME_FALLBACK")
    assert any("no CUDA device" in text for text in status.reason_texts)


def test_runtime_failed(graph: Any) -> None:
    graph.scene()
    graph.runtime.observe_error = RuntimeError("the device is out of memory")
    graph.good_image()
    status = graph.codes("RUNTIME_FAILED")
    assert any("out of memory" in text for text in status.reason_texts)
    graph.wait(lambda: graph.diagnostics[-1].status[0].level == b"\x02", "diagnostics at ERROR")
    graph.runtime.observe_error = None
    graph.scene()
    graph.codes("RUNTIME_FAILED", present=False)


def test_runtime_that_returns_nonsense(graph: Any) -> None:
    import dataclasses

    graph.runtime.break_geometry = lambda g: dataclasses.replace(g, K=g.K[:1])
    graph.good_image()
    graph.good_image()
    status = graph.codes("RUNTIME_FAILED")
    assert any("K has shape (1, 3, 3), expected (2, 3, 3)" in text for text in status.reason_texts)
    graph.runtime.break_geometry = None
    graph.scene()


def test_incompatible_qos(make_graph: Make) -> None:
    graph = make_graph(images__reliability="reliable")
    graph.listen("status")
    graph.start()
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    unheard = graph.client.create_publisher(Image, "/camera/image_raw", qos)
    status = graph.codes("INCOMPATIBLE_QOS")
    assert any("client offers best_effort" in text for text in status.reason_texts)
    graph.client.destroy_publisher(unheard)
    graph.codes("INCOMPATIBLE_QOS", present=False)


def test_reset(graph: Any) -> None:
    graph.scene()
    response = graph.reset()
    assert response.success
    assert response.message == "segment 2 starts"
    graph.status(lambda status: status.segment == 2)  # one of before may still be on its way
    assert graph.ask().status == 2  # NO_SCENE
    graph.scene()
    assert not {f.key for f in graph.runtime.windows[-1].frames} & {
        f.key for f in graph.runtime.windows[0].frames
    }
    assert graph.deactivate()
    assert not graph.reset().success


@pytest.mark.parametrize("deaf", [False, True])
def test_a_scene_of_before_the_reset_is_not_published(graph: Any, deaf: bool) -> None:
    """Its pass is broken off, or what it makes is thrown away."""
    graph.scene()
    graph.runtime.deaf = deaf
    graph.runtime.observe_gate.clear()
    graph.good_image()
    graph.wait(lambda: len(graph.runtime.windows) == 2, "a window in work")
    assert graph.reset().success
    if deaf:
        graph.runtime.observe_gate.set()
        graph.wait(lambda: len(graph.runtime.scenes) == 2, "its scene")
        graph.wait(lambda: graph.runtime.scenes[-1].closed, "its end")
    graph.wait(lambda: not graph.runtime.passes, "the end of the pass")
    graph.runtime.observe_gate.set()
    assert graph.board.scenes == 1
    assert graph.ask().status == 2  # NO_SCENE
    board = graph.board
    assert board.received == board.used + sum(board.drops.values())
    graph.scene()
    assert graph.status().segment == 2


def test_a_failing_publication_costs_one_scene(graph: Any, monkeypatch: Any) -> None:
    graph.scene()

    def fails(*arguments: Any) -> None:
        raise MemoryError("no room for the cloud")

    with monkeypatch.context() as patch:
        patch.setattr("g2vlm_ros.scene_topics.scene_cloud", fails)
        graph.good_image()
        status = graph.codes("RUNTIME_FAILED")
    assert any("no room for the cloud" in text for text in status.reason_texts)
    graph.scene()
    assert graph.ask().status == 0  # OK


def test_frames_of_a_fisheye_are_straightened(make_graph: Make) -> None:
    """An equidistant CameraInfo is no pinhole's: the model gets straight frames and their K."""
    graph = make_graph()
    graph.listen("status")
    graph.start()
    info = camera_info(focal=70.0)
    info.distortion_model, info.d = "equidistant", [0.1, -0.02, 0.0, 0.0]
    graph.publisher("/camera/camera_info", CameraInfo).publish(info)
    graph.scene()
    graph.scene()
    frame = graph.runtime.windows[-1].frames[-1]
    assert frame.K is not None
    assert frame.K[0, 0] != 70.0
    delivered = picture(graph.shift)
    assert np.abs(frame.image.astype(int) - delivered).mean() > 5
    info.d = [0.1, -0.02, 0.0]
    graph.publisher("/camera/camera_info", CameraInfo).publish(info)

    def told() -> bool:
        graph.good_image()
        texts = " ".join(graph.status().reason_texts)
        return "D has 3 numbers, distortion_model 'equidistant' takes 4" in texts

    graph.wait(told, "BAD_CAMERA_INFO with the numbers")
