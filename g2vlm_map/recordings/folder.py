"""A folder of frames as the recording of one camera.

JPEG and PNG files are given as they are, other formats decoded. What the folder knows beside
them (K, true poses, depth) comes from its layout, see `layouts`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sensing import Sample
from .frames import RecordedFrame, decode_rgb, depth_metres
from .layouts import layout_of
from .layouts.plain import FILE_FORMATS, natural_key
from .source import (
    COMPRESSED,
    IMAGE,
    LeftOut,
    RecordingError,
    RecordingInfo,
    TruePoses,
)

__all__ = ["FolderRecording", "natural_key"]

MAX_FPS = 1e6  # stamps stay apart


@dataclass(frozen=True)
class CompressedFile:
    """A file's bytes with the fields of `sensor_msgs/CompressedImage`."""

    format: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class RawFrame:
    """A decoded file with the fields of `sensor_msgs/Image`."""

    height: int
    width: int
    data: bytes = field(repr=False)
    encoding: str = "rgb8"
    is_bigendian: int = 0

    @property
    def step(self) -> int:
        """Bytes of a row."""
        return 3 * self.width


class FolderRecording:
    """One camera out of a folder of frames; a `Recording`.

    Args:
        path: the folder.
        fps: frames a second where the file names carry no capture time; for the 7-Scenes
            layout the rate of its frame numbers. None: 10, and 30 for 7-Scenes.
        limit: take at most this many frames; 0 takes all.
        camera: which one, where the folder holds a rig; "" takes the first.

    Raises:
        RecordingError: No folder, no frame in it, none that can be decoded, or a file that
            describes them is wrong.
    """

    def __init__(
        self, path: Path, fps: float | None = None, limit: int = 0, camera: str = ""
    ) -> None:
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise RecordingError(f"fps is {fps:g}, expected above 0 and at most {MAX_FPS:g}")
        layout = self._layout = layout_of(path, camera)
        files = layout.files[:limit] if limit else layout.files
        if not files:
            raise RecordingError(
                f"{layout.path} holds no frame; looked for {', '.join(sorted(FILE_FORMATS))}"
            )
        sizes = {file: _size(file) for file in files}
        self._files = [file for file in files if sizes[file] is not None]
        if not self._files:
            raise RecordingError(f"{path}: none of {len(files)} frames can be decoded")
        size_hw = sizes[self._files[0]]
        assert size_hw is not None
        stamps, clock = layout.stamps(self._files, fps)
        name = layout.camera or "camera"
        bad = [LeftOut(file.name, "cannot be decoded") for file in files if sizes[file] is None]
        self._info = RecordingInfo(
            path=path,
            kind=f"folder of frames{f' ({layout.name})' if layout.name else ''}",
            image_topic=f"/{name}/image_raw",
            image_type=COMPRESSED if FILE_FORMATS[self._files[0].suffix.lower()] else IMAGE,
            info_topic="" if layout.calibration is None else f"/{name}/camera_info",
            frame_id=f"{name}_optical_frame",
            stamps_ns=stamps,
            times_ns=stamps,
            size_hw=size_hw,
            calibration=layout.calibration,
            left_out=(*layout.left_out, *bad),
            notes=(clock, *layout.notes),
            camera=layout.camera,
            T_body_cam=layout.T_body_cam,
        )

    @property
    def info(self) -> RecordingInfo:
        """What the folder holds."""
        return self._info

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """All frames in playing order, or some by index."""
        info = self._info
        read = _compressed if info.image_type == COMPRESSED else _raw
        for index in range(len(self._files)) if indices is None else indices:
            if 0 <= index < len(self._files):
                stamp, load = info.stamps_ns[index], functools.partial(read, self._files[index])
                yield RecordedFrame(index, stamp, stamp, info.frame_id, load)

    def samples(self, camera: str) -> Iterator[tuple[int, Sample]]:
        """Nothing: a folder knows of no other sensors."""
        return iter(())

    def true_poses(self) -> TruePoses | None:
        """True poses as the layout has them, or None."""
        return self._layout.true_poses(self._files, self._info.stamps_ns)

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Depth maps as the layout has them, metres."""
        wanted = set(stamps_ns)
        for file, stamp in zip(self._files, self._info.stamps_ns, strict=True):
            depth_file = self._layout.depth_file(file) if stamp in wanted else None
            if depth_file is None:
                continue
            raw = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 2:
                yield stamp, depth_metres(raw, self._layout.depth_unit_m)
            elif left_out is not None:
                left_out.append(LeftOut(depth_file.name, "no depth map, expected (H, W)"))


def _compressed(file: Path) -> CompressedFile:
    kind, payload = FILE_FORMATS[file.suffix.lower()], file.read_bytes()
    if kind:
        return CompressedFile(kind, payload)
    bgr = decode_rgb(payload, file.name)[..., ::-1]  # the odd file among JPEGs or PNGs
    return CompressedFile("png", cv2.imencode(".png", bgr)[1].tobytes())


def _raw(file: Path) -> RawFrame:
    rgb_HW3 = decode_rgb(file.read_bytes(), file.name)
    return RawFrame(rgb_HW3.shape[0], rgb_HW3.shape[1], rgb_HW3.tobytes())


def _size(file: Path) -> tuple[int, int] | None:
    """(height, width) of a frame, None where it cannot be decoded."""
    gray = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    return None if gray is None else (int(gray.shape[0]), int(gray.shape[1]))
