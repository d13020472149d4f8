# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From what the heads say to points and poses: the nearest rotation, and world points on demand.

Frames: camera axes are OpenCV optical axes (x right, y down, z forward); "world" is the frame
in which the model states its poses, which is that of no particular camera. Lengths are in
scene units.

Shape letters: B batch, N frames, H W pixels, M any number of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .layers import full_precision

__all__ = [
    "GeometryTensors",
    "HeadOutputs",
    "assemble_geometry",
    "nearest_rotation",
]


@dataclass(frozen=True)
class HeadOutputs:
    """What the heads say, all float32; nothing in it needs an SVD (an exporter stops here).

    Args:
        local_points: (B, N, H, W, 3) camera axes; z is always positive.
        rotation9: (B, N, 9) raw row-major matrix, not orthogonal.
        translation: (B, N, 3) camera centre in world axes.
        confidence_logits: (B, N, H, W, 1), or None without the head.
        invalid_logits: (B, N, H, W, 1) that a pixel shows nothing solid; None without the head.
        global_points: (B, N, H, W, 3) world axes, or None where not asked for.
    """

    local_points: Tensor
    rotation9: Tensor
    translation: Tensor
    confidence_logits: Tensor | None = None
    invalid_logits: Tensor | None = None
    global_points: Tensor | None = None


@dataclass(frozen=True)
class GeometryTensors:
    """Points and poses of a pass, all float32.

    Args:
        local_points_BNHW3: Camera axes of each frame; the last number is the z-depth.
        rotation9_BN9, translation_BN3: What the camera head said, before orthogonalisation.
        T_world_cam_BN44: Camera to world.
        confidence_logits_BNHW1: Raw logits, or None without the head.
        invalid_logits_BNHW1: The same that a pixel shows nothing solid.
        global_points_BNHW3: The global head's own world points, or None where not asked for.
    """

    local_points_BNHW3: Tensor
    rotation9_BN9: Tensor
    translation_BN3: Tensor
    T_world_cam_BN44: Tensor
    confidence_logits_BNHW1: Tensor | None = None
    invalid_logits_BNHW1: Tensor | None = None
    global_points_BNHW3: Tensor | None = None

    @property
    def world_points_BNHW3(self) -> Tensor:
        """`T_world_cam` applied to the local points, computed when asked for."""
        local_BNHW3, T_BN44 = self.local_points_BNHW3, self.T_world_cam_BN44
        with full_precision(local_BNHW3):
            turned_BNQ3 = local_BNHW3.flatten(2, 3) @ T_BN44[..., :3, :3].mT
            return (turned_BNQ3 + T_BN44[:, :, None, :3, 3]).view_as(local_BNHW3)


class _NearestRotation(torch.autograd.Function):
    """Orthogonal Procrustes with its analytic gradient.

    With M = U S V^T, d = det(U V^T), U' = U diag(1, 1, d) and S' = diag(s1, s2, d s3), the
    nearest rotation is R = U' V^T. For a change dM let A = U'^T dM V; then dR = U' X V^T with
    X_ij = (A_ij - A_ji) / (s'_i + s'_j). Only sums of singular values divide, so the gradient
    stays finite where they are equal (where the SVD's own gradient is not); it grows without
    bound only where s'_2 + s'_3 goes to 0, where the nearest rotation is not unique.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, m_M33: Tensor) -> Tensor:
        u_M33, s_M3, vt_M33 = torch.linalg.svd(m_M33)
        sign_M = torch.linalg.det(u_M33 @ vt_M33).sign()
        flip_M3 = torch.stack((torch.ones_like(sign_M), torch.ones_like(sign_M), sign_M), dim=-1)
        u_M33 = u_M33 * flip_M3[..., None, :]
        ctx.save_for_backward(u_M33, s_M3 * flip_M3, vt_M33)
        rotation_M33: Tensor = u_M33 @ vt_M33
        return rotation_M33

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        u_M33, s_M3, vt_M33 = ctx.saved_tensors  # type: ignore[attr-defined]
        w_M33 = u_M33.mT @ grads[0] @ vt_M33.mT
        total_M33 = s_M3[..., :, None] + s_M3[..., None, :]
        smallest = 1e-6 if total_M33.dtype == torch.float32 else 1e-12
        x_M33 = (w_M33 - w_M33.mT) / total_M33.clamp_min(smallest)
        grad_M33: Tensor = u_M33 @ x_M33 @ vt_M33
        return grad_M33


def nearest_rotation(raw_M9: Tensor) -> Tensor:
    """Return the rotation nearest to a raw row-major matrix whose rows are made unit first.

    Args:
        raw_M9: (..., 9) float32 or float64.

    Returns:
        (..., 3, 3) with determinant +1; differentiable, see the class above.
    """
    rows_M33 = F.normalize(raw_M9.unflatten(-1, (3, 3)), dim=-1)
    rotation_M33: Tensor = _NearestRotation.apply(rows_M33)  # type: ignore[no-untyped-call]
    return rotation_M33


def assemble_geometry(heads: HeadOutputs) -> GeometryTensors:
    """Orthogonalise the rotations and put them beside the translations.

    Args:
        heads: Outputs of the geometry heads.
    """
    with full_precision(heads.rotation9):
        rotation_BN33 = nearest_rotation(heads.rotation9)
    top_BN34 = torch.cat((rotation_BN33, heads.translation[..., None]), dim=-1)
    bottom_4 = top_BN34.new_tensor([0.0, 0.0, 0.0, 1.0])
    T_world_cam_BN44 = torch.cat((top_BN34, bottom_4.expand(*top_BN34.shape[:2], 1, 4)), dim=-2)
    return GeometryTensors(
        local_points_BNHW3=heads.local_points,
        rotation9_BN9=heads.rotation9,
        translation_BN3=heads.translation,
        T_world_cam_BN44=T_world_cam_BN44,
        confidence_logits_BNHW1=heads.confidence_logits,
        invalid_logits_BNHW1=heads.invalid_logits,
        global_points_BNHW3=heads.global_points,
    )
