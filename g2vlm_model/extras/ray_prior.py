# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Nominal rays: let the point head say how a ray differs from that of a usual camera.

An option that the published architecture lacks (`ModelConfig.ray_prior_fov_deg`, 0 is off).

Shape letters: M frames, H W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["RayPrior", "nominal_rays"]


class RayPrior:
    """Adds a pinhole camera's rays to raw point maps.

    Args:
        fov_deg: Horizontal field of view of that camera.
    """

    def __init__(self, fov_deg: float) -> None:
        self.fov_deg = fov_deg

    def __call__(self, map_MHW3: Tensor) -> Tensor:
        """Return the map (a, b, c) with x/z and y/z of each pixel's nominal ray in a and b."""
        height, width = map_MHW3.shape[1:3]
        ray_MHW2, log_z_MHW1 = map_MHW3.split((2, 1), dim=-1)
        rays_HW2 = nominal_rays(height, width, self.fov_deg, map_MHW3.device)
        return torch.cat((ray_MHW2 + rays_HW2, log_z_MHW1), dim=-1)


def nominal_rays(height: int, width: int, fov_deg: float, device: torch.device) -> Tensor:
    """Return x/z and y/z of a pinhole camera's pixel centres.

    Args:
        height, width: Picture in pixels; the principal point is its centre.
        fov_deg: Horizontal field of view.
        device: Of the result.

    Returns:
        (H, W, 2) float32.
    """
    per_pixel = 2.0 * math.tan(math.radians(fov_deg) / 2) / width
    x_W = (torch.arange(width, device=device) + 0.5 - width / 2) * per_pixel
    y_H = (torch.arange(height, device=device) + 0.5 - height / 2) * per_pixel
    return torch.stack((x_W.expand(height, -1), y_H[:, None].expand(-1, width)), dim=-1)
