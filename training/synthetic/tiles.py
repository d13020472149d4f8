# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What procedural textures are made with: coordinates, noise that wraps around, grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TILE_SIZE", "Tile", "axes", "grey", "value_noise"]

TILE_SIZE = 64

Tile = NDArray[np.float32]


def axes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, S) rows and columns of the texel centres, 0 to 1."""
    grid = (np.arange(TILE_SIZE) + 0.5) / TILE_SIZE
    rows, columns = np.meshgrid(grid, grid, indexing="ij")
    return rows, columns


def value_noise(rng: np.random.Generator, octaves: int, decay: float = 0.5) -> Tile:
    """Sum of wrapped bilinear noise lattices, mean 0.5, roughly in [0, 1]."""
    total = np.zeros((TILE_SIZE, TILE_SIZE))
    weight, norm = 1.0, 0.0
    for octave in range(octaves):
        cells = 4 * 2**octave
        lattice = rng.random((cells, cells))
        position = np.arange(TILE_SIZE) * cells / TILE_SIZE
        low = position.astype(int)
        frac = position - low
        frac = frac * frac * (3.0 - 2.0 * frac)
        high = (low + 1) % cells
        rows = lattice[low] * (1 - frac)[:, None] + lattice[high] * frac[:, None]
        total += weight * (rows[:, low] * (1 - frac) + rows[:, high] * frac)
        norm += weight
        weight *= decay
    noise: Tile = (total / norm).astype(np.float32)
    return noise


def grey(values: NDArray[np.floating]) -> Tile:
    """(S, S) values to (S, S, 3) float32."""
    return np.repeat(values[..., None], 3, axis=2).astype(np.float32)
