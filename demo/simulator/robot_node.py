# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ROS node of the simulated robot: parameters, publishers, /cmd_vel."""

from __future__ import annotations

import array
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from geometry_msgs.msg import Twist
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ..drives import NS, START_NS, Drive, make_drive
from ..messages import TYPES, MessageMaker
from ..stream import Due, by_time
from .commanded import Commanded
from .options import SimulatorOptions, defaults, parse
from .pacing import Ahead, Paced
from .rounds import RoundFrame, Rounds

__all__ = ["RobotNode"]

_AHEAD = 40  # pictures that are made before they are due
_LATE_NS = NS // 2
_REPORT_S = 5.0
_FROM_RCLPY = ("use_sim_time", "qos_overrides.", "start_type_description_service")
_PROGRESS = 100  # pictures between two words on how far rendering is
_LEAD_NS = NS // 2  # from the first picture made to the first one sent
_LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
_RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class RobotNode(Node):  # type: ignore[misc]
    """A robot that publishes what its sensors say.

    Args:
        overrides: Parameters for tests; a process takes them from its arguments.
    """

    def __init__(self, overrides: list[Any] | None = None) -> None:
        super().__init__(
            "robot",
            automatically_declare_parameters_from_overrides=True,
            parameter_overrides=overrides or [],
        )
        for name, value in defaults().items():
            if not self.has_parameter(name):
                self.declare_parameter(name, value)
        values = {
            name: item.value
            for name, item in self.get_parameters_by_prefix("").items()
            if not name.startswith(_FROM_RCLPY)
        }
        self.options: SimulatorOptions = parse(values)
        self.drive: Drive = make_drive(self.options.drive())
        self._publishers_by_topic: dict[str, Any] = {}
        self._streams: dict[str, Paced] = {}
        self._ahead: Ahead[RoundFrame] | None = None
        self._reported: dict[str, int] = {}
        robot, spec = self.drive.robot, self.drive.spec
        self.get_logger().info(
            f"{spec.scene} {spec.index} ({spec.split}), {self.options.mode}: "
            f"{self.drive.length_m:.0f} m in {self.drive.seconds:.0f} s, up to {robot.speed} m/s, "
            f"pictures of {spec.size_hw[1]}x{spec.size_hw[0]} at {spec.rate_hz:g} Hz"
        )

    def start(self, go_on: Callable[[], bool]) -> None:
        """Render what is asked for ahead of time, then begin to send.

        Args:
            go_on: Asked between two pictures; False ends it.
        """
        if self.options.mode == "tour":
            self._start_tour(go_on)
        else:
            start_ns = time.monotonic_ns() + _LEAD_NS
            maker = self._maker(start_ns)
            robot = Commanded(self.drive, maker, self.options.streams(), start_ns)
            self.create_subscription(
                Twist, "cmd_vel", lambda told: robot.command(told.linear.x, told.angular.z), 10
            )
            self._begin(robot, by_time(robot.pictures()), start_ns)

    def _start_tour(self, go_on: Callable[[], bool]) -> None:
        if self.options.prerender:
            for number in range(1, len(self.drive.stamp_N) + 1):
                self.drive.frame(number - 1)
                if not go_on():
                    return
                if number % _PROGRESS == 0:
                    self.get_logger().info(f"{number} of {len(self.drive.stamp_N)} pictures made")
        alone = not self.options.prerender
        robot = Rounds(self.drive, self.options.streams(), self.options.loop, alone)
        self._ahead = Ahead(robot.frames(), _AHEAD)
        _ = self.drive.odometry, self.drive.scans  # made at once, before their first sample is due
        while go_on() and not self._ahead.ready:
            time.sleep(0.05)
        start_ns = time.monotonic_ns() + _LEAD_NS
        robot.use(self._maker(start_ns), start_ns)
        self._begin(robot, by_time(robot.pictures(self._ahead)), start_ns)

    def _begin(self, robot: Rounds | Commanded, pictures: Iterator[Due], start_ns: int) -> None:
        """Send all streams from a time on."""
        streams = {"pictures": pictures, "wheels": by_time(robot.wheels())}
        if self.options.streams().scan:
            streams["scans"] = by_time(robot.ranges())
        self._send(robot.static())
        for name, messages in streams.items():
            self._streams[name] = Paced(messages, self._send, start_ns - START_NS, _LATE_NS)
        self.create_timer(_REPORT_S, self._report)

    def check(self) -> None:
        """Raise what ended a stream."""
        for stream in self._streams.values():
            if stream.error is not None:
                raise stream.error

    def close(self) -> None:
        """Send no more; the node's own handle goes too."""
        if self._ahead is not None:
            self._ahead.close()
        for stream in self._streams.values():
            stream.close()
        self.destroy_node()

    def _maker(self, start_ns: int) -> MessageMaker:
        """Messages stamped by the clock of the node, from a monotonic time on."""
        offset_ns = self.get_clock().now().nanoseconds + start_ns - time.monotonic_ns() - START_NS
        return MessageMaker(
            {name: _message_class(name) for name in TYPES},
            floats=lambda values: array.array("f", values.tobytes()),
            octets=lambda data: array.array("B", data),
            offset_ns=offset_ns,
        )

    def _send(self, due: Due) -> None:
        publisher = self._publishers_by_topic.get(due.topic)
        if publisher is None:
            profile = _LATCHED if due.topic == "/tf_static" else _RELIABLE
            publisher = self.create_publisher(_message_class(due.msgtype), due.topic, profile)
            self._publishers_by_topic[due.topic] = publisher
        publisher.publish(due.message)

    def _report(self) -> None:
        """Say once a period what came too late to be sent."""
        dropped = {name: stream.dropped for name, stream in self._streams.items()}
        if any(dropped.values()) and dropped != self._reported:
            self._reported = dropped
            lost = ", ".join(f"{count} of {name}" for name, count in dropped.items() if count)
            self.get_logger().warning(
                f"messages were not ready in time and left out so far: {lost}; choose smaller "
                "pictures (width, height), or render a tour before it starts (prerender:=true)"
            )


def _message_class(name: str) -> Any:
    """The class of a message by its full name, e.g. "std_msgs/msg/Header"."""
    package, kind, word = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), word)
