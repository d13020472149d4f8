# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A replay whose runtime is still being built when the node becomes active."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from g2vlm_replay import main
from rosbags.highlevel import AnyReader

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes.serving import BuildContext, BuildingRuntime
from tests.replay.bags import write_plain_bag
from tests.ros.scripted_runtime import ScriptedRuntime

BUILD_S = 1.5


def build_first(**asked: str) -> SpatialRuntime:
    """A runtime that changes over soon after it was loaded; made in the node's process."""

    def build(context: BuildContext) -> SpatialRuntime:
        end = time.monotonic() + BUILD_S
        while (left := end - time.monotonic()) > 0:
            context.stage("compiling", 1 - left / BUILD_S, left)
            time.sleep(0.02)
        made = ScriptedRuntime()
        made.info = replace(made.info, runtime="engine")
        return made

    return BuildingRuntime(ScriptedRuntime(), "wall for engine", build)


def test_pictures_wait_for_the_build(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True)
    arguments = ["--rate", "0", "--quiet", "--runtime", "tests.replay.test_building:build_first"]
    assert main([str(tmp_path / "bag"), "--out", str(tmp_path / "out"), *arguments]) == 0
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["node"]["runtime"] == "engine"
    assert document["metrics"]["scenes"] >= 2
    statuses = []
    with AnyReader([tmp_path / "out" / "recorded"]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic == "/g2vlm/status":
                status: Any = reader.deserialize(raw, connection.msgtype)
                statuses.append((status.runtime, status.build_fraction))
    assert set(statuses) == {("engine", -1.0)}
