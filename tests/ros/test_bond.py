# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The bond with a lifecycle manager, with a stand-in for Nav2's."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
TIMEOUT_S = 0.5


class Manager:
    """The manager's end: says that it is there, and looks at the node's heartbeats.

    Args:
        graph: Its client node speaks for the manager.
    """

    def __init__(self, graph: Any) -> None:
        from bond.msg import Status

        self._graph, self._type = graph, Status
        self._own = str(uuid.uuid4())
        self.speaks = True
        self.heard: list[tuple[float, Any]] = []
        self._publisher = graph.client.create_publisher(Status, "/bond", 5)
        graph.client.create_subscription(Status, "/bond", self._take, 100)
        graph.client.create_timer(0.1, self._beat)

    def _beat(self) -> None:
        if self.speaks:
            self.say(active=True)

    def _take(self, message: Any) -> None:
        if message.instance_id != self._own:
            self.heard.append((time.monotonic(), message))

    def say(self, *, active: bool) -> None:
        self._publisher.publish(self._type(
            id="g2vlm", instance_id=self._own, active=active, heartbeat_timeout=TIMEOUT_S,
            heartbeat_period=0.1,
        ))  # fmt: skip

    @property
    def active(self) -> list[Any]:
        return [message for _, message in self.heard if message.active]

    @property
    def left(self) -> list[Any]:
        return [message for _, message in self.heard if not message.active]

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self.heard[-1][0]

    def wait_formed(self, beats: int = 5) -> None:
        before = len(self.active)
        self._graph.wait(lambda: len(self.active) >= before + beats, "heartbeats")


@pytest.fixture
def managed(make_graph: Make) -> tuple[Any, Manager]:
    """An active node, and a manager that has formed a bond with it."""
    graph = make_graph(bond_timeout=TIMEOUT_S)
    manager = Manager(graph)
    assert graph.configure()
    graph.spin_for(0.3)
    assert not manager.heard  # an inactive node has no bond
    assert graph.activate()
    manager.wait_formed()
    return graph, manager


def test_heartbeats_come_at_their_rate_while_the_node_is_active(
    managed: tuple[Any, Manager],
) -> None:
    graph, manager = managed
    manager.heard.clear()
    graph.spin_for(1.0)
    assert 6 <= len(manager.active) <= 12
    message = manager.active[-1]
    assert message.id == "g2vlm"
    assert message.heartbeat_period == pytest.approx(0.1)
    assert message.heartbeat_timeout == pytest.approx(TIMEOUT_S)
    assert message.header.stamp.sec > 0
    assert not manager.left


def test_a_deactivated_node_leaves_and_bonds_anew(managed: tuple[Any, Manager]) -> None:
    graph, manager = managed
    first = manager.active[-1].instance_id
    assert graph.deactivate()
    graph.wait(lambda: manager.left, "the node's leave")
    manager.say(active=False)  # seen
    manager.speaks = False
    graph.wait(lambda: manager.silent_s > 0.5, "silence")
    again = Manager(graph)
    assert graph.activate()
    again.wait_formed()
    assert again.active[-1].instance_id != first


def test_a_manager_that_leaves_is_acknowledged_and_the_node_stays_active(
    managed: tuple[Any, Manager],
) -> None:
    graph, manager = managed
    manager.speaks = False
    manager.say(active=False)
    graph.wait(lambda: manager.left, "the acknowledgement")
    graph.wait(lambda: manager.silent_s > 0.5, "silence")
    assert graph.state == "active"


def test_a_manager_that_is_held_up_does_not_lose_the_node(managed: tuple[Any, Manager]) -> None:
    graph, manager = managed
    manager.speaks = False
    graph.spin_for(2 * TIMEOUT_S)
    manager.heard.clear()
    manager.wait_formed()
    assert not manager.left


def test_a_node_that_hangs_misses_its_heartbeats(managed: tuple[Any, Manager]) -> None:
    graph, manager = managed
    graph.node.create_timer(0.01, lambda: time.sleep(1.5))
    graph.wait(lambda: manager.silent_s > TIMEOUT_S, "a heartbeat that stays out")


def test_other_bonds_on_the_topic_are_not_this_ones(managed: tuple[Any, Manager]) -> None:
    _, manager = managed
    own = manager.active[-1].instance_id
    stranger = manager._type(id="g2vlm", instance_id="a third end", active=False)
    manager._publisher.publish(stranger)
    other = manager._type(id="amcl", instance_id="of another node", active=False)
    manager._publisher.publish(other)
    manager.wait_formed()
    assert {message.id for message in manager.left} == {"g2vlm", "amcl"}  # they were heard
    assert own not in {message.instance_id for message in manager.left}


def test_cleaned_up_while_active_the_node_leaves(managed: tuple[Any, Manager]) -> None:
    graph, manager = managed
    assert graph.transition(7)  # shutdown from active
    graph.wait(lambda: manager.left, "the node's leave")


def test_without_a_timeout_there_is_no_bond(make_graph: Make) -> None:
    graph = make_graph(bond_timeout=0.0)
    manager = Manager(graph)
    graph.start()
    graph.spin_for(0.5)
    assert not manager.heard


def test_without_the_messages_the_node_works(
    make_graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bond.msg", None)
    graph = make_graph(bond_timeout=TIMEOUT_S)
    graph.start()
    assert graph.state == "active"
    assert not graph.node.count_publishers("/bond")
