"""Colour of the surfaces that rays hit: textures, lamps, shadows, soft corners.

Letters: R rays, M primitives, T materials, K textures, S texture side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .furniture import Shape
from .raycast import Caster
from .room import Room

__all__ = ["Shader"]

_SHADOW_MIN_RADIUS = 0.06


@dataclass(frozen=True)
class _Surface:
    """Where rays ended, in the axes of the primitive that they hit; all (R, ..)."""

    point: Tensor
    local: Tensor
    normal: Tensor
    face: Tensor


class Shader:
    """Shades the hits of one room.

    Args:
        room: Where the hits are.
        device: Where the rays live.
    """

    def __init__(self, room: Room, device: torch.device) -> None:
        self.room = room
        self.caster = Caster(room, device)
        self.shape = torch.from_numpy(room.shape_M).to(device)
        self.centre = torch.from_numpy(room.centre_M3).to(device)
        self.half = torch.from_numpy(room.half_M3).to(device)
        yaw = torch.from_numpy(room.yaw_M).to(device)
        self.turn = torch.stack([yaw.cos(), yaw.sin()], dim=1)
        self.material = torch.from_numpy(room.material_M6).to(device)
        self.texture = torch.from_numpy(room.texture_T).to(device)
        self.tint = torch.from_numpy(room.tint_T3).to(device)
        self.tile = torch.from_numpy(room.tile_T).to(device)
        self.light = torch.from_numpy(room.light_L3).to(device)
        self.power = torch.from_numpy(room.power_L3).to(device)
        windows = [thing.object_id for thing in room.objects if thing.name == "window"]
        glows = [0.6 if owner in windows else 0.0 for owner in room.object_M.tolist()]
        self.glow = torch.tensor(glows, device=device)
        self.pyramid, self.level_start, self.level_side = _pyramid(
            torch.from_numpy(room.textures_KSS3).to(device)
        )

    def colours(
        self, origin: Tensor, directions: Tensor, t: Tensor, primitive: Tensor, pixel_angle: float
    ) -> Tensor:
        """Linear light that comes back along rays.

        Args:
            origin: (3,) camera centre.
            directions: (3, R) ray directions, z = 1 in camera axes.
            t: (R,) z-depth of the hits.
            primitive: (R,) int64 what was hit.
            pixel_angle: Size of a pixel at depth 1, metres.

        Returns:
            (R, 3) float32, not yet exposed.
        """
        surface = self._surface(origin, directions, t, primitive)
        facing = -(directions.T * surface.normal).sum(1) / directions.norm(dim=0)
        footprint = pixel_angle * t / facing.abs().clamp(min=0.25)
        albedo = self._albedo(surface, primitive, footprint)
        return albedo * self._irradiance(surface, primitive)

    def _surface(
        self, origin: Tensor, directions: Tensor, t: Tensor, primitive: Tensor
    ) -> _Surface:
        point = (origin[:, None] + t * directions).T
        offset = point - self.centre[primitive]
        turn = self.turn[primitive]
        local = torch.stack(
            [
                turn[:, 0] * offset[:, 0] + turn[:, 1] * offset[:, 1],
                turn[:, 0] * offset[:, 1] - turn[:, 1] * offset[:, 0],
                offset[:, 2],
            ], dim=1
        )  # fmt: skip
        half = self.half[primitive]
        ratio = local / half
        axis = ratio.abs().argmax(dim=1)
        shape = self.shape[primitive]
        cap = (shape == Shape.CYLINDER) & (ratio[:, 2].abs() > 0.9999)
        axis = torch.where(cap, 2, axis)
        sign = torch.gather(ratio, 1, axis[:, None])[:, 0].sign()
        flat = F.one_hot(axis, 3) * sign[:, None]
        side = torch.cat([local[:, :2], torch.zeros_like(local[:, :1])], dim=1)
        normal = torch.where(((shape == Shape.CYLINDER) & ~cap)[:, None], side, flat)
        normal = torch.where((shape == Shape.SPHERE)[:, None], local, normal)
        normal = F.normalize(normal, dim=1)
        world = torch.stack(
            [
                turn[:, 0] * normal[:, 0] - turn[:, 1] * normal[:, 1],
                turn[:, 1] * normal[:, 0] + turn[:, 0] * normal[:, 1],
                normal[:, 2],
            ], dim=1
        )  # fmt: skip
        world = torch.where((primitive == 0)[:, None], -world, world)
        face = 2 * axis + (sign > 0)
        round_side = (shape == Shape.SPHERE) | ((shape == Shape.CYLINDER) & ~cap)
        return _Surface(point, local, world, torch.where(round_side, 0, face))

    def _texture_uv(self, surface: _Surface, primitive: Tensor, tile: Tensor) -> Tensor:
        """(R, 2) texture coordinates (row down, column right) in tiles."""
        local, half = surface.local, self.half[primitive]
        axis = surface.face // 2
        angle = torch.atan2(local[:, 1], local[:, 0])
        shape = self.shape[primitive]
        flat_columns = torch.where(axis == 0, local[:, 1], local[:, 0])
        flat_rows = torch.where(axis == 2, local[:, 1], -local[:, 2])
        rolled = shape != Shape.BOX
        columns = torch.where(rolled & (axis != 2), angle * half[:, 0], flat_columns)
        width = torch.where(axis == 0, half[:, 1], half[:, 0])
        height = torch.where(axis == 2, half[:, 1], half[:, 2])
        fits = tile == 0
        scale = tile.clamp(min=1e-3)
        v = torch.where(fits, 0.5 + 0.5 * flat_rows / height, flat_rows / scale)
        u = torch.where(fits, 0.5 - 0.5 * flat_columns / width, columns / scale)
        return torch.stack([v, u], dim=1)

    def _albedo(self, surface: _Surface, primitive: Tensor, footprint: Tensor) -> Tensor:
        material = self.material[primitive, surface.face]
        tile = self.tile[material]
        uv = self._texture_uv(surface, primitive, tile)
        span = torch.where(tile == 0, 2 * self.half[primitive].amax(dim=1), tile)
        texel = span / self.level_side[0]
        level = torch.log2((footprint / texel).clamp(min=1.0)).round().long()
        level = level.clamp(max=len(self.level_side) - 1)
        side = self.level_side[level]
        position = uv * side[:, None] - 0.5
        low = position.floor()
        frac = position - low
        row, column = low[:, 0].long(), low[:, 1].long()
        base = self.level_start[level] + self.texture[material] * side * side
        colour = torch.zeros(len(primitive), 3, device=uv.device)
        for dr, dc in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = (frac[:, 0] if dr else 1 - frac[:, 0]) * (frac[:, 1] if dc else 1 - frac[:, 1])
            index = base + ((row + dr) % side) * side + (column + dc) % side
            colour += weight[:, None] * self.pyramid[index]
        return colour * self.tint[material]

    def _irradiance(self, surface: _Surface, primitive: Tensor) -> Tensor:
        """(R, 3): a soft ambient term plus the lamps, the first of them with shadows."""
        normal = surface.normal
        ambient = self.room.ambient * (0.75 + 0.25 * normal[:, 2]) * self._corner_shade(surface)
        total = ambient[:, None].expand(-1, 3).clone()
        for index in range(len(self.light)):
            to_light = self.light[index] - surface.point
            distance = to_light.norm(dim=1)
            cosine = (to_light * normal).sum(1).clamp(min=0) / distance.clamp(min=1e-3)
            falloff = cosine / (0.5 + distance * distance)
            if index == 0:
                start = (surface.point + 0.004 * normal).T
                dark = self.caster.blocked(start, to_light.T, _SHADOW_MIN_RADIUS)
                falloff = torch.where(dark, 0.08 * falloff, falloff)
            total = total + falloff[:, None] * self.power[index]
        return total + self.glow[primitive][:, None]

    def _corner_shade(self, surface: _Surface) -> Tensor:
        """Darker towards the room's edges: product over the walls that are near and not hit."""
        shade = torch.ones(len(surface.point), device=surface.point.device)
        for axis in range(3):
            centre, half = float(self.centre[0, axis]), float(self.half[0, axis])
            gap = half - (surface.point[:, axis] - centre).abs()
            parallel = surface.normal[:, axis].abs() > 0.7
            near = torch.exp(-gap.clamp(min=0) / 0.25)
            shade = shade * torch.where(parallel, 1.0, 1.0 - 0.4 * near)
        return shade


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
