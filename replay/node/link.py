# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The replay's side of the ROS graph: publishes the recording, listens to the node, asks it.

Everything arrives as serialized bytes and is written as such; only the status is decoded.
One thread spins; `publish` and `ask` may be called from the player's thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import WriterError
from rosgraph_msgs.msg import Clock

from g2vlm_interfaces.msg import MapEvent, SceneStatus
from g2vlm_interfaces.srv import SaveMap, SpatialQuery
from g2vlm_map.recordings import NS
from g2vlm_model.interface.words import plain
from g2vlm_ros.logs import log_arguments

from ..asking import Answer
from ..errors import NodeFailedError, ReplayInputError
from ..question_file import Question
from ..run_options import NODE_NAME
from .conversions import PlayMessage, answer_of, request_of
from .message_types import message_class
from .process import (
    OUTPUT_PREFIXES,
    SCENE_TOPICS,
    STATUS_TOPIC,
    NodeProcess,
    is_recorded,
    node_environment,
)
from .recorder import Recorder

SPIN_SECONDS = 0.05
LOOK_SECONDS = 1.0  # the graph is looked at this often
_UNNAMED = "_NODE_NAME_UNKNOWN_"  # what rcl calls a node that it knows a publisher of only
OF_BOTH = ("/tf", "/tf_static")  # the node publishes transforms beside the recorded ones
SAVE_TIMEOUT_S = 60.0
# The two ends of a connection learn of it one after the other.
MATCH_SECONDS = 0.3
OUTPUT_TOPICS = (
    *(
        f"{prefix}/{name}"
        for prefix in OUTPUT_PREFIXES
        for name in ("points", "depth/image", "depth/camera_info", "path")
    ),
    *SCENE_TOPICS,
    STATUS_TOPIC,
)
EVENT_TOPIC = f"/{NODE_NAME}/map_event"
ANSWER_TOPIC = f"/{NODE_NAME}/answers"
ANSWER_TYPE = "g2vlm_interfaces/msg/SpatialAnswer"


def _qos(topic: str) -> QoSProfile:
    """Of a topic that is played: as drivers and TF offer it."""
    if topic == "/tf_static":
        return QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
    return QoSProfile(depth=100 if topic == "/tf" else 10, reliability=ReliabilityPolicy.RELIABLE)


@contextmanager
def _environment(domain_id: int) -> Iterator[None]:
    """The middleware's settings, for the time in which it reads them."""
    wanted = node_environment(domain_id)
    names = [name for name in wanted if name.startswith(("ROS_", "FASTDDS_"))]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: wanted[name] for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class NodeLink:
    """Publishers, raw subscriptions and service clients around the node under test.

    Args:
        topics: message type by topic of what will be published.
        domain_id: the node's ROS domain.
        recorder: gets every message.
        question_timeout_s: of one question; 0 leaves it to the node.
        robot_topics: those of them that the node may have no use for.
    """

    def __init__(
        self,
        topics: Mapping[str, str],
        domain_id: int,
        recorder: Recorder,
        question_timeout_s: float = 0.0,
        robot_topics: Collection[str] = (),
    ) -> None:
        self._recorder = recorder
        self._robot_topics = robot_topics
        self._question_timeout_s = question_timeout_s
        self._domain_id = domain_id
        self._context = rclpy.Context()
        with _environment(domain_id):
            rclpy.init(args=log_arguments() or None, context=self._context, domain_id=domain_id)
            self._node = rclpy.create_node("g2vlm_replay", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._clock = self._node.create_publisher(Clock, "/clock", 10)
        self._publishers = {
            topic: self._node.create_publisher(message_class(kind), topic, _qos(topic))
            for topic, kind in topics.items()
        }
        self._get_state = self._node.create_client(GetState, f"/{NODE_NAME}/get_state")
        self._query = self._node.create_client(SpatialQuery, f"/{NODE_NAME}/query")
        self._save_map = self._node.create_client(SaveMap, f"/{NODE_NAME}/save_map")
        self._subscriptions: dict[str, Any] = {}
        self._status: Any = None  # the newest
        self._built = False
        self._looked_s = 0.0  # when the graph was looked at last
        self._waited_for_name = False
        self._failure: Exception | None = None  # of the thread
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="replay-spin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and leave the graph."""
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def wait_until_active(
        self, process: NodeProcess, timeout_s: float, on_wait: Callable[[str], None]
    ) -> None:
        """Return when the node is active, listens to the frames, and we listen to it.

        Args:
            process: asked whether it still lives.
            timeout_s: wall seconds, those not counted in which the node is at work and answers
                nobody: it loads a model.
            on_wait: told the state, again and again.

        Raises:
            NodeFailedError: It ended, or is not active in time; with the tail of its log.
        """
        deadline = time.monotonic() + timeout_s
        state = "not answering"
        while time.monotonic() < deadline:
            process.check_alive()
            self.check()
            on_wait(state)
            reply = None
            if self._get_state.wait_for_service(timeout_sec=0.0):
                reply = self._call(self._get_state, GetState.Request(), 2.0)
                state = state if reply is None else str(reply.current_state.label)
                if reply is not None and reply.current_state.id == State.PRIMARY_STATE_ACTIVE:
                    self._subscribe()
                    if self._connected():
                        time.sleep(MATCH_SECONDS)
                        return
                    state = "active, connecting"
            if reply is None and process.is_working:
                deadline = max(deadline, time.monotonic() + timeout_s)
            time.sleep(0.1)
        raise NodeFailedError(
            f"the node was not ready after {timeout_s:.0f} s; its state: {state}. "
            f"{process.log_tail()}"
        )

    def wait_until_built(self, process: NodeProcess, on_wait: Callable[[str], None]) -> None:
        """Return when nothing is being built in the node any more: one runtime serves throughout.

        Args:
            process: asked whether it still lives.
            on_wait: told how far the build is, again and again.

        Raises:
            NodeFailedError: The node ended; with the tail of its log.
        """
        while not self._built:
            process.check_alive()
            self.check()
            status = self._status
            if status is not None:
                on_wait(f"engine {max(0.0, 100 * status.build_fraction):.0f} %")
                self._built = status.build_fraction < 0
            time.sleep(0.05)

    def check(self) -> None:
        """Raise what the thread could not do, and where somebody else is in the domain.

        Raises:
            ReplayInputError: What comes back cannot be written.
            NodeFailedError: A stranger publishes what the replay or the node publishes.
        """
        if self._failure is not None:
            if isinstance(self._failure, OSError | WriterError):
                raise ReplayInputError(
                    f"what the node publishes cannot be written: {self._failure}"
                ) from self._failure
            raise self._failure
        if time.monotonic() - self._looked_s < LOOK_SECONDS:
            return
        self._looked_s = time.monotonic()
        for topic in (STATUS_TOPIC, "/clock", *self._publishers):
            found = self._node.get_publishers_info_by_topic(topic)
            most = 1 + (topic in OF_BOTH)
            if len(found) > most:
                names = ", ".join(
                    sorted(f"{item.node_namespace}{item.node_name}" for item in found)
                )
                if _UNNAMED in names and not self._waited_for_name:
                    self._waited_for_name = True  # the name comes a moment after its publisher
                    return
                raise NodeFailedError(
                    f"somebody else is in ROS domain {self._domain_id}: {topic} is published by "
                    f"{len(found)} nodes ({names}), expected {most}; what came back is not of this "
                    "replay alone. Start it again: it draws another domain"
                )

    def publish(self, message: PlayMessage) -> None:
        """Publish a recorded message as it is."""
        self._publishers[message.topic].publish(message.content)

    def publish_clock(self, time_ns: int) -> None:
        """Set the simulated time."""
        self._recorder.time_ns = time_ns
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(time_ns, NS)
        self._clock.publish(clock)

    def ask(self, question: Question, frame_ns: int, scene_ns: int) -> Future[Answer]:
        """Send a question about a scene; its marks are pixels of the frame of `frame_ns`."""
        result: Future[Answer] = Future()
        request = request_of(question, frame_ns, scene_ns, self._question_timeout_s)

        def done(future: Any) -> None:
            if future.exception() is not None:
                result.set_exception(future.exception())
                return
            answer = future.result().answer
            self._record_answer(answer)
            result.set_result(answer_of(question, scene_ns, answer))

        self._query.call_async(request).add_done_callback(done)
        return result

    def save_map(self, path: Path) -> str:
        """Have the node write its map; "" where it did, else why not."""
        request = SaveMap.Request(path=str(path), overwrite=True)
        reply = self._call(self._save_map, request, SAVE_TIMEOUT_S)
        if reply is None:
            return f"the node did not answer ~/save_map within {SAVE_TIMEOUT_S:g} s"
        return "" if reply.success else str(reply.message)

    def _record_answer(self, answer: Any) -> None:
        self._recorder.define(ANSWER_TYPE)
        self._recorder.record(ANSWER_TOPIC, ANSWER_TYPE, bytes(serialize_message(answer)))

    def _subscribe(self) -> None:
        """Listen to everything that the node publishes, with the publisher's own QoS.

        Services may answer before the graph knows the node's name and all of its topics, so
        this is called until everything expected is there.
        """
        if NODE_NAME not in self._node.get_node_names():
            return
        offered = self._node.get_publisher_names_and_types_by_node(NODE_NAME, "/")
        for topic, kinds in offered:
            if not is_recorded(topic, f"/{NODE_NAME}") or topic in self._subscriptions:
                continue
            try:
                kind = message_class(kinds[0])
            except ImportError as error:
                self._node.get_logger().warning(plain(f"{topic} is not recorded: {error}"))
                self._subscriptions[topic] = None
                continue
            self._recorder.define(kinds[0])
            (qos, *_) = [
                item.qos_profile
                for item in self._node.get_publishers_info_by_topic(topic)
                if item.node_name == NODE_NAME
            ] or [QoSProfile(depth=10)]
            profile = QoSProfile(depth=1000, reliability=qos.reliability, durability=qos.durability)
            self._subscriptions[topic] = self._node.create_subscription(
                kind, topic, self._on_message(topic, kinds[0]), profile, raw=True
            )

    def _on_message(self, topic: str, msgtype: str) -> Callable[[bytes], None]:
        def record(data: bytes) -> None:
            if topic == STATUS_TOPIC:
                self._status = deserialize_message(bytes(data), SceneStatus)
                if not self._built:  # nothing has been played yet
                    return
                self._recorder.note_status(self._status)
            elif topic == EVENT_TOPIC:
                self._recorder.note_change(deserialize_message(bytes(data), MapEvent))
            self._recorder.record(topic, msgtype, bytes(data))

        return record

    def _connected(self) -> bool:
        """Whether the node hears every topic of ours, and we hear its scenes and status."""
        heard = all(
            publisher.get_subscription_count()
            for topic, publisher in self._publishers.items()
            if topic not in self._robot_topics
        )
        hears = set(OUTPUT_TOPICS) <= {
            topic
            for topic, subscription in self._subscriptions.items()
            if subscription is not None and subscription.get_publisher_count()
        }
        return heard and hears and self._query.service_is_ready()

    def _call(self, client: Any, request: Any, timeout_s: float) -> Any:
        future = client.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        if future.done():
            return future.result()
        client.remove_pending_request(future)
        return None

    def _spin(self) -> None:
        while not self._stop.is_set():
            try:
                self._executor.spin_once(timeout_sec=SPIN_SECONDS)
            except ExternalShutdownException:
                return
            except Exception as error:  # e.g. a full disk: `check` raises it where it is seen
                self._failure = self._failure or error
                return
