# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The line of questions: earliest deadline first, hopeless ones told at once, who looks on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from g2vlm_map.answers.intent import Intent, Kind
from g2vlm_map.options import QuestionOptions
from g2vlm_map.pipeline import Question
from g2vlm_map.question_line import Progress, QuestionLine, Stage, Ticket
from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerStatus, SpatialAnswer, SpatialQuery
from tests.helpers import wait_for
from tests.map.test_questions import Bench, bench

__all__ = ["bench"]  # the fixture

Make = Callable[..., Bench]


def ticket(deadline: float, kind: Kind = Kind.DEPTH, arrived: float = 0.0) -> Ticket:
    record: Any = object()  # the line looks at no scene
    query = SpatialQuery("How far is A?")
    return Ticket(query, Intent(kind), record, lambda reply: None, arrived, deadline)


def test_whoever_has_most_time_left_gives_way() -> None:
    line = QuestionLine(lambda: 3)
    rng = random.Random(4)
    deadlines = [float(value) for value in rng.sample(range(100), 20)]
    refused = []
    for deadline in deadlines:
        for gone, answer in line.put(ticket(deadline)):
            refused.append(gone.deadline)
            assert answer.status is AnswerStatus.OVERLOADED
            assert "all 3 places are taken" in answer.message
    served = [line.take().deadline for _ in range(len(line))]
    assert served == sorted(deadlines)[:3]
    assert sorted(refused) == sorted(deadlines)[3:]


def test_equal_deadlines_are_served_as_they_came() -> None:
    line = QuestionLine(lambda: 10)
    tickets = [ticket(5.0) for _ in range(6)]
    for one in tickets:
        assert line.put(one) == []
    assert [line.take() for _ in tickets] == tickets


def test_what_cannot_be_met_any_more_is_told_at_once_with_the_numbers() -> None:
    line = QuestionLine(lambda: 10)
    running = ticket(9.0)
    for seconds in (0.9, 0.5, 0.7):
        line.learn(running, seconds)
    early, late, quick = ticket(0.8), ticket(1.1), ticket(1.12, Kind.TRAVELLED)
    for one in (early, late, quick):
        assert line.put(one) == []
    # In work for 0.3 s: 0.2 more at least, then 0.5 each; without the model nothing.
    ((gone, answer),) = line.hopeless(0.0, running, 0.3)
    assert gone is late
    assert answer.status is AnswerStatus.TIMEOUT
    assert (
        "would take 1.20 s at least, behind 2 with earlier deadlines, and 1.10 s" in answer.message
    )
    assert list(line) == [early, quick]
    # Time goes by, and nothing was served.
    gone_now = [item for item, _ in line.hopeless(0.4, running, 0.7)]
    assert gone_now == [early]
    assert [item for item, _ in line.hopeless(1.12, None, 0.0)] == [quick]


def test_the_next_on_an_idle_desk_is_tried_whatever_others_took() -> None:
    """Part of an answer may be worth having."""
    line = QuestionLine(lambda: 10)
    short = ticket(0.1)
    line.learn(short, 5.0)
    line.put(short)
    assert line.hopeless(0.0, None, 0.0) == []
    ((gone, answer),) = line.hopeless(0.2, None, 0.0)
    assert gone is short
    assert "waited 0.20 s" in answer.message


def test_a_burst_is_answered_in_order_of_deadline(bench: Make) -> None:
    one = bench(query=QuestionOptions(queue=6))
    one.busy()
    times = [40.0, 12.0, 33.0, 21.0, 60.0, 15.0, 50.0, 18.0, 27.0]
    order: list[float] = []
    refused: list[float] = []

    def ask(timeout_s: float) -> None:
        def note(reply: Reply) -> None:
            ok = reply.answer.status is AnswerStatus.OK
            (order if ok else refused).append(timeout_s)

        one.pipeline.submit(Question("How far is the wall?", timeout_s=timeout_s), note)

    for timeout_s in times:
        ask(timeout_s)
    assert sorted(refused) == [40.0, 50.0, 60.0]
    one.runtime.ask_gate.set()
    wait_for(lambda: len(order) == 6, 10.0, what="six answers")
    assert order == sorted(times)[:6]


def test_slow_answers_turn_a_burst_away_that_cannot_be_met(bench: Make) -> None:
    one = bench(query=QuestionOptions(queue=20))
    pace = threading.Event()

    def slowly(answer: SpatialAnswer) -> SpatialAnswer:
        pace.wait(0.4)
        return answer

    one.runtime.break_answer = slowly
    assert one.pipeline.ask("How far is the wall?").answer.status is AnswerStatus.OK
    replies: list[Reply] = []
    for _ in range(8):
        one.pipeline.submit(Question("How far is the wall?", timeout_s=1.5), replies.append)
    # One is in work, two or three can follow: the others learn it before any answer is there.
    at_once = list(replies)
    assert len(at_once) >= 4
    assert {reply.answer.status for reply in at_once} == {AnswerStatus.TIMEOUT}
    assert all("cannot be answered in time" in reply.answer.message for reply in at_once)
    pace.set()
    wait_for(lambda: len(replies) == 8, 10.0, what="all answers")
    assert sum(reply.answer.status is AnswerStatus.OK for reply in replies) == 8 - len(at_once)


def test_whoever_looks_on_sees_each_stage_in_its_order(bench: Make) -> None:
    one = bench()
    one.busy()
    seen: list[Progress] = []
    done = threading.Event()
    one.pipeline.submit(Question("How far is the wall?", timeout_s=20.0), lambda reply: None)
    one.pipeline.submit(Question("How far is the wall?"), lambda reply: done.set(), seen.append)
    one.pipeline.submit(Question("How far is the wall?", timeout_s=10.0), lambda reply: None)
    assert [(item.stage, item.position) for item in seen] == [(Stage.QUEUED, 2), (Stage.QUEUED, 3)]
    one.runtime.ask_gate.set()
    assert done.wait(10.0)
    positions = [item.position for item in seen if item.stage is Stage.QUEUED]
    assert positions == [2, 3, 2, 1]
    rest = [(item.stage, item.text) for item in seen[4:]]
    assert rest == [(Stage.READING, ""), (Stage.ANSWERING, "2.0"), (Stage.MEASURING, "2.0")]


def test_a_question_is_cancelled_alone(bench: Make) -> None:
    one = bench()
    one.runtime.ask_gate.clear()
    replies: dict[int, Reply] = {}

    def ask(number: int) -> Callable[[], None]:
        def note(reply: Reply) -> None:
            replies[number] = reply

        return one.pipeline.submit(Question("How far is the wall?"), note)

    cancels = [ask(number) for number in range(4)]
    wait_for(lambda: len(one.runtime.queries) > 0, 10.0, what="the first in work")
    cancels[2]()
    assert replies[2].answer.status is AnswerStatus.CANCELLED
    assert replies[2].answer.message == "the asker cancelled the question"
    cancels[0]()
    wait_for(lambda: 0 in replies, 10.0, what="the end of the one in work")
    assert replies[0].answer.status is AnswerStatus.CANCELLED
    one.runtime.ask_gate.set()
    wait_for(lambda: len(replies) == 4, 10.0, what="the others")
    assert {replies[i].answer.status for i in (1, 3)} == {AnswerStatus.OK}
    for cancel in cancels:
        cancel()  # too late: nothing happens
    assert len(one.runtime.queries) == 3


def test_a_watcher_that_fails_loses_its_sight_and_nobody_the_answer(bench: Make) -> None:
    one = bench()
    seen: list[Progress] = []

    def fail(progress: Progress) -> None:
        seen.append(progress)
        raise RuntimeError("the client is gone")

    replies: list[Reply] = []
    one.pipeline.submit(Question("How far is the wall?"), replies.append, fail)
    wait_for(lambda: len(replies) == 1, 10.0, what="the answer")
    assert replies[0].answer.status is AnswerStatus.OK
    assert len(seen) == 1
