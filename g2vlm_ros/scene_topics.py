# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The publishers of one unit: `~/...` in metres, or the same under `~/up_to_scale/...`.

Only what somebody listens to is computed. What lengths are up to scale stand in frames of names of
their own, since standard messages have no other field to say it: TF then never takes such a point
for one in metres.
"""

from __future__ import annotations

import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, PoseWithCovarianceStamped, Vector3
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_map.clouds import POINT_DTYPE, depth_pair, scene_cloud
from g2vlm_map.odometry import OdometryPose
from g2vlm_map.poses import Floats
from g2vlm_map.scenes import SceneRecord
from g2vlm_ros import messages
from g2vlm_ros.frame_options import UP_TO_SCALE
from g2vlm_ros.params import NodeParams
from g2vlm_ros.topics import unit_frame

__all__ = ["LOOPS", "PosePath", "SceneTopics"]

LOOPS = "loops"  # namespace of the markers of loops
_KEYFRAMES = "keyframes"
_BLUE, _ORANGE = (0.47, 0.63, 0.82), (1.0, 0.55, 0.12)
_SIZE = 0.15  # of a keyframe, in steps from one to the next
_LEAST_SIZE = 0.01  # in the topics' unit
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, eq=False)
class PosePath:
    """A path as it is published.

    Args:
        stamps_ns: (N,) int64 of its poses, oldest first.
        T_map_base_N44: (N, 4, 4).
        loop_L2: (L, 2) int64 which of them accepted loops join.
    """

    stamps_ns: NDArray[np.int64]
    T_map_base_N44: Floats
    loop_L2: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))


class SceneTopics:
    """Lifecycle publishers of scenes in one unit.

    Args:
        node: The LifecycleNode.
        params: Checked parameters; may be replaced by others that differ in what is changeable.
        is_metric: Whether lengths are metres: says names of topics and frames.
    """

    def __init__(self, node: Any, params: NodeParams, *, is_metric: bool) -> None:
        self.params = params
        self.is_metric = is_metric
        self._node = node
        self._prefix = "~" if is_metric else f"~/{UP_TO_SCALE}"
        # Reliable offers serve reliable and best-effort subscribers alike.
        self._qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        self._all: list[Any] = []
        self._points = self._make(PointCloud2, "points")
        self._pose = self._make(PoseWithCovarianceStamped, "pose")
        self._odometry = self._make(Odometry, "odometry")
        self._path = self._make(Path, "path")
        self._graph = self._make(MarkerArray, "map/graph", _LATCHED)
        self._pictures = {"": _Pictures(self, "")}
        if len(params.cameras) > 1:  # the reference's stand under its own name too
            self._pictures |= {camera: _Pictures(self, f"{camera}/") for camera in params.cameras}
        self._cloud = PointCloud2(
            fields=messages.POINT_FIELDS, is_bigendian=False, point_step=POINT_DTYPE.itemsize
        )

    @property
    def publishers(self) -> list[Any]:
        """All of them."""
        return list(self._all)

    @property
    def path_audience(self) -> int:
        """How many listen to the path."""
        return int(self._path.get_subscription_count())

    @property
    def graph_audience(self) -> int:
        """How many listen to the graph."""
        return int(self._graph.get_subscription_count())

    @property
    def map_frame(self) -> str:
        """Frame of pose, path and graph."""
        return self.frame(self.params.frames.map)

    def name(self, topic: str) -> str:
        """The name of a topic in this unit."""
        return f"{self._prefix}/{topic}"

    def frame(self, name: str) -> str:
        """The name of a frame in this unit."""
        return unit_frame(name, self.is_metric)

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)
        self._all = []

    def publish_scene(self, record: SceneRecord) -> None:
        """Publish clouds and pictures.

        Args:
            record: Of a scale that makes the lengths those of this unit.
        """
        for camera, pictures in self._pictures.items():
            index = record.newest if not camera else _index(record, camera)
            if index is not None:
                pictures.publish(record, index)
        if self._points.get_subscription_count():
            self._publish_points(record)

    def publish_pose(self, stamp_ns: int, T_map_base: Floats, covariance_66: Floats) -> None:
        """Publish the best pose of the base in the map."""
        message = PoseWithCovarianceStamped(header=messages.header(stamp_ns, self.map_frame))
        message.pose.pose = messages.pose(T_map_base)
        message.pose.covariance = messages.covariance(covariance_66)
        self._pose.publish(message)

    def publish_odometry(self, odometry: OdometryPose, base: str) -> None:
        """Publish where the base has gone; `base` is its frame."""
        frames = self.params.frames
        message = Odometry(
            header=messages.header(odometry.stamp_ns, self.frame(frames.odometry)),
            child_frame_id=self.frame(base),
        )
        message.pose.pose = messages.pose(odometry.T_odom_base)
        message.pose.covariance = messages.covariance(odometry.covariance_66)
        message.twist.twist = messages.twist(odometry.twist_6)
        message.twist.covariance = messages.covariance(odometry.twist_covariance_66)
        self._odometry.publish(message)

    def publish_path(self, path: PosePath) -> None:
        """Publish the path; 13 us a pose to serialise."""
        poses = [
            PoseStamped(header=messages.header(stamp, self.map_frame), pose=messages.pose(T))
            for stamp, T in zip(path.stamps_ns.tolist(), path.T_map_base_N44, strict=True)
        ]
        newest = int(path.stamps_ns[-1]) if poses else 0
        self._path.publish(Path(header=messages.header(newest, self.map_frame), poses=poses))

    def publish_graph(self, path: PosePath) -> None:
        """Publish the keyframes of a path and the loops between them, in place of those before."""
        newest = int(path.stamps_ns[-1]) if len(path.stamps_ns) else 0
        head = messages.header(newest, self.map_frame)
        places_N3 = path.T_map_base_N44[:, :3, 3]
        steps = np.linalg.norm(np.diff(places_N3, axis=0), axis=1)
        size = max(_LEAST_SIZE, _SIZE * float(np.median(steps)) if len(steps) else 0.0)
        spheres, lines = Marker.SPHERE_LIST, Marker.LINE_LIST
        balls = _marker(head, _KEYFRAMES, spheres, places_N3, (size, size, size), _BLUE)
        ends_N3 = places_N3[path.loop_L2.ravel()]
        loops = _marker(head, LOOPS, lines, ends_N3, (0.3 * size, 0.0, 0.0), _ORANGE)
        # Viewers complain of markers without points.
        shown = [marker for marker in (balls, loops) if marker.points]
        gone = Marker(header=head, action=Marker.DELETEALL)
        self._graph.publish(MarkerArray(markers=[gone, *shown]))

    def _make(self, kind: Any, name: str, qos: QoSProfile | None = None) -> Any:
        publisher = self._node.create_lifecycle_publisher(kind, self.name(name), qos or self._qos)
        self._all.append(publisher)
        return publisher

    def _publish_points(self, record: SceneRecord) -> None:
        options = self.params.points
        points = scene_cloud(record, options)
        height, width = points.shape if options.organized else (1, len(points))
        message = self._cloud
        message.header = messages.header(record.stamp_ns, self.frame(record.frame_id))
        message.height, message.width = height, width
        message.row_step = POINT_DTYPE.itemsize * width
        message.is_dense = not options.organized
        _fill(message, points.reshape(-1).view(np.uint8))
        self._points.publish(message)


class _Pictures:
    """Depth, its K and the colours beside it: one size, stamp and frame; of one camera."""

    def __init__(self, topics: SceneTopics, camera: str) -> None:
        self._topics = topics
        self._depth = topics._make(Image, f"{camera}depth/image")
        self._info = topics._make(CameraInfo, f"{camera}depth/camera_info")
        self._image = topics._make(Image, f"{camera}image")
        self._depth_message = Image(encoding="32FC1")
        self._image_message = Image(encoding="rgb8")

    def publish(self, record: SceneRecord, index: int) -> None:
        """Publish what somebody listens to of one frame of a scene."""
        depth_heard = self._depth.get_subscription_count()
        info_heard = self._info.get_subscription_count()
        image_heard = self._image.get_subscription_count()
        if not (depth_heard or info_heard or image_heard):
            return
        frame = record.frames[index]
        pair = depth_pair(record, index, self._topics.params.depth)
        header = messages.header(frame.stamp_ns, self._topics.frame(frame.frame_id))
        if depth_heard:
            _publish_picture(self._depth, self._depth_message, header, pair.depth_HW)
        if image_heard:
            _publish_picture(self._image, self._image_message, header, pair.image_HW3)
        if info_heard:
            height, width = pair.depth_HW.shape
            info = messages.camera_info_message(
                pair.K, (height, width), frame.stamp_ns, header.frame_id
            )
            self._info.publish(info)


def _marker(
    head: Any,
    namespace: str,
    kind: int,
    place_N3: Floats,
    scale: tuple[float, float, float],
    color: tuple[float, float, float],
) -> Any:
    size = Vector3(x=scale[0], y=scale[1], z=scale[2])
    shade = ColorRGBA(r=color[0], g=color[1], b=color[2], a=1.0)
    points = [Point(x=x, y=y, z=z) for x, y, z in place_N3.tolist()]
    return Marker(
        header=head, ns=namespace, type=kind, pose=Pose(), scale=size, color=shade, points=points
    )


def _index(record: SceneRecord, camera: str) -> int | None:
    """The frame of a camera in the newest moment."""
    found = (index for index in record.moment if record.frames[index].camera == camera)
    return next(found, None)


def _publish_picture(publisher: Any, message: Any, header: Any, picture: NDArray[Any]) -> None:
    message.header = header
    message.height, message.width = picture.shape[:2]
    message.step = picture.strides[0] if picture.flags.c_contiguous else picture[0].nbytes
    _fill(message, np.ascontiguousarray(picture).reshape(-1).view(np.uint8))
    publisher.publish(message)


def _fill(message: Any, flat: NDArray[np.uint8]) -> None:
    """Copy bytes into a message, into its own memory where that has the size."""
    if 0 < len(message.data) == flat.nbytes:
        np.copyto(np.frombuffer(message.data, np.uint8), flat)
        return
    data = array.array("B")
    data.frombytes(flat.data)
    message.data = data
