# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A film (MP4, AVI, Matroska ...) as the recording of one camera, through OpenCV's FFmpeg.

A film's time is that of its container, from its first frame on.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sensing import Sample
from .folder import MAX_FPS, RawFrame
from .frames import RecordedFrame
from .layouts.file_names import increasing
from .layouts.plain import FIRST_STAMP_NS
from .source import IMAGE, NS, LeftOut, RecordingError, RecordingInfo, TruePoses

__all__ = ["FilmRecording"]

_FRAME_ID = "camera_optical_frame"


class FilmRecording:
    """A `Recording`.

    Args:
        path: The file.
        fps: Frames a second in place of the film's own time.
        limit: Take at most this many frames; 0 takes all.

    Raises:
        RecordingError: No frame of it can be decoded.
    """

    def __init__(self, path: Path, fps: float | None = None, limit: int = 0) -> None:
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise RecordingError(f"fps is {fps:g}, expected above 0 and at most {MAX_FPS:g}")
        self._path = path
        times_ms: list[float] = []
        said = 0
        size_hw: tuple[int, int] | None = None
        with _opened(path) as film:
            said = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
            rate = fps or film.get(cv2.CAP_PROP_FPS) or 30.0
            while (not limit or len(times_ms) < limit) and film.grab():
                times_ms.append(float(film.get(cv2.CAP_PROP_POS_MSEC)))
                if size_hw is None and (shown := film.retrieve()[1]) is not None:
                    size_hw = (int(shown.shape[0]), int(shown.shape[1]))
        if size_hw is None:
            raise RecordingError(f"{path}: no frame of the film can be decoded")
        lost = said - len(times_ms) if not limit else 0
        stamps = [FIRST_STAMP_NS + round((ms - times_ms[0]) * 1e6) for ms in times_ms]
        own = fps is None and increasing(stamps)
        if not own:
            rate = rate if 0 < rate <= MAX_FPS else 30.0
            stamps = [FIRST_STAMP_NS + round(index / rate * NS) for index in range(len(times_ms))]
        self._info = RecordingInfo(
            path=path,
            kind="film",
            image_topic="/camera/image_raw",
            image_type=IMAGE,
            info_topic="",
            frame_id=_FRAME_ID,
            stamps_ns=tuple(stamps),
            times_ns=tuple(stamps),
            size_hw=size_hw,
            left_out=(LeftOut(path.name, f"{lost} of {said} frames cannot be read"),)
            if lost > 0
            else (),
            notes=(
                "Stamps are the film's own time." if own else f"Stamps are {rate:g} Hz (--fps).",
                "A film knows no CameraInfo: K is unknown.",
            ),
        )

    @property
    def info(self) -> RecordingInfo:
        """What the film holds."""
        return self._info

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[RecordedFrame]:
        """All frames in playing order, or some by index, increasing; each is read already."""
        info, count = self._info, len(self._info.stamps_ns)
        wanted = range(count) if indices is None else [i for i in indices if 0 <= i < count]
        with _opened(self._path) as film:
            at = -1
            for index in wanted:
                while at < index and film.grab():
                    at += 1
                shown = film.retrieve()[1] if at == index else None
                load = functools.partial(_raw, shown, f"{self._path}, frame {index}")
                stamp = info.stamps_ns[index]
                yield RecordedFrame(index, stamp, stamp, info.frame_id, load)

    def samples(self, camera: str) -> Iterator[tuple[int, Sample]]:
        """Nothing: a film knows of no other sensors."""
        return iter(())

    def true_poses(self) -> TruePoses | None:
        """None: a film has none."""
        return None

    def true_depths(
        self, stamps_ns: Iterable[int], left_out: list[LeftOut] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Nothing: a film has none."""
        return iter(())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else it writes to the terminal
    film = cv2.VideoCapture(str(path))
    try:
        if not film.isOpened():
            raise RecordingError(
                f"{path} is a film that OpenCV cannot open; take its frames out: ffmpeg -i {path} "
                "frame_%06d.jpg"
            )
        yield film
    finally:
        film.release()


def _raw(bgr_HW3: NDArray[np.uint8] | None, name: str) -> RawFrame:
    if bgr_HW3 is None:
        raise RecordingError(f"{name} cannot be decoded")
    return RawFrame(bgr_HW3.shape[0], bgr_HW3.shape[1], bgr_HW3.tobytes(), "bgr8")
