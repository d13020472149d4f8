# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording or a camera into a pipeline, and stops, steps and hurries as viewers say.

A recording waits for the model: a frame goes in when the one before is done, so that the map is the
same on a slow machine. A camera does not wait; what the model cannot keep up with is dropped by the
pipeline, and counted there.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.feed import Feed
from numpy.typing import NDArray

from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.recordings import NS, RecordedFrame, RecordingError

__all__ = ["CameraPlayer", "Player", "RecordingPlayer", "opened_camera"]

_SETTLE_S = 0.2  # how often a wait for the model looks whether it is to end
_BLIND_S = 5.0  # without a frame, after which a camera is given up


class Player(Protocol):
    """What drives a session."""

    frames: int  # handed in so far
    total: int  # that there are; 0 while nobody knows
    ended: bool
    failure: str  # why it ended early; "" where it did not
    paused: bool
    speed: float  # times the recording's own; 0: as fast as the model is; fixed for a camera

    def start(self) -> None:
        """Begin, in a thread of its own."""

    def step(self) -> None:
        """Hand in one frame more, then pause."""

    def set_speed(self, speed: float) -> None:
        """Play at another speed."""

    def current(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of the frame that was handed in last."""

    def close(self) -> None:
        """End the thread."""


class _Thread(ABC):
    """One thread that hands frames in, and what stops it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._turn = threading.Condition()
        self._steps = 0
        self._closing = False
        self.frames, self.total, self.speed = 0, 0, 1.0
        self.ended, self.failure = False, ""
        self._paused = False
        self._thread = threading.Thread(target=self._guarded, name="g2vlm-play", daemon=True)

    @property
    def paused(self) -> bool:
        """Whether it waits for `step` or for going on."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        with self._turn:
            self._paused, self._steps = paused, 0
            self._turn.notify_all()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def step(self) -> None:
        """Hand in one frame more, then pause."""
        with self._turn:
            self._paused = True
            self._steps += 1
            self._turn.notify_all()

    def close(self) -> None:
        """End the thread; a pass that runs is not waited for."""
        with self._turn:
            self._closing = True
            self._turn.notify_all()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _may_go(self) -> bool:
        """Wait while it is paused; False where it is to end."""
        with self._turn:
            self._turn.wait_for(lambda: self._closing or not self._paused or self._steps > 0)
            self._steps = max(0, self._steps - 1)
            return not self._closing

    def _guarded(self) -> None:
        try:
            self._run()
        except (RecordingError, OSError) as error:
            self.failure = str(error)
        finally:
            self.ended = True

    @abstractmethod
    def _run(self) -> None:
        """Hand the frames in, until told to end."""


class RecordingPlayer(_Thread):
    """Plays a recording, each frame when the model is done with the one before.

    Args:
        feed: Hands its frames in.
        pipeline: That takes them.
        total: Frames that there are.
        speed: See `Player`.
    """

    def __init__(self, feed: Feed, pipeline: Pipeline, total: int, speed: float = 1.0) -> None:
        super().__init__(pipeline)
        self._feed, self.total = feed, total
        self._frame: RecordedFrame | None = None
        self.set_speed(speed)

    def set_speed(self, speed: float) -> None:
        """Play so many times as fast as it was recorded; 0: as fast as the model is.

        Raises:
            ValueError: No such speed.
        """
        if not 0 <= speed <= 1000 or not math.isfinite(speed):
            raise ValueError(f"speed is {speed}, expected 0 (as fast as the model is) to 1000")
        with self._turn:
            self.speed = speed
            self._turn.notify_all()

    def current(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of the frame that was handed in last."""
        frame = self._frame
        if frame is None:
            return None
        try:
            return frame.rgb()
        except RecordingError:  # the pipeline says so
            return None

    def _run(self) -> None:
        self._feed.calibrate()
        before_ns, due = 0, time.monotonic()
        for camera, frame in self._feed.frames():
            if not self._may_go():
                return
            if before_ns and self.speed > 0 and not self._paused:
                due = max(due + (frame.time_ns - before_ns) / NS / self.speed, time.monotonic())
                with self._turn:
                    self._turn.wait_for(
                        lambda: self._closing or self._paused or self.speed == 0,
                        min(max(0.0, due - time.monotonic()), 60.0),
                    )
            before_ns = frame.time_ns
            self._feed.sense_until(frame.time_ns)
            self._feed.add(camera, frame)
            self.frames += camera == self._feed.reference
            self._frame = frame
            while not self._closing and not self._pipeline.wait(_SETTLE_S):
                pass


class CameraPlayer(_Thread):
    """Plays a camera of this machine, as OpenCV opens it.

    Args:
        number: Of the camera: 0 is the first.
        pipeline: That takes its frames.
        opened: As `opened_camera` gives it; a film may stand in its place. Closed here.

    Raises:
        ReplayInputError: There is no such camera, or it gives no frame.
    """

    def __init__(
        self,
        number: int,
        pipeline: Pipeline,
        opened: cv2.VideoCapture,
    ) -> None:
        super().__init__(pipeline)
        self._camera = opened
        self._name = f"camera {number}"
        if not self._camera.isOpened() or not self._camera.read()[0]:
            self._camera.release()
            raise ReplayInputError(_no_camera(number))
        self._reference = pipeline.options.cameras[0]
        self._shown: NDArray[np.uint8] | None = None

    def set_speed(self, speed: float) -> None:
        """Refuse: a camera has one speed.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a camera plays at its own speed")

    def current(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of the newest frame, paused or not."""
        return self._shown

    def _run(self) -> None:
        seen = time.monotonic()
        with _released(self._camera):
            while not self._closing:
                there, bgr_HW3 = self._camera.read()
                if not there:
                    if time.monotonic() - seen > _BLIND_S:
                        raise OSError(f"{self._name} gives no frames any more")
                    time.sleep(0.02)
                    continue
                seen = time.monotonic()
                self._shown = np.ascontiguousarray(bgr_HW3[..., ::-1])
                with self._turn:
                    going = not self._paused or self._steps > 0
                    self._steps = max(0, self._steps - 1)
                if going:
                    frame = InputFrame(self._shown, time.time_ns(), self._reference)
                    self._pipeline.add(frame)
                    self.frames += 1


def opened_camera(number: int) -> cv2.VideoCapture:
    """Open a camera of this machine.

    Args:
        number: 0 is the first.

    Raises:
        ReplayInputError: There is none of that number, or it is not to be read.
    """
    if sys.platform == "linux" and not os.access(f"/dev/video{number}", os.R_OK):
        raise ReplayInputError(_no_camera(number))  # OpenCV looks for it for many seconds
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise ReplayInputError(_no_camera(number))
    return camera


def _no_camera(number: int) -> str:
    there = ", ".join(sorted(path.name for path in Path("/dev").glob("video*"))) or "none"
    return (
        f"camera {number} cannot be opened or gives no frame; of /dev/video* there is: {there}. "
        "Whoever reads it must be in the group `video`, and no other program may hold it. "
        "In its place a film, a bag or a folder of frames can be shown"
    )


@contextmanager
def _released(camera: cv2.VideoCapture) -> Iterator[None]:
    try:
        yield
    finally:
        camera.release()
