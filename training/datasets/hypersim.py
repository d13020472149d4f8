# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Hypersim: `ai_VVV_NNN/_detail/cam_XX/camera_keyframe_*.hdf5` and `ai_VVV_NNN/images`.

Pictures are `images/scene_cam_XX_final_preview/frame.IIII.tonemap.jpg`, depth is
`scene_cam_XX_geometry_hdf5/frame.IIII.depth_meters.hdf5`: metres along the ray from the optical
centre, not the z coordinate, NaN where the ray meets nothing. Orientations are camera-to-world
with OpenGL camera axes, positions are in asset units, `metadata_scene.csv` says how many metres
one is. Lenses are those of `metadata_camera_parameters.csv` where it lies in the root (column
`M_cam_from_uv`), else the 60 degrees of nearly all scenes; tilted lenses are refused.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import DataError, known_depth
from .folder import (
    OPENGL_TO_OPENCV,
    FolderSequence,
    Frame,
    folders_with,
    pinhole,
    pose_of,
    read_picture,
    sequence_of,
)

__all__ = ["open_hypersim"]

_LENSES = "metadata_camera_parameters.csv"
_HALF_FOV_TANGENT = np.tan(np.radians(60) / 2)
_FAR = 80.0


def open_hypersim(root: Path) -> list[FolderSequence]:
    """Open one scene or a folder of scenes; each camera of a scene is a sequence.

    Raises:
        FileNotFoundError: No scene.
        DataError: A file is missing or damaged, a lens is tilted, h5py is not installed.
    """
    sequences = []
    for scene in folders_with(root, "_detail/cam_*", "Hypersim"):
        unit = _metres_per_unit(scene / "_detail" / "metadata_scene.csv")
        tangents = _tangents(scene)
        for camera in sorted((scene / "_detail").glob("cam_*")):
            sequences.append(_open(scene, camera, unit, tangents))
    return sequences


def _open(
    scene: Path, camera: Path, unit: float, tangents: NDArray[np.float64] | None
) -> FolderSequence:
    positions, orientations, numbers = (
        read_hdf5(camera / f"camera_keyframe_{kind}.hdf5")
        for kind in ("positions", "orientations", "frame_indices")
    )
    if not len(positions) == len(orientations) == len(numbers):
        raise DataError(
            f"{camera} has {len(positions)} positions, {len(orientations)} orientations and "
            f"{len(numbers)} frame indices, expected as many of each"
        )
    images, frames = scene / "images", []
    for number, position, orientation in zip(numbers, positions, orientations, strict=True):
        name = f"frame.{int(number):04d}"
        picture = images / f"scene_{camera.name}_final_preview" / f"{name}.tonemap.jpg"
        depth = images / f"scene_{camera.name}_geometry_hdf5" / f"{name}.depth_meters.hdf5"
        pose = pose_of(orientation, position * unit) @ OPENGL_TO_OPENCV
        whole = picture.is_file() and depth.is_file()
        load = functools.partial(_load, picture, depth, tangents)
        frames.append((name, pose if whole else None, load))
    return sequence_of(f"{scene}/{camera.name}", frames, clean=True)


def read_hdf5(path: Path) -> NDArray[Any]:
    """The array of one of the data set's files.

    Raises:
        DataError: Missing, damaged, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path} needs h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["dataset"])
    except (OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _metres_per_unit(path: Path) -> float:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            values = {row["parameter_name"]: row["parameter_value"] for row in csv.DictReader(file)}
        unit = float(values["meters_per_asset_unit"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} says no meters_per_asset_unit: {error!r}") from error
    if not unit > 0:
        raise DataError(f"{path}: meters_per_asset_unit is {unit}, expected more than 0")
    return unit


def _tangents(scene: Path) -> NDArray[np.float64] | None:
    """Tangents of half the field of view in x and y; None where no table tells."""
    path = scene.parent / _LENSES
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        row = next((r for r in csv.DictReader(file) if r.get("scene_name") == scene.name), None)
    try:
        if row is None:
            raise KeyError(scene.name)
        M_cam_uv = np.array(
            [[float(row[f"M_cam_from_uv_{i}{j}"]) for j in range(3)] for i in range(3)]
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} has no lens of {scene.name}: {error!r}") from error
    M_cam_uv /= -M_cam_uv[2, 2]
    if np.abs(M_cam_uv - np.diag(np.diag(M_cam_uv))).max() > 1e-5:
        raise DataError(f"{scene} has a tilted lens, which no pinhole matrix describes; leave out")
    return np.diag(M_cam_uv)[:2]


def _load(picture: Path, depth: Path, tangents: NDArray[np.float64] | None) -> Frame:
    rgb = read_picture(picture)
    height, width = rgb.shape[:2]
    if tangents is None:
        fx = fy = width / 2 / _HALF_FOV_TANGENT
    else:
        fx, fy = width / 2 / tangents[0], height / 2 / tangents[1]
    K = pinhole(fx, fy, (width - 1) / 2, (height - 1) / 2)
    distance = read_hdf5(depth)
    if distance.shape != (height, width):
        raise DataError(f"{depth} has shape {distance.shape}, its picture {(height, width)}")
    x = (np.arange(width) - K[0, 2]) / fx
    y = (np.arange(height)[:, None] - K[1, 2]) / fy
    return Frame(rgb, known_depth(distance / np.sqrt(1 + x**2 + y**2), _FAR), K)
