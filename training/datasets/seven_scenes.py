# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""7-Scenes: `frame-NNNNNN.color.png|jpg`, `.depth.png`, `.pose.txt` in one folder a sequence.

Depth is 16-bit millimetres, 0 and 65535 no reading; a pose is a 4x4 camera-to-world matrix in
metres. Intrinsics stand in `camera-intrinsics.txt` (3x3) beside the frames, or in a folder above
for all sequences below it. Colour and depth come from two sensors that the data set does not
register.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .base import DataError
from .folder import (
    INTRINSICS,
    FolderSequence,
    Frame,
    folders_with,
    read_depth_png,
    read_intrinsics,
    read_numbers,
    read_picture,
    sequence_of,
)

__all__ = ["open_seven_scenes"]

# What the data set's authors name for its colour pictures and use for its depth too.
_NOMINAL = "585 0 320, 0 585 240 and 0 0 1"


def open_seven_scenes(root: Path) -> list[FolderSequence]:
    """Open a sequence, a scene or the whole data set.

    Raises:
        FileNotFoundError: No frame.
        DataError: No frame has a pose, a pose is no 4x4 matrix, or nothing says the intrinsics.
    """
    return [_open(folder, root) for folder in folders_with(root, "frame-*.color.*", "7-Scenes")]


def _open(folder: Path, root: Path) -> FolderSequence:
    K = read_intrinsics(folder, root)
    if K is None:
        raise DataError(
            f"{folder} has no intrinsics; write the 3x3 matrix of its camera into "
            f"{root / INTRINSICS} (the published sequences name {_NOMINAL}, in three lines)"
        )
    frames = []
    for colour in sorted(folder.glob("frame-*.color.*")):
        name = colour.name.split(".")[0]
        pose = folder / f"{name}.pose.txt"
        load = functools.partial(_load, colour, folder / f"{name}.depth.png", K)
        frames.append((name, read_numbers(pose, 4) if pose.is_file() else None, load))
    return sequence_of(str(folder), frames)


def _load(colour: Path, depth: Path, K: NDArray[np.float64]) -> Frame:
    return Frame(read_picture(colour), read_depth_png(depth, 1000.0, no_reading=65535), K)
