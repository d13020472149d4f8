# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node as a process: signals at any time, exit codes, the embedded model from end to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
from action_msgs.msg import GoalStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from benchmarks.instant_runtime import InstantRuntime, InstantScene
from g2vlm_interfaces.msg import SceneStatus, SpatialAnswer
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_model.interface import AnswerStatus, FrameWindow, Scene
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_model.interface import SpatialQuery as Asked
from g2vlm_model.processes import INTERRUPTED
from tests.helpers import REPO, wait_for
from tests.real_runtime import RealRuntime
from tests.ros.graph import NS, image_message, picture
from tests.ros.test_ask import Asker
from tests.runtimes.slow_layers import ended_between_layers

Make = Callable[..., Any]
INSTANT = "runtime:=benchmarks.instant_runtime:create"
NANO = REPO / "g2vlm_model" / "weights" / "nano" / "model.safetensors"


Start = Callable[..., subprocess.Popen[str]]
COMES_UP_S = 60.0  # on a busy machine


@pytest.fixture
def start(ros: None) -> Iterator[Start]:
    """Starts nodes with parameters; none outlives its test."""
    with ExitStack() as started:

        def start_one(*parameters: str, **environment: str) -> subprocess.Popen[str]:
            words = [word for parameter in parameters for word in ("-p", parameter)]
            process = subprocess.Popen(
                [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", *words],
                cwd=REPO,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                text=True,
                stderr=subprocess.PIPE,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start_one


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
    _, log = process.communicate(timeout=COMES_UP_S)
    return process.returncode, log


def test_no_place_for_log_files_is_no_reason_to_end(start: Start, tmp_path: Path) -> None:
    """As with a service's user who has no home."""
    (tmp_path / "file").touch()
    process = start("autostart:=true", INSTANT, ROS_LOG_DIR=str(tmp_path / "file" / "log"))
    assert process.stderr is not None
    assert any("active: " in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    assert process.wait(COMES_UP_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("autostart", ["true", "false"])
def test_signals_end_it_cleanly(start: Start, number: int, autostart: str) -> None:
    process = start(INSTANT, f"autostart:={autostart}", "status.period_s:=0.1")
    if autostart == "true":
        read_until(process, "active: ")
    else:
        watcher = rclpy.create_node("watcher")
        wait_for(lambda: "g2vlm" in watcher.get_node_names(), COMES_UP_S, what="the node")
        watcher.destroy_node()
    code, log = end(process, number)
    assert code == 0, log
    assert "Traceback" not in log


def test_a_second_signal_changes_nothing(start: Start) -> None:
    """Not even while the interpreter ends and has taken its handlers away."""
    process = start(INSTANT, "autostart:=true", "status.period_s:=0.1")
    read_until(process, "active: ")
    deadline = time.monotonic() + COMES_UP_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, log = process.communicate(timeout=5.0)
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_told_again_it_ends_at_once(start: Start) -> None:
    process = start("autostart:=true", "runtime:=tests.ros.test_process:clinging_runtime")
    read_until(process, "active: ")
    process.send_signal(signal.SIGINT)
    read_until(process, "the runtime does not close")
    time.sleep(1.2)  # what comes within a second is the same request
    code, log = end(process, signal.SIGTERM)
    assert code == INTERRUPTED, log
    assert log == "told to end twice: ends at once\n"


class Clinging(InstantRuntime):
    """A runtime that does not let go."""

    def close(self) -> None:
        print("the runtime does not close", file=sys.stderr, flush=True)
        time.sleep(600.0)


def clinging_runtime(**options: str) -> Clinging:
    """A runtime factory."""
    return Clinging()


@pytest.mark.parametrize(
    "library", ["", "_multiarray_umath", "cv2", "_rclpy_pybind11", "g2vlm_interfaces"]
)
def test_signals_during_start_up(start: Start, library: str) -> None:
    """From the handler on ("") while the libraries are loaded, one after the other."""
    process = start("autostart:=true", INSTANT)
    proc = Path(f"/proc/{process.pid}")

    def handles_signals() -> bool:
        caught = re.search(r"SigCgt:\s*(\w+)", (proc / "status").read_text())
        return bool(caught and int(caught[1], 16) & 1 << (signal.SIGTERM - 1))

    def has_come_so_far() -> bool:
        return handles_signals() and library in (proc / "maps").read_text()

    wait_for(has_come_so_far, COMES_UP_S, interval_s=0.001, what=library or "the signal handler")
    code, log = end(process, signal.SIGTERM)
    assert code == 0, log
    assert "Traceback" not in log


def test_a_signal_breaks_off_a_long_configure(start: Start) -> None:
    process = start("autostart:=true", "runtime:=tests.ros.test_process:slow_runtime")
    read_until(process, "loading")
    code, log = end(process, signal.SIGTERM)
    assert code == 0, log


def slow_runtime(**options: str) -> None:
    """A runtime factory that takes its time."""
    time.sleep(600.0)


class Stuck(InstantRuntime):
    """A runtime whose pass does not end: C++ that comes back into Python again and again."""

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        print("a pass begins", file=sys.stderr, flush=True)
        square = torch.rand(500, 500)
        while True:
            torch.mm(square, square)


def stuck_runtime(**options: str) -> Stuck:
    """A runtime factory."""
    return Stuck()


def test_a_signal_does_not_wait_for_a_pass(start: Start, make_graph: Make) -> None:
    process = start("autostart:=true", "runtime:=tests.ros.test_process:stuck_runtime")
    see_until_a_pass_begins(make_graph(), process)
    code, log = end(process, signal.SIGTERM)
    assert code == 0, log
    assert "Traceback" not in log


@pytest.mark.slow  # torch in a process of its own
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_slow_pass_between_layers(
    start: Start, make_graph: Make, stand_in: Path, number: int
) -> None:
    process = start(
        "autostart:=true", "runtime:=tests.runtimes.slow_layers:create", f"model:={stand_in}",
        "device:=cpu", "window.size:=2", "window.overlap:=1",
    )  # fmt: skip
    see_until_a_pass_begins(make_graph(), process)
    time.sleep(1.0)  # layers of 0.3 s
    code, log = end(process, number)
    assert code == 0, log
    assert ended_between_layers(log), log
    assert "Traceback" not in log


def see_until_a_pass_begins(graph: Any, process: subprocess.Popen[str]) -> None:
    """Show a process that comes up pictures; the client of the graph is its camera."""
    read_until(process, "active: ")
    publisher = graph.client.create_publisher(Image, "/camera/image_raw", qos_profile_sensor_data)
    graph.wait(publisher.get_subscription_count, "a subscription")
    lines: list[str] = []

    def observing() -> bool:
        graph.stamp_ns += NS // 10
        graph.shift += 12
        publisher.publish(image_message(picture(graph.shift), graph.stamp_ns))
        return bool(lines)

    def read() -> None:
        lines.append(read_until(process, "a pass begins"))

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(observing, COMES_UP_S, interval_s=0.1, what="a pass")
    reader.join()


class Thinking(InstantRuntime):
    """A runtime that answers nothing before it is told to end."""

    def ask(
        self,
        scene: Scene,
        query: Asked,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Answer:
        while cancelled is None or not cancelled():
            time.sleep(0.01)
        return Answer(AnswerStatus.CANCELLED, text="half an ans")


def thinking_runtime(**options: str) -> Thinking:
    """A runtime factory."""
    return Thinking()


class Client:
    """What `Asker` takes for a graph: a node of the test, and waiting while it spins."""

    def __init__(self) -> None:
        self.client = rclpy.create_node("asker")

    def wait(self, predicate: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        def spun() -> Any:
            rclpy.spin_once(self.client, timeout_sec=0.05)
            return predicate()

        return wait_for(spun, timeout_s, interval_s=0.0, what=what)


def test_a_signal_answers_every_question_and_goal_once(start: Start) -> None:
    process = start("autostart:=true", "runtime:=tests.ros.test_process:thinking_runtime")
    read_until(process, "active: ")
    own = Client()
    publisher = own.client.create_publisher(Image, "/camera/image_raw", qos_profile_sensor_data)
    statuses: list[Any] = []
    own.client.create_subscription(SceneStatus, "/g2vlm/status", statuses.append, 10)
    own.wait(publisher.get_subscription_count, "a subscription")
    stamp_ns, shift = 100_000 * NS, 0

    def made_a_scene() -> bool:
        nonlocal stamp_ns, shift
        stamp_ns, shift = stamp_ns + NS // 10, shift + 12
        publisher.publish(image_message(picture(shift), stamp_ns))
        return bool(statuses and statuses[-1].scenes)

    own.wait(made_a_scene, "a scene", COMES_UP_S)
    asker = Asker(own)
    goals = [asker.send() for _ in range(4)]
    service = own.client.create_client(SpatialQuery, "/g2vlm/query")
    own.wait(service.service_is_ready, "the service")
    request = SpatialQuery.Request(question="How far is the wall?")
    asked = [service.call_async(request) for _ in range(2)]
    own.wait(lambda: statuses[-1].queries_waiting == 5, "all of them in the line")
    process.send_signal(signal.SIGTERM)
    for sent in goals:
        status, answer = asker.result(sent)
        assert (status, answer.status) == (GoalStatus.STATUS_ABORTED, SpatialAnswer.CANCELLED)
        assert answer.message == "the node ends"
    own.wait(lambda: all(future.done() for future in asked), "the answers of the service")
    assert {future.result().answer.status for future in asked} == {SpatialAnswer.CANCELLED}
    _, log = process.communicate(timeout=COMES_UP_S)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    asker.close()
    own.client.destroy_node()


def test_autostart_that_fails_says_so(start: Start) -> None:
    process = start("autostart:=true", "model:=/no/such/folder")
    _, log = process.communicate(timeout=COMES_UP_S)
    assert process.returncode == os.EX_CONFIG
    assert "cannot configure: " in log
    assert "/no/such/folder" in log
    assert "Traceback" not in log


def test_embedded_model_from_end_to_end(make_graph: Make, every_runtime: RealRuntime) -> None:
    """Pictures in; cloud, depth, pose and an answer out; two cameras of different sizes."""
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
    graph.wait(lambda: graph.received["pose"], "a pose")  # a topic of its own, in no order
    answer = graph.ask("How far is the wall?", max_tokens=8, timeout_s=60.0)
    assert answer.status in (SpatialAnswer.OK, SpatialAnswer.TRUNCATED), answer.message
    assert answer.model_id.startswith("nano")
    assert answer.header.frame_id == "left_optical_up_to_scale"
    status = graph.status(lambda s: s.scenes >= 3)
    assert status.frames_used == 8
    assert "RUNTIME_FAILED" not in status.reason_codes


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("g2vlm_ros.node", []),
        ("g2vlm_demo.simulator.__main__", []),
        ("g2vlm_demo.simulate", ["--seconds", "1"]),
    ],
)
def test_without_ros_a_command_says_what_is_missing(module: str, words: list[str]) -> None:
    program = (
        "import importlib, sys\n"
        "for name in ('rclpy', 'g2vlm_interfaces'): sys.modules[name] = None\n"
        f"sys.exit(importlib.import_module({module!r}).main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "rclpy of ROS 2 is missing: source an installation" in line
