# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fixtures of the node's tests; skipped with a reason where ROS or the interfaces are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """rclpy, initialised for one file of tests and shut down behind it."""
    # Not skipped where they are missing: `make test` and colcon both bring them.
    import rclpy

    from g2vlm_interfaces.msg import SceneStatus  # noqa: F401

    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture
def make_graph(ros: None) -> Iterator[Callable[..., Any]]:
    """Makes graphs that end with the test."""
    from tests.ros.graph import Graph

    made: list[Graph] = []

    def make(spin_s: float = 0.2, **parameters: Any) -> Graph:
        values = {name.replace("__", "."): value for name, value in parameters.items()}
        made.append(Graph(values, spin_s=spin_s))
        return made[-1]

    yield make
    for graph in made:
        graph.close()


@pytest.fixture
def graph(make_graph: Callable[..., Any]) -> Any:
    """An active node with a scripted runtime, listened to."""
    made = make_graph()
    made.listen()
    made.start()
    return made
