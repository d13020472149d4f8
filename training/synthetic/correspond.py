# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where surface points of one frame are in another, and whether they can be seen there.

Exact: a point is visible where a ray from the other camera to the very point meets nothing
before it, not where two depth maps happen to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .geometry import pack_geometry
from .raycast import TileGrid, blocked
from .render import RenderedFrames
from .room import Room

__all__ = ["Correspondences", "correspondences", "hidden_points"]

_MARGIN = 3e-4  # last share of the ray that is the surface itself; 1 mm at 3 m


@dataclass(frozen=True)
class Correspondences:
    """Pixels of frame i found in frame j.

    Args:
        uv_HW2: (H, W, 2) float64 pixel coordinates (column, row) in frame j of the surface
            point at each pixel's centre of frame i; NaN where there is none (sky, or behind
            camera j).
        depth_HW: (H, W) float64 z-depth of the point in frame j, metres; NaN like `uv_HW2`.
        visible_HW: (H, W) bool, inside of frame j, facing it and nothing before it.
    """

    uv_HW2: NDArray[np.float64]
    depth_HW: NDArray[np.float64]
    visible_HW: NDArray[np.bool_]


def correspondences(
    room: Room, frames: RenderedFrames, i: int, j: int, *, device: str = "cpu"
) -> Correspondences:
    """Find every pixel of frame i in frame j.

    Args:
        room: What the frames show.
        frames: From `render` of this room.
        i, j: Indices of the frames.
        device: Torch device of the rays.

    Raises:
        ValueError: There is no such frame.
    """
    count, height, width = frames.depth.shape
    for index in (i, j):
        if not 0 <= index < count:
            raise ValueError(f"frame is {index}, expected 0..{count - 1}")
    y, x = np.mgrid[:height, :width].astype(np.float64)
    K, z = frames.K, frames.depth[i].astype(np.float64)
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    T_world_i, T_world_j = frames.T_world_cam[i], frames.T_world_cam[j]
    world = (rays * z[..., None]) @ T_world_i[:3, :3].T + T_world_i[:3, 3]
    local = (world - T_world_j[:3, 3]) @ T_world_j[:3, :3]
    known = (z > 0) & (local[..., 2] > 1e-3)
    depth = np.where(known, local[..., 2], np.nan)
    uv = np.stack([local[..., k] / depth * K[k, k] + K[k, 2] for k in range(2)], axis=-1)
    with np.errstate(invalid="ignore"):
        inside = (np.abs(uv[..., 0] - (width - 1) / 2) <= width / 2) & (
            np.abs(uv[..., 1] - (height - 1) / 2) <= height / 2
        )
    normals = frames.normals[i].astype(np.float64) @ T_world_i[:3, :3].T
    faces = ((T_world_j[:3, 3] - world) * normals).sum(axis=-1) > 0
    visible = known & inside & faces
    visible &= ~hidden_points(room, world, T_world_j[:3, 3], torch.device(device))
    return Correspondences(uv, depth, visible)


def hidden_points(
    room: Room,
    world_HW3: NDArray[np.float64],
    eye_3: NDArray[np.float64],
    device: torch.device,
) -> NDArray[np.bool_]:
    """Find the points that something stands before.

    Args:
        room: What may stand there.
        world_HW3: Points on its surfaces, metres; neighbours share work.
        eye_3: Where from, metres.
        device: Torch device of the rays.

    Returns:
        (H, W) bool.
    """
    height, width = world_HW3.shape[:2]
    grid = TileGrid(1, height, width)
    points = torch.from_numpy(world_HW3).float().to(device)
    tiles_G3T = grid.to_tiles(points[None]).transpose(1, 2).contiguous()
    groups = len(tiles_G3T)
    dark = blocked(
        pack_geometry([room], device),
        torch.zeros(groups, dtype=torch.int64, device=device),
        torch.from_numpy(eye_3).float().to(device).expand(groups, 3),
        tiles_G3T,
        margin=_MARGIN,
    )
    hidden: NDArray[np.bool_] = grid.to_pictures(dark)[0].cpu().numpy()
    return hidden
