# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a recording gives, whatever it is stored as: frames, calibration, ground truth.

Stamps are those of the capture, in nanoseconds; `time_ns` is when the recorder received the
frame. Poses are `T_world_cam`, camera to world, optical axes (x right, y down, z forward), in
metres unless `is_metric` says otherwise; depth is z in metres, 0 where there is no reading. Shape
letters: H W pixels, M poses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.words import plain

from ..camera_model import CameraInfoLike
from ..cameras import NS as NS  # it belongs to what recordings offer

if TYPE_CHECKING:
    from ..sensing import Sample
    from .frames import RecordedFrame

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
FISHEYES = ("equidistant", "fisheye")


class RecordingError(ValueError):
    """A recording that cannot be used; says what, got, expected, what to do.

    Args:
        text: May hold names out of the recording; it becomes plain.
    """

    def __init__(self, text: str) -> None:
        super().__init__(plain(text))


@dataclass(frozen=True)
class TopicChoice:
    """Topics of a bag that the user names; "" leaves the choice to the reader.

    Args:
        image: the frames, Image or CompressedImage.
        camera_info: their CameraInfo.
        pose: true poses, PoseStamped, Odometry or "/tf".
        depth: true depth.
    """

    image: str = ""
    camera_info: str = ""
    pose: str = ""
    depth: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Something of the recording that is not given, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Calibration:
    """The camera's first CameraInfo, or what stands for it.

    Args:
        K: (3, 3) in pixels.
        size_hw: (height, width) that K is for; (0, 0) where the recording does not say.
        distortion_model: as in CameraInfo, e.g. "plumb_bob"; "" is none.
        distortion: its coefficients.
        projection: P of it, 12 numbers, which counts for straight frames; () is none.
    """

    K: NDArray[np.float64]
    size_hw: tuple[int, int] = (0, 0)
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()
    projection: tuple[float, ...] = ()

    def camera_info(self) -> CameraInfoLike:
        """The fields of a CameraInfo that say the same."""
        height, width = self.size_hw
        return SimpleNamespace(
            height=height,
            width=width,
            k=self.K.reshape(-1).tolist(),
            distortion_model=self.distortion_model,
            d=list(self.distortion),
            p=list(self.projection),
        )

    @property
    def is_pinhole(self) -> bool:
        """Whether the lens bends nothing; a fisheye without coefficients still does."""
        return not any(self.distortion) and self.distortion_model not in FISHEYES


@dataclass(frozen=True)
class DepthCamera:
    """Whose depth a recording holds, beside or in the place of the colour camera.

    Args:
        topic: of the depth pictures.
        calibration: of its CameraInfo; None where there is none.
        T_cam_depth: (4, 4) its optical axes in the colour camera's, metres; None where TF does not
            join the two, or moves one against the other.
        registered: its pixels are the colour camera's.
    """

    topic: str
    calibration: Calibration | None
    T_cam_depth: NDArray[np.float64] | None
    registered: bool

    @property
    def refusal(self) -> str:
        """Why it cannot be laid over the colour camera's frames; "" where it can."""
        if self.registered:
            return ""
        if self.T_cam_depth is None:
            return f"TF does not say where the sensor of {self.topic} sits beside the camera"
        if self.calibration is None:
            return f"there is no CameraInfo beside {self.topic}"
        if not self.calibration.is_pinhole:
            return f"the lens of {self.topic} is bent"
        return ""


@dataclass(frozen=True)
class RecordingInfo:
    """What a recording holds.

    Args:
        path: the bag or folder.
        kind: in words, e.g. "MCAP bag", "folder of frames (7-Scenes layout)".
        image_topic, image_type: where the frames come from, or would come from; the type is
            "sensor_msgs/msg/Image" or ".../CompressedImage".
        info_topic: the camera's CameraInfo, "" where there is none.
        frame_id: the camera's optical frame.
        stamps_ns: capture stamp of each frame, in playing order.
        times_ns: when each frame is due, same length.
        size_hw: (height, width) of the first frame.
        calibration: None where nothing is known.
        left_out: frames that are not given, because they cannot be decoded.
        notes: what a reader of numbers should know about the recording.
        camera: its name where the recording holds a rig, "" where it does not.
        T_body_cam: (4, 4) optical axes of the camera to the rig's body, metres; the body's axes
            are the recording's own, z need not be up. None where nobody says.
    """

    path: Path
    kind: str
    image_topic: str
    image_type: str
    info_topic: str
    frame_id: str
    stamps_ns: tuple[int, ...]
    times_ns: tuple[int, ...]
    size_hw: tuple[int, int]
    calibration: Calibration | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    camera: str = ""
    T_body_cam: NDArray[np.float64] | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.times_ns[-1] - self.times_ns[0]) / NS


@dataclass(frozen=True)
class TruePoses:
    """True camera poses.

    Args:
        stamps_ns: (M,) int64, increasing.
        T_world_cam_M44: (M, 4, 4) float64, optical axes of the camera.
        origin: where they come from, in words.
        tolerance_ns: the largest distance in time at which a pose counts for a frame.
        is_metric: whether the positions are metres; False for those of structure from motion.
    """

    stamps_ns: NDArray[np.int64]
    T_world_cam_M44: NDArray[np.float64]
    origin: str
    tolerance_ns: int
    is_metric: bool = True


class Recording(Protocol):
    """One camera's recording."""

    @property
    def info(self) -> RecordingInfo:
        """What it holds."""
        ...

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """All frames in playing order, or those of some indices, increasing."""
        ...

    def true_poses(self) -> TruePoses | None:
        """The camera's true poses, None where the recording holds none."""
        ...

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(stamp_ns, (H, W) metres, 0 = no reading) for those stamps that have a depth.

        Args:
            stamps_ns: of frames.
            left_out: told what cannot be read, and why; the rest is given all the same.
        """
        ...

    def samples(self, camera: str) -> Iterator[tuple[int, Sample]]:
        """(time_ns, sample) of the robot's other sensors, in playing order.

        Args:
            camera: the name that samples give this camera.
        """
        ...


def header_stamp_ns(cdr: bytes) -> int:
    """Stamp of a serialized message that begins with a std_msgs/Header."""
    return header_of(cdr)[0]


def header_of(cdr: bytes) -> tuple[int, str]:
    """Stamp and frame of a serialized message that begins with a std_msgs/Header.

    CDR: 4 bytes of encapsulation (the second says the byte order), then sec, nanosec, and the
    text's length with its closing zero.

    Raises:
        RecordingError: It is too short.
    """
    order = _order(cdr)
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", cdr, 4)
    except struct.error as error:
        raise RecordingError(f"message of {len(cdr)} bytes is too short for a header") from error
    frame_id = bytes(cdr[16 : 16 + length]).rstrip(b"\0").decode("utf-8", "replace")
    return int(seconds) * NS + int(nanoseconds), frame_id


def stamped(cdr: bytes, stamp_ns: int) -> bytes:
    """A serialized message that begins with a std_msgs/Header, under another stamp."""
    stamp = struct.pack(f"{_order(cdr)}iI", stamp_ns // NS, stamp_ns % NS)
    return cdr[:4] + stamp + cdr[12:]


def _order(cdr: bytes) -> str:
    return "<" if len(cdr) > 1 and cdr[1] & 1 else ">"
