# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Relative-pose metrics over all pairs of a window (PoseDiffusion's RRA, RTA and AUC).

Shape letters: N frames, K pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PairErrors", "PoseScore", "pair_errors", "pose_score", "relative_errors"]


@dataclass(frozen=True)
class PairErrors:
    """Errors of the pairs i < j of a window.

    Args:
        rotation_K: Degrees.
        direction_K: Angle between the translation directions, degrees; 90 where the
            prediction does not move (it has no direction).
        baseline_K: True distance of the two cameras, units of the truth.
    """

    rotation_K: Tensor
    direction_K: Tensor
    baseline_K: Tensor


@dataclass(frozen=True)
class PoseScore:
    """Summary over many pairs.

    Args:
        rotation_median_deg: Median rotation error.
        rra5: Share of pairs with a rotation error below 5 degrees.
        rta30: Share of pairs with a direction error below 30 degrees.
        auc30: Area under the curve of pairs whose larger error is below t, t up to 30 degrees.
        direction_median_deg: Median direction error.
        pairs, baseline_pairs: Pairs in all, and those long enough for rta30 and auc30.
    """

    rotation_median_deg: float
    rra5: float
    rta30: float
    auc30: float
    direction_median_deg: float
    pairs: int
    baseline_pairs: int


def pair_errors(predicted_N44: Tensor, truth_N44: Tensor) -> PairErrors:
    """Compare the relative poses of all pairs i < j.

    Args:
        predicted_N44, truth_N44: Camera-to-world, each in any world frame and scale.
    """
    count = len(predicted_N44)
    first, second = torch.triu_indices(count, count, 1)
    mine = _relative(predicted_N44.double(), first, second)
    return relative_errors(mine, _relative(truth_N44.double(), first, second))


def relative_errors(mine: Tensor, theirs: Tensor) -> PairErrors:
    """Compare relative poses (K, 4, 4) of pairs with the true ones; scale does not count."""
    mine, theirs = mine.double(), theirs.double()
    residual = mine[:, :3, :3].mT @ theirs[:, :3, :3]
    t_mine, t_theirs = mine[:, :3, 3], theirs[:, :3, 3]
    lengths = t_mine.norm(dim=-1) * t_theirs.norm(dim=-1)
    cosine = (t_mine * t_theirs).sum(-1) / lengths.clamp(min=1e-12)
    direction = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    still = t_mine.norm(dim=-1) < 1e-9
    direction = torch.where(still, torch.full_like(direction, 90.0), direction)
    return PairErrors(_angle_deg(residual), direction, t_theirs.norm(dim=-1))


def pose_score(errors: Sequence[PairErrors], min_baseline: float) -> PoseScore:
    """Summarise pairs of many windows.

    Args:
        errors: One per window.
        min_baseline: Pairs with a shorter true baseline count for rotation only.

    Raises:
        ValueError: No pair at all.
    """
    if not errors or not any(len(item.rotation_K) for item in errors):
        raise ValueError("no pair of frames to score; windows need at least 2 frames")
    rotation = torch.cat([item.rotation_K for item in errors])
    direction = torch.cat([item.direction_K for item in errors])
    long = torch.cat([item.baseline_K for item in errors]) > min_baseline
    worst = torch.maximum(rotation, direction)[long]
    thresholds = torch.arange(1, 31, dtype=worst.dtype)
    auc = (worst[None] < thresholds[:, None]).double().mean() if len(worst) else torch.tensor(0.0)
    has_long = bool(long.any())
    return PoseScore(
        rotation_median_deg=float(rotation.median()),
        rra5=float((rotation < 5).double().mean()),
        rta30=float((direction[long] < 30).double().mean()) if has_long else 0.0,
        auc30=float(auc),
        direction_median_deg=float(direction[long].median()) if has_long else 90.0,
        pairs=len(rotation),
        baseline_pairs=int(long.sum()),
    )


def _relative(T_N44: Tensor, first: Tensor, second: Tensor) -> Tensor:
    relative: Tensor = torch.linalg.inv(T_N44[first]) @ T_N44[second]
    return relative


def _angle_deg(R: Tensor) -> Tensor:
    axis = torch.stack(
        (R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]), dim=-1
    )
    cosine = 0.5 * (R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return torch.rad2deg(torch.atan2(0.5 * axis.norm(dim=-1), cosine))
