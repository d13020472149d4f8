# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth that the pictures of several keyframes agree on, with the model's depth as its shape.

A plane sweep (Collins, 1996) whose planes have the shape of the model's depth: the depth of a
pixel is the model's times exp(o), and each of a row of offsets o is tried for the whole picture.
A try is scored by how well the other keyframes' pictures match there (zero-mean normalised
cross-correlation in a small window, the better half of the views), and the offsets of neighbours
are held together by semi-global matching (Hirschmueller, 2008) along rows and columns. What has
no texture, no parallax or no other view keeps what its neighbours say, and in the end the model's
depth. Exposure does not matter, wrong poses and moving things match nowhere.

How long a view's depths are as a whole is a state of the map, which many views and sensors measure;
the pictures' word on it is worth no more than the K that it is read with, and a K that is wrong by
a tenth would move the whole map. So the sweep decides a depth's shape alone: its median stays.

Shape letters: H W pixels, O offsets, J other views, L lines of a picture, M pixels of a line.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .metric import MetricView

__all__ = ["sweep_partners", "swept_depth"]

Floats32 = NDArray[np.float32]
_OFFSETS = np.linspace(-0.36, 0.3, 12).astype(np.float32)  # the model errs to the far side
_WINDOW = 5  # pixels
_NOISE = 9.0  # grey levels squared: what is flatter than this matches anything
_PRIOR = 0.1  # cost of an offset of 1, squared
_STEP, _LEAP = 0.1, 0.5  # cost of neighbours one offset apart, and further
_UNSEEN = 1.0  # cost where fewer than two views look: as much as no texture says
_LEAST_VIEWS = 2
_NEAREST_M = 0.05
_BEFORE, _AFTER = 5, 3  # keyframes


def sweep_partners(views: Sequence[MetricView]) -> list[tuple[int, ...]]:
    """Whose pictures each view is swept with: indices of other views.

    The same camera's at the five keyframes before, and at the three after as soon as there are
    three: so a view is swept twice at most, once as the newest and once for good. One whose depth
    a sensor measured is not.
    """
    by_camera: dict[int, list[int]] = {}
    for index, view in enumerate(views):
        by_camera.setdefault(view.view, []).append(index)
    partners: list[tuple[int, ...]] = [()] * len(views)
    for indices in by_camera.values():
        for place, index in enumerate(indices):
            if views[index].placed.keyframe.views[views[index].view].metres:
                continue
            after = indices[place + 1 : place + 1 + _AFTER]
            before = indices[max(0, place - _BEFORE) : place]
            partners[index] = (*before, *(after if len(after) == _AFTER else ()))
    return partners


def swept_depth(view: MetricView, others: Sequence[MetricView]) -> Floats32:
    """(H, W) float32 depth of a view in metres; 0 where the model has none.

    Args:
        view: Whose depth.
        others: Views that may see the same; fewer than two leave the model's depth as it is.
    """
    depth_HW = view.depth_HW
    if len(others) < _LEAST_VIEWS:
        return depth_HW
    cost_OHW = _costs(view, depth_HW, others)
    cost_OHW += _PRIOR * (_OFFSETS**2)[:, None, None]
    offset_HW = _best(_held_together(cost_OHW))
    known_HW = depth_HW > 0
    if known_HW.any():
        offset_HW -= np.median(offset_HW[known_HW])
    swept: Floats32 = depth_HW * np.exp(offset_HW)
    return swept


def _costs(view: MetricView, depth_HW: Floats32, others: Sequence[MetricView]) -> Floats32:
    """(O, H, W) how badly the better half of the other pictures match; 0 is best, 2 worst."""
    gray_HW = _gray(view)
    mean_HW, spread_HW = _moments(gray_HW)
    rays_HW3 = view.rays().astype(np.float32)
    cost_JOHW = np.full((len(others), len(_OFFSETS), *depth_HW.shape), np.inf, np.float32)
    for number, other in enumerate(others):
        T = np.linalg.solve(other.T_level_cam, view.T_level_cam).astype(np.float32)
        T[:3] = other.K.astype(np.float32) @ T[:3]
        toward_HW3 = rays_HW3 @ T[:3, :3].T * depth_HW[..., None]
        theirs_HW = _gray(other)
        for step, factor in enumerate(np.exp(_OFFSETS)):
            uvw_HW3 = toward_HW3 * factor + T[:3, 3]
            w_HW = np.maximum(uvw_HW3[..., 2], _NEAREST_M)
            u_HW, v_HW = uvw_HW3[..., 0] / w_HW, uvw_HW3[..., 1] / w_HW
            warped_HW = np.asarray(cv2.remap(theirs_HW, u_HW, v_HW, cv2.INTER_LINEAR), np.float32)
            seen_HW = (uvw_HW3[..., 2] > _NEAREST_M) & (depth_HW > 0)
            seen_HW &= (u_HW >= 0) & (u_HW <= theirs_HW.shape[1] - 1)
            seen_HW &= (v_HW >= 0) & (v_HW <= theirs_HW.shape[0] - 1)
            mean2_HW, spread2_HW = _moments(warped_HW)
            both_HW = cv2.blur(gray_HW * warped_HW, (_WINDOW, _WINDOW)) - mean_HW * mean2_HW
            cost_JOHW[number, step][seen_HW] = (1 - both_HW / (spread_HW * spread2_HW))[seen_HW]
    return _better_half(cost_JOHW)


def _better_half(cost_JOHW: Floats32) -> Floats32:
    """Mean of the lower half of what the views say; `_UNSEEN` where fewer than two do."""
    half = max(_LEAST_VIEWS, len(cost_JOHW) // 2 + 1)
    best_JOHW = np.sort(cost_JOHW, axis=0)[:half]
    said_JOHW = np.isfinite(best_JOHW)
    count_OHW = said_JOHW.sum(axis=0)
    total_OHW = np.where(said_JOHW, best_JOHW, 0).sum(axis=0)
    mean_OHW = total_OHW / np.maximum(count_OHW, 1)
    costs: Floats32 = np.where(count_OHW >= _LEAST_VIEWS, mean_OHW, _UNSEEN).astype(np.float32)
    return costs


def _held_together(cost_OHW: Floats32) -> Floats32:
    """(O, H, W) costs with those of the best ways there from all four sides."""
    rows_LOM = np.ascontiguousarray(cost_OHW.transpose(1, 0, 2))
    total = (_along(rows_LOM) + _along(rows_LOM[::-1])[::-1]).transpose(1, 0, 2)
    columns_LOM = np.ascontiguousarray(cost_OHW.transpose(2, 0, 1))
    across = (_along(columns_LOM) + _along(columns_LOM[::-1])[::-1]).transpose(1, 2, 0)
    held: Floats32 = total + across
    return held


def _along(cost_LOM: Floats32) -> Floats32:
    """Cost of the best way through the lines so far, for each offset of each pixel."""
    way_LOM = np.empty_like(cost_LOM)
    way_LOM[0] = before_OM = cost_LOM[0]
    for line in range(1, len(cost_LOM)):
        least_M = before_OM.min(axis=0)
        cheapest_OM = np.minimum(before_OM, least_M + _LEAP)
        cheapest_OM[1:] = np.minimum(cheapest_OM[1:], before_OM[:-1] + _STEP)
        cheapest_OM[:-1] = np.minimum(cheapest_OM[:-1], before_OM[1:] + _STEP)
        before_OM = cost_LOM[line] + cheapest_OM - least_M
        way_LOM[line] = before_OM
    return way_LOM


def _best(cost_OHW: Floats32) -> Floats32:
    """(H, W) offset of least cost, between the steps by a parabola through its neighbours."""
    best_HW = cost_OHW.argmin(axis=0)
    inner_HW = np.clip(best_HW, 1, len(_OFFSETS) - 2)

    def at(shift: int) -> Floats32:
        return np.asarray(np.take_along_axis(cost_OHW, (inner_HW + shift)[None], axis=0)[0])

    below, here, above = at(-1), at(0), at(1)
    bend = np.maximum(below - 2 * here + above, 1e-6)
    between = np.clip(0.5 * (below - above) / bend, -0.5, 0.5)
    step = _OFFSETS[1] - _OFFSETS[0]
    offset: Floats32 = np.where(
        best_HW == inner_HW, _OFFSETS[inner_HW] + between * step, _OFFSETS[best_HW]
    ).astype(np.float32)
    return offset


def _gray(view: MetricView) -> Floats32:
    gray: Floats32 = cv2.cvtColor(view.color_HW3, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return gray


def _moments(gray_HW: Floats32) -> tuple[Floats32, Floats32]:
    """Mean and standard deviation in the window, the noise of a camera added."""
    mean_HW = np.asarray(cv2.blur(gray_HW, (_WINDOW, _WINDOW)), np.float32)
    square_HW = cv2.blur(gray_HW * gray_HW, (_WINDOW, _WINDOW))
    spread_HW = np.sqrt(np.maximum(square_HW - mean_HW * mean_HW, 0) + _NOISE)
    return mean_HW, spread_HW
