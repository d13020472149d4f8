# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The primitives of one or more rooms as tensors, ready for rays.

Every primitive is a unit shape (cube from -1 to 1, unit ball, cone about z) behind an affine
map, so boxes, ellipsoids and cones in any attitude share their code.
Letters: R rooms, M primitives of all rooms together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .room import Room

__all__ = ["Geometry", "pack_geometry"]


@dataclass(frozen=True)
class Geometry:
    """All primitives of the rooms, one after the other.

    Args:
        first_R: Index of each room's shell; the room's other primitives follow it.
        count_R: Primitives of each room, the shell among them.
        shape_M: (M,) int64 `Shape` numbers.
        centre_M3: (M, 3) float32 metres.
        half_M3: (M, 3) float32 half sizes, metres.
        axes_M33: (M, 3, 3) float32, columns are the primitive's axes in the world.
        unit_M33: (M, 3, 3) float32; `unit @ (x - centre)` are coordinates of the unit shape.
        slope_M: (M,) float32 of cones.
        shades_M: (M,) bool, throws shadows.
    """

    first_R: tuple[int, ...]
    count_R: tuple[int, ...]
    shape_M: Tensor
    centre_M3: Tensor
    half_M3: Tensor
    axes_M33: Tensor
    unit_M33: Tensor
    slope_M: Tensor
    shades_M: Tensor

    def members(self, room: int) -> slice:
        """The primitives of a room without its shell."""
        start = self.first_R[room]
        return slice(start + 1, start + self.count_R[room])


def pack_geometry(rooms: Sequence[Room], device: torch.device) -> Geometry:
    """Put the primitives of rooms into one table on a device."""
    counts = tuple(len(room.shape_M) for room in rooms)
    starts = tuple(int(start) for start in np.cumsum((0, *counts[:-1])))

    def joined(arrays: list[NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    half = np.concatenate([room.half_M3 for room in rooms]).astype(np.float64)
    axes = np.concatenate([room.turn_M33 for room in rooms]).astype(np.float64)
    unit = axes.transpose(0, 2, 1) / half[:, :, None]
    return Geometry(
        first_R=starts,
        count_R=counts,
        shape_M=joined([room.shape_M for room in rooms]),
        centre_M3=joined([room.centre_M3 for room in rooms]),
        half_M3=torch.from_numpy(half.astype(np.float32)).to(device),
        axes_M33=torch.from_numpy(axes.astype(np.float32)).to(device),
        unit_M33=torch.from_numpy(unit.astype(np.float32)).to(device),
        slope_M=joined([room.slope_M for room in rooms]),
        shades_M=joined([room.shades_M for room in rooms]),
    )
