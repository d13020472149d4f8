# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Relative-pose errors over all pairs of a window, which RRA, RTA and AUC are made of.

Two conventions for directions stand side by side. The cited one (PoseDiffusion, Wang et al. 2023,
arXiv 2306.15667, whose code VGGT's and the paper's tables take over) folds the angle at 90 degrees,
as if the sign of a translation were unknown, and counts all pairs: "folded". Ours reads 0 to 180
degrees, and leaves out pairs whose cameras hardly move: "signed".

Shape letters: N frames, K pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PairErrors", "pair_errors", "relative_errors"]


@dataclass(frozen=True)
class PairErrors:
    """Errors of the pairs i < j of a window.

    Args:
        rotation_K: Degrees.
        direction_K: Angle between the translation directions, degrees, 0 to 180; 90 where one
            of the two does not move (it has no direction).
        baseline_K: True distance of the two cameras, units of the truth.
    """

    rotation_K: Tensor
    direction_K: Tensor
    baseline_K: Tensor

    @property
    def folded_K(self) -> Tensor:
        """Directions as the cited protocol has them, 0 to 90 degrees."""
        return torch.minimum(self.direction_K, 180 - self.direction_K)


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
    still = torch.minimum(t_mine.norm(dim=-1), t_theirs.norm(dim=-1)) < 1e-9
    direction = torch.where(still, torch.full_like(direction, 90.0), direction)
    return PairErrors(_angle_deg(residual), direction, t_theirs.norm(dim=-1))


def _relative(T_N44: Tensor, first: Tensor, second: Tensor) -> Tensor:
    relative: Tensor = torch.linalg.inv(T_N44[first]) @ T_N44[second]
    return relative


def _angle_deg(R: Tensor) -> Tensor:
    axis = torch.stack(
        (R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]), dim=-1
    )
    cosine = 0.5 * (R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return torch.rad2deg(torch.atan2(0.5 * axis.norm(dim=-1), cosine))
