# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The rotation without an SVD against the one in float64."""

from __future__ import annotations

import pytest
import torch
from g2vlm_export.rotation import nearest_rotation_jacobi
from torch import Tensor

from g2vlm_model.poses import nearest_rotation

COUNT = 4000
# Largest error; where the second and third singular value nearly cancel the problem itself
# magnifies the rounding of its input.
CASES = {
    "random": 2e-4,
    "rotation": 3e-6,
    "near a rotation": 3e-6,
    "reflection": 2e-4,
    "rank 2": 3e-6,
    "nearly cancelling": 1e-4,
}


def rotations(generator: torch.Generator) -> Tensor:
    q = torch.linalg.qr(torch.randn(COUNT, 3, 3, generator=generator, dtype=torch.float64))[0]
    turned: Tensor = q * torch.linalg.det(q).sign()[:, None, None]
    return turned


def matrices(case: str) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(COUNT, 3, 3, generator=generator, dtype=torch.float64)
    left, right = rotations(generator), rotations(generator)
    singular = {"reflection": (3, 2, -1), "rank 2": (3, 2, 0), "nearly cancelling": (1, 0.5, -0.45)}
    if case == "random":
        return noise
    if case in singular:
        return left @ torch.diag(torch.tensor(singular[case], dtype=torch.float64)) @ right
    return left + (0.01 * noise if case == "near a rotation" else 0.0)


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_nearest_one(case: str) -> None:
    raw = matrices(case).flatten(1).float()
    got = nearest_rotation_jacobi(raw)
    error = (got - nearest_rotation(raw.double())).abs().amax(dim=(1, 2))
    by_svd = (nearest_rotation(raw) - nearest_rotation(raw.double())).abs().amax(dim=(1, 2))
    assert error.max() < CASES[case], f"max {error.max():.1e}, mean {error.mean():.1e}"
    assert error.quantile(0.99) < max(2e-6, 1.5 * float(by_svd.quantile(0.99)))
    square = got @ got.mT - torch.eye(3)
    assert square.abs().max() < 5e-6
    assert (torch.linalg.det(got) - 1).abs().max() < 5e-6


def test_the_identity_stays() -> None:
    eye = torch.eye(3).flatten()[None]
    assert torch.equal(nearest_rotation_jacobi(eye), torch.eye(3)[None])
