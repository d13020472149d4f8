# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A replay that is broken off: the node is killed, or the user interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import rclpy
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock

from tests.helpers import REPO, wait_for
from tests.replay.bags import write_plain_bag
from tests.runtimes.slow_layers import ended_between_layers

COMMAND = "import sys; from g2vlm_replay import main; sys.exit(main(sys.argv[1:]))"


def begun(bag: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """A replay in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(bag), "--out", str(out), "--quiet", *words],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A replay in the middle of a long recording, and its node."""
    write_plain_bag(tmp_path / "bag", mcap=True, count=300)
    words = ("--runtime", "tests.ros.scripted_runtime:create", "--rate", "0.5")
    process = begun(tmp_path / "bag", tmp_path / "out", *words)
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
    running: tuple[subprocess.Popen[str], psutil.Process], number: signal.Signals, tmp_path: Path
) -> None:
    process, node = running
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert not node.is_running() or node.status() == psutil.STATUS_ZOMBIE
    with AnyReader([tmp_path / "out" / "recorded"]) as kept:  # whole, as far as it came
        assert {"/g2vlm/status", "/g2vlm/pose"} & {one.topic for one in kept.connections}
        assert kept.message_count > 0


@pytest.mark.slow
def test_told_again_a_replay_ends_at_once(
    running: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    process, node = running
    node.suspend()  # the replay waits half a minute for its end
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)  # what comes within a second is the same request
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said == "told to end twice: ends at once\n"
    node.resume()
    wait_for(
        lambda: not node.is_running() or node.status() == psutil.STATUS_ZOMBIE,
        30.0,
        what="the node's end with its parent",
    )


@pytest.mark.slow
def test_an_interrupt_ends_a_slow_pass_between_layers(tmp_path: Path, stand_in: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=4)
    words = ["--in-process", "--runtime", "tests.runtimes.slow_layers:create"]
    words += ["--model", str(stand_in), "--device", "cpu"]
    process = begun(tmp_path / "bag", tmp_path / "out", *words)
    try:
        assert process.stderr is not None
        assert any("a pass begins" in line for line in process.stderr)
        time.sleep(1.0)  # layers of 0.3 s
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert ended_between_layers(said), said
    assert said.endswith("g2vlm replay: interrupted\n")
