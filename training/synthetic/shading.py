# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Colour of the surfaces that rays hit: textures, lamps, shadows, bounced light, sky.

Letters: R rays, M primitives, T materials, K textures, S texture side, L lamps, B rooms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .geometry import Geometry
from .raycast import blocked
from .room import Room
from .surface import Surface

__all__ = ["Shader"]

_LIFT = 0.004  # metres that shadow rays end above their surface
_CASTING = 2  # lamps that throw shadows: the strongest of each room
_SHADOW = 0.06  # share of a lamp that still arrives in its shadow


class Shader:
    """Shades surfaces of packed rooms.

    Args:
        rooms: The rooms.
        geometry: Their primitives.
        device: Where the rays live.
    """

    def __init__(self, rooms: Sequence[Room], geometry: Geometry, device: torch.device) -> None:
        self.geometry = geometry
        materials = np.cumsum([0, *[len(room.texture_T) for room in rooms]])
        textures = np.cumsum([0, *[len(room.textures_KSS3) for room in rooms]])
        self._material_M6 = _joined(
            [room.material_M6 + first for room, first in zip(rooms, materials, strict=False)],
            device,
        )
        texture = np.concatenate(
            [room.texture_T + first for room, first in zip(rooms, textures, strict=False)]
        )
        columns = [
            np.concatenate([room.tint_T3 for room in rooms]),
            np.concatenate([room.tile_T for room in rooms])[:, None],
            np.concatenate([room.gloss_T for room in rooms])[:, None],
            np.concatenate([room.glow_T for room in rooms])[:, None],
            texture[:, None],
        ]
        table = np.concatenate(columns, axis=1).astype(np.float32)
        self._table = torch.from_numpy(table).to(device)
        self._texels, self._level_start, self._level_side = _pyramid(
            _joined([room.textures_KSS3 for room in rooms], device)
        )
        lamps = max(len(room.light_L3) for room in rooms)
        self._light_BL3 = _stacked([room.light_L3 for room in rooms], lamps, device)
        self._power_BL3 = _stacked([room.power_L3 for room in rooms], lamps, device)
        self._above_B3 = _joined([room.above_3[None] for room in rooms], device)
        self._below_B3 = _joined([room.below_3[None] for room in rooms], device)
        self._open_B = torch.tensor([room.kind == "outdoor" for room in rooms], device=device)
        half = [room.half_M3[0] for room in rooms]
        self._half_B3 = torch.from_numpy(np.stack(half)).to(device)

    def colours(
        self,
        surface: Surface,
        primitive_R: Tensor,
        direction_3R: Tensor,
        t_R: Tensor,
        room_G: Tensor,
        sky_R: Tensor,
        pixel_angle_R: Tensor,
    ) -> Tensor:
        """Linear light that comes back along rays of G tiles.

        Args:
            surface: What the rays hit; R = G times the rays of a tile.
            primitive_R: (R,) int64.
            direction_3R: (3, R) ray directions, z = 1 in camera axes.
            t_R: (R,) z-depth of the hits.
            room_G: (G,) int64 room of each tile.
            sky_R: (R,) bool, where the ray left an open scene.
            pixel_angle_R: (R,) size of a pixel at depth 1, metres.

        Returns:
            (3, R) float32, not yet exposed.
        """
        rays = len(primitive_R) // len(room_G)
        room_R = room_G.repeat_interleave(rays)
        speed = (direction_3R * direction_3R).sum(0).sqrt()
        view = -direction_3R / speed
        nx, ny, nz = surface.normal
        facing = (nx * view[0] + ny * view[1] + nz * view[2]).abs()
        footprint = pixel_angle_R * t_R / facing.clamp(min=0.25)
        material = self._material_M6[primitive_R, surface.face]
        columns = self._table[material].T.contiguous()
        albedo = self._texture(surface, columns, footprint) * columns[:3]
        light, shine = self._light(surface, view, room_G, room_R, sky_R)
        total = albedo * (light + columns[5]) + shine * columns[4]
        sky = self._sky(direction_3R, room_R) if bool(sky_R.any()) else total
        return torch.where(sky_R, sky, total)

    def _texture(self, surface: Surface, columns: Tensor, footprint: Tensor) -> Tensor:
        """(3, R) bilinear texels of the mip level that suits the pixel's footprint."""
        tile, texture = columns[3], columns[6].long()
        (x, y, z), (wide_x, wide_y, wide_z) = surface.along, surface.half
        on_x, on_z = surface.axis == 0, surface.axis == 2
        across = torch.where(on_x, y, x)
        across = torch.where(surface.rounded, torch.atan2(y, x) * wide_x, across)
        down = torch.where(on_z & ~surface.rounded, y, -z)
        width = torch.where(on_x, wide_y, wide_x)
        height = torch.where(on_z, wide_y, wide_z)
        fits = tile == 0
        scale = tile.clamp(min=1e-3)
        v = torch.where(fits, 0.5 + 0.5 * down / height, down / scale)
        u = torch.where(fits, 0.5 - 0.5 * across / width, across / scale)
        span = torch.where(fits, 2 * torch.maximum(width, height), scale)
        texel = span / self._level_side[0]
        level = torch.log2((footprint / texel).clamp(min=1.0)).round().long()
        level = level.clamp(max=len(self._level_side) - 1)
        side = self._level_side[level]
        mask = side - 1  # sides are powers of two
        row, column = v * side - 0.5, u * side - 0.5
        low_row, low_column = row.floor(), column.floor()
        down_share, right_share = row - low_row, column - low_column
        top, left = low_row.long() & mask, low_column.long() & mask
        bottom, right = (top + 1) & mask, (left + 1) & mask
        base = self._level_start[level] + texture * side * side
        upper, lower = base + top * side, base + bottom * side
        first = torch.lerp(
            self._texels[upper + left], self._texels[upper + right], right_share[:, None]
        )
        second = torch.lerp(
            self._texels[lower + left], self._texels[lower + right], right_share[:, None]
        )
        return torch.lerp(first, second, down_share[:, None]).T

    def _light(
        self, surface: Surface, view_3R: Tensor, room_G: Tensor, room_R: Tensor, sky_R: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(3, R) light that falls on surfaces, and (3, R) that they would mirror."""
        point, normal = torch.stack(surface.point), torch.stack(surface.normal)
        upward = 0.5 + 0.5 * normal[2]
        above, below = self._above_B3.T[:, room_R], self._below_B3.T[:, room_R]
        total = torch.lerp(below, above, upward) * self._corner_shade(surface, room_R)
        shine = torch.zeros_like(total)
        ends = (point + _LIFT * normal).view(3, len(room_G), -1).transpose(0, 1)
        valid = ~sky_R.view(len(room_G), -1)
        for index in range(self._light_BL3.shape[1]):
            light_G3, power_B3 = self._light_BL3[room_G, index], self._power_BL3[:, index]
            to_light = light_G3.T[:, :, None] - point.view(3, len(room_G), -1)
            to_light = to_light.flatten(1)
            square = (to_light * to_light).sum(0)
            ray = to_light * square.clamp(min=1e-6).rsqrt()
            cosine = (ray * normal).sum(0)
            strength = cosine.clamp(min=0) / (0.5 + square)
            dark = torch.zeros_like(sky_R)
            if index < _CASTING:
                lit = (strength > 0).view_as(valid) & valid
                dark = self._in_shadow(room_G, light_G3, ends, lit).flatten()
                strength = torch.where(dark, _SHADOW * strength, strength)
            power = power_B3.T[:, room_R]
            total = total + strength * power
            mirrored = (2 * cosine * (normal * view_3R).sum(0) - (ray * view_3R).sum(0)).clamp(
                min=0
            )
            glint = _power_24(mirrored) / (0.5 + square)
            shine = shine + torch.where(dark | (cosine <= 0), 0.0, glint) * power
        return total, shine + 0.25 * total

    def _in_shadow(
        self, room_G: Tensor, light_G3: Tensor, ends_G3T: Tensor, lit_GT: Tensor
    ) -> Tensor:
        """(G, T) bool; only tiles with a surface that faces the lamp are looked at."""
        dark = torch.zeros_like(lit_GT)
        some = lit_GT.any(dim=1).nonzero()[:, 0]
        if not len(some):
            return dark
        lit, ends = lit_GT[some], ends_G3T[some]
        first = lit.long().argmax(dim=1)
        anchor = ends[torch.arange(len(some), device=ends.device), :, first]
        ends = torch.where(lit[:, None], ends, anchor[:, :, None])
        dark[some] = blocked(self.geometry, room_G[some], light_G3[some], ends, shadows=True)
        return dark

    def _corner_shade(self, surface: Surface, room_R: Tensor) -> Tensor:
        """(R,) darker towards the room's edges and where things stand on the floor."""
        half = self._half_B3.T[:, room_R]
        shade = 1.0 - 0.3 * torch.exp(-surface.point[2].clamp(min=0) / 0.12) * (
            surface.normal[2].abs() < 0.7
        )
        for axis in range(2):
            gap = half[axis] - surface.point[axis].abs()
            near = torch.exp(-gap.clamp(min=0) / 0.3)
            shade = shade * torch.where(surface.normal[axis].abs() > 0.7, 1.0, 1.0 - 0.35 * near)
        gap = 2 * half[2] - surface.point[2]
        near = torch.exp(-gap.clamp(min=0) / 0.25)
        return shade * torch.where(surface.normal[2].abs() > 0.7, 1.0, 1.0 - 0.25 * near)

    def _sky(self, direction_3R: Tensor, room_R: Tensor) -> Tensor:
        """(3, R) a clear to cloudy sky, paler towards the horizon."""
        height = direction_3R[2] / direction_3R.norm(dim=0)
        lift = height.clamp(min=0).sqrt()
        top = self._above_B3.T[:, room_R]
        grey = top.mean(dim=0, keepdim=True)
        clouds = height.clamp(min=0.05)
        x, y = direction_3R[0] / clouds, direction_3R[1] / clouds
        wave = torch.sin(0.7 * x + torch.sin(0.9 * y)) + torch.sin(1.3 * y + torch.sin(0.5 * x))
        cover = (0.5 + 0.25 * wave) * (1 - torch.exp(-6 * height.clamp(min=0)))
        pale = grey * 1.5
        blue = torch.lerp(pale, top * 1.1, lift)
        return torch.lerp(blue, 1.7 * grey.expand_as(blue), 0.6 * cover)


def _power_24(values: Tensor) -> Tensor:
    eighth = values.square().square_().square_()
    return eighth.square() * eighth


def _joined(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays)).to(device)


def _stacked(arrays: Sequence[np.ndarray], rows: int, device: torch.device) -> Tensor:
    """(B, rows, 3), filled up with zeros (a lamp without power)."""
    table = np.zeros((len(arrays), rows, 3), np.float32)
    for index, array in enumerate(arrays):
        table[index, : len(array)] = array
    return torch.from_numpy(table).to(device)


def _pyramid(textures_KSS3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All mip levels in one (texels, 3) table, with each level's start and side."""
    levels, starts, sides = [], [], []
    images = textures_KSS3.permute(0, 3, 1, 2)
    total = 0
    while True:
        side = images.shape[-1]
        flat = images.permute(0, 2, 3, 1).reshape(-1, 3)
        levels.append(flat)
        starts.append(total)
        sides.append(side)
        total += len(flat)
        if side == 1:
            break
        images = F.avg_pool2d(images, 2)
    device = textures_KSS3.device
    return (
        torch.cat(levels),
        torch.tensor(starts, device=device),
        torch.tensor(sides, device=device),
    )
