# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The unit of a pass: lengths of two passes are of one unit, unless their depths leap.

A model may give each pass a unit of its own. The depths of the frames that two windows share tell
the ratio; small ratios are the model's bias, which changes slowly and which the map estimates
(carrying them on would add their noise up, window by window), a large one is another unit.

Where a pass's metres are known by a depth sensor (`MeasuredGeometry`), the unit is metres times a
factor that a segment keeps: 1 where it began with a sensor, else what makes the first measured
pass go on from the ones before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, GeometryPrediction

from ..keyframes import PictureTracks
from ..measured_depth import MeasuredGeometry

__all__ = ["PassUnits", "Sighting"]

_STRIDE = 8  # every 8th row and column says enough
_LEAST = 8  # depths
_LEAP = math.log(1.4)


@dataclass(frozen=True, eq=False)
class Sighting:
    """A moment of a window.

    Args:
        frames: The reference camera's first.
        indices: Of the frames in the window.
        is_new: No window held it before.
        still: Nothing moved since the keyframe before it.
        movement: Of one that is still: picture widths that it has moved all the same.
        tracked: Share of the picture that was found again.
        tracks: Of the reference camera since the keyframe before it; None where there are none.
    """

    frames: tuple[Frame, ...]
    indices: tuple[int, ...]
    is_new: bool = True
    still: bool = False
    movement: float = 0.0
    tracked: float = 1.0
    tracks: PictureTracks | None = None


class PassUnits:
    """Follows the unit from pass to pass; `factor` makes lengths of the newest one comparable."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.per_metre: float | None = None  # comparable units in a metre, since one was measured
        self._depths: dict[str, NDArray[np.float32]] = {}

    def follow(self, moments: Sequence[Sighting], geometry: GeometryPrediction) -> None:
        """Take in the next pass.

        Args:
            moments: Of its window: frames, and their indices in the geometry.
            geometry: Of the pass.
        """
        depths = {
            frame.key: _sparse(geometry, index)
            for moment in moments
            for frame, index in zip(moment.frames, moment.indices, strict=True)
        }
        ratios = [
            np.log(self._depths[key][both] / depth[both])
            for key, depth in depths.items()
            if key in self._depths and self._depths[key].shape == depth.shape
            for both in [np.isfinite(self._depths[key]) & np.isfinite(depth)]
        ]
        logs = np.concatenate(ratios) if ratios else np.zeros(0)
        if isinstance(geometry, MeasuredGeometry):
            if self.per_metre is None:
                first = not self._depths
                self.per_metre = 1.0 if first else self.factor / geometry.metres_per_unit
            self.factor = self.per_metre * geometry.metres_per_unit
        elif len(logs) >= _LEAST:
            middle = float(np.median(logs))
            if abs(middle) > _LEAP:
                self.factor *= math.exp(middle)
        self._depths = depths


def _sparse(geometry: GeometryPrediction, index: int) -> NDArray[np.float32]:
    """(h, w) depth of every 8th row and column, NaN where there is none."""
    window = (index, slice(None, None, _STRIDE), slice(None, None, _STRIDE))
    depth = geometry.local_points[window][..., 2]
    with np.errstate(invalid="ignore"):
        usable = geometry.valid[window] & np.isfinite(depth) & (depth > 1e-6)
    return np.where(usable, depth, np.float32(np.nan))
