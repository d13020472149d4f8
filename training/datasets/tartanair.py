# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""TartanAir: `image_left/NNNNNN_left.png`, `depth_left/NNNNNN_left_depth.npy`, `pose_left.txt`.

Poses are x y z and a quaternion x y z w in north-east-down axes, where the camera looks along
its x, has y to the right and z down. Depth is the z coordinate in metres; the sky of the
simulator stands at a large distance. The lens sees 90 degrees.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from g2vlm_model.interface.npy import load_npy

from .base import DataError, known_depth
from .folder import (
    FolderSequence,
    Frame,
    folders_with,
    pinhole,
    pose_of,
    read_numbers,
    read_picture,
    sequence_of,
)

__all__ = ["open_tartanair"]

# Columns: where x right, y down, z forward lie in forward, right, down.
_NED_FROM_OPENCV = np.array(
    [[0.0, 0, 1, 0], [1.0, 0, 0, 0], [0.0, 1, 0, 0], [0, 0, 0, 1]], np.float64
)
_FAR = 80.0


def open_tartanair(root: Path) -> list[FolderSequence]:
    """Open one trajectory, an environment, or the whole data set.

    Raises:
        FileNotFoundError: No pose_left.txt.
        DataError: Numbers of poses and pictures differ, or a file is damaged.
    """
    return [_open(folder) for folder in folders_with(root, "pose_left.txt", "TartanAir")]


def _open(folder: Path) -> FolderSequence:
    table = read_numbers(folder / "pose_left.txt", 7)
    pictures = sorted((folder / "image_left").glob("*_left.png"))
    if len(pictures) != len(table):
        raise DataError(
            f"{folder} has {len(pictures)} pictures in image_left, but {len(table)} poses"
        )
    if (np.abs(np.linalg.norm(table[:, 3:], axis=1) - 1) > 0.01).any():
        raise DataError(f"{folder / 'pose_left.txt'} has quaternions that are not of length 1")
    rotations = Rotation.from_quat(table[:, 3:])
    frames = []
    for picture, rotation, position in zip(pictures, rotations, table[:, :3], strict=True):
        depth = folder / "depth_left" / f"{picture.stem}_depth.npy"
        pose = pose_of(rotation, position) @ _NED_FROM_OPENCV
        frames.append((picture.stem, pose, functools.partial(_load, picture, depth)))
    return sequence_of(str(folder), frames, clean=True)


def _load(picture: Path, depth: Path) -> Frame:
    rgb = read_picture(picture)
    height, width = rgb.shape[:2]
    try:
        raw = load_npy(depth)
    except (OSError, ValueError) as error:
        raise DataError(f"depth map {depth} cannot be read: {error}") from error
    K = pinhole(width / 2, width / 2, (width - 1) / 2, (height - 1) / 2)
    return Frame(rgb, known_depth(raw, _FAR), K)
