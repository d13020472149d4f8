# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a build is, out of the phases that TensorRT reports."""

from __future__ import annotations

import pytest
from g2vlm_export.tensorrt_progress import PhaseTree


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the tree reads; tests set the only entry."""
    now = [100.0]
    monkeypatch.setattr("g2vlm_export.tensorrt_progress.time.monotonic", lambda: now[0])
    return now


def test_phases_inside_phases_add_up(clock: list[float]) -> None:
    tree = PhaseTree(lambda: False)
    tree.start("build", None, 4)
    assert tree.step("build", 0)
    assert tree.state() == ("build", 0.25, None)
    tree.start("graph", "build", 2)
    tree.start("timing", "graph", 10)
    tree.step("timing", 4)
    assert tree.state()[0] == "timing"
    assert tree.state()[1] == pytest.approx(0.25 + 0.25 * 0.5 * 0.5)
    tree.finish("timing")
    tree.step("graph", 0)
    assert tree.state()[1] == pytest.approx(0.375)
    tree.start("another timing", "graph", 10)
    assert tree.state()[1] == pytest.approx(0.375), "never less than before"
    tree.finish("graph")
    tree.step("build", 1)
    assert tree.state()[1] == 0.5
    tree.finish("build")
    assert tree.state()[1:] == (1.0, 0.0)


def test_seconds_left_follow_the_pace_and_are_unknown_in_a_silent_phase(clock: list[float]) -> None:
    tree = PhaseTree(lambda: False)
    tree.start("build", None, 10)
    clock[0] += 1
    tree.step("build", 0)
    assert tree.state()[2] is None, "a second says nothing yet"
    clock[0] += 9
    tree.step("build", 1)
    assert tree.state()[1] == pytest.approx(0.2)
    assert tree.state()[2] == pytest.approx(40)
    clock[0] += 4
    assert tree.state()[2] == pytest.approx(36)
    clock[0] += 7
    assert tree.state()[2] is None, "silent for longer than it had a pace"


def test_a_cancelled_build_ends_at_its_next_step() -> None:
    cancelled = False
    tree = PhaseTree(lambda: cancelled)
    tree.start("build", None, 3)
    assert tree.step("build", 0) is True
    cancelled = True
    assert tree.step("build", 1) is False
