# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions without ROS: the scene they keep, deadlines, cancelling, bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from g2vlm_map.options import KeyframeOptions, PipelineOptions, QuestionOptions, SceneOptions
from g2vlm_map.pipeline import InputFrame, Mark, Pipeline, Question
from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from tests.helpers import wait_for
from tests.map.frames import NS, given
from tests.ros.scripted_runtime import ScriptedRuntime

EVERY = KeyframeOptions(min_motion=0.0, min_interval_s=0.0, max_interval_s=0.0)


class Bench:
    """A pipeline with scenes, and questions that wait for the model."""

    def __init__(self, **options: Any) -> None:
        self.runtime = ScriptedRuntime()
        self.pipeline = Pipeline(self.runtime, PipelineOptions(keyframe=EVERY, **options))
        self.pipeline.start()
        self.stamp_s = 10.0
        self.replies: list[Reply] = []
        self.scenes(2)

    def scenes(self, frames: int) -> None:
        for _ in range(frames):
            self.stamp_s += 0.1
            self.pipeline.add(given(self.stamp_s))
            assert self.pipeline.wait(10.0)

    def busy(self) -> None:
        """Let the model be busy with a question."""
        self.runtime.ask_gate.clear()
        self.pipeline.submit(Question("How far is the wall?"), self.replies.append)
        wait_for(lambda: len(self.runtime.queries) > 0, 10.0, what="a question in work")


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        one.runtime.ask_gate.set()
        one.pipeline.stop()


Make = Callable[..., Bench]


def test_a_blocking_question(bench: Make) -> None:
    one = bench()
    reply = one.pipeline.ask("How far is A?", marks=[Mark(3.0, 4.0, "A")])
    assert reply.answer.status == AnswerStatus.OK
    assert reply.answer.value == pytest.approx(2.0)
    assert reply.record is one.pipeline.scene
    (mark,) = one.runtime.queries[-1].marks
    assert (mark.frame_index, mark.u, mark.v, mark.label) == (1, 3.0, 4.0, "A")
    now = one.pipeline.snapshot()
    assert (now.questions_received, now.questions_answered, now.questions_rejected) == (1, 1, 0)


@pytest.mark.parametrize("by_stamp", [False, True])
def test_a_question_that_waits_keeps_its_scene(bench: Make, by_stamp: bool) -> None:
    """Its marks lie in the frames that were the newest when it was asked."""
    one = bench(scenes=SceneOptions(keep=1))
    one.busy()
    asked_about = one.pipeline.scene
    assert asked_about is not None
    stamp_ns = asked_about.stamp_ns if by_stamp else 0
    marked = Question("How far is A?", (Mark(5.0, 6.0, "A", stamp_ns=stamp_ns),), (), stamp_ns)
    one.pipeline.submit(marked, one.replies.append)
    one.scenes(5)
    assert one.pipeline.scene is not asked_about
    assert not asked_about.scene.closed  # type: ignore[attr-defined]
    one.runtime.ask_gate.set()
    wait_for(lambda: len(one.replies) == 2, 10.0, what="both answers")
    assert one.replies[1].answer.status == AnswerStatus.OK
    assert one.replies[1].record is asked_about
    assert one.runtime.queries[1].marks[0].frame_index == asked_about.newest
    wait_for(lambda: asked_about.scene.closed, 10.0, what="its end")  # type: ignore[attr-defined]


def test_questions_hold_a_bounded_number_of_scenes(bench: Make) -> None:
    one = bench(scenes=SceneOptions(keep=1))
    one.busy()
    one.scenes(1)
    one.pipeline.submit(Question("How far is the wall?"), one.replies.append)
    assert one.replies[0].answer.status == AnswerStatus.OVERLOADED
    assert "hold 1 earlier scenes open" in one.replies[0].answer.message
    assert sum(not scene.closed for scene in one.runtime.scenes) == 2


def test_every_question_is_answered_once(bench: Make) -> None:
    one = bench(query=QuestionOptions(queue=2))
    one.busy()
    for _ in range(5):
        one.pipeline.submit(Question("How far is the wall?"), one.replies.append)
    assert [reply.answer.status for reply in one.replies] == [AnswerStatus.OVERLOADED] * 3
    assert one.pipeline.snapshot().questions_waiting == 2
    one.pipeline.reset("the map is new")
    wait_for(lambda: len(one.replies) == 6, 10.0, what="all answers")
    assert [reply.answer.status for reply in one.replies[3:]] == [AnswerStatus.CANCELLED] * 3
    assert all(scene.closed for scene in one.runtime.scenes)
    now = one.pipeline.snapshot()
    assert (now.questions_received, now.questions_rejected) == (6, 6)


@pytest.mark.alone
def test_a_deadline_comes_while_the_model_is_busy_with_another(bench: Make) -> None:
    one = bench()
    one.busy()
    started = time.monotonic()
    reply = one.pipeline.ask(Question("How far is the wall?", timeout_s=0.2))
    assert reply.answer.status == AnswerStatus.TIMEOUT
    assert time.monotonic() - started < 2.0
    assert reply.queue_ms == pytest.approx(200.0, abs=1000.0)


def test_stop_answers_and_what_comes_later_is_answered_too(bench: Make) -> None:
    one = bench()
    one.busy()
    one.pipeline.stop("the robot sleeps")
    assert one.replies[0].answer.status == AnswerStatus.CANCELLED
    late = one.pipeline.ask("And now?").answer
    assert (late.status, late.message) == (AnswerStatus.CANCELLED, "the robot sleeps")
    assert not [t for t in threading.enumerate() if t.name.startswith("g2vlm-")]


def test_without_a_scene_and_malformed() -> None:
    pipeline = Pipeline(ScriptedRuntime())
    assert pipeline.ask("How far?").answer.status == AnswerStatus.CANCELLED
    with pipeline:
        assert pipeline.ask("How far?").answer.status == AnswerStatus.NO_SCENE
        assert pipeline.ask(" ").answer.status == AnswerStatus.REJECTED
    assert pipeline.scene is None


def test_an_earlier_scene_by_its_stamp(bench: Make) -> None:
    one = bench()
    earlier = one.pipeline.scene
    assert earlier is not None
    one.scenes(1)
    assert (
        one.pipeline.ask(Question("How far is the wall?", stamp_ns=earlier.stamp_ns)).record
        is earlier
    )
    unknown = one.pipeline.ask(Question("How far is the wall?", stamp_ns=3 * NS)).answer
    assert unknown.status == AnswerStatus.REJECTED
    assert "no scene has stamp 3000000000 ns" in unknown.message


@pytest.mark.parametrize(
    ("text", "marks", "helps"),
    [
        ("What is the capital of France?", (), "not understood"),
        ("Wie weit ist A entfernt?", (Mark(3.0, 4.0, "A"),), "in English"),
        ("How far is B?", (Mark(3.0, 4.0, "A"),), "no mark is called B: mark it"),
        ("How far is it?", (), "which one? mark it"),
        ("What is this?", (), "which one? mark it"),
        ("How far did the camera move from frame 1 to frame 7?", (), "frame 7 is not in the scene"),
        ("Which mark is nearest?", (Mark(3.0, 4.0, "A"),), "mark the places"),
    ],
)
def test_what_cannot_be_answered_says_what_would_help(
    bench: Make, text: str, marks: tuple[Mark, ...], helps: str
) -> None:
    one = bench(query=QuestionOptions(queue=1))
    answer = one.pipeline.ask(text, marks=marks).answer
    assert answer.status is AnswerStatus.UNSUPPORTED
    assert helps in answer.message
    assert not one.runtime.queries  # the model was not asked
    assert one.pipeline.scene is not None
    assert one.pipeline.snapshot().questions_rejected == 1


def test_a_question_that_is_not_understood_can_be_asked_all_the_same(bench: Make) -> None:
    one = bench(query=QuestionOptions(free_text=True))
    assert one.pipeline.ask("Describe the scene.").answer.status is AnswerStatus.OK
    assert one.runtime.queries[-1].question == "Describe the scene."


@pytest.mark.parametrize(
    ("text", "said", "fits"),
    [
        ("Is there a door?", "2", False),
        ("Is there a door?", "no", True),
        ("How high is the table?", "bin", False),
        ("How many chairs are there?", "2.5 m", False),
        ("How many chairs are there?", "3", True),
        ("What colour is the sofa?", "left", False),
        ("How far is the wall?", "12 degrees", False),
        ("How far is the wall?", "1.2 m", True),
    ],
)
def test_words_of_another_kind_are_no_answer(bench: Make, text: str, said: str, fits: bool) -> None:
    one = bench()
    one.runtime.break_answer = lambda answer: SpatialAnswer(
        AnswerStatus.OK, text=said, confidence=0.9
    )
    answer = one.pipeline.ask(text).answer
    assert answer.status is (AnswerStatus.OK if fits else AnswerStatus.UNSUPPORTED)
    assert answer.text == said
    assert fits or "answers no question of this kind" in answer.message


def test_a_dark_picture_is_not_asked_about(bench: Make) -> None:
    one = bench()
    one.stamp_s += 0.1
    night = np.random.default_rng(0).integers(0, 6, (120, 160, 3), np.uint8)  # noise of a sensor
    one.pipeline.add(InputFrame(night, round(one.stamp_s * NS)))
    assert one.pipeline.wait(10.0)
    answer = one.pipeline.ask("How far is the wall?").answer
    assert answer.status is AnswerStatus.UNSUPPORTED
    assert "the picture is dark" in answer.message
