# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Co3Dv2: `CATEGORY/frame_annotations.jgz` beside the folders of the sequences.

The annotations are gzipped JSON: for each frame the paths of picture, depth map and depth mask,
and the camera in PyTorch3D's convention: x_cam = x_world @ R + T, axes x left, y up, z forward,
focal length and principal point in normalised device coordinates. A depth PNG holds the bits of
float16, to be multiplied with `scale_adjustment`. Lengths are up to a scale per sequence.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json

from .base import DataError, known_depth
from .folder import (
    FolderSequence,
    Frame,
    folders_with,
    inside,
    pinhole,
    read_picture,
    read_samples,
    sequence_of,
)

__all__ = ["open_co3d"]

_MAX_BYTES = 2**32  # of a category's list, unpacked
_ANNOTATIONS = "frame_annotations.jgz"
_OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])


def open_co3d(root: Path) -> list[FolderSequence]:
    """Open the data set or one category.

    Raises:
        FileNotFoundError: No frame_annotations.jgz.
        DataError: The annotations are damaged, or a sequence has no usable frame.
    """
    sequences = []
    for folder in folders_with(root, _ANNOTATIONS, "Co3Dv2"):
        sequences += _open_category(folder)
    return sequences


def _open_category(folder: Path) -> list[FolderSequence]:
    path = folder / _ANNOTATIONS
    try:
        with gzip.open(path, "rb") as file:
            entries = parse_json(file.read(_MAX_BYTES + 1), _MAX_BYTES)
        by_sequence: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            by_sequence.setdefault(str(entry["sequence_name"]), []).append(entry)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error!r}") from error
    if not by_sequence:
        raise DataError(f"{path} lists no frame")
    return [_open(folder, name, by_sequence[name]) for name in sorted(by_sequence)]


def _open(folder: Path, name: str, entries: list[dict[str, Any]]) -> FolderSequence:
    frames = []
    where = f"{folder / name}"
    try:
        for entry in sorted(entries, key=lambda item: int(item["frame_number"])):
            view = entry.get("viewpoint")
            pose = None if view is None else _pose(view)
            load = functools.partial(_load, folder.parent, entry)
            frames.append((str(entry["frame_number"]), pose, load))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: annotation cannot be read: {error!r}") from error
    return sequence_of(where, frames, metric=False)


def _pose(view: dict[str, Any]) -> NDArray[np.float64]:
    T_cam_world = np.eye(4)
    T_cam_world[:3, :3] = _OPENCV_FROM_PYTORCH3D @ np.array(view["R"], np.float64).T
    T_cam_world[:3, 3] = _OPENCV_FROM_PYTORCH3D @ np.array(view["T"], np.float64)
    if not np.isfinite(T_cam_world).all() or abs(np.linalg.det(T_cam_world)) < 0.5:
        return np.full((4, 4), np.nan)
    return np.asarray(np.linalg.inv(T_cam_world), np.float64)


def _intrinsics(view: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Pixels from normalised coordinates, whose x goes left and y up from the middle."""
    height, width = size_hw
    kind = view.get("intrinsics_format", "ndc_norm_image_bounds")
    if kind == "ndc_isotropic":
        unit_x = unit_y = min(height, width) / 2
    elif kind == "ndc_norm_image_bounds":
        unit_x, unit_y = width / 2, height / 2
    else:
        raise ValueError(f"intrinsics_format is {kind!r}")
    (fx, fy), (px, py) = view["focal_length"], view["principal_point"]
    cx, cy = width / 2 - px * unit_x - 0.5, height / 2 - py * unit_y - 0.5
    return pinhole(fx * unit_x, fy * unit_y, cx, cy)


def _load(root: Path, entry: dict[str, Any]) -> Frame:
    try:
        rgb = read_picture(inside(root, entry["image"]["path"]))
        K = _intrinsics(entry["viewpoint"], (rgb.shape[0], rgb.shape[1]))
        about = entry.get("depth")
        depth = None if about is None else _depth(root, about)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{root}: annotation of frame {entry.get('frame_number')} of "
            f"{entry.get('sequence_name')} cannot be read: {error!r}"
        ) from error
    return Frame(rgb, depth, K)


def _depth(root: Path, about: dict[str, Any]) -> NDArray[np.float32]:
    path = inside(root, about["path"])
    codes = read_samples(path).astype(np.uint16)
    depth = codes.view(np.float16).astype(np.float64) * float(about["scale_adjustment"])
    if about.get("mask_path"):
        depth = np.where(read_samples(inside(root, about["mask_path"]), "depth mask") > 0, depth, 0)
    return known_depth(depth)
