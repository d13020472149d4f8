# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serving while something better is built: the change-over, and every way a build can end.

The commands of the builds are real child processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    RuntimeInfo,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.runtimes.build_process import run_command
from g2vlm_model.runtimes.serving import Build, BuildContext, BuildingRuntime
from g2vlm_model.runtimes.store import Store
from g2vlm_model.runtimes.store_entry import ExportKey
from tests.helpers import REPO, wait_for
from tests.ros.scripted_runtime import ScriptedRuntime

from .build_commands import gone, pids, words

pytestmark = pytest.mark.usefixtures("build_for_test")


def runtime_named(name: str) -> ScriptedRuntime:
    runtime = ScriptedRuntime()
    runtime.info = RuntimeInfo(name, "cpu", "fp32", "wall-0", 1)
    return runtime


def is_closed(runtime: ScriptedRuntime) -> bool:
    return runtime.closed


def window(number: int = 0) -> FrameWindow:
    image = np.zeros((24, 32, 3), np.uint8)
    return FrameWindow((Frame(image, 10**8 * number, "camera", "camera", str(number)),))


def ask(runtime: SpatialRuntime, scene: object) -> str:
    return runtime.ask(scene, SpatialQuery("How far?")).text  # type: ignore[arg-type]


class Held:
    """A build that waits until the test lets it go on, and returns what the test says."""

    def __init__(self, made: SpatialRuntime | None) -> None:
        self.made = made
        self.go = threading.Event()

    def __call__(self, context: BuildContext) -> SpatialRuntime | None:
        context.stage("compiling", 0.5, 7.0)
        while not self.go.wait(0.01):
            context.stage("compiling", 0.5, 7.0)
        return self.made


def test_the_new_runtime_takes_over_and_old_scenes_stay_askable() -> None:
    old, new = runtime_named("torch"), runtime_named("onnx")
    held = Held(new)
    runtime = BuildingRuntime(old, "wall for onnx", held)
    assert isinstance(runtime, SpatialRuntime)
    first, second = runtime.observe(window(1)), runtime.observe(window(2))
    wait_for(lambda: runtime.info.building and runtime.info.building.fraction, 20.0)
    info = runtime.info
    assert (info.runtime, info.fallback_reason) == ("torch", "")
    assert str(info.building) == "building wall for onnx: compiling, 50 %, 7 s left"
    held.go.set()
    assert runtime.wait(20.0)
    assert (runtime.info.runtime, runtime.info.building) == ("onnx", None)
    third = runtime.observe(window(3))
    assert (len(old.windows), len(new.windows)) == (2, 1)
    for scene in (first, second, third):
        assert ask(runtime, scene) == "2.0"
    assert (len(old.queries), len(new.queries)) == (2, 1)
    first.close()
    with pytest.raises(ValueError, match="the scene is closed"):
        ask(runtime, first)
    assert not is_closed(old)
    del second, scene  # dropped, not closed: as good
    third = runtime.observe(window(4))
    assert is_closed(old)
    assert not is_closed(new)
    assert ask(runtime, third) == "2.0"
    runtime.close()
    assert is_closed(new)


def test_the_time_left_runs_on_between_two_reports() -> None:
    go = threading.Event()

    def build(context: BuildContext) -> SpatialRuntime | None:
        context.stage("compiling", 0.5, 7.0)
        context.stage("tracing", 0.6, 0.3)
        go.wait(20.0)
        return None

    runtime = BuildingRuntime(runtime_named("torch"), "wall", build)

    def left() -> float | None:
        building = runtime.info.building
        return None if building is None else building.seconds_left

    wait_for(lambda: (left() or 1.0) < 0.3, 20.0, what="less time left")
    wait_for(lambda: left() == 0.0, 20.0, what="no time left")
    go.set()
    runtime.close()


def test_a_question_in_work_keeps_its_runtime() -> None:
    old, new = runtime_named("torch"), runtime_named("onnx")
    held = Held(new)
    runtime = BuildingRuntime(old, "wall", held)
    scene = runtime.observe(window())
    old.ask_gate.clear()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(ask(runtime, scene)))
    asking.start()
    wait_for(lambda: old.queries, 20.0, what="the question")
    held.go.set()
    assert runtime.wait(20.0)
    scene.close()
    assert not is_closed(old)
    old.ask_gate.set()
    asking.join(20.0)
    assert answers == ["2.0"]
    assert is_closed(old)
    runtime.close()


def test_scenes_of_others_are_refused() -> None:
    runtime, other = (BuildingRuntime(runtime_named("torch"), "wall", lambda c: None) for _ in "ab")
    for scene in (other.observe(window()), ScriptedRuntime().observe(window())):
        with pytest.raises(ValueError, match="made by another runtime"):
            ask(runtime, scene)
    runtime.close()
    other.close()


def test_a_build_may_find_that_nothing_is_better() -> None:
    old = runtime_named("torch")
    runtime = BuildingRuntime(old, "wall", lambda context: None)
    assert runtime.wait(20.0)
    info = runtime.info
    assert (info.runtime, info.building, info.fallback_reason) == ("torch", None, "")
    runtime.observe(window())
    assert len(old.windows) == 1
    runtime.close()
    assert is_closed(old)


def test_a_build_that_fails_leaves_the_serving_runtime_in_place(tmp_path: Path) -> None:
    def build(context: BuildContext) -> SpatialRuntime | None:
        run_command(words("fail", tmp_path / "x"), context.on_stage, context.stopping)
        raise AssertionError("not reached")

    check_that_it_serves_on(build, "the disk is full")


def test_a_build_that_is_killed_leaves_the_serving_runtime_in_place(tmp_path: Path) -> None:
    def build(context: BuildContext) -> SpatialRuntime | None:
        def kill() -> None:
            command, child = pids(tmp_path / "pids")
            os.kill(command, signal.SIGKILL)
            wait_for(lambda: gone(child), 10.0, what="the end of the command's child")
            children_gone.set()

        children_gone = threading.Event()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            run_command(words("hang", tmp_path / "pids"), context.on_stage, context.stopping)
        finally:
            killer.join()
            assert children_gone.is_set()
        raise AssertionError("not reached")

    check_that_it_serves_on(build, "was ended by SIGKILL; memory ran out, or somebody ended it")


def check_that_it_serves_on(build: Build, reason: str) -> None:
    old = runtime_named("torch")
    runtime = BuildingRuntime(old, "wall for onnx", build)
    scene = runtime.observe(window())
    assert runtime.wait(30.0)
    info = runtime.info
    assert (info.runtime, info.building) == ("torch", None)
    assert info.fallback_reason.startswith("wall for onnx could not be built, torch on cpu serves")
    assert reason in info.fallback_reason
    assert ask(runtime, scene) == "2.0"
    runtime.close()
    assert is_closed(old)


def test_close_ends_a_build_in_work(tmp_path: Path) -> None:
    def build(context: BuildContext) -> SpatialRuntime | None:
        run_command(words("hang", tmp_path / "pids"), context.on_stage, context.stopping)
        raise AssertionError("not reached")

    old = runtime_named("torch")
    runtime = BuildingRuntime(old, "wall", build)
    started = pids(tmp_path / "pids")
    runtime.close()
    wait_for(lambda: all(map(gone, started)), 20.0, what="the end of both processes")
    assert is_closed(old)
    runtime.close()


@pytest.mark.parametrize("error", [None, RuntimeError("the device is gone")])
def test_what_is_ready_after_close_is_closed_too(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    new = runtime_named("onnx")
    new.close_error = error
    closing = threading.Event()

    def build(context: BuildContext) -> SpatialRuntime:
        assert closing.wait(20.0)
        wait_for(lambda: runtime._stopping.is_set(), 20.0)
        return new

    runtime = BuildingRuntime(runtime_named("torch"), "wall", build)
    closing.set()
    runtime.close()
    assert is_closed(new)
    assert ("the device is gone" in caplog.text) is (error is not None)
    assert runtime.info.building is None


def stuck(name: str) -> ScriptedRuntime:
    runtime = runtime_named(name)
    runtime.close_error = RuntimeError(f"the device of {name} is gone")
    return runtime


def test_one_that_cannot_be_closed_leaves_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    old, new = stuck("torch"), stuck("onnx")
    held = Held(new)
    runtime = BuildingRuntime(old, "wall", held)
    scene = runtime.observe(window())
    held.go.set()
    assert runtime.wait(20.0)
    with pytest.raises(RuntimeError, match="the device of onnx is gone"):
        runtime.close()
    assert is_closed(new)
    assert is_closed(old)
    assert "torch on cpu could not be closed: the device of torch is gone" in caplog.text
    scene.close()


def test_a_former_runtime_that_cannot_be_closed_costs_no_observation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held(runtime_named("onnx"))
    runtime = BuildingRuntime(stuck("torch"), "wall", held)
    scene = runtime.observe(window(1))
    held.go.set()
    assert runtime.wait(20.0)
    del scene
    assert runtime.observe(window(2)).geometry.valid.any()
    assert caplog.text.count("the device of torch is gone") == 1
    runtime.close()


# One build for all processes of a machine.


KEY = ExportKey("wall", "1", "fp32", "23", ("geometry",))


def build_entry(cache: Store, made: SpatialRuntime, log: Path) -> Build:
    def build(context: BuildContext) -> SpatialRuntime:
        entry = context.entry(cache, KEY, words("build", log))
        assert entry.path("engine").read_bytes() == b"weights"
        return made

    return build


def test_two_runtimes_share_one_build(tmp_path: Path) -> None:
    caches = [Store.open(tmp_path / "cache") for _ in "ab"]
    log = tmp_path / "log"
    runtimes = [
        BuildingRuntime(
            runtime_named("torch"), "wall", build_entry(cache, runtime_named("onnx"), log)
        )
        for cache in caches
    ]
    for runtime in runtimes:
        assert runtime.wait(30.0)
        assert (runtime.info.runtime, runtime.info.fallback_reason) == ("onnx", "")
        runtime.close()
    assert log.read_text() == "built "


def test_a_build_waits_for_another_process_and_says_so(tmp_path: Path) -> None:
    cache = Store.open(tmp_path / "cache")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tests.runtimes.test_serving import KEY\n"
        "from g2vlm_model.runtimes.store import Store\n"
        "with Store.open(Path(sys.argv[1])).building(KEY):\n"
        "    print('locked', flush=True); time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, str(cache.root)]
    other = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE)
    assert other.stdout is not None
    log = tmp_path / "log"
    try:
        assert other.stdout.readline() == b"locked\n"
        runtimes = [
            BuildingRuntime(
                runtime_named("torch"), "wall", build_entry(cache, runtime_named("onnx"), log)
            )
            for _ in "ab"
        ]
        for runtime in runtimes:
            wait_for(lambda r=runtime: "another process" in str(r.info.building), 10.0)  # type: ignore[misc]
        runtimes[0].close()  # also ends while it waits
        assert not log.exists()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert runtimes[1].wait(30.0)
    assert runtimes[1].info.runtime == "onnx"
    assert log.read_text() == "built "
    runtimes[1].close()


def test_a_disk_that_is_too_small_is_found_before_the_build(tmp_path: Path) -> None:
    cache = Store.open(tmp_path / "cache")

    def build(context: BuildContext) -> SpatialRuntime | None:
        context.entry(cache, KEY, words("build", tmp_path / "log"), needed_bytes=10**18)
        raise AssertionError("not reached")

    check_that_it_serves_on(build, "set G2VLM_CACHE to a folder on a larger disk")
