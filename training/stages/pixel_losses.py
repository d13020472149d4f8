# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Losses of single pixels that the paper lacks: log depth, slopes, confidence, nothing there.

Log depth and confidence look at the depth z of a window after one scale, the median of
log z* - log z over its known pixels (Eigen et al. 2014 take the mean). None of the losses needs
poses or a second frame.

Shape letters: B windows, N frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..run.distribution import shared_mean

__all__ = [
    "aligned_log_error",
    "confidence_loss",
    "gradient_loss",
    "invalid_loss",
    "log_depth_loss",
]

_APART = (1, 2, 4, 8)  # pixels
_EDGE = 0.03  # change of true log depth a pixel from which two neighbours are an edge
_STEEP = 0.02  # change of log depth a pixel from which the loss of slopes is linear


def aligned_log_error(z_BNHW: Tensor, z_true_BNHW: Tensor, valid_BNHW: Tensor) -> Tensor:
    """Log of z over z*, less its median over each window; 0 where the truth is unknown.

    The median carries no gradient. For the L1 loss that changes nothing: as many pixels pull up as
    down there.

    Args:
        z_BNHW: Predicted depth, more than 0.
        z_true_BNHW: True depth in any unit.
        valid_BNHW: bool, pixels whose truth is known.
    """
    log = z_BNHW.float().clamp(min=1e-6).log()
    error = log - torch.where(valid_BNHW, z_true_BNHW, 1.0).float().clamp(min=1e-6).log()
    middle = torch.zeros(len(error), device=error.device)
    for index, (mine, valid) in enumerate(zip(error.detach(), valid_BNHW, strict=True)):
        if bool(valid.any()):
            middle[index] = mine[valid].median()
    return torch.where(valid_BNHW, error - middle[:, None, None, None], 0.0)


def log_depth_loss(error_BNHW: Tensor, valid_BNHW: Tensor) -> Tensor:
    """Mean of |error| over known pixels: relative errors, the same for near and far."""
    return shared_mean(error_BNHW.abs().sum(), valid_BNHW.sum())


def gradient_loss(z_BNHW: Tensor, z_true_BNHW: Tensor, valid_BNHW: Tensor) -> Tensor:
    """Slopes of log z - log z* along surfaces: mean Huber loss over pixels 1, 2, 4 and 8 apart.

    Pairs with an edge or an unknown pixel between them do not count: true depth that changes by 3 %
    or more from one pixel to the next is an edge. The loss is quadratic up to a slope of 2 % a
    pixel, so a misfit costs least where it is spread over a surface. With a bounded loss, as that
    of an angle between normals, it costs least as one step at the border of two patches, and a
    decoder of patches learns those steps.

    Args:
        z_BNHW: Predicted depth of neighbouring pixels, more than 0, any scale.
        z_true_BNHW: True depth of the same pixels in any unit.
        valid_BNHW: bool, pixels whose truth is known.

    Source: gradients of log depth at several scales, Li and Snavely 2018 (arXiv 1804.00607).
    """
    true = torch.where(valid_BNHW, z_true_BNHW, 1.0).float().clamp(min=1e-6).log()
    error = z_BNHW.float().clamp(min=1e-6).log() - true
    total, count = error.new_zeros(()), valid_BNHW.sum().new_zeros(())
    for axis in (-2, -1):
        near, far = _pairs(valid_BNHW, 1, axis)
        smooth = near & far & (_difference(true, 1, axis).abs() < _EDGE)
        edges = F.pad((~smooth).cumsum(axis).movedim(axis, -1), (1, 0)).movedim(-1, axis)
        for apart in _APART:
            if error.shape[axis] <= apart:
                continue
            counts = _difference(edges, apart, axis) == 0
            slope = _difference(error, apart, axis) / apart
            cost = F.huber_loss(slope, torch.zeros_like(slope), reduction="none", delta=_STEEP)
            total = total + torch.where(counts, cost, 0.0).sum() / _STEEP
            count = count + counts.sum()
    return shared_mean(total, count)


def _pairs(map_BNHW: Tensor, apart: int, axis: int) -> tuple[Tensor, Tensor]:
    """Values of pixels, and of those so many pixels further along an axis."""
    size = map_BNHW.shape[axis] - apart
    return map_BNHW.narrow(axis, 0, size), map_BNHW.narrow(axis, apart, size)


def _difference(map_BNHW: Tensor, apart: int, axis: int) -> Tensor:
    near, far = _pairs(map_BNHW, apart, axis)
    return far - near


def confidence_loss(
    logits_BNHW: Tensor,
    error_BNHW: Tensor,
    valid_BNHW: Tensor,
    invalid_BNHW: Tensor,
    scale: float,
) -> Tensor:
    """Cross-entropy of the confidence with exp(-|error| / scale), 0 where nothing is.

    The optimum is the expected value of that score given the picture, so the confidence falls as
    the error to be expected grows, and it is a number in 0..1 like the target. A step at a bound
    (the target of pi^3, arXiv 2507.13347, section 3.3) says nothing about order on either side.

    Args:
        logits_BNHW: Of the confidence.
        error_BNHW: From `aligned_log_error`; no gradient flows into it.
        valid_BNHW: bool, pixels whose truth is known.
        invalid_BNHW: bool, pixels known to show nothing.
        scale: Error at which the target is 1/e.
    """
    target = (-error_BNHW.detach().abs() / scale).exp() * valid_BNHW
    return _cross_entropy(logits_BNHW, target, valid_BNHW | invalid_BNHW)


def invalid_loss(logits_BNHW: Tensor, valid_BNHW: Tensor, invalid_BNHW: Tensor) -> Tensor:
    """Cross-entropy of "nothing is there" over the pixels of which that is known."""
    return _cross_entropy(logits_BNHW, invalid_BNHW.float(), valid_BNHW | invalid_BNHW)


def _cross_entropy(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return shared_mean(torch.where(counts, loss, 0.0).sum(), counts.sum())
