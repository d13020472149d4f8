# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings of a robot as frames to train on: bags, films, and recorded folders.

A recording needs intrinsics. Poses come from one of several sources (`recorded_poses.py`): a frame
takes the pose between its two neighbours in time. Its depth is the nearest map within 25 ms: as it
is where its pixels are the camera's, else laid over the camera by TF and both intrinsics. A lens
that bends is straightened, as the pipeline does it; what straightening cuts away is gone for both.
Which topics these are, and which folders can be read, says `g2vlm_map.recordings`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.camera_model import CameraModel, named_straight, read_camera_info, scaled_K
from g2vlm_map.decode import BadInputError
from g2vlm_map.depth_fill import laid_over
from g2vlm_map.intake_options import ImageOptions
from g2vlm_map.recordings import (
    NS,
    DepthCamera,
    LeftOut,
    Recording,
    RecordingError,
    TopicChoice,
    is_bag,
    open_recording,
)
from g2vlm_map.rectify import Rectification
from g2vlm_map.sensing import DepthSample

from .base import DataError
from .folder import FolderSequence, Frame, interpolated_poses, sequence_of
from .recorded_poses import CameraPath, find_path

__all__ = ["Recorded", "RecordingChoice", "open_recorded", "open_recordings", "recordings_in"]

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RecordingChoice:
    """What of a recording is taken.

    Args:
        poses: "auto", "none", or one of `recorded_poses.SOURCES`.
        topics: Of a bag, where they cannot be told by themselves; a pose topic is the truth.
        depth: Whether depth is taken.
        model: Of the map, where poses come from one.
    """

    poses: str = "auto"
    topics: TopicChoice = field(default_factory=TopicChoice)
    depth: bool = True
    model: str = "nano"


class ReadFrame(NamedTuple):
    """A frame or why there is none, and why its depth could not be read; "" where it could."""

    number: int
    frame: Frame | DataError
    lost: str


@dataclass(frozen=True)
class Recorded:
    """A recording as N frames.

    Args:
        path: Of the recording.
        stamps_ns: (N,) int64.
        poses: (4, 4) camera-to-world of each frame; None where nobody says.
        read: Reads frames by their numbers, rising, straightened; an error in the place of one
            that cannot be read, and why depth is missing that cannot.
        path_of_camera: Where poses come from; None: nowhere.
        depth: Where depth comes from, in words; "" nowhere.
        notes: What was passed over, and why.
    """

    path: Path
    stamps_ns: NDArray[np.int64]
    poses: tuple[Floats | None, ...] = field(repr=False)
    read: Callable[[Sequence[int]], Iterator[ReadFrame]] = field(repr=False)
    path_of_camera: CameraPath | None = field(repr=False)
    depth: str
    notes: tuple[str, ...]

    def load(self, index: int) -> Frame:
        """One frame.

        Raises:
            DataError: It, or its depth, cannot be read.
        """
        (read,) = self.read([index])
        if isinstance(read.frame, DataError):
            raise read.frame
        if read.lost:
            raise DataError(f"{self.path}: {read.lost}")
        return read.frame

    def name(self, index: int) -> str:
        """Of a frame: its stamp in seconds."""
        stamp = int(self.stamps_ns[index])
        return f"{stamp // NS}.{stamp % NS:09d}"


def open_recordings(root: Path) -> list[FolderSequence]:
    """Open one recording, or a folder of several, by their true poses.

    Raises:
        FileNotFoundError: The root is missing, or nothing in it is a recording.
        DataError: A recording cannot be read, or has no poses or no intrinsics.
    """
    return [
        _sequence(open_recorded(path, RecordingChoice("truth"))) for path in recordings_in(root)
    ]


def _sequence(recorded: Recorded) -> FolderSequence:
    return sequence_of(
        str(recorded.path),
        (
            (recorded.name(index), pose, functools.partial(recorded.load, index))
            for index, pose in enumerate(recorded.poses)
        ),
        metric=recorded.path_of_camera is None or recorded.path_of_camera.metric,
    )


def recordings_in(root: Path) -> list[Path]:
    """The recording, or those that lie in a folder.

    Raises:
        FileNotFoundError: The root is missing, or nothing in it is a recording.
    """
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


def open_recorded(path: Path, choice: RecordingChoice | None = None) -> Recorded:
    """Open a recording.

    Args:
        path: A bag, a film or a folder of frames.
        choice: What of it is taken.

    Raises:
        DataError: It cannot be read, has no usable intrinsics, or lacks what is asked for.
    """
    choice = choice or RecordingChoice()
    try:
        recording = open_recording(path, choice.topics)
        found, passed = find_path(recording, choice.topics, choice.poses, choice.model)
        sensor, said = (
            _depth_of(recording, choice)
            if choice.depth
            else (None, ["depth is left out, as asked"])
        )
    except RecordingError as error:
        raise DataError(str(error)) from error
    told = [*recording.info.notes, *(str(item) for item in recording.info.left_out)]
    taken = f"{sensor.topic} is not taken as true depth" if sensor and sensor.topic else ""
    notes = [note for note in told if not (taken and note.startswith(taken))] + passed + said
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    model = _camera(recording, path)
    info = recording.info
    stamps_ns = np.array(info.stamps_ns, np.int64)
    poses: list[Floats | None] = [None] * len(stamps_ns)
    if found is not None:
        start_ns = min(int(stamps_ns[0]), int(found.stamps_ns[0]))
        poses = interpolated_poses(
            (found.stamps_ns - start_ns) / NS,
            found.T_world_cam_M44,
            (stamps_ns - start_ns) / NS,
            found.max_gap_s,
        )
    return Recorded(
        path=path,
        stamps_ns=stamps_ns,
        poses=tuple(poses),
        read=functools.partial(_read, _Reader(recording, model, sensor)),
        path_of_camera=found,
        depth="" if sensor is None else sensor.words,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Sensor:
    """Depth of a recording, and how it lies to the camera.

    Args:
        recording: Whose `true_depths` it is.
        camera: Where it sits; None: its pixels are the camera's, up to their number.
        words: What it is.
        topic: Of a bag's.
    """

    recording: Recording
    camera: DepthCamera | None
    words: str
    topic: str = ""


@dataclass(frozen=True)
class _Reader:
    """Reads frames of a recording: the camera's lens, and its depth."""

    recording: Recording
    model: CameraModel
    sensor: _Sensor | None

    @functools.cached_property
    def straight(self) -> Rectification | None:
        """What straightens the frames; None where the lens is straight."""
        if self.model.is_pinhole:
            return None
        return Rectification(self.model, ImageOptions().rectified_fov_deg)


def _camera(recording: Recording, path: Path) -> CameraModel:
    info = recording.info
    if info.calibration is None:
        raise DataError(
            f"{path} has no intrinsics, expected a CameraInfo beside {info.image_topic}, or "
            "camera-intrinsics.txt in a folder"
        )
    try:
        straight = True if named_straight(info.image_topic) else None
        return read_camera_info(info.calibration.camera_info(), info.size_hw, straight)
    except BadInputError as error:
        raise DataError(f"{path}: CameraInfo cannot be used: {error}") from error


def _depth_of(recording: Recording, choice: RecordingChoice) -> tuple[_Sensor | None, list[str]]:
    """The depth that can be laid over the camera's frames, and why other depth cannot."""
    info = recording.info
    if not is_bag(info.path):
        return _Sensor(recording, None, "the folder's own"), []
    from g2vlm_map.recordings.bag import BagRecording  # needs the library rosbags

    assert isinstance(recording, BagRecording), type(recording)
    refused: list[str] = []
    for camera in recording.depth_cameras:
        if camera.registered:
            words = f"{camera.topic}, registered"
            return _Sensor(recording, None, words, camera.topic), refused
        same_axes = camera.T_cam_depth is not None and np.allclose(camera.T_cam_depth, np.eye(4))
        if camera.refusal and not (same_axes and camera.calibration is None):
            refused.append(f"depth of {camera.topic} is left out: {camera.refusal}")
            continue
        named = open_recording(info.path, replace(choice.topics, depth=camera.topic))
        beside = None if same_axes and camera.calibration is None else camera
        words = f"{camera.topic}, laid over the camera by TF and both intrinsics"
        return _Sensor(named, beside, words, camera.topic), refused
    return None, refused


def _read(reader: _Reader, indices: Sequence[int]) -> Iterator[ReadFrame]:
    """Opens the recording twice, however many frames are asked for."""
    recording, path = reader.recording, reader.recording.info.path
    lost: list[LeftOut] = []
    stamps_ns = [recording.info.stamps_ns[index] for index in indices]
    depths: dict[int, NDArray[np.float32]] = {}
    try:
        if reader.sensor is not None:
            depths = dict(reader.sensor.recording.true_depths(stamps_ns, lost))
        for frame in recording.frames(indices):
            depth = depths.get(frame.stamp_ns)
            why = str(lost[0]) if lost and depth is None else ""
            try:
                yield ReadFrame(frame.index, _straightened(reader, frame.rgb(), depth), why)
            except (RecordingError, DataError) as error:
                text = f"frame {frame.index}: {str(error).removeprefix(f'frame {frame.index}: ')}"
                yield ReadFrame(frame.index, DataError(f"{path}: {text}"), why)
    except RecordingError as error:
        raise DataError(f"{path}: {error}") from error


def _straightened(
    reader: _Reader, rgb: NDArray[np.uint8], depth: NDArray[np.float32] | None
) -> Frame:
    if rgb.shape[:2] != reader.model.size_hw:
        raise DataError(f"it has {rgb.shape[:2]} pixels, the first one {reader.model.size_hw}")
    straight, K = reader.straight, reader.model.K
    if straight is not None:
        bent, rgb, K = rgb, np.empty_like(rgb), straight.K
        straight.apply(bent, rgb)
    return Frame(rgb, None if depth is None else _laid_over(reader, depth), K)


def _laid_over(reader: _Reader, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth of a frame on its straightened pixels, metres."""
    assert reader.sensor is not None
    size_hw, straight, beside = reader.model.size_hw, reader.straight, reader.sensor.camera
    K = reader.model.K if straight is None else straight.K
    own_hw = (depth.shape[0], depth.shape[1])
    if beside is not None and beside.calibration is not None:
        told = beside.calibration
        K_depth = scaled_K(told.K, told.size_hw if all(told.size_hw) else own_hw, own_hw)
        return laid_over(DepthSample(0, "camera", depth, K_depth, beside.T_cam_depth), K, size_hw)
    if own_hw != size_hw:  # the camera's own view in another number of pixels
        K_depth = scaled_K(reader.model.K, size_hw, own_hw)
        depth = laid_over(DepthSample(0, "camera", depth, K_depth), reader.model.K, size_hw)
    return depth if straight is None else straight.nearest(depth)
