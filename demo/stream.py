# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A drive as ROS messages: each with its topic and when it is due, faults included.

| topic | type | |
|---|---|---|
| /camera/image_raw, /camera/image_raw/compressed | Image, CompressedImage | also /right_camera |
| /camera/camera_info | CameraInfo | |
| /odom | Odometry | of the wheels |
| /tf | odom -> base_link | |
| /tf_static | base_link -> camera_link -> camera_optical_frame, base_link -> laser | |
| /scan | LaserScan | |
| /ground_truth/odometry | Odometry | world -> base_link |
| /ground_truth/depth, /ground_truth/depth/compressed | Image, CompressedImage | z-depth |
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import messages as types
from .drives import NS, START_NS, Drive, DriveFrame, planar
from .faults import Faults, during
from .messages import MessageMaker
from .robot import BASE, CAMERA, CAMERA_OPTICAL, LASER, ODOM, RIGHT_OPTICAL

__all__ = ["Due", "RobotMessages", "Streams", "by_time", "drive_messages"]

Floats = NDArray[np.float64]
WORLD = "world"
_LEAP = planar(5.0, 0.0, np.pi / 2)
_LONGER = 1.1  # of a wrong focal length


@dataclass(frozen=True, eq=False)
class Due:
    """A message that is due.

    Args:
        time_ns: When it goes out, on the drive's clock; later than its stamp where it is late.
        topic, msgtype, message: What.
    """

    time_ns: int
    topic: str
    msgtype: str
    message: Any


@dataclass(frozen=True)
class Streams:
    """What is sent.

    Args:
        raw, compressed: Kinds of pictures.
        scan: The lidar.
        depth_every: True depth with every n-th picture; 0 never.
        depth_compressed: As PNG of 16 bits, else as 32FC1.
        truth: The true poses.
    """

    raw: bool = True
    compressed: bool = True
    scan: bool = True
    depth_every: int = 1
    depth_compressed: bool = False
    truth: bool = True


class RobotMessages:
    """Makes the messages of a robot, one sample at a time, with the faults of its drive.

    Args:
        drive: Whose robot, camera and faults.
        maker: Makes the messages.
        streams: What is sent.
    """

    def __init__(self, drive: Drive, maker: MessageMaker, streams: Streams) -> None:
        self._drive, self._maker, self._streams = drive, maker, streams
        self._faults: Faults = drive.spec.faults

    def static(self) -> Due:
        """/tf_static: where the sensors sit."""
        robot, stereo = self._drive.robot, self._drive.spec.stereo_m
        make = self._maker.transform
        upside_down = self._faults.lidar_upside_down
        links = [
            make(START_NS, BASE, CAMERA, robot.T_base_camera()),
            make(START_NS, CAMERA, CAMERA_OPTICAL, robot.T_camera_optical()),
            make(START_NS, BASE, LASER, robot.T_base_laser(upside_down)),
        ]
        if stereo:
            links.append(make(START_NS, CAMERA, RIGHT_OPTICAL, robot.T_camera_optical(stereo)))
        return Due(START_NS, "/tf_static", types.TF, self._maker.tf(links))

    def odometry(
        self, stamp_ns: int, T_odom_base: Floats, twist_2: Floats, T_world_base: Floats | None
    ) -> list[Due]:
        """The wheels' word on its topic and in TF, and the truth beside it."""
        make, faults = self._maker, self._faults
        time_s = self._drive.time_s(stamp_ns)
        share = self._drive.spec.wheels.scale
        said = make.odometry(stamp_ns, ODOM, BASE, T_odom_base, twist_2, share)
        sent = [Due(stamp_ns, "/odom", types.ODOMETRY, said)]
        if not during(time_s, faults.tf_stops_at_s, faults.tf_stops_for_s):
            T = _LEAP @ T_odom_base if during(time_s, faults.tf_leaps_at_s) else T_odom_base
            links = [make.transform(stamp_ns, ODOM, BASE, T)]
            if during(time_s, faults.tf_loops_at_s):
                links.append(make.transform(stamp_ns, CAMERA_OPTICAL, ODOM, np.eye(4)))
            late_ns = round(faults.tf_late_s * NS)
            sent.append(Due(stamp_ns + late_ns, "/tf", types.TF, make.tf(links)))
        if self._streams.truth and T_world_base is not None:
            true = make.odometry(stamp_ns, WORLD, BASE, T_world_base, np.zeros(2), 0.0)
            sent.append(Due(stamp_ns, "/ground_truth/odometry", types.ODOMETRY, true))
        return sent

    def scan(self, stamp_ns: int, ranges_A: Floats) -> list[Due]:
        """The lidar's word."""
        said = self._maker.scan(stamp_ns, LASER, ranges_A, self._drive.lidar)
        return [Due(stamp_ns, "/scan", types.SCAN, said)]

    def frame(self, frame: DriveFrame, number: int) -> list[Due]:
        """A moment of the camera or the pair; its true depth with every n-th."""
        stamp, every = frame.stamp_ns, self._streams.depth_every
        sent = self._camera("/camera", stamp, CAMERA_OPTICAL, frame.rgb, 0.0)
        if frame.right is not None:
            stereo = self._drive.spec.stereo_m
            sent += self._camera("/right_camera", stamp, RIGHT_OPTICAL, frame.right, stereo)
        if every and number % every == 0:
            depth = frame.depth * (1000.0 if self._faults.depth_in_millimetres else 1.0)
            topic = "/ground_truth/depth"
            if self._streams.depth_compressed:
                said = self._maker.depth_png(stamp, CAMERA_OPTICAL, depth)
                sent.append(Due(stamp, f"{topic}/compressed", types.COMPRESSED, said))
            else:
                said = self._maker.depth(stamp, CAMERA_OPTICAL, depth)
                sent.append(Due(stamp, topic, types.IMAGE, said))
        return sent

    def _camera(
        self, name: str, stamp: int, frame_id: str, rgb: NDArray[np.uint8], baseline_m: float
    ) -> list[Due]:
        info = self._info(stamp, frame_id, baseline_m)
        sent = [] if info is None else [Due(stamp, f"{name}/camera_info", types.INFO, info)]
        if self._streams.raw:
            said = self._maker.image(stamp, frame_id, rgb)
            sent.append(Due(stamp, f"{name}/image_raw", types.IMAGE, said))
        if self._streams.compressed:
            said = self._maker.jpeg(stamp, frame_id, rgb)
            sent.append(Due(stamp, f"{name}/image_raw/compressed", types.COMPRESSED, said))
        return sent

    def _info(self, stamp: int, frame_id: str, baseline_m: float) -> Any | None:
        """CameraInfo, as wrong as the drive wants it."""
        kind, K = self._faults.camera_info, self._drive.K.copy()
        height, width = self._drive.spec.size_hw
        model = "plumb_bob"
        half_s = self._drive.seconds / 2
        if kind == "missing":
            return None
        if kind == "zero_k":
            K[:] = 0.0
        elif kind == "other_size":
            K[:2] *= 2.0
            height, width = 2 * height, 2 * width
        elif kind == "wrong_model":
            model = "kaleidoscope"
        elif kind == "wrong_focal" or (kind == "changes" and self._drive.time_s(stamp) >= half_s):
            K[[0, 1], [0, 1]] *= _LONGER
        return self._maker.camera_info(stamp, frame_id, K, (height, width), model, baseline_m)


def drive_messages(drive: Drive, maker: MessageMaker, streams: Streams) -> Iterator[Due]:
    """All messages of a drive in the order in which they are due."""
    made = RobotMessages(drive, maker, streams)
    yield made.static()
    parts: list[Iterator[list[Due]]] = [_odometry(drive, made)]
    if streams.scan:
        scans = drive.scans
        pairs = zip(scans.stamp_S.tolist(), scans.range_SA, strict=True)
        parts.append(made.scan(stamp, ranges) for stamp, ranges in pairs)
    if streams.raw or streams.compressed or streams.depth_every:
        parts.append(made.frame(frame, number) for number, frame in enumerate(drive.frames()))
    late = [by_time(part) for part in parts]
    yield from heapq.merge(*late, key=lambda due: due.time_ns)


def _odometry(drive: Drive, made: RobotMessages) -> Iterator[list[Due]]:
    samples = drive.odometry
    truth = drive.T_world_base(samples.stamp_M)
    for index, stamp in enumerate(samples.stamp_M.tolist()):
        yield made.odometry(
            stamp, samples.T_odom_base_M44[index], samples.twist_M2[index], truth[index]
        )


def by_time(groups: Iterator[list[Due]]) -> Iterator[Due]:
    """The messages of instants one after the other, those that are late among the later ones."""
    waiting: list[tuple[int, int, Due]] = []
    count = 0
    for group in groups:
        for due in group:
            heapq.heappush(waiting, (due.time_ns, count, due))
            count += 1
        now = min(due.time_ns for due in group)
        while waiting and waiting[0][0] <= now:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
