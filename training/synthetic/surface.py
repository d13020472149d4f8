# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a ray ended on a primitive: point, normal, face and place on the face.

Letters: R rays, M primitives, C columns of the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import Geometry
from .parts import Shape

__all__ = ["Surface", "Surfaces"]


@dataclass(frozen=True)
class Surface:
    """Where rays ended; every tensor has one value per ray, (R,), or three of them.

    Args:
        point: World x, y, z in metres.
        normal: World unit vector away from the solid.
        along: Place on the primitive in its own axes, metres.
        half: Half sizes of the primitive, metres.
        axis: int64 0, 1, 2: which axis the face belongs to; 0 on round sides.
        face: int64 0..5: face -x +x -y +y -z +z; 0 on round sides.
        rounded: bool, on a ball or the side of a cone.
        shell: bool, on the room's shell.
    """

    point: tuple[Tensor, Tensor, Tensor]
    normal: tuple[Tensor, Tensor, Tensor]
    along: tuple[Tensor, Tensor, Tensor]
    half: tuple[Tensor, Tensor, Tensor]
    axis: Tensor
    face: Tensor
    rounded: Tensor
    shell: Tensor


class Surfaces:
    """Looks up surfaces of packed rooms.

    Args:
        geometry: The rooms.
    """

    def __init__(self, geometry: Geometry) -> None:
        shell = torch.zeros(len(geometry.shape_M), device=geometry.shape_M.device)
        shell[list(geometry.first_R)] = 1.0
        self._table = torch.cat(
            [
                geometry.unit_M33.flatten(1),
                geometry.centre_M3,
                geometry.half_M3,
                geometry.slope_M[:, None],
                (geometry.shape_M == Shape.CONE).float()[:, None],
                (geometry.shape_M == Shape.SPHERE).float()[:, None],
                shell[:, None],
            ],
            dim=1,
        )

    def at(self, point: tuple[Tensor, Tensor, Tensor], primitive_R: Tensor) -> Surface:
        """The surface of primitives at points that lie on them.

        Args:
            point: World x, y, z, each (R,).
            primitive_R: (R,) int64.
        """
        columns = self._table[primitive_R].T.contiguous().unbind(0)
        unit, centre, half = columns[:9], columns[9:12], columns[12:15]
        slope, is_cone, is_ball = columns[15], columns[16] > 0, columns[17] > 0
        shell = columns[18] > 0
        dx, dy, dz = (p - c for p, c in zip(point, centre, strict=True))
        x, y, z = (
            unit[3 * row] * dx + unit[3 * row + 1] * dy + unit[3 * row + 2] * dz for row in range(3)
        )
        far_x, far_y, far_z = x.abs(), y.abs(), z.abs()
        radius = 1.0 - slope.abs() + slope * z
        radial = (x * x + y * y).sqrt()
        flat_z = torch.where(
            is_cone, far_z * radius >= radial, far_z >= torch.maximum(far_x, far_y)
        )
        flat_z &= ~is_ball
        rounded = is_ball | (is_cone & ~flat_z)
        flat_x = (far_x >= far_y) & ~flat_z
        flat_y = ~flat_x & ~flat_z
        zero = torch.zeros((), device=x.device)
        side_z = torch.where(is_ball, z, -slope * radius)
        nx = torch.where(rounded, x, torch.where(flat_x, x.sign(), zero))
        ny = torch.where(rounded, y, torch.where(flat_y, y.sign(), zero))
        nz = torch.where(rounded, side_z, torch.where(flat_z, z.sign(), zero))
        world = [
            unit[column] * nx + unit[3 + column] * ny + unit[6 + column] * nz for column in range(3)
        ]
        length = (world[0] * world[0] + world[1] * world[1] + world[2] * world[2]).rsqrt()
        length = torch.where(shell, -length, length)
        axis = torch.where(rounded, 0, flat_y.long() + 2 * flat_z.long())
        positive = torch.where(flat_x, x, torch.where(flat_y, y, z)) > 0
        face = torch.where(rounded, 0, 2 * axis + positive.long())
        return Surface(
            point=point,
            normal=(world[0] * length, world[1] * length, world[2] * length),
            along=(x * half[0], y * half[1], z * half[2]),
            half=(half[0], half[1], half[2]),
            axis=axis,
            face=face,
            rounded=rounded,
            shell=shell,
        )
