# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Paused, at a bounded rate, or idle because nobody listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from std_srvs.srv import SetBool

from g2vlm_map.status import Reason
from tests.ros.graph import NS

Make = Callable[..., Any]


def pause(graph: Any, paused: bool) -> Any:
    return graph.call(SetBool, "/g2vlm/pause", SetBool.Request(data=paused))


def test_paused_frames_are_counted_and_the_map_stays(graph: Any) -> None:
    graph.scene()
    assert pause(graph, True).success
    graph.codes("PAUSED")
    assert not graph.board.degraded([Reason("PAUSED", "")]), "asked for, so nothing is wrong"
    scenes, passes = graph.board.scenes, len(graph.runtime.windows)
    for _ in range(4):
        graph.good_image()
    assert graph.board.drops["paused"] == 4
    graph.codes("NO_IMAGES", present=False)
    assert (graph.board.scenes, len(graph.runtime.windows)) == (scenes, passes)
    assert pause(graph, False).success
    graph.codes("PAUSED", present=False)
    graph.scene()
    assert graph.status().segment == 1


def test_an_inactive_node_has_nothing_to_pause(make_graph: Make) -> None:
    graph = make_graph()
    answer = pause(graph, True)
    assert not answer.success
    assert "inactive" in answer.message


def test_a_pass_at_work_is_told_with_its_time(graph: Any) -> None:
    graph.scene()
    assert graph.status(lambda status: status.pass_s < 0).scenes >= 1
    graph.runtime.observe_gate.clear()
    graph.good_image()
    first = graph.status(lambda status: status.pass_s >= 0).pass_s
    later = graph.status(lambda status: status.pass_s >= first + 0.2)
    assert later.pass_s < first + 5.0
    graph.runtime.observe_gate.set()
    graph.status(lambda status: status.pass_s < 0)


def test_passes_keep_to_the_rate(make_graph: Make) -> None:
    graph = make_graph(max_rate_hz=4.0)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        graph.good_image()
        graph.spin_for(0.03)
    passes = len(graph.runtime.windows)
    assert 2 <= passes <= 4.0 * (time.monotonic() - started) + 1, passes


def test_a_lazy_node_rests_while_nobody_listens(make_graph: Make) -> None:
    graph = make_graph(lazy=True)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    status = graph.codes("PAUSED")
    assert "nobody listens" in status.reason_texts[list(status.reason_codes).index("PAUSED")]
    for _ in range(3):
        graph.good_image()
    assert graph.board.drops["paused"] == 3
    assert not graph.runtime.windows
    graph.listen("points")
    graph.codes("PAUSED", present=False)
    graph.scene()
    graph.wait(lambda: graph.received["points"], "a cloud")


def test_what_somebody_paused_stays_paused_when_others_listen(make_graph: Make) -> None:
    graph = make_graph(lazy=True)
    graph.listen("status", "points")
    graph.start()
    graph.codes("PAUSED", present=False)
    pause(graph, True)
    graph.codes("PAUSED")
    graph.spin_for(0.2)
    assert graph.node.pipeline.paused


def test_stamps_after_a_pause_are_no_leap(graph: Any) -> None:
    graph.scene()
    pause(graph, True)
    graph.good_image()
    pause(graph, False)
    graph.stamp_ns += 3 * NS
    graph.scene()
    assert graph.status().segment == 1


def test_a_lazy_node_that_rested_hears_after_the_next_activation(make_graph: Make) -> None:
    graph = make_graph(lazy=True)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.codes("PAUSED")
    assert graph.deactivate()
    assert graph.activate()
    graph.codes("PAUSED")
    graph.listen("points")
    graph.codes("PAUSED", present=False)
    graph.scene()


def test_what_somebody_paused_is_used_after_the_next_activation(graph: Any) -> None:
    graph.scene()
    pause(graph, True)
    assert graph.deactivate()
    assert graph.activate()
    graph.scene()
    assert "paused" not in graph.board.drops
