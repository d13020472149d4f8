# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Many lifecycles of one node, in random order, with frames and questions in flight."""

from __future__ import annotations

import gc
import threading

from tests.chaos.cycles import Cycling


def test_lifecycles_in_random_order_keep_their_word(ros: None) -> None:
    cycling = Cycling(seed=3)
    try:
        while cycling.cycles < 4:
            cycling.step()
    finally:
        cycling.finish()
    assert cycling.unanswered == 0, cycling.answers
    assert sum(cycling.answers.values()) > 0
    assert not [t.name for t in threading.enumerate() if t.name.startswith("g2vlm-")]


def test_a_cleaned_up_node_remembers_nothing_that_it_had(ros: None) -> None:
    cycling = Cycling(seed=0)
    graph = cycling.graph
    try:
        counts = []
        for _ in range(4):
            gc.collect()  # what hangs in circles is not remembered
            assert graph.configure()
            assert graph.activate()
            assert graph.cleanup() is False
            assert graph.deactivate()
            assert graph.cleanup()
            counts.append(len(graph.node.default_callback_group.entities))
        assert counts[-1] < 1.5 * counts[0], counts  # each cycle makes thirty
    finally:
        cycling.finish()
