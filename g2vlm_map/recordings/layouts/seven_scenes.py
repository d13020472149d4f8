"""The 7-Scenes layout: `*.color.*`, `*.depth.png`, `*.pose.txt`, `camera-intrinsics.txt`.

Poses are camera-to-world in metres, depth is in millimetres (65535 and 0: no reading).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..source import NS, TruePoses
from .plain import FIRST_STAMP_NS, PlainLayout, Stamps, poses_of_files, read_matrix

FRAME_NUMBER = re.compile(r"(\d+)$")
CAMERA_HZ = 30.0


class SevenScenesLayout(PlainLayout):
    """See the module."""

    name = "7-Scenes layout"

    def _read(self) -> None:
        super()._read()
        self.files = [file for file in self.files if ".color" in file.stem]

    def stamps(self, files: list[Path], fps: float | None) -> tuple[Stamps, str]:
        """Frame numbers at the rate of the camera; see `PlainLayout.stamps`."""
        rate = fps or CAMERA_HZ
        numbers = [FRAME_NUMBER.search(file.name.split(".", 1)[0]) for file in files]
        if not all(numbers):
            return super().stamps(files, rate)
        counts = [int(match[1]) for match in numbers if match]
        stamps = [FIRST_STAMP_NS + round(count / rate * NS) for count in counts]
        return tuple(stamps), (
            f"Stamps are the frame numbers at {rate:g} Hz; single photographs want a lower one "
            "(--fps)."
        )

    def true_poses(self, files: list[Path], stamps: Stamps) -> TruePoses | None:
        """`*.pose.txt`; see `PlainLayout.true_poses`."""
        read = {file: read_matrix(_beside(file, ".pose.txt"), (4, 4)) for file in files}
        poses = {file: pose for file, pose in read.items() if pose is not None}
        return poses_of_files(poses, files, stamps, "*.pose.txt")

    def depth_file(self, file: Path) -> Path | None:
        """`*.depth.png`; see `PlainLayout.depth_file`."""
        depth_file = _beside(file, ".depth.png")
        return depth_file if depth_file.exists() else None


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name.split(".color", 1)[0] + ending)
