# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Convolution stem: patches whose windows overlap, for small geometric encoders.

An option that the published architecture lacks (`ModelConfig.conv_stem`, 0 is off).

Shape letters: M frames, H W pixels, P patches, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..config import DinoConfig

__all__ = ["StemEmbedding"]


class StemEmbedding(nn.Module):
    """Cuts a picture into patches behind convolutions.

    Windows half a patch plus 4 pixels wide at steps of half a patch, 3 x 3 over those, then 4 x 4
    at steps of two.

    Args:
        dino: Sizes.
        channels: Of the stem.

    Raises:
        ValueError: An odd patch size.
    """

    def __init__(self, dino: DinoConfig, channels: int) -> None:
        super().__init__()
        if dino.patch_size % 2:
            raise ValueError(f"conv_stem needs an even patch size, got {dino.patch_size}")
        half = dino.patch_size // 2
        self.stem = nn.Sequential(
            nn.Conv2d(dino.num_channels, channels, half + 4, stride=half, padding=2),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
        )
        self.projection = nn.Conv2d(channels, dino.hidden_size, 4, stride=2, padding=1)

    def forward(self, pixels_M3HW: Tensor) -> Tensor:
        """Return (M, P, D), rows of patches from the top left."""
        map_MDHW: Tensor = self.projection(self.stem(pixels_M3HW))
        return map_MDHW.flatten(2).transpose(1, 2)
