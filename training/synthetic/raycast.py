"""Rays against boxes, upright cylinders and spheres, in torch.

Ray directions have z = 1 in camera axes, so the ray parameter t is the z-depth.
Letters: R rays, M primitives, F images, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .furniture import Shape
from .room import Room

__all__ = ["Caster", "Hits"]

_FAR = 1e6
_EPS = 1e-4


@dataclass(frozen=True)
class Hits:
    """Nearest surfaces.

    Args:
        t: (H, W) ray parameter of the hit (z-depth for camera rays), metres.
        primitive: (H, W) int64 index of the primitive that was hit.
    """

    t: Tensor
    primitive: Tensor


class Caster:
    """Casts rays into one room.

    Args:
        room: What to cast into.
        device: Where the rays live.
    """

    def __init__(self, room: Room, device: torch.device) -> None:
        self.room = room
        self.device = device
        self._corners = _box_corners(room)
        self._radius = torch.from_numpy(room.half_M3).norm(dim=1).tolist()

    def camera_hits(
        self, origin: Tensor, directions: Tensor, R_world_cam: Tensor, K: Tensor
    ) -> Hits:
        """First hits of one picture's rays.

        Every primitive is tested only inside the rectangle of pixels that its box covers.

        Args:
            origin: (3,) camera centre.
            directions: (3, H, W) world directions with z = 1 in camera axes.
            R_world_cam: (3, 3).
            K: (3, 3).
        """
        _, height, width = directions.shape
        nearest = self._shell_exit(origin, directions)
        winner = torch.zeros(height, width, dtype=torch.int64, device=self.device)
        rectangles = self._rectangles(origin, R_world_cam, K, height, width)
        for index in range(1, len(self.room.shape_M)):
            top, bottom, left, right = rectangles[index]
            if top >= bottom or left >= right:
                continue
            window = (slice(top, bottom), slice(left, right))
            t = self._hit(index, origin, directions[:, window[0], window[1]])
            closer = t < nearest[window]
            nearest[window] = torch.where(closer, t, nearest[window])
            winner[window] = torch.where(closer, index, winner[window])
        return Hits(nearest, winner)

    def blocked(self, origins: Tensor, directions: Tensor, skip_below: float) -> Tensor:
        """Whether something lies on each segment from an origin to origin + direction.

        Args:
            origins: (3, R).
            directions: (3, R), length 1 in ray parameter.
            skip_below: Primitives with a smaller bounding radius (metres) throw no shadow.

        Returns:
            (R,) bool.
        """
        dark = torch.zeros(origins.shape[1], dtype=torch.bool, device=self.device)
        for index in range(1, len(self.room.shape_M)):
            if self._radius[index] < skip_below:
                continue
            t = self._hit(index, origins, directions)
            dark |= t < 1.0 - 1e-3
        return dark

    def _shell_exit(self, origin: Tensor, directions: Tensor) -> Tensor:
        centre, half = self.room.centre_M3[0].tolist(), self.room.half_M3[0].tolist()
        exit_t = torch.full(directions.shape[1:], _FAR, device=self.device)
        for axis in range(3):
            inverse = 1.0 / _nonzero(directions[axis])
            plane = (centre[axis] - origin[axis]) * inverse + half[axis] * inverse.abs()
            exit_t = torch.minimum(exit_t, plane)
        return exit_t

    def _hit(self, index: int, origin: Tensor, directions: Tensor) -> Tensor:
        """(..) t of the first hit of one primitive, `_FAR` where there is none."""
        shape = int(self.room.shape_M[index])
        centre = self.room.centre_M3[index].tolist()
        half = self.room.half_M3[index].tolist()
        offset = [origin[axis] - centre[axis] for axis in range(3)]
        if shape == Shape.BOX:
            yaw = float(self.room.yaw_M[index])
            return _box_hit(offset, directions, half, math.cos(yaw), math.sin(yaw))
        if shape == Shape.SPHERE:
            return _sphere_hit(offset, directions, half[0])
        return _cylinder_hit(offset, directions, half[0], half[2])

    def _rectangles(
        self, origin: Tensor, R_world_cam: Tensor, K: Tensor, height: int, width: int
    ) -> list[list[int]]:
        """Pixel rectangle (top, bottom, left, right) of each primitive's box; empty if unseen."""
        local = (self._corners - origin.cpu()) @ R_world_cam.cpu()
        z = local[..., 2]
        behind = (z <= 0.02).all(dim=1)
        crosses = (z <= 0.02).any(dim=1)
        uv = local[..., :2] / z[..., None].clamp(min=0.02)
        focal, middle = K.cpu().diagonal()[:2], K.cpu()[:2, 2]
        pixels = uv * focal + middle
        low = torch.floor(pixels.amin(dim=1)).clamp(-1e6, 1e6)
        high = torch.ceil(pixels.amax(dim=1)).clamp(-1e6, 1e6) + 1
        low[crosses], high[crosses] = 0.0, float(max(height, width))
        high[behind] = 0.0
        rectangle = torch.stack(
            [
                low[:, 1].clamp(0, height), high[:, 1].clamp(0, height),
                low[:, 0].clamp(0, width), high[:, 0].clamp(0, width),
            ], dim=1
        )  # fmt: skip
        rows: list[list[int]] = rectangle.long().tolist()
        return rows


def _nonzero(values: Tensor) -> Tensor:
    return torch.where(values.abs() < 1e-9, 1e-9, values)


def _box_hit(
    offset: list[Tensor], directions: Tensor, half: list[float], c: float, s: float
) -> Tensor:
    """Slab test of a box turned by yaw; a start inside the box is no hit."""
    x0, y0 = c * offset[0] + s * offset[1], c * offset[1] - s * offset[0]
    inverse_x = 1.0 / _nonzero(c * directions[0] + s * directions[1])
    inverse_y = 1.0 / _nonzero(c * directions[1] - s * directions[0])
    inverse_z = 1.0 / _nonzero(directions[2])
    mid_x, wide_x = -x0 * inverse_x, half[0] * inverse_x.abs()
    mid_y, wide_y = -y0 * inverse_y, half[1] * inverse_y.abs()
    mid_z, wide_z = -offset[2] * inverse_z, half[2] * inverse_z.abs()
    enter = torch.maximum(torch.maximum(mid_x - wide_x, mid_y - wide_y), mid_z - wide_z)
    leave = torch.minimum(torch.minimum(mid_x + wide_x, mid_y + wide_y), mid_z + wide_z)
    return torch.where((enter < leave) & (enter > _EPS), enter, _FAR)


def _sphere_hit(offset: list[Tensor], directions: Tensor, radius: float) -> Tensor:
    a = (directions * directions).sum(dim=0)
    b = sum(offset[axis] * directions[axis] for axis in range(3))
    c = sum(offset[axis] * offset[axis] for axis in range(3)) - radius * radius
    inside = torch.as_tensor(b * b - a * c)
    t = (-b - inside.clamp(min=0).sqrt()) / a
    return torch.where((inside > 0) & (t > _EPS), t, _FAR)


def _cylinder_hit(
    offset: list[Tensor], directions: Tensor, radius: float, half_height: float
) -> Tensor:
    """Upright capped cylinder: the disc's chord cut by the slab of its caps."""
    dx, dy = directions[0], directions[1]
    a = (dx * dx + dy * dy).clamp(min=1e-12)
    b = offset[0] * dx + offset[1] * dy
    c = offset[0] * offset[0] + offset[1] * offset[1] - radius * radius
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    inverse_z = 1.0 / _nonzero(directions[2])
    mid_z, wide_z = -offset[2] * inverse_z, half_height * inverse_z.abs()
    enter = torch.maximum((-b - root) / a, mid_z - wide_z)
    leave = torch.minimum((-b + root) / a, mid_z + wide_z)
    return torch.where((inside > 0) & (enter < leave) & (enter > _EPS), enter, _FAR)


def _box_corners(room: Room) -> Tensor:
    """(M, 8, 3) world corners of every primitive's box."""
    signs = torch.tensor(
        [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float32
    )
    local = signs[None] * torch.from_numpy(room.half_M3)[:, None]
    yaw = torch.from_numpy(room.yaw_M)[:, None]
    c, s = yaw.cos(), yaw.sin()
    x = c * local[..., 0] - s * local[..., 1]
    y = s * local[..., 0] + c * local[..., 1]
    turned = torch.stack([x, y, local[..., 2]], dim=-1)
    return turned + torch.from_numpy(room.centre_M3)[:, None]
