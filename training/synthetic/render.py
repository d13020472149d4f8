"""Photographs of rooms: colour, z-depth, normals and object numbers, exactly registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .geometry import pack_geometry
from .raycast import Cameras, Hits, camera_hits
from .room import Room
from .shading import Shader
from .surface import Surfaces

__all__ = ["RenderedFrames", "Shot", "render", "render_shots"]

_CHUNK = {"cpu": 256, "cuda": 16_384}  # tiles that are shaded at a time


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


@dataclass(frozen=True)
class Shot:
    """Pictures that one camera takes of one room.

    Args:
        room: What to photograph.
        T_world_cam_N44: (N, 4, 4) float64 camera-to-world, OpenCV axes, metres.
        K_33: (3, 3) float64 pinhole matrix in pixels.
    """

    room: Room
    T_world_cam_N44: NDArray[np.float64]
    K_33: NDArray[np.float64]

    def __post_init__(self) -> None:
        poses = np.asarray(self.T_world_cam_N44)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) == 0:
            raise ValueError(f"T_world_cam has shape {poses.shape}, expected (N, 4, 4) with N >= 1")
        if np.shape(self.K_33) != (3, 3):
            raise ValueError(f"K has shape {np.shape(self.K_33)}, expected (3, 3)")
        size = self.room.size
        inside = np.abs(poses[:, :2, 3]) < np.array(size[:2]) / 2
        upright = (poses[:, 2, 3] > 0) & (poses[:, 2, 3] < size[2])
        bad = np.flatnonzero(~(inside.all(axis=1) & upright))
        if len(bad):
            raise ValueError(
                f"camera {bad[0]} stands at {poses[bad[0], :3, 3]}, outside the room {size}"
            )


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

    Depth, normals and object numbers are those of the ray through the pixel's centre. Colours
    are the mean of `supersample` x `supersample` rays, so edges are smooth for 2 and above.

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
    shot = Shot(room, np.asarray(T_world_cam_N44, np.float64), np.asarray(K_33, np.float64))
    options = {"supersample": supersample, "device": device}
    return render_shots([shot], size_hw, exposures=[exposure], **options)[0]  # type: ignore[arg-type]


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
        supersample: Colour rays per pixel side.
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
    studio = _Studio(shots, torch.device(device))
    cameras = studio.cameras(size_hw, 1)
    hits = camera_hits(studio.geometry, cameras)
    light, depth, normals, owner = studio.look(cameras, hits, paint=supersample == 1)
    if supersample > 1:
        fine = studio.cameras(size_hw, supersample)
        light = studio.look(fine, camera_hits(studio.geometry, fine), paint=True)[0]
    ends = np.cumsum([0, *[len(shot.T_world_cam_N44) for shot in shots]])
    frames = []
    for index, shot in enumerate(shots):
        own = slice(int(ends[index]), int(ends[index + 1]))
        frames.append(
            RenderedFrames(
                rgb=_expose(light[own], levels[index], supersample).cpu().numpy(),
                depth=depth[own].cpu().numpy(),
                normals=normals[own].cpu().numpy(),
                object_id=owner[own].cpu().numpy(),
                T_world_cam=np.asarray(shot.T_world_cam_N44, np.float64),
                K=np.asarray(shot.K_33, np.float64),
            )
        )
    return frames


class _Studio:
    """The rooms of some shots on a device, each room once."""

    def __init__(self, shots: Sequence[Shot], device: torch.device) -> None:
        self.shots, self.device = shots, device
        self.rooms: list[Room] = []
        self.room_F: list[int] = []
        for shot in shots:
            if not self.rooms or self.rooms[-1] is not shot.room:
                self.rooms.append(shot.room)
            self.room_F += [len(self.rooms) - 1] * len(shot.T_world_cam_N44)
        self.geometry = pack_geometry(self.rooms, device)
        self.surfaces = Surfaces(self.geometry)
        self.shader = Shader(self.rooms, self.geometry, device)
        owners = np.concatenate([room.object_M for room in self.rooms])
        self.owner_M = torch.from_numpy(owners).to(device, torch.uint8)
        self.open_B = torch.tensor([room.kind == "outdoor" for room in self.rooms], device=device)

    def cameras(self, size_hw: tuple[int, int], factor: int) -> Cameras:
        """Rays of all shots, `factor` times as fine."""
        poses = torch.from_numpy(np.concatenate([shot.T_world_cam_N44 for shot in self.shots]))
        x: list[NDArray[np.float64]] = []
        y: list[NDArray[np.float64]] = []
        for shot in self.shots:
            K = np.array(shot.K_33, np.float64)
            K[:2] *= factor
            K[:2, 2] += (factor - 1) / 2
            count = len(shot.T_world_cam_N44)
            for rows, axis, length in ((x, 0, size_hw[1]), (y, 1, size_hw[0])):
                ray = (np.arange(length * factor) - K[axis, 2]) / K[axis, axis]
                rows += [ray] * count
        return Cameras(
            room_F=tuple(self.room_F),
            centre_F3=poses[:, :3, 3].float().to(self.device),
            R_world_cam_F33=poses[:, :3, :3].float().to(self.device),
            x_FW=torch.from_numpy(np.stack(x)).float().to(self.device),
            y_FH=torch.from_numpy(np.stack(y)).float().to(self.device),
        )

    def look(
        self, cameras: Cameras, hits: Hits, *, paint: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Linear colours (F, H, W, 3; 0 unless painted), depth, normals, object numbers."""
        grid = cameras.grid
        frame_G = torch.arange(len(hits.t_GT), device=self.device) // grid.per_frame
        room_G = torch.tensor(self.room_F, device=self.device)[frame_G]
        step = cameras.x_FW[:, 1] - cameras.x_FW[:, 0] if cameras.x_FW.shape[1] > 1 else None
        angle_F = step if step is not None else torch.full_like(cameras.centre_F3[:, 0], 1e-2)
        colours, normals, skies = [], [], []
        size = _CHUNK.get(self.device.type, _CHUNK["cuda"])
        for start in range(0, len(frame_G), size):
            part = slice(start, start + size)
            frame, room = frame_G[part], room_G[part]
            direction, t = hits.direction_3GT[:, part], hits.t_GT[part]
            primitive = hits.primitive_GT[part].flatten()
            points = cameras.centre_F3[frame].T[:, :, None] + direction * t
            x, y, z = points.flatten(1)
            surface = self.surfaces.at((x, y, z), primitive)
            open_R = self.open_B[room].repeat_interleave(t.shape[1])
            sky = surface.shell & open_R & (z > 0.02)
            R = cameras.R_world_cam_F33[frame]
            world = torch.stack(surface.normal).view(3, len(frame), -1).transpose(0, 1)
            local = torch.bmm(R.transpose(1, 2), world).transpose(1, 2)
            normals.append(torch.where(sky.view_as(t)[..., None], 0.0, local))
            skies.append(sky.view_as(t))
            if paint:
                lit = self.shader.colours(
                    surface, primitive, direction.flatten(1), t.flatten(), room, sky, angle_F[frame]
                )
                colours.append(lit.T.view(*t.shape, 3))
        sky = torch.cat(skies)
        depth = torch.where(sky, 0.0, hits.t_GT)
        owner = self.owner_M[hits.primitive_GT]
        blank = torch.zeros(1, 1, 1, 3, device=self.device)
        return (
            grid.to_pictures(torch.cat(colours)) if paint else blank,
            grid.to_pictures(depth),
            grid.to_pictures(torch.cat(normals)),
            grid.to_pictures(owner),
        )


def _expose(light_NHW3: Tensor, exposure: float, supersample: int) -> Tensor:
    """Linear light to sRGB bytes; the mean of all frames fixes the exposure."""
    level = light_NHW3.flatten(0, 2).clamp(max=4.0).mean()
    scaled = light_NHW3 * (0.24 * exposure / level.clamp(min=1e-6))
    rolled = torch.where(scaled > 0.7, 0.7 + 0.3 * torch.tanh((scaled - 0.7) / 0.5), scaled)
    if supersample > 1:
        channels_first = rolled.permute(0, 3, 1, 2)
        rolled = F.avg_pool2d(channels_first, supersample).permute(0, 2, 3, 1)
    low = 12.92 * rolled
    high = 1.055 * rolled.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    encoded = torch.where(rolled <= 0.0031308, low, high)
    return (encoded.clamp(0, 1) * 255).round().to(torch.uint8)
