# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a geometric pass says, free of scale, and numbers that a small network can compare.

Lengths are divided by the window's median depth: ratios, sides and angles are exact, and metres
have to be guessed from the hidden states.

Shape letters: B windows, N frames, P patches per frame, D width, H W pixels, C numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..poses import GeometryTensors

__all__ = [
    "OCTAVES",
    "GeometryReading",
    "compressed",
    "in_first",
    "inverse",
    "length_of",
    "motion_numbers",
    "place_numbers",
    "pooled",
    "read_geometry",
    "waves",
]

OCTAVES = 4
_ANGLE_GAIN = 8.0  # turns between frames are fractions of a radian
_STEP_GAIN = 16.0  # steps between frames are a small share of the depth
_SMALL = 1e-3


@dataclass(frozen=True)
class GeometryReading:
    """What the geometric pass says of windows, free of scale.

    Args:
        hidden_BNPD: Final-normed patch tokens.
        grid_hw: Rows and columns of patches.
        local_BNHW3: float32 points in the axes of their camera, median depth 1 per window.
        T_first_cam_BN44: float32 camera to first camera, lengths in the same unit.
        log_scale_B: float32 logarithm of the median depth in the model's unit.
    """

    hidden_BNPD: Tensor
    grid_hw: tuple[int, int]
    local_BNHW3: Tensor
    T_first_cam_BN44: Tensor
    log_scale_B: Tensor

    def repeat(self, times: int) -> GeometryReading:
        """The reading in which each window stands `times` times in a row."""
        return GeometryReading(
            hidden_BNPD=self.hidden_BNPD.repeat_interleave(times, dim=0),
            grid_hw=self.grid_hw,
            local_BNHW3=self.local_BNHW3.repeat_interleave(times, dim=0),
            T_first_cam_BN44=self.T_first_cam_BN44.repeat_interleave(times, dim=0),
            log_scale_B=self.log_scale_B.repeat_interleave(times, dim=0),
        )

    def frame(self, index: int) -> GeometryReading:
        """The reading of one frame of every window (views)."""
        return GeometryReading(
            hidden_BNPD=self.hidden_BNPD[:, index : index + 1],
            grid_hw=self.grid_hw,
            local_BNHW3=self.local_BNHW3[:, index : index + 1],
            T_first_cam_BN44=self.T_first_cam_BN44[:, index : index + 1],
            log_scale_B=self.log_scale_B,
        )


def read_geometry(
    hidden_BNPD: Tensor, grid_hw: tuple[int, int], geometry: GeometryTensors
) -> GeometryReading:
    """Bring a pass's geometry into the first camera's axes and divide it by its median depth.

    Args:
        hidden_BNPD: What the heads read.
        grid_hw: Rows and columns of patches.
        geometry: What the heads said.
    """
    local_BNHW3 = geometry.local_points_BNHW3
    scale_B = local_BNHW3[..., 2].flatten(1).nanmedian(dim=1).values.clamp(min=_SMALL)
    T_BN44 = geometry.T_world_cam_BN44
    rotation_B33, centre_B3 = T_BN44[:, 0, :3, :3], T_BN44[:, 0, :3, 3]
    turned_BN33 = rotation_B33.mT[:, None] @ T_BN44[..., :3, :3]
    moved_BN3 = (T_BN44[..., :3, 3] - centre_B3[:, None]) @ rotation_B33
    moved_BN3 = moved_BN3 / scale_B[:, None, None]
    T_first_BN34 = torch.cat((turned_BN33, moved_BN3[..., None]), dim=-1)
    return GeometryReading(
        hidden_BNPD=hidden_BNPD,
        grid_hw=grid_hw,
        local_BNHW3=local_BNHW3 / scale_B[:, None, None, None, None],
        T_first_cam_BN44=torch.cat((T_first_BN34, T_BN44[..., 3:, :]), dim=-2),
        log_scale_B=scale_B.log(),
    )


def waves(x: Tensor, count: int = OCTAVES) -> Tensor:
    """(..., C) numbers beside their sines and cosines in a few octaves."""
    octaves = 0.5 * math.pi * 2.0 ** torch.arange(count, device=x.device, dtype=x.dtype)
    angles = (x[..., None] * octaves).flatten(-2)
    return torch.cat((x, angles.sin(), angles.cos()), dim=-1)


def compressed(x: Tensor, gain: float) -> Tensor:
    """Odd logarithm: fine near 0, bounded growth far away."""
    return x.sign() * (x.abs() * gain).log1p()


def length_of(x: Tensor) -> Tensor:
    """(..., 1) length of vectors (..., 3), never 0."""
    return (x.square().sum(dim=-1, keepdim=True) + _SMALL**2).sqrt()


def place_numbers(local: Tensor, first: Tensor) -> Tensor:
    """(..., 6) of points in their camera's axes and in the first camera's."""
    z = local[..., 2:].clamp(min=_SMALL)
    rays = (local[..., :2] / z).clamp(-4.0, 4.0)
    return torch.cat((rays, z.log(), compressed(first, 1.0)), dim=-1)


def in_first(points: Tensor, T_first_cam: Tensor) -> Tensor:
    """Points (..., 3) moved by transforms (..., 4, 4) of the same leading axes."""
    turned: Tensor = (T_first_cam[..., :3, :3] @ points[..., None])[..., 0]
    return turned + T_first_cam[..., :3, 3]


def motion_numbers(T_a_b: Tensor) -> Tensor:
    """(..., 13) of transforms (..., 4, 4): turn, step seen from both ends, direction, length."""
    R, there = T_a_b[..., :3, :3], T_a_b[..., :3, 3]
    back = -(R.mT @ there[..., None])[..., 0]
    yaw = torch.atan2(R[..., 0, 2], R[..., 2, 2])
    pitch = torch.atan2(-R[..., 1, 2], (R[..., 0, 2] ** 2 + R[..., 2, 2] ** 2 + 1e-12).sqrt())
    roll = torch.atan2(R[..., 1, 0], R[..., 1, 1])
    angles = _ANGLE_GAIN * torch.stack((yaw, pitch, roll), dim=-1)
    steps = compressed(torch.cat((there, back), dim=-1), _STEP_GAIN)
    length = length_of(there)
    return torch.cat((angles, steps, there / length, length.log()), dim=-1)


def inverse(T_a_b: Tensor) -> Tensor:
    """T_b_a (..., 4, 4) of rigid transforms."""
    turned = T_a_b[..., :3, :3].mT
    back = -(turned @ T_a_b[..., :3, 3:])
    return torch.cat((torch.cat((turned, back), dim=-1), T_a_b[..., 3:, :]), dim=-2)


def pooled(maps_MHWC: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """(M, S, C) means of maps over the cells of a grid, S = rows x columns.

    Neighbouring cells share pixels where the sides do not divide (adaptive pooling).
    """
    return F.adaptive_avg_pool2d(maps_MHWC.permute(0, 3, 1, 2), cells_hw).flatten(2).mT
