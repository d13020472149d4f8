# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a pipeline tells those who listen: one stream, in the order in which things happen.

Events come in the thread in which they happen: scenes in that of the passes, answers in that
of the questions, dropped and refused frames in that of whoever adds frames. A listener that
takes long holds that thread up; it may ask questions, but must not add frames, reset or stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .questions import Reply
    from .scale.estimate import ScaleEstimate
    from .scenes import SceneRecord

__all__ = [
    "CalibrationChanged",
    "ConditionChanged",
    "Emit",
    "Event",
    "FrameRefused",
    "FramesDropped",
    "Latency",
    "MapChanged",
    "PassFinished",
    "QuestionAnswered",
    "ScaleChanged",
    "SceneReady",
    "SegmentBroken",
    "SegmentStarted",
]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a scene; negative before the first.

    Args:
        total: From the arrival of its newest frame until everybody had heard of it.
        observe: In the runtime.
        publish: Joining it, and the time of those who heard of it.
    """

    total: float = -1.0
    observe: float = -1.0
    publish: float = -1.0


@dataclass(frozen=True, eq=False)
class SceneReady:
    """A scene was made and can be asked about."""

    record: SceneRecord


@dataclass(frozen=True)
class PassFinished:
    """Everybody has heard of the scene; counters and conditions are those with it."""

    latency: Latency


@dataclass(frozen=True)
class SegmentStarted:
    """Scenes from now on lie in the axes of a new segment.

    Args:
        number: Of the segment.
        cause: "start", "reset", "time_jump", "frame_changed" or "broken".
        text: Why, in words.
    """

    number: int
    cause: str
    text: str


@dataclass(frozen=True)
class SegmentBroken:
    """A window could not be joined with the one before; `SegmentStarted` follows.

    Args:
        number: Of the segment that ends.
        text: Why, with the numbers.
    """

    number: int
    text: str


@dataclass(frozen=True)
class FramesDropped:
    """Frames will not be used.

    Args:
        reason: One of `status.DROP_CODES`.
        frames: How many now.
        total: How many for this reason since the start.
    """

    reason: str
    frames: int
    total: int


@dataclass(frozen=True)
class FrameRefused:
    """A frame cannot be used; it is counted by `FramesDropped` too.

    Args:
        camera: It came from.
        reason: One of `status.DROP_CODES`.
        text: What was got and what is expected.
    """

    camera: str
    reason: str
    text: str


@dataclass(frozen=True, eq=False)
class QuestionAnswered:
    """A question has its answer, of whatever status."""

    reply: Reply


@dataclass(frozen=True)
class ConditionChanged:
    """A lasting condition began or ended.

    Args:
        code: One of `status.REASON_CODES`.
        source: A camera, a topic; "" where there is one only.
        holds: Whether it holds now.
        text: The explanation with the present values; "" where it ended.
    """

    code: str
    source: str
    holds: bool
    text: str


@dataclass(frozen=True)
class CalibrationChanged:
    """A camera's CameraInfo is another one than its frames so far had; those to come have it.

    Args:
        camera: Its name.
        text: What changed, with the numbers.
    """

    camera: str
    text: str


@dataclass(frozen=True)
class MapChanged:
    """The map's past is another one than before: whoever keeps poses of it takes the new ones.

    Args:
        version: Of the map from now on; see `World`.
        cause: "loop", "merged", "level", "loaded", "localized" or "culled"; a scale that changes is
            a `ScaleChanged`, a restart a `SegmentStarted`.
            With "culled" keyframes went, and those that stay, and the version, are as they were.
        text: What happened, with the numbers.
    """

    version: int
    cause: str
    text: str


@dataclass(frozen=True)
class ScaleChanged:
    """Lengths have become metres, are no longer, or are other metres than before.

    Args:
        before, now: The estimates.
        text: Why, with the numbers.
    """

    before: ScaleEstimate
    now: ScaleEstimate
    text: str


Event = (
    SceneReady
    | PassFinished
    | SegmentStarted
    | SegmentBroken
    | FramesDropped
    | FrameRefused
    | QuestionAnswered
    | ConditionChanged
    | CalibrationChanged
    | MapChanged
    | ScaleChanged
)
Emit = Callable[[Event], object]
