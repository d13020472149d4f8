# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The replay's side of the graph: it notices strangers, and what its own thread could not do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from g2vlm_replay.domain import ReservedDomain
from g2vlm_replay.errors import NodeFailedError, ReplayInputError
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.node.link import NodeLink
from g2vlm_replay.node.process import NodeProcess
from g2vlm_replay.node.recorder import Recorder
from g2vlm_replay.outcome import Timeline
from g2vlm_replay.run_options import ModelOptions
from rosgraph_msgs.msg import Clock

from tests.helpers import wait_for
from tests.replay.test_cli import INFO

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


class Loading:
    """A node's process that is at work for a while and answers nobody."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def is_working(self) -> bool:
        return time.monotonic() < self._until

    def check_alive(self) -> None:
        pass

    def log_tail(self) -> str:
        return "loading"


def test_a_node_that_loads_a_model_is_waited_for(link: NodeLink) -> None:
    began = time.monotonic()
    with pytest.raises(NodeFailedError, match=r"was not ready after 0 s; its state: not answering"):
        link.wait_until_active(Loading(1.5), 0.3, lambda state: None)  # type: ignore[arg-type]
    assert time.monotonic() - began >= 1.6  # it looks every tenth of a second


@pytest.mark.parametrize(
    ("program", "works"), [("while True: pass", True), ("time.sleep(600)", False)]
)
def test_whether_a_node_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, works: bool
) -> None:
    monkeypatch.setattr("g2vlm_replay.node.process.WORK_SECONDS", 0.3)
    process = NodeProcess(ModelOptions(), INFO, 0, tmp_path / "log")
    process._command = [sys.executable, "-S", "-c", "import time\n" + program]
    with process:
        process._worked = not works
        wait_for(lambda: process.is_working is works, 30.0, what="what it is at")
