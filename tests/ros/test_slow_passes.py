# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node whose pass takes long: the published model in small, on layers that take their time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from g2vlm_interfaces.msg import SpatialAnswer
from tests.ros.graph import NS, image_message, picture
from tests.runtimes.slow_layers import PACE

Make = Callable[..., Any]


@pytest.fixture
def slow_node(make_graph: Make, stand_in: Path) -> Iterator[Any]:
    """An active node in the middle of its first pass."""
    graph = make_graph(
        runtime="tests.runtimes.slow_layers:create", model=str(stand_in), device="cpu",
        window__size=2, window__overlap=1, images__timeout_s=60.0, query__timeout_s=0.01,
    )  # fmt: skip
    pause_s = PACE.pause_s
    graph.listen("status", "pose")
    graph.start()
    graph.publisher("/camera/image_raw")
    see_two(graph)
    yield graph
    PACE.pause_s = pause_s


def see_two(graph: Any) -> None:
    for _ in range(2):
        graph.stamp_ns, graph.shift = graph.stamp_ns + NS // 10, graph.shift + 40
        graph.publish(image_message(picture(graph.shift, 120, 480), graph.stamp_ns))


def test_it_stays_awake_and_says_how_long(slow_node: Any) -> None:
    first = slow_node.status(lambda status: status.pass_s >= 0.5)
    assert first.scenes == 0
    assert slow_node.ask().status == SpatialAnswer.NO_SCENE  # at once, and not behind the pass
    assert slow_node.status().pass_s >= first.pass_s
    told = first.reason_texts[list(first.reason_codes).index("RUNTIME_SLOW")]
    assert re.match(
        r"a pass over 2 frames of 4:3 will take about [\d.]+ s, and query\.timeout", told
    )
    answers = (
        r"; an answer of query\.max_tokens = 64 will take [\d.]+ s and more \([\d.e-]+ s a token"
    )
    assert re.search(answers, told)
    PACE.pause_s = 0.0
    last = slow_node.status(lambda status: status.scenes == 1)
    assert last.observe_ms > 500.0
    slow_node.status(lambda status: status.pass_s < 0)
    slow_node.wait(lambda: slow_node.received["pose"], "its pose")


def test_deactivate_ends_the_pass(slow_node: Any) -> None:
    slow_node.status(lambda status: status.pass_s >= 0.5)
    began = time.monotonic()
    assert slow_node.deactivate()
    assert time.monotonic() - began < 2.0
    assert slow_node.node.pipeline.ended(2.0)  # the pass would have taken six seconds and more
    PACE.pause_s = 0.0
    assert slow_node.activate()
    see_two(slow_node)
    status = slow_node.status(lambda status: status.scenes == 1)
    assert "RUNTIME_BUSY" not in status.reason_codes
