# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes in metres: the door through which all of the dense map comes, shut without a scale.

The axes are level: z up, the first base pose of the segment is the origin.

Shape letters: H W pixels of the model's picture, P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mapping.keyframe import PlacedKeyframe
from ..poses import inverse, metric
from ..rig import poses_of_views
from ..world import World

__all__ = ["MetricView", "NoScaleError", "metric_views", "views_in"]

Floats = NDArray[np.float64]


class NoScaleError(ValueError):
    """Nothing metric fixes the lengths, so there is no map in metres."""


@dataclass(frozen=True, eq=False)
class MetricView:
    """What one camera saw at one keyframe, in metres.

    Args:
        number: Of the keyframe.
        view: Which of the keyframe's views.
        stamp_ns: Of its frame.
        T_level_cam: (4, 4) float64.
        T_level_base: (4, 4) float64 of the robot's base; None where nobody said where the
            camera sits on it.
        K: (3, 3) float64 in pixels of the depth.
        depth_scale: Metres per unit of the keyframe's depth.
        placed: The keyframe itself.
        swept_HW: float16 depth in metres that takes the place of the keyframe's own; see `sweep`.
    """

    number: int
    view: int
    stamp_ns: int
    T_level_cam: Floats
    T_level_base: Floats | None
    K: Floats
    depth_scale: float
    placed: PlacedKeyframe
    swept_HW: NDArray[np.float16] | None = None

    @property
    def depth_HW(self) -> NDArray[np.float32]:
        """(H, W) float32 z-depth in metres; 0 where there is none."""
        return self.depth_at(...)

    def depth_at(self, pixels: Any) -> NDArray[np.float32]:
        """The same of some pixels alone, given as numpy takes them."""
        if self.swept_HW is not None:
            return np.asarray(self.swept_HW[pixels], np.float32)
        kept = self.placed.keyframe.views[self.view].depth_HW[pixels]
        depth: NDArray[np.float32] = kept.astype(np.float32)
        depth *= np.float32(self.depth_scale)
        depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
        return depth

    @property
    def confidence_HW(self) -> NDArray[np.uint8]:
        """(H, W) uint8; 255 is 1."""
        return self.placed.keyframe.views[self.view].confidence_HW

    @property
    def color_HW3(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return self.placed.keyframe.views[self.view].color_HW3

    def rays(self) -> Floats:
        """(H, W, 3) float64 directions of the pixels in camera axes, z = 1."""
        height, width = self.placed.keyframe.views[self.view].depth_HW.shape
        rays = np.ones((height, width, 3))
        rays[..., 0] = (np.arange(width) - self.K[0, 2]) / self.K[0, 0]
        rays[..., 1] = ((np.arange(height) - self.K[1, 2]) / self.K[1, 1])[:, None]
        return rays

    def points(self, keep_HW: NDArray[np.bool_], depth_HW: NDArray[np.float32]) -> Floats:
        """(P, 3) float64 chosen pixels in camera axes, metres, row by row."""
        return self.rays()[keep_HW] * depth_HW[keep_HW, None]


def metric_views(world: World) -> list[MetricView]:
    """The views of the segment that is being added to, by number of their keyframe.

    Raises:
        NoScaleError: The scale does not carry.
    """
    if not world.scale.metric:
        raise NoScaleError(f"no map in metres: {world.scale.reason or 'the scale is unknown'}")
    return views_in(world, world.scale.metres_per_unit)


def views_in(world: World, metres: float) -> list[MetricView]:
    """The same in a unit of one's own, for eyes: with 1 what is called metres is map units.

    Args:
        world: The map.
        metres: In one map unit.
    """
    views = []
    ours = [placed for placed in world.keyframes if placed.segment == world.segment]
    ours.sort(key=lambda item: item.keyframe.number)
    T_level_bodies = [metric(world.T_level_map @ placed.T_map_body, metres) for placed in ours]
    of_views = poses_of_views([placed.keyframe for placed in ours], T_level_bodies)
    for placed, T_level_body, at_views in zip(ours, T_level_bodies, of_views, strict=True):
        T_level_base = None
        if world.T_base_body is not None:
            T_level_base = T_level_body @ inverse(world.T_base_body)
        for index, view in enumerate(placed.keyframe.views):
            views.append(
                MetricView(
                    number=placed.keyframe.number,
                    view=index,
                    stamp_ns=view.stamp_ns,
                    T_level_cam=at_views[index] @ view.T_body_cam,
                    T_level_base=T_level_base,
                    K=view.K,
                    depth_scale=metres * float(np.exp(placed.log_depth_scale)),
                    placed=placed,
                )
            )
    return views
