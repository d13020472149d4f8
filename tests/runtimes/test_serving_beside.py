# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two runtimes at once: windows that an engine does not take, and measuring while others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.instant_runtime import InstantScene
from g2vlm_model.interface import (
    FrameWindow,
    ObservationCancelledError,
    RuntimeInfo,
    RuntimeLimits,
    SpatialRuntime,
    WindowRefusedError,
)
from g2vlm_model.runtimes.serving import BuildContext, BuildingRuntime
from tests.helpers import wait_for
from tests.ros.scripted_runtime import ScriptedRuntime

from .test_serving import Held, ask, is_closed, runtime_named, window

WIDE, NARROW = RuntimeLimits(64), RuntimeLimits(8, 1, (24, 32), (24, 32))


class Narrow(ScriptedRuntime):
    """An engine for at most 8 frames."""

    def __init__(self) -> None:
        super().__init__()
        self.info = RuntimeInfo("tensorrt", "cuda:0", "fp16", "wall-0", 1, limits=NARROW)

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        if refusal := NARROW.refusal(len(window), window.frames[0].image.shape[:2]):
            raise WindowRefusedError(refusal)
        return super().observe(window, cancelled=cancelled)


def long_window(frames: int) -> FrameWindow:
    return FrameWindow(tuple(window(number).frames[0] for number in range(frames)))


def test_an_engine_takes_over_only_what_it_covers() -> None:
    """The runtime that served before is kept for the other windows, and the info says so."""
    old, new = runtime_named("torch"), Narrow()
    old.info = replace(old.info, limits=WIDE)
    held = Held(new)
    held.go.set()
    runtime = BuildingRuntime(old, "wall for tensorrt", held)
    assert runtime.wait(20.0)
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("tensorrt", "")
    assert runtime.info.limits == WIDE
    assert not is_closed(old)
    scenes = [runtime.observe(long_window(frames)) for frames in (8, 9, 2)]
    assert (len(old.windows), len(new.windows)) == (1, 2)
    assert runtime.info.fallback_reason == (
        "a window went to torch on cpu: the window has 9 frames, the runtime takes 1 to 8; give "
        "fewer keyframes"
    )
    for scene in scenes:
        assert ask(runtime, scene) == "2.0"
    assert (len(old.queries), len(new.queries)) == (1, 2)
    runtime.close()
    assert is_closed(old)
    assert is_closed(new)


def test_an_engine_that_was_there_at_the_start_gets_company_when_it_is_needed() -> None:
    engine, other = Narrow(), runtime_named("torch")
    loaded: list[SpatialRuntime] = []

    def beside() -> SpatialRuntime:
        loaded.append(other)
        return other

    runtime = BuildingRuntime(engine, "wall", beside=beside, limits=WIDE)
    assert (runtime.info.limits, runtime.info.building) == (WIDE, None)
    runtime.observe(long_window(8))
    assert loaded == []
    for _ in range(2):
        scene = runtime.observe(long_window(32))
        assert ask(runtime, scene) == "2.0"
    assert loaded == [other]
    assert len(other.windows) == 2
    runtime.close()
    assert is_closed(other)


def test_nothing_is_served_while_a_build_measures() -> None:
    """What runs ends first, what comes waits; a wait can be cancelled."""
    old = runtime_named("torch")
    measuring, measured = threading.Event(), threading.Event()

    def build(context: BuildContext) -> SpatialRuntime | None:
        with context.alone():
            measuring.set()
            assert measured.wait(20.0)
        return None

    old.observe_gate.clear()  # an observation is under way
    scenes: list[object] = []
    runtime = BuildingRuntime(old, "wall", build)
    first = threading.Thread(target=lambda: scenes.append(runtime.observe(window(1))))
    first.start()
    wait_for(lambda: len(old.windows) == 1 or measuring.is_set(), 20.0)
    old.observe_gate.set()
    assert measuring.wait(20.0)
    first_ended = len(scenes)
    second = threading.Thread(target=lambda: scenes.append(runtime.observe(window(2))))
    second.start()
    with pytest.raises(ObservationCancelledError):
        runtime.observe(window(3), cancelled=lambda: True)
    assert len(scenes) == first_ended
    measured.set()
    first.join(20.0)
    second.join(20.0)
    assert len(scenes) == 2
    assert runtime.wait(20.0)
    runtime.close()
