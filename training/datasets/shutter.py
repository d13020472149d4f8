# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a moving camera and its lens do to where light falls: blur, rolling shutter, distortion.

The motion is drawn, the flow is the true one: that of each pixel's depth (Longuet-Higgins and
Prazdny, "The interpretation of a moving retinal image", 1980). Depth, poses and intrinsics stay
those of a still, ideal camera at the middle of the exposure and of the read-out, so what is left
over here is what calibration leaves over in a real camera.

Shape letters: P pictures, H W pixels, T moments of an exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Warp", "motion_field", "warped"]

_TAPS = 5  # moments of an open shutter
_FAR = 1e4  # depth of the sky
_NEAREST = 0.05  # share of the median depth; nearer pixels would fly out of the picture
_QUANTILE = 0.9  # of the flow's length, which is what lengths refer to


@dataclass(frozen=True)
class Warp:
    """How far light moves in each of P pictures; lengths are shares of the picture's width.

    Args:
        flow_PHW2: Pixels; 90 % of them are no longer than 1, see `motion_field`.
        blur_P: Length of the flow while the shutter is open.
        rolling_P: Length of the flow between the first and the last row's read-out.
        bend_P: Radial shift of the corners that undistortion left: above 0 barrel.
        fringe_P2: Radial shift of the corners of red and of blue against green.
    """

    flow_PHW2: Tensor
    blur_P: Tensor
    rolling_P: Tensor
    bend_P: Tensor
    fringe_P2: Tensor


def motion_field(depth_PHW: Tensor, K_P33: Tensor, turn_P3: Tensor, move_P3: Tensor) -> Tensor:
    """(P, H, W, 2) flow of pixels for a drawn motion, scaled so that 90 % are within 1 pixel.

    Args:
        depth_PHW: z-depth, 0 for the sky, which moves with rotations only.
        K_P33: Intrinsics, pixels.
        turn_P3: Rotation of the camera about its axes.
        move_P3: Translation along its axes, in units of the median depth.
    """
    height, width = depth_PHW.shape[1:]
    known = torch.where(depth_PHW > 0, depth_PHW, torch.nan)
    median = known.flatten(1).nanmedian(dim=1).values.nan_to_num(1.0).clamp(min=1e-6)
    z = torch.where(depth_PHW > 0, depth_PHW / median[:, None, None], _FAR).clamp(min=_NEAREST)
    rows, columns = (torch.arange(side, device=depth_PHW.device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    focal, centre = K_P33[:, (0, 1), (0, 1)], K_P33[:, :2, 2]
    x = (x - centre[:, 0, None, None]) / focal[:, 0, None, None]
    y = (y - centre[:, 1, None, None]) / focal[:, 1, None, None]
    a, b, c = turn_P3.T[..., None, None]
    u, v, w = move_P3.T[..., None, None]
    across = (x * w - u) / z + a * x * y - b * (1 + x * x) + c * y
    down = (y * w - v) / z + a * (1 + y * y) - b * x * y - c * x
    flow = torch.stack((across, down), dim=-1) * focal[:, None, None]
    length = flow.norm(dim=-1).flatten(1).quantile(_QUANTILE, dim=1).clamp(min=1e-9)
    scaled: Tensor = flow / length[:, None, None, None]
    return scaled


def warped(rgb_P3HW: Tensor, warp: Warp) -> Tensor:
    """The pictures as the moving camera takes them; light is neither lost nor made by blur.

    Args:
        rgb_P3HW: float.
        warp: See there.
    """
    height, width = rgb_P3HW.shape[-2:]
    rows, columns = (torch.arange(side).to(rgb_P3HW) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    middle = rgb_P3HW.new_tensor([(width - 1) / 2, (height - 1) / 2])
    offset = torch.stack((x, y), dim=-1) - middle
    corner = middle.square().sum()
    square = (offset.square().sum(-1) / corner)[..., None]
    late = ((y + 0.5) / height - 0.5)[..., None]
    flow = warp.flow_PHW2 * width
    spread = width / corner.sqrt()
    still = (
        offset * (1 + _each(warp.bend_P) * spread * square) + _each(warp.rolling_P) * late * flow
    )
    fringes = torch.stack((warp.fringe_P2[:, 0], 0 * warp.bend_P, warp.fringe_P2[:, 1]), dim=1)
    coloured = bool((warp.fringe_P2 != 0).any())
    blurred = bool((warp.blur_P != 0).any())
    moments = torch.linspace(-0.5, 0.5, _TAPS).tolist() if blurred else [0.0]
    total = torch.zeros_like(rgb_P3HW)
    scale = rgb_P3HW.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    for moment in moments:
        place = still + moment * _each(warp.blur_P) * flow
        if coloured:
            stretched = place[:, None] * (1 + fringes[:, :, None, None, None] * spread)
            taken = _sampled(rgb_P3HW.flatten(0, 1)[:, None], stretched.flatten(0, 1) * scale)
            total += taken.view_as(rgb_P3HW)
        else:
            total += _sampled(rgb_P3HW, place * scale)
    return total / len(moments)


def _each(value_P: Tensor) -> Tensor:
    return value_P[:, None, None, None]


def _sampled(picture: Tensor, place: Tensor) -> Tensor:
    return F.grid_sample(picture, place, padding_mode="border", align_corners=True)
