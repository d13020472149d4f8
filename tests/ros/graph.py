# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A real ROS graph for tests: the node under test in one thread, a client node in the test.

Everything goes over topics and services, as it does on a robot.
"""

from __future__ import annotations

import array
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from g2vlm_interfaces.msg import MapEvent, SceneStatus
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_ros.perception_node import PerceptionNode
from tests.helpers import wait_for
from tests.ros.scripted_runtime import ScriptedRuntime

_LOADS_S = 60.0  # a model, on a busy machine
NS = 1_000_000_000
SCRIPTED = "tests.ros.scripted_runtime:create"

OUTPUTS: dict[str, Any] = {
    "points": PointCloud2,
    "depth/image": Image,
    "depth/camera_info": CameraInfo,
    "image": Image,
    "pose": PoseWithCovarianceStamped,
    "odometry": Odometry,
    "path": Path,
}
# Without a source of the scale they are up to scale; those in metres are heard by `metric/...`.
TOPICS: dict[str, Any] = {
    **OUTPUTS,
    **{f"metric/{name}": kind for name, kind in OUTPUTS.items()},
    "map_event": MapEvent,
    "status": SceneStatus,
}
_noise = np.random.default_rng(7).integers(0, 256, (40, 600), np.uint8)
TEXTURE = cv2.resize(_noise, None, fx=14, fy=14, interpolation=cv2.INTER_CUBIC)


def picture(shift: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a texture that moves by `shift` pixels."""
    shift %= TEXTURE.shape[1] - width
    gray = TEXTURE[:height, shift : shift + width]
    return np.repeat(gray[..., None], 3, axis=2)


def image_message(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str = "camera_optical") -> Any:
    """sensor_msgs/Image rgb8."""
    message = Image(
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding="rgb8",
        step=3 * rgb.shape[1],
        data=array.array("B", rgb.tobytes()),
    )
    message.header.stamp = Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    message.header.frame_id = frame_id
    return message


def camera_info(width: int = 160, height: int = 120, focal: float = 130.0) -> Any:
    """sensor_msgs/CameraInfo of a pinhole camera."""
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=height, k=k)


def _topic(name: str) -> str:
    """The node's own name of an output."""
    if name in OUTPUTS:
        return f"up_to_scale/{name}"
    return name.removeprefix("metric/")


class Graph:
    """A node under test and a client beside it; `close` ends both.

    Args:
        parameters: Overrides of the node's parameters.
        namespace: Of the node under test; keeps two graphs of one process apart.
        spin_s: Longest time that the node's executor sleeps where nothing happens.
        remaps: FROM:=TO of the node under test.
    """

    def __init__(
        self,
        parameters: dict[str, Any] | None = None,
        namespace: str = "",
        spin_s: float = 0.2,
        remaps: tuple[str, ...] = (),
    ) -> None:
        defaults = {
            "runtime": SCRIPTED,
            "status.period_s": 0.02,
            "status.hold_s": 0.2,
            "keyframe.min_interval_s": 0.0,
            "keyframe.max_interval_s": 0.0,
            "images.timeout_s": 1.0,
        }
        values = {**defaults, **(parameters or {})}
        self.node = PerceptionNode(
            namespace=namespace,
            cli_args=["--ros-args", *(word for item in remaps for word in ("-r", item))],
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        self.namespace = namespace
        self.client = rclpy.create_node("client", namespace=namespace)
        self.received: dict[str, list[Any]] = {name: [] for name in TOPICS}
        self.statuses: list[Any] = []  # all of them: `status` clears the others
        self.diagnostics: list[Any] = []
        self.transforms: list[Any] = []
        self.stamp_ns = 100_000 * NS
        self.shift = 0
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._client_executor = SingleThreadedExecutor()
        self._client_executor.add_node(self.client)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._spin_s = spin_s
        self.rounds = 0  # of the node's executor
        self._running = True
        self._crash: list[BaseException] = []
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        try:
            while self._running:
                self._executor.spin_once(timeout_sec=self._spin_s)
                self.rounds += 1
        except BaseException as error:  # shown by `spin`; the node must never end like this
            self._crash.append(error)

    def close(self) -> None:
        """End both nodes; once is enough."""
        if not self._running:
            return
        self._running = False
        self._executor.create_task(lambda: None)  # ends a long sleep
        self._thread.join()
        self.node.close()
        self.client.destroy_node()
        # rclpy frees a lifecycle node's own services with the object only; until then they
        # answer no one, but a client in the next test believes that the node is up.
        del self.node, self._executor, self._client_executor
        gc.collect()
        assert not self._crash, self._crash

    @property
    def runtime(self) -> ScriptedRuntime:
        """The runtime that the node has loaded."""
        runtime = self.node.runtime
        assert isinstance(runtime, ScriptedRuntime)
        return runtime

    def listen(self, *names: str) -> None:
        """Subscribe to outputs by name; all of `TOPICS` where none is given."""
        for name in names or TOPICS:
            take = self._take_status if name == "status" else self.received[name].append
            # Deep: what held for a moment only is still heard by a test that was kept waiting.
            self.client.create_subscription(
                TOPICS[name], f"{self.namespace}/g2vlm/{_topic(name)}", take, 500
            )
        self.client.create_subscription(
            DiagnosticArray, "/diagnostics", self.diagnostics.append, 10
        )
        self.client.create_subscription(TFMessage, "/tf", self.transforms.append, 10)

    def _take_status(self, status: Any) -> None:
        self.received["status"].append(status)
        self.statuses.append(status)

    def forget(self) -> None:
        """Drop all that was heard so far."""
        for heard in (self.statuses, self.diagnostics, self.transforms, *self.received.values()):
            heard.clear()

    def spin(self, seconds: float = 0.02) -> None:
        """Let the client's callbacks run."""
        assert not self._crash, self._crash
        self._client_executor.spin_once(timeout_sec=seconds)

    def spin_for(self, seconds: float) -> None:
        """Run every callback that comes within a time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.spin(left)

    def wait(self, predicate: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        """Wait for something while the client's callbacks run."""

        def spun() -> Any:
            self.spin()
            return predicate()

        return wait_for(spun, timeout_s, interval_s=0.0, what=what)

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 15.0) -> Any:
        """Call a service and return its response."""
        if name not in self._clients:
            self._clients[name] = self.client.create_client(service_type, self.namespace + name)
        client = self._clients[name]
        self.wait(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.wait(future.done, f"response of {name}", timeout_s)
        return future.result()

    def send(self, service_type: Any, name: str, request: Any) -> Any:
        """Call a service without waiting; returns the future."""
        if name not in self._clients:
            self._clients[name] = self.client.create_client(service_type, self.namespace + name)
            self.wait(self._clients[name].service_is_ready, f"service {name}")
        return self._clients[name].call_async(request)

    def transition(self, number: int) -> bool:
        """Ask for a lifecycle transition."""
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(ChangeState, "/g2vlm/change_state", request, _LOADS_S).success)

    def configure(self) -> bool:
        return self.transition(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> bool:
        return self.transition(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        return self.transition(Transition.TRANSITION_DEACTIVATE)

    def cleanup(self) -> bool:
        return self.transition(Transition.TRANSITION_CLEANUP)

    def start(self) -> None:
        """Configure, activate, connect the camera."""
        assert self.configure()
        assert self.activate()

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        response = self.call(GetState, "/g2vlm/get_state", GetState.Request())
        return str(response.current_state.label)

    def publisher(self, topic: str, message_type: Any = Image, qos: Any = None) -> Any:
        """A publisher that the node has been matched with."""
        key = f"{topic} {message_type.__name__}"
        if key not in self._publishers:
            self._publishers[key] = self.client.create_publisher(
                message_type, self.namespace + topic, qos or qos_profile_sensor_data
            )
        publisher = self._publishers[key]
        self.wait(publisher.get_subscription_count, f"a subscription to {topic}")
        return publisher

    def publish(self, message: Any, topic: str = "/camera/image_raw") -> None:
        """Publish one picture under a base topic and wait until the node has counted it."""
        kind = CompressedImage if isinstance(message, CompressedImage) else Image
        if kind is CompressedImage:
            topic = f"{topic}/compressed"  # where image_transport puts them
        publisher = self.publisher(topic, kind)
        before = self.board.received
        publisher.publish(message)
        wait_for(lambda: self.board.received > before, 30.0, interval_s=0.001, what="the arrival")
        pipeline = self.node.pipeline
        assert pipeline is not None
        with pipeline._intake.lock:
            pass  # it is counted first, then looked at

    def good_image(self, shift: int = 12) -> int:
        """Publish a good picture 0.1 s later that shows something new; its stamp."""
        self.stamp_ns += NS // 10
        self.shift += shift
        self.publish(image_message(picture(self.shift), self.stamp_ns))
        return self.stamp_ns

    def scene(self) -> None:
        """Publish good pictures until a scene with one of them is out."""
        before, first_ns = self.board.scenes, self.stamp_ns + 1
        for _ in range(5):
            self.good_image()
            if self._more_scenes(before, first_ns):
                return
        raise AssertionError(f"no scene after 5 good pictures; {self.board.reasons(0.0)}")

    def _more_scenes(self, before: int, first_ns: int) -> bool:
        for _ in range(60):
            self.spin(0.02)
            # A scene of an earlier picture, still at work when this call began, is not it.
            newest = self.node.pipeline.scene if self.node.pipeline else None
            if self.board.scenes > before and newest and newest.stamp_ns >= first_ns:
                return True
        return False

    @property
    def board(self) -> Any:
        """The node's counters."""
        assert self.node.pipeline is not None
        return self.node.pipeline.board

    def status(self, predicate: Callable[[Any], Any] = lambda status: True) -> Any:
        """The next status message that fulfils a condition."""
        seen = self.received["status"]
        seen.clear()

        def found() -> Any:
            return next((status for status in seen if predicate(status)), None)

        return self.wait(found, "a status like that")

    def codes(self, code: str, present: bool = True) -> Any:
        """Wait for a status with (or without) a reason code; returns it."""
        return self.status(lambda status: (code in status.reason_codes) == present)

    def ask(self, question: str = "How far is the wall?", **fields: Any) -> Any:
        """Ask and return the answer, which comes in the question's own time at the latest."""
        request = SpatialQuery.Request(question=question, **fields)
        return self.call(SpatialQuery, "/g2vlm/query", request, 15.0 + request.timeout_s).answer

    def reset(self) -> Any:
        """Call `~/reset`."""
        return self.call(Trigger, "/g2vlm/reset", Trigger.Request())
