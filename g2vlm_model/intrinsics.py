"""Pinhole intrinsics read off predicted points: robust least squares, on the points' device.

A pinhole camera sees the local point (x, y, z) at u = fx x/z + cx, v = fy y/z + cy. The pixel
is exact and the point is predicted, so the noise is in x/z; regressing u on x/z would shrink
the focal length. The regression is therefore turned round, x/z = (u - cx) / fx, and the
weights of iterated least squares (Huber, scale from the median residual) keep mirrors, skies
and half-learned corners from bending it.

Shape letters: N frames, G groups (cameras), H W pixels, S sampled pixels of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["IntrinsicsConfig", "estimate_intrinsics"]

FALLBACK_FOV_DEG = 60.0
MIN_PIXELS = 16


@dataclass(frozen=True)
class IntrinsicsConfig:
    """How intrinsics are estimated.

    Args:
        free_principal_point: Estimate cx and cy too; else they are the picture's centre,
            ((W - 1) / 2, (H - 1) / 2), as in the pictures that the model was trained on.
        samples_per_frame: Upper bound of pixels that are used per frame (a regular grid).
        iterations: Rounds of re-weighting.
        huber: Residuals up to this many robust standard deviations count fully.
        fov_limits_deg: A focal length is clamped into this range of horizontal field of view.
    """

    free_principal_point: bool = False
    samples_per_frame: int = 1024
    iterations: int = 3
    huber: float = 1.5
    fov_limits_deg: tuple[float, float] = (5.0, 170.0)


def estimate_intrinsics(
    local_points_NHW3: Tensor,
    groups: Sequence[int] | None = None,
    valid_NHW: Tensor | None = None,
    config: IntrinsicsConfig | None = None,
) -> Tensor:
    """Intrinsics of each frame, shared by the frames of one camera.

    Args:
        local_points_NHW3: Points in camera axes (x right, y down, z forward), any unit.
        groups: Camera number of each frame, 0..G-1; None gives each frame its own.
        valid_NHW: bool; False pixels are left out. Not finite points and points behind the
            camera always are.
        config: None is the default.

    Returns:
        (N, 3, 3) float32, pixels of this picture (pixel centres at integers). A camera with
        fewer than `MIN_PIXELS` usable pixels, or whose points are mirrored, gets a horizontal
        field of view of `FALLBACK_FOV_DEG`.
    """
    config = config or IntrinsicsConfig()
    count, height, width = local_points_NHW3.shape[:3]
    device = local_points_NHW3.device
    numbers = list(range(count) if groups is None else groups)
    members_NG = torch.nn.functional.one_hot(torch.tensor(numbers), max(numbers) + 1)
    members_NG = members_NG.to(device, torch.float32)
    step = max(1, int((height * width / config.samples_per_frame) ** 0.5))
    points = local_points_NHW3[:, step // 2 :: step, step // 2 :: step].float()
    rows = torch.arange(step // 2, height, step, device=device, dtype=torch.float32)
    columns = torch.arange(step // 2, width, step, device=device, dtype=torch.float32)
    usable = torch.isfinite(points).all(-1) & (points[..., 2] > 0)
    if valid_NHW is not None:
        usable &= valid_NHW[:, step // 2 :: step, step // 2 :: step]
    depth = torch.where(usable, points[..., 2], 1.0)
    ratios = torch.where(usable[..., None], points[..., :2] / depth[..., None], 0.0)
    u_S = (columns - (width - 1) / 2)[None, :].expand(len(rows), -1).reshape(-1)
    v_S = (rows - (height - 1) / 2)[:, None].expand(-1, len(columns)).reshape(-1)
    usable_NS = usable.flatten(1)
    horizontal = _fit(u_S, ratios[..., 0].flatten(1), usable_NS, members_NG, config)
    vertical = _fit(v_S, ratios[..., 1].flatten(1), usable_NS, members_NG, config)
    enough_G = members_NG.T @ usable_NS.sum(1).float() >= MIN_PIXELS
    K_G33 = _matrices(horizontal, vertical, enough_G, (height, width), config)
    return K_G33[torch.tensor(numbers, device=device)]


def _fit(
    pixel_S: Tensor,
    ratio_NS: Tensor,
    usable_NS: Tensor,
    members_NG: Tensor,
    config: IntrinsicsConfig,
) -> tuple[Tensor, Tensor]:
    """Slope and offset per group of ratio = slope * pixel + offset; (G,) each."""
    pixel_NS = pixel_S.expand_as(ratio_NS)
    weight_NS = usable_NS.float()
    slope_G = offset_G = torch.zeros_like(members_NG[0])
    for _ in range(config.iterations):

        def total_of(values_NS: Tensor) -> Tensor:
            return members_NG.T @ (weight_NS * values_NS).sum(1)  # noqa: B023 - used at once

        s1, su, suu = (total_of(pixel_NS**power) for power in (0, 1, 2))
        sr, sur = total_of(ratio_NS), total_of(pixel_NS * ratio_NS)
        if config.free_principal_point:
            determinant = (s1 * suu - su * su).clamp_min(1e-12)
            slope_G = (s1 * sur - su * sr) / determinant
            offset_G = (suu * sr - su * sur) / determinant
        else:
            slope_G = sur / suu.clamp_min(1e-12)
        residual_NS = (
            ratio_NS - (members_NG @ slope_G)[:, None] * pixel_NS - (members_NG @ offset_G)[:, None]
        ).abs()
        hidden = residual_NS.masked_fill(~usable_NS, float("nan"))
        sigma_N1 = 1.4826 * hidden.nanmedian(dim=1, keepdim=True).values.nan_to_num(0.0)
        bound = config.huber * sigma_N1.clamp_min(1e-7)
        weight_NS = usable_NS * (bound / residual_NS.clamp_min(1e-12)).clamp_max(1.0)
    return slope_G, offset_G


def _matrices(
    horizontal: tuple[Tensor, Tensor],
    vertical: tuple[Tensor, Tensor],
    enough_G: Tensor,
    size: tuple[int, int],
    config: IntrinsicsConfig,
) -> Tensor:
    """Camera matrices (G, 3, 3) from the slopes (1/f) and offsets (-c/f) of the groups."""
    height, width = size
    longest, shortest = (
        0.5 * width / math.tan(math.radians(fov_deg / 2)) for fov_deg in config.fov_limits_deg
    )
    fallback = 0.5 * width / math.tan(math.radians(FALLBACK_FOV_DEG / 2))
    K_G33 = torch.zeros(len(enough_G), 3, 3, device=enough_G.device)
    for axis, ((slope, offset), side) in enumerate(((horizontal, width), (vertical, height))):
        trusted = enough_G & (slope > 0)
        focal = (1.0 / slope.clamp_min(1e-12)).clamp(shortest, longest)
        K_G33[:, axis, axis] = torch.where(trusted, focal, fallback)
        shift = torch.where(trusted, offset * focal, 0.0).clamp(-side / 2, side / 2)
        K_G33[:, axis, 2] = (side - 1) / 2 - shift
    K_G33[:, 2, 2] = 1.0
    return K_G33
