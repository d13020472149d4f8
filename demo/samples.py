# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A drive as a pipeline takes it: frames, and what the other sensors say, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.cameras import InputFrame
from g2vlm_map.sensing import Extrinsics, OdometrySample, PointSample, Sample

from .drives import Drive
from .robot import CAMERA_OPTICAL, RIGHT_OPTICAL

__all__ = ["pipeline_inputs", "scan_points"]

Floats = NDArray[np.float64]

CAMERA_NAME, RIGHT_NAME = "camera", "right"


def pipeline_inputs(
    drive: Drive, *, odometry: bool = True, scan: bool = True, known_K: bool = True
) -> Iterator[InputFrame | Sample]:
    """What a pipeline gets of a drive; frames go to `add`, the rest to `sense`.

    Args:
        drive: Whose.
        odometry, scan: Whether these sensors are there.
        known_K: Whether the camera comes with its intrinsics.
    """
    yield Extrinsics(CAMERA_NAME, drive.robot.T_base_optical())
    if drive.spec.stereo_m:
        yield Extrinsics(RIGHT_NAME, drive.robot.T_base_optical(drive.spec.stereo_m))
    streams: list[Iterator[tuple[int, int, InputFrame | Sample]]] = [_frames(drive, known_K)]
    if odometry:
        streams.append(_odometry(drive))
    if scan:
        streams.append(_scans(drive))
    # Of one instant, what helps to place a frame comes ahead of it.
    for _, _, item in heapq.merge(*streams, key=lambda entry: entry[:2]):
        yield item


def scan_points(ranges_A: Floats, angles_A: Floats) -> NDArray[np.float32]:
    """(A, 3) points of a scan in the sensor's frame; NaN where there is no reading."""
    valid = np.isfinite(ranges_A) & (ranges_A > 0)
    reach = np.where(valid, ranges_A, np.nan)
    across = (reach * np.cos(angles_A), reach * np.sin(angles_A), 0.0 * reach)
    return np.stack(across, axis=-1).astype(np.float32)


def _frames(drive: Drive, known_K: bool) -> Iterator[tuple[int, int, InputFrame | Sample]]:
    K = drive.K if known_K else None
    for frame in drive.frames():
        stamp = frame.stamp_ns
        yield stamp, 1, InputFrame(frame.rgb, stamp, CAMERA_NAME, CAMERA_OPTICAL, K)
        if frame.right is not None:
            yield stamp, 2, InputFrame(frame.right, stamp, RIGHT_NAME, RIGHT_OPTICAL, K)


def _odometry(drive: Drive) -> Iterator[tuple[int, int, InputFrame | Sample]]:
    share = drive.spec.wheels.scale
    samples = drive.odometry
    for stamp, T in zip(samples.stamp_M.tolist(), samples.T_odom_base_M44, strict=True):
        yield stamp, 0, OdometrySample(stamp, T, share)


def _scans(drive: Drive) -> Iterator[tuple[int, int, InputFrame | Sample]]:
    scans = drive.scans
    angles = scans.lidar.angles
    for stamp, ranges in zip(scans.stamp_S.tolist(), scans.range_SA, strict=True):
        points = scan_points(ranges, angles)
        yield stamp, 0, PointSample(stamp, points, scans.T_base_laser, is_scan=True)
