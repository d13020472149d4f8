# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Stop returns within a second whatever the model does; there is never more than one pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from benchmarks.instant_runtime import InstantScene
from g2vlm_map.events import (
    SceneReady,
)
from g2vlm_model.interface import FrameWindow, ObservationCancelledError
from tests.helpers import wait_for
from tests.map.bench import Bench, Make
from tests.ros.scripted_runtime import ScriptedRuntime


class SlowRuntime(ScriptedRuntime):
    """Passes that take long; counts how many run at once."""

    def __init__(self, looks: bool) -> None:
        super().__init__()
        self.looks = looks
        self.inside = 0
        self.most_inside = 0
        self.seen = 0

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.seen += 1
        try:
            while not self.observe_gate.wait(0.01):
                if self.looks and cancelled is not None and cancelled():
                    raise ObservationCancelledError()
            return super().observe(window, cancelled=cancelled)
        finally:
            self.inside -= 1


def stop_during_a_pass(one: Bench, runtime: SlowRuntime) -> None:
    runtime.observe_gate.clear()
    one.add()
    one.add()
    wait_for(lambda: runtime.inside == 1, 10.0, what="a pass")
    started = time.monotonic()
    one.pipeline.stop("the robot sleeps")
    assert time.monotonic() - started < 1.0


@pytest.mark.alone
def test_stop_ends_a_pass_that_looks_at_the_flag(bench: Make) -> None:
    runtime = SlowRuntime(looks=True)
    one = bench(runtime)
    stop_during_a_pass(one, runtime)
    assert runtime.inside == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("g2vlm-")]
    assert one.balanced()
    assert not one.told(SceneReady)


@pytest.mark.alone
def test_a_pass_that_was_given_up_is_waited_for_and_its_scene_thrown_away(bench: Make) -> None:
    runtime = SlowRuntime(looks=False)
    one = bench(runtime)
    stop_during_a_pass(one, runtime)
    assert runtime.inside == 1
    one.pipeline.start()
    assert "still runs" in one.becomes("RUNTIME_BUSY")
    one.add()
    one.add()
    runtime.observe_gate.set()
    one.becomes("RUNTIME_BUSY", present=False)
    wait_for(lambda: one.pipeline.snapshot().scenes == 1, 10.0)
    assert runtime.most_inside == 1
    assert runtime.scenes[0].closed
    assert not runtime.scenes[1].closed
    assert len(one.told(SceneReady)) == 1
    wait_for(one.balanced, 10.0)


def test_a_reset_gives_up_the_pass_in_work(bench: Make) -> None:
    runtime = SlowRuntime(looks=True)
    one = bench(runtime)
    runtime.observe_gate.clear()
    one.add()
    one.add()
    wait_for(lambda: runtime.inside == 1, 10.0)
    assert one.pipeline.reset() == 2
    wait_for(lambda: runtime.inside == 0, 10.0, what="the end of the pass")
    assert dict(one.pipeline.snapshot().drops) == {"reset": 2}
    assert not one.reason("RUNTIME_FAILED")
