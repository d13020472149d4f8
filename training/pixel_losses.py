# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Losses of single pixels that the paper lacks: log depth, confidence, and what shows nothing.

All of them look at the depth z of a window after one scale, the median of log z* - log z over its
known pixels (Eigen et al. 2014 take the mean), so they need neither poses nor a second frame.

Shape letters: B windows, N frames, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .distribution import shared_mean

__all__ = ["aligned_log_error", "confidence_loss", "invalid_loss", "log_depth_loss"]


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
