# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread in which a node looks at frames.

The executor's thread only hands a message on: a picture that takes long to decode holds up no
service, timer or transform.
"""

from __future__ import annotations

import threading
from collections import Counter, deque

from g2vlm_map.pipeline import InputFrame, Pipeline

__all__ = ["FrameThread"]

_STOP_S = 0.5


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
        self._frames: deque[InputFrame] = deque()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="g2vlm-frames", daemon=True)
        self._thread.start()

    def put(self, frame: InputFrame) -> None:
        """Hand a frame on; never waits for one that is looked at."""
        with self._changed:
            if self._waiting[frame.camera] >= self._most:
                oldest = next(item for item in self._frames if item.camera == frame.camera)
                self._frames.remove(oldest)
                self._drop("superseded", 1)
            else:
                self._waiting[frame.camera] += 1
            self._frames.append(frame)
            self._changed.notify()

    def stop(self) -> None:
        """Drop what waits; a frame that is looked at may go on for a moment."""
        with self._changed:
            self._stopping = True
            self._drop("deactivated", len(self._frames))
            self._frames.clear()
            self._changed.notify()
        self._thread.join(_STOP_S)

    def _drop(self, reason: str, frames: int) -> None:
        for _ in range(frames):
            self._pipeline.board.count_received()
        self._pipeline.board.drop(reason, frames)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._stopping)
                if self._stopping:
                    return
                frame = self._frames.popleft()
                self._waiting[frame.camera] -= 1
            with self._pipeline.board.guard("frames", f"looking at one of {frame.camera}"):
                self._pipeline.add(frame)
