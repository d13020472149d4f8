# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node publishes of the dense map: points, occupancy, obstacles and a scan, in metres.

The thread of the passes only hands the newest world over; `g2vlm_map.dense.worker` makes of it
what somebody listens to, and its thread publishes. While the scale does not carry there is nothing
at all. None of it is safety-rated, and the status says so while it is listened to.
"""

from __future__ import annotations

import array
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from nav_msgs.msg import MapMetaData, OccupancyGrid
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import LaserScan, PointCloud2

from g2vlm_map.clouds import POINT_DTYPE
from g2vlm_map.dense.dense_map import DenseRules
from g2vlm_map.dense.worker import Around, DenseWorker, Whole
from g2vlm_map.events import Event, MapChanged, ScaleChanged, SceneReady
from g2vlm_map.pipeline import Pipeline
from g2vlm_ros import messages
from g2vlm_ros.params import NodeParams

__all__ = ["MapOutputs"]

_KINDS = {
    "points": ("~/map/points", PointCloud2),
    "occupancy": ("~/map/occupancy", OccupancyGrid),
    "obstacles": ("~/obstacles", PointCloud2),
    "scan": ("~/scan", LaserScan),
}
_LATCHED = ("points", "occupancy")  # who comes later gets the newest one at once
_XYZ = 12  # bytes of three float32


class MapOutputs:
    """Lifecycle publishers of the dense map, and the worker that makes it.

    Args:
        node: The LifecycleNode.
        params: Checked parameters.
        pipeline: Whose map is published.
    """

    def __init__(self, node: Any, params: NodeParams, pipeline: Pipeline) -> None:
        self._node, self._params, self._pipeline = node, params, pipeline
        self._publishers: dict[str, Any] = {}
        for name, (topic, kind) in _KINDS.items():
            durability = DurabilityPolicy.VOLATILE
            if name in _LATCHED:
                durability = DurabilityPolicy.TRANSIENT_LOCAL
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
            self._publishers[name] = node.create_lifecycle_publisher(kind, topic, qos)
        self.worker = DenseWorker(
            self.wanted, self._publish, pipeline.board, _rules(params), params.scan
        )

    @property
    def params(self) -> NodeParams:
        """The parameters in force; others that differ in what is changeable may be set."""
        return self._params

    @params.setter
    def params(self, params: NodeParams) -> None:
        self._params = params
        self.worker.apply(_rules(params), params.scan)

    def start(self) -> None:
        """The node is active."""
        self.worker.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """The node is active no longer; waits no longer than the time."""
        self.worker.stop(timeout_s)

    def destroy(self) -> None:
        """Remove the publishers."""
        self.stop()
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def on_event(self, event: Event) -> None:
        """Hand the newest world over; in the thread in which the event happens."""
        if isinstance(event, ScaleChanged):  # the pipeline's world may be of the scale before
            self.worker.offer(replace(self._pipeline.world, scale=event.now))
        elif isinstance(event, SceneReady | MapChanged):
            self.worker.offer(self._pipeline.world)

    def values(self) -> dict[str, str]:
        """What the diagnostics say of the dense map, by name."""
        counts = self.worker.counts
        return {
            "maps made": str(counts.wholes),
            "obstacles made": str(counts.arounds),
            "worlds overtaken": str(counts.superseded),
            "last map [s]": f"{counts.seconds:.3f}",
            "share of points left out": f"{counts.left_out:.3f}",
            "share of points seen through": f"{counts.seen_through:.3f}",
            "memory [MB]": f"{counts.nbytes / 1e6:.1f}",
            "safety-rated": "no",
        }

    def wanted(self) -> set[str]:
        """Which of the outputs somebody listens to."""
        publishers = dict(self._publishers)  # another thread may remove them
        return {name for name, item in publishers.items() if item.get_subscription_count()}

    def _publish(self, made: Whole | Around) -> None:
        """In the worker's thread; what nobody listens to is left out."""
        wanted = self.wanted()
        frames = self._params.frames
        if isinstance(made, Whole):
            if "points" in wanted:
                self._send("points", _cloud(made.snapshot.voxels.records()), made, frames.map)
            if "occupancy" in wanted and made.grid is not None:
                self._send("occupancy", _occupancy(made), made, frames.map)
            return
        if "obstacles" in wanted:
            points_P3 = np.ascontiguousarray(made.obstacles_P3, "<f4")
            self._send("obstacles", _cloud(points_P3), made, frames.base)
        if "scan" in wanted:
            self._send("scan", _scan(made), made, frames.base)

    def _send(self, name: str, message: Any, made: Whole | Around, frame: str) -> None:
        message.header = messages.header(made.stamp_ns, frame)
        publisher = self._publishers.get(name)
        if publisher is not None:
            publisher.publish(message)


def _rules(params: NodeParams) -> DenseRules:
    return DenseRules(params.dense, params.obstacles, params.occupancy)


def _cloud(points: NDArray[Any]) -> Any:
    """PointCloud2 of (P,) records of `POINT_DTYPE` or of (P, 3) float32."""
    step = _XYZ if points.dtype != POINT_DTYPE else POINT_DTYPE.itemsize
    count = len(points)
    data = array.array("B")
    data.frombytes(points.tobytes())
    return PointCloud2(
        height=1, width=count, fields=messages.POINT_FIELDS[: step // 4], is_bigendian=False,
        point_step=step, row_step=step * count, is_dense=True, data=data,
    )  # fmt: skip


def _occupancy(made: Whole) -> Any:
    """OccupancyGrid; its cells are those of a `Grid`, its plane is z = 0 of the map."""
    grid = made.grid
    assert grid is not None
    height, width = grid.cells_YX.shape
    origin = Pose()
    origin.position.x, origin.position.y = grid.origin
    message = OccupancyGrid(
        info=MapMetaData(
            map_load_time=messages.header(made.stamp_ns, "").stamp,
            resolution=grid.resolution, width=width, height=height, origin=origin,
        )
    )  # fmt: skip
    data = array.array("b")
    data.frombytes(grid.cells_YX.tobytes())
    message.data = data
    return message


def _scan(made: Around) -> Any:
    """LaserScan of one instant: all of its ranges have the stamp of the newest keyframe."""
    row = made.scan
    count = len(row.range_A)
    return LaserScan(
        angle_min=row.angle_min,
        angle_max=row.angle_min + (count - 1) * row.angle_increment,
        angle_increment=row.angle_increment,
        range_min=row.range_min,
        range_max=row.range_max,
        ranges=array.array("f", row.range_A.tobytes()),
    )
