# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every fault is provoked on a real graph: each yields its line and no other.

All robots are there at once, each in a namespace with frames of its own, and each is looked at
by its own parameters while all of them run: one look for all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from g2vlm_ros.doctor.command import examine
from g2vlm_ros.doctor.findings import Finding, told_apart
from g2vlm_ros.doctor.live import GraphLook
from g2vlm_ros.doctor.seen import Attention, Seen
from g2vlm_ros.doctor.told import told_by
from tests.ros.doctor.cases import FAULTS, HEALTHY, Case
from tests.ros.doctor.small_robot import SmallRobot

CASES = (*HEALTHY, *FAULTS)
TICKS = 16
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def seen(ros: None) -> Iterator[dict[str, Seen]]:
    """What the doctor sees of each robot."""
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
    yield {name: look.seen() for name, look in looks.items()}
    executor.shutdown()
    publishing.destroy_node()
    doctor.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(scope="module")
def found(seen: dict[str, Seen]) -> dict[str, list[Finding]]:
    """What the doctor finds at each robot."""
    return {name: examine(one) for name, one in seen.items()}


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


# What a wait for a core of 3.75 s looks like too; the rest stands on whatever machine.
BY_WAITING = {
    "rates": "RIG_RATES",
    "jitter": "RIG_JITTER",
    "apart": "UNSYNCHRONISED",
    "silent": "SILENT_TOPIC",  # nothing came at all
    "lateodom": "TF_MISSING",  # 3 s late
}


@pytest.mark.parametrize(
    ("attention", "untold"),
    [
        (Attention(5.0, worked_s=0.4, waited_s=0.1), {}),  # cores were free
        (Attention(5.0, worked_s=0.02, waited_s=0.05), {}),  # hardly anything was to be done
        (Attention(5.0, worked_s=0.4, waited_s=1.2), BY_WAITING),
    ],
)
def test_a_look_that_waited_for_a_core_blames_nobody_for_it(
    attention: Attention, untold: dict[str, str], seen: dict[str, Seen]
) -> None:
    told = {}
    for name, one in seen.items():
        starved = replace(one, attention=attention)
        every = examine(starved)
        stand, others = told_apart(every, starved)
        assert sorted(map(str, every)) == sorted(map(str, (*stand, *others)))
        if others:
            (told[name],) = (item.code for item in others)
    assert told == untold
