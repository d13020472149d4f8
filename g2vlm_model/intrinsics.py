# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pinhole intrinsics read off predicted points: robust least squares.

Written against the array API: tensors stay on their device, numpy arrays take the same lines.

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

import numpy as np
from array_api_compat import array_namespace, device

from .confidence import Array, finite_points

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
    local_points_NHW3: Array,
    groups: Sequence[int] | None = None,
    valid_NHW: Array | None = None,
    config: IntrinsicsConfig | None = None,
) -> Array:
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
    xp, where = array_namespace(local_points_NHW3), device(local_points_NHW3)
    count, height, width = local_points_NHW3.shape[:3]
    numbers = np.array(range(count) if groups is None else groups)
    members_NG = np.eye(numbers.max() + 1, dtype=np.float32)[numbers]
    members_NG = xp.asarray(members_NG, device=where)
    step = max(1, int((height * width / config.samples_per_frame) ** 0.5))
    sampled = (slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
    points = xp.astype(local_points_NHW3[sampled], xp.float32)
    usable = finite_points(points) & (points[..., 2] > 0)
    if valid_NHW is not None:
        usable = usable & valid_NHW[sampled]
    depth = xp.where(usable, points[..., 2], 1.0)
    ratios = xp.where(usable[..., None], points[..., :2] / depth[..., None], 0.0)
    v_hw, u_hw = np.meshgrid(
        *(np.arange(step // 2, side, step) - (side - 1) / 2 for side in (height, width)),
        indexing="ij",
    )
    usable_NS = xp.reshape(usable, (count, -1))
    horizontal, vertical = (
        _fit(
            xp.asarray(pixel.reshape(-1).astype(np.float32), device=where),
            xp.reshape(ratios[..., axis], (count, -1)),
            usable_NS,
            members_NG,
            config,
        )
        for axis, pixel in enumerate((u_hw, v_hw))
    )
    pixels_N = xp.sum(xp.astype(usable_NS, xp.float32), axis=1)
    enough_G = members_NG.T @ pixels_N >= MIN_PIXELS
    K_G33 = _matrices(horizontal, vertical, enough_G, (height, width), config)
    return K_G33[xp.asarray(numbers, device=where)]


def _fit(
    pixel_S: Array,
    ratio_NS: Array,
    usable_NS: Array,
    members_NG: Array,
    config: IntrinsicsConfig,
) -> tuple[Array, Array]:
    """Slope and offset per group of ratio = slope * pixel + offset; (G,) each."""
    xp = array_namespace(ratio_NS)
    counted_NS = xp.astype(usable_NS, xp.float32)
    # The median residual of a frame stands in the middle of the usable ones, sorted first.
    middle_N = xp.clip((xp.sum(xp.astype(usable_NS, xp.int64), axis=1) - 1) // 2, 0, None)
    frames_N = xp.arange(len(ratio_NS), device=device(ratio_NS))
    weight_NS = counted_NS
    slope_G = offset_G = xp.zeros_like(members_NG[0])
    for left in reversed(range(config.iterations)):

        def total_of(values_NS: Array, weight_NS: Array = weight_NS) -> Array:
            return members_NG.T @ xp.sum(weight_NS * values_NS, axis=1)

        s1, su, suu = (total_of(pixel_S**power) for power in (0, 1, 2))
        sr, sur = total_of(ratio_NS), total_of(pixel_S * ratio_NS)
        if config.free_principal_point:
            determinant = xp.clip(s1 * suu - su * su, 1e-12, None)
            slope_G = (s1 * sur - su * sr) / determinant
            offset_G = (suu * sr - su * sur) / determinant
        else:
            slope_G = sur / xp.clip(suu, 1e-12, None)
        if not left:  # nothing is weighted anew
            break
        fitted_NS = (members_NG @ slope_G)[:, None] * pixel_S + (members_NG @ offset_G)[:, None]
        residual_NS = xp.abs(ratio_NS - fitted_NS)
        ordered_NS = xp.sort(xp.where(usable_NS, residual_NS, math.inf), axis=1)
        median_N = ordered_NS[frames_N, middle_N]
        sigma_N = 1.4826 * xp.where(xp.isfinite(median_N), median_N, 0.0)
        bound_N1 = config.huber * xp.clip(sigma_N, 1e-7, None)[:, None]
        share_NS = xp.clip(bound_N1 / xp.clip(residual_NS, 1e-12, None), None, 1.0)
        weight_NS = counted_NS * share_NS
    return slope_G, offset_G


def _matrices(
    horizontal: tuple[Array, Array],
    vertical: tuple[Array, Array],
    enough_G: Array,
    size: tuple[int, int],
    config: IntrinsicsConfig,
) -> Array:
    """Camera matrices (G, 3, 3) from the slopes (1/f) and offsets (-c/f) of the groups."""
    xp = array_namespace(enough_G)
    height, width = size
    longest, shortest = (
        0.5 * width / math.tan(math.radians(fov_deg / 2)) for fov_deg in config.fov_limits_deg
    )
    fallback = 0.5 * width / math.tan(math.radians(FALLBACK_FOV_DEG / 2))
    rows = []
    for axis, ((slope, offset), side) in enumerate(((horizontal, width), (vertical, height))):
        trusted = enough_G & (slope > 0)
        focal = xp.clip(1.0 / xp.clip(slope, 1e-12, None), shortest, longest)
        shift = xp.clip(xp.where(trusted, offset * focal, 0.0), -side / 2, side / 2)
        row = [xp.zeros_like(slope)] * 3
        row[axis], row[2] = xp.where(trusted, focal, fallback), (side - 1) / 2 - shift
        rows.append(xp.stack(row, axis=-1))
    nothing, one = xp.zeros_like(rows[0][:, 0]), xp.ones_like(rows[0][:, 0])
    return xp.stack((*rows, xp.stack((nothing, nothing, one), axis=-1)), axis=1)
