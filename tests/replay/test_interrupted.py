# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A replay that is broken off: the node is killed, or the user interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import rclpy
from rosgraph_msgs.msg import Clock

from tests.helpers import REPO, wait_for
from tests.replay.bags import write_plain_bag

COMMAND = "import sys; from g2vlm_replay import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A replay in the middle of a long recording, and its node."""
    write_plain_bag(tmp_path / "bag", mcap=True, count=300)
    arguments = [str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--quiet"]
    arguments += ["--runtime", "tests.ros.scripted_runtime:create", "--rate", "0.5"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        (recorded,) = wait_for(
            lambda: list((tmp_path / "out").glob("recorded/*.mcap")), 60.0, what="the recording"
        )
        (node,) = wait_for(psutil.Process(process.pid).children, 60.0, what="the node")
        wait_for(lambda: recorded.stat().st_size > 8_000, 60.0, what="the first scenes")
        yield process, node
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.slow  # 15 s; the other three ends of a replay begin alike
def test_a_node_that_is_killed_ends_the_replay(
    running: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    process, node = running
    node.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "the node ended (by signal SIGKILL)" in said


@pytest.mark.slow  # as above; that it is noticed at all: test_link.py
def test_a_stranger_in_the_domain_ends_the_replay(
    running: tuple[subprocess.Popen[str], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who knows nothing of the lock publishes there what the replay does."""
    process, node = running
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(node.environ()["ROS_DOMAIN_ID"]))
    stranger = rclpy.create_node("stranger", context=context)
    stranger.create_publisher(Clock, "/clock", 10)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)
    assert process.returncode == 3
    assert "somebody else is in ROS domain" in said
    assert "/stranger" in said
    assert not node.is_running() or node.status() == psutil.STATUS_ZOMBIE


def test_a_node_ends_with_a_replay_that_is_killed(
    running: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    process, node = running
    process.kill()
    wait_for(
        lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE,
        20.0,
        what="the node's end",
    )


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_an_interrupted_replay_ends_its_node(
    running: tuple[subprocess.Popen[str], psutil.Process], number: signal.Signals
) -> None:
    process, node = running
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert not node.is_running() or node.status() == psutil.STATUS_ZOMBIE
