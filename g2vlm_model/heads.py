# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry heads: points, camera, confidence and global points from the hidden states.

Each has a small decoder of its own that looks at one frame at a time (the global one also at
the first frame), then a linear map. The maps compute in float32 whatever the weights' type.

Shape letters: B batch, N frames, M = B * N, P patches, D width, E a decoder's output width,
A heads, C head width, H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .extras.point_refine import PointRefine
from .extras.ray_prior import RayPrior
from .layers import (
    LayerNorm,
    Mlp,
    Rotation,
    TableCache,
    as_residual,
    attend_full,
    full_precision,
    inverse_frequencies,
    rotate,
)
from .poses import HeadOutputs

__all__ = ["GeometryHeads"]

NORM_EPS = 1e-6


class GeometryHeads(nn.Module):
    """All heads; which ones exist and run is decided by the config and the caller."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, patch = config.heads, config.patch_size
        self.patch_size = patch
        self.head_dim = config.text.hidden_size // heads.num_heads
        self.rope_base = heads.rope_base
        self.point_decoder = FrameDecoder(config, heads.point_dim, cross=False)
        self.point_head = nn.Linear(heads.point_dim, 3 * patch**2)
        self.camera_decoder = FrameDecoder(config, heads.camera_dim, cross=False)
        self.camera_head = CameraHead(heads.camera_dim)
        self.global_decoder = FrameDecoder(config, heads.point_dim, cross=True)
        self.global_head = nn.Linear(heads.point_dim, 3 * patch**2)
        self.confidence_decoder: FrameDecoder | None = None
        self.confidence_head: nn.Linear | None = None
        if config.confidence_head:
            self.confidence_decoder = FrameDecoder(config, heads.point_dim, cross=False)
            self.confidence_head = nn.Linear(heads.point_dim, patch**2)
        self.invalid_head: nn.Linear | None = None
        if config.invalid_head:
            self.invalid_head = nn.Linear(heads.point_dim, patch**2)
        # What the published heads lack, like the invalid head: both change the raw point map.
        fov_deg = config.ray_prior_fov_deg
        self.ray_prior = RayPrior(fov_deg) if fov_deg else None
        self.point_refine: PointRefine | None = None
        if config.point_refine:
            self.point_refine = PointRefine(config.point_refine, heads.point_dim, patch)
        self._rotations: TableCache[Rotation] = TableCache()

    def forward(
        self,
        hidden_BNPD: Tensor,
        grid_hw: tuple[int, int],
        with_global: bool = False,
        chunk_frames: int = 0,
        pixels_BN3HW: Tensor | None = None,
    ) -> HeadOutputs:
        """Decode final-normed patch tokens.

        Args:
            hidden_BNPD: Hidden states of the geometric pass.
            grid_hw: Rows and columns of patches.
            with_global: Run the global decoder too.
            chunk_frames: Frames at a time; 0 is all at once.
            pixels_BN3HW: What the encoder saw; needed by `point_refine` alone.

        Raises:
            ValueError: `point_refine` without pictures.
        """
        if self.point_refine is not None and pixels_BN3HW is None:
            raise ValueError(
                "point_refine is on and needs pixels_BN3HW, the pictures that the tokens came from"
            )
        device = hidden_BNPD.device
        rotation = self._rotations.get((grid_hw, device), lambda: self._rotation(grid_hw, device))
        first_BPD = hidden_BNPD[:, 0] if with_global else None
        if not chunk_frames:
            return self._decode(hidden_BNPD, pixels_BN3HW, first_BPD, grid_hw, rotation)
        parts = []
        for first in range(0, hidden_BNPD.shape[1], chunk_frames):
            chunk = slice(first, first + chunk_frames)
            pixels = None if pixels_BN3HW is None else pixels_BN3HW[:, chunk]
            parts.append(self._decode(hidden_BNPD[:, chunk], pixels, first_BPD, grid_hw, rotation))
        return _join(parts)

    def _decode(
        self,
        hidden_BNPD: Tensor,
        pixels_BN3HW: Tensor | None,
        first_BPD: Tensor | None,
        grid_hw: tuple[int, int],
        rotation: Rotation,
    ) -> HeadOutputs:
        """Decode some frames; `first_BPD` is the first frame's hidden state, for global points."""
        by_frame = hidden_BNPD.shape[:2]
        hidden_MPD = hidden_BNPD.flatten(0, 1)
        points_MPE = self.point_decoder(hidden_MPD, rotation)
        map_MHW3 = self._to_map(self.point_head, points_MPE, grid_hw)
        if self.point_refine is not None and pixels_BN3HW is not None:
            map_MHW3 = self.point_refine(map_MHW3, points_MPE, pixels_BN3HW.flatten(0, 1), grid_hw)
        if self.ray_prior is not None:
            map_MHW3 = self.ray_prior(map_MHW3)
        local_MHW3 = _local_points(map_MHW3)
        camera_MPE = self.camera_decoder(hidden_MPD, rotation)
        rotation9_M9, translation_M3 = self.camera_head(camera_MPE)
        confidence = invalid = None
        if self.confidence_decoder is not None and self.confidence_head is not None:
            # Learning what the geometry gets wrong must not change the geometry.
            confidence_MPE = self.confidence_decoder(hidden_MPD.detach(), rotation)
            confidence_MHW1 = self._to_map(self.confidence_head, confidence_MPE, grid_hw)
            confidence = confidence_MHW1.unflatten(0, by_frame)
            if self.invalid_head is not None:
                invalid_MHW1 = self._to_map(self.invalid_head, confidence_MPE, grid_hw)
                invalid = invalid_MHW1.unflatten(0, by_frame)
        global_points = None
        if first_BPD is not None:
            context_MPD = first_BPD[:, None].expand_as(hidden_BNPD).flatten(0, 1)
            global_MPE = self.global_decoder(hidden_MPD, rotation, context_MPD)
            global_MHW3 = self._to_map(self.global_head, global_MPE, grid_hw)
            global_points = global_MHW3.unflatten(0, by_frame)
        return HeadOutputs(
            local_points=local_MHW3.unflatten(0, by_frame),
            rotation9=rotation9_M9.unflatten(0, by_frame),
            translation=translation_M3.unflatten(0, by_frame),
            confidence_logits=confidence,
            invalid_logits=invalid,
            global_points=global_points,
        )

    def _to_map(self, head: nn.Linear, x_MPE: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Map patches to pixels: channel k * patch^2 + dy * patch + dx is number k at (dy, dx)."""
        patch = self.patch_size
        rows, columns = grid_hw
        x_MPK = linear_float32(head, x_MPE)
        blocks = x_MPK.reshape(-1, rows, columns, x_MPK.shape[-1] // patch**2, patch, patch)
        return blocks.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)

    def _rotation(self, grid_hw: tuple[int, int], device: torch.device) -> Rotation:
        """Return tables (P, 1, 2, C / 4): half of a head turns by row, half by column."""
        rows, columns = (torch.arange(size, device=device) for size in grid_hw)
        grid_RC2 = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
        frequencies = inverse_frequencies(self.head_dim // 2, self.rope_base, device)
        angles_P2C = grid_RC2.flatten(0, 1).float()[..., None] * frequencies
        return Rotation.of(angles_P2C[:, None])


def _local_points(map_MHW3: Tensor) -> Tensor:
    """Return (x, y, z) with z = exp(c), x = a z, y = b z of a map of (a, b, c)."""
    ray_MHW2, log_z_MHW1 = map_MHW3.split((2, 1), dim=-1)
    z_MHW1 = log_z_MHW1.exp()
    return torch.cat((ray_MHW2 * z_MHW1, z_MHW1), dim=-1)


def _join(parts: list[HeadOutputs]) -> HeadOutputs:
    """Put chunks of frames together again."""
    joined: dict[str, Tensor | None] = {}
    for name in vars(parts[0]):
        pieces = [vars(part)[name] for part in parts]
        joined[name] = None if pieces[0] is None else torch.cat(pieces, dim=1)
    return HeadOutputs(**joined)  # type: ignore[arg-type]


def linear_float32(linear: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear map in float32 (or better), whatever the weight's type."""
    with full_precision(x):
        if linear.weight.dtype in (torch.float32, torch.float64):
            out: Tensor = linear(x.to(linear.weight.dtype))
            return out
        return F.linear(x.float(), linear.weight.float(), linear.bias.float())


def rotate_halves(x_MPAC: Tensor, rotation: Rotation) -> Tensor:
    """Rotate each half of the head width by its own position."""
    return rotate(x_MPAC.unflatten(-1, (2, -1)), rotation).flatten(-2)


class FrameAttention(nn.Module):
    """Self-attention within a frame, positions of rows and columns rotated in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x_MPD: Tensor, rotation: Rotation) -> Tensor:
        """Map (M, P, D) to the same shape."""
        q, k, v = self.qkv(x_MPD).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = rotate_halves(q, rotation), rotate_halves(k, rotation)
        attended_MPD = attend_full(q, k.transpose(1, 2), v.transpose(1, 2))
        return self.output(attended_MPD)  # type: ignore[no-any-return]


class FirstFrameAttention(nn.Module):
    """Attention from a frame to the first frame, both with their patch positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x_MPD: Tensor, context_MPD: Tensor, rotation: Rotation) -> Tensor:
        """Map (M, P, D) to the same shape."""
        heads = (self.heads, -1)
        q = rotate_halves(self.query(x_MPD).unflatten(-1, heads), rotation)
        k = rotate_halves(self.key(context_MPD).unflatten(-1, heads), rotation)
        v = self.value(context_MPD).unflatten(-1, heads)
        attended_MPD = attend_full(q, k.transpose(1, 2), v.transpose(1, 2))
        return self.output(attended_MPD)  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """Self-attention, (attention to the first frame,) MLP; each normed ahead and added."""

    def __init__(self, config: ModelConfig, cross: bool) -> None:
        super().__init__()
        width, heads = config.text.hidden_size, config.heads.num_heads
        self.norm1 = LayerNorm(width, eps=NORM_EPS)
        self.attention = FrameAttention(width, heads)
        self.norm2 = LayerNorm(width, eps=NORM_EPS)
        self.context_norm: LayerNorm | None = None
        self.cross_attention: FirstFrameAttention | None = None
        self.norm3: LayerNorm | None = None
        if cross:
            self.context_norm = LayerNorm(width, eps=NORM_EPS)
            self.cross_attention = FirstFrameAttention(width, heads)
            self.norm3 = LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, int(width * config.heads.mlp_ratio), F.gelu)

    def forward(self, x_MPD: Tensor, rotation: Rotation, context_MPD: Tensor | None) -> Tensor:
        """Map (M, P, D) to the same shape."""
        x_MPD = x_MPD + self.attention(self.norm1(x_MPD), rotation)
        norm = self.norm2
        if self.cross_attention is not None:
            assert self.context_norm is not None
            assert self.norm3 is not None
            context = self.context_norm(context_MPD)
            x_MPD = x_MPD + self.cross_attention(self.norm2(x_MPD), context, rotation)
            norm = self.norm3
        return x_MPD + self.mlp(norm(x_MPD))  # type: ignore[no-any-return]


class FrameDecoder(nn.Module):
    """A few blocks over one frame's tokens, then a linear map; no norm at either end."""

    def __init__(self, config: ModelConfig, out_width: int, *, cross: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(config, cross) for _ in range(config.heads.depth))
        self.linear_out = nn.Linear(config.text.hidden_size, out_width)

    def forward(
        self, hidden_MPD: Tensor, rotation: Rotation, context_MPD: Tensor | None = None
    ) -> Tensor:
        """Map (M, P, D) to (M, P, E)."""
        x_MPD = as_residual(hidden_MPD)
        for block in self.blocks:
            x_MPD = block(x_MPD, rotation, context_MPD)
        return self.linear_out(x_MPD.to(self.linear_out.weight.dtype))  # type: ignore[no-any-return]


class ResidualMlp(nn.Module):
    """x + three times (linear, ReLU)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., E) to the same shape."""
        out = x
        for layer in (self.fc1, self.fc2, self.fc3):
            out = F.relu(linear_float32(layer, out))
        return x + out


class CameraHead(nn.Module):
    """Camera of a frame: residual MLPs per patch, mean over patches, MLP, two linear maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residuals = nn.ModuleList(ResidualMlp(width) for _ in range(2))
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.translation = nn.Linear(width, 3)
        self.rotation = nn.Linear(width, 9)

    def forward(self, x_MPE: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw rotation (M, 9), row-major, and translation (M, 3), float32."""
        for residual in self.residuals:
            x_MPE = residual(x_MPE)
        x_ME = x_MPE.mean(dim=1)
        for layer in (self.fc1, self.fc2):
            x_ME = F.relu(linear_float32(layer, x_ME))
        return linear_float32(self.rotation, x_ME), linear_float32(self.translation, x_ME)
