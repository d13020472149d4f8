"""Reads back what the node published: poses by segment, depth maps, clouds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from g2vlm_map.clouds import POINT_DTYPE
from g2vlm_map.recordings.bag import header_stamp_ns
from g2vlm_map.recordings.transforms import transform_from

from ..map_metrics import FinalMap
from ..outcome import Cloud, StatusSample
from ..pose_metrics import PoseSegment
from .process import OUTPUT_PREFIXES, SCENE_TOPICS

DEPTH_TOPICS = tuple(f"{prefix}/depth/image" for prefix in OUTPUT_PREFIXES)
CLOUD_TOPICS = tuple(f"{prefix}/points" for prefix in OUTPUT_PREFIXES)


class Published:
    """The recording of what the node published, as `Outputs`.

    Args:
        path: the bag's folder.
        statuses: all of the run, in order.
    """

    def __init__(self, path: Path, statuses: Sequence[StatusSample]) -> None:
        self._path = path
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
        placed: dict[int, tuple[int, NDArray[np.float64]]] = {}
        for count, (_, stamp_ns, message) in enumerate(self._read(*SCENE_TOPICS), start=1):
            # Where a status is missing, the next one speaks, or else the last.
            known = int(counts[min(int(np.searchsorted(counts, count)), len(counts) - 1)])
            pose = transform_from(message.pose.pose.position, message.pose.pose.orientation)
            placed[stamp_ns] = (numbers.get(known, 1), pose)
        groups: dict[int, list[int]] = {}
        for stamp in sorted(placed):
            groups.setdefault(placed[stamp][0], []).append(stamp)
        return [
            PoseSegment(number, tuple(group), np.stack([placed[stamp][1] for stamp in group]))
            for number, group in sorted(groups.items())
        ]

    def final(self) -> FinalMap | None:
        """See `Outputs`."""
        return None

    def depths(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(stamp_ns, (H, W) float32 metres or map units as published, NaN where there is none)."""
        for _, stamp_ns, message in self._read(*DEPTH_TOPICS):
            depth = np.frombuffer(bytes(message.data), "<f4").reshape(message.height, message.width)
            yield stamp_ns, depth

    def clouds(self) -> Iterator[Cloud]:
        """The clouds, points without a position left out."""
        for _, stamp_ns, message in self._read(*CLOUD_TOPICS):
            names = tuple(field.name for field in message.fields)
            assert names == POINT_DTYPE.names, names
            yield Cloud.of_records(stamp_ns, np.frombuffer(bytes(message.data), POINT_DTYPE))

    def _read(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """(topic, header stamp, message) of some topics."""
        with AnyReader([self._path]) as reader:
            wanted = [item for item in reader.connections if item.topic in topics]
            if not wanted:
                return
            for connection, _, data in reader.messages(connections=wanted):
                message = reader.deserialize(data, connection.msgtype)
                yield connection.topic, header_stamp_ns(data), message
