# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`transforms.json` of instant-ngp and nerfstudio: frames, K, distortion and poses in one file.

Poses are camera-to-world in OpenGL axes (y up, z backwards) and become optical ones; they
mostly come from structure from motion, so their unit is not a metre.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json

from ..source import Calibration, LeftOut, RecordingError, TruePoses
from .file_names import natural_key
from .plain import PlainLayout, Stamps, check_intrinsics, poses_of_files

FILE = "transforms.json"
GL_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])
LENSES = {  # camera_model -> CameraInfo's model and the names of its coefficients
    "PINHOLE": ("plumb_bob", ()),
    "SIMPLE_PINHOLE": ("plumb_bob", ()),
    "OPENCV": ("plumb_bob", ("k1", "k2", "p1", "p2", "k3")),
    "SIMPLE_RADIAL": ("plumb_bob", ("k1", "k2", "p1", "p2", "k3")),
    "RADIAL": ("plumb_bob", ("k1", "k2", "p1", "p2", "k3")),
    "FULL_OPENCV": ("rational_polynomial", ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "OPENCV_FISHEYE": ("equidistant", ("k1", "k2", "k3", "k4")),
}
OF_THE_LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2")


class TransformsLayout(PlainLayout):
    """See the module."""

    name = FILE

    def _read(self) -> None:
        document = _load(self.path / FILE)
        entries = document.get("frames")
        if not isinstance(entries, list) or not entries:
            raise RecordingError(f"{self.path / FILE} lists no frames, expected a list `frames`")
        self.files, self.left_out = [], []
        self._poses: dict[Path, NDArray[np.float64]] = {}
        self._depths: dict[Path, Path] = {}
        for number, entry in enumerate(entries):
            self._add(entry, f"{self.path / FILE}, frame {number}")
        self.files.sort(key=lambda file: natural_key(str(file)))
        if not self.files:
            raise RecordingError(
                f"{self.path / FILE} lists {len(entries)} frames and none of them is there, e.g. "
                f"{self.left_out[0].name}"
            )
        own = any(name in entry for entry in entries for name in OF_THE_LENS)
        sources = [{**document, **entry} for entry in entries] if own else [document]
        self.calibration = self._calibration(sources)
        unit_m = _number(document, "depth_unit_scale_factor", self.path / FILE)
        self.depth_unit_m = 1e-3 if unit_m is None else unit_m
        if self.depth_unit_m <= 0:
            raise RecordingError(
                f"{self.path / FILE}: depth_unit_scale_factor is {self.depth_unit_m}, expected > 0"
            )
        self.notes.append(f"Lengths of the true poses are {FILE}'s own, not metres.")

    def true_poses(self, files: list[Path], stamps: Stamps) -> TruePoses | None:
        """`transform_matrix` of each frame; see `PlainLayout.true_poses`."""
        return poses_of_files(self._poses, files, stamps, FILE, is_metric=False)

    def depth_file(self, file: Path) -> Path | None:
        """`depth_file_path` of the frame; see `PlainLayout.depth_file`."""
        return self._depths.get(file)

    def _add(self, entry: Any, name: str) -> None:
        """Take over one of `frames`."""
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise RecordingError(f"{name} has no file_path")
        file = self._inside(entry["file_path"], name)
        if not file.suffix:
            file = file.with_suffix(".png")  # the first such files of NeRF left it out
        if not _is_there(file):
            self.left_out.append(LeftOut(entry["file_path"], "not there"))
            return
        self.files.append(file)
        if "transform_matrix" in entry:
            self._poses[file] = _matrix(entry["transform_matrix"], name) @ GL_OPTICAL
        if isinstance(entry.get("depth_file_path"), str):
            depth_file = self._inside(entry["depth_file_path"], name)
            if _is_there(depth_file):
                self._depths[file] = depth_file

    def _inside(self, relative: str, name: str) -> Path:
        file = Path(os.path.normpath(self.path / relative))  # a link inside may lead anywhere
        if not file.is_relative_to(os.path.normpath(self.path)):
            raise RecordingError(f"{name}: {relative!r} lies outside of the folder")
        return file

    def _calibration(self, sources: list[dict[str, Any]]) -> Calibration | None:
        """The one lens of all frames; None where there is no focal length."""
        lenses = [_lens(source, self.path / FILE) for source in sources]
        first = lenses[0]
        if any(_numbers_of(lens) != _numbers_of(first) for lens in lenses[1:]):
            raise RecordingError(
                f"{self.path / FILE} gives its frames different intrinsics; one recording is one "
                "camera: split it"
            )
        if first is None:
            self.notes.append(f"{FILE} names no focal length with w and h: K is unknown.")
        return first


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # such as a name that is too long
        return False


def _lens(source: dict[str, Any], file: Path) -> Calibration | None:
    """Calibration out of the fields of instant-ngp; None where focal length or size is missing."""
    width, height = _number(source, "w", file), _number(source, "h", file)
    fx = _number(source, "fl_x", file)
    if fx is None and width is not None and (angle := _number(source, "camera_angle_x", file)):
        fx = width / 2 / math.tan(angle / 2)
    if fx is None or width is None or height is None:
        return None
    fy = _number(source, "fl_y", file) or fx
    cx, cy = _number(source, "cx", file), _number(source, "cy", file)
    # COLMAP's and instant-ngp's corner of the picture is 0, 0; here the first pixel's centre is.
    u = (width / 2 if cx is None else cx) - 0.5
    v = (height / 2 if cy is None else cy) - 0.5
    K = np.array([[fx, 0.0, u], [0.0, fy, v], [0.0, 0.0, 1.0]])
    check_intrinsics(K, str(file))
    name = str(source.get("camera_model", "OPENCV_FISHEYE" if source.get("is_fisheye") else ""))
    if (name or "OPENCV") not in LENSES:
        raise RecordingError(f"{file}: camera_model {name!r}, expected one of {', '.join(LENSES)}")
    model, names = LENSES[name or "OPENCV"]
    coefficients = tuple(_number(source, item, file) or 0.0 for item in names)
    return Calibration(K, (round(height), round(width)), model, coefficients)


def _numbers_of(lens: Calibration | None) -> tuple[object, ...]:
    """What two equal lenses have in common."""
    if lens is None:
        return ()
    return (lens.size_hw, lens.distortion_model, lens.distortion, lens.K.tobytes())


def _load(file: Path) -> dict[str, Any]:
    try:
        document = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file} is no JSON that can be read: {error}") from error
    if not isinstance(document, dict):
        raise RecordingError(f"{file} holds a {type(document).__name__}, expected an object")
    return document


def _number(source: dict[str, Any], name: str, file: Path) -> float | None:
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RecordingError(f"{file}: {name} is {value!r:.40}, expected a finite number")
    return float(value)


def _matrix(rows: Any, name: str) -> NDArray[np.float64]:
    try:
        matrix = np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{name}: transform_matrix is no matrix: {error}") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise RecordingError(
            f"{name}: transform_matrix is {matrix.shape}, expected a finite (4, 4)"
        )
    return matrix
