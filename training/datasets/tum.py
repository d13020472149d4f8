# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""TUM RGB-D: `rgb.txt`, `depth.txt`, `groundtruth.txt` and the files that they list.

Depth is 16-bit with 5000 per metre, registered to the colour camera. Pictures, depth maps and
the 100 Hz poses of the motion capture (camera-to-world, quaternion x y z w) have own stamps: a
picture takes the nearest depth map within 20 ms, and the pose between the two neighbouring ones.
Intrinsics are those of `camera-intrinsics.txt` (3x3, beside the lists or in a folder above), else
the published ones of freiburg1 to 3 by the folder's name, whose lens distortion is taken out.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .base import DataError
from .folder import (
    INTRINSICS,
    FolderSequence,
    Frame,
    folders_with,
    inside,
    interpolated_poses,
    pinhole,
    pose_of,
    read_depth_png,
    read_intrinsics,
    read_numbers,
    read_picture,
    sequence_of,
)
from .lens import straightened

__all__ = ["open_tum"]

_INTRINSICS = {
    "1": pinhole(517.3, 516.5, 318.6, 255.3),
    "2": pinhole(520.9, 521.0, 325.1, 249.7),
    "3": pinhole(535.4, 539.2, 320.1, 247.6),
}
_LENSES = {
    "1": np.array([0.2624, -0.9531, -0.0054, 0.0026, 1.1633]),
    "2": np.array([0.2312, -0.7849, -0.0033, -0.0001, 0.9172]),
}
_KNOWN = [f"freiburg{which}" for which in _INTRINSICS]
_NEAR_S = 0.02
_POSE_GAP_S = 0.1


def open_tum(root: Path) -> list[FolderSequence]:
    """Open one sequence or a folder of sequences.

    Raises:
        FileNotFoundError: No groundtruth.txt.
        DataError: A list is missing or damaged, no picture has depth and pose, or nothing says the
            intrinsics.
    """
    return [_open(folder, root) for folder in folders_with(root, "groundtruth.txt", "TUM RGB-D")]


def _open(folder: Path, root: Path) -> FolderSequence:
    K, lens = _camera(folder, root)
    colour_s, colours = _listed(folder / "rgb.txt")
    depth_s, depths = _listed(folder / "depth.txt")
    track = read_numbers(folder / "groundtruth.txt", 8)
    if (np.abs(np.linalg.norm(track[:, 4:], axis=1) - 1) > 0.01).any():
        raise DataError(f"{folder / 'groundtruth.txt'} has quaternions that are not of length 1")
    rotations = Rotation.from_quat(track[:, 4:])
    poses = np.stack([pose_of(r, t) for r, t in zip(rotations, track[:, 1:4], strict=True)])
    wanted = interpolated_poses(track[:, 0], poses, colour_s, _POSE_GAP_S)
    frames = []
    for time, colour, pose in zip(colour_s, colours, wanted, strict=True):
        nearest = int(np.abs(depth_s - time).argmin())
        near = abs(depth_s[nearest] - time) <= _NEAR_S
        load = functools.partial(_load, colour, depths[nearest], K, lens)
        frames.append((colour.stem, pose if near else None, load))
    return sequence_of(str(folder), frames)


def _camera(folder: Path, root: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intrinsics and OpenCV's coefficients of the lens."""
    told = read_intrinsics(folder, root)
    if told is not None:
        return told, np.zeros(5)
    series = re.search(r"freiburg(\d)", folder.name)
    which = series.group(1) if series else ""
    if which not in _INTRINSICS:
        raise DataError(
            f"{folder} has no intrinsics, and its name none of {', '.join(_KNOWN)}; write the 3x3 "
            f"matrix of its camera into {root / INTRINSICS}"
        )
    return _INTRINSICS[which], _LENSES.get(which, np.zeros(5))


def _listed(path: Path) -> tuple[NDArray[np.float64], list[Path]]:
    """Stamps in seconds and files of a list, in order of time."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        entries = sorted((float(row[0]), inside(path.parent, row[1])) for row in rows)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} is no list of stamps and files: {error}") from error
    if not entries:
        raise DataError(f"{path} lists no file")
    return np.array([stamp for stamp, _ in entries]), [file for _, file in entries]


def _load(colour: Path, depth: Path, K: NDArray[np.float64], lens: NDArray[np.float64]) -> Frame:
    rgb, map_HW = read_picture(colour), read_depth_png(depth, 5000.0)
    if map_HW.shape != rgb.shape[:2]:
        raise DataError(f"{depth} has shape {map_HW.shape}, its picture {rgb.shape[:2]}")
    return Frame(*straightened(rgb, map_HW, K, lens), K)
