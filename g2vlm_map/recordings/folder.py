# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A folder of frames as the recording of one camera.

What a file is, its bytes say: JPEG, PNG and WebP are given as they are, other formats decoded.
What the folder knows beside them (K, true poses, depth) comes from its layout, see `layouts`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decode import BadInputError
from ..pictures import decode_samples, open_picture, read_rgb
from ..sensing import Sample
from .frames import RecordedFrame, depth_metres
from .layouts import layout_of
from .layouts.file_names import natural_key
from .layouts.plain import COMPRESSED_KINDS, kind_of_file
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
            seen = "; ".join(str(item) for item in layout.left_out[:3])
            raise RecordingError(
                f"{layout.path} holds no frame; looked for JPEG, PNG, WebP, TIFF and BMP files"
                + (f", and found {len(layout.left_out)} others: {seen}" if seen else "")
            )
        sizes = {file: _size(file) for file in files}
        bad = [LeftOut(file.name, size) for file, size in sizes.items() if isinstance(size, str)]
        self._files = [file for file in files if not isinstance(sizes[file], str)]
        if not self._files:
            raise RecordingError(
                f"{path}: none of {len(files)} frames can be decoded, e.g. {bad[0]}"
            )
        size_hw = sizes[self._files[0]]
        assert not isinstance(size_hw, str)
        stamps, clock = layout.stamps(self._files, fps)
        name = layout.camera or "camera"
        self._info = RecordingInfo(
            path=path,
            kind=f"folder of frames{f' ({layout.name})' if layout.name else ''}",
            image_topic=f"/{name}/image_raw",
            image_type=COMPRESSED if kind_of_file(self._files[0]) in COMPRESSED_KINDS else IMAGE,
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
            try:
                raw = decode_samples(depth_file.read_bytes())
            except (BadInputError, OSError) as error:
                why = str(error)
            else:
                if raw.ndim == 2:
                    yield stamp, depth_metres(raw, self._layout.depth_unit_m)
                    continue
                why = f"no depth map: {raw.shape}, expected (H, W)"
            if left_out is not None:
                left_out.append(LeftOut(depth_file.name, why))


def _compressed(file: Path) -> CompressedFile:
    kind, payload = COMPRESSED_KINDS.get(kind_of_file(file), ""), file.read_bytes()
    if kind:
        return CompressedFile(kind, payload)
    bgr = _decoded(file)[..., ::-1]  # the odd file among JPEGs or PNGs
    return CompressedFile("png", cv2.imencode(".png", bgr)[1].tobytes())


def _raw(file: Path) -> RawFrame:
    rgb_HW3 = _decoded(file)
    return RawFrame(rgb_HW3.shape[0], rgb_HW3.shape[1], rgb_HW3.tobytes())


def _decoded(file: Path) -> NDArray[np.uint8]:
    try:
        return read_rgb(file)
    except (BadInputError, OSError) as error:
        raise RecordingError(f"{file}: {error}") from error


def _size(file: Path) -> tuple[int, int] | str:
    """(height, width) of a frame, upright; why it cannot be decoded."""
    try:
        return open_picture(file.read_bytes()).size
    except (BadInputError, OSError) as error:
        return f"cannot be decoded: {error}"
