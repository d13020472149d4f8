# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measured depth over the model's depth at the same pixels: what all depth sources share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...mapping.keyframe import View
from ...poses import Floats

__all__ = ["DepthRatio", "compare", "compared", "in_millimetres"]

_LEAST_PIXELS = 15
_MOST_SPREAD = 0.6  # of the log ratio over the picture; more, and the two see different things
_LEAST_SIGMA = 0.02
_PATCH_PX = 8  # the model's errors are alike within a patch about so wide
_LEAST_CONFIDENCE = 40  # of 255
_MOST_METRES = 150.0  # median range of a picture; no robot's depth sensor reaches further


@dataclass(frozen=True)
class DepthRatio:
    """Metres per unit of a view's depth as it is kept.

    Args:
        log_metric: Natural log of it, the median over pixels.
        sigma: Standard deviation of that median, from the scatter over patches.
        pixels: How many were compared.
        spread: Standard deviation of the log ratio over pixels, by its median deviation.
    """

    log_metric: float
    sigma: float
    pixels: int
    spread: float


def compare(view: View, pixel_M2: Floats, depth_M: Floats) -> DepthRatio | None:
    """Hold measured depth against a view's.

    Args:
        view: Of a keyframe.
        pixel_M2: (u, v) in pixels of the model's picture.
        depth_M: z-depth in metres there, in the view's axes.

    Returns:
        None where too few pixels can be compared, or they do not fit one factor.
    """
    found = compared(view, pixel_M2, depth_M)
    if found is None:
        return None
    row, column, log_M = found
    middle = float(np.median(log_M))
    spread = 1.4826 * float(np.median(np.abs(log_M - middle)))
    if spread > _MOST_SPREAD:
        return None
    width = view.depth_HW.shape[1]
    patches = np.unique(row // _PATCH_PX * width + column // _PATCH_PX).size
    sigma = math.hypot(1.2533 * spread / math.sqrt(patches), _LEAST_SIGMA)
    return DepthRatio(middle, sigma, len(log_M), spread)


def compared(
    view: View, pixel_M2: Floats, depth_M: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
    """Where a view's depth can be held against measured depth, and their ratio there.

    Args:
        view, pixel_M2, depth_M: See `compare`.

    Returns:
        Rows, columns, and the log of metres per unit; None where those are too few.
    """
    height, width = view.depth_HW.shape
    with np.errstate(invalid="ignore"):
        near = np.isfinite(depth_M) & (depth_M > 0) & np.isfinite(pixel_M2).all(axis=1)
        near &= (pixel_M2 > -0.5).all(axis=1)
        near &= (pixel_M2[:, 0] < width - 0.5) & (pixel_M2[:, 1] < height - 0.5)
    column, row = np.rint(pixel_M2[near]).astype(np.int64).T
    kept = view.depth_HW[row, column].astype(np.float64)
    both = np.isfinite(kept) & (kept > 0) & (view.confidence_HW[row, column] >= _LEAST_CONFIDENCE)
    if int(both.sum()) < _LEAST_PIXELS:
        return None
    return row[both], column[both], np.log(depth_M[near][both] / kept[both])


def in_millimetres(range_M: NDArray[np.floating]) -> str:
    """Why ranges that are said to be metres are none; "" where they may be.

    Nothing that a robot carries sees 150 m in the middle of a picture; and ranges that are whole
    numbers throughout, far beyond a few metres, were integers once.
    """
    good = range_M[np.isfinite(range_M) & (range_M > 0)]
    if good.size < _LEAST_PIXELS:
        return ""
    middle = float(np.median(good))
    if middle > _MOST_METRES:
        return f"the median range is {middle:.0f} m: these are millimetres, not metres"
    if middle > 10 and bool((good == np.rint(good)).all()):
        return (
            f"ranges are whole numbers with a median of {middle:.0f}: these are millimetres, not "
            "metres"
        )
    return ""
