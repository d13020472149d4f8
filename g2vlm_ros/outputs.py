# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node publishes of scenes and of the map: in metres under `~/...`, or up to scale.

Both sets of publishers exist all the time; only the right one carries messages. When the scale
comes to carry, or no longer does, the outputs move, and a `MapEvent` says so first. Stamps are
those of the newest frame of the reference camera.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from g2vlm_interfaces.msg import MapEvent
from g2vlm_map.axes import base_pose, pose_covariance
from g2vlm_map.events import Event, MapChanged, ScaleChanged, SceneReady, SegmentStarted
from g2vlm_map.mapping.keyframe import PlacedKeyframe
from g2vlm_map.odometry import ContinuousOdometry
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import Floats, inverse, metric
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.world import World
from g2vlm_model.interface.words import plain
from g2vlm_ros import messages
from g2vlm_ros.answer_topics import AnswerTopics
from g2vlm_ros.broadcast import Broadcaster
from g2vlm_ros.map_outputs import MapOutputs
from g2vlm_ros.params import NodeParams
from g2vlm_ros.robot_frames import RobotFrames
from g2vlm_ros.scene_topics import PosePath, SceneTopics

__all__ = ["Outputs"]

_PAST_SHARE = 0.02  # of one core that may go into publishing path and graph
_CAUSES = {(False, True): "gained", (True, False): "lost"}


@dataclass(frozen=True, eq=False)
class _Unit:
    """In what lengths are published.

    Args:
        is_metric: Whether they are metres.
        per_map_unit: Of it in one map unit.
        sigma: Standard deviation of the log of that; 0 where the unit is the map's own.
    """

    is_metric: bool
    per_map_unit: float
    sigma: float


class Outputs:
    """Lifecycle publishers of one configured node.

    Args:
        node: The LifecycleNode.
        params: Checked parameters.
        pipeline: Whose map is published.
    """

    def __init__(self, node: Any, params: NodeParams, pipeline: Pipeline) -> None:
        self._params, self._pipeline, self._node = params, pipeline, node
        self._metric = SceneTopics(node, params, is_metric=True)
        self._free = SceneTopics(node, params, is_metric=False)
        self.dense = MapOutputs(node, params, pipeline)
        self._answers = AnswerTopics(node, params)
        self._events = node.create_lifecycle_publisher(
            MapEvent, "~/map_event", QoSProfile(depth=20)
        )
        self._tf: Any = None
        if params.broadcasts:
            self._tf = node.create_lifecycle_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._frames: RobotFrames | None = None
        self._broadcaster: Broadcaster | None = None
        self._odometries: dict[bool, ContinuousOdometry] = {}
        self._lock = threading.Lock()  # of what follows: scenes and corrections, two threads
        self._carried = False  # whether the last scene went out in metres
        self._optical = ""  # frame of the reference camera
        self._past_told: dict[str, tuple[Any, ...]] = {}  # path and graph as they were told last
        self._past_due = 0.0  # monotonic time before which they are not published again

    @property
    def params(self) -> NodeParams:
        """The parameters in force; others that differ in what is changeable may be set."""
        return self._params

    @params.setter
    def params(self, params: NodeParams) -> None:
        self._params = self._metric.params = self._free.params = self.dense.params = params

    @property
    def map_frame(self) -> str:
        """Frame of poses and path at present."""
        return (self._metric if self._carried else self._free).map_frame

    @property
    def heard(self) -> bool:
        """Whether anybody listens to an output, or transforms are broadcast."""
        topics = (self._metric, self._free, self._answers)
        publishers = [publisher for item in topics for publisher in item.publishers]
        heard = any(item.get_subscription_count() for item in publishers)
        return heard or self._tf is not None or bool(self.dense.wanted())

    def start(self, frames: RobotFrames) -> None:
        """The node is active: `frames` knows the robot's frames from now on."""
        self._frames = frames
        self._carried = False
        self.dense.start()
        self._odometries = {
            scaled: ContinuousOdometry(scaled, frames.odometry.motion) for scaled in (True, False)
        }
        if self._tf is not None:
            self._broadcaster = Broadcaster(
                self._node, self._params, frames, self._pipeline.board, self._tf
            )

    def stop(self, timeout_s: float = 0.5) -> None:
        """The node is active no longer; waits no longer than the time."""
        if self._broadcaster is not None:
            self._broadcaster.close()
        self.dense.stop(timeout_s)
        self._broadcaster = self._frames = None

    def destroy(self) -> None:
        """Remove the publishers."""
        self.stop()
        self.dense.destroy()
        for topics in (self._metric, self._free, self._answers):
            topics.destroy()
        for publisher in (self._events, self._tf):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
        self._tf = None

    def tick(self) -> None:
        """Broadcast what follows the odometry; some times a second."""
        if self._broadcaster is not None:
            self._broadcaster.tick()

    # What happens.

    def on_event(self, event: Event) -> None:
        """Publish what follows from it; in the thread in which it happens."""
        if isinstance(event, SceneReady):
            with self._lock:
                world = self._pipeline.world
                self._publish_scene(event.record.at(world), world)
        elif isinstance(event, MapChanged):
            world = self._pipeline.world
            self._tell(world, MapEvent.MAP_CHANGED, event.cause, event.text, math.nan)
            with self._lock:
                self._correct(world)
        elif isinstance(event, ScaleChanged):
            cause = _CAUSES.get((event.before.metric, event.now.metric), "changed")
            world = replace(self._pipeline.world, scale=event.now)
            before = event.before.metres_per_unit if event.before.sources else math.nan
            self._tell(world, MapEvent.SCALE_CHANGED, cause, event.text, before)
            with self._lock:
                if event.now.metric != self._carried:
                    self._move(world, _unit(world))
                else:
                    self._correct(world)
        elif isinstance(event, SegmentStarted) and event.cause != "start":
            self._tell(self._pipeline.world, MapEvent.MAP_CHANGED, "restart", event.text, math.nan)
        self.dense.on_event(event)
        self._answers.on_event(event)

    def _publish_scene(self, record: SceneRecord, world: World) -> None:
        unit = _unit(world)
        if unit.is_metric != self._carried:
            self._move(world, unit)
        topics = self._metric if unit.is_metric else self._free
        self._optical = record.frame_id
        head = _head(world, record)
        if self._frames is not None:
            self._frames.note_scene(record.stamp_ns)
        if head is not None:  # first: small, and controllers wait for it
            self._publish_pose(topics, unit, world, head)
        topics.publish_scene(replace(record, scale=record.scale * unit.per_map_unit))

    def _publish_pose(
        self, topics: SceneTopics, unit: _Unit, world: World, head: PlacedKeyframe
    ) -> None:
        """Pose, odometry and TF of the newest moment, as far as they can be told."""
        moved = {scaled: item.step(world, head) for scaled, item in self._odometries.items()}
        frames, stamp_ns = self._frames, head.keyframe.stamp_ns
        if frames is None or not self._base_is_known(world):
            return
        T_base_body = _extrinsics(world, unit)
        args = (world.T_level_map, head.T_map_body, T_base_body)
        T_map_base = base_pose(*args, unit.per_map_unit)
        covariance = pose_covariance(*args, head.pose_covariance, unit.per_map_unit, unit.sigma)
        topics.publish_pose(stamp_ns, T_map_base, covariance)
        odometry = moved[unit.is_metric]
        if odometry is not None and odometry.stamp_ns == stamp_ns:
            topics.publish_odometry(odometry, frames.base)
        if self._broadcaster is None:
            return
        if unit.is_metric:
            self._broadcaster.place(stamp_ns, T_map_base)
        else:
            camera = topics.frame(self._optical)
            T_map_cam = world.T_level_map @ head.T_map_body
            self._broadcaster.show(stamp_ns, topics.map_frame, camera, T_map_cam)

    def _correct(self, world: World) -> None:
        """The past has changed: map -> odom takes the jump at once, not with the next scene."""
        unit, newest = _unit(world), _newest(world)
        if not unit.is_metric or newest is None or self._broadcaster is None:
            return
        if self._carried and self._base_is_known(world):
            T_base_body = _extrinsics(world, unit)
            pose = base_pose(world.T_level_map, newest.T_map_body, T_base_body, unit.per_map_unit)
            self._broadcaster.place(newest.keyframe.stamp_ns, pose)

    def _move(self, world: World, unit: _Unit) -> None:
        """The outputs go on under the other names."""
        self._carried = unit.is_metric
        if "graph" in self._past_told:  # it is latched: who comes later would still be told it
            before = self._free if unit.is_metric else self._metric
            before.publish_graph(_path(world, unit, []))
        self._past_told = {}
        if not unit.is_metric and self._broadcaster is not None:
            self._broadcaster.lose()
        topics = self._metric if unit.is_metric else self._free
        cause = "gained" if unit.is_metric else "lost"
        text = f"outputs are on {topics.name('points')} and beside it now: " + (
            f"lengths are metres, {unit.per_map_unit:.3g} per map unit with sigma {unit.sigma:.3f}"
            if unit.is_metric
            else f"lengths are map units ({world.scale.reason or 'no scale'})"
        )
        self._tell(world, MapEvent.TOPICS_MOVED, cause, text, math.nan)
        self._pipeline.board.event("OUTPUTS_MOVED", text, time.monotonic())

    def _base_is_known(self, world: World) -> bool:
        """Whether poses are of the frame that they are said to be of."""
        return not self._params.frames.base or world.T_base_body is not None

    def _tell(self, world: World, kind: int, cause: str, text: str, before: float) -> None:
        scale, newest = world.scale, _newest(world)
        stamp_ns = 0 if newest is None else newest.keyframe.stamp_ns
        text = plain(text)  # it may hold the name of a file that somebody asked for
        self._node.get_logger().info(f"map: {text}")
        self._events.publish(
            MapEvent(
                header=messages.header(stamp_ns, self.map_frame),
                kind=kind,
                cause=cause,
                text=text,
                map_version=world.version,
                segment=world.segment,
                is_metric=scale.metric,
                scale_before=before,
                scale_now=scale.metres_per_unit if scale.sources else math.nan,
                scale_sigma=scale.sigma if scale.sources else math.nan,
            )
        )

    # The path and the graph.

    def publish_past(self) -> None:
        """Publish path and graph where they, their past or their audience are new; once a period.

        Long ones wait until they take no more than `_PAST_SHARE` of the time.
        """
        started = time.monotonic()
        topics = self._metric if self._carried else self._free
        world, heard = self._pipeline.world, {"path": topics.path_audience}
        if topics.graph_audience:
            heard["graph"] = 1  # latched: who comes later is told without us
        if not any(heard.values()) or started < self._past_due or not self._base_is_known(world):
            return
        unit = _unit(world)
        if unit.is_metric != self._carried:
            return  # the next scene moves the outputs first
        ours = [placed for placed in world.keyframes if placed.segment == world.segment]
        ours = ours[-self._params.path.max_poses :]
        newest = ours[-1] if ours else None
        state = (unit.is_metric, world.segment, world.version, id(newest), len(ours), world.loops)
        keys = {name: (count, *state) for name, count in heard.items() if count}
        new = {name for name, key in keys.items() if self._past_told.get(name) != key}
        if not new:
            return
        self._past_told |= keys
        path = _path(world, unit, ours)
        if "path" in new:
            topics.publish_path(path)
        if "graph" in new:
            topics.publish_graph(path)
        ended = time.monotonic()
        self._past_due = ended + (ended - started) / _PAST_SHARE


def _unit(world: World) -> _Unit:
    scale = world.scale
    if scale.metric:
        return _Unit(True, scale.metres_per_unit, scale.sigma)
    return _Unit(False, 1.0, 0.0)


def _extrinsics(world: World, unit: _Unit) -> Floats:
    """T_base_body; up to scale without the lever, whose metres are not in the map's unit."""
    if world.T_base_body is None:
        return np.eye(4)
    return world.T_base_body if unit.is_metric else metric(world.T_base_body, 0.0)


def _newest(world: World) -> PlacedKeyframe | None:
    """The segment's newest keyframe; None before the first."""
    ours = [placed for placed in world.keyframes if placed.segment == world.segment]
    return ours[-1] if ours else None


def _head(world: World, record: SceneRecord) -> PlacedKeyframe | None:
    """Where the newest moment of a scene is: a keyframe, or one that did not become one.

    The latter has the covariance of the newest keyframe, from which it is placed. None where the
    moment lacks the reference camera.
    """
    newest = _newest(world)
    if newest is None or newest.keyframe.stamp_ns == record.stamp_ns:
        return newest
    if record.T_map_cam is None or record.stamp_ns < newest.keyframe.stamp_ns:
        return None
    keyframe = replace(newest.keyframe, number=0, stamp_ns=record.stamp_ns)
    return replace(newest, keyframe=keyframe, T_map_body=record.T_map_cam)


def _path(world: World, unit: _Unit, placed: list[PlacedKeyframe]) -> PosePath:
    """Base poses of some keyframes in the present map, and the loops between them."""
    if not placed:
        return PosePath(np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    T_N44 = world.T_level_map @ np.stack([item.T_map_body for item in placed])
    T_N44[:, :3, 3] *= unit.per_map_unit
    stamps = np.array([item.keyframe.stamp_ns for item in placed], np.int64)
    row = {item.keyframe.number: index for index, item in enumerate(placed)}
    loops = [
        (row[edge.i], row[edge.j])
        for edge in world.edges
        if edge.kind == "loop" and edge.i in row and edge.j in row
    ]
    T_map_base_N44 = T_N44 @ inverse(_extrinsics(world, unit))
    return PosePath(stamps, T_map_base_N44, np.array(loops, np.int64).reshape(-1, 2))
