# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lock-step through the node is lock-step in process: the same map, to rounding."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_replay import main
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.recordings.bag import BagRecording
from g2vlm_model.interface import GeometryPrediction
from tests.helpers import REPO
from tests.replay.bags import Scribe, jpeg
from tests.ros.scripted_runtime import HEIGHT, WIDTH, ScriptedRuntime

NS = 1_000_000_000
ROOM = REPO / "tests" / "data" / "room" / "room.mcap"


def uneven(**asked: str) -> ScriptedRuntime:
    """For --runtime: what it sees is no plane, on which no loop would be believed."""
    runtime = ScriptedRuntime()
    bumps = np.random.default_rng(2).uniform(0.6, 1.6, (HEIGHT, WIDTH, 1)).astype(np.float32)

    def bumpy(geometry: GeometryPrediction) -> GeometryPrediction:
        return replace(geometry, local_points=geometry.local_points * bumps)

    runtime.break_geometry = bumpy
    return runtime


def slow(**asked: str) -> ScriptedRuntime:
    """For --runtime: a pass takes longer than a replay waits for an idle node."""
    runtime = ScriptedRuntime()

    def after_a_while(geometry: GeometryPrediction) -> GeometryPrediction:
        time.sleep(12.0)
        return geometry

    runtime.break_geometry = after_a_while
    return runtime


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second picture of a drive through a room, and the same ones in reverse."""
    path = tmp_path_factory.mktemp("bags") / "there_and_back"
    source = BagRecording(ROOM)
    frames = list(source.frames(range(0, 40, 2)))
    assert source.info.calibration is not None
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        for number, frame in enumerate([*frames, *frames[-2::-1]]):
            ns = 10 * NS + number * NS // 4
            scribe.info("/camera/camera_info", ns, source.info.size_hw, source.info.calibration.K)
            scribe.image("/camera/image_raw", ns, frame.rgb(), "rgb8")
    return path


def replayed(bag: Path, out: Path, *arguments: str) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics, and the final path as rows of stamp, place and quaternion."""
    code = main(
        [str(bag), "--out", str(out), "--rate", "0", "--quiet",
         "--runtime", "tests.replay.test_lockstep:uneven", *arguments]
    )  # fmt: skip
    assert code == 0
    document = json.loads((out / "metrics.json").read_text())
    return document["metrics"], np.loadtxt(out / "trajectory.tum")


@pytest.mark.slow  # 20 s; without loops test_end_to_end holds both against each other
def test_node_and_process_make_the_same_map_where_loops_come_in(
    there_and_back: Path, tmp_path: Path
) -> None:
    metrics, path = replayed(there_and_back, tmp_path / "node")
    others, beside = replayed(there_and_back, tmp_path / "process", "--in-process")
    assert metrics["loops"] >= 3, "the test needs loops"
    for name in ("loops", "scenes", "keyframes"):
        assert metrics[name] == others[name], name
    np.testing.assert_allclose(path, beside, atol=1e-6, rtol=0)


@pytest.mark.slow  # 30 s
def test_a_pass_is_waited_for_however_long_it_takes(tmp_path: Path) -> None:
    source = BagRecording(ROOM)
    with BagWriter(tmp_path / "short") as writer:
        scribe = Scribe(writer)
        for number, frame in enumerate(source.frames(range(0, 8, 2))):
            scribe.image("/camera/image_raw", (10 + number) * NS, frame.rgb(), "rgb8")
    runtime = ("--runtime", "tests.replay.test_lockstep:slow")
    for rate in ("1", "0"):
        out = tmp_path / rate
        code = main(
            [str(tmp_path / "short"), "--out", str(out), "--rate", rate, "--quiet", *runtime]
        )
        assert code == 0
        assert json.loads((out / "metrics.json").read_text())["metrics"]["scenes"] >= 1


@pytest.mark.slow  # 10 s
def test_a_bag_that_goes_round_is_played_round_by_round(tmp_path: Path) -> None:
    """Stamps come again: what came of them in the round before must not stand for this one."""
    source = BagRecording(ROOM)
    frames = list(source.frames(range(0, 16, 2)))
    with BagWriter(tmp_path / "rounds") as writer:
        scribe = Scribe(writer)
        name = "sensor_msgs/msg/CompressedImage"
        for number in range(3 * len(frames)):
            frame = frames[number % len(frames)]
            ns = 10 * NS + number % len(frames) * NS // 4
            data = np.frombuffer(jpeg(frame.rgb()), np.uint8)
            message = scribe.types[name](header=scribe.header(ns), format="jpeg", data=data)
            writer.write_message("/cam/image/compressed", name, 10 * NS + number * NS // 4, message)
    metrics, _ = replayed(tmp_path / "rounds", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["keyframes"] == 3 * len(frames)
    assert not document["drops"]
    assert document["replay"]["stalled_pictures"] == 0
