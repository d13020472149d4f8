"""The node as a process: signals at any time, exit codes, the embedded model from end to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.helpers import REPO, wait_for
from tests.real_runtime import RealRuntime

Make = Callable[..., Any]
INSTANT = "runtime:=benchmarks.instant_runtime:create"
NANO = REPO / "g2vlm_model" / "weights" / "nano" / "model.safetensors"


def start(*parameters: str) -> subprocess.Popen[str]:
    words = [word for parameter in parameters for word in ("-p", parameter)]
    return subprocess.Popen(
        [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", *words],
        cwd=REPO,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        stderr=subprocess.PIPE,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The log up to a line with a text."""
    assert process.stderr is not None
    log = ""
    for line in process.stderr:
        log += line
        if text in line:
            return log
    raise AssertionError(f"the process ended before {text!r}: {log}")


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    try:
        _, log = process.communicate(timeout=20.0)
        return process.returncode, log
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("autostart", ["true", "false"])
def test_signals_end_it_cleanly(ros: None, number: int, autostart: str) -> None:
    process = start(INSTANT, f"autostart:={autostart}", "status.period_s:=0.1")
    if autostart == "true":
        read_until(process, "active: ")
    else:
        time.sleep(2.0)
    code, log = end(process, number)
    assert code == 0, log
    assert "Traceback" not in log


@pytest.mark.parametrize("after_s", [0.35, 0.6, 0.9, 1.3])
def test_signals_during_start_up(ros: None, after_s: float) -> None:
    """Between the start of Python itself and the spinning node."""
    process = start("autostart:=true", INSTANT)

    def handles_signals() -> bool:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            caught = next(line for line in status if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))

    wait_for(handles_signals, 10.0, interval_s=0.005, what="the signal handler")
    time.sleep(after_s - 0.35)
    code, log = end(process, signal.SIGTERM)
    assert code == 0, log
    assert "Traceback" not in log


def test_a_signal_breaks_off_a_long_configure(ros: None) -> None:
    process = start("autostart:=true", "runtime:=tests.ros.test_process:slow_runtime")
    read_until(process, "loading")
    started = time.monotonic()
    code, log = end(process, signal.SIGTERM)
    assert code == 0, log
    assert time.monotonic() - started < 10.0


def slow_runtime(**options: str) -> None:
    """A runtime factory that takes its time."""
    time.sleep(60.0)


def test_autostart_that_fails_says_so(ros: None) -> None:
    process = start("autostart:=true", "model:=/no/such/folder")
    _, log = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert "cannot configure: " in log
    assert "/no/such/folder" in log
    assert "Traceback" not in log


def test_embedded_model_from_end_to_end(make_graph: Make, every_runtime: RealRuntime) -> None:
    """Pictures in; cloud, depth, pose and an answer out; two cameras of different sizes."""
    from g2vlm_interfaces.msg import SpatialAnswer
    from tests.ros.graph import NS, image_message, picture

    graph = make_graph(
        **every_runtime.parameters, device="cpu", window__size=3, cameras=["left", "right"],
        images__timeout_s=20.0, points__min_confidence=0.0,
    )  # fmt: skip
    graph.listen()
    graph.start()
    for name in ("left", "right"):
        graph.publisher(f"/{name}/image_raw")

    def rig() -> None:
        graph.stamp_ns += NS // 10
        graph.shift += 12
        left = picture(graph.shift)
        right = picture(graph.shift, 240, 320)
        graph.publish(image_message(left, graph.stamp_ns, "left_optical"), "/left/image_raw")
        graph.publish(image_message(right, graph.stamp_ns, "right_optical"), "/right/image_raw")

    for scenes in range(1, 4):
        rig()
        if scenes == 1:
            rig()
        graph.wait(lambda wanted=scenes: graph.board.scenes >= wanted, f"scene {scenes}", 60.0)
    graph.wait(lambda: graph.received["depth/image"], "a depth picture")
    depth = graph.received["depth/image"][-1]
    values = np.frombuffer(depth.data, np.float32)
    assert np.isfinite(values).any()
    assert (values[np.isfinite(values)] > 0).all()
    graph.wait(lambda: graph.received["points"], "a cloud")
    assert graph.received["points"][-1].width > 0
    assert graph.received["pose"]
    answer = graph.ask("How far is the wall?", max_tokens=8, timeout_s=60.0)
    assert answer.status in (SpatialAnswer.OK, SpatialAnswer.TRUNCATED), answer.message
    assert answer.model_id.startswith("nano")
    assert answer.header.frame_id == "left_optical"
    status = graph.status(lambda s: s.scenes >= 3)
    assert status.frames_used == 8
    assert "RUNTIME_FAILED" not in status.reason_codes
