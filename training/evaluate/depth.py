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

__all__ = ["DepthScore", "depth_score", "mean_depth", "median_scale", "seam_steps"]


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


def seam_steps(depth_NHW: Tensor, valid_NHW: Tensor, patch: int) -> tuple[float, float] | None:
    """Mean step of log depth between neighbours, across borders of patches and inside of them.

    A model that draws each patch for itself has steps at the borders that truth does not know; no
    metric of single pixels sees them.

    Args:
        depth_NHW: z-depth, up to scale.
        valid_NHW: bool; a pair counts where both pixels are valid.
        patch: Pixels of a side of a patch; the first one begins at the corner.

    Returns:
        Both means; None where no pair of either kind is valid.
    """
    log_NHW = depth_NHW.clamp(min=1e-6).log()
    steps: tuple[list[Tensor], list[Tensor]] = ([], [])
    for axis in (1, 2):
        size = depth_NHW.shape[axis]
        step = log_NHW.diff(dim=axis).abs()
        both = valid_NHW.narrow(axis, 1, size - 1) & valid_NHW.narrow(axis, 0, size - 1)
        across = torch.arange(1, size) % patch == 0
        for kept, pairs in zip(steps, (across, ~across), strict=True):
            index = pairs.nonzero()[:, 0]
            kept.append(step.index_select(axis, index)[both.index_select(axis, index)])
    across_M, inside_M = (torch.cat(kept) for kept in steps)
    if not len(across_M) or not len(inside_M):
        return None
    return float(across_M.mean()), float(inside_M.mean())


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
