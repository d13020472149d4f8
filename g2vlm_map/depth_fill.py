# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measured depth in the place of a picture's own: laid over it, held against it, filled up from it.

A sensor's depth has holes (black, shiny, too near, too far); the model's has none, and is right up
to a factor and to errors that change slowly over the picture. Where both have a value the log of
their ratio is the factor and those errors; smoothed over the picture by a normalised Gaussian
(Knutsson and Westin, "Normalized and differential convolution", CVPR 1993) it corrects the model
where the sensor has none, and there is no step where one begins and the other ends.

Shape letters: H W pixels of the model's picture, h w of the sensor's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .sensing import DepthSample

__all__ = ["DepthFit", "filled", "fit", "laid_over"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_REACH = 0.1  # of the picture's width: standard deviation of what is slow
_PULL = 0.02  # weight of no correction, a share of a picture that is full of readings
_OUTLIER = 3.0  # robust standard deviations, beyond which a ratio counts as that far off
_NEAREST_M = 1e-3
_PLENTY = 5000  # pixels that say enough of a fit


@dataclass(frozen=True)
class DepthFit:
    """How measured depth lies to the model's at the same pixels.

    Args:
        log_metres: Natural log of metres per unit of the model's depth, the median over pixels.
        spread: Standard deviation of the log ratio over pixels, by its median deviation.
        correlation: Rank correlation (Spearman) of the two depths; NaN where one is flat.
        pixels: How many have both.
    """

    log_metres: float
    spread: float
    correlation: float
    pixels: int


def laid_over(sample: DepthSample, K: Floats, size_hw: tuple[int, int]) -> Floats32:
    """Measured depth on the pixels of a picture; 0 where there is no reading.

    Args:
        sample: Registered to the picture's camera, or with its own place beside it: then its
            points are moved into the camera's axes, and the nearest one that falls on a pixel is
            taken.
        K: (3, 3) of the picture, without skew.
        size_hw: (H, W) of it.
    """
    depth_hw = np.asarray(sample.depth_HW, np.float32)
    depth_hw = np.where(np.isfinite(depth_hw) & (depth_hw > _NEAREST_M), depth_hw, np.float32(0))
    if sample.T_cam_depth is not None and not np.allclose(sample.T_cam_depth, np.eye(4), atol=1e-6):
        return _moved_over(depth_hw, sample.K, sample.T_cam_depth, K, size_hw)
    places = []
    for axis, side in ((1, size_hw[0]), (0, size_hw[1])):
        ray = (np.arange(side) - K[axis, 2]) / K[axis, axis]
        places.append(np.rint(ray * sample.K[axis, axis] + sample.K[axis, 2]).astype(np.int64))
    inside = [(at >= 0) & (at < side) for at, side in zip(places, depth_hw.shape, strict=True)]
    row, column = (at.clip(0, side - 1) for at, side in zip(places, depth_hw.shape, strict=True))
    laid: Floats32 = depth_hw[row[:, None], column] * (inside[0][:, None] & inside[1])
    return laid


def fit(measured_HW: Floats32, model_HW: Floats32) -> DepthFit | None:
    """Hold measured depth against the model's; None where no pixel has both.

    Args:
        measured_HW: Metres; 0: none.
        model_HW: Any unit; 0: none.
    """
    both = (measured_HW > 0) & (model_HW > 0)
    count = int(both.sum())
    if not count:
        return None
    step = 1 + count // _PLENTY
    measured = measured_HW[both][::step].astype(np.float64)
    model = model_HW[both][::step].astype(np.float64)
    log_ratio = np.log(measured / model)
    middle = float(np.median(log_ratio))
    spread = 1.4826 * float(np.median(np.abs(log_ratio - middle)))
    flat = np.ptp(measured) == 0 or np.ptp(model) == 0
    correlation = math.nan
    if not flat and len(measured) > 1:
        correlation = float(np.corrcoef(_ranks(measured), _ranks(model))[0, 1])
    return DepthFit(middle, spread, correlation, count)


def filled(measured_HW: Floats32, model_HW: Floats32, fitted: DepthFit) -> Floats32:
    """(H, W) metres: measured where there is a reading, elsewhere the model's, brought to it.

    Args:
        measured_HW: Metres; 0: none.
        model_HW: Any unit; 0: none, and then none comes of it.
        fitted: The two held against each other.
    """
    both = (measured_HW > 0) & (model_HW > 0)
    off_HW = np.zeros(measured_HW.shape, np.float32)
    off_HW[both] = np.log(measured_HW[both] / model_HW[both]) - np.float32(fitted.log_metres)
    limit = _OUTLIER * max(fitted.spread, 1e-3)
    slow_HW = _smooth(off_HW.clip(-limit, limit)) / (_smooth(both.astype(np.float32)) + _PULL)
    brought_HW = model_HW * np.exp(np.float32(fitted.log_metres) + slow_HW)
    made: Floats32 = np.where(measured_HW > 0, measured_HW, brought_HW)
    return made


def _ranks(values_M: Floats) -> Floats:
    return values_M.argsort(kind="stable").argsort(kind="stable").astype(np.float64)


def _smooth(values_HW: Floats32) -> Floats32:
    """The Gaussian mean around every pixel, by a small picture: what is slow needs no more."""
    height, width = values_HW.shape
    step = max(1, width // 64)
    small = (max(1, width // step), max(1, height // step))
    mean = cv2.resize(values_HW, small, interpolation=cv2.INTER_AREA)
    sigma = _REACH * small[0]
    mean = cv2.GaussianBlur(mean, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _moved_over(
    depth_hw: Floats32, K_sensor: Floats, T_cam_depth: Floats, K: Floats, size_hw: tuple[int, int]
) -> Floats32:
    """Depth of a sensor beside the camera: its points in the camera's axes, the nearest one."""
    finer = max(1, math.ceil(max(K[0, 0] / K_sensor[0, 0], K[1, 1] / K_sensor[1, 1])))
    row, column = np.nonzero(np.repeat(np.repeat(depth_hw > 0, finer, 0), finer, 1))
    z = depth_hw[row // finer, column // finer].astype(np.float64)
    x = ((column + 0.5) / finer - 0.5 - K_sensor[0, 2]) / K_sensor[0, 0] * z
    y = ((row + 0.5) / finer - 0.5 - K_sensor[1, 2]) / K_sensor[1, 1] * z
    points = np.stack((x, y, z), axis=1) @ T_cam_depth[:3, :3].T + T_cam_depth[:3, 3]
    points = points[points[:, 2] > _NEAREST_M]
    u = np.rint(points[:, 0] / points[:, 2] * K[0, 0] + K[0, 2])
    v = np.rint(points[:, 1] / points[:, 2] * K[1, 1] + K[1, 2])
    inside = (u >= 0) & (u < size_hw[1]) & (v >= 0) & (v < size_hw[0])
    laid = np.full(size_hw, np.inf, np.float32)
    at = (v[inside].astype(np.int64), u[inside].astype(np.int64))
    np.minimum.at(laid, at, points[inside, 2].astype(np.float32))
    laid[~np.isfinite(laid)] = 0.0
    return laid
