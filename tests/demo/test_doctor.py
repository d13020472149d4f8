# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The doctor beside the simulated robot: healthy, and with the faults that the robot can have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from g2vlm_ros.doctor.command import main
from tests.demo.test_simulator import SMALL, Listener, simulation
from tests.demo.test_simulator import listener as listener  # a fixture
from tests.helpers import REPO, wait_for
from tests.ros.test_policy import POLICIES, allowed, differences, real

PARAMS = ("--params", str(REPO / "launch" / "simulated.yaml"))
ROBOT = (*SMALL, "--robot-only", "--robot", "rate_hz=5.0", "--robot", "prerender=false")


def looked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `g2vlm doctor`."""
    capsys.readouterr()
    code = main(["--seconds", "4", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_nothing_is_found_at_the_healthy_robot_and_its_policy_fits(
    listener: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulation(tmp_path, *ROBOT):
        wait_for(lambda: len(listener.hear()["/camera/image_raw"]) >= 5, 90.0, what="pictures")
        code, document = looked(capsys, *PARAMS)
        may = allowed(POLICIES / "simulated.policy.xml", "/robot")
        has = real(listener.node, "/robot")
    assert document["findings"] == []
    assert code == 0
    assert {item["topic"] for item in document["heard"]} == {
        "/camera/image_raw",
        "/camera/camera_info",
        "/scan",
    }
    assert differences(has, may) == {}


@pytest.mark.slow
def test_nothing_is_found_while_the_node_maps(
    listener: Listener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both processes with nano, as a newcomer starts them; by the node's own parameters."""
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import PointCloud2

    listener.listen("/g2vlm/up_to_scale/points", PointCloud2, qos_profile_sensor_data)
    words = ("--index", "1", "--robot", "width=160", "--robot", "height=120")
    with simulation(tmp_path, *words, "--robot", "rate_hz=5.0", "--node", "runtime=torch"):
        heard = listener.hear
        wait_for(lambda: heard()["/g2vlm/up_to_scale/points"], 180.0, what="a cloud")
        code, document = looked(capsys, "--seconds", "12")  # beside passes on the same cores
    assert document["node"] is not None, document
    assert document["node"]["state"] == "active"
    assert document["findings"] == []
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "about"),
    [
        ("camera_info=missing", "NO_CAMERA_INFO", "/camera/camera_info"),
        ("camera_info=other_size", "INFO_OF_OTHER_SIZE", "/camera/camera_info"),
        ("camera_info=zero_k", "BAD_CAMERA_INFO", "/camera/camera_info"),
        ("tf_stops_at_s=0", "TF_MISSING", "TF odom -> base_link"),
        ("tf_late_s=3", "TF_MISSING", "TF odom -> base_link"),
        ("tf_loops_at_s=0", "TF_CONFLICT", ""),
    ],
)
def test_a_fault_of_the_robot_yields_its_line_and_no_other(
    fault: str, code: str, about: str, listener: Listener, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ("--fault", fault, "--fault", "tf_stops_for_s=1000")
    with simulation(tmp_path, *ROBOT, *words):
        wait_for(lambda: len(listener.hear()["/camera/image_raw"]) >= 5, 90.0, what="pictures")
        _, document = looked(capsys, *PARAMS)
    assert [item["code"] for item in document["findings"]] == [code], document["findings"]
    if about:
        assert document["findings"][0]["about"] == about
