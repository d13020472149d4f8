# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The 7-Scenes layout: `*.color.*`, `*.depth.png`, `*.pose.txt`, `camera-intrinsics.txt`.

Poses are camera-to-world in metres, depth is in millimetres (65535 and 0: no reading).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..source import NS, LeftOut, TruePoses
from .file_names import are_stamps
from .plain import (
    FIRST_STAMP_NS,
    IS_DEPTH,
    PlainLayout,
    Stamps,
    pictures_in,
    poses_of_files,
    read_matrix,
)

FRAME_NUMBER = re.compile(r"([0-9]{1,12})$")
CAMERA_HZ = 30.0


class SevenScenesLayout(PlainLayout):
    """See the module."""

    name = "7-Scenes layout"

    def _read(self) -> None:
        super()._read()
        self.left_out = [item for item in self.left_out if item.reason != IS_DEPTH]
        others = [file for file in self.files if not is_colour(file)]
        self.left_out += [
            LeftOut(file.name, "is no NAME.color.*, as the others") for file in others
        ]
        self.files = [file for file in self.files if is_colour(file)]

    def stamps(self, files: list[Path], fps: float | None) -> tuple[Stamps, str]:
        """Frame numbers at the rate of the camera; see `PlainLayout.stamps`."""
        rate = fps or CAMERA_HZ
        numbers = [FRAME_NUMBER.search(file.name.split(".", 1)[0]) for file in files]
        if not all(numbers):
            return super().stamps(files, rate)
        counts = [int(match[1]) for match in numbers if match]
        stamps = [FIRST_STAMP_NS + round(count / rate * NS) for count in counts]
        if not are_stamps(stamps):
            return super().stamps(files, rate)
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


def is_colour(file: Path) -> bool:
    """Whether a file is named as a frame of this layout: NAME.color.ENDING."""
    return file.stem.endswith(".color")


def is_seven_scenes(path: Path) -> bool:
    """Whether frames are named so, and depth or poses beside them or all of their kind are too."""
    frames = [file for file in path.glob("*.color.*") if is_colour(file)]
    beside = (
        any(_beside(frames[0], ending).exists() for ending in (".depth.png", ".pose.txt"))
        if (frames)
        else False
    )
    pictures = pictures_in(path)[0] if frames and not beside else []
    return beside or (bool(frames) and all(is_colour(file) for file in pictures))


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name.split(".color", 1)[0] + ending)
