# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""All pieces by name."""

from __future__ import annotations

import numpy as np

from .clutter import CLUTTER, WALL_PIECES
from .furniture import FURNITURE
from .outdoor_pieces import OUTDOOR_PIECES
from .parts import Builder, Piece

__all__ = ["OBJECT_NAMES", "build_piece"]

_GROUPS = (FURNITURE, CLUTTER, WALL_PIECES, OUTDOOR_PIECES)
OBJECT_NAMES: tuple[str, ...] = tuple(sorted({name for group in _GROUPS for name in group}))


def build_piece(
    name: str, rng: np.random.Generator, group: dict[str, tuple[Builder, ...]] | None = None
) -> Piece:
    """Make one piece with random proportions.

    Args:
        name: One of `OBJECT_NAMES`.
        rng: Source of every random choice.
        group: Where to look it up; a "lamp" differs between floor, table and street.

    Raises:
        ValueError: Unknown name.
    """
    groups = _GROUPS if group is None else (group,)
    builders = [builder for each in groups for builder in each.get(name, ())]
    if not builders:
        known = sorted({known for each in groups for known in each})
        raise ValueError(f"piece is {name!r}, expected one of {known}")
    return builders[int(rng.integers(len(builders)))](rng)
