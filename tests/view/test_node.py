# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A view of a running node: what it tells on topics, and its own answers by its services."""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from g2vlm_view.drawing import Evidence
from g2vlm_view.front import close_viser, guarded_viser
from g2vlm_view.replies import answer_fields
from g2vlm_view.ros import NodeSession, answer_of
from g2vlm_view.session import RefusedError
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_interfaces.msg import SceneStatus, SpatialAnswer
from g2vlm_map.clouds import POINT_DTYPE
from g2vlm_map.dense.occupancy import FREE, OCCUPIED
from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_ros.messages import answer_message, header, pose, transform
from tests.helpers import wait_for
from tests.map.placed import mounted
from tests.map.placed import pose as placed_at
from tests.ros.graph import Graph, image_message

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
    yield lambda kind, topic: node.create_publisher(
        kind, topic if topic.startswith("/") else f"~/{topic}", latched
    )
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


def test_loops_end_at_the_cameras_where_these_are_off_the_base(
    session: NodeSession, beside: Callable[..., Any]
) -> None:
    """As the frusta do: the graph tells them between places of the base."""
    lever = mounted((0.4, -0.1, 0.7), tilt=0.5)  # turned, too
    bases = [placed_at((0.0, 0.0, turn), (turn, 2.0 * turn, 0.0)) for turn in (0.0, 1.0, 2.5)]
    topics = session.topics
    topics.take_status(SceneStatus(map_frame="g2vlm_map", scale=2.0, is_metric=True))
    topics._take_odometry(Odometry(child_frame_id="base_link"))
    session.start()
    static = beside(TFMessage, "/tf_static")
    static.publish(TFMessage(transforms=[transform(lever, 0, "base_link", "camera")]))
    clouds = np.zeros(4, POINT_DTYPE)
    clouds["z"] = 2.0
    for stamp in (1, 2):  # the third came before anybody listened
        data = array.array("B", clouds.tobytes())
        topics._take_cloud(PointCloud2(header=header(stamp, "camera"), data=data), True)
    head = header(3, "g2vlm_map")
    poses = [PoseStamped(header=header(n + 1, ""), pose=pose(T)) for n, T in enumerate(bases)]
    topics.take_path(Path(header=head, poses=poses), metric=True)
    ends = [Point(x=T[0, 3], y=T[1, 3], z=T[2, 3]) for T in (bases[0], bases[1], bases[2])]
    points = [ends[0], ends[1], ends[2], ends[0]]
    marker = Marker(ns="loops", type=Marker.LINE_LIST, points=points)
    topics._take_graph(MarkerArray(markers=[marker]), True)
    cameras = [(T @ lever)[:3, 3] for T in bases]

    def at_the_cameras() -> bool:
        topics._revision += 1
        loops = session.newest().loop_L23
        shown = [[cameras[0], cameras[1]], [cameras[2], cameras[0]]]
        return loops.shape == (2, 2, 3) and bool(np.allclose(loops, shown, atol=1e-6))

    wait_for(at_the_cameras, 10.0, what="the transform")
    frusta = [node.T_level_cam[:3, 3] for node in session.newest().nodes.values()]
    np.testing.assert_allclose(frusta, cameras[:2], atol=1e-6)


@pytest.mark.parametrize("transport", ["compressed", pytest.param("raw", marks=pytest.mark.slow)])
def test_the_current_frame_is_the_one_that_the_node_takes(transport: str) -> None:
    """Of a topic that is remapped; listened to only while somebody looks."""
    rclpy.init()
    base = "/seen/front/image" + ("/compressed" if transport == "compressed" else "")
    own = "/seen/camera/image_raw" + ("/compressed" if transport == "compressed" else "")
    graph = Graph(
        {"camera.image_transport": transport}, namespace="/seen", remaps=(f"{own}:={base}",)
    )
    server = guarded_viser("secret")
    session = NodeSession(server, "/seen/g2vlm")
    try:
        session.start()
        graph.start()
        kind = Image if transport == "raw" else CompressedImage
        sent = graph.publisher(base.removeprefix("/seen"), kind)
        assert sent.get_subscription_count() == 1, "nobody looks"
        rgb = np.zeros((120, 160, 3), np.uint8)
        rgb[:, 80:] = (250, 120, 10)
        stamps = iter(range(1, 10_000))

        def shown() -> bytes | None:
            session.state()
            stamp = next(stamps)
            message = image_message(rgb, stamp)
            if transport == "compressed":
                data = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
                message = CompressedImage(header=header(stamp, "camera"), format="jpeg", data=data)
            sent.publish(message)
            return session.picture("current")

        data = wait_for(shown, 20.0, interval_s=0.05, what="the current frame")
        assert data is not None
        seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert seen is not None
        np.testing.assert_allclose(seen[60, 140], (10, 120, 250), atol=12)
        pictures = session.state()["pictures"]
        assert 0 < int(pictures["current"]) < next(stamps)
        assert not pictures["why"]
        session._asked_for = -100.0
        wait_for(lambda: sent.get_subscription_count() == 1, 5.0, what="nobody who looks")
        if transport == "compressed":
            return
        assert graph.deactivate()
        wait_for(lambda: "is not active" in session.state()["pictures"]["why"], 20.0)
    finally:
        session.close()
        close_viser(server)
        graph.close()
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
