# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""When a way between two keyframes is long enough to say something of the scale.

A single step says little: the map's own steps scatter by a quarter of their length where the
robot turns. A chord begins where the last one ended, spans some keyframes and is not taken before
it is long beside the sensor's own noise; what stands or turns on the spot lies between its ends.
"""

from __future__ import annotations

__all__ = ["LEAST_CHORD", "chord_ends"]

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
