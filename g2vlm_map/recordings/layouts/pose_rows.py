# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`K.txt`, `poses.txt` with a row of 16 numbers a frame, `images/` and `depth/`.

Poses are camera-to-world (4, 4), row by row, optical axes, metres; row i belongs to the i-th
frame in natural order. Depth files have the frame's name and millimetres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..source import Calibration, RecordingError, TruePoses
from .plain import (
    PlainLayout,
    Stamps,
    poses_of_files,
    read_intrinsics,
    read_matrix,
)

FRAME_FOLDERS = ("images", "rgb", "color")
DEPTH_FOLDER = "depth"
DEPTH_ENDINGS = (".png", ".tif", ".tiff")


class PoseRowsLayout(PlainLayout):
    """See the module."""

    name = "K.txt and poses.txt"

    def _read(self) -> None:
        folders = [self.path / name for name in FRAME_FOLDERS]
        folder = next((folder for folder in folders if folder.is_dir()), self.path)
        self.files = self.frame_files(folder)
        K = read_intrinsics(self.path / "K.txt")
        if K is None:
            self.notes.append("No K.txt: K is unknown.")
        else:
            self.calibration = Calibration(K)
        rows_M16 = read_matrix(self.path / "poses.txt", (-1, 16))
        self._poses: dict[Path, NDArray[np.float64]] = {}
        if rows_M16 is None:
            self.notes.append("No poses.txt: no true poses.")
            return
        if len(rows_M16) != len(self.files):
            raise RecordingError(
                f"{self.path / 'poses.txt'} has {len(rows_M16)} rows for {len(self.files)} frames "
                f"in {folder}, expected one a frame"
            )
        T_world_cam_M44 = rows_M16.reshape(-1, 4, 4)
        wrong = ~(np.abs(T_world_cam_M44[:, 3] - (0, 0, 0, 1)).max(-1) < 1e-6)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise RecordingError(
                f"{self.path / 'poses.txt'}, row {row + 1}: the last four numbers are "
                f"{T_world_cam_M44[row, 3].tolist()}, expected 0 0 0 1"
            )
        self._poses = dict(zip(self.files, T_world_cam_M44, strict=True))

    def true_poses(self, files: list[Path], stamps: Stamps) -> TruePoses | None:
        """Rows of `poses.txt`; see `PlainLayout.true_poses`."""
        return poses_of_files(self._poses, files, stamps, "poses.txt")

    def depth_file(self, file: Path) -> Path | None:
        """`depth/NAME.png`; see `PlainLayout.depth_file`."""
        stem = self.path / DEPTH_FOLDER / file.stem
        found = (stem.with_name(stem.name + ending) for ending in DEPTH_ENDINGS)
        return next((item for item in found if item.is_file()), None)
