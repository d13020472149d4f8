# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ground truth of GASP: where lattices of points lie in all frames, and how deep patches are.

Points are pixels of a frame's depth map. Whether they can be seen in another frame is a ray cast
to the very point where the scene is known (synthetic rooms), else an agreement of the two depth
maps, away from edges of depth.

Shape letters: B windows, N frames, Q points per frame, P patches per frame, M pairs' anchors,
H W pixels.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.base import SceneInfo
from ..datasets.batch import WindowBatch
from ..stages.correspondence import PixelTracks, pixel_tracks
from ..stages.token_probe import pooled_depth
from ..synthetic import Room, make_room
from ..synthetic.correspond import hidden_points

__all__ = ["Anchors", "PointTracks", "anchors_of", "lattice", "patch_depths", "point_tracks"]

_LOG = logging.getLogger(__name__)
_EDGE_RTOL = 0.1
_ROOMS = 64
_KNOWN_SHARE = 0.1  # of a patch, for its mean depth to count


@dataclass(frozen=True)
class PointTracks:
    """Points of each frame i in each frame j.

    Args:
        place_BNNQ2: (x, y) as shares of the picture of frame j, 0 to 1 inside of it.
        depth_BNNQ: z-depth in frame j.
        visible_BNNQ: Seen in frame j, and the truth is reliable; False for i = j.
        own_Q2: (x, y) of the points in their own frame.
    """

    place_BNNQ2: Tensor
    depth_BNNQ: Tensor
    visible_BNNQ: Tensor
    own_Q2: Tensor


@dataclass(frozen=True)
class Anchors:
    """The points of one window that some other frame sees, as patches.

    Args:
        own_M: int64 patch that holds the point, counted through all frames of the window.
        match_MN: int64 patch that holds it in each frame, -1 where it is not seen.
        depth_MN: Its z-depth in each frame.
    """

    own_M: Tensor
    match_MN: Tensor
    depth_MN: Tensor


def lattice(size: int, points: int) -> Tensor:
    """(points,) int64 pixels nearest to the middles of so many equal parts of a side."""
    middle = (torch.arange(points) + 0.5) * size / points - 0.5
    return middle.round().long().clamp(0, size - 1)


@torch.no_grad()
def point_tracks(batch: WindowBatch, points: int, visibility: str = "exact") -> PointTracks:
    """Follow a lattice of points x points of each frame into all others.

    Args:
        batch: With depth, poses and intrinsics.
        points: Per side.
        visibility: "exact": by rays, where the scene of a window is known; elsewhere, and with
            "depth", where the depth maps of both frames agree.

    Raises:
        ValueError: Depth that is no number or below 0.
    """
    depth = batch.placed_depth_BNHW
    bad = ~(depth >= 0) | ~torch.isfinite(depth)
    if bool(bad.any()):
        raise ValueError(
            f"{int(bad.sum())} depths of the batch are negative or no number; 0 says unknown"
        )
    height, width = batch.grid
    rows, columns = (lattice(side, points).to(depth.device) for side in (height, width))
    found = pixel_tracks(depth, batch.T_world_cam_BN44, batch.K_BN33, rows, columns)
    sure_BNQ = ~_edges(depth)[:, :, rows][..., columns].flatten(2)
    visible = found.visible_BNNQ & sure_BNQ[:, :, None]
    for window, scene in enumerate(batch.scenes):
        if scene is None or visibility != "exact":
            continue
        seen = _seen_by_rays(batch, found, window, scene, points)
        visible[window] = visible[window] if seen is None else seen
    size = depth.new_tensor([width, height])
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    own_Q2 = (torch.stack((u, v), dim=-1).flatten(0, 1) + 0.5) / size
    return PointTracks((found.uv_BNNQ2 + 0.5) / size, found.depth_BNNQ, visible, own_Q2)


def _edges(depth_BNHW: Tensor) -> Tensor:
    """Pixels with a much different or unknown depth beside them."""
    z = depth_BNHW.flatten(0, 1)[:, None]
    far, near = F.max_pool2d(z, 3, 1, 1), -F.max_pool2d(-z, 3, 1, 1)
    return (far - near > _EDGE_RTOL * z)[:, 0].view_as(depth_BNHW)


@functools.lru_cache(maxsize=_ROOMS)
def _room(seed: int) -> Room:
    return make_room(seed)


def _seen_by_rays(
    batch: WindowBatch, found: PixelTracks, window: int, scene: SceneInfo, points: int
) -> Tensor | None:
    """(N, N, Q) exact visibility; None where it is not known what stands in the scene."""
    if scene.seed is None:
        return None
    room = _room(scene.seed)
    if room.objects != scene.objects:
        _LOG.warning(
            "seed %d now makes another room than the one that was rendered; what can be seen in "
            "its windows is taken from their depth maps", scene.seed,
        )  # fmt: skip
        return None
    inside_NNQ = found.inside_BNNQ[window]
    world_NQ3 = found.world_BNQ3[window].double().cpu().numpy()
    points_HW3 = world_NQ3.reshape(-1, points, 3)
    eyes_N3 = batch.T_world_cam_BN44[window, :, :3, 3].double().cpu().numpy()
    hidden = [hidden_points(room, points_HW3, eye_3, inside_NNQ.device) for eye_3 in eyes_N3]
    hidden_NNQ = torch.from_numpy(np.stack(hidden, axis=1)).to(inside_NNQ.device)
    by_frame = hidden_NNQ.unflatten(0, (len(world_NQ3), points)).transpose(1, 2)
    seen_NNQ: Tensor = inside_NNQ & ~by_frame.flatten(2)
    return seen_NNQ


def patch_of(place_2: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """int64 patch that holds each place (..., 2), given as shares of the picture."""
    rows, columns = grid_hw
    column = (place_2[..., 0] * columns).long().clamp(0, columns - 1)
    return (place_2[..., 1] * rows).long().clamp(0, rows - 1) * columns + column


def anchors_of(tracks: PointTracks, window: int, grid_hw: tuple[int, int]) -> Anchors:
    """The points of a window that are seen in some other frame, in a grid of patches."""
    visible_NNQ = tracks.visible_BNNQ[window]
    frames = len(visible_NNQ)
    patches = grid_hw[0] * grid_hw[1]
    first_N = patches * torch.arange(frames, device=visible_NNQ.device)
    own_NQ = patch_of(tracks.own_Q2, grid_hw) + first_N[:, None]
    there_NNQ = patch_of(tracks.place_BNNQ2[window], grid_hw) + first_N[:, None]
    match_NNQ = torch.where(visible_NNQ, there_NNQ, -1)
    some_NQ = visible_NNQ.any(dim=1)
    return Anchors(
        own_NQ[some_NQ],
        match_NNQ.transpose(1, 2)[some_NQ],
        tracks.depth_BNNQ[window].transpose(1, 2)[some_NQ],
    )


def patch_depths(depth_BNHW: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(B, N, P) mean known depth of patches, and whether enough of it is known (bool)."""
    mean_MP, share_MP = pooled_depth(depth_BNHW.flatten(0, 1), grid_hw)
    shape = depth_BNHW.shape[:2]
    return mean_MP.unflatten(0, shape), (share_MP > _KNOWN_SHARE).unflatten(0, shape)
