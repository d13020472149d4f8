"""Photographs of a room: colour, z-depth and object numbers, exactly registered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .raycast import Hits
from .room import Room
from .shading import Shader

__all__ = ["RenderedFrames", "render"]


@dataclass(frozen=True)
class RenderedFrames:
    """What the camera saw, and the truth about it.

    Args:
        rgb: (N, H, W, 3) uint8 sRGB.
        depth: (N, H, W) float32 z-depth in metres at the pixel centres.
        object_id: (N, H, W) uint8, 0 the room's shell, else `SceneObject.object_id`.
        T_world_cam: (N, 4, 4) float64 camera-to-world.
        K: (3, 3) float64 intrinsics in pixels, centre of the top-left pixel (0, 0).
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
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

    Depth and object numbers are those of the ray through the pixel's centre. Colours are the
    mean of `supersample` x `supersample` rays, so edges are smooth for 2 and above.

    Args:
        room: What to photograph.
        T_world_cam_N44: (N, 4, 4) camera-to-world, OpenCV axes, metres.
        K_33: (3, 3) pinhole matrix in pixels.
        size_hw: Height and width of the pictures.
        supersample: Colour rays per pixel side.
        exposure: Factor on the automatic exposure, one value for all frames.
        device: Torch device of the rays.

    Raises:
        ValueError: Wrong shapes, no frame, or a camera outside of the room.
    """
    poses = np.asarray(T_world_cam_N44, np.float64)
    _check(room, poses, K_33, size_hw, supersample)
    shader = Shader(room, torch.device(device))
    colours, depths, owners = [], [], []
    object_M = torch.from_numpy(room.object_M).to(device)
    for T_world_cam in torch.from_numpy(poses).float().to(device):
        centre_rays, K = _rays(T_world_cam, K_33, size_hw, 1)
        hits = _cast(shader, T_world_cam, centre_rays, K)
        if supersample == 1:
            light = _shade(shader, T_world_cam, centre_rays, hits, K)
        else:
            fine_rays, fine_K = _rays(T_world_cam, K_33, size_hw, supersample)
            fine_hits = _cast(shader, T_world_cam, fine_rays, fine_K)
            light = _shade(shader, T_world_cam, fine_rays, fine_hits, fine_K)
        colours.append(light)
        depths.append(hits.t)
        owners.append(object_M[hits.primitive].to(torch.uint8))
    rgb = _expose(torch.stack(colours), exposure, supersample)
    return RenderedFrames(
        rgb=rgb.cpu().numpy(),
        depth=torch.stack(depths).cpu().numpy(),
        object_id=torch.stack(owners).cpu().numpy(),
        T_world_cam=poses,
        K=np.asarray(K_33, np.float64),
    )


def _check(
    room: Room,
    poses: NDArray[np.float64],
    K_33: NDArray[np.float64],
    size_hw: tuple[int, int],
    supersample: int,
) -> None:
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) == 0:
        raise ValueError(f"T_world_cam has shape {poses.shape}, expected (N, 4, 4) with N >= 1")
    if np.shape(K_33) != (3, 3):
        raise ValueError(f"K has shape {np.shape(K_33)}, expected (3, 3)")
    if min(size_hw) < 1 or supersample < 1:
        raise ValueError(f"size is {size_hw} and supersample {supersample}, expected 1 or more")
    inside = np.abs(poses[:, :2, 3]) < np.array(room.size[:2]) / 2
    upright = (poses[:, 2, 3] > 0) & (poses[:, 2, 3] < room.size[2])
    bad = np.flatnonzero(~(inside.all(axis=1) & upright))
    if len(bad):
        raise ValueError(
            f"camera {bad[0]} stands at {poses[bad[0], :3, 3]}, outside the room {room.size}"
        )


def _rays(
    T_world_cam: Tensor, K_33: NDArray[np.float64], size_hw: tuple[int, int], factor: int
) -> tuple[Tensor, Tensor]:
    """(3, fH, fW) world directions with z_cam = 1, and K of that finer grid."""
    K = np.array(K_33, np.float64)
    K[:2] *= factor
    K[:2, 2] += (factor - 1) / 2
    height, width = size_hw[0] * factor, size_hw[1] * factor
    device = T_world_cam.device
    x = (torch.arange(width, device=device) - K[0, 2]) / K[0, 0]
    y = (torch.arange(height, device=device) - K[1, 2]) / K[1, 1]
    R = T_world_cam[:3, :3]
    columns = R[:, 0, None] * x
    rows = R[:, 1, None] * y
    directions = columns[:, None, :] + rows[:, :, None] + R[:, 2, None, None]
    return directions, torch.from_numpy(K).float().to(device)


def _cast(shader: Shader, T_world_cam: Tensor, directions: Tensor, K: Tensor) -> Hits:
    return shader.caster.camera_hits(T_world_cam[:3, 3], directions, T_world_cam[:3, :3], K)


def _shade(
    shader: Shader, T_world_cam: Tensor, directions: Tensor, hits: Hits, K: Tensor
) -> Tensor:
    flat = shader.colours(
        T_world_cam[:3, 3],
        directions.flatten(1),
        hits.t.flatten(),
        hits.primitive.flatten(),
        1.0 / float(K[0, 0]),
    )
    return flat.view(*directions.shape[1:], 3)


def _expose(light_NHW3: Tensor, exposure: float, supersample: int) -> Tensor:
    """Linear light to sRGB bytes; the mean of all frames fixes the exposure."""
    level = light_NHW3.flatten(0, 2).mean()
    scaled = light_NHW3 * (0.22 * exposure / level.clamp(min=1e-6))
    rolled = torch.where(scaled > 0.7, 0.7 + 0.3 * torch.tanh((scaled - 0.7) / 0.5), scaled)
    if supersample > 1:
        channels_first = rolled.permute(0, 3, 1, 2)
        rolled = torch.nn.functional.avg_pool2d(channels_first, supersample).permute(0, 2, 3, 1)
    low = 12.92 * rolled
    high = 1.055 * rolled.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    encoded = torch.where(rolled <= 0.0031308, low, high)
    return (encoded.clamp(0, 1) * 255).round().to(torch.uint8)
