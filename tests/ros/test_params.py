# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's parameters and the documentation of its codes: no ROS."""

from __future__ import annotations

import pytest

from g2vlm_model.interface import AnswerStatus, RuntimeInfo
from g2vlm_ros.params import NodeParams, node_options, parse


def test_defaults_are_valid() -> None:
    params = parse({})
    assert params == NodeParams(topics=params.topics)
    (camera,) = params.topics
    assert camera.name == params.cameras[0]
    assert camera.image_topic == f"{camera.name}/image_raw"


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        parse({
            "window.size": 0, "window.overlap": 0, "points.min_range": 3.0, "points.max_range": 2.0,
            "typo": 1, "camera.image_transport": "smoke", "front.image_transport": "raw",
            "windw.size": 3, "camera.transport": "raw",
        })  # fmt: skip
    for part in (
        "window.size is 0", "window.overlap is 0", "points.max_range is 2", "typo is no",
        "camera.image_transport is 'smoke'", "front.image_transport is of no camera",
        "add 'front' to it, e.g. cameras:=[front]", "windw.size is no parameter of this node; did "
        "you mean window.size?", "camera.transport is called camera.image_transport now",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_combinations_that_do_not_fit_are_named_together() -> None:
    values = {
        "window.size": 3, "window.min_moments": 4, "points.organized": True,
        "points.source": "window", "frames.map": "a b", "cameras": ["left", "left"],
    }  # fmt: skip
    with pytest.raises(ValueError) as caught:
        parse(values)
    for part in ("window.min_moments is 4", "points.organized needs", "frames.map", "each name"):
        assert part in str(caught.value)


def test_cameras_have_parameters_of_their_own() -> None:
    values = {
        "cameras": ["a", "b"], "b.image_transport": "compressed", "b.image_topic": "x/compressed",
    }  # fmt: skip
    first, second = parse(values).topics
    assert (first.name, first.image_transport, first.image_topic) == ("a", "raw", "a/image_raw")
    assert first.camera_info_topic == "auto"
    assert (second.image_transport, second.image_topic) == ("compressed", "x/compressed")


@pytest.mark.parametrize("name", ["points", "images", "a b", "", "a.b", "ä"])
def test_names_that_cannot_be_cameras(name: str) -> None:
    with pytest.raises(ValueError, match="cameras holds"):
        parse({"cameras": [name]})


@pytest.mark.parametrize("name", ["~/{", "/a{b}", "a__b", "//x", "/1a", "a b", "x" * 300, "/cam/"])
def test_topics_that_ros_does_not_resolve(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"front\.image_topic is .*expected a topic name"
    ) as caught:
        parse({"cameras": ["front"], "front.image_topic": name})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["/cam/image_raw", "~/image", "{node}/image", "{ns}/cam/image"])
def test_topics_that_ros_resolves(name: str) -> None:
    assert parse({"cameras": ["front"], "front.image_topic": name}).topics[0].image_topic == name


def test_changes_are_checked_against_the_rest() -> None:
    params = parse({"points.max_range": 5.0})
    assert params.replaced({"points.min_range": 1}).points.min_range == 1.0
    with pytest.raises(ValueError, match=r"points.max_range is 5"):
        params.replaced({"points.min_range": 6.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "1", None, [1.0]])
def test_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"points.max_range is"):
        parse({"points.max_range": value})


def test_weights_cannot_be_swapped_while_active() -> None:
    assert not node_options()["model"].changeable
    assert node_options()["points.decimation"].changeable


def test_interface_numbers_agree() -> None:
    from g2vlm_interfaces import msg as messages

    for status in AnswerStatus:
        assert getattr(messages.SpatialAnswer, status.name) == status


def test_helpers_name_what_runs() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from g2vlm_ros.messages import hardware_id

    info = RuntimeInfo("torch", "cpu", "fp32", "nano-1", 5)
    assert hardware_id(info) == "nano-1 on cpu (torch, fp32)"
