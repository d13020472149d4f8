# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What people ask of the map beside questions: how long something is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .answers.measure import distance_between, points_at
from .questions import Mark
from .scale.estimate import ScaleEstimate
from .scale.tracker import ScaleTracker
from .scenes import SceneRecord, SceneStore

__all__ = ["MapDesk", "marked_length"]

# Of a length by the model's depth at one keyframe; what the person measured with comes to it.
_DEPTH_SIGMA = 0.10


class MapDesk:
    """Serves from any thread.

    Args:
        scenes: That marks may be on.
        scale: Told of lengths.
    """

    def __init__(self, scenes: SceneStore, scale: ScaleTracker) -> None:
        self._scenes, self._scale = scenes, scale

    def set_length(
        self, marks: Sequence[Mark], metres: float, sigma: float = 0.0, stamp_ns: int = 0
    ) -> ScaleEstimate:
        """Fix the scale by the distance of two places that somebody has measured.

        Args:
            marks: Two, on frames of a scene.
            metres: Their distance.
            sigma: Its standard deviation as it was measured, metres.
            stamp_ns: Of the scene; 0 is the newest.

        Returns:
            The scale with it.

        Raises:
            LookupError: There is no such scene.
            ValueError: Marks or a length that cannot be used.
            RuntimeError: Too many scenes are held by questions.
        """
        if not (metres > 0 and sigma >= 0 and math.isfinite(metres + sigma)):
            raise ValueError(
                f"the length is {metres:g} m with sigma {sigma:g} m, expected a length above 0 and "
                "a sigma of 0 or more"
            )
        record = self._scenes.hold(stamp_ns)
        try:
            units = marked_length(record, marks)
        finally:
            self._scenes.release(record)
        return self._scale.set_length(units, metres, math.hypot(_DEPTH_SIGMA, sigma / metres))


def marked_length(record: SceneRecord, marks: Sequence[Mark]) -> float:
    """Distance of two marks in map units.

    Args:
        record: The scene that they are on.
        marks: Two; without a camera's name they are on the scene's reference camera.

    Raises:
        ValueError: Other than two marks, one that is on no frame of the scene, or a place whose
            depth is not known.
    """
    if len(marks) != 2:
        raise ValueError(f"got {len(marks)} marks, expected the two ends of the length")
    pixels = [record.mark(it.camera, it.stamp_ns, it.u, it.v, it.label) for it in marks]
    places = points_at(record.geometry, record.scene.window, pixels)
    lost = [
        f"({mark.u:g}, {mark.v:g})"
        for mark, is_there in zip(marks, places.found, strict=True)
        if not is_there
    ]
    if lost:
        raise ValueError(f"no depth is known at {', '.join(lost)}; mark another place")
    return distance_between(places.world[0], places.world[1]) * record.scale
