# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What came on one topic: heads of all messages, and those that say something new.

Live messages and those of a bag are the same bytes (CDR), so both come in here. No rclpy.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from g2vlm_map.cameras import NS
from g2vlm_map.recordings.frames import message_rgb
from g2vlm_map.recordings.source import CAMERA_INFO, IMAGE, RecordingError, header_of

__all__ = ["Decode", "Hearing", "Mark"]

Decode = Callable[[bytes, str], Any]  # a message's bytes and its type -> the message
_LONGEST_HEAD = 1024  # bytes; a frame's name may be long, pixels are not copied for it
_STAMP_ENDS = 12  # bytes of encapsulation and stamp


@dataclass(frozen=True)
class Mark:
    """The head of a message.

    Args:
        stamp_ns: Of its header.
        clock_ns: The node's clock, or the recorder's, when it came; 0 where nobody knows.
        frame_id: As it stands.
        size: Bytes of the whole message.
    """

    stamp_ns: int
    clock_ns: int
    frame_id: str
    size: int


@dataclass
class Hearing:
    """Collects what comes on one topic.

    Args:
        topic, msgtype: Of it.
        decode: Makes a message of bytes.

    Attributes:
        marks: In the order of arrival.
        first: The first message; None before, or where it has no header.
        newest: The newest one that differs from the first in more than stamp and pixels.
        problem: Why messages cannot be read; "" where they can.
    """

    topic: str
    msgtype: str
    decode: Decode
    marks: list[Mark] = field(default_factory=list)
    first: Any = None
    newest: Any = None
    problem: str = ""
    _known: Any = None

    def take(self, data: bytes, clock_ns: int) -> None:
        """A message has come."""
        try:
            stamp_ns, frame_id = header_of(data[:_LONGEST_HEAD])
            content = self._content(data)
            if self.first is None or content != self._known:
                self.newest = self.decode(data, self.msgtype)
                self.first = self.newest if self.first is None else self.first
                self._known = content
        except (RecordingError, ValueError, RuntimeError) as error:
            self.problem = str(error)
            return
        self.marks.append(Mark(stamp_ns, clock_ns, frame_id, len(data)))

    def _content(self, data: bytes) -> Any:
        """What differs where a message says something new; nothing is told by its pixels."""
        if self.msgtype == CAMERA_INFO:
            return data[_STAMP_ENDS:]
        return len(data) if self.msgtype == IMAGE else None

    @property
    def period_s(self) -> float:
        """Median time between stamps that rise; 0 where there are fewer than two."""
        steps = [step for step in self.steps_ns if step > 0]
        return statistics.median(steps) / NS if steps else 0.0

    @property
    def steps_ns(self) -> list[int]:
        """Differences of the stamps in the order of arrival."""
        stamps = [mark.stamp_ns for mark in self.marks]
        return [later - earlier for earlier, later in itertools.pairwise(stamps)]

    @property
    def largest(self) -> int:
        """Bytes of the largest message; 0 where none came."""
        return max((mark.size for mark in self.marks), default=0)

    def frame_hw(self) -> tuple[int, int]:
        """(H, W) px of the newest frame, decoded as the node decodes it.

        Raises:
            RecordingError: It cannot be decoded.
        """
        height, width = message_rgb(self.newest, "frame").shape[:2]
        return height, width
