# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Replays of a large and slow model: the published one in small, and slower ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from g2vlm_replay import main

from benchmarks.instant_runtime import InstantScene
from g2vlm_model.interface import FrameWindow, SpatialAnswer
from tests.replay.bags import write_plain_bag
from tests.replay.test_in_process import run
from tests.ros.scripted_runtime import ScriptedRuntime


def test_the_published_model_in_small(tmp_path: Path, stand_in: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=2)
    (tmp_path / "q.json").write_text('[{"question": "How far is the wall?", "at": {"frame": 1}}]')
    words = ["--model", str(stand_in), "--device", "cpu", "--questions", str(tmp_path / "q.json")]
    code, document = run(tmp_path / "bag", tmp_path / "out", *words)
    assert code == 0
    assert document["metrics"]["scenes"] == 1
    assert document["node"]["model_id"].startswith("stand-in@")
    assert document["answers"][0]["status"] in ("OK", "TRUNCATED")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_published_model_in_small_through_the_node(
    tmp_path: Path, stand_in: Path, precision: str
) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=2)
    (tmp_path / "q.json").write_text('[{"question": "How far is the wall?", "at": {"frame": 1}}]')
    out, name = tmp_path / "out", f"precision={precision}"
    words = ["--rate", "0", "--quiet", "--runtime", "torch", "--model", str(stand_in)]
    words += ["--device", "cpu", "--param", name, "--param", "query.max_tokens=4"]
    words += ["--questions", str(tmp_path / "q.json"), "--question-timeout", "600"]
    assert main([str(tmp_path / "bag"), "--out", str(out), *words]) == 0
    document = json.loads((out / "metrics.json").read_text())
    assert document["metrics"]["scenes"] == 1
    assert document["metrics"]["frames_used"] == 2
    assert document["node"]["model_id"].startswith("stand-in@")
    assert document["node"]["precision"] == precision
    assert document["answers"][0]["status"] in ("OK", "TRUNCATED")


class Slow(ScriptedRuntime):
    """A runtime whose pass and answer take longer than the replay waits for what does nothing."""

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        time.sleep(0.5)
        return super().observe(window, cancelled=cancelled)

    def ask(self, *asked: Any, **how: Any) -> SpatialAnswer:
        time.sleep(0.5)
        return super().ask(*asked, **how)


def slow(**asked: str) -> ScriptedRuntime:
    """For --runtime."""
    return Slow()


def test_nothing_gives_up_while_the_model_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=3)
    (tmp_path / "q.json").write_text('[{"question": "How far is the wall?", "at": {"frame": 1}}]')
    monkeypatch.setattr("g2vlm_replay.in_process.SETTLE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("g2vlm_replay.in_process.QUESTION_TIMEOUT_S", 0.1)
    words = ["--runtime", f"{__name__}:slow", "--questions", str(tmp_path / "q.json")]
    code, document = run(tmp_path / "bag", tmp_path / "out", *words)
    assert (code, document["metrics"]["scenes"]) == (0, 2)
    assert document["replay"]["stalled_pictures"] == 0
    assert document["answers"][0]["status"] == "OK"


def failing(**asked: str) -> ScriptedRuntime:
    """For --runtime."""
    runtime = ScriptedRuntime()
    runtime.observe_error = RuntimeError("the device is gone")
    return runtime


def test_no_scene_has_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True, count=6)
    code, document = run(tmp_path / "bag", tmp_path / "out", "--runtime", f"{__name__}:failing")
    assert (code, document["metrics"]["scenes"]) == (2, 0)
    said = capsys.readouterr().err
    assert "g2vlm replay: no scene was made: dropped " in said
    assert "RUNTIME_FAILED: RuntimeError: the device is gone" in said
