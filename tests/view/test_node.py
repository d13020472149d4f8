# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A view of a running node: what it tells on topics, and its own answers by its services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from g2vlm_view.drawing import Evidence
from g2vlm_view.front import close_viser, guarded_viser
from g2vlm_view.replies import answer_fields
from g2vlm_view.ros import NodeSession, answer_of
from g2vlm_view.session import RefusedError
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_interfaces.msg import SceneStatus, SpatialAnswer
from g2vlm_map.dense.occupancy import FREE, OCCUPIED
from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_ros.messages import answer_message, header, pose
from tests.helpers import wait_for
from tests.map.placed import pose as placed_at
from tests.ros.graph import Graph

MAP = "g2vlm_map_up_to_scale"


@pytest.fixture
def session() -> Iterator[NodeSession]:
    """Of a node that says nothing; what tests hand it is as if it had."""
    server = guarded_viser("secret")
    one = NodeSession(server, "/silent/g2vlm")
    yield one
    one.close()
    close_viser(server)


@pytest.fixture
def beside() -> Iterator[Callable[..., Any]]:
    """A function that makes latched publishers of the silent node's topics."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("g2vlm", namespace="/silent", context=context)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    yield lambda kind, topic: node.create_publisher(kind, f"~/{topic}", latched)
    node.destroy_node()
    context.try_shutdown()


def path_of(stamp_ns: int, x: float) -> Any:
    """nav_msgs/Path of one keyframe, moved along x."""
    one = PoseStamped(header=header(stamp_ns, MAP), pose=pose(placed_at(shift=(x, 0.0, 0.0))))
    return Path(header=header(stamp_ns, MAP), poses=[one])


def answer_at(stamp_ns: int) -> Any:
    """A `SpatialAnswer` about a place two units ahead of the camera of a keyframe."""
    place = Point(x=0.0, y=0.0, z=2.0)
    told = {"status": SpatialAnswer.OK, "reply": "2 units", "points": [place], "labels": ["A"]}
    return SpatialAnswer(header=header(stamp_ns, "camera_up_to_scale"), **told)


def drawn(session: NodeSession) -> Evidence | None:
    return session.answers[-1].evidence


def test_evidence_waits_for_the_pose_of_its_keyframe(
    session: NodeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.topics.take_status(SceneStatus(map_frame=MAP, scale=1.0))
    session.topics.take_path(path_of(1, 5.0), metric=False)
    session.take_answer("How far away is A?", answer_at(2))
    assert session.answers[-1].fields["reply"] == "2 units", "the answer itself does not wait"
    session.tick()
    assert drawn(session) is None
    session.topics.take_path(path_of(2, 7.0), metric=False)
    session.tick()
    evidence = drawn(session)
    assert evidence is not None
    np.testing.assert_allclose(evidence.point_M3, [[7.0, 0.0, 2.0]], atol=1e-9)
    assert (evidence.names, evidence.words) == (["A"], "2 units")
    session.take_answer("How far away is A?", answer_at(3))
    clock = time.monotonic() + 1000.0
    monkeypatch.setattr("g2vlm_view.ros.time.monotonic", lambda: clock)
    for _ in range(2):
        session.tick()
    assert drawn(session) is None
    (note,) = session.state()["notes"]
    assert "/silent/g2vlm/path has not had its keyframe" in note["text"], "said, and said once"


def test_what_a_node_has_not_is_refused_with_the_reason(session: NodeSession) -> None:
    lacking = session.state()["lacking"]
    assert set(lacking) == {"step", "speed", "pick", "consistency"}
    for name in ("step", "speed", "pick"):
        with pytest.raises(RefusedError) as refused:
            session.do(name, {})
        assert str(refused.value) == lacking[name]
    with pytest.raises(RefusedError, match="clouds carry confidence"):
        session.do("look", {"mode": "consistency"})
    for mode in ("height", "confidence", "picture"):
        session.do("look", {"mode": mode})
    assert not {"step", "speed", "pick"} & set(session.state()["commands"])


def test_loops_and_occupancy_are_drawn_as_the_node_tells_them(
    session: NodeSession, beside: Callable[..., Any]
) -> None:
    session.start()
    grids = beside(OccupancyGrid, "map/occupancy")
    graphs = beside(MarkerArray, "map/graph")
    wait_for(graphs.get_subscription_count, 10.0, what="who looks at the graph")
    assert not grids.get_subscription_count(), "it costs the node, and nobody looks"
    session.topics.take_status(SceneStatus(map_frame="g2vlm_map", scale=2.0, is_metric=True))
    ends = [Point(x=1.0, y=0.0, z=0.0), Point(x=3.0, y=0.0, z=0.0)]
    graphs.publish(MarkerArray(markers=[Marker(ns="loops", type=Marker.LINE_LIST, points=ends)]))
    wait_for(lambda: len(session.newest().loop_L23), 10.0, what="the loop")
    np.testing.assert_allclose(session.newest().loop_L23[0, :, 0], [1.0, 3.0])
    session.do("look", {"occupancy": True})
    assert "has said nothing yet" in session.state()["occupancy"]
    grid = OccupancyGrid(data=[FREE, OCCUPIED])
    grid.info.width, grid.info.height, grid.info.resolution = 2, 1, 0.5
    grid.info.origin.position.x = -1.0
    grids.publish(grid)  # latched
    drawn = session.drawing._others
    wait_for(lambda: "occupancy" in drawn, 10.0, what="the grid")
    assert drawn["occupancy"].position[:3] == pytest.approx((-0.5, 0.25, 0.0))
    assert drawn["occupancy"].image[0, :, 3].tolist() == [110, 210]
    assert not session.state()["occupancy"]
    session.topics.take_status(SceneStatus(map_frame=MAP, scale=2.0))
    assert "metres or not at all" in session.state()["occupancy"]
    session.do("look", {"occupancy": False})
    wait_for(lambda: not grids.get_subscription_count(), 10.0, what="nobody who looks")


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
        wait_for(lambda: session.answers[-1].evidence is not None, 10.0, what="its evidence")
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
