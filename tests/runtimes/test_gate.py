# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns on the device, checked by the order of events and not by the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from g2vlm_model.runtimes.gate import DeviceGate

from ..helpers import wait_for

TIMEOUT_S = 20.0


class Actors:
    """Threads whose work on the gate starts and ends when the test says so."""

    def __init__(self) -> None:
        self.gate = DeviceGate()
        self.events: list[str] = []
        self.release: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def start(self, name: str, observation: bool) -> None:
        self.release[name] = threading.Event()
        holder = self.gate.observation if observation else self.gate.step

        def work() -> None:
            with holder():
                self.events.append(name)
                assert self.release[name].wait(TIMEOUT_S)

        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def until(self, predicate: Callable[[], bool]) -> None:
        wait_for(predicate, TIMEOUT_S)

    def waiting(self, steps: int, observations: int) -> None:
        gate = self.gate
        self.until(lambda: (gate._steps_waiting, gate._urgent_waiting) == (steps, observations))

    def finish(self, name: str) -> None:
        self.until(lambda: name in self.events)
        self.release[name].set()


@pytest.fixture
def actors() -> Iterator[Actors]:
    actors = Actors()
    yield actors
    for event in actors.release.values():
        event.set()
    for thread in actors.threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_an_observation_goes_before_steps_that_wait_longer(actors: Actors) -> None:
    actors.start("step 1", observation=False)
    actors.until(lambda: actors.events == ["step 1"])
    actors.start("step 2", observation=False)
    actors.waiting(1, 0)
    actors.start("observation", observation=True)
    actors.waiting(1, 1)
    actors.finish("step 1")
    actors.until(lambda: len(actors.events) == 2)
    assert actors.events == ["step 1", "observation"]


def test_only_one_holds_the_device(actors: Actors) -> None:
    actors.start("observation 1", observation=True)
    actors.until(lambda: bool(actors.events))
    actors.start("observation 2", observation=True)
    actors.start("step", observation=False)
    actors.waiting(1, 1)
    assert actors.events == ["observation 1"]


def test_observations_in_a_row_let_one_step_through(actors: Actors) -> None:
    actors.start("observation 1", observation=True)
    actors.until(lambda: bool(actors.events))
    for name in ("step 1", "step 2"):
        actors.start(name, observation=False)
    actors.waiting(2, 0)
    actors.start("observation 2", observation=True)
    actors.waiting(2, 1)
    actors.finish("observation 1")
    actors.until(lambda: len(actors.events) == 2)
    assert actors.events[1].startswith("step")
    actors.finish(actors.events[1])
    actors.until(lambda: len(actors.events) == 3)
    assert actors.events[2] == "observation 2"


def test_work_that_fails_gives_the_device_back() -> None:
    gate = DeviceGate()
    with pytest.raises(ZeroDivisionError), gate.observation():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), gate.step():
        raise ZeroDivisionError
    with gate.step():
        pass
    with gate.observation():
        pass
