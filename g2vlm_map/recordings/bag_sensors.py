# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a bag holds of the robot beside its camera: where the camera sits, odometry, lidars.

The base is the frame below the lowest moving link of TF above the camera, e.g. `base_link` in
odom -> base_link -> camera_link -> camera_optical_frame; that link is odometry where its parent's
name says so. Where TF moves nothing, an Odometry topic says what moves. Ground truth is not among
it: see `bag_poses`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..sensing import Extrinsics, OdometrySample, PointSample, Sample
from .bag_files import BagReader
from .bag_poses import ODOMETRY, ODOMETRY_WORD, TF, Deserialize, is_truth, read_tree
from .source import NS
from .transforms import TransformTree, transform_from

__all__ = ["RobotTopics", "find_robot", "read_samples"]

SCAN = "sensor_msgs/msg/LaserScan"


@dataclass(frozen=True)
class RobotTopics:
    """The robot as the bag tells of it; "" where it does not.

    Args:
        base: TF name of its base.
        odom: TF name of the frame that its odometry is in.
        odometry: topic of it, Odometry; "/tf" where TF carries it.
        scans: topics of 2D lidars, by the frame that each is in.
    """

    base: str = ""
    odom: str = ""
    odometry: str = ""
    scans: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that somebody who plays the robot has to play."""
        if not self.base:
            return ()
        own = (self.odometry,) if self.odometry else ()  # TF without odometry may be the truth
        return ("/tf_static", *own, *self.scans)


def find_robot(reader: BagReader, frame_id: str, deserialize: Deserialize) -> RobotTopics:
    """Look for the robot that carries a camera.

    Args:
        reader: of the bag, open.
        frame_id: the camera's optical frame.
        deserialize: a message out of its bytes and its type.
    """
    tree = read_tree(reader, deserialize)
    scans = tuple(sorted({item.topic for item in reader.connections if item.msgtype == SCAN}))
    chain = tree.chain(frame_id)
    for child, parent in itertools.pairwise(chain):
        if tree.moves(child):
            if child == frame_id:
                return RobotTopics()
            if ODOMETRY_WORD in parent.lower():
                return RobotTopics(child, parent, "/tf", scans)
            return RobotTopics(child, "", "", scans)  # whatever moves it there may be the truth
    for item in reader.connections:
        if item.msgtype != ODOMETRY or not item.msgcount or is_truth(item.topic):
            continue
        _, _, data = next(reader.messages(connections=[item]))
        message = deserialize(data, item.msgtype)
        base = str(message.child_frame_id).lstrip("/")
        if base in chain:
            odom = str(message.header.frame_id).lstrip("/")
            return RobotTopics(base, odom, item.topic, scans)
    return RobotTopics()


def read_samples(
    reader: BagReader, robot: RobotTopics, camera: str, frame_id: str, deserialize: Deserialize
) -> Iterator[tuple[int, Sample]]:
    """What the robot's sensors said, in the order of the bag, each with its time of reception.

    Where the camera sits comes first. A scan whose frame TF does not connect to the base is left
    out.

    Args:
        reader: of the bag, open.
        robot: from `find_robot`.
        camera: the name that samples give the camera.
        frame_id: its optical frame.
        deserialize: a message out of its bytes and its type.
    """
    if not robot.base:
        return
    tree = read_tree(reader, deserialize)
    T_base_cam = tree.static_between(robot.base, frame_id)
    wanted = [item for item in reader.connections if item.topic in robot.topics]
    first = True
    for connection, time_ns, data in reader.messages(connections=wanted):
        if first and T_base_cam is not None:
            yield time_ns, Extrinsics(camera, T_base_cam)
            first = False
        message = deserialize(data, connection.msgtype)
        if connection.topic == robot.odometry:
            for sample in _odometry(message, connection.msgtype, robot):
                yield time_ns, sample
        elif connection.msgtype == SCAN:
            scan = _scan(message, robot.base, tree)
            if scan is not None:
                yield time_ns, scan


def _odometry(message: Any, msgtype: str, robot: RobotTopics) -> Iterator[OdometrySample]:
    if msgtype == TF:
        for item in message.transforms:
            if item.child_frame_id.lstrip("/") == robot.base:
                T = transform_from(item.transform.translation, item.transform.rotation)
                yield OdometrySample(_stamp_ns(item), T)
        return
    pose = message.pose.pose
    yield OdometrySample(_stamp_ns(message), transform_from(pose.position, pose.orientation))


def _scan(message: Any, base: str, tree: TransformTree) -> PointSample | None:
    T_base_sensor = tree.static_between(base, message.header.frame_id.lstrip("/"))
    if T_base_sensor is None:
        return None
    ranges = np.asarray(message.ranges, np.float64)
    angles = message.angle_min + message.angle_increment * np.arange(len(ranges))
    read = (ranges >= message.range_min) & (ranges <= message.range_max)  # NaN fails both
    ranges = np.where(read, ranges, np.nan)
    flat = np.stack([ranges * np.cos(angles), ranges * np.sin(angles), 0 * ranges], axis=1)
    return PointSample(_stamp_ns(message), flat.astype(np.float32), T_base_sensor, is_scan=True)


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * NS + int(message.header.stamp.nanosec)
