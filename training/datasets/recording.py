# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings of a robot as training clips: bags, and recorded folders with poses.

A bag needs a CameraInfo and true poses (TF that leads to the camera, PoseStamped, Odometry); its
depth, registered to the camera, is used where there is one. A frame takes the pose between its
two neighbours in time, and the nearest depth map within 25 ms; a lens that bends is straightened.
Which topics these are, and which folders can be read, says `g2vlm_map.recordings`.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings import (
    NS,
    Calibration,
    LeftOut,
    Recording,
    RecordingError,
    is_bag,
    open_recording,
)

from .base import DataError
from .folder import FolderSequence, Frame, interpolated_poses, sequence_of
from .lens import straightened

__all__ = ["open_recordings"]

_LOG = logging.getLogger(__name__)
_POSE_GAP_S = 0.1
_LENSES = ("", "plumb_bob", "rational_polynomial")  # whose coefficients OpenCV takes as they are


def open_recordings(root: Path) -> list[FolderSequence]:
    """Open one recording, or a folder of several.

    Raises:
        FileNotFoundError: The root is missing, or nothing in it is a recording.
        DataError: A recording cannot be read, or has no poses or no intrinsics.
    """
    return [_open(path) for path in _recordings_in(root)]


def _recordings_in(root: Path) -> list[Path]:
    if not root.exists():
        raise FileNotFoundError(
            f"{root} is no folder and no bag; give a recording, or a folder of recordings"
        )
    if root.is_file() or (is_bag(root) and (root / "metadata.yaml").is_file()):
        return [root]
    if next(root.glob("*.color.*"), None) is not None:
        return [root]
    found = [path for path in sorted(root.iterdir()) if is_bag(path) or _has_poses(path)]
    if not found:
        raise FileNotFoundError(
            f"{root} holds no bag and no folder with *.color.* and *.pose.txt; is it a data set in "
            "the recording layout?"
        )
    return found


def _has_poses(path: Path) -> bool:
    return path.is_dir() and next(path.glob("*.pose.txt"), None) is not None


def _open(path: Path) -> FolderSequence:
    try:
        recording = open_recording(path)
        truth = recording.true_poses()
    except RecordingError as error:
        raise DataError(str(error)) from error
    info = recording.info
    for note in info.notes:
        _LOG.warning("%s: %s", path, note)
    if truth is None:
        raise DataError(f"{path} has no true poses. {' '.join(info.notes)}".rstrip())
    if info.calibration is None:
        raise DataError(
            f"{path} has no intrinsics, expected a CameraInfo beside {info.image_topic}, or "
            "camera-intrinsics.txt in a folder"
        )
    lens = _lens(info.calibration, info.size_hw, path)
    stamps_ns = np.array(info.stamps_ns, np.int64)
    start_ns = min(int(stamps_ns[0]), int(truth.stamps_ns[0]))
    poses = interpolated_poses(
        (truth.stamps_ns - start_ns) / NS,
        truth.T_world_cam_M44,
        (stamps_ns - start_ns) / NS,
        _POSE_GAP_S,
    )
    return sequence_of(
        str(path),
        (
            (
                f"{stamp // NS}.{stamp % NS:09d}",
                pose,
                functools.partial(_load, recording, index, info.calibration.K, lens),
            )
            for index, (stamp, pose) in enumerate(zip(info.stamps_ns, poses, strict=True))
        ),
    )


def _lens(calibration: Calibration, size_hw: tuple[int, int], path: Path) -> NDArray[np.float64]:
    """OpenCV's coefficients of the lens."""
    if calibration.size_hw not in ((0, 0), size_hw):
        raise DataError(
            f"{path}: CameraInfo is for {calibration.size_hw} (height, width), the frames have "
            f"{size_hw}"
        )
    if not calibration.is_pinhole and calibration.distortion_model not in _LENSES:
        raise DataError(
            f"{path}: distortion model {calibration.distortion_model!r}, expected one of "
            f"{_LENSES[1:]} or frames that were rectified"
        )
    return np.array(calibration.distortion, np.float64)


def _load(
    recording: Recording, index: int, K: NDArray[np.float64], lens: NDArray[np.float64]
) -> Frame:
    left_out: list[LeftOut] = []
    try:
        (frame,) = recording.frames([index])
        rgb = frame.rgb()
        depths = dict(recording.true_depths([frame.stamp_ns], left_out))
    except RecordingError as error:
        raise DataError(f"{recording.info.path}: {error}") from error
    if left_out:
        raise DataError(f"{recording.info.path}: {left_out[0]}")
    depth = depths.get(frame.stamp_ns)
    if depth is not None and depth.shape != rgb.shape[:2]:
        raise DataError(
            f"{recording.info.path}: frame {index} has {rgb.shape[:2]} pixels and its depth map "
            f"{depth.shape}; record the depth that is registered to the camera"
        )
    return Frame(*straightened(rgb, depth, K, lens), K)
