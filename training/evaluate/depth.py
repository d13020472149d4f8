# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth metrics, after one median scale per window, and the map that looks at no picture.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["DepthScore", "depth_score", "mean_depth", "median_scale"]


@dataclass(frozen=True)
class DepthScore:
    """AbsRel (lower is better) and the share of pixels within a factor of 1.25."""

    abs_rel: float
    delta_125: float


def median_scale(predicted: Tensor, truth: Tensor, valid: Tensor) -> float:
    """Median of truth / prediction over the valid pixels.

    Raises:
        ValueError: No valid pixel.
    """
    if not bool(valid.any()):
        raise ValueError("no valid pixel to fix the scale of a window with")
    return float((truth[valid] / predicted[valid].clamp(min=1e-6)).median())


def depth_score(predicted_NHW: Tensor, truth_NHW: Tensor, valid_NHW: Tensor) -> DepthScore:
    """Score a window's depth maps under one common scale.

    Raises:
        ValueError: No valid pixel.
    """
    scale = median_scale(predicted_NHW, truth_NHW, valid_NHW)
    predicted = predicted_NHW[valid_NHW].clamp(min=1e-6) * scale
    truth = truth_NHW[valid_NHW]
    abs_rel = ((predicted - truth).abs() / truth).mean()
    ratio = torch.maximum(predicted / truth, truth / predicted)
    return DepthScore(float(abs_rel), float((ratio < 1.25).float().mean()))


def mean_depth(depths: Iterable[Tensor], size: tuple[int, int] | None = None) -> Tensor:
    """(H, W) exp of the mean log-depth of frames, each divided by its median.

    Args:
        depths: (H, W) z-depth of single frames, up to scale; 0 where unknown or sky, which is left
            out. Frames without any are passed over.
        size: (H, W) to which all are resized; None: the first one's.

    Returns:
        Up to scale; pixels that no frame knows have the mean of those that some do.

    Raises:
        ValueError: Depth is known nowhere.
    """
    total = count = torch.zeros(0)
    looked = 0
    for depth_HW in depths:
        looked += 1
        known = depth_HW > 0
        if not bool(known.any()):
            continue
        relative = torch.where(known, depth_HW / depth_HW[known].median(), 1.0)
        if not total.numel():
            total = torch.zeros(size or depth_HW.shape)
            count = torch.zeros_like(total)
        # Of the logarithms and of the weights, so that what is unknown weighs nothing.
        layers = torch.stack((relative.log(), known.to(relative)))[:, None]
        if depth_HW.shape != total.shape:
            layers = interpolate(layers, total.shape, mode="bilinear", align_corners=False)
        total += layers[0, 0]
        count += layers[1, 0]
    if not bool((count > 0).any()):
        raise ValueError(f"depth is known in none of {looked} frames that were looked at")
    log_mean = total / count.clamp(min=torch.finfo(count.dtype).tiny)
    return torch.where(count > 0, log_mean, log_mean[count > 0].mean()).exp()
