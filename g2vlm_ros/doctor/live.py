# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks at a live graph: who publishes what with which QoS, and what comes within some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, LaserScan, PointCloud2
from tf2_msgs.msg import TFMessage

from g2vlm_map.cameras import NS
from g2vlm_ros.doctor.hearing import Hearing
from g2vlm_ros.doctor.machine_facts import Turns, look_at_machine
from g2vlm_ros.doctor.running_node import StatusHeard, is_there, parameters_of, state_of
from g2vlm_ros.doctor.seen import ClockSeen, Endpoint, Mismatch, NodeSeen, Seen
from g2vlm_ros.doctor.told import Told, told_by
from g2vlm_ros.doctor.transforms_seen import TransformsHeard
from g2vlm_ros.doctor.wanted import GraphNames, remaps, wanted
from g2vlm_ros.logs import log_arguments

__all__ = ["GraphLook", "look_at_graph", "told_in"]

_CLASSES = {
    f"{package}/msg/{kind.__name__}": kind
    for package, kinds in (
        ("sensor_msgs", (Image, CompressedImage, CameraInfo, Imu, LaserScan, PointCloud2)),
        ("nav_msgs", (Odometry,)),
    )
    for kind in kinds
}
_SETTLE_S = 1.0  # until the graph is known
_STEP_S = 0.1
_STATIC = DurabilityPolicy.TRANSIENT_LOCAL


@dataclass(frozen=True)
class Remapped:
    """Names of a node of which some are remapped: to what it really subscribes."""

    plain: GraphNames
    to: Mapping[str, str]

    def resolve_topic_name(self, topic: str) -> str:
        """The full name of a topic."""
        name = self.plain.resolve_topic_name(topic)
        return self.to.get(name, name)


def look_at_graph(
    name: str, seconds: float, file: Path | None, given: Mapping[str, Any], profile: Path | None
) -> Seen:
    """Look at the graph of this process's domain.

    Args:
        name: Of the node, with namespace.
        seconds: How long it is listened, and waited for the node ahead of that.
        file, given: Parameters, see `told_by`.
        profile: The project's shared-memory profile.

    Raises:
        OSError, ValueError: The parameter file.
        RuntimeError: ROS cannot be started.
    """
    if file is not None:
        told_by(name, file, given)  # a file that cannot be read says so at once
    context = rclpy.Context()
    rclpy.init(args=log_arguments() or None, context=context)
    node = rclpy.create_node(
        "g2vlm_doctor", context=context, start_parameter_services=False, enable_rosout=False
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(duration_s: float) -> None:
        deadline = time.monotonic() + duration_s
        while (left := deadline - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    try:
        spin(_SETTLE_S)
        late = time.monotonic() + seconds  # a node that is busy is discovered late
        while not is_there(node, name) and time.monotonic() < late:
            spin(_STEP_S)
        told = told_in(node, name, file, given, spin)
        look = GraphLook(node, told)
        turns, deadline = Turns(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            look.listen()
            spin(_STEP_S)
            turns.step(_STEP_S)
        attention = turns.attention()
        domain = context.get_domain_id()
        machine = look_at_machine(told.params, domain, profile)
        source = f"the graph of ROS domain {domain}"
        return replace(look.seen(), source=source, machine=machine, attention=attention)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


def told_in(node: Any, name: str, file: Path | None, given: Mapping[str, Any], spin: Any) -> Told:
    """What the node is told: by a file, else as it says itself, else by default."""
    if not is_there(node, name):
        return told_by(name, file, given)
    running = parameters_of(node, name, spin)
    told = told_by(name, file, given, running)
    state = "" if running is None else state_of(node, name, spin)
    return replace(told, node=NodeSeen(name, state, answers=running is not None))


class GraphLook:
    """Listens from construction until `seen`.

    Args:
        node: The doctor's; other looks may share it.
        told: What the node that is looked after goes by.
    """

    def __init__(self, node: Any, told: Told) -> None:
        self._node, self._told = node, told
        self._name = "" if told.node is None else told.node.name
        self._names = self._with_remaps()
        self._wants = [] if told.problem else wanted(told.params, self._names)
        self._heard: dict[str, Hearing] = {}
        self._transforms = TransformsHeard()
        self._clock = (0, 0)  # first, last
        self._status = StatusHeard(node, self._name) if self._name else None
        take = self._transforms.take
        for topic, is_static in (("/tf", False), ("/tf_static", True)):
            durability = _STATIC if is_static else DurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=200, durability=durability)
            node.create_subscription(TFMessage, topic, partial(take, is_static=is_static), qos)
        best = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Clock, "/clock", self._take_clock, best)

    def listen(self) -> int:
        """Subscribe to what has come into the graph meanwhile; how much that was."""
        before = len(self._heard)
        for want in self._wants:
            if want.topic in self._heard:
                continue
            found = [
                info
                for info in self._node.get_publishers_info_by_topic(want.topic)
                if info.topic_type == want.msgtype
            ]
            if not found:
                continue
            # Reliable where all offer it: else large messages are lost to the doctor alone.
            offered = {info.qos_profile.reliability for info in found}
            reliable = offered == {ReliabilityPolicy.RELIABLE}
            reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            hearing = Hearing(want.topic, want.msgtype, _decoded)
            self._heard[want.topic] = hearing
            self._node.create_subscription(
                _CLASSES[want.msgtype],
                want.topic,
                partial(self._take, hearing),
                QoSProfile(depth=50, reliability=reliability),
                raw=True,
            )
        return len(self._heard) - before

    def seen(self) -> Seen:
        """All that has come."""
        told, node = self._told, self._told.node
        if node is not None and self._status is not None:
            reasons = self._status.reasons(told.params.status.tolerated)
            node = replace(node, reasons=reasons)
        publishers = self._publishers()
        clocks = tuple(sorted(item.node for item in publishers.get("/clock", ())))
        return Seen(
            source="the graph",
            is_live=True,
            params=told.params,
            names=self._names,
            wants=self._wants,
            publishers=publishers,
            heard=self._heard,
            mismatches=(*self._unheard_inputs(), *self._unheard_outputs()),
            transforms=self._transforms.seen(),
            clock=ClockSeen(told.uses_sim_time, clocks, *self._clock),
            node=node,
            problem=told.problem,
        )

    def _take(self, hearing: Hearing, data: bytes) -> None:
        clock_ns = self._clock[1] if self._told.uses_sim_time else time.time_ns()
        hearing.take(bytes(data), clock_ns)

    def _take_clock(self, message: Any) -> None:
        now_ns = message.clock.sec * NS + message.clock.nanosec
        self._clock = (self._clock[0] or now_ns, now_ns)

    def _publishers(self) -> dict[str, tuple[Endpoint, ...]]:
        """Of all topics, but this node's own."""
        found = {}
        for topic, _ in self._node.get_topic_names_and_types():
            ends = [
                Endpoint(_full(info), info.topic_type)
                for info in self._node.get_publishers_info_by_topic(topic)
                if _full(info) != self._node.get_fully_qualified_name()
            ]
            if ends:
                found[topic] = tuple(ends)
        return found

    # QoS: what the node asks for, and what it offers.

    def _unheard_inputs(self) -> Iterator[Mismatch]:
        reader = self._name or f"{self._told.names.resolve_topic_name('g2vlm')}"
        asked = {want.topic: _profile(want.reliability) for want in self._wants}
        asked["/tf_static"] = QoSProfile(depth=200, durability=_STATIC)
        types = {want.topic: want.msgtype for want in self._wants}
        for topic, qos in asked.items():
            own = [
                info.qos_profile
                for info in self._node.get_subscriptions_info_by_topic(topic)
                if self._name and _full(info) == self._name
            ]
            for info in self._node.get_publishers_info_by_topic(topic):
                if info.topic_type == types.get(topic, info.topic_type):
                    yield from _judge(info, (own or [qos])[0], _full(info), reader, topic, True)

    def _unheard_outputs(self) -> Iterator[Mismatch]:
        if not self._name:
            return
        for topic, _ in self._of_the_node(self._node.get_publisher_names_and_types_by_node):
            offers = [
                info
                for info in self._node.get_publishers_info_by_topic(topic)
                if _full(info) == self._name
            ]
            readers = self._node.get_subscriptions_info_by_topic(topic)
            for info in readers if offers else ():
                yield from _judge(
                    offers[0], info.qos_profile, self._name, _full(info), topic, False
                )

    def _with_remaps(self) -> Any:
        """Where the running node really listens, as far as that is unambiguous."""
        names = self._told.names
        if self._told.node is None or self._told.node.state != "active":
            return names
        assert isinstance(names, GraphNames)
        found = self._of_the_node(self._node.get_subscriber_names_and_types_by_node)
        real = {(topic, kind) for topic, kinds in found for kind in kinds}
        return Remapped(names, remaps(wanted(self._told.params, names), real))

    def _of_the_node(
        self, ask: Callable[[str, str], list[tuple[str, list[str]]]]
    ) -> list[tuple[str, list[str]]]:
        """Topics with their types of the node looked at; none where it has just gone."""
        space, _, short = self._name.rpartition("/")
        try:
            return ask(short, space or "/")
        except NodeNameNonExistentError:
            return []


def _profile(reliability: str) -> Any:
    return QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])


def _judge(
    offer: Any, asked: Any, publisher: str, subscriber: str, topic: str, is_input: bool
) -> Iterator[Mismatch]:
    """The middleware's own word on a publisher and what is asked of it."""
    verdict, reason = qos_check_compatible(offer.qos_profile, asked)
    if verdict == QoSCompatibility.ERROR:
        policy = "reliability" if "eliab" in reason or "est effort" in reason else "durability"
        yield Mismatch(topic, publisher, subscriber, policy, reason.strip("; "), is_input)


def _full(info: Any) -> str:
    """A node's name with its namespace."""
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def _decoded(data: bytes, msgtype: str) -> Any:
    return deserialize_message(data, _CLASSES[msgtype])
