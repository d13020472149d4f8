# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Asks the running node: its parameters, its state, what its status says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import GetState
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile

__all__ = ["Spin", "StatusHeard", "is_there", "parameters_of", "state_of"]

Spin = Callable[[float], object]  # lets callbacks run for some seconds
_PATIENCE_S = 3.0  # of a node that does not answer
_STEP_S = 0.05


def is_there(node: Any, name: str) -> bool:
    """Whether a node of this name, with namespace, is in the graph."""
    found = (
        f"{space.rstrip('/')}/{short}" for short, space in node.get_node_names_and_namespaces()
    )
    return name in found


def parameters_of(node: Any, name: str, spin: Spin) -> dict[str, Any] | None:
    """All parameters of a running node by name; None where it does not answer."""
    client = AsyncParameterClient(node, name)
    try:
        if not _wait(client.services_are_ready, spin):
            return None
        listed = _answer(client.list_parameters(), spin)
        if listed is None:
            return None
        names = list(listed.result.names)
        got = _answer(client.get_parameters(names), spin)
        if got is None:
            return None
        return dict(zip(names, map(parameter_value_to_python, got.values), strict=True))
    finally:
        _forget(node, client)


def state_of(node: Any, name: str, spin: Spin) -> str:
    """The state of a node's lifecycle in words; "" where it does not say."""
    client = node.create_client(GetState, f"{name}/get_state")
    try:
        if not _wait(client.service_is_ready, spin):
            return ""
        reply = _answer(client.call_async(GetState.Request()), spin)
        return "" if reply is None else str(reply.current_state.label)
    finally:
        node.destroy_client(client)


class StatusHeard:
    """The newest status of a node, from construction on.

    Args:
        node: Listens.
        name: Of the node whose status it is.
    """

    def __init__(self, node: Any, name: str) -> None:
        self._newest: Any = None
        try:
            from g2vlm_interfaces.msg import SceneStatus
        except ImportError:  # the doctor works where the messages are not built
            return
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(SceneStatus, f"{name}/status", self._take, qos)

    def _take(self, status: Any) -> None:
        self._newest = status

    def reasons(self, tolerated: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """(code, text) of the reasons in force that are not tolerated."""
        if self._newest is None:
            return ()
        pairs = zip(self._newest.reason_codes, self._newest.reason_texts, strict=False)
        return tuple((code, text) for code, text in pairs if code not in tolerated)


def _wait(ready: Callable[[], Any], spin: Spin) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            return False
        spin(_STEP_S)
    return True


def _answer(future: Any, spin: Spin) -> Any:
    """What a service answers; None where it does not."""
    return future.result() if _wait(future.done, spin) else None


def _forget(node: Any, client: Any) -> None:
    """Remove the clients that a parameter client has made; it has no way to end."""
    for found in list(node.clients):
        if found in vars(client).values():
            node.destroy_client(found)
