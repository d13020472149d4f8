# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a look at a graph or a bag leaves: plain data for the checks. No rclpy, no rosbags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g2vlm_map.transform_tree import TransformTree
from g2vlm_ros.camera_topics import Names
from g2vlm_ros.doctor.hearing import Hearing
from g2vlm_ros.doctor.wanted import Want
from g2vlm_ros.params import CameraParams, NodeParams

__all__ = [
    "Attention",
    "ClockSeen",
    "Endpoint",
    "Link",
    "Machine",
    "Mismatch",
    "NodeSeen",
    "Participant",
    "Seen",
    "TransformsSeen",
]

_HICCUPS = 0.02  # of the time that it listens, which say nothing


@dataclass(frozen=True)
class Endpoint:
    """A publisher of a topic: its node with namespace, and what it sends."""

    node: str
    msgtype: str


@dataclass(frozen=True)
class Mismatch:
    """A publisher and a subscription of one topic whose QoS do not fit: nothing arrives.

    Args:
        topic: Of both.
        publisher, subscriber: Nodes with namespace.
        policy: "reliability", "durability" or what else the middleware names.
        reason: In its words.
        is_input: The subscription is the node's own.
    """

    topic: str
    publisher: str
    subscriber: str
    policy: str
    reason: str
    is_input: bool


@dataclass(frozen=True)
class Link:
    """A transform as it was sent: names as they stand, slashes and all."""

    parent: str
    child: str
    is_static: bool


@dataclass(frozen=True)
class TransformsSeen:
    """The robot's frames.

    Args:
        links: Each pair once.
        tree: All of them but those that it refused.
        refused: (link, cause of `TransformTree.add`).
    """

    links: frozenset[Link] = frozenset()
    tree: TransformTree = field(default_factory=TransformTree)
    refused: frozenset[tuple[Link, str]] = frozenset()

    def parents(self, child: str) -> list[str]:
        """All parents that a frame was given, without slashes."""
        found = {link.parent.lstrip("/") for link in self.links if link.child.lstrip("/") == child}
        return sorted(found)


@dataclass(frozen=True)
class ClockSeen:
    """The clock that the node goes by.

    Args:
        is_simulated: Its `use_sim_time`.
        publishers: Nodes that publish /clock.
        first_ns, last_ns: Of /clock; 0 where nothing came.
    """

    is_simulated: bool = False
    publishers: tuple[str, ...] = ()
    first_ns: int = 0
    last_ns: int = 0


@dataclass(frozen=True)
class NodeSeen:
    """The running node.

    Args:
        name: With namespace.
        state: Of its lifecycle; "" where it did not say.
        answers: Its services answer.
        reasons: (code, text) of its newest status that it does not tolerate.
    """

    name: str
    state: str = ""
    answers: bool = True
    reasons: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Participant:
    """A process of this machine that has loaded Fast DDS.

    Args:
        pid: Its number.
        command: Its words, shortened.
        has_profile: Its environment names a profile or a transport for large messages.
    """

    pid: int
    command: str
    has_profile: bool


@dataclass(frozen=True)
class Machine:
    """The machine that the doctor runs on.

    Args:
        participants: Processes of this user with Fast DDS; empty where nobody can tell.
        shared_memory: Folder of shared memory.
        shm_total, shm_free: Its bytes; 0 where there is none.
        remains: Bytes in files of Fast DDS whose process is gone.
        outdated: (library, installed, required) of what is older than this project asks for.
        runtime_problem: Why what the parameters ask for cannot run here; "" where it can.
        profile: The project's shared-memory profile; None where it is not installed.
    """

    participants: tuple[Participant, ...] = ()
    shared_memory: Path = Path("/dev/shm")  # the kernel's, not a temporary file
    shm_total: int = 0
    shm_free: int = 0
    remains: int = 0
    outdated: tuple[tuple[str, str, str], ...] = ()
    runtime_problem: str = ""
    profile: Path | None = None


@dataclass(frozen=True)
class Attention:
    """What the doctor itself had of the machine while it listened.

    Args:
        seconds: How long it listened.
        worked_s, waited_s: Its thread on a core, and ready to run without one.
        load: Processes that ran or waited, on average; 0 where that is unknown.
        cores: Of the machine.
    """

    seconds: float = 0.0
    worked_s: float = 0.0
    waited_s: float = 0.0
    load: float = 0.0
    cores: int = 1

    @property
    def lost_s(self) -> float:
        """What a process that always wants a core waited meanwhile; 0 where cores were free."""
        if self.waited_s <= max(self.worked_s, _HICCUPS * self.seconds):
            return 0.0
        return self.seconds * self.waited_s / (self.worked_s + self.waited_s)

    def __str__(self) -> str:
        """How it was, in words."""
        return (
            f"in {self.seconds:.1f} s the doctor ran for {self.worked_s:.2f} s and waited "
            f"{self.waited_s:.2f} s for a core (load {self.load:.1f} on {self.cores})"
        )


@dataclass(frozen=True)
class Seen:
    """All that a look leaves.

    Args:
        source: What was looked at, in words.
        is_live: A graph, else a bag.
        params: Those of the node.
        names: Resolves its topics.
        wants: What it listens to.
        publishers: By topic, of the whole graph.
        heard: By topic, what came.
        mismatches: QoS that do not fit.
        transforms, clock, node, machine, attention: See there; `node` None: none runs.
        problem: What the node would refuse of its parameters; the rest is by defaults then.
    """

    source: str
    is_live: bool
    params: NodeParams
    names: Names
    wants: Sequence[Want] = ()
    publishers: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    heard: Mapping[str, Hearing] = field(default_factory=dict)
    mismatches: tuple[Mismatch, ...] = ()
    transforms: TransformsSeen = field(default_factory=TransformsSeen)
    clock: ClockSeen = field(default_factory=ClockSeen)
    node: NodeSeen | None = None
    machine: Machine = field(default_factory=Machine)
    problem: str = ""
    attention: Attention = field(default_factory=Attention)

    def types_of(self, topic: str) -> list[str]:
        """The message type of each publisher of a topic."""
        return [item.msgtype for item in self.publishers.get(topic, ())]

    def topics_of_type(self, msgtype: str) -> list[str]:
        """What is published with a type, by name."""
        return sorted(
            topic
            for topic, found in self.publishers.items()
            if any(item.msgtype == msgtype for item in found)
        )

    def of(self, want: Want) -> Hearing | None:
        """What came of what the node wants; None where nothing did."""
        hearing = self.heard.get(want.topic)
        return hearing if hearing is not None and hearing.marks else None

    def want(self, role: str, camera: str = "") -> Want | None:
        """The topic of a role."""
        return next((w for w in self.wants if w.role == role and w.camera == camera), None)

    def camera(self, name: str) -> CameraParams:
        """A camera's parameters."""
        return next(item for item in self.params.topics if item.name == name)

    def frames_of(self, camera: str) -> Hearing | None:
        """The frames of a camera that came."""
        want = self.want("frames", camera)
        return None if want is None else self.of(want)

    def frame_id(self, hearing: Hearing, camera: str = "") -> str:
        """The frame that messages are in, as the node takes it."""
        given: Any = self.camera(camera).frame_id if camera else ""
        return str(given or hearing.marks[-1].frame_id).lstrip("/")
