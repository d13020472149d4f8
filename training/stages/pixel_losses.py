# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Losses of single pixels that the paper lacks: log depth, surfaces, confidence, nothing there.

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
    "invalid_loss",
    "log_depth_loss",
    "surface_loss",
]

_ONE_SURFACE = 0.03  # largest span of depth, over depth, of a block that lies on one surface


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


def surface_loss(points_BNHW3: Tensor, truth_BNHW3: Tensor, valid_BNHW: Tensor) -> Tensor:
    """Mean angle, rad, between predicted and true normals of 2x2 blocks on one surface.

    A block's normal is the cross product of its diagonals, the area-weighted mean of the normals of
    its four triangles. Blocks whose true depth spans 3 % or more are edges and do not count; the
    evaluation's `normal_angles_deg` draws the same line.

    Args:
        points_BNHW3: Predicted points of neighbouring pixels in camera axes, any scale.
        truth_BNHW3: True points of the same pixels.
        valid_BNHW: bool, pixels whose truth is known.
    """
    four = _corners(truth_BNHW3[..., 2])
    far = four.amax(dim=0)
    flat = _corners(valid_BNHW).all(dim=0) & (far - four.amin(dim=0) < _ONE_SURFACE * far)
    mine, theirs = _block_normals(points_BNHW3.float()), _block_normals(truth_BNHW3.float())
    sine = (torch.linalg.cross(mine, theirs, dim=-1).square().sum(-1) + 1e-12).sqrt()
    angle = torch.atan2(sine, (mine * theirs).sum(-1))
    return shared_mean(torch.where(flat, angle, 0.0).sum(), flat.sum())


def _corners(map_BNHW: Tensor) -> Tensor:
    """(4, B, N, H-1, W-1) values at the corners of each 2x2 block."""
    top, bottom = map_BNHW[..., :-1, :], map_BNHW[..., 1:, :]
    return torch.stack((top[..., :-1], top[..., 1:], bottom[..., 1:], bottom[..., :-1]))


def _block_normals(points_BNHW3: Tensor) -> Tensor:
    """(B, N, H-1, W-1, 3) unit normals; away from the camera where the surface faces it."""
    top, bottom = points_BNHW3[..., :-1, :, :], points_BNHW3[..., 1:, :, :]
    falling = bottom[..., 1:, :] - top[..., :-1, :]
    rising = bottom[..., :-1, :] - top[..., 1:, :]
    return F.normalize(torch.linalg.cross(falling, rising, dim=-1), dim=-1, eps=1e-9)


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
