# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags and folders as one kind of source: frames, calibration, ground truth.

    recording = open_recording(Path("room.mcap"))
    for frame in recording.frames():
        frame.stamp_ns, frame.rgb()          # (H, W, 3) uint8, decoded when it is asked for
    recording.info.calibration               # K and distortion, None where nobody says
    recording.true_poses()                   # T_world_cam, None where there are none
    recording.true_depths([stamp_ns])        # metres
    recording.info.left_out                  # what cannot be read, and why

Several cameras are a rig (`open_rig`). Folders may be of the 7-Scenes layout, of EuRoC's, have a
`transforms.json`, or `K.txt` and `poses.txt`. The replay and the data sets of the training read
through this door. No rclpy; a bag needs the library rosbags, a folder does not.
"""

from __future__ import annotations

from pathlib import Path

from .film import FilmRecording
from .folder import FolderRecording
from .frames import RecordedFrame
from .layouts.plain import kind_of_file
from .rig import RigRecording, cameras_of, open_rig
from .source import (
    NS,
    Calibration,
    DepthCamera,
    LeftOut,
    Recording,
    RecordingError,
    RecordingInfo,
    TopicChoice,
    TruePoses,
)

__all__ = [
    "NS",
    "Calibration",
    "DepthCamera",
    "LeftOut",
    "RecordedFrame",
    "Recording",
    "RecordingError",
    "RecordingInfo",
    "RigRecording",
    "TopicChoice",
    "TruePoses",
    "cameras_of",
    "is_bag",
    "open_recording",
    "open_rig",
]


def open_recording(
    path: Path,
    topics: TopicChoice | None = None,
    *,
    fps: float | None = None,
    limit: int = 0,
    camera: str = "",
) -> Recording:
    """Open a bag, a film or a folder of frames.

    Args:
        path: a rosbag2 folder, its single .mcap or .db3 file, a ROS 1 .bag, a film (MP4, AVI,
            Matroska ...), or a folder of frames.
        topics: those of a bag that cannot be told by themselves.
        fps: frames a second of a folder whose file names carry no capture time, or of a film.
        limit: take at most this many frames; 0 takes all.
        camera: which one of a folder that holds a rig; "" takes the first.

    Raises:
        RecordingError: Neither, something about it is wrong, or a bag without rosbags.
    """
    if not path.exists():
        raise RecordingError(f"{path} does not exist; expected a bag or a folder of frames")
    if path.is_dir() and not is_bag(path):
        return FolderRecording(path, fps, limit, camera)
    if not is_bag(path):
        if kind_of_file(path).startswith("film"):
            return FilmRecording(path, fps, limit)
        raise RecordingError(
            f"{path} is no bag; expected a folder with metadata.yaml, a .mcap, .db3 or .bag file, "
            "a film, or a folder of frames"
        )
    try:
        from .bag import BagRecording
    except ImportError as error:
        raise RecordingError(
            f"{path} is a bag, and the library that reads bags is missing ({error}); "
            "pip install rosbags"
        ) from error
    return BagRecording(path, topics, limit)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag by its first bytes, its ending, or a folder's metadata.yaml."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(
            next(path.glob(pattern), None) for pattern in ("*.mcap", "*.db3")
        )
    return path.suffix in {".mcap", ".db3", ".bag"} or kind_of_file(path).endswith(" bag")
