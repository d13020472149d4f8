# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The demo that is shipped: small, whole, and a drive that comes back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from g2vlm_demo.make_demo import MAX_BYTES, SPEC
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from tests.helpers import REPO

DEMO = REPO / "demo"


@pytest.fixture(scope="module")
def messages() -> dict[str, list[Any]]:
    store = get_typestore(Stores.ROS2_KILTED)
    found: dict[str, list[Any]] = {}
    with Reader(DEMO / "drive.mcap") as reader:
        for connection, _, data in reader.messages():
            message = store.deserialize_cdr(data, connection.msgtype)
            found.setdefault(connection.topic, []).append(message)
    return found


def places(odometry: list[Any]) -> np.ndarray:
    at = [message.pose.pose.position for message in odometry]
    return np.array([(place.x, place.y) for place in at])


def test_the_bag_is_small_and_has_what_a_robot_records(messages: dict[str, list[Any]]) -> None:
    assert (DEMO / "drive.mcap").stat().st_size <= MAX_BYTES
    assert set(messages) == {
        "/camera/camera_info", "/camera/image_raw/compressed", "/odom", "/scan", "/tf",
        "/tf_static", "/ground_truth/depth/compressed", "/ground_truth/odometry",
    }  # fmt: skip
    assert len(messages["/camera/image_raw/compressed"]) == 284
    assert len(messages["/camera/camera_info"]) == 284
    links = {
        item.child_frame_id: item.header.frame_id
        for message in messages["/tf_static"] + messages["/tf"]
        for item in message.transforms
    }
    assert links == {
        "base_link": "odom", "camera_link": "base_link", "laser": "base_link",
        "camera_optical_frame": "camera_link",
    }  # fmt: skip


def test_the_drive_comes_back_and_its_wheels_are_two_percent_wrong(
    messages: dict[str, list[Any]],
) -> None:
    truth, wheels = (places(messages[name]) for name in ("/ground_truth/odometry", "/odom"))
    ways = [np.linalg.norm(np.diff(rows, axis=0), axis=1).sum() for rows in (truth, wheels)]
    assert ways[0] > 15.0
    assert np.linalg.norm(truth - truth[0], axis=1).max() > 3.0
    late = truth[len(truth) // 2 :]
    assert np.linalg.norm(late - truth[0], axis=1).min() < 0.1
    assert 0.002 < abs(ways[1] / ways[0] - 1.0) < 3 * SPEC.wheels.scale


def test_every_question_is_about_a_picture_of_the_bag(messages: dict[str, list[Any]]) -> None:
    questions = json.loads((DEMO / "questions.json").read_text(encoding="utf-8"))
    assert len(questions) > 30
    pictures = len(messages["/camera/image_raw/compressed"])
    assert all(0 <= item["at"]["frame"] < pictures for item in questions)
    assert all(item["expected"] for item in questions)
    height, width = SPEC.size_hw
    marks = [mark for item in questions for mark in item.get("marks", ())]
    assert all(0 <= mark["u"] < width and 0 <= mark["v"] < height for mark in marks)
