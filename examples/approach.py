# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives a robot up to a place that a question is about: asks, turns, drives, stops.

    g2vlm simulate --robot mode=cmd_vel
    python examples/approach.py --ros-args -p u:=120.0 -p v:=90.0

It looks about until lengths are metres, asks `~/ask` about the mark (or what the question names)
and takes the answer's place over into the odometry's frame by TF. Then it drives there, never
without fresh `~/obstacles`, and stops before what stands in the way. It gives up with a reason
where the answer has no place, the scale is lost, the way is blocked, or time is over.

An example, not safety-rated: it knows of obstacles by one camera alone. Exit code: 0 it arrived,
1 it gave up.
"""

from __future__ import annotations

import enum
import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Twist
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2

from g2vlm_interfaces.action import Ask
from g2vlm_interfaces.msg import PixelMark, SceneStatus, SpatialAnswer
from g2vlm_ros.messages import nanoseconds
from g2vlm_ros.tf import TransformUnknownError, transform_buffer

__all__ = ["Approach", "Limits", "Phase", "main", "steer"]

Floats = NDArray[np.float64]

_PERIOD_S = 0.1
_FRESH_S = 4.0  # age of obstacles up to which they are driven by: a keyframe's pass takes its time
_BLOCKED_S = 6.0  # that it waits before what stands in the way
_LOST_S = 10.0  # that it waits for a scale that was lost
_STILL_S = 1.5  # that it stands before it asks, so that a keyframe is where it stands
_SWAY_S = 11.0  # of one look to both sides
_LOOK_SPEED, _LOOK_TURN = 0.15, 0.25  # metres and radians per second
_ANSWER_S = 20.0
_ASKS = 3


@dataclass(frozen=True)
class Limits:
    """How the robot drives; metres, seconds, radians.

    Args:
        stop: Distance from the place at which it has arrived.
        brake: It does not drive where something stands nearer than this ahead.
        half_width: Of the strip ahead that must be free.
        speed, turn_rate: At most.
        around: What stands this near to the place belongs to it.
    """

    stop: float = 0.7
    brake: float = 0.45
    half_width: float = 0.25
    speed: float = 0.25
    turn_rate: float = 0.5
    around: float = 0.35


class Phase(enum.Enum):
    """What it does at present."""

    LOOKING = "looks about until lengths are metres"
    STANDING = "stands still"
    ASKING = "asks"
    DRIVING = "drives"
    ARRIVED = "has arrived"
    GAVE_UP = "gave up"


def steer(place_2: Floats, obstacles_M2: Floats, limits: Limits) -> tuple[float, float, str]:
    """Speed and turn rate towards a place, and what keeps it from driving.

    Args:
        place_2: (2,) of the place, axes of the base: x ahead, y to the left, metres.
        obstacles_M2: (M, 2) of obstacles, the same axes.
        limits: How it drives.

    Returns:
        Metres per second, radians per second, and why the speed is 0: "" where nothing stands in
        the way.
    """
    distance, bearing = float(np.hypot(*place_2)), math.atan2(place_2[1], place_2[0])
    turn = float(np.clip(1.5 * bearing, -limits.turn_rate, limits.turn_rate))
    if abs(bearing) > 0.35:
        return 0.0, turn, ""
    x, y = obstacles_M2.T if len(obstacles_M2) else np.zeros((2, 0))
    others = np.hypot(x - place_2[0], y - place_2[1]) > limits.around
    ahead = x[others & (x > 0.0) & (np.abs(y) < limits.half_width)]
    nearest = float(ahead.min()) if len(ahead) else math.inf
    if nearest < limits.brake:
        return 0.0, turn, f"something stands {nearest:.2f} m ahead"
    left = min(distance - limits.stop, nearest - limits.brake)
    return float(np.clip(0.6 * left, 0.06, limits.speed)), turn, ""


class Approach(Node):  # type: ignore[misc]  # rclpy's types are not followed
    """One approach, from the start of the node to `phase` ARRIVED or GAVE_UP."""

    def __init__(self, overrides: list[Any] | None = None) -> None:
        super().__init__("approach", parameter_overrides=overrides or [])
        values = {
            "question": "How far away is A?",
            "u": -1.0,  # pixels of the mark; below 0 the question names what it means
            "v": -1.0,
            "label": "A",
            "node": "/g2vlm",
            "base": "base_link",
            "odom": "odom",
            "look_m": 0.6,  # how far it goes ahead until lengths are metres
            "stop_m": Limits.stop,
            "timeout_s": 120.0,
        }
        self._value = {name: self.declare_parameter(name, it).value for name, it in values.items()}
        self._limits = Limits(stop=self._value["stop_m"])
        self.phase, self.reason = Phase.LOOKING, ""
        self.answer: Any = None
        self._since = self._began = time.monotonic()
        self._status: Any = None
        self._obstacles: tuple[float, int, Floats] | None = None  # heard at, stamp, (M, 2) then
        self._place_2: Floats | None = None  # in the odometry's frame
        self._kept_by, self._kept_since, self._asked = "", 0.0, 0
        self._tf = transform_buffer(self)
        self._ask = ActionClient(self, Ask, f"{self._value['node']}/ask")
        self._wheels = self.create_publisher(Twist, "cmd_vel", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        own = self._value["node"]
        self.create_subscription(SceneStatus, f"{own}/status", self._take_status, latched)
        self.create_subscription(PointCloud2, f"{own}/obstacles", self._take_obstacles, 2)
        self.create_timer(_PERIOD_S, self._tick)

    @property
    def over(self) -> bool:
        """Whether it is at its end."""
        return self.phase in (Phase.ARRIVED, Phase.GAVE_UP)

    def stop(self) -> None:
        """Let the wheels stand."""
        self._wheels.publish(Twist())

    def _take_status(self, message: Any) -> None:
        if self._status is None or not self._status.scenes:
            self._began = time.monotonic()  # a node that loads its model takes none of the time
        self._status = message

    def _take_obstacles(self, message: Any) -> None:
        points = np.frombuffer(message.data, np.float32).reshape(-1, message.point_step // 4)
        xy = points[:, :2].astype(np.float64)
        self._obstacles = (time.monotonic(), nanoseconds(message.header.stamp), xy)

    def _go(self, phase: Phase, reason: str = "") -> None:
        self.phase, self.reason, self._since = phase, reason, time.monotonic()
        self.get_logger().info(f"{phase.value}{': ' if reason else ''}{reason}")
        if phase is not Phase.DRIVING:
            self.stop()

    def _tick(self) -> None:
        if self.over:
            return
        now = time.monotonic()
        if now - self._began > self._value["timeout_s"]:
            self._go(Phase.GAVE_UP, f"no arrival within {self._value['timeout_s']:g} s")
            return
        try:
            T_odom_base = self._tf.lookup(self._value["odom"], self._value["base"])
        except TransformUnknownError:
            return  # the robot has not said yet where it is
        if self.phase is Phase.LOOKING:
            self._look(now)
        elif self.phase is Phase.STANDING and now - self._since > _STILL_S:
            self._send()
        elif self.phase is Phase.ASKING and now - self._since > 2 * _ANSWER_S:
            self._go(Phase.GAVE_UP, "nobody answers the question")
        elif self.phase is Phase.DRIVING:
            self._drive(T_odom_base, now)

    def _look(self, now: float) -> None:
        """To and fro and to both sides: sensors and pictures learn the scale from it.

        Nothing tells of obstacles before lengths are metres: it stays within `look_m`.
        """
        if self._status is not None and self._status.is_metric:
            self._go(Phase.STANDING)
            return
        told, turns = Twist(), 2.0 * math.pi * (now - self._since)
        swing_s = 2.0 * math.pi * 0.5 * self._value["look_m"] / _LOOK_SPEED
        told.linear.x = _LOOK_SPEED * math.cos(turns / swing_s)
        told.angular.z = _LOOK_TURN * math.cos(turns / _SWAY_S)
        self._wheels.publish(told)

    def _send(self) -> None:
        """Ask; the mark is on the newest keyframe."""
        self._asked += 1
        goal = Ask.Goal(question=self._value["question"], timeout_s=_ANSWER_S)
        if self._value["u"] >= 0.0:
            place = {name: self._value[name] for name in ("u", "v", "label")}
            goal.marks = [PixelMark(**place)]
        if not self._ask.server_is_ready():
            return  # the next tick tries again
        self._go(Phase.ASKING, goal.question)
        self._ask.send_goal_async(goal).add_done_callback(
            lambda sent: sent.result().get_result_async().add_done_callback(self._take_answer)
        )

    def _take_answer(self, future: Any) -> None:
        answer = self.answer = future.result().result.answer
        if self.over:
            return
        said = f"{answer.reply or answer.text or answer.message}"
        usable = len(answer.points) > 0 and answer.status in (
            SpatialAnswer.OK,
            SpatialAnswer.TRUNCATED,
            SpatialAnswer.ABSTAINED,  # about a length: its place was seen all the same
        )
        if usable and answer.is_metric:
            point = answer.points[0]
            optical = np.array([point.x, point.y, point.z, 1.0])
            try:
                T_odom_optical = self._tf.lookup(
                    self._value["odom"], answer.header.frame_id, nanoseconds(answer.header.stamp)
                )
            except TransformUnknownError as error:
                self._go(Phase.GAVE_UP, f"where the camera was is not known: {error}")
                return
            self._place_2 = (T_odom_optical @ optical)[:2]
            self._kept_by = ""
            self._go(Phase.DRIVING, said)
        elif self._asked < _ASKS and (usable or answer.status == SpatialAnswer.NO_SCENE):
            self._go(Phase.LOOKING, "the answer is up to scale" if usable else said)
        else:
            self._go(Phase.GAVE_UP, f"the answer has no place: {answer.message or said}")

    def _drive(self, T_odom_base: Floats, now: float) -> None:
        assert self._place_2 is not None
        place_2 = _in_base(T_odom_base, self._place_2[None])[0]
        if np.hypot(*place_2) <= self._limits.stop:
            self._go(Phase.ARRIVED, f"{np.hypot(*place_2):.2f} m from the place")
            return
        told, patience = Twist(), _BLOCKED_S
        if not self._status.is_metric:
            kept_by, patience = "lengths are no longer metres", _LOST_S
        elif self._obstacles is None or now - self._obstacles[0] > _FRESH_S:
            kept_by, patience = "no fresh obstacles come", _LOST_S
        else:
            heard, turn, kept_by = steer(place_2, self._seen(T_odom_base), self._limits)
            told.linear.x, told.angular.z = heard, turn
        self._wheels.publish(told)
        if not kept_by:
            self._kept_by = ""
        elif not self._kept_by:
            self._kept_by, self._kept_since = kept_by, now
        elif now - self._kept_since > patience:
            left = f"{np.hypot(*place_2):.2f} m from the place"
            self._go(Phase.GAVE_UP, f"{kept_by}, {left}")

    def _seen(self, T_odom_base: Floats) -> Floats:
        """(M, 2) obstacles in the base's axes of now."""
        assert self._obstacles is not None
        _, stamp_ns, seen_M2 = self._obstacles
        try:
            T_odom_then = self._tf.lookup(self._value["odom"], self._value["base"], stamp_ns)
        except TransformUnknownError:
            return seen_M2
        moved_M2 = seen_M2 @ T_odom_then[:2, :2].T + T_odom_then[:2, 3]
        return _in_base(T_odom_base, moved_M2)


def _in_base(T_odom_base: Floats, places_M2: Floats) -> Floats:
    """(M, 2) places of the odometry's plane in the base's axes."""
    found: Floats = (places_M2 - T_odom_base[:2, 3]) @ T_odom_base[:2, :2]
    return found


def main(argv: list[str] | None = None) -> int:
    """Run one approach; 0 where it arrived."""
    rclpy.init(args=argv)
    node = Approach()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not node.over:
            executor.spin_once(timeout_sec=0.2)
    except (KeyboardInterrupt, ExternalShutdownException):
        node.reason = "it was interrupted"
    finally:
        if rclpy.ok():
            node.stop()
            time.sleep(0.1)  # the wheels' last word leaves before the publisher goes
        node.destroy_node()
        rclpy.try_shutdown()
    return 0 if node.phase is Phase.ARRIVED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
