# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Confidence and validity of predicted points, for models without a confidence head too.

Without a head, the confidence of a pixel is the product of

    edge x incidence x (PRIOR + sum of agreement over the frames that see the point)
                     / (1 + number of frames that see the point)

- *agreement*: the point is moved into another frame, its depth there is compared with the
  depth which that frame itself predicts at the place. The relative difference r scores
  exp(-(r / tolerance)^2 / 2). A point that lies clearly behind the other frame's surface is
  hidden there and says nothing; a point clearly in front of it contradicts that frame's free
  space and scores 0.
- *edge*: falls where the inverse depth jumps. Inverse depth is linear in the pixel on every
  plane, so a slanted floor has no jump, and neither has the crease between floor and wall. A
  frame whose depth is rough as a whole has a larger tolerance.
- *incidence*: falls where the surface is seen at a grazing angle.

Agreement and incidence are computed on a coarse grid and interpolated, edges at every pixel.

The fraction is the posterior mean of a coin with one prior toss: an unseen point keeps
PRIOR = 0.5, every frame that confirms it raises it. A window of one frame therefore has
0.5 x edge x incidence: nothing has confirmed it. With a confidence head the confidence is the
sigmoid of its logit. `valid` does not depend on which of the two is used.

Written against the array API: tensors on a device and numpy arrays take the same lines.

Shape letters: N frames, H W pixels, h w pixels of the coarse grid on which agreement is
computed, Q pairs of frames, S samples (h * w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

__all__ = [
    "Array",
    "ConfidenceConfig",
    "confidence_from_consistency",
    "depth_edges",
    "depth_jumps",
    "edge_tolerance",
    "finite_points",
    "valid_points",
]

Array = Any  # a tensor or a numpy array; what goes in comes out

PRIOR = 0.5


@dataclass(frozen=True)
class ConfidenceConfig:
    """Tolerances of the consistency confidence.

    Args:
        depth_tolerance: Relative depth difference between frames that counts as one sigma.
        hidden_beyond: A point deeper than the other surface by this many tolerances is hidden.
        edge_tolerance: Relative jump of inverse depth that makes an edge, at least.
        max_edge_tolerance: The same, at most.
        edge_over_roughness: Between the two, so many times the frame's median jump.
        grazing_deg: Angle between ray and surface below which incidence lowers confidence.
        max_partners: A frame is compared with at most this many others, spread over the window.
        coarse_side: Agreement is computed on a grid of about this many pixels a side;
            the predicted surface is no finer than a patch anyway.
    """

    depth_tolerance: float = 0.05
    hidden_beyond: float = 3.0
    edge_tolerance: float = 0.05
    max_edge_tolerance: float = 0.25
    edge_over_roughness: float = 3.0
    grazing_deg: float = 10.0
    max_partners: int = 6
    coarse_side: int = 32


def finite_points(points: Array) -> Array:
    """(...) bool of points (..., 3): all three numbers are finite."""
    finite = array_namespace(points).isfinite(points)
    # Three maps: a reduction over three numbers at a time is what numpy is slowest at.
    return finite[..., 0] & finite[..., 1] & finite[..., 2]


def valid_points(local_points_NHW3: Array, edges_NHW: Array) -> Array:
    """(N, H, W) bool: finite, in front of the camera, not on a depth edge.

    Args:
        local_points_NHW3: Points in camera axes.
        edges_NHW: From `depth_edges`, over `edge_tolerance`: an edge is 1 or more.
    """
    in_front = local_points_NHW3[..., 2] > 0
    return finite_points(local_points_NHW3) & in_front & (edges_NHW < 1.0)


def edge_tolerance(jumps_NHW: Array, config: ConfidenceConfig) -> Array:
    """(N, 1, 1) relative jump that makes an edge in each frame.

    At least `config.edge_tolerance`; more where the frame's depth is rough as a whole, so that
    the noise of a small model is not taken for edges everywhere.

    Args:
        jumps_NHW: From `depth_jumps`.
        config: Tolerances.
    """
    xp = array_namespace(jumps_NHW)
    step = max(1, min(jumps_NHW.shape[1:]) // config.coarse_side)
    sampled_NS = xp.reshape(jumps_NHW[:, ::step, ::step], (len(jumps_NHW), -1))
    roughness_N = xp.sort(sampled_NS, axis=1)[:, (sampled_NS.shape[1] - 1) // 2]  # the median
    tolerance_N = xp.clip(
        config.edge_over_roughness * roughness_N, config.edge_tolerance, config.max_edge_tolerance
    )
    return tolerance_N[:, None, None]


def depth_edges(depth_NHW: Array, config: ConfidenceConfig | None = None) -> Array:
    """(N, H, W) jumps of inverse depth over each frame's tolerance; 1 and more is an edge."""
    jumps_NHW = depth_jumps(depth_NHW)
    return jumps_NHW / edge_tolerance(jumps_NHW, config or ConfidenceConfig())


def depth_jumps(depth_NHW: Array) -> Array:
    """Relative jump of inverse depth at each pixel; 0 on planes and on creases between them.

    The step of 1/z between two neighbours jumps by as much as it leaves the range of the steps
    before and after it. A pixel takes the largest jump to its four neighbours, over its 1/z.

    Args:
        depth_NHW: z-depth, any unit; not finite or not positive counts as an edge (inf).

    Returns:
        (N, H, W) float32, at least 0.
    """
    xp = array_namespace(depth_NHW)
    depth = xp.astype(depth_NHW, xp.float32)
    usable = xp.isfinite(depth) & (depth > 0)
    inverse = xp.where(usable, 1.0 / xp.where(usable, depth, 1.0), 0.0)
    down = _jumps_between_rows(inverse)
    across = xp.permute_dims(_jumps_between_rows(xp.permute_dims(inverse, (0, 2, 1))), (0, 2, 1))
    edges = xp.maximum(down, across)
    return xp.where(usable, edges / xp.clip(inverse, 1e-12, None), math.inf)


def _jumps_between_rows(inverse_NHW: Array) -> Array:
    """Largest jump of each pixel to the pixels above and below it."""
    xp = array_namespace(inverse_NHW)
    nothing = xp.zeros_like(inverse_NHW[:, :1])
    if inverse_NHW.shape[1] < 3:
        return xp.zeros_like(inverse_NHW)
    step = inverse_NHW[:, 1:] - inverse_NHW[:, :-1]
    before = xp.concat((step[:, 1:2], step[:, :-1]), axis=1)
    after = xp.concat((step[:, 1:], step[:, -2:-1]), axis=1)
    over = step - xp.maximum(before, after)
    under = xp.minimum(before, after) - step
    jump = xp.clip(xp.maximum(over, under), 0.0, None)
    return xp.maximum(xp.concat((jump, nothing), axis=1), xp.concat((nothing, jump), axis=1))


def confidence_from_consistency(
    local_points_NHW3: Array,
    T_world_cam_N44: Array,
    K_N33: Array,
    edges_NHW: Array,
    config: ConfidenceConfig | None = None,
) -> Array:
    """Confidence in [0, 1] from multi-view consistency, depth edges and incidence.

    Args:
        local_points_NHW3: Points in camera axes, scene units.
        T_world_cam_N44: Camera-to-world.
        K_N33: Intrinsics in pixels of this picture.
        edges_NHW: From `depth_edges`.
        config: None is the default.

    Returns:
        (N, H, W) float32; 0 where a point is not finite or behind the camera.
    """
    xp = array_namespace(local_points_NHW3)
    config = config or ConfidenceConfig()
    points, T, K = (
        xp.astype(one, xp.float32) for one in (local_points_NHW3, T_world_cam_N44, K_N33)
    )
    usable = finite_points(points) & (points[..., 2] > 0)
    edge = 1.0 / (1.0 + edges_NHW**2)
    coarse = _coarse(xp.where(usable[..., None], points, 0.0), T, K, config)
    confidence = xp.where(usable, edge * coarse, 0.0)
    return xp.where(xp.isnan(confidence), 0.0, confidence)


def _coarse(
    points_NHW3: Array, T_world_cam_N44: Array, K_N33: Array, config: ConfidenceConfig
) -> Array:
    """(N, H, W): incidence x agreement, computed on a coarse grid and interpolated."""
    xp = array_namespace(points_NHW3)
    count, height, width = points_NHW3.shape[:3]
    step_v, step_u = (max(1, round(side / config.coarse_side)) for side in (height, width))
    rows = np.arange(step_v // 2, height, step_v)
    columns = np.arange(step_u // 2, width, step_u)
    samples_Nhw3 = points_NHW3[:, step_v // 2 :: step_v, step_u // 2 :: step_u]
    quality_Nhw = _incidence(points_NHW3, samples_Nhw3, rows, columns, config.grazing_deg)
    if count == 1:
        quality_Nhw = PRIOR * quality_Nhw
    else:
        samples_NS3 = xp.reshape(samples_Nhw3, (count, -1, 3))
        agreed_NS = _agreed(samples_NS3, points_NHW3, T_world_cam_N44, K_N33, config)
        quality_Nhw = quality_Nhw * xp.reshape(agreed_NS, quality_Nhw.shape)
    down_Hh, across_Ww = (
        xp.asarray(_interpolation(len(places), step, side), device=device(points_NHW3))
        for places, step, side in ((rows, step_v, height), (columns, step_u, width))
    )
    return down_Hh @ quality_Nhw @ across_Ww.T


def _interpolation(samples: int, step: int, side: int) -> NDArray[np.float32]:
    """(side, samples) weights: linear between samples, which sit at the centres of their blocks.

    Beyond the first and the last centre the sample there counts alone.
    """
    place = np.clip((np.arange(side) + 0.5) / step - 0.5, 0, samples - 1)
    lower = np.minimum(place.astype(np.int64), max(0, samples - 2))
    upper = np.minimum(lower + 1, samples - 1)
    share = (place - lower).astype(np.float32)
    weights = np.zeros((side, samples), np.float32)
    weights[np.arange(side), lower] = 1.0 - share
    weights[np.arange(side), upper] += share
    return weights


def _incidence(
    points_NHW3: Array,
    samples_Nhw3: Array,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    grazing_deg: float,
) -> Array:
    """(N, h, w) in [0, 1]: sine of the angle between ray and surface over that of grazing."""
    xp = array_namespace(points_NHW3)
    where = device(points_NHW3)
    height, width = points_NHW3.shape[1:3]
    # The last row and column have their neighbour on the other side; the sign does not matter.
    below = np.where(rows + 1 < height, rows + 1, rows - 1)
    beside = np.where(columns + 1 < width, columns + 1, columns - 1)

    def at(chosen_rows: NDArray[np.int64], chosen_columns: NDArray[np.int64]) -> Array:
        lines = xp.take(points_NHW3, xp.asarray(chosen_rows, device=where), axis=1)
        return xp.take(lines, xp.asarray(chosen_columns, device=where), axis=2)

    down, right = at(below, columns) - samples_Nhw3, at(rows, beside) - samples_Nhw3
    normal = xp.linalg.cross(right, down, axis=-1)
    lengths = xp.linalg.vector_norm(normal, axis=-1) * xp.linalg.vector_norm(samples_Nhw3, axis=-1)
    sine = xp.abs(xp.sum(normal * samples_Nhw3, axis=-1)) / xp.clip(lengths, 1e-20, None)
    return xp.clip(sine / math.sin(math.radians(grazing_deg)), 0.0, 1.0)


def _pairs(count: int, max_partners: int) -> list[tuple[int, int]]:
    """(frame, partner) pairs; partners are spread evenly where there are too many."""
    pairs = []
    for frame in range(count):
        others = [other for other in range(count) if other != frame]
        if len(others) > max_partners:
            stride = len(others) / max_partners
            others = [others[int((index + 0.5) * stride)] for index in range(max_partners)]
        pairs += [(frame, other) for other in others]
    return pairs


def _agreed(
    samples_NS3: Array,
    points_NHW3: Array,
    T_world_cam_N44: Array,
    K_N33: Array,
    config: ConfidenceConfig,
) -> Array:
    """(N, S): posterior mean of "another frame agrees" of each sample."""
    xp, where, count = array_namespace(points_NHW3), device(points_NHW3), len(points_NHW3)
    pairs_Q2 = np.array(_pairs(count, config.max_partners))
    frame_Q, other_Q = (xp.asarray(np.ascontiguousarray(one), device=where) for one in pairs_Q2.T)
    seen_QS, score_QS = _agreement(
        samples_NS3, points_NHW3[..., 2], frame_Q, other_Q, T_world_cam_N44, K_N33, config
    )
    own_NQ = (np.arange(count)[:, None] == pairs_Q2[:, 0]).astype(np.float32)
    own_NQ = xp.asarray(own_NQ, device=where)
    return (PRIOR + own_NQ @ score_QS) / (1.0 + own_NQ @ seen_QS)


def _agreement(
    samples_NS3: Array,
    depth_NHW: Array,
    frame_Q: Array,
    other_Q: Array,
    T_world_cam_N44: Array,
    K_N33: Array,
    config: ConfidenceConfig,
) -> tuple[Array, Array]:
    """Per pair and sample: is it seen by the other frame (0 or 1), and its score in [0, 1]."""
    xp = array_namespace(samples_NS3)
    height, width = depth_NHW.shape[1:]
    T_other_frame = xp.linalg.inv(T_world_cam_N44)[other_Q] @ T_world_cam_N44[frame_Q]
    turn_Q33 = xp.matrix_transpose(T_other_frame[:, :3, :3])
    samples_QS3 = samples_NS3[frame_Q]
    moved = samples_QS3 @ turn_Q33 + T_other_frame[:, None, :3, 3]
    z = moved[..., 2]
    K = K_N33[other_Q]
    safe = xp.clip(z, 1e-6, None)
    u = K[:, 0, 0, None] * moved[..., 0] / safe + K[:, 0, 2, None]
    v = K[:, 1, 1, None] * moved[..., 1] / safe + K[:, 1, 2, None]
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5) & (z > 1e-6)
    column, row = (
        xp.astype(xp.round(xp.clip(xp.where(inside, place, 0.0), 0, side - 1)), xp.int64)
        for place, side in ((u, width), (v, height))
    )
    surface = depth_NHW[other_Q[:, None], row, column]
    usable = surface > 0
    difference = (z - surface) / xp.where(usable, surface, 1.0)
    known = inside & (samples_QS3[..., 2] > 0) & xp.isfinite(difference) & usable
    hidden = difference > config.hidden_beyond * config.depth_tolerance
    seen = known & ~hidden
    score = xp.exp(-0.5 * (difference / config.depth_tolerance) ** 2)
    return xp.astype(seen, xp.float32), xp.where(seen, score, 0.0)
