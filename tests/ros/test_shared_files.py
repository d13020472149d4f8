# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Parameter files that several nodes share, and QoS overrides, with the node as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.qos import ReliabilityPolicy

from tests.helpers import REPO

Make = Callable[..., Any]
INSTANT = "benchmarks.instant_runtime:create"


def run_node(tmp_path: Path, blocks: dict[str, dict[str, Any]]) -> tuple[int, str]:
    """Start a node with a parameter file until it is active or has ended; exit code and log."""
    file = tmp_path / "params.yaml"
    wrapped = {name: {"ros__parameters": values} for name, values in blocks.items()}
    file.write_text(yaml.safe_dump(wrapped))
    words = ["--ros-args", "--params-file", str(file), "-p", f"runtime:={INSTANT}"]
    with subprocess.Popen(
        [sys.executable, "-m", "g2vlm_ros.node", *words, "-p", "autostart:=true"],
        cwd=REPO, text=True, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        log = ""
        for line in process.stderr:
            log += line
            if "active: " in line:
                process.terminate()
        try:
            return process.wait(20.0), log
        finally:
            process.kill()


def test_names_of_other_nodes_in_a_shared_file_do_not_stop_the_node(
    ros: None, tmp_path: Path
) -> None:
    shared = {"lidar.max_range": 30.0, "windw.size": 3, "window.size": 4}
    code, log = run_node(tmp_path, {"/**": shared})
    assert code == 0, log
    said = next(line for line in log.splitlines() if "left to other nodes" in line)
    assert "lidar.max_range" in said
    assert "windw.size; did you mean window.size?" in said
    assert "window.size," not in said


@pytest.mark.parametrize("block", ["g2vlm", "/g2vlm"])
def test_names_that_are_addressed_to_this_node_do(ros: None, tmp_path: Path, block: str) -> None:
    blocks: dict[str, dict[str, Any]] = {"/**": {"lidar.range": 3.0}, block: {"windw.size": 3}}
    code, log = run_node(tmp_path, blocks)
    assert code == os.EX_CONFIG, log
    assert "windw.size is no parameter of this node; did you mean window.size?" in log
    assert "lidar.range is no" not in log


def test_qos_overrides_of_the_cameras_topics_take_effect(make_graph: Make) -> None:
    prefix = "qos_overrides./camera/image_raw.subscription"
    graph = make_graph(**{f"{prefix}.reliability": "reliable", f"{prefix}.depth": 7})
    for _ in range(2):  # a second activation finds them declared
        graph.start()
        (info,) = graph.client.get_subscriptions_info_by_topic("/camera/image_raw")
        assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        (other,) = graph.client.get_subscriptions_info_by_topic("/camera/camera_info")
        assert other.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        assert graph.deactivate()
        assert graph.cleanup()


@pytest.mark.parametrize(
    "name",
    [
        "qos_overrides./g2vlm/points.publisher.reliability",
        "qos_overrides./camera/image_rw.subscription.reliability",
        "qos_overrides./camera/image_raw.subscription.lifespan",
    ],
)
def test_other_qos_overrides_are_refused(
    make_graph: Make, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    graph = make_graph(**{name: "reliable"})
    assert not graph.configure()
    assert f"{name} would have no effect" in capfd.readouterr().err


def test_an_override_that_is_none_fails_the_activation(make_graph: Make) -> None:
    graph = make_graph(**{"qos_overrides./camera/image_raw.subscription.reliability": "loud"})
    assert graph.configure()
    assert not graph.activate()
    assert graph.state == "inactive"
