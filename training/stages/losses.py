# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometric losses of the paper, as the published code computes them, in fp32.

Everything is normalised first: the truth by the mean distance of its valid points from view 0,
the prediction by the mean norm of its own local points. One scale per sample, the weighted L1
optimum, then aligns the prediction (eq. 3); it carries no gradient.

A sample is taught what is known of it, and costs nothing else; one whose own loss is above
`LossOptions.clip` is left out. Frames without a pose have points
and normals in their own axes, but no camera and no global points. Samples without depth have
cameras alone (`camera_loss.py`).

Shape letters: B batch, N frames, H W pixels, M points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..ranges import COUNT, POSITIVE, WEIGHT, check_range
from .camera_loss import SampleSums, camera_loss, rotation_angle, weighted_median_scale

__all__ = [
    "GeometryTruth",
    "HeadOutput",
    "LossOptions",
    "LossParts",
    "depth_edges",
    "geometry_loss",
    "optimal_scale",
    "prepare_truth",
    "rotation_angle",
    "weighted_median_scale",
]

_EPS = 1e-6
_EDGE_RTOL = 0.03
_ANGLE_MIN_DEG, _ANGLE_MAX_DEG, _ANGLE_BETA_DEG = 1.0, 90.0, 3.0


@dataclass(frozen=True)
class LossOptions:
    """Weights and variants; the defaults are the published ones, apart from the acos.

    Args:
        camera_weight: Of the whole camera loss (eq. 2).
        translation_weight: Of the translation inside the camera loss (eq. 4). The paper says
            200, its code 100.
        huber_delta: Where the translation loss turns linear.
        global_weight: Of the global-point loss, which the paper's equations leave out.
        normal_weight: Of the normal loss (eq. 7).
        point_weight: Of the point loss (eq. 3).
        log_depth_weight: Of the log-depth loss (`pixel_losses`), which the paper lacks.
        gradient_weight: Of the loss of slopes between neighbouring pixels (`pixel_losses`); eq. 7
            sees only pixels `pixel_stride` apart.
        confidence_weight: Of the confidence head's loss, for models that have the head.
        confidence_scale: Relative depth error at which the confidence to be learned is 1/e.
        invalid_weight: Of the loss of the head that knows the sky, for models that have it.
        scale_samples: Points per sample that fix the optimal scale.
        safe_angle: Rotation angle by atan2, which has a gradient everywhere; False is the
            published clamped acos.
        bf16_norm: Round the truth's norm factor to bfloat16 as the published code does.
        clip: A window whose loss (eq. 2) is above it teaches nothing and is counted; the paper
            sets such a loss to 0. inf takes every window, as the paper's joint training does.

    Raises:
        ValueError: A number out of range.
    """

    camera_weight: float = 0.2
    translation_weight: float = 100.0
    huber_delta: float = 0.1
    global_weight: float = 1.0
    normal_weight: float = 1.0
    point_weight: float = 1.0
    log_depth_weight: float = 0.0
    gradient_weight: float = 0.0
    confidence_weight: float = 1.0
    confidence_scale: float = 0.1
    invalid_weight: float = 1.0
    scale_samples: int = 4096
    safe_angle: bool = True
    bf16_norm: bool = False
    clip: float = 10.0

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"loss: clip is {self.clip}, expected more than 0 (.inf never clips)")
        check_range(self, WEIGHT, "camera_weight", "translation_weight", part="loss")
        check_range(self, WEIGHT, "global_weight", "normal_weight", "point_weight", part="loss")
        check_range(self, WEIGHT, "log_depth_weight", "confidence_weight", part="loss")
        check_range(self, WEIGHT, "invalid_weight", "gradient_weight", part="loss")
        check_range(self, POSITIVE, "huber_delta", "confidence_scale", part="loss")
        check_range(self, COUNT, "scale_samples", part="loss")


@dataclass(frozen=True)
class GeometryTruth:
    """Normalised truth in the axes of view 0.

    Args:
        local_BNHW3: Points in the axes of each camera.
        world_BNHW3: Points in the axes of view 0.
        T_world_cam_BN44: Camera to view 0.
        valid_BNHW: Pixels that count. Points of other pixels are kept as they came (zero where not
            finite): the published edge mask of the normal loss looks at them.
        posed_BN: bool, frames whose pose is known.
    """

    local_BNHW3: Tensor
    world_BNHW3: Tensor
    T_world_cam_BN44: Tensor
    valid_BNHW: Tensor
    posed_BN: Tensor

    @property
    def placed_BN(self) -> Tensor:
        """Frames whose place beside view 0 is known."""
        return self.posed_BN & self.posed_BN[:, :1]

    @property
    def deep_B(self) -> Tensor:
        """Samples with some depth, which fixes their unit."""
        return self.valid_BNHW.flatten(1).any(1)


@dataclass(frozen=True)
class HeadOutput:
    """What the loss looks at: the output of the heads.

    Args:
        local_BNHW3: Predicted points in the axes of each camera.
        T_world_cam_BN44: Predicted poses in any common frame.
        global_BNHW3: Predicted points in the axes of view 0, or None where not decoded.
    """

    local_BNHW3: Tensor
    T_world_cam_BN44: Tensor
    global_BNHW3: Tensor | None = None


@dataclass(frozen=True)
class LossParts:
    """The total and its terms, unweighted; the scale that aligned each sample; bool, those kept."""

    total: Tensor
    local: Tensor
    normal: Tensor
    world: Tensor
    translation: Tensor
    rotation: Tensor
    scale_B: Tensor
    kept_B: Tensor


def prepare_truth(
    world_BNHW3: Tensor,
    valid_BNHW: Tensor,
    T_world_cam_BN44: Tensor,
    posed_BN: Tensor | None = None,
    *,
    bf16_norm: bool = False,
) -> GeometryTruth:
    """Move the truth to view 0 and divide it by the mean norm of its valid points.

    Points of frames that nobody can place beside view 0 are as far away as from their own camera.

    Args:
        world_BNHW3: Points in any world frame.
        valid_BNHW: bool.
        T_world_cam_BN44: Camera-to-world in that frame; any rigid motion where unknown.
        posed_BN: bool, frames whose pose is known; None: all.
        bf16_norm: See `LossOptions`.
    """
    if posed_BN is None:
        posed_BN = torch.ones_like(valid_BNHW[..., 0, 0])
    to_first = torch.linalg.inv(T_world_cam_BN44[:, :1].float())
    poses = to_first @ T_world_cam_BN44.float()
    points = _transform(to_first, world_BNHW3.float())
    points = points.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    placed_BN11 = (posed_BN & posed_BN[:, :1])[..., None, None]
    own_BN3 = poses[..., :3, 3] * ~placed_BN11[..., 0]
    far_BNHW = (points - own_BN3[:, :, None, None]).norm(dim=-1)
    counts = valid_BNHW.flatten(1).sum(1).clamp(min=1)
    norm = torch.where(valid_BNHW, far_BNHW, 0.0).flatten(1).sum(1) / counts
    norm = torch.where(norm > 0, norm, torch.ones_like(norm))
    if bf16_norm:
        norm = norm.bfloat16().float()
    points = points / norm[:, None, None, None, None]
    scaled = poses.clone()
    scaled[..., :3, 3] = poses[..., :3, 3] / norm[:, None, None]
    local = _transform(torch.linalg.inv(scaled), points)
    return GeometryTruth(local, points, scaled, valid_BNHW, posed_BN)


def geometry_loss(
    predicted: HeadOutput,
    truth: GeometryTruth,
    options: LossOptions | None = None,
    normals_B: Tensor | None = None,
) -> LossParts:
    """Equation 2: points + normals + global points + cameras.

    Means are over the pixels and pairs of all samples whose own loss is at most `options.clip`.

    Args:
        predicted: Heads' output; cast to fp32.
        truth: From `prepare_truth`.
        options: Weights and variants.
        normals_B: (B,) bool, samples whose depth is clean enough for the normal loss; None
            is all of them.
    """
    options = options or LossOptions()
    local, poses, world = _normalise_prediction(predicted, truth)
    depth_weight = _depth_weights(truth)
    scale_B = optimal_scale(local, truth.local_BNHW3, depth_weight, truth.valid_BNHW, options)
    factor = scale_B[:, None, None, None, None]
    points = _weighted_l1(factor * local, truth.local_BNHW3, depth_weight, truth.valid_BNHW)
    normals, worlds = (SampleSums(torch.zeros_like(scale_B), torch.zeros_like(scale_B)),) * 2
    if world is not None:
        placed = truth.valid_BNHW & truth.placed_BN[..., None, None]
        worlds = _weighted_l1(factor * world, truth.world_BNHW3, depth_weight, placed)
    if options.normal_weight > 0:
        normals = _normal_loss(factor * local, truth, normals_B)
    translations, rotations = camera_loss(poses, scale_B, truth, options)
    terms = (points, normals, worlds, translations, rotations)

    def total_of(means: Iterable[Tensor]) -> Tensor:
        point, normal, world, translation, rotation = means
        return (
            options.point_weight * point
            + options.normal_weight * normal
            + options.global_weight * world
            + options.camera_weight * (options.translation_weight * translation + rotation)
        )

    kept_B = total_of(term.mean_B for term in terms) <= options.clip
    point, normal, world_mean, translation, rotation = (term.mean(kept_B) for term in terms)
    total = total_of((point, normal, world_mean, translation, rotation))
    return LossParts(
        total, point, normal, world_mean, translation, rotation, scale_B.detach(), kept_B
    )


@torch.no_grad()
def optimal_scale(
    predicted_BNHW3: Tensor,
    truth_BNHW3: Tensor,
    weight_BNHW: Tensor,
    valid_BNHW: Tensor,
    options: LossOptions | None = None,
) -> Tensor:
    """(B,) scales s that minimise sum w |s x - y| over a sample's points (eq. 3)."""
    samples = (options or LossOptions()).scale_samples
    scales = []
    for index in range(len(predicted_BNHW3)):
        valid = valid_BNHW[index]
        count = int(valid.sum())
        if count == 0:
            scales.append(predicted_BNHW3.new_ones(()))
            continue
        pick = (torch.arange(samples, device=valid.device) * count) // samples
        x = predicted_BNHW3[index][valid][pick].float()
        y = truth_BNHW3[index][valid][pick].float()
        w = weight_BNHW[index][valid][pick].float()
        scales.append(weighted_median_scale(x, y, w))
    return torch.stack(scales)


def _normalise_prediction(
    predicted: HeadOutput, truth: GeometryTruth
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Divide by the mean norm of the valid points; without any by that of all, as a constant."""
    local, valid_BNHW = predicted.local_BNHW3.float(), truth.valid_BNHW
    counts = valid_BNHW.flatten(1).sum(1).clamp(min=1)
    norms = local.norm(dim=-1)
    known_B = torch.where(valid_BNHW, norms, 0.0).flatten(1).sum(1) / counts
    every_B = norms.detach().flatten(1).mean(1)
    norm = torch.where(truth.deep_B, known_B, every_B).clamp(min=1e-8)
    poses = predicted.T_world_cam_BN44.float().clone()
    poses[..., :3, 3] = predicted.T_world_cam_BN44[..., :3, 3].float() / norm[:, None, None]
    factor = norm[:, None, None, None, None]
    world = None if predicted.global_BNHW3 is None else predicted.global_BNHW3.float() / factor
    return local / factor, poses, world


def _depth_weights(truth: GeometryTruth) -> Tensor:
    """(B, N, H, W) weight 1 / z, bounded for pixels far nearer than their view's mean."""
    z = truth.local_BNHW3[..., 2]
    valid = truth.valid_BNHW
    counts = valid.flatten(2).sum(2).clamp(min=1)
    mean = torch.where(valid, z, 0.0).flatten(2).sum(2) / counts
    return 1.0 / (torch.maximum(z, 0.1 * mean[..., None, None]) + _EPS)


def _weighted_l1(predicted: Tensor, truth: Tensor, weight: Tensor, valid: Tensor) -> SampleSums:
    error = (predicted - truth).abs() * weight[..., None]
    known = torch.where(valid[..., None], error, 0.0)
    return SampleSums(known.flatten(1).sum(1), valid.flatten(1).sum(1) * 3)


def _transform(T_BN44: Tensor, points_BNHW3: Tensor) -> Tensor:
    R, t = T_BN44[..., :3, :3], T_BN44[..., :3, 3]
    return points_BNHW3 @ R.mT[:, :, None] + t[:, :, None, None]


def _normal_loss(points: Tensor, truth: GeometryTruth, normals_B: Tensor | None) -> SampleSums:
    """Equation 7: angle between the normals at the four corners of each 2x2 block."""
    if normals_B is None:
        normals_B = torch.ones(len(points), dtype=torch.bool, device=points.device)
    keep = (truth.valid_BNHW & ~depth_edges(truth.local_BNHW3[..., 2]))[normals_B]
    points, target = points[normals_B], truth.local_BNHW3[normals_B]
    height, width = keep.shape[-2:]
    low, high = torch.deg2rad(torch.tensor([_ANGLE_MIN_DEG, _ANGLE_MAX_DEG])).tolist()
    beta = float(torch.deg2rad(torch.tensor(_ANGLE_BETA_DEG)))
    total = points.new_zeros(len(points))
    for mine, theirs, mask in zip(
        _corner_normals(points), _corner_normals(target), _corner_masks(keep), strict=True
    ):
        cross = torch.linalg.cross(mine, theirs, dim=-1)
        sine = (cross.square().sum(-1) + 1e-24).sqrt()
        angle = torch.atan2(sine, (mine * theirs).sum(-1)).clamp(low, high)
        smooth = torch.where(angle < beta, 0.5 * angle.square() / beta, angle - 0.5 * beta)
        total = total + torch.where(mask, smooth, 0.0).flatten(1).sum(1)
    total_B = total.new_zeros(len(normals_B)).masked_scatter(normals_B, total)
    blocks = keep.shape[1] * (height - 1) * (width - 1)
    return SampleSums(total_B / (4.0 * max(height, width)), normals_B * blocks)


def _corner_normals(points: Tensor) -> list[Tensor]:
    """Unit normals of the four triangles of each 2x2 block of points."""
    corners = (
        points[..., :-1, :-1, :],
        points[..., :-1, 1:, :],
        points[..., 1:, 1:, :],
        points[..., 1:, :-1, :],
    )
    normals = []
    for index in range(4):
        here, after, before = corners[index], corners[(index + 1) % 4], corners[index - 1]
        normals.append(F.normalize(torch.linalg.cross(before - here, after - here, dim=-1), dim=-1))
    return normals


def _corner_masks(keep: Tensor) -> list[Tensor]:
    corners = (keep[..., :-1, :-1], keep[..., :-1, 1:], keep[..., 1:, 1:], keep[..., 1:, :-1])
    return [corners[i] & corners[(i + 1) % 4] & corners[i - 1] for i in range(4)]


def depth_edges(z_BNHW: Tensor) -> Tensor:
    """Pixels whose 3x3 neighbourhood spans more than 3 % of their depth, valid or not."""
    z = z_BNHW.flatten(0, 1)[:, None]
    span = F.max_pool2d(z, 3, 1, 1) + F.max_pool2d(-z, 3, 1, 1)
    edge = (span / z).nan_to_num() > _EDGE_RTOL
    return edge[:, 0].view_as(z_BNHW)
