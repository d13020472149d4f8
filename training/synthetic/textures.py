# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Procedural textures: each a square tile of grey-to-colour patterns.

A tile is (S, S, 3) float32 in [0, 1], linear light, made to be multiplied by a material's tint.
The patterns here wrap around; `prints` fit a face once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .prints import PRINTS
from .tiles import TILE_SIZE, Tile, axes, grey, value_noise

__all__ = ["TEXTURE_KINDS", "TILE_SIZE", "make_texture"]


def make_texture(kind: str, rng: np.random.Generator) -> Tile:
    """Draw one tile of a kind.

    Args:
        kind: One of `TEXTURE_KINDS`.
        rng: Source of every random choice.

    Returns:
        (S, S, 3) float32 in [0, 1].

    Raises:
        ValueError: Unknown kind.
    """
    if kind not in _MAKERS:
        raise ValueError(f"texture kind is {kind!r}, expected one of {TEXTURE_KINDS}")
    tile = _MAKERS[kind](rng)
    return np.clip(tile, 0.0, 1.0).astype(np.float32)


def _plain(rng: np.random.Generator) -> Tile:
    return grey(0.92 + 0.12 * (value_noise(rng, 4) - 0.5))


def _plaster(rng: np.random.Generator) -> Tile:
    return grey(0.85 + 0.5 * (value_noise(rng, 5, 0.8) - 0.5))


def _wood(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    planks = int(rng.integers(2, 6))
    index = np.floor(rows * planks).astype(int)
    shift = rng.random(planks)[index]
    waves = np.sin(2 * np.pi * (3 * (rows * planks + shift) + 1.5 * value_noise(rng, 3)))
    tone = (0.75 + 0.25 * rng.random(planks))[index]
    seam = np.minimum(np.mod(rows * planks, 1.0), 1 - np.mod(rows * planks, 1.0)) < 0.025
    joints = np.abs(np.mod(columns + shift, 1.0) - 0.5) < 0.012
    values = tone * (0.9 + 0.08 * waves) * np.where(seam | joints, 0.6, 1.0)
    tint = np.array([1.0, 0.93, 0.85])
    tinted: Tile = (grey(values) * tint).astype(np.float32)
    return tinted


def _tile(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    count = int(rng.choice([1, 2, 4]))
    edge = np.minimum(
        np.abs(np.mod(rows * count, 1.0) - 0.5), np.abs(np.mod(columns * count, 1.0) - 0.5)
    )
    inner = np.maximum(
        np.abs(np.mod(rows * count, 1.0) - 0.5), np.abs(np.mod(columns * count, 1.0) - 0.5)
    )
    tone = 0.8 + 0.2 * rng.random((count, count))
    values = np.kron(tone, np.ones((TILE_SIZE // count, TILE_SIZE // count)))
    grout = inner > 0.5 - 0.035 * count / 2
    return grey(np.where(grout, rng.uniform(0.3, 0.6), values + 0.05 * edge))


def _checker(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    count = int(rng.choice([2, 4]))
    dark = (np.floor(rows * count) + np.floor(columns * count)) % 2 == 1
    low = rng.uniform(0.25, 0.7)
    return grey(np.where(dark, low, 0.95) + 0.06 * (value_noise(rng, 3) - 0.5))


def _stripes(rng: np.random.Generator) -> Tile:
    rows, _ = axes()
    count = int(rng.choice([2, 3, 4, 6]))
    duty = rng.uniform(0.3, 0.7)
    low = rng.uniform(0.35, 0.75)
    return grey(np.where(np.mod(rows * count, 1.0) < duty, low, 0.95))


def _brick(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    courses = 4
    course = np.floor(rows * courses).astype(int)
    x = np.mod(columns * 2 + 0.5 * (course % 2), 2.0)
    tone = (0.65 + 0.35 * rng.random((courses, 2)))[course, np.floor(x).astype(int) % 2]
    mortar = (np.mod(rows * courses, 1.0) < 0.12) | (np.mod(x, 1.0) < 0.06)
    return grey(np.where(mortar, 0.8, tone * (0.9 + 0.2 * (value_noise(rng, 4) - 0.5))))


def _fabric(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    count = 16
    weave = 0.5 + 0.25 * np.sin(2 * np.pi * count * rows) * np.sin(2 * np.pi * count * columns)
    return grey(0.6 + 0.35 * weave + 0.4 * (value_noise(rng, 4, 0.7) - 0.5))


def _carpet(rng: np.random.Generator) -> Tile:
    speckle = rng.random((TILE_SIZE, TILE_SIZE))
    return grey(0.6 + 0.3 * speckle + 0.2 * (value_noise(rng, 3) - 0.5))


def _glass(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    slope = rows + rng.uniform(-0.5, 0.5) * columns + 0.1 * value_noise(rng, 2)
    return grey(0.45 + 0.5 * np.clip(slope, 0, 1))


def _wallpaper(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    count = int(rng.choice([2, 4]))
    y, x = np.mod(rows * count, 1) - 0.5, np.mod(columns * count, 1) - 0.5
    petals = 0.28 + 0.1 * np.cos(rng.integers(3, 8) * np.arctan2(y, x))
    image = grey(0.9 + 0.08 * (value_noise(rng, 3) - 0.5))
    image[np.hypot(x, y) < petals] *= 1 - rng.uniform(0.1, 0.5) * rng.uniform(0.5, 1, 3)
    return image


def _weave(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    count = int(rng.choice([4, 8]))
    odd = (np.floor(rows * count) + np.floor(columns * count)) % 2
    strand = np.where(odd == 0, np.sin(np.pi * np.mod(rows * count, 1)), 0)
    strand = strand + np.where(odd == 1, np.sin(np.pi * np.mod(columns * count, 1)), 0)
    return grey(0.45 + 0.5 * strand * (0.85 + 0.3 * (value_noise(rng, 3) - 0.5)))


def _brushed(rng: np.random.Generator) -> Tile:
    return grey(np.repeat(0.8 + 0.2 * rng.random((1, TILE_SIZE)), TILE_SIZE, axis=0))


def _speckle(rng: np.random.Generator) -> Tile:
    grains = rng.random((TILE_SIZE, TILE_SIZE)) < 0.2
    values = 0.75 + 0.4 * (value_noise(rng, 5, 0.7) - 0.5)
    return grey(np.where(grains, values * rng.uniform(0.5, 0.8), values))


def _leaves(rng: np.random.Generator) -> Tile:
    values = value_noise(rng, 5, 0.9)
    return grey(np.clip(0.2 + 2.4 * (values - 0.35), 0.12, 1.0))


def _bark(rng: np.random.Generator) -> Tile:
    _, columns = axes()
    ridges = np.sin(2 * np.pi * (6 * columns + 1.5 * value_noise(rng, 4)))
    return grey(0.65 + 0.25 * ridges + 0.2 * (value_noise(rng, 5, 0.8) - 0.5))


def _grass(rng: np.random.Generator) -> Tile:
    values = 0.55 + 0.6 * (value_noise(rng, 5, 0.95) - 0.5)
    values = values + 0.25 * rng.random((TILE_SIZE, TILE_SIZE))
    dry = np.array([0.25, 0.1, 0.0]) * value_noise(rng, 3)[..., None]
    grown: Tile = (grey(values) + dry).astype(np.float32)
    return grown


def _asphalt(rng: np.random.Generator) -> Tile:
    fine = rng.random((TILE_SIZE, TILE_SIZE))
    return grey(0.6 + 0.25 * fine + 0.5 * (value_noise(rng, 4, 0.7) - 0.5))


def _paving(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    courses = int(rng.choice([2, 4]))
    course = np.floor(rows * courses).astype(int)
    x = np.mod(columns * courses / 2 + 0.5 * (course % 2), courses / 2)
    stone = rng.random((courses, courses))[course, np.floor(2 * x).astype(int) // 2 % courses]
    joint = (np.mod(rows * courses, 1.0) < 0.07) | (np.mod(x, 1.0) < 0.04)
    values = (0.7 + 0.3 * stone) * (0.85 + 0.35 * (value_noise(rng, 5, 0.8) - 0.5))
    return grey(np.where(joint, 0.35, values))


def _paint(rng: np.random.Generator) -> Tile:
    return grey(0.95 + 0.06 * (value_noise(rng, 2) - 0.5))


_MAKERS: dict[str, Callable[[np.random.Generator], Tile]] = {
    **PRINTS,
    "plain": _plain,
    "plaster": _plaster,
    "wood": _wood,
    "tile": _tile,
    "checker": _checker,
    "stripes": _stripes,
    "brick": _brick,
    "fabric": _fabric,
    "carpet": _carpet,
    "glass": _glass,
    "wallpaper": _wallpaper,
    "weave": _weave,
    "brushed": _brushed,
    "speckle": _speckle,
    "leaves": _leaves,
    "bark": _bark,
    "grass": _grass,
    "asphalt": _asphalt,
    "paving": _paving,
    "paint": _paint,
}
TEXTURE_KINDS = tuple(_MAKERS)
