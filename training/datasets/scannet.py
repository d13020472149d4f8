# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""ScanNet, exported from its .sens files.

`color/N.jpg`, `depth/N.png`, `pose/N.txt`, `intrinsic/intrinsic_color.txt`, `intrinsic_depth.txt`.
Depth is 16-bit millimetres on a smaller grid (640x480 beside 1296x968), of a camera at the same
place as the colour camera, so it is looked up by the two intrinsics. A pose is camera-to-world
in metres, and -inf where the tracker was lost.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from .lens import depth_on_picture

__all__ = ["open_scannet"]

_FAR = 80.0


def open_scannet(root: Path) -> list[FolderSequence]:
    """Open one exported scene or a folder of scenes.

    Raises:
        FileNotFoundError: No scene.
        DataError: Intrinsics are missing, or no frame has picture, depth map and pose.
    """
    return [_open(folder) for folder in folders_with(root, "pose", "ScanNet")]


def _open(folder: Path) -> FolderSequence:
    K_colour, K_depth = (
        read_numbers(folder / "intrinsic" / f"intrinsic_{which}.txt")[:3, :3]
        for which in ("color", "depth")
    )
    poses = sorted((folder / "pose").glob("*.txt"), key=_number)
    frames = []
    for path in poses:
        colour = folder / "color" / f"{path.stem}.jpg"
        depth = folder / "depth" / f"{path.stem}.png"
        whole = colour.is_file() and depth.is_file()
        load = functools.partial(_load, colour, depth, K_colour, K_depth)
        frames.append((path.stem, read_numbers(path, 4) if whole else None, load))
    return sequence_of(str(folder), frames, clean=True)


def _number(path: Path) -> int:
    if not path.stem.isdigit():
        raise DataError(f"{path} is not named by the number of its frame")
    return int(path.stem)


def _load(
    colour: Path, depth: Path, K_colour: NDArray[np.float64], K_depth: NDArray[np.float64]
) -> Frame:
    rgb = read_picture(colour)
    raw = read_depth_png(depth, 1000.0, far=_FAR)
    size = (rgb.shape[0], rgb.shape[1])
    return Frame(rgb, depth_on_picture(raw, K_depth, size, K_colour), K_colour)
