# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames, transforms and units: what a robot's TF and scale make of the outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from g2vlm_interfaces.msg import MapEvent
from g2vlm_map.axes import LevelAxes
from g2vlm_map.events import MapChanged, ScaleChanged
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from g2vlm_ros import messages
from tests.map.placed import NS, Floats, mounted, pose

Make = Callable[..., Any]
SPEED = 0.1  # scene units per second, along the camera's x
METRIC = ScaleEstimate(True, math.log(2.0), 0.05, sources=("odometry",), reason="")
T_BASE_CAM = mounted()
STATIC = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Told:
    """What the test makes of the pipeline's world: its scale, and a turn of its past."""

    def __init__(self) -> None:
        self.scale = ScaleEstimate()
        self.T_moved: Floats = np.eye(4)
        self.version = 0
        self.seen: dict[int, World] = {}  # by the stamp of its newest keyframe, the first of it

    def world(self, world: World, axes: LevelAxes) -> World:
        keyframes = tuple(
            dataclasses.replace(item, T_map_body=self.T_moved @ item.T_map_body)
            for item in world.keyframes
        )
        told = dataclasses.replace(
            world, scale=self.scale, keyframes=keyframes, version=world.version + self.version
        )
        made = axes.apply(told)[0]
        if keyframes:
            self.seen.setdefault(keyframes[-1].keyframe.stamp_ns, made)
        return made


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Stands between the mapper's world and the node."""
    made = Told()
    real = Pipeline.world.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(
        Pipeline, "world", property(lambda self: made.world(real(self), self._view._axes))
    )
    return made


class Robot:
    """A robot's TF: base -> camera for ever, odom -> base as it drives."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        client = graph.client
        self.tf = client.create_publisher(TFMessage, "/tf", 100)
        self.tf_static = client.create_publisher(TFMessage, "/tf_static", STATIC)

    def mount(self, T: Floats = T_BASE_CAM, child: str = "camera_optical") -> None:
        self.tf_static.publish(stamped(T, 0, "base_link", child))

    def drive(self, stamp_ns: int, T: Floats) -> None:
        self.tf.publish(stamped(T, stamp_ns, "odom", "base_link"))


def stamped(T: Floats, stamp_ns: int, parent: str, child: str) -> Any:
    transform: TransformStamped = messages.transform(T, stamp_ns, parent, child)
    return TFMessage(transforms=[transform])


def last(graph: Any, name: str) -> Any:
    return graph.wait(lambda: graph.received[name] and graph.received[name][-1], f"~/{name}")


def matrix(message: Any) -> Floats:
    """(4, 4) of a Pose or a Transform."""
    place = message.position if hasattr(message, "position") else message.translation
    turn = message.orientation if hasattr(message, "orientation") else message.rotation
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    T[:3, 3] = (place.x, place.y, place.z)
    return T


def stamp(header: Any) -> int:
    return messages.nanoseconds(header.stamp)


def ours(graph: Any, child: str) -> list[Any]:
    """Transforms of a child that the node has broadcast, by what its frames are called."""
    found = [t for message in graph.transforms for t in message.transforms]
    return [t for t in found if t.child_frame_id == child and "g2vlm" in t.header.frame_id]


def started(make_graph: Make, **parameters: Any) -> Any:
    graph = make_graph(**parameters)
    graph.listen()
    graph.start()
    graph.publisher("/camera/image_raw")
    return graph


def looked(graph: Any) -> None:
    """Wait until the node has listened to others' transforms for long enough."""
    graph.spin_for(1.1)


def test_topics_move_with_the_scale_and_back(make_graph: Make, told: Told) -> None:
    graph = started(make_graph)
    graph.scene()
    free = last(graph, "points")
    assert not graph.received["metric/points"]
    told.scale = METRIC
    graph.scene()
    assert last(graph, "metric/points").header.frame_id == "camera_optical"
    assert last(graph, "metric/pose").header.frame_id == "g2vlm_map"
    status = graph.status(lambda s: s.is_metric and s.map_frame == "g2vlm_map")
    assert (status.scale, status.scale_sigma) == (pytest.approx(2.0), pytest.approx(0.05))
    assert status.scale_source == "odometry"
    graph.codes("OUTPUTS_MOVED")
    moved = last(graph, "map_event")
    assert (moved.kind, moved.cause) == (MapEvent.TOPICS_MOVED, "gained")
    counts = {
        name: len(graph.received[name]) for name in ("points", "depth/image", "pose", "image")
    }
    graph.scene()
    graph.wait(lambda: len(graph.received["metric/points"]) >= 2, "a second cloud in metres")
    assert counts == {name: len(graph.received[name]) for name in counts}, "up to scale is silent"
    told.scale = dataclasses.replace(METRIC, metric=False, reason="sigma 0.3 is above 0.15")
    graph.scene()
    heard = len(graph.received["metric/points"])
    graph.wait(lambda: len(graph.received["points"]) == counts["points"] + 1, "up to scale again")
    graph.wait(lambda: last(graph, "map_event").cause == "lost", "the event")
    assert "sigma 0.3" in last(graph, "map_event").text
    graph.spin_for(0.2)
    assert len(graph.received["metric/points"]) == heard
    # The same wall: in metres everything is twice as large.
    depth = np.frombuffer(graph.received["metric/depth/image"][-1].data, np.float32)
    np.testing.assert_allclose(depth, 4.0, rtol=0.05)
    assert free.width == last(graph, "metric/points").width


def test_picture_and_depth_are_a_pair(make_graph: Make) -> None:
    graph = started(make_graph)
    graph.scene()
    depth, image, info = (last(graph, n) for n in ("depth/image", "image", "depth/camera_info"))
    assert depth.header == image.header == info.header
    assert (depth.height, depth.width) == (image.height, image.width) == (info.height, info.width)
    assert (image.encoding, image.step) == ("rgb8", 3 * image.width)
    assert len(image.data) == image.step * image.height


def test_without_odometry_map_to_base_is_the_pose(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True, frames__base="base_link")
    Robot(graph).mount()
    looked(graph)
    for _ in range(3):
        graph.scene()
    found = graph.wait(lambda: ours(graph, "base_link"), "map -> base")[-1]
    message = graph.wait(
        lambda: [
            p for p in graph.received["metric/pose"] if stamp(p.header) == stamp(found.header)
        ],
        "the pose of the same stamp",
    )[-1]
    assert found.header.frame_id == message.header.frame_id == "g2vlm_map"
    np.testing.assert_allclose(matrix(found.transform), matrix(message.pose.pose), atol=1e-12)
    assert graph.status().up_source == "base"
    # The map's own pose of then, by hand: 2 m a unit, from the camera to the base.
    world = told.seen[stamp(found.header)]
    newest = world.keyframes[-1]
    T_level_cam = world.T_level_map @ newest.T_map_body
    T_level_cam[:3, 3] *= 2.0
    expected = T_level_cam @ np.linalg.inv(T_BASE_CAM)
    np.testing.assert_allclose(matrix(message.pose.pose), expected, atol=1e-9)
    assert np.linalg.norm(expected[:3, 3]) > 0.01, "it moves"


def test_map_to_odom_composes_to_the_pose(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True, frames__base="base_link", frames__odom="odom")
    robot = Robot(graph)
    robot.mount()
    looked(graph)
    wheels = {}
    for step in range(4):
        T = pose((0, 0, 0.02 * step), (5.0 + 0.01 * step, -0.03 * step, 0))
        graph.scene()
        # Late: the odometry of the frame's time comes after the scene is out.
        robot.drive(graph.stamp_ns - NS // 20, T)
        robot.drive(graph.stamp_ns, T)
        wheels[graph.stamp_ns] = T
        graph.spin_for(0.3)
    found = graph.wait(lambda: ours(graph, "odom"), "map -> odom")[-1]
    assert found.header.frame_id == "g2vlm_map"
    newest = last(graph, "metric/pose")
    composed = matrix(found.transform) @ wheels[stamp(newest.header)]
    np.testing.assert_allclose(composed, matrix(newest.pose.pose), atol=1e-6)
    assert not ours(graph, "base_link"), "the base has its parent already"


def test_map_to_odom_takes_the_jump_and_odometry_does_not(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True, frames__base="base_link", frames__odom="odom")
    robot = Robot(graph)
    robot.mount()
    looked(graph)
    for step in range(3):
        graph.scene()
        robot.drive(graph.stamp_ns - NS // 20, pose(shift=(0.01 * step, 0, 0)))
        robot.drive(graph.stamp_ns, pose(shift=(0.01 * step, 0, 0)))
        graph.spin_for(0.2)
    before = matrix(graph.wait(lambda: ours(graph, "odom"), "map -> odom")[-1].transform)
    at = matrix(last(graph, "metric/odometry").pose.pose)
    told.T_moved, told.version = pose((0, 0.3, 0), (5.0, 0, 0)), 1  # a loop was closed
    graph.transforms.clear()
    graph.node.pipeline._emit(MapChanged(1, "loop", "keyframes 1 and 3 are one place"))
    event = graph.wait(
        lambda: [e for e in graph.received["map_event"] if e.cause == "loop"], "the event"
    )[0]
    assert event.kind == MapEvent.MAP_CHANGED
    assert event.map_version == graph.node.pipeline.world.version
    after = matrix(
        graph.wait(lambda: ours(graph, "odom"), "the corrected map -> odom")[-1].transform
    )
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) > 5.0
    graph.scene()
    newest = graph.wait(
        lambda: [o for o in graph.received["metric/odometry"] if stamp(o.header) == graph.stamp_ns],
        "the next odometry",
    )[-1]
    T_step = np.linalg.inv(at) @ matrix(newest.pose.pose)
    assert np.linalg.norm(T_step[:3, 3]) < 1.0
    assert newest.header.frame_id == "g2vlm_odom"
    assert newest.child_frame_id == "base_link"


def test_another_parent_is_never_overruled(make_graph: Make, told: Told) -> None:
    """base_link hangs on odom: map -> base_link would tear it off."""
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True, frames__base="base_link")
    robot = Robot(graph)
    robot.mount()
    for step in range(6):
        robot.drive(graph.stamp_ns + step * NS // 10, pose())
    looked(graph)
    graph.scene()
    status = graph.codes("TF_CONFLICT")
    text = status.reason_texts[list(status.reason_codes).index("TF_CONFLICT")]
    assert "base_link has the parent odom already" in text
    assert not ours(graph, "base_link")


def test_an_optical_frame_on_the_robot_is_left_there(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True)
    Robot(graph).mount()
    looked(graph)
    graph.scene()
    graph.codes("TF_CONFLICT")
    assert not ours(graph, "camera_optical")


def test_no_transform_up_to_scale_unless_asked_for(make_graph: Make) -> None:
    graph = started(make_graph, tf__publish=True)
    looked(graph)
    graph.scene()
    graph.spin_for(0.3)
    assert not graph.transforms


def test_up_to_scale_has_frames_of_its_own(make_graph: Make) -> None:
    graph = started(make_graph, tf__up_to_scale=True)
    Robot(graph).mount()
    looked(graph)
    graph.scene()
    graph.scene()
    found = graph.wait(lambda: ours(graph, "camera_optical_up_to_scale"), "the transform")[-1]
    assert found.header.frame_id == "g2vlm_map_up_to_scale"
    assert last(graph, "points").header.frame_id == found.child_frame_id
    graph.codes("TF_CONFLICT", present=False)


def test_a_missing_mount_is_said_and_found_when_it_comes(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, frames__base="base_link")
    graph.scene()
    status = graph.codes("TF_MISSING")
    text = status.reason_texts[list(status.reason_codes).index("TF_MISSING")]
    assert "camera_optical" in text
    assert "camera.extrinsics" in text
    assert not graph.received["metric/pose"], "nobody knows where the base is"
    assert last(graph, "metric/points"), "clouds need no base"
    Robot(graph).mount()
    graph.codes("TF_MISSING", present=False)
    graph.scene()
    assert last(graph, "metric/pose").header.frame_id == "g2vlm_map"


def test_a_mount_may_come_from_a_parameter(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    x, y, z, w = Rotation.from_matrix(T_BASE_CAM[:3, :3]).as_quat()
    text = f"0.2 0.05 0.6 {x} {y} {z} {w}"
    graph = started(make_graph, frames__base="base_link", camera__extrinsics=text)
    graph.scene()
    assert last(graph, "metric/pose").header.frame_id == "g2vlm_map"
    np.testing.assert_allclose(graph.node.pipeline.world.T_base_body, T_BASE_CAM, atol=1e-9)


def test_odometry_that_stops_is_said(make_graph: Make, told: Told) -> None:
    told.scale = METRIC
    graph = started(make_graph, tf__publish=True, frames__base="base_link", frames__odom="odom")
    robot = Robot(graph)
    robot.mount()
    graph.scene()
    robot.drive(graph.stamp_ns - NS, pose())
    robot.drive(graph.stamp_ns, pose())
    graph.spin_for(0.3)
    for _ in range(15):
        graph.good_image()
    status = graph.codes("TF_MISSING")
    text = status.reason_texts[list(status.reason_codes).index("TF_MISSING")]
    assert "TF odom -> base_link: its newest is" in text


@pytest.mark.parametrize(
    ("second", "T", "words"),
    [(0.1, pose(shift=(100, 0, 0)), "was it reset"), (-50.0, pose(), "stamps that went back")],
)
def test_odometry_that_leaps_or_loops_is_said(
    make_graph: Make, told: Told, second: float, T: Floats, words: str
) -> None:
    told.scale = METRIC
    graph = started(make_graph, frames__base="base_link", sensors__odometry_topic="/wheel/odom")
    Robot(graph).mount()
    publisher = graph.publisher("/wheel/odom", Odometry)
    start_ns = graph.stamp_ns
    for step, place in ((0, pose()), (1, pose(shift=(0.01, 0, 0)))):
        publisher.publish(odometry(start_ns + step * NS // 10, place))
        graph.spin_for(0.1)
    publisher.publish(odometry(start_ns + NS // 10 + int(second * NS), T))
    status = graph.codes("ODOMETRY_JUMP")
    text = status.reason_texts[list(status.reason_codes).index("ODOMETRY_JUMP")]
    assert "/wheel/odom" in text
    assert words in text


def odometry(stamp_ns: int, T: Floats, frame: str = "odom", child: str = "base_link") -> Any:
    message = Odometry(header=messages.header(stamp_ns, frame), child_frame_id=child)
    message.pose.pose = messages.pose(T)
    return message


def test_a_changed_scale_is_an_event_with_both_values(make_graph: Make, told: Told) -> None:
    graph = started(make_graph)
    graph.scene()
    other = dataclasses.replace(METRIC, log_scale=math.log(3.0))
    graph.node.pipeline._emit(ScaleChanged(METRIC, other, "2.0 to 3.0 m per map unit"))
    event = graph.wait(
        lambda: [e for e in graph.received["map_event"] if e.kind == MapEvent.SCALE_CHANGED],
        "the event",
    )[0]
    assert (event.scale_before, event.scale_now) == (pytest.approx(2.0), pytest.approx(3.0))
