# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The example that drives up to a marked place: how it steers, and a real robot and node."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.approach import example as loaded
from tests.helpers import REPO

EXAMPLE = REPO / "examples" / "approach.py"


NOTHING = np.zeros((0, 2))


def test_it_turns_first_and_slows_down_before_its_place() -> None:
    example = loaded()
    steer, limits = example.steer, example.Limits()
    speed, turn, why = steer(np.array([0.0, 2.0]), NOTHING, limits)
    assert (speed, turn, why) == (0.0, limits.turn_rate, "")
    assert steer(np.array([0.0, -2.0]), NOTHING, limits)[1] == -limits.turn_rate
    far, near = (steer(np.array([x, 0.0]), NOTHING, limits)[0] for x in (3.0, 0.9))
    assert far == limits.speed
    assert 0.05 < near < 0.15


def test_it_stops_before_what_stands_in_the_way_and_not_before_its_place() -> None:
    example = loaded()
    steer, limits = example.steer, example.Limits()
    place = np.array([3.0, 0.0])
    for blocked in ((0.4, 0.0), (0.3, 0.2), (0.44, -0.2)):
        speed, _, why = steer(place, np.array([blocked]), limits)
        assert speed == 0.0
        assert f"{blocked[0]:.2f} m ahead" in why
    for free in ((0.4, 0.5), (-0.3, 0.0), (0.3, -0.6)):
        assert steer(place, np.array([free]), limits)[0] > 0.0
    slower = steer(place, np.array([[0.6, 0.0]]), limits)[0]
    assert 0.0 < slower < limits.speed
    own = np.array([[0.5, 0.05]])  # of the thing that it drives to
    assert steer(np.array([0.75, 0.0]), own, limits)[0] > 0.0


@pytest.mark.slow
def test_it_drives_a_simulated_robot_up_to_what_it_sees(tmp_path: Path) -> None:
    """The real robot, node and example, as three processes; it arrives or says why not."""
    robot = ("mode=cmd_vel", "rate_hz=6.0", "compressed=false")
    command = [sys.executable, "-m", "g2vlm_model.cli", "simulate", "--index", "1"]
    command += [word for item in robot for word in ("--robot", item)]
    log = (tmp_path / "simulate.log").open("w")
    simulated = subprocess.Popen(command, cwd=REPO, stdout=log, stderr=subprocess.STDOUT)
    try:
        words: list[Any] = [sys.executable, EXAMPLE, "--ros-args"]
        for value in ("u:=120.0", "v:=100.0", "timeout_s:=150.0"):
            words += ["-p", value]
        done = subprocess.run(
            words, cwd=REPO, capture_output=True, text=True, timeout=240, check=False
        )
    finally:
        simulated.send_signal(signal.SIGINT)
        simulated.wait(30)
        log.close()
    said = done.stderr + done.stdout
    assert "drives: " in said, said
    assert ("has arrived" in said) == (done.returncode == 0)
    assert done.returncode == 0 or "gave up: " in said, said
