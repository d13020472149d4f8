# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is asked, and what is replied."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from g2vlm_model.interface import SpatialAnswer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..scenes import SceneRecord

__all__ = ["MapPose", "Mark", "Question", "Recalled", "Reply", "Respond", "Scope"]


class Scope(enum.IntEnum):
    """What a question is about; the same numbers as in SpatialQuery.srv."""

    SCENE = 0
    MAP = 1


@dataclass(frozen=True)
class Mark:
    """A place in a frame that a question is about.

    Args:
        u: Column, v: row, in pixels of the original frame (centre of the top-left is 0, 0).
        label: The name that the question uses, e.g. "A".
        camera: "" is the first camera that the question names, else that of the newest frame.
        stamp_ns: Of the frame; 0 is the newest of that camera.
    """

    u: float
    v: float
    label: str = ""
    camera: str = ""
    stamp_ns: int = 0


@dataclass(frozen=True)
class Question:
    """A question about a scene or the map.

    Args:
        text: At most `SpatialQuery.MAX_QUESTION_CHARS` characters.
        marks: Places that it is about.
        cameras: Names of the cameras that it is about.
        stamp_ns: Of the scene that it is about, or that its marks are on; 0 is the newest at the
            time of asking.
        timeout_s: Waiting included; 0 is the option `query.timeout_s`.
        max_tokens: Of the answer; 0 is the option `query.max_tokens`.
        scope: A `Scope`; another number is turned away.
        reason: One of `SpatialQuery.REASONS`; "" is the option `query.reason`.
    """

    text: str
    marks: tuple[Mark, ...] = ()
    cameras: tuple[str, ...] = ()
    stamp_ns: int = 0
    timeout_s: float = 0.0
    max_tokens: int = 0
    scope: int = Scope.SCENE
    reason: str = ""


@dataclass(frozen=True, eq=False)
class MapPose:
    """Where the base was at a keyframe.

    Args:
        stamp_ns: Of the keyframe.
        T_level_base: (4, 4) float64 in the map's level axes (`World`); metres where the answer
            that it belongs to `is_metric`, else map units.
    """

    stamp_ns: int
    T_level_base: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recalled:
    """What of the map an answer is about.

    Args:
        stamp_ns: Of the newest keyframe.
        poses: Of the keyframes that the answer rests on, the best first.
    """

    stamp_ns: int
    poses: tuple[MapPose, ...] = ()


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer.

    Args:
        answer: Points in the axes of the scene's newest frame, or in the map's where it is about
            the map; they and lengths in scene units are in metres where it `is_metric`, else in
            map units.
        record: The scene that it is about; None where there was none.
        queue_ms: How long the question waited.
        recalled: What of the map it is about; None where it is about a scene.
    """

    answer: SpatialAnswer
    record: SceneRecord | None
    queue_ms: float
    recalled: Recalled | None = None


Respond = Callable[[Reply], object]
