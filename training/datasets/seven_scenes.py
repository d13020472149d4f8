# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""7-Scenes: `frame-NNNNNN.color.png|jpg`, `.depth.png`, `.pose.txt` in one folder a sequence.

Depth is 16-bit millimetres, 0 and 65535 no reading; a pose is a 4x4 camera-to-world matrix in
metres. `camera-intrinsics.txt` (3x3) where present, else the nominal 585 of the data set.
Colour and depth come from two sensors that the data set does not register.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .folder import (
    FolderSequence,
    Frame,
    folders_with,
    pinhole,
    read_depth_png,
    read_numbers,
    read_picture,
    sequence_of,
)

__all__ = ["open_seven_scenes"]

_DEFAULT_K = pinhole(585.0, 585.0, 320.0, 240.0)


def open_seven_scenes(root: Path) -> list[FolderSequence]:
    """Open a sequence, a scene or the whole data set.

    Raises:
        FileNotFoundError: No frame.
        DataError: No frame has a pose, or a pose is no 4x4 matrix.
    """
    return [_open(folder) for folder in folders_with(root, "frame-*.color.*", "7-Scenes")]


def _open(folder: Path) -> FolderSequence:
    K_path = folder / "camera-intrinsics.txt"
    K = read_numbers(K_path, 3) if K_path.is_file() else _DEFAULT_K
    frames = []
    for colour in sorted(folder.glob("frame-*.color.*")):
        name = colour.name.split(".")[0]
        pose = folder / f"{name}.pose.txt"
        load = functools.partial(_load, colour, folder / f"{name}.depth.png", K)
        frames.append((name, read_numbers(pose, 4) if pose.is_file() else None, load))
    return sequence_of(str(folder), frames)


def _load(colour: Path, depth: Path, K: NDArray[np.float64]) -> Frame:
    return Frame(read_picture(colour), read_depth_png(depth, 1000.0, no_reading=65535), K)
