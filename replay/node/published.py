# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads back what the node published: poses by segment, depth maps, clouds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from g2vlm_map.mapping.store import load_map
from g2vlm_map.poses import cross_matrix, inverse, metric
from g2vlm_map.recordings import NS
from g2vlm_map.recordings.source import header_stamp_ns
from g2vlm_map.recordings.transforms import transform_from
from g2vlm_map.world import World

from ..map_metrics import FinalMap, MapSegment
from ..outcome import StatusSample
from ..pose_metrics import PoseSegment, grouped
from .process import OUTPUT_PREFIXES, SCENE_TOPICS

DEPTH_TOPICS = tuple(f"{prefix}/depth/image" for prefix in OUTPUT_PREFIXES)
PATH_TOPICS = tuple(f"{prefix}/path" for prefix in OUTPUT_PREFIXES)
STILL_M = 1e-3  # poses that moved less have not been moved


class Published:
    """The recording of what the node published, as `Outputs`.

    Args:
        path: the bag's folder.
        statuses: all of the run, in order.
        map_file: that the node wrote at the end; None where it wrote none.
        T_base_cam: (4, 4) metres, where the node's poses are those of a base; else None.
    """

    def __init__(
        self,
        path: Path,
        statuses: Sequence[StatusSample],
        map_file: Path | None = None,
        T_base_cam: NDArray[np.float64] | None = None,
    ) -> None:
        self._path = path
        self._map = map_file
        self._T_base_cam = T_base_cam
        self._statuses = statuses

    def segments(self) -> list[PoseSegment]:
        """Poses by segment, each pose once.

        The node publishes one pose per scene, and behind each scene a status that counts it and
        names its segment: the k-th pose is of the segment that the first status with k scenes
        says.
        """
        numbers: dict[int, int] = {}
        for status in self._statuses:
            numbers.setdefault(status.scenes, status.segment)
        counts = sorted(numbers) or [0]
        placed = []
        for count, (topic, stamp_ns, message) in enumerate(self._read(*SCENE_TOPICS), start=1):
            # Where a status is missing, the next one speaks, or else the last.
            known = int(counts[min(int(np.searchsorted(counts, count)), len(counts) - 1)])
            pose = transform_from(message.pose.pose.position, message.pose.pose.orientation)
            in_metres = topic == SCENE_TOPICS[0]
            placed.append(
                (numbers.get(known, 1), in_metres, stamp_ns, self._camera(pose, in_metres))
            )
        return grouped(placed)

    def covariances(self) -> dict[int, NDArray[np.float64]]:
        """Of the camera: a turn of the base moves it through the lever between the two."""
        made = {}
        for topic, stamp_ns, message in self._read(*SCENE_TOPICS):
            pose = transform_from(message.pose.pose.position, message.pose.pose.orientation)
            lever = self._camera(pose, topic == SCENE_TOPICS[0])[:3, 3] - pose[:3, 3]
            jacobian = np.eye(6)
            jacobian[:3, 3:] = -cross_matrix(lever)
            own = np.asarray(message.pose.covariance, np.float64).reshape(6, 6)
            made[stamp_ns] = jacobian @ own @ jacobian.T
        return made

    def _camera(self, T_map_base: NDArray[np.float64], in_metres: bool) -> NDArray[np.float64]:
        """The camera's pose; up to scale the node leaves out the lever, which is in metres."""
        if self._T_base_cam is None:
            return T_map_base
        return T_map_base @ (self._T_base_cam if in_metres else metric(self._T_base_cam, 0.0))

    def final(self) -> FinalMap | None:
        """The map that the node was asked to write, None where it wrote none."""
        if self._map is None:
            return None
        world = load_map(self._map).world
        return FinalMap.of_world(world, self._before(world))

    def _before(self, world: World) -> tuple[MapSegment, ...]:
        """The path before it changed most, as camera poses in the axes and units of a map.

        It is published anew where the map's past changed, as base poses in level axes, in metres
        where the scale carried.
        """
        older: dict[int, NDArray[np.float64]] = {}
        furthest, before, before_topic, furthest_topic = 0.0, older, "", ""
        for topic, _, message in self._read(*PATH_TOPICS):
            if topic != before_topic:  # other units
                older, before_topic = {}, topic
            poses = {
                item.header.stamp.sec * NS + item.header.stamp.nanosec: transform_from(
                    item.pose.position, item.pose.orientation
                )
                for item in message.poses
            }
            moves = [
                float(np.linalg.norm(poses[stamp][:3, 3] - older[stamp][:3, 3]))
                for stamp in poses.keys() & older.keys()
            ]
            if max(moves, default=0.0) > furthest:
                furthest, before, furthest_topic = max(moves), older, topic
            older = poses
        if furthest <= STILL_M or len(before) < 2:
            return ()
        in_metres = furthest_topic == PATH_TOPICS[0]
        unit = 1.0 / world.scale.metres_per_unit if in_metres else 1.0
        T_map_level = inverse(world.T_level_map)
        cameras = [self._camera(T_level_base, in_metres) for T_level_base in before.values()]
        T_map_cam_M44 = np.stack([T_map_level @ metric(T, unit) for T in cameras])
        return (MapSegment(PoseSegment(1, tuple(before), T_map_cam_M44)),)

    def depths(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(stamp_ns, (H, W) float32 metres or map units as published, NaN where there is none)."""
        for _, stamp_ns, message in self._read(*DEPTH_TOPICS):
            depth = np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width)
            yield stamp_ns, depth

    def _read(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """(topic, header stamp, message) of some topics."""
        with AnyReader([self._path]) as reader:
            wanted = [item for item in reader.connections if item.topic in topics]
            if not wanted:
                return
            for connection, _, data in reader.messages(connections=wanted):
                message = reader.deserialize(data, connection.msgtype)
                yield connection.topic, header_stamp_ns(data), message
