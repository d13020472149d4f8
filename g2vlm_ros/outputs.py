"""The node's publishers: what a scene becomes on the wire.

Only what somebody listens to is computed. Stamps and frames are those of the newest frame of
the reference camera. Everything is in segment units; see `g2vlm_map.segment`.
"""

from __future__ import annotations

import array
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from g2vlm_map.clouds import POINT_DTYPE, scene_cloud, scene_depth
from g2vlm_map.events import Event, SceneReady
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.segment import PathPose
from g2vlm_ros import messages
from g2vlm_ros.params import NodeParams

__all__ = ["Outputs"]

_PATH_SHARE = 0.02  # of one core that may go into publishing the path


class Outputs:
    """Lifecycle publishers of one configured node.

    Args:
        node: The LifecycleNode.
        params: Checked parameters; may be replaced by others that differ in what is changeable.
    """

    def __init__(self, node: Any, params: NodeParams) -> None:
        self.params = params
        self._node = node
        # Reliable offers serve reliable and best-effort subscribers alike.
        qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        make = node.create_lifecycle_publisher
        self._points = make(PointCloud2, "~/points", qos)
        self._depth = make(Image, "~/depth/image", qos)
        self._depth_info = make(CameraInfo, "~/depth/camera_info", qos)
        self._pose = make(PoseStamped, "~/pose", 10)
        self._path = make(Path, "~/path", qos)
        self._all = [self._points, self._depth, self._depth_info, self._pose, self._path]
        self._tf = make(TFMessage, "/tf", 100) if params.tf.publish else None
        if self._tf is not None:
            self._all.append(self._tf)
        self._poses: dict[PathPose, Any] = {}  # of the last published path
        self._path_audience = 0
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

    def publish_path(self, path: Sequence[PathPose]) -> None:
        """Publish the path if it or its audience is new; to be called once a period.

        A pose costs 13 us to serialise, in the thread that takes frames in: a long path waits
        until it takes no more than `_PATH_SHARE` of the time.

        Args:
            path: Of the present segment, oldest first.
        """
        started = time.monotonic()
        audience = self._path.get_subscription_count()
        same = audience == self._path_audience and [*self._poses] == [*path]
        if not audience or same or started < self._path_due:
            return
        known = self._poses
        self._poses = {pose: known.get(pose) or self._stamped(pose) for pose in path}
        self._path_audience = audience
        poses = [*self._poses.values()]
        stamp = poses[-1].header if poses else messages.header(0, self.params.tf.map_frame)
        self._path.publish(Path(header=stamp, poses=poses))
        ended = time.monotonic()
        self._path_due = ended + (ended - started) / _PATH_SHARE

    def on_event(self, event: Event) -> None:
        """Publish a scene that is ready; in the thread of the passes.

        Its `newest` frame gives stamp and frame of all outputs. Without a pose, which only the
        reference camera has, none is published.
        """
        if not isinstance(event, SceneReady):
            return
        record = event.record
        if record.T_map_cam is not None:  # first: small, and controllers wait for it
            self._publish_pose(record, record.T_map_cam)
        if self._depth.get_subscription_count() or self._depth_info.get_subscription_count():
            self._publish_depth(record)
        if self._points.get_subscription_count():
            self._publish_points(record)

    def _publish_points(self, record: SceneRecord) -> None:
        options = self.params.points
        points = scene_cloud(record, options)
        height, width = points.shape if options.organized else (1, len(points))
        message = self._points_message
        message.header = messages.header(record.stamp_ns, record.frame_id)
        message.height, message.width = height, width
        message.row_step = POINT_DTYPE.itemsize * width
        message.is_dense = not options.organized
        flat = points.reshape(-1).view(np.uint8)
        if 0 < len(message.data) == flat.nbytes:  # straight into the message's own memory
            np.copyto(np.frombuffer(message.data, np.uint8), flat)
        else:
            data = array.array("B")
            data.frombytes(flat.data)
            message.data = data
        self._points.publish(message)

    def _publish_depth(self, record: SceneRecord) -> None:
        depth = scene_depth(record, self.params.depth)
        message = self._depth_message
        if depth.shape != self._depth_view.shape:
            message.height, message.width = depth.shape
            message.step = 4 * depth.shape[1]
            message.data = array.array("B", bytes(depth.nbytes))
            # A view of the message's own memory: later images are written straight into it.
            self._depth_view = np.frombuffer(message.data, np.float32).reshape(depth.shape)
        np.copyto(self._depth_view, depth)
        message.header = messages.header(record.stamp_ns, record.frame_id)
        self._depth.publish(message)
        self._depth_info.publish(
            messages.camera_info_message(
                record.geometry.K[record.newest], depth.shape, record.stamp_ns, record.frame_id
            )
        )

    def _publish_pose(self, record: SceneRecord, T_map_cam: NDArray[np.float64]) -> None:
        self._pose.publish(self._stamped(PathPose(record.stamp_ns, T_map_cam)))
        if self._tf is not None:
            tf = self.params.tf
            ends = (tf.map_frame, record.frame_id)
            T = np.asarray(np.linalg.inv(T_map_cam)) if tf.invert else T_map_cam
            parent, child = reversed(ends) if tf.invert else ends
            self._tf.publish(
                TFMessage(transforms=[messages.transform(T, record.stamp_ns, parent, child)])
            )

    def _stamped(self, pose: PathPose) -> Any:
        return PoseStamped(
            header=messages.header(pose.stamp_ns, self.params.tf.map_frame),
            pose=messages.pose(pose.T_map_cam),
        )
