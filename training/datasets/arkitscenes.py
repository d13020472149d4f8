# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""ARKitScenes: the `lowres_wide` pictures of a video with what belongs to them.

`lowres_wide/ID_STAMP.png`, `lowres_depth/ID_STAMP.png`, `lowres_wide_intrinsics/ID_STAMP.pincam`
and `lowres_wide.traj`. A line of the trajectory is a stamp, an axis-angle rotation and a
translation that map the world to the camera, in metres, at 10 Hz; pictures take the pose between
their two neighbours. A pincam file holds width, height, fx, fy, cx, cy. Depth is 16-bit
millimetres on the grid of the picture; where `confidence/` is there, readings of the lowest level
are left out.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from .base import DataError
from .folder import (
    FolderSequence,
    Frame,
    folders_with,
    interpolated_poses,
    pinhole,
    pose_of,
    read_depth_png,
    read_numbers,
    read_picture,
    read_samples,
    sequence_of,
)

__all__ = ["open_arkitscenes"]

_POSE_GAP_S = 0.25
_INTRINSICS_GAP_S = 0.011


def open_arkitscenes(root: Path) -> list[FolderSequence]:
    """Open one video or a folder of videos.

    Raises:
        FileNotFoundError: No lowres_wide.traj.
        DataError: Parts are missing, or no picture has depth map, intrinsics and pose.
    """
    return [_open(folder) for folder in folders_with(root, "lowres_wide.traj", "ARKitScenes")]


def _open(folder: Path) -> FolderSequence:
    track = read_numbers(folder / "lowres_wide.traj", 7)
    rotations = Rotation.from_rotvec(track[:, 1:4])
    T_cam_world = np.stack([pose_of(r, t) for r, t in zip(rotations, track[:, 4:], strict=True)])
    pictures = sorted((folder / "lowres_wide").glob("*.png"), key=_stamp)
    lenses = sorted((folder / "lowres_wide_intrinsics").glob("*.pincam"), key=_stamp)
    if not pictures or not lenses:
        raise DataError(
            f"{folder} has {len(pictures)} pictures in lowres_wide and {len(lenses)} files in "
            "lowres_wide_intrinsics; both are needed"
        )
    lens_s = np.array([_stamp(path) for path in lenses])
    picture_s = np.array([_stamp(path) for path in pictures])
    T_world_cam = np.asarray(np.linalg.inv(T_cam_world), np.float64)
    poses = interpolated_poses(track[:, 0], T_world_cam, picture_s, _POSE_GAP_S)
    frames = []
    for picture, time, pose in zip(pictures, picture_s, poses, strict=True):
        nearest = int(np.abs(lens_s - time).argmin())
        depth = folder / "lowres_depth" / picture.name
        whole = depth.is_file() and abs(lens_s[nearest] - time) <= _INTRINSICS_GAP_S
        trust = folder / "confidence" / picture.name
        load = functools.partial(_load, picture, depth, lenses[nearest], trust)
        frames.append((picture.stem, pose if whole else None, load))
    return sequence_of(str(folder), frames)


def _stamp(path: Path) -> float:
    """Seconds in a name like 47333462_74735.839.png."""
    try:
        return float(path.stem.rsplit("_", 1)[1])
    except (IndexError, ValueError) as error:
        raise DataError(f"{path} is not named by its video and stamp, ID_SECONDS") from error


def _load(picture: Path, depth: Path, lens: Path, trust: Path) -> Frame:
    rgb = read_picture(picture)
    width, height, fx, fy, cx, cy = read_numbers(lens, 6)[0]
    if (height, width) != rgb.shape[:2]:
        raise DataError(f"{lens} is for {width:g}x{height:g} pixels, {picture} has {rgb.shape[:2]}")
    map_HW = read_depth_png(depth, 1000.0)
    if trust.is_file():
        level = read_samples(trust, "trust")
        if level.shape != map_HW.shape:
            raise DataError(f"{trust} has shape {level.shape}, its depth map {map_HW.shape}")
        map_HW = np.where(level > 0, map_HW, 0).astype(np.float32)
    return Frame(rgb, map_HW, pinhole(fx, fy, cx, cy))
