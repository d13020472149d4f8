"""Procedural textures: each a square tile of grey-to-colour patterns that wraps around.

A tile is (S, S, 3) float32 in [0, 1], linear light, made to be multiplied by a material's tint.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEXTURE_KINDS", "TILE_SIZE", "make_texture"]

TILE_SIZE = 64

Tile = NDArray[np.float32]


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


def _axes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grid = (np.arange(TILE_SIZE) + 0.5) / TILE_SIZE
    rows, columns = np.meshgrid(grid, grid, indexing="ij")
    return rows, columns


def _value_noise(rng: np.random.Generator, octaves: int, decay: float = 0.5) -> Tile:
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


def _grey(values: NDArray[np.floating]) -> Tile:
    return np.repeat(values[..., None], 3, axis=2).astype(np.float32)


def _plain(rng: np.random.Generator) -> Tile:
    return _grey(0.92 + 0.12 * (_value_noise(rng, 4) - 0.5))


def _plaster(rng: np.random.Generator) -> Tile:
    return _grey(0.85 + 0.5 * (_value_noise(rng, 5, 0.8) - 0.5))


def _wood(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    planks = int(rng.integers(2, 6))
    index = np.floor(rows * planks).astype(int)
    shift = rng.random(planks)[index]
    waves = np.sin(2 * np.pi * (3 * (rows * planks + shift) + 1.5 * _value_noise(rng, 3)))
    tone = (0.75 + 0.25 * rng.random(planks))[index]
    seam = np.minimum(np.mod(rows * planks, 1.0), 1 - np.mod(rows * planks, 1.0)) < 0.05
    joints = np.abs(np.mod(columns + shift, 1.0) - 0.5) < 0.012
    values = tone * (0.9 + 0.08 * waves) * np.where(seam | joints, 0.45, 1.0)
    tint = np.array([1.0, 0.93, 0.85])
    tinted: Tile = (_grey(values) * tint).astype(np.float32)
    return tinted


def _tile(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
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
    return _grey(np.where(grout, rng.uniform(0.3, 0.6), values + 0.05 * edge))


def _checker(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    count = int(rng.choice([2, 4]))
    dark = (np.floor(rows * count) + np.floor(columns * count)) % 2 == 1
    low = rng.uniform(0.25, 0.7)
    return _grey(np.where(dark, low, 0.95) + 0.06 * (_value_noise(rng, 3) - 0.5))


def _stripes(rng: np.random.Generator) -> Tile:
    rows, _ = _axes()
    count = int(rng.choice([2, 3, 4, 6]))
    duty = rng.uniform(0.3, 0.7)
    low = rng.uniform(0.35, 0.75)
    return _grey(np.where(np.mod(rows * count, 1.0) < duty, low, 0.95))


def _brick(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    courses = 4
    course = np.floor(rows * courses).astype(int)
    x = np.mod(columns * 2 + 0.5 * (course % 2), 2.0)
    tone = (0.65 + 0.35 * rng.random((courses, 2)))[course, np.floor(x).astype(int) % 2]
    mortar = (np.mod(rows * courses, 1.0) < 0.12) | (np.mod(x, 1.0) < 0.06)
    return _grey(np.where(mortar, 0.8, tone * (0.9 + 0.2 * (_value_noise(rng, 4) - 0.5))))


def _fabric(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    count = 16
    weave = 0.5 + 0.25 * np.sin(2 * np.pi * count * rows) * np.sin(2 * np.pi * count * columns)
    return _grey(0.6 + 0.35 * weave + 0.4 * (_value_noise(rng, 4, 0.7) - 0.5))


def _carpet(rng: np.random.Generator) -> Tile:
    speckle = rng.random((TILE_SIZE, TILE_SIZE))
    return _grey(0.55 + 0.25 * speckle + 0.5 * (_value_noise(rng, 3) - 0.5))


def _poster(rng: np.random.Generator) -> Tile:
    image = np.empty((TILE_SIZE, TILE_SIZE, 3), np.float32)
    image[:] = rng.uniform(0.2, 1.0, 3)
    rows, columns = _axes()
    for _ in range(int(rng.integers(4, 10))):
        colour = rng.uniform(0.02, 1.0, 3)
        cy, cx = rng.random(2)
        ry, rx = rng.uniform(0.05, 0.35, 2)
        if rng.random() < 0.5:
            inside = (np.abs(rows - cy) < ry) & (np.abs(columns - cx) < rx)
        else:
            inside = ((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2 < 1
        image[inside] = colour
    border = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns)) < 0.05
    image[border] = rng.uniform(0.02, 0.9)
    return image


def _books(rng: np.random.Generator) -> Tile:
    image = np.zeros((TILE_SIZE, TILE_SIZE, 3), np.float32)
    column = 0
    while column < TILE_SIZE:
        width = int(rng.integers(3, 8))
        top = int(rng.integers(0, TILE_SIZE // 4))
        image[top:, column : column + width] = rng.uniform(0.05, 0.9, 3) ** 1.5
        image[top:, column : column + 1] *= 0.4
        band = int(rng.integers(top, TILE_SIZE - 4))
        image[band : band + 3, column : column + width] *= 0.5
        column += width
    return image


def _window(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    sky = np.stack([0.65 + 0.3 * rows, 0.8 + 0.15 * rows, 0.98 + 0 * rows], axis=2)
    horizon = rng.uniform(0.55, 0.85)
    ridge = rows + 0.15 * (_value_noise(rng, 3)[0][None, :] - 0.5) > horizon
    sky[ridge] = rng.uniform(0.1, 0.6, 3)
    for _ in range(int(rng.integers(0, 4))):  # houses or trees across the street
        left, wide, top = rng.random(), rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.8)
        sky[(np.abs(columns - left) < wide) & (rows > top)] = rng.uniform(0.1, 0.6, 3)
    return sky.astype(np.float32)


def _door(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    values = 0.9 + 0.1 * (_value_noise(rng, 3) - 0.5)
    for top, bottom in ((0.08, 0.42), (0.52, 0.92)):
        inside = (rows > top) & (rows < bottom) & (columns > 0.16) & (columns < 0.84)
        core = (rows > top + 0.03) & (rows < bottom - 0.03) & (columns > 0.21) & (columns < 0.79)
        values = np.where(inside & ~core, 0.55, values)
    handle = ((rows - 0.48) ** 2 + (columns - 0.9) ** 2) < 0.0012
    return _grey(np.where(handle, 0.15, values))


def _screen(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    image = _grey(0.06 + 0.1 * _value_noise(rng, 2))
    lit = (np.abs(rows - 0.5) < 0.43) & (np.abs(columns - 0.5) < 0.44)
    image[lit] = rng.uniform(0.05, 0.5, 3)
    for line in np.arange(0.12, 0.85, 0.09):
        text = lit & (np.abs(rows - line) < 0.018) & (columns < rng.uniform(0.3, 0.9))
        image[text] = 0.8
    return image


def _label(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    image = np.empty((TILE_SIZE, TILE_SIZE, 3), np.float32)
    image[:] = 0.5 * rng.uniform(0.05, 1.0, 3) + 0.5 * rng.uniform(0.1, 1.0)
    band = np.abs(rows - rng.uniform(0.25, 0.75)) < rng.uniform(0.08, 0.25)
    image[band] = rng.uniform(0.02, 1.0, 3)
    cy, cx = rng.uniform(0.25, 0.75, 2)
    disc = (rows - cy) ** 2 + (columns - cx) ** 2 < rng.uniform(0.01, 0.06)
    image[disc] = rng.uniform(0.02, 1.0, 3)
    for line in rng.uniform(0.1, 0.9, 5):
        left, right = np.sort(rng.uniform(0.05, 0.95, 2))
        image[(np.abs(rows - line) < 0.018) & (columns > left) & (columns < right)] = 0.06
    return image


def _writing(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    image = _grey(0.95 + 0.04 * (_value_noise(rng, 2) - 0.5))
    for line in np.arange(0.1, 0.9, rng.uniform(0.08, 0.16)):
        ink = rng.choice([0.05, 0.3]) + rng.uniform(0, 0.3, 3)
        wave = line + 0.012 * np.sin(2 * np.pi * rng.integers(8, 20) * columns)
        left, right = np.sort(rng.uniform(0.04, 0.96, 2))
        image[(np.abs(rows - wave) < 0.012) & (columns > left) & (columns < right)] = ink
    return image.astype(np.float32)


def _keys(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    cap = (np.abs(np.mod(rows * 4, 1) - 0.5) < 0.38) & (
        np.abs(np.mod(columns * 12, 1) - 0.5) < 0.38
    )
    low = rng.uniform(0.05, 0.5)
    return _grey(
        np.where(cap, low + 0.08 * (_value_noise(rng, 2) - 0.5), low * rng.uniform(0.3, 1.8))
    )


def _glass(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    slope = rows + rng.uniform(-0.5, 0.5) * columns + 0.1 * _value_noise(rng, 2)
    return _grey(0.45 + 0.5 * np.clip(slope, 0, 1))


def _wallpaper(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    count = int(rng.choice([2, 4]))
    y, x = np.mod(rows * count, 1) - 0.5, np.mod(columns * count, 1) - 0.5
    petals = 0.28 + 0.1 * np.cos(rng.integers(3, 8) * np.arctan2(y, x))
    image = _grey(0.9 + 0.08 * (_value_noise(rng, 3) - 0.5))
    image[np.hypot(x, y) < petals] *= 1 - rng.uniform(0.1, 0.5) * rng.uniform(0.5, 1, 3)
    return image


def _weave(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    count = int(rng.choice([4, 8]))
    odd = (np.floor(rows * count) + np.floor(columns * count)) % 2
    strand = np.where(odd == 0, np.sin(np.pi * np.mod(rows * count, 1)), 0)
    strand = strand + np.where(odd == 1, np.sin(np.pi * np.mod(columns * count, 1)), 0)
    return _grey(0.45 + 0.5 * strand * (0.85 + 0.3 * (_value_noise(rng, 3) - 0.5)))


def _brushed(rng: np.random.Generator) -> Tile:
    return _grey(np.repeat(0.8 + 0.2 * rng.random((1, TILE_SIZE)), TILE_SIZE, axis=0))


def _speckle(rng: np.random.Generator) -> Tile:
    grains = rng.random((TILE_SIZE, TILE_SIZE)) < 0.2
    values = 0.75 + 0.4 * (_value_noise(rng, 5, 0.7) - 0.5)
    return _grey(np.where(grains, values * rng.uniform(0.5, 0.8), values))


def _leaves(rng: np.random.Generator) -> Tile:
    values = _value_noise(rng, 5, 0.9)
    return _grey(np.clip(0.2 + 2.4 * (values - 0.35), 0.12, 1.0))


def _bark(rng: np.random.Generator) -> Tile:
    _, columns = _axes()
    ridges = np.sin(2 * np.pi * (6 * columns + 1.5 * _value_noise(rng, 4)))
    return _grey(0.65 + 0.25 * ridges + 0.2 * (_value_noise(rng, 5, 0.8) - 0.5))


def _grass(rng: np.random.Generator) -> Tile:
    values = 0.55 + 0.6 * (_value_noise(rng, 5, 0.95) - 0.5)
    values = values + 0.25 * rng.random((TILE_SIZE, TILE_SIZE))
    dry = np.array([0.25, 0.1, 0.0]) * _value_noise(rng, 3)[..., None]
    grown: Tile = (_grey(values) + dry).astype(np.float32)
    return grown


def _asphalt(rng: np.random.Generator) -> Tile:
    fine = rng.random((TILE_SIZE, TILE_SIZE))
    return _grey(0.6 + 0.25 * fine + 0.5 * (_value_noise(rng, 4, 0.7) - 0.5))


def _paving(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    courses = int(rng.choice([2, 4]))
    course = np.floor(rows * courses).astype(int)
    x = np.mod(columns * courses / 2 + 0.5 * (course % 2), courses / 2)
    stone = rng.random((courses, courses))[course, np.floor(2 * x).astype(int) // 2 % courses]
    joint = (np.mod(rows * courses, 1.0) < 0.07) | (np.mod(x, 1.0) < 0.04)
    values = (0.7 + 0.3 * stone) * (0.85 + 0.35 * (_value_noise(rng, 5, 0.8) - 0.5))
    return _grey(np.where(joint, 0.35, values))


def _facade(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    image = _grey(0.85 + 0.2 * (_value_noise(rng, 4) - 0.5))
    pane = (np.abs(rows - 0.5) < 0.28) & (np.abs(columns - 0.5) < 0.22)
    frame = (np.abs(rows - 0.5) < 0.31) & (np.abs(columns - 0.5) < 0.25) & ~pane
    image[frame] = 0.95
    image[pane] = rng.uniform(0.1, 0.3)
    image[pane & (rows - columns > 0.1)] *= 1.4
    image[np.abs(rows - 0.84) < 0.02] = 0.6
    return image


def _paint(rng: np.random.Generator) -> Tile:
    return _grey(0.95 + 0.06 * (_value_noise(rng, 2) - 0.5))


def _cardboard(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    values = 0.9 + 0.12 * (_value_noise(rng, 4) - 0.5)
    values = np.where(np.abs(columns - 0.5) < 0.06, values * 1.25, values)
    edge = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))
    values = np.where(edge < 0.02, values * 0.7, values)
    if rng.random() < 0.6:
        cy, cx = rng.uniform(0.2, 0.7, 2)
        inside = (np.abs(rows - cy) < 0.1) & (np.abs(columns - cx) < 0.14)
        lines = np.mod(rows * 26, 1.0) < 0.4
        values = np.where(inside, np.where(lines, 0.35, 1.9), values)
    return _grey(values * 0.55)


def _rug(rng: np.random.Generator) -> Tile:
    rows, columns = _axes()
    edge = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))
    bands = int(rng.integers(2, 5))
    tones = rng.uniform(0.3, 1.0, (bands + 1, 3)) * 0.4 + 0.6 * rng.uniform(
        0.3, 1.0, (bands + 1, 1)
    )
    image = tones[np.minimum((edge * 2 * (bands + 2)).astype(int), bands)].astype(np.float32)
    ornament = np.sin(2 * np.pi * 5 * rows) * np.sin(2 * np.pi * 5 * columns)
    image[(ornament > 0.45) & (edge > 0.16)] = rng.uniform(0.2, 1.0)
    woven: Tile = (image * (0.8 + 0.3 * rng.random((TILE_SIZE, TILE_SIZE, 1)))).astype(np.float32)
    return woven


_MAKERS: dict[str, Callable[[np.random.Generator], Tile]] = {
    "plain": _plain,
    "plaster": _plaster,
    "wood": _wood,
    "tile": _tile,
    "checker": _checker,
    "stripes": _stripes,
    "brick": _brick,
    "fabric": _fabric,
    "carpet": _carpet,
    "poster": _poster,
    "books": _books,
    "window": _window,
    "door": _door,
    "screen": _screen,
    "weave": _weave,
    "brushed": _brushed,
    "speckle": _speckle,
    "leaves": _leaves,
    "bark": _bark,
    "grass": _grass,
    "asphalt": _asphalt,
    "paving": _paving,
    "facade": _facade,
    "paint": _paint,
    "cardboard": _cardboard,
    "rug": _rug,
    "label": _label,
    "writing": _writing,
    "keys": _keys,
    "glass": _glass,
    "wallpaper": _wallpaper,
}
TEXTURE_KINDS = tuple(_MAKERS)
