# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What changes while a question is open, or is unlike what it should be: scale, map, name, time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock

from g2vlm_interfaces.msg import SpatialAnswer as Answer
from g2vlm_interfaces.srv import LoadMap, SaveMap, SetScale, SpatialQuery
from g2vlm_ros import active
from tests.ros.test_ask import Asker
from tests.ros.test_bad_questions import doors, marked, wordy

Make = Callable[..., Any]


def test_the_scale_at_the_time_of_the_answer_is_the_answers(make_graph: Make) -> None:
    """Admitted up to scale, answered in metres; and by another scale than it was admitted with."""
    graph = make_graph()
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    for _ in range(3):
        graph.scene()
    graph.runtime.break_answer = wordy
    place = marked((80.0, 60.0, "A"))
    values = []
    for name, ask in doors(graph):
        for length in (2.0, 4.0):
            graph.runtime.ask_gate.clear()
            before = len(graph.runtime.queries)
            if name == "service":
                request = SpatialQuery.Request(question="How deep is A?", marks=place)
                waiting = graph.send(SpatialQuery, "/g2vlm/query", request)
            else:
                asker = Asker(graph)
                waiting = asker.send("How deep is A?", marks=place)
            graph.wait(lambda n=before: len(graph.runtime.queries) > n, "the question in work")
            two = marked((40.0, 60.0, "P"), (120.0, 60.0, "Q"))
            told = graph.call(
                SetScale, "/g2vlm/set_scale", SetScale.Request(marks=two, length=length)
            )
            assert told.is_metric, told.message
            graph.runtime.ask_gate.set()
            if name == "service":
                graph.wait(waiting.done, "its answer")
                answer = waiting.result().answer
            else:
                answer = asker.result(waiting)[1]
                asker.close()
            assert (answer.status, answer.unit, answer.is_metric) == (Answer.OK, "m", True)
            assert answer.header.frame_id == "camera_optical"
            values.append(answer.value)
        del ask
    assert values[1] == pytest.approx(2 * values[0], rel=1e-3)
    assert values[3] == pytest.approx(2 * values[2], rel=1e-3)


def test_a_map_that_is_loaded_meanwhile_cancels_what_is_open(
    make_graph: Make, tmp_path: Path
) -> None:
    graph = make_graph()
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    for _ in range(3):
        graph.scene()
    path = str(tmp_path / "kept.g2map")
    saved = graph.call(SaveMap, "/g2vlm/save_map", SaveMap.Request(path=path))
    assert saved.success, saved.message
    graph.runtime.ask_gate.clear()
    asker = Asker(graph)
    goals = [asker.send("How far is the wall?") for _ in range(2)]
    request = SpatialQuery.Request(question="How far is the wall?")
    asked = graph.send(SpatialQuery, "/g2vlm/query", request)
    graph.status(lambda status: status.queries_waiting == 2)
    loaded = graph.call(LoadMap, "/g2vlm/load_map", LoadMap.Request(path=saved.path))
    assert loaded.success, loaded.message
    graph.wait(asked.done, "the service's answer")
    answers = [asked.result().answer, *(asker.result(sent)[1] for sent in goals)]
    assert {answer.status for answer in answers} == {Answer.CANCELLED}
    assert {answer.message for answer in answers} == {loaded.message}
    asker.close()
    graph.runtime.ask_gate.set()
    scenes = graph.board.scenes
    for _ in range(3):
        graph.good_image()
    graph.wait(lambda: graph.board.scenes > scenes, "a scene in the map that was loaded", 30.0)
    assert graph.ask().status == Answer.OK


def test_two_nodes_of_one_name_are_told(make_graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both answer; the asker hears one answer, and the status says that it is chance whose."""
    monkeypatch.setattr(active, "TWINS_S", 0.0)
    first = make_graph()
    first.listen("status")
    first.start()
    first.scene()
    assert not any("NAME_TAKEN" in s.reason_codes for s in first.statuses)
    second = make_graph()  # its services, also those of its lifecycle, are the first one's too
    status = first.codes("NAME_TAKEN")
    (text,) = [
        t
        for c, t in zip(status.reason_codes, status.reason_texts, strict=True)
        if c == "NAME_TAKEN"
    ]
    assert "1 more called /g2vlm" in text
    answer = first.ask()
    assert answer.status in (Answer.OK, Answer.NO_SCENE)  # the other one has no scene
    second.close()
    first.codes("NAME_TAKEN", present=False)


def test_deadlines_are_the_walls_whatever_sim_time_does(make_graph: Make) -> None:
    """use_sim_time: no /clock, one that stands, one that leaps; answers and deadlines go on."""
    graph = make_graph(use_sim_time=True)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.scene()
    clock = graph.client.create_publisher(Clock, "/clock", 10)
    for now_s in (0, 50, 50, 100_000, 7):
        if now_s:
            graph.wait(clock.get_subscription_count, "a listener to the clock")
            clock.publish(Clock(clock=Time(sec=now_s)))
        for _, ask in doors(graph):
            assert ask("How far is the wall?").status == Answer.OK
            graph.runtime.ask_gate.clear()
            started = time.monotonic()
            late = ask("How far is the wall?", timeout_s=0.3)
            assert late.status == Answer.TIMEOUT
            assert 0.25 < time.monotonic() - started < 5.0
            graph.runtime.ask_gate.set()
