# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks at rooms through cameras: what is seen, its light, smooth edges, exposure.

Letters: F frames, G tiles, T rays of a tile, E pixels on edges, R rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .geometry import pack_geometry
from .raycast import SIDE, Cameras, Hits, camera_hits, turned
from .room import Room
from .shading import Shader
from .surface import Surfaces

__all__ = ["Edges", "Shot", "Studio", "View", "expose"]

_CHUNK = {"cpu": 256, "cuda": 16_384}  # tiles that are shaded at a time
_BEND = 0.95  # cosine between the normals of neighbours that make an edge
_CONTRAST = 2.0  # ratio between the light of neighbours that makes an edge


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


@dataclass(frozen=True)
class View:
    """What the rays through the pixels' centres see.

    Args:
        light_FHW3: Linear light.
        depth_FHW: z-depth in metres, 0 in the sky.
        normals_FHW3: Camera axes, 0 in the sky.
        object_FHW: uint8 object numbers.
        primitive_FHW: int64 index into the geometry.
    """

    light_FHW3: Tensor
    depth_FHW: Tensor
    normals_FHW3: Tensor
    object_FHW: Tensor
    primitive_FHW: Tensor


@dataclass(frozen=True)
class Edges:
    """Several rays for each pixel that an edge crosses.

    Args:
        frame_E, row_E, column_E: int64 pixels.
        light_EN3: Linear light of the N rays.
    """

    frame_E: Tensor
    row_E: Tensor
    column_E: Tensor
    light_EN3: Tensor


class Studio:
    """The rooms of some shots on a device, each room once.

    Args:
        shots: What to photograph from where.
        device: Where the rays live.
    """

    def __init__(self, shots: Sequence[Shot], device: torch.device) -> None:
        self.shots, self.device = shots, device
        self.rooms: list[Room] = []
        self.room_F: list[int] = []
        shot_F: list[int] = []
        for number, shot in enumerate(shots):
            if not self.rooms or self.rooms[-1] is not shot.room:
                self.rooms.append(shot.room)
            self.room_F += [len(self.rooms) - 1] * len(shot.T_world_cam_N44)
            shot_F += [number] * len(shot.T_world_cam_N44)
        self.shot_F = torch.tensor(shot_F, device=device)
        self.geometry = pack_geometry(self.rooms, device)
        self._surfaces = Surfaces(self.geometry)
        self._shader = Shader(self.rooms, self.geometry, device)
        owners = np.concatenate([room.object_M for room in self.rooms])
        self._owner_M = torch.from_numpy(owners).to(device, torch.uint8)
        self._open_B = torch.tensor([room.kind == "outdoor" for room in self.rooms], device=device)
        self._room_F = torch.tensor(self.room_F, device=device)

    def cameras(self, size_hw: tuple[int, int], factor: int) -> Cameras:
        """Rays of all shots, `factor` times as fine as the pixels."""
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

    def look(self, cameras: Cameras, hits: Hits) -> View:
        """Light, depth, normals and object numbers of what cameras see."""
        grid = cameras.grid
        frame_G = torch.arange(len(hits.t_GT), device=self.device) // grid.per_frame
        lights, normals, skies = [], [], []
        size = _CHUNK.get(self.device.type, _CHUNK["cuda"])
        for start in range(0, len(frame_G), size):
            part = slice(start, start + size)
            frame_R = frame_G[part].repeat_interleave(SIDE * SIDE)
            light, normal, sky = self._shade(
                cameras,
                frame_R,
                hits.direction_3GT[:, part].flatten(1),
                hits.t_GT[part].flatten(),
                hits.primitive_GT[part].flatten(),
            )
            R = cameras.R_world_cam_F33[frame_G[part]]
            world = normal.view(3, len(R), -1).transpose(0, 1)
            local = torch.stack(turned(R.transpose(1, 2), world), dim=-1)
            normals.append(local.masked_fill(sky.view(len(R), -1, 1), 0.0))
            lights.append(light.T.view(len(R), -1, 3))
            skies.append(sky.view(len(R), -1))
        depth = hits.t_GT.masked_fill(torch.cat(skies), 0.0)
        return View(
            light_FHW3=grid.to_pictures(torch.cat(lights)),
            depth_FHW=grid.to_pictures(depth),
            normals_FHW3=grid.to_pictures(torch.cat(normals)),
            object_FHW=grid.to_pictures(self._owner_M[hits.primitive_GT]),
            primitive_FHW=grid.to_pictures(hits.primitive_GT),
        )

    def edges(self, cameras: Cameras, hits: Hits, view: View, factor: int) -> Edges:
        """Look again, with `factor` x `factor` rays, at the pixels that an edge crosses."""
        grid = cameras.grid
        fine = self.cameras((grid.height, grid.width), factor)
        fine_hits = camera_hits(self.geometry, fine)
        seen = fine.grid.to_pictures(fine_hits.primitive_GT)
        inner = seen.view(grid.frames, grid.height, factor, grid.width, factor).transpose(2, 3)
        other = (inner != view.primitive_FHW[..., None, None]).flatten(3)
        other |= _borders(view)[..., None]
        tile, place = grid.to_tiles(other.any(dim=3)).nonzero().unbind(1)
        row = tile % grid.per_frame // grid.columns * SIDE + place // SIDE
        column = tile % grid.columns * SIDE + place % SIDE
        inside = (row < grid.height) & (column < grid.width)
        frame, row, column = tile[inside] // grid.per_frame, row[inside], column[inside]
        offset = torch.arange(factor, device=self.device)
        rows = (row[:, None, None] * factor + offset[:, None]).expand(-1, -1, factor).flatten(1)
        columns = (column[:, None, None] * factor + offset).expand(-1, factor, -1).flatten(1)
        light = view.light_FHW3[frame, row, column][:, None].repeat(1, factor * factor, 1)
        anew = other[frame, row, column]  # the other rays see what the one in the middle sees
        ray = fine.grid.ray_index(frame[:, None], rows, columns)[anew]
        which = frame[:, None].expand_as(anew)[anew]
        light[anew] = self._look_again(fine, fine_hits, which, ray)
        return Edges(frame, row, column, light)

    def _look_again(self, fine: Cameras, hits: Hits, frame_R: Tensor, ray_R: Tensor) -> Tensor:
        """(R, 3) light of chosen rays, put together to groups as large as tiles.

        Rays of a frame that hit the same thing stand together, so that few primitives can
        stand between a group and a lamp.
        """
        things = len(self.geometry.shape_M)
        order = torch.argsort(frame_R * things + hits.primitive_GT.flatten()[ray_R], stable=True)
        light = torch.empty(len(ray_R), 3, device=self.device)
        group, size = SIDE * SIDE, _CHUNK.get(self.device.type, _CHUNK["cuda"]) * SIDE * SIDE
        _, counts = torch.unique_consecutive(self._room_F[frame_R], return_counts=True)
        chosen, begin = [], 0
        for count in counts.tolist():  # groups must not mix rooms: fill up each room's last one
            own = torch.arange(begin, begin + count, device=self.device)
            chosen.append(torch.cat([own, own[-1:].expand(-count % group)]))
            begin += count
        for group_part in torch.cat(chosen).split(size) if chosen else ():
            part = order[group_part]
            ray = ray_R[part]
            light[part] = self._shade(
                fine,
                frame_R[part],
                hits.direction_3GT.flatten(1)[:, ray],
                hits.t_GT.flatten()[ray],
                hits.primitive_GT.flatten()[ray],
            )[0].T
        return light

    def _shade(
        self,
        cameras: Cameras,
        frame_R: Tensor,
        direction_3R: Tensor,
        t_R: Tensor,
        primitive_R: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(3, R) light, (3, R) world normals, (R,) bool sky of hits in groups like tiles."""
        x, y, z = (cameras.centre_F3.T[:, frame_R] + direction_3R * t_R).unbind(0)
        surface = self._surfaces.at((x, y, z), primitive_R)
        room_G = self._room_F[frame_R[:: SIDE * SIDE]]
        sky = surface.shell & self._open_B[self._room_F[frame_R]] & (z > 0.02)
        x_FW = cameras.x_FW
        step = x_FW[:, 1] - x_FW[:, 0] if x_FW.shape[1] > 1 else torch.full_like(x_FW[:, 0], 1e-2)
        light = self._shader.colours(
            surface, primitive_R, direction_3R, t_R, room_G, sky, step[frame_R]
        )
        return light, torch.stack(surface.normal), sky


def expose(
    light_FHW3: Tensor, edges: Edges | None, shot_F: Tensor, exposures: Sequence[float]
) -> Tensor:
    """Linear light to (F, H, W, 3) sRGB bytes; the mean of a shot's frames fixes its exposure."""
    level_F = light_FHW3.flatten(1).clamp(max=4.0).mean(dim=1)
    factor = torch.tensor(exposures, device=shot_F.device, dtype=torch.float32)
    total = torch.zeros_like(factor).index_add(0, shot_F, level_F)
    level = total / torch.bincount(shot_F, minlength=len(factor))
    scale_F = (0.24 * factor / level.clamp(min=1e-6))[shot_F]
    linear = _rolled(light_FHW3 * scale_F[:, None, None, None])
    if edges is not None:
        soft = _rolled(edges.light_EN3 * scale_F[edges.frame_E, None, None]).mean(dim=1)
        linear[edges.frame_E, edges.row_E, edges.column_E] = soft
    low = 12.92 * linear
    high = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    encoded = torch.where(linear <= 0.0031308, low, high)
    return (encoded.clamp(0, 1) * 255).round().to(torch.uint8)


def _rolled(light: Tensor) -> Tensor:
    """Highlights roll off as on film instead of clipping."""
    return torch.where(light > 0.7, 0.7 + 0.3 * torch.tanh((light - 0.7) / 0.5), light)


def _borders(view: View) -> Tensor:
    """(F, H, W) bool: pixels whose neighbour is another face, or much brighter or darker."""
    light = view.light_FHW3.sum(dim=3) + 1e-3
    mask = torch.zeros_like(light, dtype=torch.bool)
    for axis in (1, 2):
        length = light.shape[axis] - 1
        here, there = (slice(0, length), slice(1, length + 1))
        index = [(slice(None),) * axis + (each,) for each in (here, there)]
        normal = [view.normals_FHW3[each] for each in index]
        first, second = (light[each] for each in index)
        differs = (normal[0] * normal[1]).sum(dim=3) < _BEND
        differs &= view.primitive_FHW[index[0]] == view.primitive_FHW[index[1]]
        differs |= torch.maximum(first, second) > _CONTRAST * torch.minimum(first, second)
        for each in index:
            mask[each] |= differs
    return mask
