# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth metrics, after one median scale per window.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DepthScore", "depth_score", "median_scale"]


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
