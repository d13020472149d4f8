"""The node's publishers: what a scene becomes on the wire.

Only what somebody listens to is computed. Stamps and frames are those of the newest picture
of the reference camera. Everything is in segment units; see `g2vlm_map.join`.
"""

from __future__ import annotations

import array
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from g2vlm_map.clouds import POINT_DTYPE, cloud, depth_image
from g2vlm_map.option_fields import from_flat
from g2vlm_map.options import CloudOptions, DepthOptions
from g2vlm_map.scenes import SceneRecord
from g2vlm_model.interface import GeometryPrediction
from g2vlm_ros import messages
from g2vlm_ros.params import NodeParams

__all__ = ["OutputRules", "Outputs"]

_PATH_SHARE = 0.02  # of one core that may go into publishing the path


@dataclass(frozen=True)
class OutputRules:
    """What is published of a scene; from the parameters that may change while active."""

    cloud: CloudOptions
    depth: DepthOptions
    path_max_poses: int

    @staticmethod
    def from_params(params: NodeParams) -> OutputRules:
        """Read the rules off the parameters."""
        return OutputRules(
            from_flat(CloudOptions, params.values),
            from_flat(DepthOptions, params.values),
            params.count("path.max_poses"),
        )


class Outputs:
    """Lifecycle publishers of one configured node; `publish` runs in the worker's thread.

    Args:
        node: The LifecycleNode.
        params: Checked parameters.
    """

    def __init__(self, node: Any, params: NodeParams) -> None:
        self.rules = OutputRules.from_params(params)
        self._node = node
        self._map_frame = params.text("tf.map_frame")
        self._invert_tf = params.flag("tf.invert")
        # Reliable offers serve reliable and best-effort subscribers alike.
        qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        make = node.create_lifecycle_publisher
        self._points = make(PointCloud2, "~/points", qos)
        self._depth = make(Image, "~/depth/image", qos)
        self._depth_info = make(CameraInfo, "~/depth/camera_info", qos)
        self._pose = make(PoseStamped, "~/pose", 10)
        self._path = make(Path, "~/path", qos)
        self._all = [self._points, self._depth, self._depth_info, self._pose, self._path]
        self._tf = make(TFMessage, "/tf", 100) if params.flag("tf.publish") else None
        if self._tf is not None:
            self._all.append(self._tf)
        self._path_lock = threading.Lock()
        self._poses: deque[Any] = deque()
        self._path_seen = (0, 0)  # (version, subscribers) of the last published path
        self._path_version = 0
        self._path_due = 0.0  # monotonic time before which the path is not published again
        self._points_message = PointCloud2(
            fields=messages.POINT_FIELDS, is_bigendian=False, point_step=POINT_DTYPE.itemsize
        )
        self._depth_message = Image(encoding="32FC1")
        self._depth_view: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)
        self._all = []

    def clear_path(self) -> None:
        """A new segment: its poses have nothing to do with those before."""
        with self._path_lock:
            self._poses.clear()
            self._path_version += 1

    def publish_path(self) -> None:
        """Publish the path if it or its audience is new; to be called once a period.

        A pose costs 13 us to serialise, in the thread that takes pictures in: a long path waits
        until it takes no more than `_PATH_SHARE` of the time.
        """
        started = time.monotonic()
        with self._path_lock:
            seen = (self._path_version, self._path.get_subscription_count())
            if seen == self._path_seen or not seen[1] or started < self._path_due:
                return
            self._path_seen = seen
            poses = list(self._poses)
        stamp = poses[-1].header if poses else messages.header(0, self._map_frame)
        self._path.publish(Path(header=stamp, poses=poses))
        ended = time.monotonic()
        self._path_due = ended + (ended - started) / _PATH_SHARE

    def publish(self, record: SceneRecord) -> None:
        """Publish a scene.

        Args:
            record: Its `newest` frame gives stamp and frame of all outputs; without a pose, which
                only the reference camera has, none is published.
        """
        geometry = record.scene.geometry
        if record.T_map_cam is not None:  # first: small, and controllers wait for it
            self._publish_pose(record, record.T_map_cam)
        if self._depth.get_subscription_count() or self._depth_info.get_subscription_count():
            self._publish_depth(geometry, record)
        if self._points.get_subscription_count():
            self._publish_points(geometry, record)

    def _publish_points(self, geometry: GeometryPrediction, record: SceneRecord) -> None:
        rules = self.rules
        frames: slice | list[int] = slice(None)
        T_out_world: NDArray[np.float64] | None = None
        if rules.cloud.source == "newest":
            frames = [record.newest] if rules.cloud.organized else list(record.moment)
        if frames == [record.newest]:
            frames = slice(record.newest, record.newest + 1)  # a view; a list would copy
        else:
            T_out_world = np.linalg.inv(geometry.T_world_cam[record.newest].astype(np.float64))
        points = cloud(geometry, frames, T_out_world, record.scale, rules.cloud)
        height, width = points.shape if rules.cloud.organized else (1, len(points))
        message = self._points_message
        message.header = messages.header(record.stamp_ns, record.frame_id)
        message.height, message.width = height, width
        message.row_step = POINT_DTYPE.itemsize * width
        message.is_dense = not rules.cloud.organized
        flat = points.reshape(-1).view(np.uint8)
        if 0 < len(message.data) == flat.nbytes:  # straight into the message's own memory
            np.copyto(np.frombuffer(message.data, np.uint8), flat)
        else:
            data = array.array("B")
            data.frombytes(flat.data)
            message.data = data
        self._points.publish(message)

    def _publish_depth(self, geometry: GeometryPrediction, record: SceneRecord) -> None:
        depth = depth_image(geometry, record.newest, record.scale, self.rules.depth.min_confidence)
        message = self._depth_message
        if depth.shape != self._depth_view.shape:
            message.height, message.width = depth.shape
            message.step = 4 * depth.shape[1]
            message.data = array.array("B", bytes(depth.nbytes))
            # A view of the message's own memory: later pictures are written straight into it.
            self._depth_view = np.frombuffer(message.data, np.float32).reshape(depth.shape)
        np.copyto(self._depth_view, depth)
        message.header = messages.header(record.stamp_ns, record.frame_id)
        self._depth.publish(message)
        self._depth_info.publish(
            messages.camera_info_message(
                geometry.K[record.newest], depth.shape, record.stamp_ns, record.frame_id
            )
        )

    def _publish_pose(self, record: SceneRecord, T_map_cam: NDArray[np.float64]) -> None:
        stamped = PoseStamped(
            header=messages.header(record.stamp_ns, self._map_frame),
            pose=messages.pose(T_map_cam),
        )
        self._pose.publish(stamped)
        if self._tf is not None:
            ends = (self._map_frame, record.frame_id)
            T = np.asarray(np.linalg.inv(T_map_cam)) if self._invert_tf else T_map_cam
            parent, child = reversed(ends) if self._invert_tf else ends
            self._tf.publish(
                TFMessage(transforms=[messages.transform(T, record.stamp_ns, parent, child)])
            )
        with self._path_lock:
            self._poses.append(stamped)
            while len(self._poses) > self.rules.path_max_poses:
                self._poses.popleft()
            self._path_version += 1
