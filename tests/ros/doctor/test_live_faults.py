# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every fault is provoked on a real graph: each yields its line and no other.

All robots are there at once, each in a namespace with frames of its own, and each is looked at
by its own parameters while all of them run: one look for all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from g2vlm_ros.doctor.command import examine
from g2vlm_ros.doctor.findings import Finding
from g2vlm_ros.doctor.live import GraphLook
from g2vlm_ros.doctor.told import told_by
from tests.ros.doctor.cases import FAULTS, HEALTHY, Case
from tests.ros.doctor.small_robot import SmallRobot

CASES = (*HEALTHY, *FAULTS)
TICKS = 16
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def found(ros: None) -> Iterator[dict[str, list[Finding]]]:
    """What the doctor finds at each robot."""
    context = rclpy.Context()
    rclpy.init(context=context)
    publishing = rclpy.create_node("robot", context=context)
    doctor = rclpy.create_node("g2vlm_doctor", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(doctor)
    robots = [SmallRobot(publishing, f"/{case.name}") for case in CASES]
    for case, robot in zip(CASES, robots, strict=True):
        case.build(robot)
    looks = {case.name: _look(doctor, case) for case in CASES}
    _run(list(looks.values()), robots, executor)
    yield {name: examine(look.seen()) for name, look in looks.items()}
    executor.shutdown()
    publishing.destroy_node()
    doctor.destroy_node()
    rclpy.shutdown(context=context)


def _look(doctor: rclpy.node.Node, case: Case) -> GraphLook:
    params = {
        key: value.format(name=case.name) if isinstance(value, str) else value
        for key, value in case.params.items()
    }
    return GraphLook(doctor, told_by(f"/{case.name}/g2vlm", given=params))


def _run(
    looks: list[GraphLook], robots: list[SmallRobot], executor: SingleThreadedExecutor
) -> None:
    """Ticks in real time once everything that will be matched is."""
    deadline = time.monotonic() + TIMEOUT_S
    settled = 0
    while settled < 3 and time.monotonic() < deadline:
        before = sum(look.listen() for look in looks)
        executor.spin_once(timeout_sec=0.1)
        settled = settled + 1 if before == 0 else 0
    start_ns = time.time_ns()
    for robot in robots:
        robot.start_ns = start_ns
    for number in range(TICKS):
        for robot in robots:
            robot.tick(number)
        until = start_ns / 1e9 + 0.1 * (number + 1)
        while time.time() < until:
            executor.spin_once(timeout_sec=0.01)
    quiet = 0
    while quiet < 5 and time.monotonic() < deadline:
        began = time.monotonic()
        executor.spin_once(timeout_sec=0.1)
        quiet = quiet + 1 if time.monotonic() - began >= 0.1 else 0


@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.name)
def test_nothing_is_found_where_nothing_is_wrong(
    case: Case, found: dict[str, list[Finding]]
) -> None:
    assert found[case.name] == []


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_a_fault_yields_its_line_and_no_other(case: Case, found: dict[str, list[Finding]]) -> None:
    assert [item.code for item in found[case.name]] == [case.code], found[case.name]
    (item,) = found[case.name]
    assert case.says in item.text
    assert case.mend in item.mend
