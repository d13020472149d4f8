# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Things that stand in open scenes."""

from __future__ import annotations

import numpy as np

from .parts import Builder, Part, Piece, assemble, box, cone, cylinder, sphere

__all__ = ["OUTDOOR_PIECES"]

Rng = np.random.Generator
_AXLE = (np.pi / 2, 0.0, 0.0)


def _tree(rng: Rng) -> Piece:
    height, trunk = rng.uniform(3.0, 7.0), rng.uniform(0.1, 0.22)
    parts = [cone((0, 0, height * 0.3), trunk, trunk * 0.6, height * 0.6, "bark")]
    if rng.random() < 0.25:
        for share in (0.35, 0.55, 0.75):
            radius = height * (0.95 - share) * 0.42
            parts.append(
                cone((0, 0, height * (share + 0.12)), radius, 0.05, height * 0.3, "foliage")
            )
    else:
        for _ in range(int(rng.integers(4, 9))):
            x, y = (float(v) for v in rng.normal(0, height * 0.09, 2))
            z = height * float(rng.uniform(0.5, 0.85))
            radii = tuple(float(v) for v in height * rng.uniform(0.1, 0.2, 3))
            parts.append(sphere((x, y, z), (radii[0], radii[1], 0.8 * radii[2]), "foliage"))
    return assemble("tree", parts)


def _bush(rng: Rng) -> Piece:
    width = rng.uniform(0.5, 1.2)
    parts = []
    for _ in range(int(rng.integers(3, 7))):
        x, y = (float(v) for v in rng.uniform(-0.5, 0.5, 2) * width)
        radii = tuple(float(v) for v in width * rng.uniform(0.25, 0.45, 3))
        parts.append(sphere((x, y, 0.8 * radii[2]), (radii[0], radii[1], radii[2]), "foliage"))
    return assemble("bush", parts)


def _car(rng: Rng) -> Piece:
    length, width, wheel = rng.uniform(3.6, 4.6), rng.uniform(1.65, 1.85), rng.uniform(0.28, 0.33)
    cabin = rng.uniform(0.45, 0.7) * length
    back = rng.uniform(-0.18, 0.02) * length
    parts = [
        box((0, 0, 0.55), (length, width, 0.55)),
        box((back, 0, 1.12), (cabin, width * 0.86, 0.6), "glass"),
        box((back, 0, 1.4), (cabin * 0.85, width * 0.82, 0.08)),
        box((length / 2 - 0.02, 0, 0.5), (0.08, width * 0.9, 0.16), "dark"),
        box((-length / 2 + 0.02, 0, 0.5), (0.08, width * 0.9, 0.16), "dark"),
    ]
    for x in (-1, 1):
        post = (back + x * cabin * 0.46, 0, 1.1)
        parts.append(box(post, (0.12, width * 0.84, 0.66), turn=(0, -0.5 * x, 0)))
        for y in (-1, 1):
            place = (x * length * 0.31, y * (width / 2 - 0.08), wheel)
            parts.append(cylinder(place, wheel, 0.2, "rubber", _AXLE))
            parts.append(cylinder(place, wheel * 0.6, 0.21, "metal", _AXLE))
            lamp = (x * (length / 2 - 0.02), y * width * 0.36, 0.65)
            parts.append(box(lamp, (0.08, 0.24, 0.12), "white" if x > 0 else "redlight"))
    return assemble("car", parts, ("paint",))


def _crate(rng: Rng) -> Piece:
    width, depth, height = (float(v) for v in rng.uniform(0.5, 1.2, 3))
    parts = [box((0, 0, height / 2), (width - 0.04, depth - 0.04, height - 0.02))]
    for x in (-1, 1):
        for y in (-1, 1):
            post = (x * (width / 2 - 0.04), y * (depth / 2 - 0.04), height / 2)
            parts.append(box(post, (0.08, 0.08, height), "second"))
    if rng.random() < 0.4:
        side = 0.6 * min(width, depth)
        turn = (0.0, 0.0, float(rng.uniform(-0.6, 0.6)))
        parts.append(box((0, 0, height + side / 2), (side, side, side), "cardboard", turn=turn))
    return assemble("crate", parts, ("wood", "wood", "plain"))


def _barrel(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.25, 0.32), rng.uniform(0.75, 0.95)
    parts = [cylinder((0, 0, height / 2), radius, height)]
    for share in (0.03, 0.35, 0.65, 0.97):
        parts.append(cylinder((0, 0, share * height), radius * 1.04, 0.035, "second"))
    return assemble("barrel", parts, ("plain", "paint"))


def _cone(rng: Rng) -> Piece:
    height = rng.uniform(0.4, 0.75)
    parts = [
        box((0, 0, 0.015), (height * 0.6, height * 0.6, 0.03), "dark"),
        cone((0, 0, height / 2), height * 0.24, height * 0.04, height, "orange"),
        cone((0, 0, height * 0.6), height * 0.175, height * 0.125, height * 0.2, "white"),
    ]
    return assemble("cone", parts)


def _street_lamp(rng: Rng) -> Piece:
    height = rng.uniform(3.0, 5.0)
    parts = [
        cylinder((0, 0, height / 2), 0.06, height, "metal"),
        cylinder((0, 0, 0.2), 0.11, 0.4, "metal"),
        box((0.25, 0, height), (0.7, 0.1, 0.08), "metal"),
        box((0.5, 0, height - 0.05), (0.3, 0.14, 0.06), "white"),
    ]
    return assemble("lamp", parts)


def _fence(rng: Rng) -> Piece:
    width, height = rng.uniform(2.0, 4.5), rng.uniform(0.8, 1.4)
    parts = [box((0, 0, share * height), (width, 0.03, 0.08)) for share in (0.25, 0.8)]
    count = int(width / 0.22)
    for index in range(count):
        x = (index + 0.5) * width / count - width / 2
        parts.append(box((x, 0.03, height / 2), (0.09, 0.02, height)))
    return assemble("fence", parts, ("wood", "plain"))


def _wall(rng: Rng) -> Piece:
    width, height = rng.uniform(2.0, 6.0), rng.uniform(0.5, 1.3)
    parts = [
        box((0, 0, height / 2), (width, 0.24, height)),
        box((0, 0, height + 0.03), (width + 0.06, 0.32, 0.06), "stone"),
    ]
    return assemble("wall", parts, ("brick", "plaster", "brick"))


def _bench(rng: Rng) -> Piece:
    width = rng.uniform(1.3, 1.8)
    parts = [box((0, y, 0.44), (width, 0.1, 0.04)) for y in (-0.15, -0.02, 0.11)]
    parts += [box((0, -0.24, z), (width, 0.04, 0.1), turn=(0.15, 0, 0)) for z in (0.6, 0.76)]
    for x in (-1, 1):
        parts.append(box((x * width * 0.4, -0.02, 0.21), (0.06, 0.36, 0.42), "metal"))
        parts.append(
            box((x * width * 0.4, -0.22, 0.6), (0.06, 0.05, 0.5), "metal", turn=(0.15, 0, 0))
        )
    return assemble("bench", parts, ("wood",))


def _bin(rng: Rng) -> Piece:
    height = rng.uniform(0.9, 1.1)
    parts = [
        box((0, 0, height / 2), (0.55, 0.6, height - 0.1)),
        box((0, 0.02, height - 0.02), (0.6, 0.68, 0.06), "second"),
        cylinder((0, -0.3, 0.1), 0.1, 0.6, "rubber", (0, np.pi / 2, 0)),
    ]
    return assemble("bin", parts)


def _rock(rng: Rng) -> Piece:
    parts: list[Part] = []
    for _ in range(int(rng.integers(1, 4))):
        radii = rng.uniform(0.15, 0.6, 3)
        x, y = rng.normal(0, 0.25, 2)
        flat = (float(radii[0]), float(radii[1]), float(0.6 * radii[2]))
        turn = (0.0, float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0, 3)))
        parts.append(Part(2, (float(x), float(y), 0.7 * flat[2]), flat, "stone", turn=turn))
    return assemble("rock", parts)


def _building(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(6, 14), rng.uniform(5, 9), rng.uniform(3.5, 12)
    parts = [
        box((0, 0, height / 2), (width, depth, height)),
        box((0, 0, height + 0.15), (width + 0.3, depth + 0.3, 0.3), "stone"),
        box((0, 0, 0.25), (width + 0.06, depth + 0.06, 0.5), "stone"),
    ]
    floors = max(1, int(height / 3.0))
    across = int(rng.integers(2, 5))
    door = int(rng.integers(across))
    for floor in range(min(floors, 3)):
        for index in range(across):
            x = (index + 0.5) * width / across - width / 2
            if floor == 0 and index == door:
                parts.append(box((x, depth / 2 + 0.03, 1.1), (1.1, 0.08, 2.2), "door"))
                continue
            z = 1.7 + floor * 3.0
            parts.append(box((x, depth / 2 + 0.02, z), (1.3, 0.06, 1.4), "glass"))
            parts.append(box((x, depth / 2 + 0.08, z - 0.75), (1.5, 0.16, 0.1), "stone"))
            parts.append(box((x, depth / 2 + 0.045, z), (0.08, 0.06, 1.4), "white"))
    return assemble("building", parts, ("brick", "plaster", "plain", "facade"))


OUTDOOR_PIECES: dict[str, tuple[Builder, ...]] = {
    "tree": (_tree,), "bush": (_bush,), "car": (_car,), "crate": (_crate,),
    "barrel": (_barrel,), "cone": (_cone,), "lamp": (_street_lamp,), "fence": (_fence,),
    "wall": (_wall,), "bench": (_bench,), "bin": (_bin,), "rock": (_rock,),
    "building": (_building,),
}  # fmt: skip
