# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How folders of frames are laid out: which file is a frame, where its truth and K stand.

Each layout is a small class on top of `plain.PlainLayout`; `layout_of` looks for what only one
of them has.
"""

from __future__ import annotations

from pathlib import Path

from ..source import LeftOut, RecordingError
from .file_names import natural_key
from .plain import PlainLayout, pictures_in
from .pose_rows import PoseRowsLayout
from .seven_scenes import SevenScenesLayout, is_seven_scenes
from .transforms_json import TransformsLayout

__all__ = ["PlainLayout", "camera_folders", "layout_of"]

SENSOR_FILE = "sensor.yaml"
NO_FRAMES = ("depth", "mask", "segment", "label", "thumb", "disparity")  # in a folder's name


def layout_of(path: Path, camera: str = "") -> PlainLayout:
    """The layout of a folder.

    Args:
        path: The folder.
        camera: Which one, where a folder holds several; "" takes the first.

    Raises:
        RecordingError: No folder, no such camera, or a file that says how the folder is laid
            out and cannot be read.
    """
    if not path.is_dir():
        raise RecordingError(f"{path} is no folder")
    cameras = camera_folders(path)
    if camera and camera not in cameras:
        there = ", ".join(cameras) or "one camera without a name"
        raise RecordingError(f"{path} has no camera {camera!r}; it holds {there}")
    if cameras:
        try:
            from .euroc import EurocLayout
        except ImportError as error:
            raise RecordingError(
                f"{path} describes its cameras in {SENSOR_FILE}, and the library that reads it is "
                f"missing ({error}); pip install pyyaml"
            ) from error
        name = camera or next(iter(cameras))
        return EurocLayout(cameras[name], name, path)
    if (path / "transforms.json").is_file():
        return TransformsLayout(path)
    if (path / "poses.txt").is_file() or (path / "K.txt").is_file():
        return PoseRowsLayout(path)
    if is_seven_scenes(path):
        return SevenScenesLayout(path)
    below = folders_of_frames(path)
    if below and not pictures_in(path)[0]:
        if len(below) > 1:
            raise RecordingError(
                f"{path} holds no frame, but {len(below)} folders in it do: "
                f"{', '.join(str(item.relative_to(path)) for item in below[:12])}; choose one"
            )
        return layout_of(below[0])
    layout = PlainLayout(path)
    layout.left_out += [
        LeftOut(f"{item.relative_to(path)}/", "is a folder of its own; replay it by itself")
        for item in below
    ]
    return layout


def folders_of_frames(path: Path, depth: int = 3) -> list[Path]:
    """Folders below one that hold pictures and are not of depth or masks, in order."""
    found: list[Path] = []
    for folder in sorted(path.iterdir(), key=lambda item: natural_key(item.name)):
        if not folder.is_dir() or folder.is_symlink() or folder.name.startswith("."):
            continue
        if any(word in folder.name.lower() for word in NO_FRAMES):
            continue
        if pictures_in(folder)[0]:
            found.append(folder)
        elif depth > 1:
            found += folders_of_frames(folder, depth - 1)
    return found


def camera_folders(path: Path) -> dict[str, Path]:
    """Folders of cameras by name in EuRoC's layout, in order; empty in any other.

    `path` may be the sequence, the `mav0` in it, or the folder of one camera.
    """
    if (path / SENSOR_FILE).is_file():
        return {path.name: path}
    for root in (path, path / "mav0"):
        folders = sorted(file.parent for file in root.glob(f"cam*/{SENSOR_FILE}"))
        if folders:
            return {folder.name: folder for folder in folders}
    return {}
