# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Semantic encoder: the vision transformer of Qwen2-VL.

A picture arrives as rows, one per 14 x 14 patch (channels, two equal time steps, patch), in
the order of 2 x 2 merge blocks; the merger turns each block into one token.

Shape letters: M pictures, R rows, S = R / merge^2 tokens, D width, A heads, C head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import VitConfig
from .layers import (
    LayerNorm,
    Mlp,
    Rotation,
    TableCache,
    as_residual,
    attend_full,
    inverse_frequencies,
    quick_gelu,
    rotate,
)

__all__ = ["Qwen2Vit"]

NORM_EPS = 1e-6
ROPE_THETA = 1e4


class Qwen2Vit(nn.Module):
    """Vision transformer with rotary positions and a merger."""

    def __init__(self, vit: VitConfig) -> None:
        super().__init__()
        self.config = vit
        self.patch_embed = RowEmbedding(vit)
        self.blocks = nn.ModuleList(VitBlock(vit) for _ in range(vit.depth))
        self.merger = Merger(vit)
        self._rotations: TableCache[Rotation] = TableCache()

    def forward(self, rows_MRC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Return merged tokens (M, S, D) of pictures of one size.

        Args:
            rows_MRC: Normalised patches in merge order.
            grid_hw: Rows and columns of patches; both multiples of the merge size.

        Raises:
            ValueError: The rows do not fill the grid, or the grid cannot be merged.
        """
        merge = self.config.spatial_merge_size
        rows, columns = grid_hw
        if rows * columns != rows_MRC.shape[1] or rows % merge or columns % merge:
            raise ValueError(
                f"{rows_MRC.shape[1]} rows for a grid of {rows} x {columns}; expected "
                f"rows x columns, both multiples of {merge}"
            )
        device = rows_MRC.device
        rotation = self._rotations.get((grid_hw, device), lambda: self._rotation(grid_hw, device))
        x_MRD = as_residual(self.patch_embed(rows_MRC))
        for block in self.blocks:
            x_MRD = block(x_MRD, rotation)
        return self.merger(x_MRD)  # type: ignore[no-any-return]

    def _rotation(self, grid_hw: tuple[int, int], device: torch.device) -> Rotation:
        """Return tables (R, 1, C / 2): the first half of the pairs turns by row, then column."""
        merge = self.config.spatial_merge_size
        width = self.config.embed_dim // self.config.num_heads
        rows, columns = (torch.arange(size, device=device) for size in grid_hw)
        grid_2RC = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        blocks = grid_2RC.unflatten(2, (-1, merge)).unflatten(1, (-1, merge))
        position_2R = blocks.transpose(2, 3).flatten(1).float()
        frequencies = inverse_frequencies(width // 2, ROPE_THETA, device)
        angles_RC = (position_2R[..., None] * frequencies).transpose(0, 1).flatten(1)
        return Rotation.of(angles_RC[:, None])


class RowEmbedding(nn.Module):
    """Linear map of rows; the weight keeps the published convolution's shape."""

    def __init__(self, vit: VitConfig) -> None:
        super().__init__()
        kernel = (vit.temporal_patch_size, vit.patch_size, vit.patch_size)
        self.weight = nn.Parameter(torch.empty(vit.embed_dim, vit.in_channels, *kernel))
        nn.init.normal_(self.weight, std=vit.row_width**-0.5)

    def forward(self, rows_MRC: Tensor) -> Tensor:
        """Map (M, R, C) to (M, R, D)."""
        return F.linear(rows_MRC.to(self.weight.dtype), self.weight.flatten(1))


class VitBlock(nn.Module):
    """x + attention(norm x); x + mlp(norm x)."""

    def __init__(self, vit: VitConfig) -> None:
        super().__init__()
        width = vit.embed_dim
        self.heads = vit.num_heads
        self.norm1 = LayerNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.norm2 = LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, int(width * vit.mlp_ratio), quick_gelu)

    def forward(self, x_MRD: Tensor, rotation: Rotation) -> Tensor:
        """Map (M, R, D) to the same shape."""
        x_MRD = x_MRD + self._attention(x_MRD, rotation)
        return x_MRD + self.mlp(self.norm2(x_MRD))  # type: ignore[no-any-return]

    def _attention(self, x_MRD: Tensor, rotation: Rotation) -> Tensor:
        """The branch, a method of its own: queries, keys and values go ahead of the other one."""
        q, k, v = self.qkv(self.norm1(x_MRD)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = rotate(q, rotation), rotate(k, rotation)
        attended_MRD = attend_full(q, k.transpose(1, 2), v.transpose(1, 2))
        return self.output(attended_MRD)  # type: ignore[no-any-return]


class Merger(nn.Module):
    """Joins the patches of each merge block into one token of the language model's width."""

    def __init__(self, vit: VitConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(vit.embed_dim, eps=NORM_EPS)
        self.joined = vit.spatial_merge_size**2
        width = vit.embed_dim * self.joined
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, vit.hidden_size)

    def forward(self, x_MRD: Tensor) -> Tensor:
        """Map (M, R, D) to (M, S, width of the language model)."""
        joined = self.norm(x_MRD).unflatten(1, (-1, self.joined)).flatten(2)
        return self.fc2(F.gelu(self.fc1(joined)))  # type: ignore[no-any-return]
