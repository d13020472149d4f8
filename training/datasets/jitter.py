# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The colour jitter of the published training: torchvision's, with a draw for each picture.

torchvision changes a whole batch alike; here every picture has its own strengths and order.

Shape letters: F pictures, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LUMA", "jittered"]

LUMA = (0.299, 0.587, 0.114)
_SHARE, _TURN = 0.5, 0.1  # of brightness, contrast and saturation; of a full turn of the hue


def jittered(rgb_F3HW: Tensor, strength_F4: Tensor, order_F4: Tensor) -> Tensor:
    """Pictures in [0, 1] with other brightness, contrast, saturation and hue.

    Args:
        rgb_F3HW: In [0, 1].
        strength_F4: -1..1 of these four; 0 leaves one as it is.
        order_F4: int64, which of the four comes first, second, third and last.
    """
    out = rgb_F3HW.clone()
    for place in range(4):
        for kind, change in enumerate((_brighter, _contrasted, _saturated, _turned)):
            mine = order_F4[:, place] == kind
            if bool(mine.any()):
                strength = strength_F4[mine, kind, None, None, None]
                out[mine] = change(out[mine], strength).clamp(0, 1)
    return out


def _luma(rgb_F3HW: Tensor) -> Tensor:
    weights = rgb_F3HW.new_tensor(LUMA)[:, None, None]
    return (rgb_F3HW * weights).sum(1, keepdim=True)


def _brighter(rgb_F3HW: Tensor, strength: Tensor) -> Tensor:
    return rgb_F3HW * (1 + _SHARE * strength)


def _contrasted(rgb_F3HW: Tensor, strength: Tensor) -> Tensor:
    mean = _luma(rgb_F3HW).mean((-1, -2), keepdim=True)
    return mean + (rgb_F3HW - mean) * (1 + _SHARE * strength)


def _saturated(rgb_F3HW: Tensor, strength: Tensor) -> Tensor:
    grey = _luma(rgb_F3HW)
    return grey + (rgb_F3HW - grey) * (1 + _SHARE * strength)


def _turned(rgb_F3HW: Tensor, strength: Tensor) -> Tensor:
    """Hues turned in HSV, value and saturation as they are."""
    value, chroma = rgb_F3HW.amax(1), rgb_F3HW.amax(1) - rgb_F3HW.amin(1)
    red, green, blue = rgb_F3HW.unbind(1)
    sixths = torch.where(value == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma)
    sixths = torch.where(value == red, (green - blue) / chroma, sixths)
    sixths = sixths.nan_to_num() + 6 * _TURN * strength[:, 0]
    rises = [(offset + sixths).remainder(6) for offset in (5, 3, 1)]
    parts = [torch.minimum(rise, 4 - rise).clamp(0, 1) for rise in rises]
    return torch.stack([value - chroma * part for part in parts], dim=1)
