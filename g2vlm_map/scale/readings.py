# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a sensor measured, in a form that survives when the map's past moves.

A source measures metres between two keyframes, or metres per unit of a keyframe's depth. How many
map units those are is looked up when it is asked for: a solved graph changes poses and depth
scales of old keyframes, and the sensor's word stays what it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..mapping.keyframe import PlacedKeyframe
from ..poses import Floats
from .estimate import ScaleReading

__all__ = ["Measured", "SaidOfSegments", "reading"]


@dataclass(frozen=True)
class Measured:
    """One sensor's measurement.

    Args:
        source: Kind of sensor; see `KINDS`.
        start: Number of the keyframe that a length begins at; `keyframe` where depth was measured.
        keyframe: Number of the keyframe that it ends at.
        log_metric: Natural log of the metres between the two reference cameras, or of the metres
            per unit of the keyframe's depth as it is kept.
        sigma: Standard deviation of `log_metric`, what it shares with its neighbours not included.
        ends_23: Of a length: where the camera was at its begin and its end, metres, in axes that
            it shares with a length that begins where this one ends.
        between: Of a length: numbers of the keyframes on the way and where the camera was at
            each, in those axes.
        seen: Of a length by odometry: log of the length of each of its steps, from the begin over
            those between to the end, by the pictures alone, in a unit that wanders slowly; NaN
            unknown.
        open: The length goes on: where the camera was until now is known, and no reading is made
            of it. The next one of its kind takes its place.
    """

    source: str
    start: int
    keyframe: int
    log_metric: float
    sigma: float
    ends_23: Floats | None = field(default=None, compare=False)
    between: tuple[tuple[int, Floats], ...] = field(default=(), compare=False)
    seen: tuple[float, ...] = field(default=(), compare=False)
    open: bool = False


def reading(
    measured: Measured, measures: str, placed: Mapping[int, PlacedKeyframe]
) -> ScaleReading | None:
    """What the measurement says with the poses of now.

    Args:
        measured: See there.
        measures: "trajectory" or "depth".
        placed: Keyframes by number; those that were culled are missing.

    Returns:
        None where a keyframe is missing, or the map has no length between the two.
    """
    end = placed.get(measured.keyframe)
    begin = placed.get(measured.start)
    if end is None or begin is None or end.segment != begin.segment:
        return None
    if measures == "depth":
        log_units = end.log_depth_scale
    else:
        units = float(np.linalg.norm(end.T_map_body[:3, 3] - begin.T_map_body[:3, 3]))
        if not units > 1e-9:
            return None
        log_units = math.log(units)
    log_scale = measured.log_metric - log_units
    if not math.isfinite(log_scale):
        return None
    return ScaleReading(measured.source, measures, end.keyframe.number, log_scale, measured.sigma)


class SaidOfSegments:
    """What a person, a parameter or a loaded map said of segments: no sensor says it again."""

    def __init__(self) -> None:
        self._said: dict[int, dict[str, ScaleReading]] = {}

    def of(self, segment: int) -> tuple[ScaleReading, ...]:
        """All of a segment."""
        return tuple(self._said.get(segment, {}).values())

    def put(self, segment: int, item: ScaleReading) -> None:
        """Add a reading, in the place of what its source said of the segment before."""
        self._said.setdefault(segment, {})[item.source] = item

    def forget(self, segment: int | None = None) -> None:
        """Forget a segment; None: all."""
        if segment is None:
            self._said.clear()
        self._said.pop(segment or 0, None)

    def join(self, absorbed: int, onto: int, log_scale: float, newer: int) -> None:
        """Two segments are one.

        Args:
            absorbed, onto: Numbers; the unit of the second one goes on.
            log_scale: Natural log of units of `onto` in one unit of `absorbed`.
            newer: Of which of them a source's word counts where it spoke of both.
        """
        there = self._said.pop(onto, {})
        comes = {
            name: item if name == "fixed" else replace(item, log_scale=item.log_scale - log_scale)
            for name, item in self._said.pop(absorbed, {}).items()
        }
        both = {**comes, **there} if newer == onto else {**there, **comes}
        if both:
            self._said[onto] = both
