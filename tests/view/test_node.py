# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A view of a running node: what it tells on topics, and its own answers by its services."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from g2vlm_view.front import close_viser, guarded_viser
from g2vlm_view.replies import answer_fields
from g2vlm_view.ros import NodeSession, answer_of
from g2vlm_view.session import RefusedError

from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_ros.messages import answer_message
from tests.helpers import wait_for
from tests.ros.graph import Graph


@pytest.fixture
def graph() -> Iterator[Graph]:
    rclpy.init()
    one = Graph(namespace="/viewed")
    yield one
    one.close()
    rclpy.shutdown()


@pytest.mark.slow
def test_the_page_shows_a_node_and_asks_it(graph: Graph) -> None:
    server = guarded_viser("secret")
    session = NodeSession(server, "/viewed/g2vlm")
    try:
        session.start()
        assert session.state()["status"]["reasons"][0]["code"] == "NO_NODE"
        with pytest.raises(RefusedError, match="no keyframe yet"):
            session.do("mark", {"x": 0.5, "y": 0.5})
        graph.start()
        for _ in range(3):
            graph.scene()
        wait_for(lambda: len(session.newest().nodes) >= 1, 20.0, what="a cloud on the path")
        assert graph.node.pipeline is not None
        pipeline = graph.node.pipeline

        def path_is_of_the_map() -> bool:
            placed = pipeline.world.keyframes
            places = {np.round(p.T_map_body[:3, 3], 3).tobytes() for p in placed}
            return any(np.round(p, 3).tobytes() in places for p in session.newest().path_N3)

        wait_for(path_is_of_the_map, 10.0, what="the map's path in the page")
        depths = session.newest().points()[:, 2]
        np.testing.assert_allclose(np.median(depths), 2.0, rtol=0.05)
        assert session.state()["scale"]["metric"] is False
        wait_for(lambda: session.picture("keyframe") and session.picture("depth"), 20.0)
        session.do("mark", {"x": 0.5, "y": 0.5})
        session.do("ask", {"question": "How far away is A?"})
        wait_for(lambda: not session.asking, 20.0, what="the answer")
        fields = session.answers[-1].fields
        own = graph.ask("How far away is A?", marks=session._marks())
        assert {**fields, "ms": 0} == {
            **answer_fields("How far away is A?", answer_of(own), 0),
            "ms": 0,
        }
        assert session.answers[-1].evidence is not None
        session.do("pause", {})
        wait_for(lambda: session.state()["playing"]["paused"], 20.0, what="the pause")
        with pytest.raises(RefusedError):
            session.do("load", {"name": "/nowhere/at/all"})
    finally:
        session.close()
        close_viser(server)


def test_an_answer_survives_the_message() -> None:
    said = Answer(
        *(AnswerStatus.OK, "metres by odometry", "1.5", 1.5, "m", True, 0.25),
        labels=("A", "B"),
        confidence=0.75,
        is_calibrated=True,
        cross_check=CrossCheck.AGREES,
        measured_value=1.625,
        kind="distance",
        source=AnswerSource.GEOMETRY,
        reply="1.62 m",
        measured_sigma=0.125,
        measured_choice="left",
        prefill_ms=3.0,
        decode_ms=4.0,
    )
    back = answer_of(answer_message(Reply(said, None, 0.0)))
    assert answer_fields("q", back, 0.0) == answer_fields("q", said, 0.0)
    none = Answer(AnswerStatus.TIMEOUT, "too late")
    back = answer_of(answer_message(Reply(none, None, 0.0)))
    assert answer_fields("q", back, 0.0) == answer_fields("q", none, 0.0)
