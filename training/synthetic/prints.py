# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Textures that fit a face once: posters, books, windows, doors, screens, labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tiles import TILE_SIZE, Tile, axes, grey, value_noise

__all__ = ["PRINTS"]


def _poster(rng: np.random.Generator) -> Tile:
    image = np.empty((TILE_SIZE, TILE_SIZE, 3), np.float32)
    image[:] = rng.uniform(0.2, 1.0, 3)
    rows, columns = axes()
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
    rows, columns = axes()
    sky = np.stack([0.65 + 0.3 * rows, 0.8 + 0.15 * rows, 0.98 + 0 * rows], axis=2)
    horizon = rng.uniform(0.55, 0.85)
    ridge = rows + 0.15 * (value_noise(rng, 3)[0][None, :] - 0.5) > horizon
    sky[ridge] = rng.uniform(0.1, 0.5) * (1 + rng.uniform(-0.25, 0.25, 3))
    for _ in range(int(rng.integers(0, 4))):  # houses or trees across the street
        left, wide, top = rng.random(), rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.8)
        sky[(np.abs(columns - left) < wide) & (rows > top)] = rng.uniform(0.1, 0.6) * (
            1 + rng.uniform(-0.25, 0.25, 3)
        )
    return sky.astype(np.float32)


def _door(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    values = 0.9 + 0.1 * (value_noise(rng, 3) - 0.5)
    for top, bottom in ((0.08, 0.42), (0.52, 0.92)):
        inside = (rows > top) & (rows < bottom) & (columns > 0.16) & (columns < 0.84)
        core = (rows > top + 0.03) & (rows < bottom - 0.03) & (columns > 0.21) & (columns < 0.79)
        values = np.where(inside & ~core, 0.55, values)
    handle = ((rows - 0.48) ** 2 + (columns - 0.9) ** 2) < 0.0012
    return grey(np.where(handle, 0.15, values))


def _screen(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    image = grey(0.06 + 0.1 * value_noise(rng, 2))
    lit = (np.abs(rows - 0.5) < 0.43) & (np.abs(columns - 0.5) < 0.44)
    image[lit] = rng.uniform(0.05, 0.5, 3)
    for line in np.arange(0.12, 0.85, 0.09):
        text = lit & (np.abs(rows - line) < 0.018) & (columns < rng.uniform(0.3, 0.9))
        image[text] = 0.8
    return image


def _label(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
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
    rows, columns = axes()
    image = grey(0.95 + 0.04 * (value_noise(rng, 2) - 0.5))
    for line in np.arange(0.1, 0.9, rng.uniform(0.08, 0.16)):
        ink = rng.choice([0.05, 0.3]) + rng.uniform(0, 0.3, 3)
        wave = line + 0.012 * np.sin(2 * np.pi * rng.integers(8, 20) * columns)
        left, right = np.sort(rng.uniform(0.04, 0.96, 2))
        image[(np.abs(rows - wave) < 0.012) & (columns > left) & (columns < right)] = ink
    return image.astype(np.float32)


def _keys(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    cap = (np.abs(np.mod(rows * 4, 1) - 0.5) < 0.38) & (
        np.abs(np.mod(columns * 12, 1) - 0.5) < 0.38
    )
    low = rng.uniform(0.05, 0.5)
    return grey(
        np.where(cap, low + 0.08 * (value_noise(rng, 2) - 0.5), low * rng.uniform(0.3, 1.8))
    )


def _cardboard(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    values = 0.9 + 0.12 * (value_noise(rng, 4) - 0.5)
    values = np.where(np.abs(columns - 0.5) < 0.06, values * 1.25, values)
    edge = np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))
    values = np.where(edge < 0.02, values * 0.7, values)
    if rng.random() < 0.6:
        cy, cx = rng.uniform(0.2, 0.7, 2)
        inside = (np.abs(rows - cy) < 0.1) & (np.abs(columns - cx) < 0.14)
        lines = np.mod(rows * 26, 1.0) < 0.4
        values = np.where(inside, np.where(lines, 0.35, 1.9), values)
    return grey(values * 0.55)


def _rug(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
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


def _facade(rng: np.random.Generator) -> Tile:
    rows, columns = axes()
    image = grey(0.85 + 0.2 * (value_noise(rng, 4) - 0.5))
    pane = (np.abs(rows - 0.5) < 0.28) & (np.abs(columns - 0.5) < 0.22)
    frame = (np.abs(rows - 0.5) < 0.31) & (np.abs(columns - 0.5) < 0.25) & ~pane
    image[frame] = 0.95
    image[pane] = rng.uniform(0.1, 0.3)
    image[pane & (rows - columns > 0.1)] *= 1.4
    image[np.abs(rows - 0.84) < 0.02] = 0.6
    return image


PRINTS: dict[str, Callable[[np.random.Generator], Tile]] = {
    "poster": _poster,
    "books": _books,
    "window": _window,
    "door": _door,
    "screen": _screen,
    "label": _label,
    "writing": _writing,
    "keys": _keys,
    "cardboard": _cardboard,
    "rug": _rug,
    "facade": _facade,
}
