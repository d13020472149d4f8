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

Shape letters: N frames, H W pixels, h w pixels of the coarse grid on which agreement is
computed, Q pairs of frames, S samples (h * w).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "ConfidenceConfig",
    "confidence_from_consistency",
    "depth_edges",
    "depth_jumps",
    "edge_tolerance",
    "valid_points",
]

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


def valid_points(local_points_NHW3: Tensor, edges_NHW: Tensor) -> Tensor:
    """(N, H, W) bool: finite, in front of the camera, not on a depth edge.

    Args:
        local_points_NHW3: Points in camera axes.
        edges_NHW: From `depth_edges`, over `edge_tolerance`: an edge is 1 or more.
    """
    finite = torch.isfinite(local_points_NHW3).all(-1)
    valid: Tensor = finite & (local_points_NHW3[..., 2] > 0) & (edges_NHW < 1.0)
    return valid


def edge_tolerance(jumps_NHW: Tensor, config: ConfidenceConfig) -> Tensor:
    """(N, 1, 1) relative jump that makes an edge in each frame.

    At least `config.edge_tolerance`; more where the frame's depth is rough as a whole, so that
    the noise of a small model is not taken for edges everywhere.

    Args:
        jumps_NHW: From `depth_jumps`.
        config: Tolerances.
    """
    step = max(1, min(jumps_NHW.shape[1:]) // config.coarse_side)
    roughness_N = jumps_NHW[:, ::step, ::step].flatten(1).median(dim=1).values
    tolerance_N = (config.edge_over_roughness * roughness_N).clamp(
        config.edge_tolerance, config.max_edge_tolerance
    )
    return tolerance_N[:, None, None]


def depth_edges(depth_NHW: Tensor, config: ConfidenceConfig | None = None) -> Tensor:
    """(N, H, W) jumps of inverse depth over each frame's tolerance; 1 and more is an edge."""
    jumps_NHW = depth_jumps(depth_NHW)
    return jumps_NHW / edge_tolerance(jumps_NHW, config or ConfidenceConfig())


def depth_jumps(depth_NHW: Tensor) -> Tensor:
    """Relative jump of inverse depth at each pixel; 0 on planes and on creases between them.

    The step of 1/z between two neighbours jumps by as much as it leaves the range of the steps
    before and after it. A pixel takes the largest jump to its four neighbours, over its 1/z.

    Args:
        depth_NHW: z-depth, any unit; not finite or not positive counts as an edge (inf).

    Returns:
        (N, H, W) float32, at least 0.
    """
    depth = depth_NHW.float()
    usable = torch.isfinite(depth) & (depth > 0)
    inverse = torch.where(usable, 1.0 / torch.where(usable, depth, 1.0), 0.0)
    edges = torch.zeros_like(inverse)
    for dim in (1, 2):
        if depth.shape[dim] < 3:
            continue
        step = inverse.diff(dim=dim)
        count = step.shape[dim]
        before = torch.cat([step.narrow(dim, 1, 1), step.narrow(dim, 0, count - 1)], dim)
        after = torch.cat([step.narrow(dim, 1, count - 1), step.narrow(dim, count - 2, 1)], dim)
        above = step - torch.maximum(before, after)
        below = torch.minimum(before, after) - step
        jump = torch.maximum(above, below).clamp_min(0.0)
        for padding in ((0, 1), (1, 0)):
            edges = torch.maximum(edges, F.pad(jump, (0, 0, *padding) if dim == 1 else padding))
    return torch.where(usable, edges / inverse.clamp_min(1e-12), torch.inf)


def confidence_from_consistency(
    local_points_NHW3: Tensor,
    T_world_cam_N44: Tensor,
    K_N33: Tensor,
    edges_NHW: Tensor,
    config: ConfidenceConfig | None = None,
) -> Tensor:
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
    config = config or ConfidenceConfig()
    points = local_points_NHW3.float()
    usable = torch.isfinite(points).all(-1) & (points[..., 2] > 0)
    edge = 1.0 / (1.0 + edges_NHW**2)
    clean = torch.where(usable[..., None], points, 0.0)
    coarse = _coarse(clean, T_world_cam_N44.float(), K_N33.float(), config)
    confidence: Tensor = torch.where(usable, edge * coarse, 0.0).nan_to_num(0.0)
    return confidence


def _coarse(
    points_NHW3: Tensor, T_world_cam_N44: Tensor, K_N33: Tensor, config: ConfidenceConfig
) -> Tensor:
    """(N, H, W): incidence x agreement, computed on a coarse grid and interpolated."""
    height, width = points_NHW3.shape[1:3]
    step_v, step_u = (max(1, round(side / config.coarse_side)) for side in (height, width))
    rows = torch.arange(step_v // 2, height, step_v, device=points_NHW3.device)
    columns = torch.arange(step_u // 2, width, step_u, device=points_NHW3.device)
    samples_Nhw3 = points_NHW3[:, rows][:, :, columns]
    quality_Nhw = _incidence(points_NHW3, samples_Nhw3, rows, columns, config.grazing_deg)
    if len(points_NHW3) == 1:
        quality_Nhw = PRIOR * quality_Nhw
    else:
        agreed_NS = _agreed(samples_Nhw3.flatten(1, 2), points_NHW3, T_world_cam_N44, K_N33, config)
        quality_Nhw = quality_Nhw * agreed_NS.view_as(quality_Nhw)
    # Samples sit at the centres of their blocks, which is what align_corners=False means.
    full = F.interpolate(
        quality_Nhw[:, None],
        size=(len(rows) * step_v, len(columns) * step_u),
        mode="bilinear",
        align_corners=False,
    )
    padding = (0, max(0, width - full.shape[-1]), 0, max(0, height - full.shape[-2]))
    return F.pad(full, padding, mode="replicate")[:, 0, :height, :width]


def _incidence(
    points_NHW3: Tensor, samples_Nhw3: Tensor, rows: Tensor, columns: Tensor, grazing_deg: float
) -> Tensor:
    """(N, h, w) in [0, 1]: sine of the angle between ray and surface over that of grazing."""
    height, width = points_NHW3.shape[1:3]
    # The last row and column have their neighbour on the other side; the sign does not matter.
    below = torch.where(rows + 1 < height, rows + 1, rows - 1)
    beside = torch.where(columns + 1 < width, columns + 1, columns - 1)
    down = points_NHW3[:, below][:, :, columns] - samples_Nhw3
    right = points_NHW3[:, rows][:, :, beside] - samples_Nhw3
    normal = torch.linalg.cross(right, down)
    lengths = normal.norm(dim=-1) * samples_Nhw3.norm(dim=-1)
    sine = (normal * samples_Nhw3).sum(-1).abs() / lengths.clamp_min(1e-20)
    share: Tensor = (sine / math.sin(math.radians(grazing_deg))).clamp(0.0, 1.0)
    return share


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
    samples_NS3: Tensor,
    points_NHW3: Tensor,
    T_world_cam_N44: Tensor,
    K_N33: Tensor,
    config: ConfidenceConfig,
) -> Tensor:
    """(N, S): posterior mean of "another frame agrees" of each sample."""
    pairs = _pairs(len(points_NHW3), config.max_partners)
    frame_Q, other_Q = torch.tensor(pairs, device=points_NHW3.device).T
    seen_QS, score_QS = _agreement(
        samples_NS3, points_NHW3[..., 2], frame_Q, other_Q, T_world_cam_N44, K_N33, config
    )
    seen_NS = torch.zeros_like(samples_NS3[..., 0]).index_add(0, frame_Q, seen_QS)
    score_NS = torch.zeros_like(seen_NS).index_add(0, frame_Q, score_QS)
    return (PRIOR + score_NS) / (1.0 + seen_NS)


def _agreement(
    samples_NS3: Tensor,
    depth_NHW: Tensor,
    frame_Q: Tensor,
    other_Q: Tensor,
    T_world_cam_N44: Tensor,
    K_N33: Tensor,
    config: ConfidenceConfig,
) -> tuple[Tensor, Tensor]:
    """Per pair and sample: is it seen by the other frame (0 or 1), and its score in [0, 1]."""
    height, width = depth_NHW.shape[1:]
    T_other_frame = torch.linalg.inv(T_world_cam_N44)[other_Q] @ T_world_cam_N44[frame_Q]
    moved = samples_NS3[frame_Q] @ T_other_frame[:, :3, :3].mT + T_other_frame[:, None, :3, 3]
    z = moved[..., 2]
    K = K_N33[other_Q]
    safe = z.clamp_min(1e-6)
    u = K[:, 0, 0, None] * moved[..., 0] / safe + K[:, 0, 2, None]
    v = K[:, 1, 1, None] * moved[..., 1] / safe + K[:, 1, 2, None]
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5) & (z > 1e-6)
    column = u.nan_to_num(0.0).clamp(0, width - 1).round().long()
    row = v.nan_to_num(0.0).clamp(0, height - 1).round().long()
    surface = depth_NHW[other_Q[:, None], row, column]
    difference = (z - surface) / surface
    known = inside & (samples_NS3[frame_Q][..., 2] > 0) & torch.isfinite(difference) & (surface > 0)
    hidden = difference > config.hidden_beyond * config.depth_tolerance
    seen = (known & ~hidden).float()
    score = torch.exp(-0.5 * (difference / config.depth_tolerance) ** 2)
    return seen, torch.where(seen > 0, score, 0.0)
