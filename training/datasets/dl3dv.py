# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""DL3DV-10K and whatever else nerfstudio wrote: `transforms.json` and the pictures that it names.

A `transform_matrix` is camera-to-world with OpenGL camera axes (x right, y up, z backward).
Lengths are up to a scale. `w`, `h`, `fl_x`, `fl_y`, `cx`, `cy` stand at the top or with each
frame and count from the outer corner of the first pixel; pictures of `images_2`, `_4`, `_8` are
smaller than they say and are used where `images` is not there. Lens distortion (`k1`, `k2`,
`p1`, `p2`, `k3`) is taken out. Depth is optional (`depth_file_path`: 16-bit PNG of thousandths,
or .npy).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.npy import load_npy

from .base import DataError, known_depth
from .folder import (
    OPENGL_TO_OPENCV,
    FolderSequence,
    Frame,
    folders_with,
    inside,
    pinhole,
    read_depth_png,
    read_picture,
    sequence_of,
)
from .lens import straightened

__all__ = ["open_dl3dv"]

_SMALLER = ("images_2", "images_4", "images_8")
_LENS = ("k1", "k2", "p1", "p2", "k3")


def open_dl3dv(root: Path) -> list[FolderSequence]:
    """Open one scene or a folder of scenes.

    Raises:
        FileNotFoundError: No transforms.json.
        DataError: It is damaged, of a fisheye lens, or none of its pictures is there.
    """
    return [_open(folder) for folder in folders_with(root, "transforms.json", "DL3DV")]


def _open(folder: Path) -> FolderSequence:
    path = folder / "transforms.json"
    try:
        content = parse_json(path.read_bytes())
        shared = {key: value for key, value in content.items() if key != "frames"}
        model = shared.get("camera_model", "OPENCV")
        if model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
            raise DataError(f"{path}: camera_model is {model}, expected OPENCV or PINHOLE")
        frames = []
        for entry in sorted(content["frames"], key=lambda item: str(item["file_path"])):
            picture = _picture(folder, str(entry["file_path"]))
            pose = np.array(entry["transform_matrix"], np.float64) @ OPENGL_TO_OPENCV
            about = {**shared, **entry}
            load = functools.partial(_load, folder, picture or folder, about)
            frames.append((str(entry["file_path"]), None if picture is None else pose, load))
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error!r}") from error
    return sequence_of(str(folder), frames, metric=False, clean=True)


def _picture(folder: Path, name: str) -> Path | None:
    path = inside(folder, name)
    smaller = (folder / kind / path.name for kind in _SMALLER)
    return next((item for item in (path, *smaller) if item.is_file()), None)


def _load(folder: Path, picture: Path, about: dict[str, Any]) -> Frame:
    rgb = read_picture(picture)
    try:
        scale = np.array([rgb.shape[1] / about["w"], rgb.shape[0] / about["h"]])
        focal = np.array([about["fl_x"], about.get("fl_y", about["fl_x"])]) * scale
        centre = np.array([about["cx"], about["cy"]]) * scale - 0.5
        lens = np.array([about.get(name, 0.0) for name in _LENS], np.float64)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{folder}: camera of {picture.name} cannot be read: {error!r}") from error
    K = pinhole(*focal, *centre)
    name = about.get("depth_file_path")
    depth = None if name is None else _depth(inside(folder, name), (rgb.shape[0], rgb.shape[1]))
    return Frame(*straightened(rgb, depth, K, lens), K)


def _depth(path: Path, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Depth on the grid of the picture, by the nearest reading."""
    if path.suffix == ".npy":
        try:
            depth = known_depth(load_npy(path))
        except (OSError, ValueError) as error:
            raise DataError(f"depth map {path} cannot be read: {error}") from error
    else:
        depth = read_depth_png(path, 1000.0)
    if depth.ndim != 2:
        raise DataError(f"depth map {path} has shape {depth.shape}, expected (H, W)")
    rows = (np.arange(size_hw[0]) + 0.5) * depth.shape[0] / size_hw[0]
    columns = (np.arange(size_hw[1]) + 0.5) * depth.shape[1] / size_hw[1]
    picked: NDArray[np.float32] = depth[rows.astype(int)][:, columns.astype(int)]
    return picked
