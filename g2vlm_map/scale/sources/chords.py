# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""When a way between two keyframes is long enough to say something of the scale.

A single step says little: the map's own steps scatter by a quarter of their length where the
robot turns. A chord begins where the last one ended, spans some keyframes and is not taken before
it is long beside the sensor's own noise; what stands or turns on the spot lies between its ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...poses import Floats
from ..readings import Measured

__all__ = ["LEAST_CHORD", "chord_ends", "open_chord"]

LEAST_CHORD = 0.15  # metres
_LEAST_SPAN = 3  # keyframes


def chord_ends(span: int, chord_m: float, sigma_m: float = 0.0) -> bool:
    """Whether a chord ends here.

    Args:
        span: Keyframes since it began.
        chord_m: Metres between its ends.
        sigma_m: Standard deviation of that; a chord is at least three of them.
    """
    return span >= _LEAST_SPAN and chord_m >= max(LEAST_CHORD, 3 * sigma_m)


def open_chord(
    source: str,
    start: tuple[int, Floats],
    between: Sequence[tuple[int, Floats]],
    seen: Sequence[float] = (),
) -> list[Measured]:
    """The way since the last chord, which is too short for one; nothing where there is none.

    Args:
        source: Kind.
        start: Keyframe that it begins at, and where the camera was (3,), metres.
        between: The keyframes since, the newest last.
        seen: Of them, as in `Measured`.
    """
    if not between:
        return []
    (first, place_3), (newest, now_3) = start, between[-1]
    ends = np.stack((place_3, now_3))
    way, steps = tuple(between[:-1]), tuple(seen)
    return [Measured(source, first, newest, 0.0, math.inf, ends, way, steps, open=True)]
