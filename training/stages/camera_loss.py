# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The camera loss (eqs. 4 to 6), for samples with depth and without.

Without depth nothing says how long translations are, so the truth is brought to the prediction's
unit by the weighted L1 optimum over all pairs, as eq. 3 brings predicted points to the truth's.

Shape letters: B batch, N frames, M points, K pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..run.distribution import shared_mean

if TYPE_CHECKING:
    from .losses import GeometryTruth, LossOptions

__all__ = ["SampleSums", "camera_loss", "rotation_angle", "weighted_median_scale"]

_LEAST_MOTION = 1e-3  # mean distance of true cameras, in the data's unit, that has a direction
_LEAST_BASELINE = 0.1  # of a truth in the prediction's unit, in mean distances of its points


class SampleSums(NamedTuple):
    """A term of the loss in each sample: the sum over its items, and how many they are."""

    total_B: Tensor
    count_B: Tensor

    @property
    def mean_B(self) -> Tensor:
        """Of each sample alone, without a gradient; 0 where it has no item."""
        return self.total_B.detach() / self.count_B.clamp(min=1)

    def mean(self, kept_B: Tensor) -> Tensor:
        """Over all items of the samples that are kept, in all processes."""
        total_B = torch.where(kept_B, self.total_B, 0.0)
        return shared_mean(total_B.sum(), (self.count_B * kept_B).sum())


def camera_loss(
    poses_BN44: Tensor, scale_B: Tensor, truth: GeometryTruth, options: LossOptions
) -> tuple[SampleSums, SampleSums]:
    """Equations 4 to 6: Huber of translations and angle of rotations, over ordered pairs."""
    frames = poses_BN44.shape[1]
    scaled = torch.cat(
        (poses_BN44[..., :3, :3], poses_BN44[..., :3, 3:] * scale_B[:, None, None, None]), dim=-1
    )
    R, t = _relative(scaled[..., :3], scaled[..., 3])
    R_true, t_true = _relative(
        truth.T_world_cam_BN44[..., :3, :3], truth.T_world_cam_BN44[..., :3, 3]
    )
    pairs = ~torch.eye(frames, dtype=torch.bool, device=R.device)
    both_BK = (truth.posed_BN[:, :, None] & truth.posed_BN[:, None])[:, pairs]
    offset_BK3 = t[:, pairs]
    true_BK3, measured_B = _in_unit(offset_BK3, t_true[:, pairs], both_BK, truth.deep_B)
    long_BK = both_BK & measured_B[:, None]
    huber_L3 = F.huber_loss(
        offset_BK3[long_BK], true_BK3[long_BK], reduction="none", delta=options.huber_delta
    )
    residual = R[:, pairs][both_BK].mT @ R_true[:, pairs][both_BK]
    angle = rotation_angle(residual) if options.safe_angle else _clamped_angle(residual)
    return (
        SampleSums(_by_sample(huber_L3.sum(-1), long_BK), 3 * long_BK.sum(1)),
        SampleSums(_by_sample(angle, both_BK), both_BK.sum(1)),
    )


def _by_sample(values: Tensor, chosen_BK: Tensor) -> Tensor:
    """(B,) sums of the values of chosen pairs."""
    return values.new_zeros(len(chosen_BK)).index_add(0, chosen_BK.nonzero()[:, 0], values)


@torch.no_grad()
def _in_unit(
    offset_BK3: Tensor, true_BK3: Tensor, both_BK: Tensor, deep_B: Tensor
) -> tuple[Tensor, Tensor]:
    """True translations of pairs in the prediction's unit, and samples that have such a unit.

    Depth has fixed it for the samples that have some. The others take the L1 optimum over their
    pairs, but no shorter than a tenth of the mean distance of the predicted points: predicting
    no motion is no way out. Cameras that hardly move have no direction.
    """
    true_BK3, measured_B = true_BK3.clone(), deep_B.clone()
    for index in (~deep_B).nonzero()[:, 0].tolist():
        mine, theirs = offset_BK3[index][both_BK[index]], true_BK3[index][both_BK[index]]
        length = float(theirs.norm(dim=-1).mean()) if len(theirs) else 0.0
        if length > _LEAST_MOTION:
            stretch = weighted_median_scale(mine, theirs, torch.ones_like(mine[:, 0]))
            true_BK3[index] /= stretch.clamp(min=1e-8, max=length / _LEAST_BASELINE)
            measured_B[index] = True
    return true_BK3, measured_B


def _relative(R_BN33: Tensor, t_BN3: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations and translations of inverse(T_i) T_j for all i, j."""
    R_i = R_BN33[:, :, None]
    R = R_i.mT @ R_BN33[:, None]
    offset = t_BN3[:, None] - t_BN3[:, :, None]
    return R, (R_i.mT @ offset[..., None])[..., 0]


def rotation_angle(R: Tensor) -> Tensor:
    """Angle of (.., 3, 3) rotations in radians, with a finite gradient at 0."""
    axis = torch.stack(
        (
            R[..., 2, 1] - R[..., 1, 2],
            R[..., 0, 2] - R[..., 2, 0],
            R[..., 1, 0] - R[..., 0, 1],
        ),
        dim=-1,
    )
    sine = 0.5 * (axis.square().sum(-1) + 1e-10).sqrt()
    cosine = 0.5 * (R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    return torch.atan2(sine, cosine)


def _clamped_angle(R: Tensor) -> Tensor:
    cosine = 0.5 * (R.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    return torch.acos(cosine.clamp(-1.0 + 1e-6, 1.0 - 1e-6))


def weighted_median_scale(x_M3: Tensor, y_M3: Tensor, w_M: Tensor) -> Tensor:
    """Scale s that minimises sum w |s x - y|, all coordinates together; made positive."""
    x, y = x_M3.flatten(), y_M3.flatten()
    mass = (w_M[:, None].expand_as(x_M3).flatten() * x).abs()
    ratio = y / torch.where(x.abs() < 1e-12, torch.full_like(x, 1e-12), x)
    order = ratio.argsort()
    total = mass.sum()
    crossed = 2 * mass[order].cumsum(0) - total >= 0
    return ratio[order][crossed.int().argmax()].abs()
