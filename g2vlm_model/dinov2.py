# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometric encoder: DINOv2 with registers.

Shape letters: B batch, N frames, M = B * N, H W pixels, P patches, L = 1 + registers + P
tokens of a frame, D width, A heads, C head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import DinoConfig, ModelConfig
from .extras.conv_stem import StemEmbedding
from .layers import (
    LayerNorm,
    Mlp,
    TableCache,
    as_residual,
    attend_full,
    full_precision,
    scaled_residual,
)

__all__ = ["DinoV2"]

WindowAttention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(q, k, v, extra tokens per frame), each (B, N, L, A, C), -> (B, N, L, A * C)."""


def attend_per_image(q: Tensor, k: Tensor, v: Tensor, extra: int) -> Tensor:
    """Let the tokens of a frame see each other."""
    batch_frames = q.shape[:2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    out_MLE = attend_full(q, k.transpose(1, 2), v.transpose(1, 2))
    out_BNLE: Tensor = out_MLE.unflatten(0, batch_frames)
    return out_BNLE


def attend_drifting(q: Tensor, k: Tensor, v: Tensor, extra: int) -> Tensor:
    """Reproduce the published windows, which count patches only.

    The frames of a sequence are laid end to end, L tokens each, but cut into windows of P, so
    window i drifts by `extra` tokens per frame. The last N * extra tokens are in no window;
    their attention output is 0 here (uninitialised memory in the published code).
    """
    frames, tokens = q.shape[1:3]
    covered = frames * (tokens - extra)

    def windows(x: Tensor) -> Tensor:
        cut: Tensor = x.flatten(1, 2)[:, :covered].unflatten(1, (frames, tokens - extra))
        return cut

    out_BLE = attend_per_image(windows(q), windows(k), windows(v), 0).flatten(1, 2)
    out_BNLE: Tensor = F.pad(out_BLE, (0, 0, 0, frames * extra)).unflatten(1, (frames, tokens))
    return out_BNLE


class DinoV2(nn.Module):
    """Vision transformer with class token, registers and layer scale.

    Raises:
        ValueError: (forward) A side of the picture is no multiple of the patch.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dino = config.dino
        width = dino.hidden_size
        self.patch_size = dino.patch_size
        self.extra = 1 + dino.num_register_tokens
        self.stored_grid = dino.stored_grid
        stem = config.conv_stem
        self.patch_embed = StemEmbedding(dino, stem) if stem else PatchEmbedding(dino)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # Stored in published files, without a use outside self-supervised training.
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, dino.num_register_tokens, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + dino.stored_grid**2, width))
        attend = attend_per_image if config.dino_attention == "per_image" else attend_drifting
        self.blocks = nn.ModuleList(
            DinoBlock(dino, attend, self.extra) for _ in range(dino.num_hidden_layers)
        )
        self.norm = LayerNorm(width, eps=dino.layer_norm_eps)
        self._positions: TableCache[Tensor] = TableCache()

    def forward(self, pixels_BN3HW: Tensor) -> Tensor:
        """Return (B, N, P, D) normed patch tokens of normalised pictures."""
        x_BNLD = as_residual(self.embed(pixels_BN3HW))
        for block in self.blocks:
            x_BNLD = block(x_BNLD)
        return self.norm(x_BNLD[:, :, self.extra :])  # type: ignore[no-any-return]

    def embed(self, pixels_BN3HW: Tensor) -> Tensor:
        """Return (B, N, L, D): class token, registers, patches; positions added."""
        batch, frames, _, height, width = pixels_BN3HW.shape
        patch = self.patch_size
        if height % patch or width % patch:
            raise ValueError(
                f"picture is {height} x {width}, both sides must be multiples of {patch}; "
                "resize it with preprocess.geometric_pixels"
            )
        rows, columns = height // patch, width // patch
        patches_MPD = self.patch_embed(pixels_BN3HW.flatten(0, 1).to(self.cls_token.dtype))
        position_1PD = self.patch_positions(rows, columns)
        head_1ED = torch.cat(
            (self.cls_token + self.position_embeddings[:, :1], self.register_tokens), dim=1
        )
        x_MLD = torch.cat(
            (head_1ED.expand(batch * frames, -1, -1), patches_MPD + position_1PD), dim=1
        )
        x_BNLD: Tensor = x_MLD.unflatten(0, (batch, frames))
        return x_BNLD

    def patch_positions(self, rows: int, columns: int) -> Tensor:
        """Return position embeddings (1, P, D), resized to the grid."""
        stored, grid = self.position_embeddings, self.stored_grid
        if (rows, columns) == (grid, grid):
            return stored[:, 1:]
        if torch.is_grad_enabled() and stored.requires_grad:
            return resize_positions(stored, grid, rows, columns)
        version = 0 if stored.is_inference() else stored._version
        key = (rows, columns, stored.device, stored.dtype, stored.data_ptr(), version)
        return self._positions.get(key, lambda: resize_positions(stored, grid, rows, columns))


def resize_positions(stored_1LD: Tensor, grid: int, rows: int, columns: int) -> Tensor:
    """Resize the stored square grid of position embeddings (bicubic, antialiased, float32).

    Equal to `F.interpolate(mode="bicubic", antialias=True)`, as two products with small matrices:
    not every engine that runs an exported graph has an antialiased resize.

    Args:
        stored_1LD: Class token's position, then grid * grid patches'.
        grid: Side of the stored grid.
        rows, columns: Wanted grid.

    Returns:
        (1, rows * columns, D) in the stored type.
    """
    device = stored_1LD.device
    with full_precision(stored_1LD):
        map_GHD = stored_1LD[0, 1:].float().unflatten(0, (grid, grid))
        by_row_RHD = bicubic_weights(grid, rows, device) @ map_GHD.flatten(1)
        by_column_RCD = bicubic_weights(grid, columns, device) @ by_row_RHD.unflatten(1, (grid, -1))
        resized_1PD: Tensor = by_column_RCD.flatten(0, 1)[None].to(stored_1LD.dtype)
        return resized_1PD


def bicubic_weights(old: int, new: int, device: torch.device | None = None) -> Tensor:
    """Return what each old sample adds to each new one in an antialiased bicubic resize.

    Keys' kernel with a = -1/2 between sample centres; where the new grid is coarser it is as
    wide as that grid's cells. Samples outside are left out, and rows sum to 1.

    Args:
        old, new: Numbers of samples.
        device: Of the result.

    Returns:
        (new, old) float32.
    """
    # In units of new samples, then of the wider of both: whole numbers as long as possible.
    centres_N1 = (torch.arange(new, device=device) + 0.5)[:, None] * old
    samples_O = (torch.arange(old, device=device) + 0.5) * new
    x_NO = (samples_O - centres_N1).abs() / torch.sym_max(old, new)
    near_NO = (1.5 * x_NO - 2.5) * x_NO.square() + 1.0
    far_NO = ((2.5 - 0.5 * x_NO) * x_NO - 4.0) * x_NO + 2.0
    weights_NO = torch.where(x_NO < 1.0, near_NO, torch.where(x_NO < 2.0, far_NO, 0.0))
    return weights_NO / weights_NO.sum(dim=1, keepdim=True)


class PatchEmbedding(nn.Module):
    """Cuts a picture into patches, one linear map each."""

    def __init__(self, dino: DinoConfig) -> None:
        super().__init__()
        patch = dino.patch_size
        self.projection = nn.Conv2d(dino.num_channels, dino.hidden_size, patch, stride=patch)

    def forward(self, pixels_M3HW: Tensor) -> Tensor:
        """Return (M, P, D), rows of patches from the top left."""
        map_MDHW: Tensor = self.projection(pixels_M3HW)
        return map_MDHW.flatten(2).transpose(1, 2)


class DinoBlock(nn.Module):
    """x + s1 * attention(norm x); x + s2 * mlp(norm x)."""

    def __init__(self, dino: DinoConfig, attend: WindowAttention, extra: int) -> None:
        super().__init__()
        width, eps = dino.hidden_size, dino.layer_norm_eps
        self.heads = dino.num_attention_heads
        self.attend = attend
        self.extra = extra
        self.norm1 = LayerNorm(width, eps=eps)
        self.query = nn.Linear(width, width, bias=dino.qkv_bias)
        self.key = nn.Linear(width, width, bias=dino.qkv_bias)
        self.value = nn.Linear(width, width, bias=dino.qkv_bias)
        self.output = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.ones(width))
        self.norm2 = LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * dino.mlp_ratio), F.gelu)
        self.scale2 = nn.Parameter(torch.ones(width))

    def forward(self, x_BNLD: Tensor) -> Tensor:
        """Map (B, N, L, D) to the same shape."""
        normed_BNLD = self.norm1(x_BNLD)
        q, k, v = (
            projection(normed_BNLD).unflatten(-1, (self.heads, -1))
            for projection in (self.query, self.key, self.value)
        )
        attended_BNLD = self.attend(q, k, v, self.extra)
        x_BNLD = scaled_residual(x_BNLD, self.output(attended_BNLD), self.scale1)
        return scaled_residual(x_BNLD, self.mlp(self.norm2(x_BNLD)), self.scale2)
