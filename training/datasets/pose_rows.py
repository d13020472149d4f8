# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Posed RGB-D folders: `images/NAME.jpg|png`, `depth/NAME.png`, `poses.txt` and `K.txt`.

`poses.txt` has a row of 16 numbers for each picture in the order of their names: 4x4
camera-to-world, OpenCV camera axes, metres. Depth is 16-bit millimetres on the grid of the picture
(0 no reading); `K.txt` is the 3x3 matrix of the pictures.
"""

from __future__ import annotations

import functools
from pathlib import Path

from .base import DataError
from .folder import (
    FolderSequence,
    Frame,
    folders_with,
    read_depth_png,
    read_numbers,
    read_picture,
    sequence_of,
)

__all__ = ["open_pose_rows"]

_PICTURES = (".jpg", ".jpeg", ".png")


def open_pose_rows(root: Path) -> list[FolderSequence]:
    """Open one sequence or a folder of sequences.

    Raises:
        FileNotFoundError: No poses.txt.
        DataError: Pictures and poses of unequal number, or numbers that are no matrices.
    """
    return [_open(folder) for folder in folders_with(root, "poses.txt", "posed RGB-D")]


def _open(folder: Path) -> FolderSequence:
    rows, K = read_numbers(folder / "poses.txt", 16), read_numbers(folder / "K.txt", 3)
    pictures = sorted(p for p in folder.glob("images/*") if p.suffix.lower() in _PICTURES)
    if len(pictures) != len(rows):
        raise DataError(f"{folder} has {len(pictures)} pictures and {len(rows)} rows of poses")

    def load(picture: Path) -> Frame:
        depth = folder / "depth" / f"{picture.stem}.png"
        return Frame(read_picture(picture), read_depth_png(depth, 1000.0), K)

    frames = [
        (picture.stem, row.reshape(4, 4), functools.partial(load, picture))
        for picture, row in zip(pictures, rows, strict=True)
    ]
    return sequence_of(str(folder), frames)
