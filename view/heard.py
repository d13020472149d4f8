# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a running node has told on its topics, and the map to be drawn of it.

Each cloud of the node is a chunk, placed by the path, which is published anew when the map's past
changes. Everything that is taken comes in the thread that spins the node.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_map.clouds import POINT_DTYPE
from g2vlm_map.dense.occupancy import Grid
from g2vlm_map.pictures import decode_rgb, open_picture
from g2vlm_map.poses import Floats, rigid
from g2vlm_ros.frame_options import UP_TO_SCALE
from g2vlm_ros.messages import matrix, nanoseconds
from g2vlm_ros.scene_topics import LOOPS
from g2vlm_ros.tf import TransformUnknownError, transform_buffer

from .chunks import Chunk, Key, MapPicture, Node
from .current import CurrentFrame
from .replies import depth_jpeg

__all__ = ["NodeTopics"]

_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_EACH = 3000  # points of a cloud that are kept
_POSES = 256  # of moments that a question may still be about


class NodeTopics:
    """Listens from when it is made.

    Args:
        node: rclpy's, of this process.
        name: Of the node that is listened to, with its namespace.
        total: Points kept at most; the oldest clouds go.
    """

    def __init__(self, node: Any, name: str, total: int) -> None:
        self._node, self._name, self._most = node, name, max(1, total // _EACH)
        self.status: Any = None  # SceneStatus, once there was one
        self.pictures: dict[str, tuple[str, bytes]] = {}  # stamp and JPEG by name
        self.current = CurrentFrame(node, name)
        self.size_hw = (0, 0)  # of the keyframe's picture
        self.keyframe_ns = 0
        self._clouds: dict[int, tuple[Chunk, str, int]] = {}  # map units, frame, number; by stamp
        self._heard = 0  # clouds so far
        self._path: dict[int, Floats] = {}  # T_map_base in map units, by stamp: the keyframes
        self._poses: dict[int, Floats] = {}  # the same of every moment, as it was first known
        self._loop_L23 = np.zeros((0, 2, 3))  # map units, between places of the base
        self._grid: Grid | None = None
        self._grids: Any = None  # the subscription, while somebody looks
        self._base = ""
        self._revision = 0
        self._drawn: tuple[int, MapPicture] = (-1, MapPicture())
        self._tf = transform_buffer(node)
        self._on(SceneStatus, "status", self.take_status, _LATCHED)
        self._on(CompressedImage, "keyframe/image/compressed", self._take_keyframe)
        for prefix, metric in (("", True), (f"{UP_TO_SCALE}/", False)):
            self._on(PointCloud2, f"{prefix}points", lambda m, k=metric: self._take_cloud(m, k))
            self._on(Path, f"{prefix}path", lambda m, k=metric: self.take_path(m, k))
            graph = f"{prefix}map/graph"
            self._on(MarkerArray, graph, lambda m, k=metric: self._take_graph(m, k), _LATCHED)
            kind = PoseWithCovarianceStamped
            self._on(kind, f"{prefix}pose", lambda m, k=metric: self._take_pose(m, k))
            self._on(Odometry, f"{prefix}odometry", self._take_odometry)
            self._on(Image, f"{prefix}depth/image", self._take_depth)

    def _on(
        self, kind: Any, topic: str, take: Callable[..., object], qos: QoSProfile = _QOS
    ) -> Any:
        return self._node.create_subscription(kind, f"{self._name}/{topic}", take, qos)

    @property
    def is_metric(self) -> bool:
        """Whether lengths are metres."""
        return self.status is not None and bool(self.status.is_metric)

    @property
    def _unit(self) -> float:
        """Metres in a map unit where lengths are metres, else 1."""
        return float(self.status.scale) if self.is_metric else 1.0

    def is_map(self, frame: str) -> bool:
        """Whether a frame, in whichever unit, is the map's."""
        if self.status is None:
            return False
        return _plain(frame) == _plain(self.status.map_frame)

    # What the node tells; in the thread that spins.

    def take_status(self, status: Any) -> None:
        """Keep a `SceneStatus`; another segment has clouds and a path of its own."""
        before, self.status = self.status, status
        if before is not None and before.segment != status.segment:
            self._clouds, self._path, self._poses, self._grid = {}, {}, {}, None
            self._heard = 0
            self._loop_L23 = np.zeros((0, 2, 3))
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
        stamp, frame = nanoseconds(message.header.stamp), _plain(message.header.frame_id)
        number = self._clouds[stamp][2] if stamp in self._clouds else self._heard
        self._heard += stamp not in self._clouds
        clouds = {**self._clouds, stamp: (chunk, frame, number)}
        self._clouds = {stamp: clouds[stamp] for stamp in sorted(clouds)[-self._most :]}
        self._revision += 1

    def take_path(self, message: Any, metric: bool) -> None:
        """Keep a `Path`, in metres or in map units."""
        path = {}
        for item in message.poses:
            if (T := self._in_map_units(item.pose, metric)) is not None:
                path[nanoseconds(item.header.stamp)] = T
        self._path = path
        self._revision += 1

    def _take_pose(self, message: Any, metric: bool) -> None:
        if (T := self._in_map_units(message.pose.pose, metric)) is not None:
            poses = {**self._poses, nanoseconds(message.header.stamp): T}
            self._poses = {stamp: poses[stamp] for stamp in sorted(poses)[-_POSES:]}

    def _in_map_units(self, pose: Any, metric: bool) -> Floats | None:
        T = matrix(pose.position, pose.orientation)
        unit = self._unit if metric else 1.0
        return None if T is None else rigid(T[:3, :3], T[:3, 3] / unit)

    def _take_graph(self, message: Any, metric: bool) -> None:
        if metric != self.is_metric:  # the outputs have moved: what is latched there is of before
            return
        ends = [
            (p.x, p.y, p.z)
            for marker in message.markers
            if marker.ns == LOOPS and marker.action == Marker.ADD
            for p in marker.points
        ]
        self._loop_L23 = np.array(ends, np.float64).reshape(-1, 2, 3) / self._unit
        self._revision += 1

    def _take_odometry(self, message: Any) -> None:
        self._base = _plain(message.child_frame_id)

    def _take_keyframe(self, message: Any) -> None:
        data = bytes(message.data)
        self.size_hw = decode_rgb(open_picture(data)).pixels.shape[:2]
        self.keyframe_ns = nanoseconds(message.header.stamp)
        self.pictures["keyframe"] = (str(self.keyframe_ns), data)

    def _take_depth(self, message: Any) -> None:
        depth: NDArray[np.float32] = np.frombuffer(message.data, "<f4").reshape(
            message.height, message.width
        )
        stamp = str(nanoseconds(message.header.stamp))
        self.pictures["depth"] = (stamp, depth_jpeg(depth))

    def follow_occupancy(self, wanted: bool) -> None:
        """Listen to the grid, which costs the node, only while somebody looks at it."""
        if wanted and self._grids is None:
            self._grids = self._on(OccupancyGrid, "map/occupancy", self._take_grid, _LATCHED)
        elif not wanted and self._grids is not None:
            self._node.destroy_subscription(self._grids)
            self._grids = self._grid = None

    def _take_grid(self, message: Any) -> None:
        info = message.info
        cells_YX = np.array(message.data, np.int8).reshape(info.height, info.width)
        origin = (float(info.origin.position.x), float(info.origin.position.y))
        self._grid = Grid(origin=origin, resolution=float(info.resolution), cells_YX=cells_YX)

    # What is drawn.

    @property
    def grid(self) -> Grid | None:
        """The newest one, in metres on the plane z = 0; None for none."""
        return self._grid if self.is_metric else None

    def map_picture(self) -> MapPicture:
        """The map as the node has told it; the same object where nothing changed."""
        revision = self._revision
        if revision == self._drawn[0]:
            return self._drawn[1]
        unit, nodes = self._unit, dict[Key, Node]()
        clouds = self._clouds
        for stamp, (chunk, frame, number) in sorted(clouds.items()):
            T_map_cam = self._camera(self._path.get(stamp), frame)
            if T_map_cam is not None:
                nodes[number, 0] = Node(chunk, T_map_cam, unit)
        picture = MapPicture(
            nodes,
            self._loops_of_cameras(),
            unit="m" if self.is_metric else "map units",
            level=self.status is not None and bool(self.status.up_source),
            thinned=self._left_out(len(clouds)),
        )
        self._drawn = (revision, picture)
        return picture

    def _left_out(self, kept: int) -> str:
        """Which clouds are not shown any more, in words; "" for none."""
        if not (gone := self._heard - kept):
            return ""
        one = "the first cloud is" if gone == 1 else f"the first {gone:,} clouds are"
        return f"{one} left out, so that all points are {self._most * _EACH:,} at most (--points)"

    def _loops_of_cameras(self) -> Floats:
        """(L, 2, 3) loops between cameras, in the picture's unit.

        The graph tells them between places of the base: copies of the path's, so the nearest place
        on the path is the keyframe that is meant.
        """
        ends_L23, path = self._loop_L23, self._path
        if not len(ends_L23) or not path:
            return ends_L23 * self._unit
        frames = {stamp: frame for stamp, (_, frame, _) in self._clouds.items()}
        newest = frames[max(frames)] if frames else ""
        stamps = list(path)
        bases_N3 = np.array([path[stamp][:3, 3] for stamp in stamps])
        drawn = np.empty_like(ends_L23)
        for at in np.ndindex(len(ends_L23), 2):
            nearest = int(np.argmin(((bases_N3 - ends_L23[at]) ** 2).sum(axis=1)))
            stamp = stamps[nearest]
            T_map_cam = self._camera(path[stamp], frames.get(stamp, newest))
            assert T_map_cam is not None, stamp
            drawn[at] = T_map_cam[:3, 3]
        return drawn

    def camera(self, stamp_ns: int, frame_id: str) -> Floats | None:
        """T_map_cam in the picture's unit, as far as is known now; None while it is not.

        Args:
            stamp_ns: Of the camera's frame: a keyframe, or a moment that did not become one.
            frame_id: Its optical frame.
        """
        T_map_base = self._path.get(stamp_ns)
        if T_map_base is None:
            T_map_base = self._poses.get(stamp_ns)
        return self._camera(T_map_base, _plain(frame_id))

    def _camera(self, T_map_base: Floats | None, frame: str) -> Floats | None:
        if T_map_base is None:
            return None
        T = rigid(T_map_base[:3, :3], T_map_base[:3, 3] * self._unit)
        if not self._base or not frame or self._base == frame:
            return T
        try:
            lever = self._tf.lookup(self._base, frame)
        except TransformUnknownError:
            return T
        return T @ rigid(lever[:3, :3], lever[:3, 3] * (1.0 if self.is_metric else 0.0))


def _plain(frame: str) -> str:
    """A frame's name without what says its unit."""
    return frame.removesuffix(f"_{UP_TO_SCALE}")
