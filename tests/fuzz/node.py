# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages that nobody should send, to the real node over the wire: `python -m tests.fuzz.node N`.

A run that is told to end (SIGINT, SIGTERM) says what it found until then.
The node runs with the runtime that returns at once, in a graph of its own, and gets pictures, coded
ones, calibrations, odometry, transforms, scans, clouds, inertial samples, questions and parameters,
good and bad. Watched are its executor (a second watch in the same process tells what the machine
itself held up), its memory, that whatever is refused has a reason, and that whoever asks hears.

Node and client share a process, so the client must hold nothing: what it hears is looked at and
dropped, and so is what the tests' runtime remembers of its windows. The node's map grows up to a
bound of its own, which is set low here and reached early.
"""

from __future__ import annotations

import array
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import (
    CompressedImage,
    Image,
    Imu,
    LaserScan,
    PointCloud2,
    PointField,
)
from tf2_msgs.msg import TFMessage

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_map.decode import ENCODINGS
from g2vlm_map.status import DROP_CODES
from tests.fuzz import seeds
from tests.fuzz.executor_watch import IDLE_S, Watch
from tests.fuzz.mutate import change_picture
from tests.helpers import REPO
from tests.ros.graph import NS, Graph, camera_info, image_message, picture

__all__ = ["Assault", "main"]

HANG_S, GROWTH_MB = 1.0, 100.0
_WARM = 500  # messages before memory is measured
_MAP_MB = 6  # of 300: so that the map is soon at its bound, and what grows on is no map
# Answers that may lie unread while this process sends: a client's default keeps the last ten, and
# the middleware throws the others away.
_DEEP = QoSProfile(depth=2000)
_SERVICES = {"question": (SpatialQuery, "/g2vlm/query"),
             "parameter": (SetParameters, "/g2vlm/set_parameters")}  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e30, 1e300, float("nan"), float("inf"), -float("inf"))
_NAMES = ("camera", "/camera", "base_link", "odom", "map", "", "a b", "\x1b[31m", "x" * 300)
_SIDES = (0, 1, 2, 7, 16, 160, 65535, 65537, 2**31, 2**32 - 1)
_PARAMETERS: dict[str, tuple[Any, ...]] = {
    "max_rate_hz": (0.0, -1.0, float("nan"), 1e300, 5.0),
    "images.max_jump_s": (1.0, -1.0, float("inf")),
    "keyframe.min_interval_s": (0.0, -1.0, float("nan")),
    "status.tolerated": (["NONSENSE"], [], ["NO_IMAGES"]),
    "runtime": ("os:system", "json:loads"),
    "camera.image_topic": ("~/{", "a b"),
    "\x1b[31m": (1,),
}


class Assault:
    """Sends messages to a node and looks at what it makes of them.

    Args:
        seed: Of all choices.
        told: Nothing more is sent once something is in it.
    """

    def __init__(self, seed: int, told: list[int]) -> None:
        self._rng, self._told = random.Random(seed), told
        self.graph = Graph(
            {
                "camera.image_transport": "raw", "images.max_pixels": 100_000,
                "cameras": ["camera", "packed"], "packed.image_transport": "compressed",
                "packed.image_topic": "/packed/image",
                "sensors.odometry_topic": "/odom", "sensors.scan_topics": "/scan",
                "sensors.cloud_topics": "/cloud", "sensors.imu_topic": "/imu",
                "frames.base": "base_link", "query.queue": 4, "query.timeout_s": 2.0,
                "map.max_memory_mb": _MAP_MB,
            },
            spin_s=IDLE_S,
        )  # fmt: skip
        self.graph.listen("status")
        self.graph.start()
        self.sent: Counter[str] = Counter()
        self.findings: list[str] = []
        self.refused = 0
        self._open: list[tuple[str, Any, float, Any]] = []  # kind, request, since, future
        self._tf_publishers: dict[str, Any] = {}
        self._clients = {
            kind: self.graph.client.create_client(*service, qos_profile=_DEEP)
            for kind, service in _SERVICES.items()
        }
        for kind, client in self._clients.items():
            self.graph.wait(client.service_is_ready, f"the service of a {kind}")
        self._shift = 0
        self._stamp_ns = 100_000 * NS
        self._kinds: dict[str, tuple[float, Callable[[], None]]] = {
            "good": (3.0, self._good), "image": (6.0, self._image), "coded": (4.0, self._coded),
            "info": (1.0, self._info), "odometry": (1.0, self._odometry), "tf": (1.0, self._tf),
            "scan": (1.0, self._scan), "cloud": (1.0, self._cloud), "imu": (1.0, self._imu),
            "question": (0.6, self._question), "parameter": (0.2, self._parameter),
        }  # fmt: skip

    def send(self, count: int) -> None:
        """Send so many messages; what comes back is looked at on the way."""
        names = list(self._kinds)
        weights = [self._kinds[name][0] for name in names]
        for number in range(count):
            if self._told:
                break
            name = self._rng.choices(names, weights)[0]
            self._kinds[name][1]()
            self.sent[name] += 1
            self.graph.spin(0.0)
            if number % 20 == 19:
                self._look()

    def close(self) -> None:
        """Wait for the last answers and end the node."""
        until = time.monotonic() + 20
        while self._open and time.monotonic() < until:
            self.graph.spin(0.05)
            self._look()
        now = time.monotonic()
        self.findings += [
            f"a {kind} was not answered for {now - since:.0f} s: {request!r:.300}"
            for kind, request, since, _ in self._open
        ]
        self.graph.close()

    def _ask(self, kind: str, request: Any) -> None:
        future = self._clients[kind].call_async(request)
        self._open.append((kind, request, time.monotonic(), future))

    def _look(self) -> None:
        self.graph.forget()
        runtime = self.graph.runtime
        for remembered in (runtime.windows, runtime.scenes, runtime.queries):
            remembered.clear()
        open_now = []
        for kind, request, since, future in self._open:
            if not future.done():
                open_now.append((kind, request, since, future))
                continue
            result = future.result()
            if kind == "question":
                answer = result.answer
                good = answer.status == answer.OK or answer.message.strip()
            else:
                good = all(one.successful or one.reason.strip() for one in result.results)
                self.refused += sum(not one.successful for one in result.results)
            if not good:
                self.findings.append(f"a {kind} was refused without a reason: {result!r:.300}")
        self._open = open_now
        board = self.graph.board
        strange = set(board.drops) - set(DROP_CODES)
        if strange:
            self.findings.append(f"frames dropped for {sorted(strange)}")
        for reason in board.reasons(time.monotonic()):
            if not reason.text.strip() or not reason.text.isprintable():
                self.findings.append(f"{reason.code} says {reason.text!r:.200}")

    def _publish(self, topic: str, message: Any) -> None:
        self.graph.publisher(topic, type(message)).publish(message)

    def _frame(self, topic: str, message: Any) -> None:
        """Send a frame and wait until the node has it, so that none is lost on the wire."""
        before = self.graph.board.received
        self._publish(topic, message)
        until = time.monotonic() + 2.0
        while self.graph.board.received == before and time.monotonic() < until:
            time.sleep(0.0005)

    def _stamp(self) -> Time:
        step = self._rng.choice((NS // 10, NS // 10, NS // 10, 0, -NS // 20, -5 * NS, 3600 * NS))
        self._stamp_ns = max(1, self._stamp_ns + step)
        if self._rng.random() < 0.03:
            return Time(sec=self._rng.choice((0, -1, -(2**31), 2**31 - 1)), nanosec=2**32 - 1)
        return Time(sec=self._stamp_ns // NS, nanosec=self._stamp_ns % NS)

    def _header(self, message: Any, *frames: str) -> None:
        message.header.stamp = self._stamp()
        odd = self._rng.random() < 0.1
        message.header.frame_id = self._rng.choice(_NAMES if odd else frames)

    def _good(self) -> None:
        self._stamp_ns += NS // 10
        self._shift += 12
        self._frame("/camera/image_raw", image_message(picture(self._shift), self._stamp_ns))

    def _image(self) -> None:
        rng = self._rng
        encoding = rng.choice([*ENCODINGS, "32FC1", "h264", "", "rgb9\x1b"])
        height, width = 2 * rng.randint(1, 40), 2 * rng.randint(1, 40)
        spec = ENCODINGS.get(encoding)
        row = width * spec.channels * spec.itemsize if spec else width
        step, rows = (
            row + rng.choice((0, 0, 3)),
            height * (3 if spec and spec.half_rows else 2) // 2,
        )
        data = rng.randbytes(step * rows)
        if rng.random() < 0.4:
            height, width, step = (rng.choice((value, *_SIDES)) for value in (height, width, step))
            data = data[: rng.randrange(len(data) + 1)]
        message = Image(
            height=height, width=width, encoding=encoding, step=step,
            is_bigendian=rng.choice((0, 1, 255)), data=array.array("B", data),
        )  # fmt: skip
        self._header(message, "camera_optical")
        self._frame("/camera/image_raw", message)

    def _coded(self) -> None:
        data = self._rng.choice(seeds.pictures())
        for _ in range(self._rng.randint(0, 2)):
            data = change_picture(data, self._rng)
        message = CompressedImage(
            format=self._rng.choice(("jpeg", "png", "", "h264", "16UC1; compressedDepth")),
            data=array.array("B", data),
        )
        self._header(message, "packed_optical")
        self._frame("/packed/image/compressed", message)

    def _number(self) -> float:
        return self._rng.choice((*_FLOATS, self._rng.uniform(-2, 2), self._rng.uniform(-2, 2)))

    def _info(self) -> None:
        rng = self._rng
        message = camera_info(rng.choice((160, 160, *_SIDES)), 120)
        message.distortion_model = rng.choice(("plumb_bob", "equidistant", "omni", ""))
        message.d = [self._number() for _ in range(rng.choice((0, 4, 5, 8)))]
        if rng.random() < 0.5:
            message.k = np.array([self._number() for _ in range(9)])
        message.binning_x = rng.choice((0, 1, 2, 2**32 - 1))
        self._header(message, "camera_optical")
        self._publish("/camera/camera_info", message)

    def _pose(self, position: Any, rotation: Any) -> None:
        for axis in "xyz":
            setattr(position, axis, self._number())
            setattr(rotation, axis, self._number())
        rotation.w = self._number()

    def _odometry(self) -> None:
        message = Odometry(child_frame_id=self._rng.choice(("base_link", *_NAMES)))
        self._pose(message.pose.pose.position, message.pose.pose.orientation)
        message.pose.covariance = np.array([self._number() for _ in range(36)])
        self._header(message, "odom")
        self._publish("/odom", message)

    def _tf(self) -> None:
        links = []
        for _ in range(self._rng.randint(0, 3)):
            link = TransformStamped(child_frame_id=self._rng.choice(_NAMES))
            self._pose(link.transform.translation, link.transform.rotation)
            self._header(link, *_NAMES)
            links.append(link)
        topic = self._rng.choice(("/tf", "/tf_static"))
        key, qos = f"{topic} TFMessage", QoSProfile(depth=10)
        if topic == "/tf_static":
            qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if key not in self._tf_publishers:  # of the whole graph, not of the namespace
            self._tf_publishers[key] = self.graph.client.create_publisher(TFMessage, topic, qos)
        self._tf_publishers[key].publish(TFMessage(transforms=links))

    def _scan(self) -> None:
        low = 3.4e38  # rosidl refuses the largest float32
        numbers = [float(np.clip(self._number(), -low, low)) for _ in range(5)]
        message = LaserScan(
            angle_min=numbers[0], angle_increment=numbers[1], range_min=numbers[2],
            range_max=abs(numbers[3]), ranges=[numbers[4]] * self._rng.choice((0, 1, 360)),
        )  # fmt: skip
        self._header(message, "lidar", "base_link")
        self._publish("/scan", message)

    def _cloud(self) -> None:
        rng = self._rng
        names = rng.choice(("xyz", "xy", ""))
        message = PointCloud2(
            fields=[PointField(name=n, offset=rng.choice((4 * i, 2**31)), datatype=7, count=1)
                    for i, n in enumerate(names)],
            width=rng.choice((5, *_SIDES)), height=rng.choice((1, *_SIDES)),
            point_step=rng.choice((12, *_SIDES)), row_step=rng.choice((60, *_SIDES)),
            data=array.array("B", rng.randbytes(rng.choice((0, 60, 61)))),
        )  # fmt: skip
        self._header(message, "lidar", "base_link")
        self._publish("/cloud", message)

    def _imu(self) -> None:
        message = Imu()
        q, a, w = message.orientation, message.linear_acceleration, message.angular_velocity
        self._pose(a, q)
        w.x, w.y, w.z = (self._number() for _ in range(3))
        message.orientation_covariance[0] = self._number()
        self._header(message, "imu", "base_link")
        self._publish("/imu", message)

    def _question(self) -> None:
        rng = self._rng
        marks = [
            PixelMark(u=float(rng.choice((1.0, -5.0, 1e30, float("nan")))), v=2.0,
                      camera=rng.choice(("camera", *_NAMES)), label=rng.choice(_NAMES))
            for _ in range(rng.randint(0, 3))
        ]  # fmt: skip
        request = SpatialQuery.Request(
            question=rng.choice(("How far is the wall?", "", "\x1b[31m", "x" * 20_000)),
            marks=marks, cameras=rng.choice(([], ["camera"], list(_NAMES[:3]))),
            timeout_s=float(rng.choice((0.0, 1.0, -1.0, float("nan"), 1e30))),
            max_tokens=rng.choice((0, 1, 8)), reason=rng.choice(("", "geometry", *_NAMES[:2])),
        )  # fmt: skip
        self._ask("question", request)

    def _parameter(self) -> None:
        name = self._rng.choice(list(_PARAMETERS))
        value = self._rng.choice(_PARAMETERS[name])
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        self._ask("parameter", request)


def assault(messages: int, seed: int) -> dict[str, Any]:
    """Send messages to one node; what came of it."""
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: told.append(got))
    made = Assault(seed, told)
    watch = Watch(lambda: made.graph.rounds)
    process = psutil.Process()
    made.send(min(_WARM, messages))
    warm_mb = process.memory_info().rss / 2**20
    started = time.monotonic()
    made.send(max(0, messages - _WARM))
    seconds = time.monotonic() - started
    grown_mb = process.memory_info().rss / 2**20 - warm_mb
    watch.close()
    board = made.graph.board
    made.refused += sum(board.drops.values())
    scenes = board.scenes
    made.close()
    if watch.worst_s > HANG_S:
        made.findings.append(f"the executor was away for {watch.worst_s:.2f} s")
    if grown_mb > GROWTH_MB:
        made.findings.append(f"memory grew by {grown_mb:.0f} MB")
    messages = sum(made.sent.values())
    return {
        "messages": messages, "stopped by": told[:1], "sent": dict(made.sent), "scenes": scenes,
        "refused": made.refused, "drops": dict(board.drops),
        "executor away, s": round(watch.worst_s, 2),
        "grown, MB": round(grown_mb, 1), "a second": round(messages / max(1e-9, seconds), 1),
        "findings": sorted(set(made.findings)),
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Send so many messages and write what came of it."""
    import rclpy
    from g2vlm_replay.domain import ReservedDomain

    domain = ReservedDomain()
    os.environ |= {
        "ROS_DOMAIN_ID": str(domain.number), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(REPO / "launch" / "fastdds_shm.xml"),
    }  # fmt: skip
    rclpy.init()
    try:
        told = assault(int(arguments[0]), random.getrandbits(32))
    finally:
        rclpy.try_shutdown()
        domain.close()
    text = json.dumps(told, indent=1)
    Path(arguments[1]).write_text(text)
    print(text)
    return int(bool(told["findings"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
