# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread in which a node looks at frames and at what calibrates them.

The executor's thread only hands a message on: a picture that takes long to decode holds up no
service, timer or transform.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from g2vlm_map.camera_model import CameraInfoLike
from g2vlm_map.pipeline import InputFrame, Pipeline

__all__ = ["FrameThread"]


@dataclass(frozen=True, eq=False)
class _Calibration:
    """Arguments of `Pipeline.calibrate`."""

    camera: str
    info: CameraInfoLike
    rectified: bool | None


class FrameThread:
    """Takes frames to the pipeline in a thread of its own, in the order in which they came.

    Of a camera that comes faster than its frames are looked at, the oldest waiting one goes.

    Args:
        pipeline: Takes them.
        most: Frames of one camera that may wait.
    """

    def __init__(self, pipeline: Pipeline, most: int) -> None:
        self._pipeline = pipeline
        self._most = most
        self._waits: deque[InputFrame | _Calibration] = deque()
        self._frames: Counter[str] = Counter()  # that wait, by camera
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="g2vlm-frames", daemon=True)
        self._thread.start()

    def put(self, frame: InputFrame) -> None:
        """Hand a frame on; never waits for one that is looked at."""
        with self._changed:
            if self._frames[frame.camera] >= self._most:
                self._take_out(InputFrame, frame.camera)
                self._drop("superseded", 1)
            else:
                self._frames[frame.camera] += 1
            self._waits.append(frame)
            self._changed.notify()

    def calibrate(self, camera: str, info: CameraInfoLike, rectified: bool | None = None) -> None:
        """Hand a calibration on, see `Pipeline.calibrate`; one that waits still is outdated."""
        with self._changed:
            self._take_out(_Calibration, camera)
            self._waits.append(_Calibration(camera, info, rectified))
            self._changed.notify()

    def cancel(self) -> None:
        """Drop what waits; a frame that is looked at may go on for a moment."""
        with self._changed:
            self._stopping = True
            self._drop("deactivated", self._frames.total())
            self._waits.clear()
            self._frames.clear()
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait, after `cancel`, for the end of the thread; no longer than the time."""
        self._thread.join(timeout_s)

    def _take_out(self, kind: type, camera: str) -> None:
        """The oldest of its kind of a camera waits no longer."""
        found = (one for one in self._waits if isinstance(one, kind) and one.camera == camera)
        oldest = next(found, None)
        if oldest is not None:
            self._waits.remove(oldest)

    def _drop(self, reason: str, frames: int) -> None:
        for _ in range(frames):
            self._pipeline.board.count_received()
        self._pipeline.board.drop(reason, frames)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waits or self._stopping)
                if self._stopping:
                    return
                work = self._waits.popleft()
                if isinstance(work, InputFrame):
                    self._frames[work.camera] -= 1
            with self._pipeline.board.guard("frames", f"looking at one of {work.camera}"):
                if isinstance(work, InputFrame):
                    self._pipeline.add(work)
                else:
                    self._pipeline.calibrate(work.camera, work.info, work.rectified)
