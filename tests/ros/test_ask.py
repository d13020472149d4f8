# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The action `~/ask`: stages, cancelling, lifecycle, memory, and that geometry goes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from rclpy.action import ActionClient
from rclpy.serialization import serialize_message

from g2vlm_interfaces.action import Ask
from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.msg import SpatialAnswer as Answer
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from g2vlm_ros import asking
from tests.helpers import wait_for

Make = Callable[..., Any]
WALL = "How far is the wall?"


class Asker:
    """Sends goals to a graph's node and keeps what comes of them."""

    def __init__(self, graph: Any, name: str = "/g2vlm/ask") -> None:
        self._graph = graph
        self.client = ActionClient(graph.client, Ask, name)
        graph.wait(self.client.server_is_ready, "the action")

    def send(self, question: str = WALL, **fields: Any) -> Sent:
        """Send a goal; it is accepted when this returns."""
        goal = Ask.Goal(question=question, **fields)
        sent = Sent()
        future = self.client.send_goal_async(goal, feedback_callback=sent.feedback)
        self._graph.wait(future.done, "the goal's acceptance")
        sent.handle = future.result()
        assert sent.handle.accepted
        sent.result = sent.handle.get_result_async()
        return sent

    def result(self, sent: Sent, timeout_s: float = 15.0) -> tuple[int, Any]:
        """Status and answer of a goal."""
        self._graph.wait(sent.result.done, "the goal's result", timeout_s)
        response = sent.result.result()
        return response.status, response.result.answer

    def close(self) -> None:
        if self.client is not None:
            self.client.destroy()
        self.client = None


class Sent:
    """A goal on its way."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.result: Any = None
        self.heard: list[Any] = []

    def feedback(self, message: Any) -> None:
        self.heard.append(message.feedback)


@pytest.fixture
def make_asker() -> Iterator[Callable[[Any], Asker]]:
    made: list[Asker] = []

    def make(graph: Any) -> Asker:
        made.append(Asker(graph))
        return made[-1]

    yield make
    for asker in made:
        asker.close()


@pytest.fixture
def asker(graph: Any) -> Iterator[Asker]:
    made = Asker(graph)
    yield made
    made.close()


def test_a_goal_gets_the_services_answer(graph: Any, asker: Asker) -> None:
    graph.scene()
    marks = [PixelMark(u=3.0, v=4.0, label="A")]
    status, answer = asker.result(asker.send("How deep is A?", marks=marks, reason="geometry"))
    assert status == GoalStatus.STATUS_SUCCEEDED
    expected = graph.ask("How deep is A?", marks=marks)
    for message in (answer, expected):
        message.queue_ms = message.prefill_ms = message.decode_ms = 0.0
    assert serialize_message(answer) == serialize_message(expected)
    assert [len(query.marks) for query in graph.runtime.queries] == [1, 1]
    assert [query.reason for query in graph.runtime.queries] == ["geometry", "off"]
    assert graph.status(lambda s: s.queries_answered == 2).queries_received == 2


def test_feedback_says_stage_position_and_text(graph: Any, asker: Asker) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    first = asker.send()
    graph.wait(lambda: graph.runtime.queries, "one in work")
    second = asker.send(timeout_s=20.0)
    graph.wait(lambda: second.heard, "the place in the line")
    assert (second.heard[0].stage, second.heard[0].position) == (Ask.Feedback.QUEUED, 1)
    third = asker.send(timeout_s=10.0)
    graph.wait(lambda: len(second.heard) == 2, "the new place")
    assert second.heard[1].position == 2
    written = threading.Event()

    def when_it_was_heard(answer: SpatialAnswer) -> SpatialAnswer:
        assert len(graph.runtime.queries) < 3 or written.wait(10.0)
        return answer

    graph.runtime.break_answer = when_it_was_heard
    graph.runtime.ask_gate.set()
    graph.wait(lambda: second.heard[-1].stage == Ask.Feedback.ANSWERING, "its words")
    written.set()
    for sent in (first, second, third):
        assert asker.result(sent)[0] == GoalStatus.STATUS_SUCCEEDED
    # What is told right before the result may come behind it, and goes unheard then.
    stages = [item.stage for item in second.heard]
    assert {Ask.Feedback.READING, Ask.Feedback.ANSWERING} < set(stages)
    assert stages == sorted(stages)
    assert [item.text for item in second.heard if item.stage == Ask.Feedback.ANSWERING] == ["2.0"]


def test_cancelling_ends_one_goal_and_no_other(graph: Any, asker: Asker) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    goals = [asker.send() for _ in range(3)]
    graph.wait(lambda: graph.runtime.queries, "one in work")
    for index in (2, 0):  # one that waits, and the one in work
        future = goals[index].handle.cancel_goal_async()
        graph.wait(future.done, "the word on the cancelling")
        assert len(future.result().goals_canceling) == 1
        status, answer = asker.result(goals[index])
        assert (status, answer.status) == (GoalStatus.STATUS_CANCELED, Answer.CANCELLED)
        assert answer.message == "the asker cancelled the question"
    graph.runtime.ask_gate.set()
    assert asker.result(goals[1])[0] == GoalStatus.STATUS_SUCCEEDED
    late = goals[1].handle.cancel_goal_async()
    graph.wait(late.done, "the word on the late cancelling")
    assert not late.result().goals_canceling


def test_while_inactive_a_goal_is_told_why(make_graph: Make, make_asker: Any) -> None:
    graph = make_graph()
    asker = make_asker(graph)
    for step in (lambda: None, graph.configure):
        step()
        status, answer = asker.result(asker.send())
        assert (status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.NO_SCENE)
        assert answer.message == "the node is inactive; activate it"


@pytest.mark.parametrize("how", ["reset", "deactivate", "cleanup", "shutdown"])
def test_goals_in_flight_get_their_result_once(graph: Any, asker: Asker, how: str) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    goals = [asker.send() for _ in range(5)]
    asked = graph.send(SpatialQuery, "/g2vlm/query", SpatialQuery.Request(question=WALL))
    graph.status(lambda status: status.queries_waiting == 5)
    if how == "shutdown":
        assert graph.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    elif how == "cleanup":
        assert graph.deactivate()
        assert graph.cleanup()
    else:
        getattr(graph, how)()
    for sent in goals:
        status, answer = asker.result(sent)
        assert (status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.CANCELLED)
    graph.wait(asked.done, "the service's answer too")
    assert asked.result().answer.status == Answer.CANCELLED
    assert graph.node.open_questions == 0


def test_service_and_action_share_one_line(make_graph: Make, make_asker: Any) -> None:
    graph = make_graph(query__queue=3)
    graph.listen("status")
    graph.start()
    asker = make_asker(graph)
    graph.scene()
    graph.runtime.ask_gate.clear()
    asker.send(timeout_s=60.0)
    graph.wait(lambda: graph.runtime.queries, "one in work")
    request = SpatialQuery.Request(question=WALL, timeout_s=30.0)
    asked = graph.send(SpatialQuery, "/g2vlm/query", request)
    graph.status(lambda status: status.queries_waiting == 1)
    waiting = [asker.send(timeout_s=seconds) for seconds in (20.0, 40.0)]
    graph.status(lambda status: status.queries_waiting == 3)
    late = asker.send(timeout_s=50.0)
    status, answer = asker.result(late)
    assert (status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.OVERLOADED)
    early = asker.send(timeout_s=10.0)  # whoever has most time left goes for it
    status, answer = asker.result(waiting[1])
    assert (status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.OVERLOADED)
    graph.runtime.ask_gate.set()
    for sent in (early, waiting[0]):
        assert asker.result(sent)[0] == GoalStatus.STATUS_SUCCEEDED
    graph.wait(asked.done, "the service's answer")
    assert asked.result().answer.status == Answer.OK


@pytest.mark.slow
def test_results_that_nobody_asks_for_any_more_are_forgotten(
    make_graph: Make, make_asker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking.Asking.__init__, "__defaults__", (1,))
    graph = make_graph()
    graph.start()
    asker = make_asker(graph)
    graph.scene()
    server = graph.node._asking
    most, sent = 0, 0
    deadline = time.monotonic() + 6.0
    while time.monotonic() < deadline and sent < 300:
        assert asker.result(asker.send())[0] == GoalStatus.STATUS_SUCCEEDED
        sent, most = sent + 1, max(most, server.kept_goals)
    assert sent > 20
    graph.wait(lambda: server.kept_goals == 0, "the last results' end")
    assert not server._server._result_futures
    assert not server._server._futures
    assert not server._cancels
    assert most < sent or sent < 60, f"{most} goals of {sent} were kept at once"
    # A result is there for whoever asks for it in time, and unknown afterwards.
    late = asker.send()
    assert asker.result(late)[0] == GoalStatus.STATUS_SUCCEEDED
    graph.wait(lambda: server.kept_goals == 0, "its end")
    again = late.handle.get_result_async()
    graph.wait(again.done, "what is known of a goal that is forgotten")


def test_a_client_that_goes_away_leaves_nothing_behind(graph: Any, make_asker: Any) -> None:
    graph.scene()
    graph.runtime.ask_gate.clear()
    gone = make_asker(graph)
    gone.send()
    graph.wait(lambda: graph.runtime.queries, "one in work")
    gone.close()
    graph.runtime.ask_gate.set()
    wait_for(lambda: graph.node.open_questions == 0, 10.0, what="the end of its question")
    assert graph.ask().status == Answer.OK


def test_cancelling_while_it_writes_needs_one_step(graph: Any, asker: Asker) -> None:
    """A runtime that looks at the cancellation between two tokens, as the real one does."""
    graph.scene()
    steps: list[float] = []
    started = threading.Event()

    def tokens(scene: Any, query: Any, *, on_text: Any = None, cancelled: Any = None) -> Any:
        for index in range(1000):
            if cancelled():
                return SpatialAnswer(AnswerStatus.CANCELLED, text="2." + "0" * index)
            steps.append(time.monotonic())
            on_text("2." + "0" * index)
            started.set()
            time.sleep(0.02)
        raise AssertionError("nobody cancelled it")

    graph.runtime.ask = tokens
    sent = asker.send()
    graph.wait(started.is_set, "the first token")
    graph.wait(lambda: len(sent.heard) > 3, "some text")
    before = time.monotonic()
    sent.handle.cancel_goal_async()
    status, answer = asker.result(sent)
    assert (status, answer.status) == (GoalStatus.STATUS_CANCELED, Answer.CANCELLED)
    assert answer.text.startswith("2.")
    after = [at for at in steps if at > before]
    assert len(after) <= 50, f"{len(after)} tokens were made after it was cancelled"
    texts = [item.text for item in sent.heard if item.stage == Ask.Feedback.ANSWERING]
    assert texts == sorted(texts, key=len)


def test_geometry_waits_for_one_step_of_goals_at_most(make_graph: Make, make_asker: Any) -> None:
    """The real model under several goals, while keyframes come: what its gate lets in between."""
    graph = make_graph(
        runtime="torch", device="cpu", window__size=2, window__overlap=1, query__free_text=True
    )
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    asker = make_asker(graph)
    for _ in range(2):
        graph.good_image()
    graph.wait(lambda: graph.board.scenes == 1, "a scene", 60.0)
    events: list[str] = []
    gate = graph.node.runtime._gate

    def noted(name: str, free: Callable[[], bool]) -> Callable[[], bool]:
        def asked() -> bool:
            answer = free()
            events.append(f"{name} {answer}")  # the gate is locked
            return answer

        return asked

    # Asked by whoever waits, at first and whenever something changes; True lets it in.
    gate._free_for_observation = noted("pass", gate._free_for_observation)
    gate._free_for_step = noted("step", gate._free_for_step)
    goals = [asker.send(f"How far is the wall? {'again ' * i}", max_tokens=32) for i in range(5)]
    for _ in range(4):
        scenes = graph.board.scenes
        graph.good_image()
        graph.wait(lambda before=scenes: graph.board.scenes > before, "another scene", 60.0)
    for sent in goals:
        asker.result(sent, 60.0)
    waits, between = [], -1
    for event in events:
        if event.startswith("pass"):
            between = max(between, 0)
            if event == "pass True":
                waits.append(between)
                between = -1
        elif event == "step True" and between >= 0:
            between += 1
    assert len(waits) == 4
    assert events.count("step True") > 20, "the goals kept the device busy"
    assert max(waits) <= 1, waits
