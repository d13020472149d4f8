"""What a replay plays: one camera's messages in order, and the ground truth beside them.

A bag (`bag.py`) and a folder of pictures (`folder.py`) both look like this to the player, so
the node under test gets real messages in either case.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ReplayInputError

NS = 1_000_000_000
DEPTH_TOLERANCE_NS = 25_000_000
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class PlayMessage:
    """A serialized message that is due at a time.

    Args:
        time_ns: when it was received while recording; the replay's clock.
        topic, msgtype: e.g. "/camera/image_raw", "sensor_msgs/msg/Image".
        data: CDR bytes.
        stamp_ns: stamp of its header.
        picture: index of the picture, -1 for camera info.
    """

    time_ns: int
    topic: str
    msgtype: str
    data: bytes
    stamp_ns: int
    picture: int = -1


@dataclass(frozen=True)
class SourceInfo:
    """What there is to play.

    Args:
        path: the bag or folder.
        kind: in words, e.g. "MCAP bag", "folder of pictures (7-Scenes layout)".
        image_topic, image_type: the camera's pictures.
        info_topic: its CameraInfo, "" where there is none.
        frame_id: frame of the pictures' header.
        stamps_ns: header stamp of each picture, in playing order.
        times_ns: when each picture is due, same length.
        size: (height, width) of the first picture.
        K: (3, 3) intrinsics of the first CameraInfo, or None.
        unreadable: pictures left out because they cannot be decoded, by name.
        notes: what a reader of the report should know about the input.
    """

    path: Path
    kind: str
    image_topic: str
    image_type: str
    info_topic: str
    frame_id: str
    stamps_ns: tuple[int, ...]
    times_ns: tuple[int, ...]
    size: tuple[int, int]
    K: NDArray[np.float64] | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def duration_s(self) -> float:
        """Seconds from the first picture to the last."""
        return (self.times_ns[-1] - self.times_ns[0]) / NS


@dataclass(frozen=True)
class PoseTruth:
    """True camera poses.

    Args:
        stamps_ns: (M,) int64, increasing.
        T_world_cam_M44: (M, 4, 4) float64, optical axes of the camera, metres.
        origin: where they come from, in words.
        tolerance_ns: the largest distance in time at which a pose counts for a picture.
    """

    stamps_ns: NDArray[np.int64]
    T_world_cam_M44: NDArray[np.float64]
    origin: str
    tolerance_ns: int


class ReplaySource(Protocol):
    """One camera's recording."""

    @property
    def info(self) -> SourceInfo:
        """What there is to play."""
        ...

    def messages(self) -> Iterator[PlayMessage]:
        """The camera's messages in the order of their times."""
        ...

    def pictures(self, indices: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
        """Some pictures as (H, W, 3) uint8 RGB, by index."""
        ...

    def truth_poses(self) -> PoseTruth | None:
        """The camera's true poses, None where the recording holds none."""
        ...

    def truth_depths(
        self, stamps_ns: Iterable[int], unreadable: list[str] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(stamp_ns, (H, W) metres, 0 = no reading) for those stamps that have a depth.

        A corrupt one is left out, and `unreadable` told which it is and why.
        """
        ...


def header_stamp_ns(cdr: bytes) -> int:
    """Stamp of a serialized message that begins with a std_msgs/Header.

    CDR: 4 bytes of encapsulation (the second says the byte order), then sec, nanosec.
    """
    if len(cdr) < 12:
        raise ReplayInputError(f"message of {len(cdr)} bytes is too short for a header")
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return int(seconds) * NS + int(nanoseconds)


def split_stamp(stamp_ns: int) -> tuple[int, int]:
    """(sec, nanosec) of a stamp."""
    return stamp_ns // NS, stamp_ns % NS
