# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Photographs of rooms: colour, z-depth, normals and object numbers, exactly registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .raycast import camera_hits
from .room import Room
from .studio import Shot, Studio, expose

__all__ = ["RenderedFrames", "Shot", "render", "render_shots"]


@dataclass(frozen=True)
class RenderedFrames:
    """What the camera saw, and the truth about it.

    Args:
        rgb: (N, H, W, 3) uint8 sRGB.
        depth: (N, H, W) float32 z-depth in metres at the pixel centres, 0 where it is sky.
        normals: (N, H, W, 3) float32 unit vectors in camera axes, towards the camera; 0 in
            the sky.
        object_id: (N, H, W) uint8, 0 the room's shell, else `SceneObject.object_id`.
        T_world_cam: (N, 4, 4) float64 camera-to-world.
        K: (3, 3) float64 intrinsics in pixels, centre of the top-left pixel (0, 0).
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    object_id: NDArray[np.uint8]
    T_world_cam: NDArray[np.float64]
    K: NDArray[np.float64]


def render(
    room: Room,
    T_world_cam_N44: NDArray[np.float64],
    K_33: NDArray[np.float64],
    size_hw: tuple[int, int],
    *,
    supersample: int = 1,
    exposure: float = 1.0,
    device: str = "cpu",
) -> RenderedFrames:
    """Render N pictures of a room.

    Depth, normals and object numbers are those of the ray through the pixel's centre. With
    `supersample` above 1 the colours of pixels that an edge or a shadow's border crosses are
    the mean of `supersample` x `supersample` rays; elsewhere the filtered texture is smooth.

    Args:
        room: What to photograph.
        T_world_cam_N44: (N, 4, 4) camera-to-world, OpenCV axes, metres.
        K_33: (3, 3) pinhole matrix in pixels.
        size_hw: Height and width of the pictures.
        supersample: Colour rays per side of an edge's pixel.
        exposure: Factor on the automatic exposure, one value for all frames.
        device: Torch device of the rays.

    Raises:
        ValueError: Wrong shapes, no frame, or a camera outside of the room.
    """
    shot = Shot(room, np.asarray(T_world_cam_N44, np.float64), np.asarray(K_33, np.float64))
    return render_shots(
        [shot], size_hw, supersample=supersample, exposures=[exposure], device=device
    )[0]


def render_shots(
    shots: Sequence[Shot],
    size_hw: tuple[int, int],
    *,
    supersample: int = 1,
    exposures: Sequence[float] | None = None,
    device: str = "cpu",
) -> list[RenderedFrames]:
    """Render several shots, also of different rooms, in one go; a GPU likes many.

    Args:
        shots: What to photograph from where.
        size_hw: Height and width of all pictures.
        supersample: Colour rays per side of an edge's pixel.
        exposures: Factor on the automatic exposure of each shot.
        device: Torch device of the rays.

    Raises:
        ValueError: No shot, a wrong size, or not one exposure per shot.
    """
    if not shots:
        raise ValueError("shots is empty, expected at least one")
    if min(size_hw) < 1 or supersample < 1:
        raise ValueError(f"size is {size_hw} and supersample {supersample}, expected 1 or more")
    levels = [1.0] * len(shots) if exposures is None else list(exposures)
    if len(levels) != len(shots):
        raise ValueError(f"got {len(levels)} exposures for {len(shots)} shots, expected one each")
    studio = Studio(shots, torch.device(device))
    cameras = studio.cameras(size_hw, 1)
    hits = camera_hits(studio.geometry, cameras)
    view = studio.look(cameras, hits)
    edges = studio.edges(cameras, hits, view, supersample) if supersample > 1 else None
    rgb = expose(view.light_FHW3, edges, studio.shot_F, levels)
    ends = np.cumsum([0, *[len(shot.T_world_cam_N44) for shot in shots]])
    frames = []
    for index, shot in enumerate(shots):
        own = slice(int(ends[index]), int(ends[index + 1]))
        frames.append(
            RenderedFrames(
                rgb=rgb[own].cpu().numpy(),
                depth=view.depth_FHW[own].cpu().numpy(),
                normals=view.normals_FHW3[own].cpu().numpy(),
                object_id=view.object_FHW[own].cpu().numpy(),
                T_world_cam=np.asarray(shot.T_world_cam_N44, np.float64),
                K=np.asarray(shot.K_33, np.float64),
            )
        )
    return frames
