# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""All cameras of a bag or a folder as one recording: a rig.

What concerns the whole (ground truth, odometry, stamps) is the reference camera's, the first one.
Where the cameras sit comes from the bag's TF, or from the folder's description; a camera whose
place nobody tells is an error, because its frames would be worth nothing.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from ..sensing import Extrinsics, Sample
from .folder import FolderRecording
from .frames import RecordedFrame
from .layouts import camera_folders
from .source import (
    LeftOut,
    Recording,
    RecordingError,
    RecordingInfo,
    TopicChoice,
    TruePoses,
)

if TYPE_CHECKING:
    from .bag import BagRecording  # needs the library rosbags

__all__ = ["RigRecording", "cameras_of", "open_rig"]

Floats = NDArray[np.float64]

# Optical axes of a camera that looks ahead and stands level, in a base with z up.
_LEVEL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class RigRecording:
    """Several cameras of one recording; a `Recording` of the first, which is the reference.

    Args:
        cameras: By name, the reference first.
        T_base_cams: (4, 4) of each camera's optical axes in a base with z up, metres.
        base: TF name of that base; "" where it has none.
    """

    def __init__(
        self, cameras: dict[str, Recording], T_base_cams: dict[str, Floats], base: str = ""
    ) -> None:
        assert list(cameras) == list(T_base_cams), (list(cameras), list(T_base_cams))
        self.cameras = cameras
        self.T_base_cams = T_base_cams
        self.base = base
        self._reference = next(iter(cameras.values()))
        info = self._reference.info
        others = tuple(one.info for one in cameras.values())[1:]
        told = f"A rig of {len(cameras)} cameras, the first leads: {', '.join(cameras)}."
        left_out = tuple(item for other in others for item in other.left_out)
        self._info = replace(info, notes=(told, *info.notes), left_out=(*info.left_out, *left_out))

    @property
    def info(self) -> RecordingInfo:
        """Of the reference camera."""
        return self._info

    @property
    def reference(self) -> Recording:
        """The reference camera by itself."""
        return self._reference

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """Of the reference camera; see `Recording`."""
        return self._reference.frames(indices)

    def rig_frames(self) -> Iterator[tuple[str, RecordedFrame]]:
        """(camera, frame) of all cameras in playing order; of one time, the reference's first."""
        streams = [
            _keyed(place, name, camera) for place, (name, camera) in enumerate(self.cameras.items())
        ]
        for _, name, frame in heapq.merge(*streams, key=lambda item: item[0]):
            yield name, frame

    def true_poses(self) -> TruePoses | None:
        """Of the reference camera."""
        return self._reference.true_poses()

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Of the reference camera."""
        return self._reference.true_depths(stamps_ns, left_out)

    def samples(self, camera: str) -> Iterator[tuple[int, Sample]]:
        """Where all cameras sit, then what the robot's other sensors say.

        Args:
            camera: not used: each camera has its own name.
        """
        first_ns = min(one.info.times_ns[0] for one in self.cameras.values())
        own = self._reference.samples(next(iter(self.cameras)))
        rest = (item for item in own if not isinstance(item[1], Extrinsics))
        first = next(rest, None)
        start_ns = first_ns if first is None else min(first_ns, first[0])
        for name, T_base_cam in self.T_base_cams.items():
            yield start_ns, Extrinsics(name, T_base_cam)
        if first is not None:
            yield first
        yield from rest


def cameras_of(recording: Recording) -> dict[str, Recording]:
    """The cameras of a recording by name; one that is no rig has the name ""."""
    return recording.cameras if isinstance(recording, RigRecording) else {"": recording}


def open_rig(
    path: Path,
    cameras: Sequence[str] = (),
    topics: TopicChoice | None = None,
    *,
    fps: float | None = None,
    limit: int = 0,
) -> RigRecording:
    """Open all cameras of a bag or a folder.

    Args:
        path: a rosbag2 folder or file, or a folder of frames.
        cameras: image topics of a bag, or names of a folder's cameras, the reference first; none:
            all, in the order of their names.
        topics: the rest of what a bag's user names (poses and depth of the reference camera).
        fps, limit: see `open_recording`; the limit counts the frames of each camera.

    Raises:
        RecordingError: As `open_recording`; fewer than two cameras; or one whose place on the rig
            nobody tells.
    """
    from . import is_bag, open_recording  # they know of this one

    if not path.exists() or is_bag(path) or path.suffix == ".bag":
        from .bag import BagRecording
        from .bag_opening import image_topics

        if not is_bag(path):
            open_recording(path)  # says what is wrong with it
        wanted = list(cameras) or image_topics(path)
        _enough(path, wanted)
        choice = topics or TopicChoice()
        made = {
            name: BagRecording(
                path,
                replace(choice, image=topic, camera_info="", depth=choice.depth if first else ""),
                limit,
            )
            for first, (name, topic) in zip(
                itertools.chain([True], itertools.repeat(False)),
                zip(camera_names(wanted), wanted, strict=True),
                strict=False,
            )
        }
        return _bag_rig(path, made)
    wanted = list(cameras) or list(camera_folders(path))
    _enough(path, wanted)
    folders = {name: FolderRecording(path, fps, limit, name) for name in wanted}
    return RigRecording(dict(folders), _placed({n: one.info for n, one in folders.items()}))


def _keyed(
    place: int, name: str, camera: Recording
) -> Iterator[tuple[tuple[int, int], str, RecordedFrame]]:
    """A camera's frames with what they are ordered by."""
    for frame in camera.frames():
        yield (frame.time_ns, place), name, frame


def camera_names(topics: Sequence[str]) -> list[str]:
    """Names for cameras out of their image topics: the first part in which they differ.

    Raises:
        RecordingError: One topic twice.
    """
    if len(set(topics)) != len(topics):
        raise RecordingError(f"cameras are {list(topics)}, expected each topic once")
    parts = [topic.strip("/").split("/") for topic in topics]
    for column in itertools.zip_longest(*parts, fillvalue=""):
        names = [re.sub(r"\W", "_", part) for part in column]
        if len(set(names)) == len(names) and all(_NAME.fullmatch(name) for name in names):
            return names
    return [f"camera{number}" for number in range(len(topics))]


def _enough(path: Path, cameras: Sequence[str]) -> None:
    if len(cameras) < 2:
        raise RecordingError(
            f"{path} has {len(cameras)} camera{'' if len(cameras) == 1 else 's'} "
            f"({', '.join(cameras) or 'none'}), a rig has two or more; leave --cameras out"
        )


def _placed(infos: dict[str, RecordingInfo]) -> dict[str, Floats]:
    """Where cameras of a folder sit: their body may lie as it likes, so the first one is level."""
    first = next(iter(infos.values())).T_body_cam
    made: dict[str, Floats] = {}
    for name, info in infos.items():
        if info.T_body_cam is None or first is None:
            raise _without_place(info.path, name, "its description has no T_BS")
        made[name] = _LEVEL @ inverse(first) @ info.T_body_cam
    return made


def _bag_rig(path: Path, bags: Mapping[str, BagRecording]) -> RigRecording:
    reference = next(iter(bags.values()))
    reference.stand_on(reference.root_frame)
    base = reference.robot.base
    made: dict[str, Floats] = {}
    for name, bag in bags.items():
        T_base_cam = bag.T_frame_cam(base)
        if T_base_cam is None:
            frame = bag.info.frame_id
            raise _without_place(path, name, f"TF does not join its frame {frame} to {base}")
        made[name] = T_base_cam
    return RigRecording(dict(bags), made, base)


def _without_place(path: Path, name: str, why: str) -> RecordingError:
    return RecordingError(
        f"{path}: nobody tells where camera {name} sits on the rig: {why}. Record /tf_static with "
        "it, or name the other cameras with --cameras"
    )
