# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A session on a running node: its topics and services, nothing of its own.

Each cloud of the node is a chunk, placed by the path, which is published anew when the map's past
changes. Cameras beside the reference, and where loops lie, are not on topics.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
import viser
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool

from g2vlm_interfaces.msg import PixelMark, SceneStatus, SpatialAnswer
from g2vlm_interfaces.srv import LoadMap, SaveMap, SetScale, SpatialQuery
from g2vlm_map.clouds import POINT_DTYPE
from g2vlm_map.pictures import decode_rgb, open_picture
from g2vlm_map.poses import Floats, rigid
from g2vlm_map.status import REASON_CODES
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_ros.frame_options import UP_TO_SCALE
from g2vlm_ros.messages import header, matrix, nanoseconds
from g2vlm_ros.tf import TransformUnknownError, transform_buffer

from .chunks import Chunk, Key, MapPicture, Node
from .drawing import Evidence
from .replies import answer_fields, scale_state
from .session import Answered, Placed, RefusedError, Session, depth_jpeg

__all__ = ["NodeSession"]

_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_EACH = 3000  # points of a cloud that are kept
_WAIT_S = 30.0  # for a service


class NodeSession(Session):
    """See `Session`.

    Args:
        server: viser's.
        name: Of the node, with its namespace.
        total: Points kept at most; the oldest clouds go.
    """

    def __init__(self, server: viser.ViserServer, name: str, total: int = 600_000) -> None:
        super().__init__(server, name)
        self._name, self._most = name, max(1, total // _EACH)
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node("g2vlm_view", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinning = threading.Thread(target=self._spin, name="g2vlm-ros", daemon=True)
        self._status: Any = None
        self._clouds: dict[int, tuple[Chunk, str]] = {}  # map units, frame; by stamp
        self._path: dict[int, Floats] = {}  # T_map_base in map units, by stamp
        self._base = ""
        self._revision = 0
        self._drawn: tuple[int, MapPicture] = (-1, MapPicture())
        self._pictures: dict[str, tuple[str, bytes]] = {}
        self._size_hw = (0, 0)
        self._keyframe_ns = 0
        self._tf = transform_buffer(self._node)
        self._listen()
        self.commands |= {
            "pause": lambda values: self._pause(True),
            "play": lambda values: self._pause(False),
            "save": lambda values: self._save(values),
            "load": lambda values: self._load(values),
            "scale": self._set_scale,
        }
        del self.commands["pick"]  # a node does not say where its older pictures were taken

    def start(self) -> None:
        """Begin to listen and to draw."""
        self._spinning.start()
        super().start()

    def close(self) -> None:
        """Listen and draw no more."""
        super().close()
        self._executor.shutdown(timeout_sec=1.0)
        self._context.try_shutdown()
        if self._spinning.is_alive():
            self._spinning.join(2.0)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _listen(self) -> None:
        def on(kind: Any, topic: str, take: Callable[..., object], qos: QoSProfile = _QOS) -> None:
            self._node.create_subscription(kind, f"{self._name}/{topic}", take, qos)

        on(SceneStatus, "status", self._take_status, _LATCHED)
        on(CompressedImage, "keyframe/image/compressed", self._take_keyframe)
        for prefix, metric in (("", True), (f"{UP_TO_SCALE}/", False)):
            on(PointCloud2, f"{prefix}points", lambda m, k=metric: self._take_cloud(m, k))
            on(Path, f"{prefix}path", lambda m, k=metric: self._take_path(m, k))
            on(Odometry, f"{prefix}odometry", self._take_odometry)
            on(Image, f"{prefix}depth/image", self._take_depth)

    # What the node tells; in the executor's thread.

    @property
    def _unit(self) -> float:
        """Metres in a map unit where lengths are metres, else 1."""
        status = self._status
        return float(status.scale) if status is not None and status.is_metric else 1.0

    def _take_status(self, status: Any) -> None:
        before, self._status = self._status, status
        if before is not None and before.segment != status.segment:
            self._clouds, self._path = {}, {}
        if before is None or before.scale != status.scale or before.segment != status.segment:
            self._revision += 1

    def _take_cloud(self, message: Any, metric: bool) -> None:
        records = np.frombuffer(message.data, POINT_DTYPE)
        finite = np.isfinite(records["x"]) & np.isfinite(records["y"]) & np.isfinite(records["z"])
        records = records[finite][:: max(1, math.ceil(np.count_nonzero(finite) / _EACH))]
        points = np.stack([records[axis] for axis in "xyz"], axis=-1)
        points = points / np.float32(self._unit if metric else 1.0)
        packed = np.ascontiguousarray(records["rgb"]).view(np.uint32)
        color = np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)
        chunk = Chunk(points.astype(np.float32), color, records["confidence"].copy())
        frame = message.header.frame_id.removesuffix(f"_{UP_TO_SCALE}")
        clouds = {**self._clouds, nanoseconds(message.header.stamp): (chunk, frame)}
        self._clouds = {stamp: clouds[stamp] for stamp in sorted(clouds)[-self._most :]}
        self._revision += 1

    def _take_path(self, message: Any, metric: bool) -> None:
        unit = self._unit if metric else 1.0
        path = {}
        for item in message.poses:
            T = matrix(item.pose.position, item.pose.orientation)
            if T is not None:
                path[nanoseconds(item.header.stamp)] = rigid(T[:3, :3], T[:3, 3] / unit)
        self._path = path
        self._revision += 1

    def _take_odometry(self, message: Any) -> None:
        self._base = message.child_frame_id.removesuffix(f"_{UP_TO_SCALE}")

    def _take_keyframe(self, message: Any) -> None:
        data = bytes(message.data)
        self._size_hw = decode_rgb(open_picture(data)).pixels.shape[:2]
        self._keyframe_ns = nanoseconds(message.header.stamp)
        self._pictures["keyframe"] = (str(self._keyframe_ns), data)

    def _take_depth(self, message: Any) -> None:
        depth: NDArray[np.float32] = np.frombuffer(message.data, "<f4").reshape(
            message.height, message.width
        )
        stamp = str(nanoseconds(message.header.stamp))
        self._pictures["depth"] = (stamp, depth_jpeg(depth))

    # What pages see.

    def newest(self) -> MapPicture:
        """The map as the node has told it."""
        revision = self._revision
        if revision == self._drawn[0]:
            return self._drawn[1]
        unit, nodes = self._unit, dict[Key, Node]()
        for number, (stamp, (chunk, frame)) in enumerate(sorted(self._clouds.items())):
            T_map_cam = self._camera(stamp, frame)
            if T_map_cam is not None:
                nodes[number, 0] = Node(chunk, T_map_cam, unit)
        status = self._status
        level = status is not None and bool(status.up_source)
        metric = status is not None and status.is_metric
        picture = MapPicture(nodes, unit="m" if metric else "map units", level=level)
        self._drawn = (revision, picture)
        return picture

    def _camera(self, stamp_ns: int, frame: str) -> Floats | None:
        """T_map_cam in the picture's unit, as the path and TF have it now."""
        T_map_base = self._path.get(stamp_ns)
        if T_map_base is None:
            return None
        T = rigid(T_map_base[:3, :3], T_map_base[:3, 3] * self._unit)
        if not self._base or self._base == frame:
            return T
        try:
            lever = self._tf.lookup(self._base, frame)
        except TransformUnknownError:
            return T
        metres = 1.0 if self._status is not None and self._status.is_metric else 0.0
        return T @ rigid(lever[:3, :3], lever[:3, 3] * metres)

    def picture(self, name: str) -> bytes | None:
        """See `Session.picture`."""
        return self._pictures.get(name, ("", None))[1]

    def own_state(self) -> dict[str, Any]:
        """See `Session.own_state`."""
        status = self._status
        reasons = [
            {
                "code": "NO_NODE",
                "title": "The node says nothing.",
                "text": f"nobody publishes {self._name}/status: is it up, and in this domain?",
            }
        ]
        if status is not None:
            told = zip(status.reason_codes, status.reason_texts, strict=False)
            reasons = [
                {"code": code, "title": REASON_CODES.get(code, code), "text": text}
                for code, text in told
            ]
        there = status is not None
        return {
            "scale": scale_state(
                there and status.is_metric,
                status.scale_sigma if there else 0.0,
                status.scale_source.split("+") if there else (),
            ),
            "status": {
                "degraded": not there or status.state == SceneStatus.STATE_DEGRADED,
                "reasons": reasons,
            },
            "playing": {
                "paused": any(reason["code"] == "PAUSED" for reason in reasons),
                "speed": 1.0,
                "frames": int(status.frames_received) if there else 0,
                "total": 0,
                "ended": False,
                "scenes": int(status.scenes) if there else 0,
                "pass_ms": round(status.observe_ms) if there else 0,
            },
            "pictures": {"keyframe": self._pictures.get("keyframe", ("",))[0], "current": "0"},
            "occupancy": "see ~/map/occupancy" if self.look.occupancy else "",
            "maps": [],
        }

    # Marks, questions, commands: the node's services.

    def mark_at(self, x: float, y: float) -> str:
        """See `Session.mark_at`."""
        if not self._keyframe_ns:
            raise RefusedError("there is no keyframe yet to mark a place in")
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise RefusedError(f"the place is ({x:g}, {y:g}), expected shares of the picture, 0..1")
        height, width = self._size_hw
        u, v = x * width - 0.5, y * height - 0.5
        mark = Placed(self.next_label(), u, v, "", self._keyframe_ns, (x, y))
        with self._lock:
            self.marks.append(mark)
        return f"{mark.label} is marked"

    def mark_in_space(self, place_3: Floats) -> str:
        """Refuse; see the command."""
        raise RefusedError("of a running node places are marked on its picture")

    def ask(self, question: str, of_map: bool) -> str:
        """See `Session.ask`: `~/query`."""
        request = SpatialQuery.Request(question=question, scope=int(of_map))
        request.marks = [] if of_map else self._marks()
        self.asking += 1

        def take(response: Any) -> None:
            answer = response.answer
            fields = answer_fields(question, answer_of(answer), answer.queue_ms)
            self.answered(Answered(fields, self._evidence(answer, fields)))

        try:
            self._call(SpatialQuery, "query", request, take)
        except RefusedError:
            self.asking -= 1
            raise
        return ""

    def _marks(self) -> list[Any]:
        return [
            PixelMark(stamp=header(m.stamp_ns, "").stamp, u=m.u, v=m.v, label=m.label)
            for m in self.marks
        ]

    def _evidence(self, answer: Any, fields: dict[str, Any]) -> Evidence | None:
        points = [(p.x, p.y, p.z) for p in answer.points]
        frame = answer.header.frame_id.removesuffix(f"_{UP_TO_SCALE}")
        status = self._status
        names = list(answer.labels)
        if status is None or frame != status.map_frame.removesuffix(f"_{UP_TO_SCALE}"):
            T = self._camera(nanoseconds(answer.header.stamp), frame)
            if T is None or not points:
                return None
            points = (np.array(points) @ T[:3, :3].T + T[:3, 3]).tolist()
        points += [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in answer.poses]
        if not points:
            return None
        words = fields["reply"] if fields["ok"] else ""
        return Evidence(np.array(points, np.float64), names, words, is_answer=True)

    def _call(
        self, kind: Any, name: str, request: Any, take: Callable[[Any], object] | None = None
    ) -> Any:
        """A service's response; with `take` it comes there and nobody waits."""
        client = self._node.create_client(kind, f"{self._name}/{name}")
        if not client.wait_for_service(2.0):
            self._node.destroy_client(client)
            raise RefusedError(f"there is no service {self._name}/{name}: is the node up?")
        done = threading.Event()

        def finished(future: Any) -> None:
            if take is not None:
                take(future.result())
            done.set()

        future = client.call_async(request)
        future.add_done_callback(finished)
        if take is not None:
            return None
        if not done.wait(_WAIT_S):
            raise RefusedError(f"{self._name}/{name} did not answer in {_WAIT_S:g} s")
        return future.result()

    def _pause(self, paused: bool) -> str:
        return str(self._call(SetBool, "pause", SetBool.Request(data=paused)).message)

    def _set_scale(self, values: dict[str, Any]) -> str:
        metres = values.get("metres")
        if isinstance(metres, bool) or not isinstance(metres, (int, float)):
            raise RefusedError(f"the length is {metres!r:.40}, expected metres")
        if len(self.marks) < 2:
            raise RefusedError("mark the two ends of the length first")
        request = SetScale.Request(marks=self._marks()[-2:], length=float(metres))
        return _said(self._call(SetScale, "set_scale", request))

    def _save(self, values: dict[str, Any]) -> str:
        request = SaveMap.Request(path=str(values.get("name", "")), overwrite=True)
        return _said(self._call(SaveMap, "save_map", request))

    def _load(self, values: dict[str, Any]) -> str:
        request = LoadMap.Request(path=str(values.get("name", "")))
        return _said(self._call(LoadMap, "load_map", request))


def answer_of(message: Any) -> Answer:
    """A message as the answer that it was made of."""
    assert isinstance(message, SpatialAnswer), type(message)

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    return Answer(
        AnswerStatus(message.status),
        message.message,
        message.text,
        float(message.value) if message.has_value else None,
        message.unit,
        message.is_metric,
        number(message.sigma),
        labels=tuple(message.labels),
        confidence=float(message.confidence),
        is_calibrated=message.is_calibrated,
        cross_check=CrossCheck(message.cross_check),
        measured_value=number(message.measured_value),
        kind=message.kind,
        source=AnswerSource(message.source),
        reply=message.reply,
        text_value=number(message.text_value),
        measured_sigma=number(message.measured_sigma),
        measured_choice=message.measured_choice,
        prefill_ms=message.prefill_ms,
        decode_ms=message.decode_ms,
        model_id=message.model_id,
    )


def _said(response: Any) -> str:
    if not response.success:
        raise RefusedError(response.message)
    return str(response.message)
