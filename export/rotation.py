# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The nearest rotation without an SVD, from operations that every engine has.

One-sided Jacobi: columns of A are turned in pairs until they are orthogonal, A V = U S. The
nearest rotation is u1 v1^T + u2 v2^T + (u1 x u2)(v1 x v2)^T over the two longest columns, which
has determinant 1 whatever the sign of det(A). Compute in float32: its error is that of the
problem, about 1e-7 over (second + signed third singular value).

Shape letters: M matrices.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["nearest_rotation_jacobi"]

SWEEPS = 4  # 3 x 3 matrices in float32 are diagonal after three


def nearest_rotation_jacobi(raw_M9: Tensor) -> Tensor:
    """Return the rotation nearest to a raw row-major matrix whose rows are made unit first.

    The twin of `poses.nearest_rotation`, which takes an SVD.

    Args:
        raw_M9: (..., 9) float32.

    Returns:
        (..., 3, 3) float32.
    """
    rows = F.normalize(raw_M9.float().unflatten(-1, (3, 3)), dim=-1)
    # Each column of A above the same column of V: a turn of two columns is one operation.
    eye = torch.eye(3, device=rows.device).expand_as(rows)
    columns = list(torch.cat((rows, eye), dim=-2).unbind(-1))
    for _ in range(SWEEPS):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            columns[p], columns[q] = _turned(columns[p], columns[q])
    first, second = _two_longest(columns)
    u1, v1 = F.normalize(first[..., :3], dim=-1), first[..., 3:]
    u2, v2 = F.normalize(second[..., :3], dim=-1), second[..., 3:]
    u3, v3 = torch.linalg.cross(u1, u2), torch.linalg.cross(v1, v2)
    u, v = torch.stack((u1, u2, u3), dim=-1), torch.stack((v1, v2, v3), dim=-2)
    rotation: Tensor = u @ v
    return rotation


def _turned(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Two columns (..., 6), turned so that their upper halves are orthogonal."""
    a_p, a_q = p[..., :3], q[..., :3]
    square_p, square_q = a_p.square().sum(-1, keepdim=True), a_q.square().sum(-1, keepdim=True)
    dot = (a_p * a_q).sum(-1, keepdim=True)
    # tan of the smaller of the two angles that do it, without a division by a small dot.
    gap = square_q - square_p
    root = (gap.square() + 4.0 * dot.square()).sqrt()
    tangent = torch.where(gap < 0, -2.0 * dot, 2.0 * dot) / (gap.abs() + root).clamp(min=1e-30)
    cosine = (tangent.square() + 1.0).rsqrt()
    sine = tangent * cosine
    return cosine * p - sine * q, sine * p + cosine * q


def _two_longest(columns: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The two columns with the longest upper halves."""
    lengths = [column[..., :3].square().sum(-1, keepdim=True) for column in columns]
    a, b, c = columns
    first = torch.where((lengths[0] <= lengths[1]) & (lengths[0] <= lengths[2]), c, a)
    second = torch.where((lengths[1] < lengths[0]) & (lengths[1] <= lengths[2]), c, b)
    return first, second
