# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the features of one keyframe should be found in another one.

Patterns that repeat (facades, fences, road markings) match a period off, along the epipolar line
of a camera that drives forward, with as many inliers as the truth; no two pictures alone tell. So
features are first looked for where something else leads to:

- `followed`: features that were followed through all pictures between the two keyframes, and the
  dense flow between their small pictures that begins there;
- `foreseen`: the model's depth and a pose that the edges of neighbours give.

Shape letters: H W pixels, F features, M tracks, K places.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..keyframes import PictureTracks
from .keyframe import View
from .pair_geometry import rays

__all__ = ["carried", "depth_at", "followed", "foreseen"]

Floats = NDArray[np.float64]

_LEAST_FLOW_PX = 32  # of a picture that flow is measured in
_GRID_PX = 8  # between the places that tracks are spread over
_NEAREST = 4  # tracks that say where a place went
_SAME_PLACE = 1e-3  # of the picture: nearer tracks count no more


def followed(
    view_i: View, view_j: View, tracks: Sequence[PictureTracks] = ()
) -> NDArray[np.float32]:
    """(F, 2) where i's features lead to in j by dense flow (DIS, Kroeger et al. 2016), pixels.

    Args:
        view_i, view_j: Of two keyframes.
        tracks: From i's picture to j's, by way of the keyframes between; the flow begins there.
            They are of the pictures as they came: where the lens bends them, a few pixels off.
    """
    pictures = [cv2.cvtColor(view.color_HW3, cv2.COLOR_RGB2GRAY) for view in (view_i, view_j)]
    if pictures[0].shape != pictures[1].shape or min(pictures[0].shape) < _LEAST_FLOW_PX:
        return view_i.feature_F2
    flower = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flower.setFinestScale(0)
    height, width = pictures[0].shape
    start = _flow_of(tracks, (height, width))
    flow = np.asarray(flower.calc(pictures[0], pictures[1], start), np.float32)
    stretch = np.array([view_i.image_hw[1] / width, view_i.image_hw[0] / height], np.float32)
    place = np.floor((view_i.feature_F2 + 0.5) / stretch).astype(np.int64)
    column, row = np.clip(place, 0, (width - 1, height - 1)).T
    led: NDArray[np.float32] = view_i.feature_F2 + flow[row, column] * stretch
    return led


def carried(place_K2: Floats, tracks: Sequence[PictureTracks]) -> Floats:
    """(K, 2) where places went, shares of the picture: as the tracks next to them did."""
    place = np.array(place_K2, np.float64)
    for step in tracks:
        square = ((place[:, None] - step.start_M2) ** 2).sum(axis=2)
        count = min(_NEAREST, square.shape[1])
        near = np.argpartition(square, count - 1, axis=1)[:, :count]
        weight = 1 / (np.take_along_axis(square, near, axis=1) + _SAME_PLACE**2)
        weight /= weight.sum(axis=1, keepdims=True)
        place += np.einsum("kn,knd->kd", weight, (step.end_M2 - step.start_M2)[near])
    return place


def foreseen(view_i: View, view_j: View, T_i_j: Floats, units: float) -> NDArray[np.float32]:
    """(F, 2) where i's features should be in j, pixels; far away where that is not known.

    Args:
        view_i, view_j: Of two keyframes.
        T_i_j: (4, 4) pose of j in i, map units.
        units: Map units per unit of i's depth.
    """
    depth = depth_at(view_i, view_i.feature_F2) * units
    point = rays(view_i.feature_F2, view_i.K_image) * depth[:, None]
    there = (point - T_i_j[:3, 3]) @ T_i_j[:3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixel = (there @ view_j.K_image.T)[:, :2] / there[:, 2:]
        good = np.isfinite(pixel).all(axis=1) & (there[:, 2] > 0)
    return np.where(good[:, None], pixel, -1e6).astype(np.float32)


def depth_at(view: View, pixel_K2: NDArray[np.floating]) -> Floats:
    """(K,) z-depth of the nearest pixel, units of its pass; NaN where there is none.

    Args:
        view: Whose depth covers its whole picture.
        pixel_K2: (u, v) in pixels of the matched frame.
    """
    size = np.array(view.depth_HW.shape[::-1], np.float64)
    scale = size / np.array(view.image_hw[::-1], np.float64)
    place = np.clip(np.floor((pixel_K2 + 0.5) * scale), 0, size - 1).astype(np.int64)
    found = np.asarray(view.depth_HW[place[:, 1], place[:, 0]], np.float64)
    return np.where(np.isfinite(found) & (found > 0), found, np.nan)


def _flow_of(tracks: Sequence[PictureTracks], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 2) flow that tracks lead to, pixels; 0 without any."""
    height, width = size_hw
    if not tracks:
        return np.zeros((height, width, 2), np.float32)
    rows, columns = max(2, height // _GRID_PX), max(2, width // _GRID_PX)
    v, u = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns,
                       indexing="ij")  # fmt: skip
    place = np.stack((u, v), axis=2).reshape(-1, 2)
    moved = (carried(place, tracks) - place) * (width, height)
    coarse = moved.reshape(rows, columns, 2).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
