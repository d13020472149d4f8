# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The replay's side of the graph: it notices strangers, and what its own thread could not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from g2vlm_replay.domain import ReservedDomain
from g2vlm_replay.errors import NodeFailedError, ReplayInputError
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.node.link import NodeLink
from g2vlm_replay.node.recorder import Recorder
from g2vlm_replay.outcome import Timeline
from rosgraph_msgs.msg import Clock

from tests.helpers import wait_for

IMAGE = "sensor_msgs/msg/Image"


@pytest.fixture
def link(tmp_path: Path) -> Iterator[NodeLink]:
    with BagWriter(tmp_path / "recorded") as writer, ReservedDomain() as domain:
        recorder = Recorder(writer, (), "/g2vlm/status", Timeline())
        made = NodeLink({"/camera/image_raw": IMAGE}, domain.number, recorder)
        yield made
        made.close()


def noticed(link: NodeLink) -> str:
    link._looked_s = 0.0  # it looks once a second
    try:
        link.check()
    except NodeFailedError as error:
        return str(error)
    return ""


def test_a_stranger_ends_the_replay(link: NodeLink) -> None:
    assert noticed(link) == ""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=link._domain_id)
    stranger = rclpy.create_node("somebody", context=context)
    try:
        stranger.create_publisher(Clock, "/clock", 10)
        said = wait_for(lambda: noticed(link), 15.0, what="the stranger")
        assert "somebody else is in ROS domain" in said
        assert "/clock is published by 2 nodes" in said
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)


def test_an_error_of_the_thread_reaches_the_caller(link: NodeLink) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    link._node.create_timer(0.01, full)
    wait_for(lambda: link._failure is not None, 10.0, what="the error")
    with pytest.raises(ReplayInputError, match=r"cannot be written.*No space left"):
        link.check()
    assert isinstance(link._failure, OSError)
