# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether a map has one scale: stretches of it against each other, short lengths against long ones.

The belief of a source averages over a bias that comes and goes around one scale. A map that
stretches as it goes has no such scale: then the readings of one stretch lie beside those of
another by more than either scatters, and a path that zigzags is short over long lengths and long
over short ones. Both are measured on all readings, those that the gate turned away included: what
a belief is made of always agrees with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..poses import Floats
from .estimate import ScaleReading

__all__ = ["STRETCH", "spread_of_lengths", "spread_of_stretches", "stretches"]

STRETCH = 20  # keyframes
_LEAST_READINGS = 3  # of a stretch
_ALLOWED = 0.10  # by which a good map differs from itself: the belief in a slow bias holds it
_LENGTHS = (1, 2, 4, 8, 16)  # chords that one length spans
_AHEAD = 0.5  # of the way driven over a length, that its ends lie apart
_MEDIAN_LOSS = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean


def stretches(readings: Sequence[ScaleReading]) -> list[tuple[float, float]]:
    """Log-scale of each stretch of 20 keyframes and its standard error, the newest first.

    A stretch speaks by its median, so that a slip now and then is none of its business.

    Args:
        readings: Of one source, the newest last; all, whoever believes them.
    """
    if not readings:
        return []
    newest = readings[-1].keyframe
    grouped: dict[int, list[ScaleReading]] = {}
    for item in readings:
        grouped.setdefault((newest - item.keyframe) // STRETCH, []).append(item)
    return [
        _median(grouped[number])
        for number in sorted(grouped)
        if len(grouped[number]) >= _LEAST_READINGS
    ]


def spread_of_stretches(found: Sequence[tuple[float, float]]) -> float:
    """Standard deviation of the log-scale over stretches, beyond their own errors.

    One stretch of slipping wheels among many that agree is forgiven, once it has passed: the
    spread is that of the median deviation, or how far the newest lies from the median where that
    is beyond two standard deviations.

    Args:
        found: By `stretches`.

    Returns:
        0 where they agree, or fewer than two are known.
    """
    if len(found) < 2:
        return 0.0
    median_K, error_K = np.array(found).T
    off_K = np.abs(median_K - np.median(median_K))
    among_all = _beyond(1.4826 * float(np.median(off_K)), float(np.median(error_K)))
    newest = float(off_K[0])
    return max(among_all, newest if newest > 2 * math.hypot(_ALLOWED, error_K[0]) else 0.0)


def spread_of_lengths(pieces: Sequence[tuple[Floats, Floats]], log_scale: float) -> float:
    """How far the log-scale by lengths of 1, 2, 4, ... chords stands from that of the path, rms.

    Args:
        pieces: Parts of the path that hang together: (N, 3) places in the map, in map units, and
            (N, 3) by odometry, metres.
        log_scale: Log of metres per map unit of the path as a whole.

    Returns:
        What of it is more than is allowed; 0 where no piece holds two lengths that lie apart.
    """
    off = []
    for chords in _LENGTHS:
        ways = [_ways(*piece, chords) for piece in pieces if len(piece[0]) > 2 * chords]
        ours, theirs = np.sum(ways, axis=0) if ways else (0.0, 0.0)
        if ours > 0 and theirs > 0:
            off.append(math.log(theirs / ours) - log_scale)
    return _beyond(float(np.sqrt(np.mean(np.square(off)))), 0.0) if off else 0.0


def _beyond(spread: float, error: float) -> float:
    """What of a standard deviation is neither error nor allowed."""
    return math.sqrt(max(0.0, spread**2 - error**2 - _ALLOWED**2))


def _median(readings: Sequence[ScaleReading]) -> tuple[float, float]:
    values = np.array([item.log_scale for item in readings])
    median = float(np.median(values))
    scatter = 1.4826 * float(np.median(np.abs(values - median)))
    own = float(np.median([item.sigma for item in readings]))
    return median, _MEDIAN_LOSS * max(scatter, own) / math.sqrt(len(values))


def _ways(map_N3: Floats, metric_N3: Floats, chords: int) -> tuple[float, float]:
    """All lengths over so many chords, added up: map units and metres.

    Where the robot came back on its way, a length is the difference of large ones: left out.
    """
    step_N = np.linalg.norm(np.diff(metric_N3, axis=0), axis=1)
    driven_N = np.convolve(step_N, np.ones(chords), "valid")
    metric_N = np.linalg.norm(metric_N3[chords:] - metric_N3[:-chords], axis=1)
    map_N = np.linalg.norm(map_N3[chords:] - map_N3[:-chords], axis=1)
    ahead_N = metric_N >= _AHEAD * driven_N
    return float(map_N[ahead_N].sum()), float(metric_N[ahead_N].sum())
