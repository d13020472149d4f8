# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Correspondence supervision of geometric tokens (the contrastive loss of GASP, softened).

From exact depth and poses follows where each cell of a frame lies in every other frame. The
loss asks the descriptors of that frame's cells to say so: InfoNCE with the other cells of the
same frame as negatives, and with a bilinear target over the four cells around the true place.

Shape letters: B batch, N frames, Q cells per frame, E descriptor width, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..run.distribution import shared_mean

__all__ = [
    "CellTracks",
    "CorrespondenceHead",
    "PixelTracks",
    "cell_tracks",
    "correspondence_loss",
    "match_error",
    "pixel_tracks",
]

TEMPERATURE = 0.07
_DEPTH_RTOL = 0.06


@dataclass(frozen=True)
class CellTracks:
    """Where the middle of each cell of frame i lies in frame j.

    Args:
        place_BNNQ2: (x, y) in units of cells, the first cell's middle at 0.5.
        visible_BNNQ: Inside frame j and not hidden there; False for i = j.
    """

    place_BNNQ2: Tensor
    visible_BNNQ: Tensor


@dataclass(frozen=True)
class PixelTracks:
    """Where pixels of frame i lie in frame j.

    Args:
        uv_BNNQ2: Pixel coordinates (column, row) in frame j.
        depth_BNNQ: z-depth in frame j.
        world_BNQ3: The points themselves.
        inside_BNNQ: Known, ahead of camera j and inside of its picture; False for i = j.
        visible_BNNQ: Inside, and the depth map of frame j agrees: nothing stands before it.
    """

    uv_BNNQ2: Tensor
    depth_BNNQ: Tensor
    world_BNQ3: Tensor
    inside_BNNQ: Tensor
    visible_BNNQ: Tensor


class CorrespondenceHead(nn.Module):
    """Two-layer descriptor head for one depth of the network; used in training only."""

    def __init__(self, width: int, descriptor_width: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, descriptor_width)

    def forward(self, tokens_BNPD: Tensor) -> Tensor:
        """Return unit-length descriptors (B, N, P, E)."""
        return F.normalize(self.outer(F.gelu(self.inner(self.norm(tokens_BNPD)))), dim=-1)


@torch.no_grad()
def cell_tracks(
    depth_BNHW: Tensor, T_world_cam_BN44: Tensor, K_BN33: Tensor, cell: int
) -> CellTracks:
    """Follow the middle pixel of every cell into the other frames.

    Args:
        depth_BNHW: True z-depth, 0 where unknown.
        T_world_cam_BN44: True poses.
        K_BN33: Intrinsics in pixels.
        cell: Cell side in pixels.
    """
    height, width = depth_BNHW.shape[-2:]
    v = torch.arange(cell // 2, height, cell, device=depth_BNHW.device)
    u = torch.arange(cell // 2, width, cell, device=depth_BNHW.device)
    tracks = pixel_tracks(depth_BNHW, T_world_cam_BN44, K_BN33, v, u)
    return CellTracks((tracks.uv_BNNQ2 + 0.5) / cell, tracks.visible_BNNQ)


@torch.no_grad()
def pixel_tracks(
    depth_BNHW: Tensor,
    T_world_cam_BN44: Tensor,
    K_BN33: Tensor,
    v_R: Tensor,
    u_C: Tensor,
) -> PixelTracks:
    """Follow the pixels of a lattice into the other frames by true depth and poses.

    Args:
        depth_BNHW: True z-depth, 0 where unknown.
        T_world_cam_BN44: True poses.
        K_BN33: Intrinsics in pixels.
        v_R, u_C: int64 rows and columns of the lattice.
    """
    batch, frames, height, width = depth_BNHW.shape
    z = depth_BNHW[:, :, v_R][..., u_C].flatten(2)
    grid_v, grid_u = torch.meshgrid(v_R.float(), u_C.float(), indexing="ij")
    pixel = torch.stack((grid_u, grid_v, torch.ones_like(grid_u)), dim=-1).flatten(0, 1)
    rays = pixel @ torch.linalg.inv(K_BN33).mT
    local = rays * z[..., None]
    R, t = T_world_cam_BN44[..., :3, :3], T_world_cam_BN44[..., :3, 3]
    world = local @ R.mT + t[:, :, None]
    seen = (world[:, :, None] - t[:, None, :, None]) @ R[:, None]
    ahead = seen[..., 2]
    projected = seen @ K_BN33.mT[:, None]
    uv = projected[..., :2] / ahead[..., None].clamp(min=1e-3)
    inside = (ahead > 0.05) & (uv > -0.5).all(-1)
    inside &= (uv[..., 0] < width - 0.5) & (uv[..., 1] < height - 0.5)
    flat_uv = uv.round().long()
    index = flat_uv[..., 1].clamp(0, height - 1) * width + flat_uv[..., 0].clamp(0, width - 1)
    maps = depth_BNHW.flatten(2)[:, None].expand(batch, frames, frames, height * width)
    there = torch.gather(maps, 3, index)
    agrees = (there - ahead).abs() < _DEPTH_RTOL * ahead
    other = ~torch.eye(frames, dtype=torch.bool, device=z.device)[None, :, :, None]
    inside &= other & (z > 0)[:, :, None]
    return PixelTracks(uv, ahead, world, inside, inside & agrees)


def correspondence_loss(
    descriptors_BNQE: Tensor, tracks: CellTracks, cells_hw: tuple[int, int]
) -> Tensor:
    """Mean cross-entropy between the similarities and the bilinear place of each cell."""
    visible = tracks.visible_BNNQ
    similar = torch.einsum("biqe,bjke->bijqk", descriptors_BNQE, descriptors_BNQE) / TEMPERATURE
    log_chance = similar[visible].log_softmax(dim=-1)
    rows, columns = cells_hw
    place = tracks.place_BNNQ2[visible] - 0.5
    low = place.floor()
    frac = place - low
    loss = log_chance.new_zeros(len(log_chance))
    for dy in (0, 1):
        for dx in (0, 1):
            weight_x = frac[:, 0] if dx else 1 - frac[:, 0]
            weight_y = frac[:, 1] if dy else 1 - frac[:, 1]
            x = (low[:, 0].long() + dx).clamp(0, columns - 1)
            y = (low[:, 1].long() + dy).clamp(0, rows - 1)
            index = (y * columns + x)[:, None]
            loss = loss - weight_x * weight_y * log_chance.gather(1, index)[:, 0]
    return shared_mean(loss.sum(), len(loss))


@torch.no_grad()
def match_error(descriptors_BNQE: Tensor, tracks: CellTracks, cells_hw: tuple[int, int]) -> Tensor:
    """(K,) distance in cells between the best match and the truth, for the visible cells."""
    similar = torch.einsum("biqe,bjke->bijqk", descriptors_BNQE, descriptors_BNQE)
    best = similar[tracks.visible_BNNQ].argmax(dim=-1)
    found = torch.stack((best % cells_hw[1], best // cells_hw[1]), dim=-1) + 0.5
    error: Tensor = (found - tracks.place_BNNQ2[tracks.visible_BNNQ]).norm(dim=-1)
    return error
