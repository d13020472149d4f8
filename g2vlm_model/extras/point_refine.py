# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Point refinement: let the point map follow the edges of the picture.

An option that the published architecture lacks (`ModelConfig.point_refine`, 0 is off). The
point head writes each patch by itself, so its maps show the grid of patches and cannot put an
edge between two pixels. A few convolutions over the map, the picture and a few numbers that
the point decoder has for every place add what is missing to the raw map, ahead of its
nominal rays and its exponential. They run at half the resolution with four pixels to a
channel group, which costs a quarter.

The last convolution starts at zero, so the branch can be grafted onto trained weights.

Shape letters: M frames, P patches per frame, E width of the point decoder, H W pixels, C
channels, h w half of H W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PointRefine"]

_NUMBERS = 3
_FOLD = 2


class PointRefine(nn.Module):
    """Residual of the raw point map (a, b, c), see `GeometryHeads`.

    Args:
        channels: C.
        point_width: E.
        patch: Side of a patch in pixels.

    Raises:
        ValueError: An odd patch.
    """

    def __init__(self, channels: int, point_width: int, patch: int) -> None:
        super().__init__()
        if patch % _FOLD:
            raise ValueError(f"point_refine needs an even patch size, got {patch}")
        self.cells = patch // _FOLD
        folded = _FOLD**2 * _NUMBERS
        self.detail = nn.Linear(point_width, channels * self.cells**2)
        self.enter = nn.Conv2d(2 * folded + channels, channels, 3, padding=1)
        self.widen = nn.Conv2d(channels, channels, 3, padding=2, dilation=2)
        self.leave = nn.Conv2d(channels, folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, map_MHW3: Tensor, points_MPE: Tensor, pixels_M3HW: Tensor, grid_hw: tuple[int, int]
    ) -> Tensor:
        """Return the refined raw map.

        Args:
            map_MHW3: Raw numbers (a, b, c) of every pixel, float32.
            points_MPE: Output of the point decoder.
            pixels_M3HW: Normalised pictures.
            grid_hw: Rows and columns of patches.
        """
        map_M3HW = map_MHW3.movedim(-1, 1)
        detail = self._detail(points_MPE, grid_hw).to(map_M3HW.dtype)
        seen = torch.cat((map_M3HW, pixels_M3HW.to(map_M3HW.dtype)), dim=1)
        x = torch.cat((F.pixel_unshuffle(seen, _FOLD), detail), dim=1)
        x = F.gelu(_conv(self.enter, x))
        x = x + F.gelu(_conv(self.widen, x))
        residual_M3HW = F.pixel_shuffle(_conv(self.leave, x), _FOLD)
        return (map_M3HW + residual_M3HW).movedim(1, -1)

    def _detail(self, points_MPE: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(M, C, h, w): what the decoder says about every second place."""
        raw = self.detail(points_MPE.to(self.detail.weight.dtype))
        frames, cells = raw.shape[0], self.cells
        blocks = raw.reshape(frames, *grid_hw, -1, cells, cells).permute(0, 3, 1, 4, 2, 5)
        detail: Tensor = blocks.flatten(4, 5).flatten(2, 3)
        return detail


def _conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve in the input's type, whatever the weight's."""
    assert conv.bias is not None
    return F.conv2d(
        x,
        conv.weight.to(x.dtype),
        conv.bias.to(x.dtype),
        padding=conv.padding,
        dilation=conv.dilation,
    )
