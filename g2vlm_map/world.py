# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map as others see it: frozen, of one version.

Whoever publishes, measures, stores or draws takes a `World` and is never surprised by what the
mapper does meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .mapping.keyframe import Edge, PlacedKeyframe
from .scale.estimate import ScaleEstimate

__all__ = ["PathPose", "World"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PathPose:
    """Where the reference camera was, as the map says now.

    Args:
        stamp_ns: When.
        T_map_cam: (4, 4) float64 in the segment's axes and units.
    """

    stamp_ns: int
    T_map_cam: Floats


@dataclass(frozen=True, eq=False)
class World:
    """Where everything is.

    Args:
        version: Changes when the past changed: a loop closed, segments merged, another scale,
            a map was loaded. A new keyframe alone does not change it.
        segment: Number of the segment that is being added to.
        keyframes: All that are kept, by number.
        scale: Metres per map unit.
        T_level_map: (4, 4) float64: turns and shifts the map's axes so that z is up and the
            first base pose of the segment is the origin; the identity while nobody knows up.
        up_source: "base", "imu", "floor" or "".
        loops: Accepted loops so far.
        edges: Between the keyframes, loops included.
        T_base_body: (4, 4) float64 extrinsics of the reference camera in metres; None while
            nobody has given any.
    """

    version: int = 0
    segment: int = 0
    keyframes: tuple[PlacedKeyframe, ...] = ()
    scale: ScaleEstimate = field(default_factory=ScaleEstimate)
    T_level_map: Floats = field(default_factory=lambda: np.eye(4))
    up_source: str = ""
    loops: int = 0
    edges: tuple[Edge, ...] = ()
    T_base_body: Floats | None = None
