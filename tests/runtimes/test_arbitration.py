# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Observations and questions at the same time: order of events, no waiting for a whole answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from g2vlm_model.interface import AnswerStatus, Scene, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes.gate import DeviceGate

from ..helpers import wait_for
from .model_folders import window
from .spies import around, model_of

TIMEOUT_S = 30.0
QUERY = SpatialQuery("Which is closer, A or B?", max_tokens=12)


def gate_of(runtime: SpatialRuntime) -> DeviceGate:
    gate = runtime._gate  # type: ignore[attr-defined]
    assert isinstance(gate, DeviceGate)
    return gate


class Observer:
    """Starts an observation in a thread and keeps what it returns."""

    def __init__(self, runtime: SpatialRuntime, seeds: tuple[int, ...]) -> None:
        self.scene: Scene | None = None
        self.runtime = runtime
        self.seeds = seeds
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.scene = self.runtime.observe(window(*self.seeds))

    def start_and_wait_until_queued(self) -> None:
        self.thread.start()
        wait_for(lambda: gate_of(self.runtime)._urgent_waiting == 1, TIMEOUT_S)

    def join(self) -> Scene:
        self.thread.join(TIMEOUT_S)
        assert self.scene is not None
        return self.scene


def test_an_observation_waits_for_one_decode_step_only(runtime: SpatialRuntime) -> None:
    scene = runtime.observe(window(1, 2))
    alone = runtime.ask(scene, QUERY)
    events: list[str] = []
    observer = Observer(runtime, (3, 4))
    model = model_of(runtime)

    def step() -> None:
        events.append("step")
        if events.count("step") == 3:  # while the device is held by this very step
            observer.start_and_wait_until_queued()

    around(model, "decode_step", step)
    around(model, "geometry_pass", lambda: events.append("observe"))
    answer = runtime.ask(scene, QUERY)
    observer.join()
    assert events[:4] == ["step", "step", "step", "observe"]
    assert events.count("step") == 12  # the first token came with the question
    assert (answer.text, answer.confidence) == (alone.text, alone.confidence)


def test_an_observation_waits_for_one_frame_of_the_first_question_only(
    runtime: SpatialRuntime,
) -> None:
    scene = runtime.observe(window(1, 2, 3))
    events: list[str] = []
    observer = Observer(runtime, (4,))
    model = model_of(runtime)

    def encode() -> None:
        events.append("frame")
        if len(events) == 1:
            observer.start_and_wait_until_queued()

    around(model, "encode_semantic", encode)
    around(model, "prefill_images", lambda: events.append("prefill"))
    around(model, "geometry_pass", lambda: events.append("observe"))
    assert runtime.ask(scene, QUERY).tokens == 12
    observer.join()
    assert events[:3] == ["frame", "prefill", "observe"]
    assert events.count("frame") == events.count("prefill") == 3


def test_an_observation_from_a_callback_does_not_block(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2))
    scenes: list[Scene] = []

    def on_text(text: str) -> None:
        if not scenes:
            scenes.append(any_runtime.observe(window(5)))

    answer = any_runtime.ask(scene, QUERY, on_text=on_text)
    assert answer.tokens == 12
    assert scenes[0].geometry.valid.shape[0] == 1


def test_questions_about_two_scenes_take_turns(any_runtime: SpatialRuntime) -> None:
    scenes = [any_runtime.observe(window(1, 2)), any_runtime.observe(window(3, 4))]
    alone = [any_runtime.ask(scene, QUERY) for scene in scenes]
    both_started = threading.Barrier(2, timeout=TIMEOUT_S)
    answers: dict[int, Any] = {}

    def work(index: int) -> None:
        first = [True]

        def on_text(text: str) -> None:
            if first:
                first.clear()
                both_started.wait()  # neither can have ended: they run side by side

        answers[index] = any_runtime.ask(scenes[index], QUERY, on_text=on_text)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [answers[index].text for index in (0, 1)] == [answer.text for answer in alone]
    assert alone[0].confidence != alone[1].confidence


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_a_question_that_waits_for_another_one_can_end(
    any_runtime: SpatialRuntime, how: str
) -> None:
    scene = any_runtime.observe(window(1, 2))
    inside, leave = threading.Event(), threading.Event()

    def hold(text: str) -> None:
        inside.set()
        assert leave.wait(TIMEOUT_S)

    first: list[Any] = []
    thread = threading.Thread(
        target=lambda: first.append(any_runtime.ask(scene, QUERY, on_text=hold)), daemon=True
    )
    thread.start()
    assert inside.wait(TIMEOUT_S)
    if how == "cancelled":
        waiting = any_runtime.ask(scene, QUERY, cancelled=lambda: True)
        assert waiting.status is AnswerStatus.CANCELLED
    else:
        waiting = any_runtime.ask(scene, SpatialQuery("Which is closer?", max_seconds=0.05))
        assert waiting.status is AnswerStatus.TIMEOUT
    assert waiting.tokens == 0
    leave.set()
    thread.join(TIMEOUT_S)
    assert first[0].tokens == 12


def test_a_scene_closed_under_a_question_lets_it_end(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2))
    alone = any_runtime.ask(scene, QUERY)
    answer = any_runtime.ask(scene, QUERY, on_text=lambda text: scene.close())
    assert answer.text == alone.text
    with pytest.raises(ValueError, match="closed"):
        any_runtime.ask(scene, QUERY)


def test_closing_the_runtime_under_a_question_lets_it_end(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2))
    alone = any_runtime.ask(scene, QUERY)
    answer = any_runtime.ask(scene, QUERY, on_text=lambda text: any_runtime.close())
    assert answer.text == alone.text
