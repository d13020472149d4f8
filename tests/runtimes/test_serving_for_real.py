# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From an empty cache to ONNX Runtime, with the real export in a child process."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from g2vlm_model.interface import PixelMark, Scene, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.serving import BuildingRuntime
from g2vlm_model.runtimes.store import ENTRIES
from tests.helpers import wait_for

from .model_folders import window

QUERY = SpatialQuery("How far is A from the camera?", (PixelMark(0, 40, 30, "A"),), max_tokens=8)
EXPORT_S = 600.0  # a minute on an idle machine


def exporters() -> list[psutil.Process]:
    """Processes that export; not children of theirs, which look alike until they run a program."""
    found: dict[int, psutil.Process] = {}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie too: it has just ended
            if "export" in child.cmdline() and child.ppid() not in found:
                found[child.pid] = child
    return list(found.values())


def building(model_folder: Path) -> BuildingRuntime:
    runtime = load_runtime("onnx", model_folder)
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.info.runtime == "torch"
    return runtime


@pytest.mark.slow
def test_a_killed_export_a_second_try_and_two_who_share_it(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    runtime = building(model_folder)
    (exporter,) = wait_for(exporters, 30.0, what="the export's process")
    wait_for(lambda: "starting" not in str(runtime.info.building), 120.0, what="its first word")
    wait_for(lambda: exporter.nice() == 19, 30.0, what="the lowest priority")
    exporter.send_signal(signal.SIGKILL)
    assert runtime.wait(30.0)
    assert runtime.info.runtime == "torch"
    assert "`g2vlm export onnx" in runtime.info.fallback_reason
    assert "was ended by SIGKILL" in runtime.info.fallback_reason
    assert runtime.observe(window(1, 2)).geometry.valid.shape[0] == 2
    runtime.close()
    assert not list((tmp_path / "cache" / ENTRIES).iterdir())

    first, second = building(model_folder), building(model_folder)
    before = [one.observe(window(1, 2, 3)) for one in (first, second)]
    wait_for(exporters, 30.0, what="the export's process")
    reached = set()
    while not (first.wait(0.2) and second.wait(0.2)):
        assert len(exporters()) <= 1, "both export"
        reached.add(max(one.info.building.fraction for one in (first, second) if one.info.building))
    assert len(reached) > 3, f"progress was reported as {sorted(reached)}"
    for runtime, scene in ((first, before[0]), (second, before[1])):
        info = runtime.info
        assert (info.runtime, info.fallback_reason, info.building) == ("onnx", "", None)
        after = runtime.observe(window(1, 2, 3))
        expected, got = scene.geometry.local_points, after.geometry.local_points
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.ptp(expected))
        assert asked(runtime, scene) == asked(runtime, after)
        runtime.close()


def asked(runtime: SpatialRuntime, scene: Scene) -> tuple[str, int]:
    answer = runtime.ask(scene, QUERY)
    assert answer.tokens > 0
    return answer.text, answer.tokens
