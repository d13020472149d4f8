# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The launch files themselves, run by ROS's launch.

That one is not on the package index: these tests need a ROS 2 installation and are skipped
elsewhere. What the launch files decide is tested without it in test_launch.py.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.helpers import REPO, wait_for
from tests.ros.test_launch import INSTANT, LAUNCH, change, observer

__all__ = ["observer"]  # the fixture

needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="ROS's launch is not installed"
)
RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
pairs = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
include = IncludeLaunchDescription(source, launch_arguments=pairs)
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


@contextmanager
def launched(
    *, ends_with: int = 0, file: str = "g2vlm.launch.py", **given: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The launch file in a process of its own, ended by SIGINT as by Ctrl-C."""
    words = [f"{name}:={value}" for name, value in ({"runtime": INSTANT} | given).items()]
    command = [sys.executable, "-c", RUNNER, str(LAUNCH / file), *words]
    environment = {
        "AMENT_PREFIX_PATH": sys.prefix,
        **os.environ,
        "PYTHONPATH": f"{REPO}:{os.environ.get('PYTHONPATH', '')}",
    }
    process = subprocess.Popen(command, cwd=REPO, env=environment)
    try:
        yield process
        process.send_signal(signal.SIGINT)
        code = process.wait(30.0)
        assert code == ends_with, f"launch ended with {code}, expected {ends_with}"
    finally:
        process.kill()
        process.wait()


def wait_for_state(observer: Any, process: subprocess.Popen[bytes], name: str, label: str) -> None:
    """Wait until the node says that it is in this state; an end of the launch is a failure."""
    import rclpy
    from lifecycle_msgs.srv import GetState

    client = observer.create_client(GetState, f"{name}/get_state")

    def reached() -> bool:
        assert process.poll() is None, f"launch ended with {process.returncode}"
        if not client.wait_for_service(timeout_sec=0.5):
            return False
        future = client.call_async(GetState.Request())
        rclpy.spin_until_future_complete(observer, future, timeout_sec=2.0)
        return bool(future.done() and future.result().current_state.label == label)

    wait_for(reached, 60.0, what=f"state {label} of {name}")
    observer.destroy_client(client)


@needs_launch
@pytest.mark.parametrize("namespace", ["", "robot1"])
def test_the_launch_file_brings_the_node_up_and_down(observer: Any, namespace: str) -> None:
    name = f"/{namespace}/g2vlm" if namespace else "/g2vlm"
    with launched(namespace=namespace, image_topic="/cam/image") as process:
        wait_for_state(observer, process, name, "active")
        assert observer.count_subscribers("/cam/image") == 1
    wait_for(lambda: not observer.count_publishers(f"{name}/points"), 10.0, what="the node's end")


@needs_launch
def test_without_autostart_the_node_waits_for_its_manager(observer: Any) -> None:
    with launched(autostart="false") as process:
        wait_for_state(observer, process, "/g2vlm", "unconfigured")
        assert change(observer, 1)  # configure
        wait_for_state(observer, process, "/g2vlm", "inactive")


@needs_launch
def test_what_a_manager_asks_for_later_stays_as_asked(observer: Any) -> None:
    with launched() as process:
        wait_for_state(observer, process, "/g2vlm", "active")
        for transition in (4, 2, 1):  # deactivate, clean up, configure
            assert change(observer, transition)
        time.sleep(2.0)  # a handler would have activated it
        wait_for_state(observer, process, "/g2vlm", "inactive")


@needs_launch
def test_the_launch_ends_with_an_error_where_the_node_cannot_be_configured(observer: Any) -> None:
    with launched(ends_with=1, runtime="torch", model="/no/such/folder") as process:
        assert process.wait(60.0) == 1


@needs_launch
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, 1)])
def test_the_launch_ends_when_the_node_does(observer: Any, number: int, code: int) -> None:
    with launched(ends_with=code) as process:
        wait_for_state(observer, process, "/g2vlm", "active")
        (node,) = psutil.Process(process.pid).children()
        node.send_signal(number)
        assert process.wait(30.0) == code


@needs_launch
def test_a_misconfigured_node_is_not_started_for_ever(observer: Any) -> None:
    with launched(ends_with=1, respawn="true", runtime="torch", model="/no/such") as process:
        assert process.wait(60.0) == 1


@needs_launch
def test_a_node_that_was_killed_comes_back_active(observer: Any) -> None:
    with launched(respawn="true") as process:
        wait_for_state(observer, process, "/g2vlm", "active")
        (node,) = psutil.Process(process.pid).children()
        node.kill()
        wait_for(lambda: not node.is_running(), 10.0, what="the node's death")
        wait_for_state(observer, process, "/g2vlm", "active")
        (again,) = psutil.Process(process.pid).children()
        assert again.pid != node.pid
        node = again
        node.send_signal(signal.SIGTERM)  # a clean end counts too
        wait_for(lambda: not node.is_running(), 10.0, what="the node's end")
        wait_for_state(observer, process, "/g2vlm", "active")


@needs_launch
@pytest.mark.slow
def test_a_simulated_robot_and_the_node_come_up_together_and_end_together(
    observer: Any, tmp_path: Path
) -> None:
    small = tmp_path / "robot.yaml"
    values = {"width": 64, "height": 48, "rate_hz": 5.0}
    small.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    file = "simulated.launch.py"
    with launched(file=file, index="1", robot_params_file=str(small)) as process:
        wait_for_state(observer, process, "/g2vlm", "active")
        wait_for(lambda: observer.count_publishers("/camera/image_raw"), 90.0, what="the camera")
        wait_for(lambda: observer.count_subscribers("/scan"), 10.0, what="the node at /scan")
    wait_for(lambda: not observer.count_publishers("/odom"), 20.0, what="the robot's end")
