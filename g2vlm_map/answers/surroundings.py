# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known around a scene beside its points: up, floor, base, room, what stands about.

A scene alone is what cameras saw. Who asks "how high is A?" means the floor, and "can you reach
it?" means the robot. `g2vlm_map.around` makes this of the map; each part is None where nobody
knows it, and the readers then say what would help.

Axes and lengths are those of the scene: the window's first camera, scene units. Shape letters: N
frames, H W pixels, M points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import GeometryPrediction

from .measure import Scale
from .passage import Nearby
from .room import RoomExtent

__all__ = ["FloorLevel", "Surroundings", "floor_of", "together"]

Floats = NDArray[np.float64]

# Of the camera's height over the floor: depth errors that its points share. On 107 windows of
# validation rooms the seen height over the true one had its tenth and its last tenth at 0.60, 1.29.
FLOOR_SIGMA = 0.25
_MOST_POINTS = 6000
_LEVEL_COS = math.cos(math.radians(25.0))  # a patch this level may be floor
_LAYER = 0.04  # thickness of a layer, of the typical depth
_LEAST_SHARE, _LEAST_POINTS = 0.08, 40  # of level points that the floor's layer holds
_BELOW_SHARE = 0.04  # of all points that may seem to lie under the floor


@dataclass(frozen=True)
class FloorLevel:
    """How high the floor lies.

    Args:
        height: Of its points along up, scene units.
        sigma: Standard deviation of it.
    """

    height: float
    sigma: float


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What is known around a scene.

    Args:
        up_3: Unit vector up; None where nothing says it.
        floor: None where no floor is known.
        T_world_base: (4, 4) of the robot's base when the newest frame was taken (x forward, z up);
            None where nobody said how the camera sits on it. Without a scale its origin is the
            camera.
        scale: What makes lengths metres; None where nothing does.
        reach: Of the robot's arm from the base's origin, metres; 0 where nobody said it.
        room: Its walls; None where they were not asked for.
        nearby: What stands around the base; None where it was not asked for.
        no_nearby: Why there is none, and what would help.
    """

    up_3: Floats | None = None
    floor: FloorLevel | None = None
    T_world_base: Floats | None = None
    scale: Scale | None = None
    reach: float = 0.0
    room: RoomExtent | None = None
    nearby: Nearby | None = None
    no_nearby: str = "ask where the map knows the robot's base (frames.base) and a scale"


def floor_of(geometry: GeometryPrediction, up_3: Floats) -> FloorLevel | None:
    """The floor as the lowest level layer that a scene shows; None where none is seen.

    Points whose patch is level are sorted into layers along up. The floor is the lowest layer that
    holds enough of them, below every camera, with hardly a point under it: a table has legs and a
    floor below, as a rule in sight.

    Args:
        geometry: Of the scene.
        up_3: Unit vector up in its axes.
    """
    point_M3, level_M = _patches(geometry, up_3)
    eyes = geometry.T_world_cam[:, :3, 3].astype(np.float64) @ up_3
    depth = geometry.local_points[..., 2][geometry.valid]
    if len(point_M3) < _LEAST_POINTS or not depth.size:
        return None
    height_M = point_M3 @ up_3
    thick = _LAYER * float(np.median(depth))
    low_M = np.sort(height_M[level_M & (height_M < eyes.min() - 2.0 * thick)])
    least = max(_LEAST_POINTS, _LEAST_SHARE * np.count_nonzero(level_M))
    # How many points lie within a layer that begins at each; the first full one is the floor.
    count_M = np.searchsorted(low_M, low_M + 2.0 * thick, side="right") - np.arange(len(low_M))
    full = np.flatnonzero(count_M >= least)
    if not len(full):
        return None
    first = int(full[0])
    best = first + int(np.argmax(count_M[first : first + max(1, int(count_M[first]))]))
    layer = low_M[best : best + int(count_M[best])]
    height = float(np.median(layer))
    if np.mean(height_M < height - 2.0 * thick) > _BELOW_SHARE:
        return None
    spread = 1.48 * float(np.median(np.abs(layer - height)))
    return FloorLevel(height, math.hypot(FLOOR_SIGMA * (float(eyes.mean()) - height), spread))


def together(seen: FloorLevel | None, said: FloorLevel | None) -> FloorLevel | None:
    """The floor by what is seen and by what the base says.

    Both weigh by their sigmas; where they lie apart by more than three of them, the base is right,
    which stands on it: what is seen is then a table or a ramp.
    """
    if seen is None or said is None:
        return said if seen is None else seen
    if abs(seen.height - said.height) > 3.0 * math.hypot(seen.sigma, said.sigma):
        return said
    weights = np.array([seen.sigma, said.sigma]) ** -2.0
    height = float(weights @ (seen.height, said.height) / weights.sum())
    return FloorLevel(height, float(weights.sum() ** -0.5))


def _patches(geometry: GeometryPrediction, up_3: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(M, 3) thinned points of all frames, and which of them lie on a level patch."""
    count, height, width = geometry.confidence.shape
    step = max(1, round(math.sqrt(count * height * width / _MOST_POINTS)))
    grid = geometry.world_points[:, ::step, ::step].astype(np.float64)
    good = geometry.valid[:, ::step, ::step] & np.isfinite(grid).all(axis=-1)
    along = grid[:, :-1, 1:] - grid[:, :-1, :-1]
    down = grid[:, 1:, :-1] - grid[:, :-1, :-1]
    normal = np.cross(along, down)
    length = np.linalg.norm(normal, axis=-1)
    whole = good[:, :-1, :-1] & good[:, :-1, 1:] & good[:, 1:, :-1] & (length > 0)
    level = np.abs(normal @ up_3) > _LEVEL_COS * length
    return grid[:, :-1, :-1][whole], level[whole]
