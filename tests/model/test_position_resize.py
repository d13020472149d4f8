# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The resize of the position embeddings is torch's antialiased bicubic one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from g2vlm_model.dinov2 import bicubic_weights, resize_positions


@pytest.mark.parametrize("stored", [3, 8, 37])
@pytest.mark.parametrize("grid_hw", [(1, 2), (5, 3), (6, 8), (28, 37), (37, 37), (74, 50)])
def test_it_equals_torchs_own(stored: int, grid_hw: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(stored)
    table = torch.randn(1, 1 + stored**2, 16, generator=generator)
    square = table[:, 1:].double().unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
    wanted = F.interpolate(square, size=grid_hw, mode="bicubic", antialias=True)
    got = resize_positions(table, stored, *grid_hw)
    error = (got - wanted.flatten(2).transpose(1, 2)).abs().max()
    assert error < 5e-6, f"{stored} to {grid_hw}: {error:.1e} of numbers up to {wanted.max():.1f}"


def test_an_equal_grid_is_left_as_it_is() -> None:
    assert torch.equal(bicubic_weights(8, 8), torch.eye(8))


def test_half_precision_is_resized_in_full() -> None:
    table = torch.randn(1, 1 + 64, 8, generator=torch.Generator().manual_seed(0)).half()
    got = resize_positions(table, 8, 6, 8)
    wanted = resize_positions(table.float(), 8, 6, 8)
    assert got.dtype == torch.float16
    assert torch.equal(got, wanted.half())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize_positions(table.float(), 8, 6, 8), wanted)
