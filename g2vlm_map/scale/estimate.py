# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a sensor says of the scale, and what all of them say together.

The scale is the number of metres in one map unit; its natural log is what is measured, so a
sigma is a relative one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ScaleEstimate", "ScaleReading"]


@dataclass(frozen=True)
class ScaleReading:
    """One sensor's word on the scale at one keyframe.

    Args:
        source: Kind, see `kinds.KINDS`: a sensor, or one with `_path` for the path that its depth
            gives.
        measures: "trajectory" (lengths of the path) or "depth" (lengths along the view).
        keyframe: Number of the keyframe.
        log_scale: Natural log of metres per map unit.
        sigma: Standard deviation of `log_scale` of this reading alone, its bias not included.
    """

    source: str
    measures: str
    keyframe: int
    log_scale: float
    sigma: float


@dataclass(frozen=True)
class ScaleEstimate:
    """The scale as far as it is known.

    Args:
        metric: Whether it carries: lengths may be called metres.
        log_scale: Natural log of metres per map unit; 0 where nothing is known.
        sigma: Standard deviation of that; infinite where nothing is known.
        log_trajectory_scale, trajectory_sigma: The same from the sources that measure the
            trajectory only.
        log_depth_scale, depth_sigma: From the sources that measure depth only; a difference to
            the trajectory's beyond both sigmas is SCALE_CONFLICT.
        sources: Kinds that carry it, the heaviest first.
        version: Changes when what is published in metres has to change.
        reason: Why it does not carry; "" where it does.
    """

    metric: bool = False
    log_scale: float = 0.0
    sigma: float = math.inf
    log_trajectory_scale: float = 0.0
    trajectory_sigma: float = math.inf
    log_depth_scale: float = 0.0
    depth_sigma: float = math.inf
    sources: tuple[str, ...] = ()
    version: int = 0
    reason: str = "no scale source: lengths are up to scale"

    @property
    def metres_per_unit(self) -> float:
        """Metres in one map unit; 1 where nothing is known."""
        return math.exp(self.log_scale)
