# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions over the wire: structured answers, units, deadlines, cancelling."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.msg import SpatialAnswer as Answer
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_map.answers.asked import MapPose, Question, Recalled, Reply
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from g2vlm_ros import messages
from tests.ros.graph import image_message, picture

Make = Callable[..., Any]
NS = 1_000_000_000

WALL = "How far is the wall?"


def as_time(stamp_ns: int) -> Any:
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)


def test_answer_is_structured(graph: Any) -> None:
    graph.scene()
    answer = graph.ask(max_tokens=7, reason="geometry")
    assert answer.status == Answer.OK
    assert (answer.text, answer.has_value, answer.unit) == ("2.0", True, "scene_unit")
    assert answer.value == pytest.approx(2.0, rel=1e-3)  # depth in half floats
    assert not answer.is_metric
    assert answer.header.frame_id == "camera_optical_up_to_scale"
    assert answer.header.stamp == as_time(graph.stamp_ns)
    assert list(answer.labels) == ["wall"]
    assert answer.model_id == "scripted-0"
    assert graph.runtime.queries[-1].max_tokens == 7
    assert graph.runtime.queries[-1].reason == "geometry"
    status = graph.status(lambda s: s.queries_answered == 1)
    assert (status.queries_received, status.queries_rejected) == (1, 0)


def test_lengths_are_in_map_units_and_points_in_the_newest_camera(graph: Any) -> None:
    graph.runtime.scales = [1.0, 2.0]
    graph.scene()
    graph.scene()
    answer = graph.ask()
    # The second window's scene unit is half of the segment's; keyframes keep depth in half floats.
    assert answer.value == pytest.approx(1.0, rel=1e-3)
    newest = graph.runtime.scenes[-1].geometry.T_world_cam[-1]
    point = answer.points[0]
    assert point.x == pytest.approx(-newest[0, 3] / 2.0, rel=1e-3)
    assert point.z == pytest.approx(1.0, rel=1e-4)


def test_points_in_metres_stand_in_the_frame_of_metres(make_graph: Make) -> None:
    graph = make_graph(scale__fixed=1.5)
    graph.start()
    graph.publisher("/camera/image_raw")
    for _ in range(3):
        graph.scene()
    answer = graph.ask()
    assert answer.is_metric
    assert answer.header.frame_id == "camera_optical"
    assert answer.points[0].z == pytest.approx(1.5 * 2.0, rel=1e-3)


def test_marks_become_frame_indices(graph: Any) -> None:
    first = graph.good_image()
    graph.good_image()
    graph.wait(lambda: graph.board.scenes == 1, "a scene")
    marks = [
        PixelMark(stamp=as_time(first), u=3.0, v=4.0, label="A"),
        PixelMark(camera="camera", u=159.4, v=-0.4, label="B"),
    ]
    assert graph.ask(marks=marks).status == Answer.OK
    seen = graph.runtime.queries[-1].marks
    assert [(m.frame_index, m.u, m.v, m.label) for m in seen] == [
        (0, 3.0, 4.0, "A"),
        (1, 159.4, -0.4, "B"),
    ]


def test_cameras_of_a_question_restrict_its_marks(make_graph: Make) -> None:
    """The scene is that of all cameras, as the service's text says."""
    graph = make_graph(cameras=["left", "right"])
    graph.listen("status")
    graph.start()
    for name in ("left", "right"):
        graph.publisher(f"/{name}/image_raw")
    for _ in range(2):
        graph.stamp_ns += NS // 10
        graph.shift += 12
        for name in ("left", "right"):
            message = image_message(picture(graph.shift), graph.stamp_ns, name)
            graph.publish(message, f"/{name}/image_raw")
    graph.wait(lambda: graph.board.scenes == 1, "a scene")
    assert graph.ask(cameras=["right"], marks=[PixelMark(u=3.0, v=4.0)]).status == Answer.OK
    (mark,) = graph.runtime.queries[-1].marks
    frames = graph.runtime.windows[-1].frames
    assert frames[mark.frame_index].camera == "right"
    assert {frame.camera for frame in frames} == {"left", "right"}
    refused = graph.ask(cameras=["right"], marks=[PixelMark(camera="left", u=3.0, v=4.0)])
    assert refused.status == Answer.REJECTED
    assert "outside of `cameras`" in refused.message


def test_earlier_scene_by_stamp(make_graph: Make) -> None:
    graph = make_graph(scenes__keep=2)
    graph.listen("status")
    graph.start()
    stamps = []
    for _ in range(3):
        graph.scene()
        stamps.append(graph.stamp_ns)
    answer = graph.ask(stamp=as_time(stamps[1]))
    assert answer.status == Answer.OK
    assert answer.header.stamp == as_time(stamps[1])
    assert graph.ask(stamp=as_time(stamps[0])).status == Answer.REJECTED
    assert [scene.closed for scene in graph.runtime.scenes] == [True, False, False]


def test_a_scope_that_there_is_not_is_refused(graph: Any) -> None:
    graph.scene()
    answer = graph.ask(scope=7)
    assert answer.status == Answer.REJECTED
    assert "scope is 7" in answer.message


def test_the_map_is_asked_for_the_way_back(graph: Any) -> None:
    """The scripted camera goes straight on, so the start lies behind it."""
    stamps = []
    for _ in range(3):
        graph.scene()
        stamps.append(graph.stamp_ns)
    answer = graph.ask("How do I get back to the start?", scope=SpatialQuery.Request.MAP)
    assert answer.status == Answer.OK, answer.message
    assert (answer.kind, answer.unit, answer.source) == (
        *("return", "scene_unit", Answer.SOURCE_GEOMETRY),
    )
    assert answer.header.frame_id == "g2vlm_map_up_to_scale"
    assert answer.header.stamp == as_time(stamps[-1])
    start, here = (pose.pose.position for pose in answer.poses)
    assert answer.poses[1].header == answer.header
    away = math.dist((start.x, start.y, start.z), (here.x, here.y, here.z))
    assert answer.value == pytest.approx(away, rel=1e-6)
    assert away > 0
    eyes = graph.ask("Is there a chair?", scope=SpatialQuery.Request.MAP)
    assert eyes.header.frame_id == "g2vlm_map_up_to_scale"


def test_an_answer_about_the_map_stands_in_the_maps_frame() -> None:
    T = np.eye(4)
    T[:3, 3] = (1.0, 2.0, 0.5)
    recalled = Recalled(9 * NS, (MapPose(4 * NS, T),))
    for is_metric, frame in ((True, "map"), (False, "map_up_to_scale")):
        answer = SpatialAnswer(AnswerStatus.OK, is_metric=is_metric)
        message = messages.answer_message(Reply(answer, None, 0.0, recalled), "map")
        assert (message.header.frame_id, message.header.stamp) == (frame, as_time(9 * NS))
        (pose,) = message.poses
        assert (pose.header.frame_id, pose.header.stamp) == (frame, as_time(4 * NS))
        place = pose.pose.position
        assert (place.x, place.y, place.z, pose.pose.orientation.w) == (1.0, 2.0, 0.5, 1.0)


@pytest.mark.alone
def test_deadline(graph: Any) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    ask = [
        graph.send(SpatialQuery, "/g2vlm/query", SpatialQuery.Request(question=WALL, timeout_s=t))
        for t in (1.0, 0.3)
    ]
    started = time.monotonic()
    graph.wait(ask[1].done, "the waiting question's timeout")
    assert time.monotonic() - started < 0.8  # not only after the one before it
    assert ask[1].result().answer.status == Answer.TIMEOUT
    graph.wait(ask[0].done, "the asked question's timeout")
    answer = ask[0].result().answer
    assert answer.status == Answer.TIMEOUT
    assert answer.text == "2."  # what was ready


@pytest.mark.parametrize("how", ["reset", "deactivate"])
def test_open_questions_are_cancelled(graph: Any, how: str) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    requests = [SpatialQuery.Request(question=WALL + " " * i) for i in range(3)]
    futures = [graph.send(SpatialQuery, "/g2vlm/query", request) for request in requests]
    graph.wait(lambda: graph.runtime.queries, "one in work")
    graph.status(lambda status: status.queries_waiting == 2)
    getattr(graph, how)()
    graph.wait(lambda: all(future.done() for future in futures), "three answers")
    assert [f.result().answer.status for f in futures] == [Answer.CANCELLED] * 3


def test_a_failing_runtime_does_not_end_the_node(graph: Any) -> None:
    graph.scene()
    graph.runtime.ask_error = RuntimeError("the device is gone")
    answer = graph.ask()
    assert answer.status == Answer.FAILED
    assert "the device is gone" in answer.message
    graph.codes("RUNTIME_FAILED")
    graph.runtime.ask_error = None
    assert graph.ask().status == Answer.OK


def test_an_answer_that_fits_no_message_is_a_failure(graph: Any) -> None:
    graph.scene()
    graph.runtime.break_answer = lambda answer: dataclasses.replace(answer, prefill_ms=None)
    answer = graph.ask()
    assert answer.status == Answer.FAILED
    assert "cannot be sent" in answer.message
    graph.runtime.break_answer = None
    assert graph.ask().status == Answer.OK


def test_an_answer_that_nobody_takes_does_not_end_the_desk(graph: Any) -> None:
    graph.scene()
    tries: list[Reply] = []

    def gone(reply: Reply) -> None:
        tries.append(reply)
        raise RuntimeError("the client is gone")

    graph.node.pipeline.submit(Question("How far is the wall?"), gone)
    graph.wait(lambda: len(tries) == 2, "the answer and the word that it failed")
    assert tries[1].answer.status == Answer.FAILED
    assert graph.ask().status == Answer.OK


def test_an_open_question_costs_the_executor_nothing(make_graph: Make) -> None:
    graph = make_graph(status__period_s=0.1)
    graph.listen("status")
    graph.start()
    graph.scene()
    graph.runtime.ask_gate.clear()
    future = graph.send(SpatialQuery, "/g2vlm/query", SpatialQuery.Request(question=WALL))
    graph.wait(lambda: graph.runtime.queries, "the question's arrival")
    graph.status()
    before, timers = graph.rounds, 0
    for _ in range(5):
        graph.status()
        timers += 1
    rounds = graph.rounds - before
    assert rounds < 20 * timers, f"{rounds} rounds of the executor for {timers} timers"
    graph.runtime.ask_gate.set()
    graph.wait(future.done, "the answer")


@pytest.mark.alone
def test_an_answer_leaves_at_once(make_graph: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """It wakes an executor that nothing else would wake before the test is over."""
    graph = make_graph(spin_s=60.0, status__period_s=60.0)
    graph.start()
    graph.scene()
    sent: list[float] = []

    def note(answer: SpatialAnswer) -> SpatialAnswer:
        sent.append(time.monotonic())
        return answer

    graph.runtime.break_answer = note
    delays_ms = []
    for _ in range(30):
        assert graph.ask(timeout_s=30.0).status == Answer.OK
        delays_ms.append(1e3 * (time.monotonic() - sent[-1]))
    with capsys.disabled():
        print(f" [{statistics.median(delays_ms):.1f} ms from the desk to the client] ", end="")


def test_a_hundred_questions_at_once_are_all_answered(graph: Any) -> None:
    """Beyond `query.queue` they are turned away, also around deactivate and cleanup."""
    graph.scene()
    graph.runtime.ask_gate.clear()
    name = "/g2vlm/query"
    client = graph.client.create_client(SpatialQuery, name, qos_profile=QoSProfile(depth=500))
    graph.wait(client.service_is_ready, "the service")

    def ask(count: int) -> list[Any]:
        return [
            client.call_async(SpatialQuery.Request(question=WALL + " " * i)) for i in range(count)
        ]

    def statuses(futures: list[Any]) -> list[int]:
        graph.wait(lambda: all(future.done() for future in futures), "every answer", 20.0)
        return [future.result().answer.status for future in futures]

    futures = ask(100)
    graph.wait(lambda: sum(future.done() for future in futures) >= 90, "those turned away")
    graph.runtime.ask_gate.set()
    found = statuses(futures)
    assert found.count(Answer.OVERLOADED) >= 90 - 2
    assert set(found) <= {Answer.OK, Answer.OVERLOADED}
    graph.runtime.ask_gate.clear()
    futures = ask(20)
    assert graph.deactivate()
    futures += ask(20)
    assert graph.cleanup()
    futures += ask(20)
    assert graph.configure()
    assert graph.activate()
    futures += ask(20)
    graph.runtime.ask_gate.set()
    assert len(statuses(futures)) == 80
    graph.client.destroy_client(client)
