# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper's single-encoder design: the semantic encoder's patches are the geometric tokens.

Only the comparison of section 4.3 needs it, so it is no option of the model.

Shape letters: B batch, N frames, M = B * N, H W pixels, P patches, R = P in merge order, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import CLIP_MEAN, CLIP_STD
from g2vlm_model.qwen2_vit import Qwen2Vit

from ..datasets.batch import DEVIATION, MEAN

__all__ = ["SharedEncoder", "share_encoder"]


class SharedEncoder(nn.Module):
    """Stands in the geometric encoder's place, with the semantic encoder's weights.

    Args:
        vit: The semantic encoder, also the model's own.
    """

    def __init__(self, vit: Qwen2Vit) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, pixels_BN3HW: Tensor) -> Tensor:
        """Return (B, N, P, D) patches of pictures normalised as for the geometric encoder."""
        vit = self.vit.config
        batch, frames, _, height, width = pixels_BN3HW.shape
        merge, patch = vit.spatial_merge_size, vit.patch_size
        grid = (height // patch, width // patch)
        blocks = (grid[0] // merge, merge, grid[1] // merge, merge)
        mean, std, clip_mean, clip_std = (
            pixels_BN3HW.new_tensor(values)[:, None, None]
            for values in (MEAN, DEVIATION, CLIP_MEAN, CLIP_STD)
        )
        pixels = ((pixels_BN3HW * std + mean - clip_mean) / clip_std).flatten(0, 1)
        cut = pixels.reshape(-1, 3, blocks[0], merge, patch, blocks[2], merge, patch)
        ordered = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # M, block, in block, channel, y, x
        rows = ordered[:, :, :, :, :, :, None].expand(
            -1, -1, -1, -1, -1, -1, vit.temporal_patch_size, -1, -1
        )
        rows_MRC = rows.reshape(batch * frames, grid[0] * grid[1], vit.row_width)
        x_MRD = self.vit.patch_embed(rows_MRC)
        rotation = self.vit._rotation(grid, pixels.device)
        for block in self.vit.blocks:
            x_MRD = block(x_MRD, rotation)
        by_block = x_MRD.unflatten(1, (blocks[0], blocks[2], merge, merge)).transpose(2, 3)
        patches_BNPD: Tensor = by_block.flatten(1, 4).unflatten(0, (batch, frames))
        return patches_BNPD


def share_encoder(model: G2VLM) -> None:
    """Replace the geometric encoder by the semantic one's weights.

    Raises:
        ValueError: Their widths or patches differ, so that nothing else would fit.
    """
    vit, dino = model.config.vit, model.config.dino
    if (vit.embed_dim, vit.patch_size) != (dino.hidden_size, dino.patch_size):
        raise ValueError(
            f"encoders differ: width {vit.embed_dim} and {dino.hidden_size}, patch "
            f"{vit.patch_size} and {dino.patch_size}; a single encoder needs equal ones"
        )
    model.dino = SharedEncoder(model.vit)  # type: ignore[assignment]
