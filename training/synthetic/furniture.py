"""Furniture and clutter built of boxes, upright cylinders and spheres.

A builder returns parts in the axes of the piece: origin on the floor (or the surface that it
stands on) under its middle, x to its right, y to its front, z up; metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["CLUTTER", "FLOOR_PIECES", "WALL_PIECES", "Part", "Piece", "Shape", "build_piece"]

Vec3 = tuple[float, float, float]


class Shape:
    """Numbers of the primitive kinds in `Room.shape_M`."""

    BOX = 0
    CYLINDER = 1
    SPHERE = 2


@dataclass(frozen=True)
class Part:
    """One primitive of a piece.

    Args:
        shape: `Shape` number.
        centre: Middle, in the axes of the piece.
        half: Half sizes; (radius, radius, half height) of a cylinder, three radii of a sphere.
        surface: Which of the piece's materials covers it ("main", "second", or a texture kind).
        front: Texture kind of the +y face of a box, or "" for `surface` all around.
    """

    shape: int
    centre: Vec3
    half: Vec3
    surface: str = "main"
    front: str = ""


@dataclass(frozen=True)
class Piece:
    """A named object made of parts.

    Args:
        name: The noun that questions use.
        parts: Its primitives.
        size: Full extents (width, depth, height).
        top: Height of a surface that carries clutter, or None.
        materials: Texture kinds that suit its main surface.
    """

    name: str
    parts: tuple[Part, ...]
    size: Vec3
    top: float | None
    materials: tuple[str, ...]


def build_piece(name: str, rng: np.random.Generator) -> Piece:
    """Make one piece of furniture with random proportions.

    Raises:
        ValueError: Unknown name.
    """
    if name not in _BUILDERS:
        raise ValueError(f"piece is {name!r}, expected one of {sorted(_BUILDERS)}")
    return _BUILDERS[name](rng)


def _box(centre: Vec3, size: Vec3, surface: str = "main", front: str = "") -> Part:
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    return Part(Shape.BOX, centre, half, surface, front)


def _cylinder(centre: Vec3, radius: float, height: float, surface: str = "main") -> Part:
    return Part(Shape.CYLINDER, centre, (radius, radius, height / 2), surface)


def _sphere(centre: Vec3, radius: float, surface: str = "main") -> Part:
    return Part(Shape.SPHERE, centre, (radius, radius, radius), surface)


def _legs(width: float, depth: float, height: float, thick: float, surface: str) -> list[Part]:
    x, y = width / 2 - thick, depth / 2 - thick
    return [
        _box((sx * x, sy * y, height / 2), (thick, thick, height), surface)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def _table(rng: np.random.Generator) -> Piece:
    width, depth = rng.uniform(0.9, 1.8), rng.uniform(0.6, 0.95)
    height, top = rng.uniform(0.68, 0.8), rng.uniform(0.03, 0.06)
    parts = [_box((0, 0, height - top / 2), (width, depth, top))]
    parts += _legs(width, depth, height - top, rng.uniform(0.05, 0.08), "second")
    return Piece("table", tuple(parts), (width, depth, height), height, ("wood", "plain"))


def _desk(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(1.1, 1.7), rng.uniform(0.6, 0.8), rng.uniform(0.7, 0.77)
    drawer = rng.uniform(0.35, 0.45)
    x = width / 2
    parts = [
        _box((0, 0, height - 0.02), (width, depth, 0.04)),
        _box((x - drawer / 2, 0, (height - 0.04) / 2), (drawer, depth * 0.95, height - 0.04)),
        _box((-x + 0.025, 0, (height - 0.04) / 2), (0.05, depth * 0.95, height - 0.04), "second"),
    ]
    return Piece("desk", tuple(parts), (width, depth, height), height, ("wood", "plain"))


def _chair(rng: np.random.Generator) -> Piece:
    width, seat = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48)
    height = seat + rng.uniform(0.38, 0.5)
    parts = [
        _box((0, 0, seat - 0.025), (width, width, 0.05)),
        _box((0, -width / 2 + 0.02, (seat + height) / 2), (width, 0.04, height - seat)),
    ]
    parts += _legs(width, width, seat - 0.05, 0.04, "second")
    return Piece("chair", tuple(parts), (width, width, height), None, ("wood", "fabric", "plain"))


def _stool(rng: np.random.Generator) -> Piece:
    radius, height = rng.uniform(0.16, 0.22), rng.uniform(0.4, 0.7)
    parts = (
        _cylinder((0, 0, height - 0.025), radius, 0.05),
        _cylinder((0, 0, height / 2), 0.035, height - 0.05, "second"),
        _cylinder((0, 0, 0.015), radius * 0.9, 0.03, "second"),
    )
    return Piece("stool", parts, (2 * radius, 2 * radius, height), None, ("wood", "plain"))


def _shelf(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.7, 1.3), rng.uniform(0.26, 0.36), rng.uniform(1.2, 2.0)
    wall = 0.03
    parts = [
        _box((-width / 2 + wall / 2, 0, height / 2), (wall, depth, height)),
        _box((width / 2 - wall / 2, 0, height / 2), (wall, depth, height)),
        _box((0, -depth / 2 + 0.01, height / 2), (width, 0.02, height), "second"),
    ]
    boards = int(rng.integers(3, 6))
    for index in range(boards + 1):
        z = wall / 2 + index * (height - wall) / boards
        parts.append(_box((0, 0, z), (width, depth, wall)))
        if index < boards and rng.random() < 0.7:
            tall = (height / boards) * rng.uniform(0.5, 0.8)
            wide = (width - 0.1) * rng.uniform(0.4, 1.0)
            x = rng.uniform(-1, 1) * (width - 0.08 - wide) / 2
            parts.append(
                _box((x, -0.03, z + wall / 2 + tall / 2), (wide, depth * 0.6, tall), "books")
            )
    return Piece("shelf", tuple(parts), (width, depth, height), None, ("wood", "plain"))


def _cabinet(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.4, 0.6), rng.uniform(0.7, 1.3)
    body = _box((0, 0, height / 2), (width, depth, height))
    doors = int(rng.integers(1, 4))
    parts = [body]
    for index in range(doors):
        x = (index + 0.5) * width / doors - width / 2
        size = (width / doors - 0.03, 0.02, height - 0.08)
        parts.append(_box((x, depth / 2 + 0.01, height / 2), size, "second"))
        parts.append(_sphere((x + size[0] * 0.35, depth / 2 + 0.03, height / 2), 0.02, "main"))
    return Piece("cabinet", tuple(parts), (width, depth, height), height, ("wood", "plain"))


def _wardrobe(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.9, 1.6), rng.uniform(0.5, 0.65), rng.uniform(1.8, 2.15)
    parts = [_box((0, 0, height / 2), (width, depth, height))]
    for side in (-1, 1):
        size = (width / 2 - 0.03, 0.02, height - 0.1)
        parts.append(_box((side * width / 4, depth / 2 + 0.01, height / 2), size, "second"))
        parts.append(_box((side * 0.05, depth / 2 + 0.035, height / 2), (0.02, 0.03, 0.2), "plain"))
    return Piece("wardrobe", tuple(parts), (width, depth, height), None, ("wood", "plain"))


def _bed(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.9, 1.7), rng.uniform(1.9, 2.1), rng.uniform(0.4, 0.55)
    head = height + rng.uniform(0.25, 0.5)
    parts = [
        _box((0, 0, 0.15), (width, depth, 0.2), "wood"),
        _box((0, 0, (height + 0.25) / 2), (width * 0.97, depth * 0.97, height - 0.25)),
        _box((0, -depth / 2 + 0.03, head / 2), (width, 0.06, head), "wood"),
    ]
    for x in (-width / 4, width / 4) if width > 1.3 else (0.0,):
        parts.append(
            _box((x, -depth / 2 + 0.28, height + 0.06), (width * 0.35, 0.35, 0.12), "second")
        )
    return Piece("bed", tuple(parts), (width, depth, head), None, ("fabric", "stripes", "plain"))


def _sofa(rng: np.random.Generator) -> Piece:
    width, depth, seat = rng.uniform(1.5, 2.2), rng.uniform(0.8, 0.95), rng.uniform(0.38, 0.45)
    height = seat + rng.uniform(0.3, 0.45)
    arm = rng.uniform(0.15, 0.22)
    parts = [
        _box((0, 0, seat / 2), (width, depth, seat)),
        _box((0, -depth / 2 + 0.1, height / 2), (width, 0.2, height)),
    ]
    for side in (-1, 1):
        x = side * (width / 2 - arm / 2)
        parts.append(_box((x, 0, (seat + 0.2) / 2), (arm, depth, seat + 0.2)))
        parts.append(
            _box(
                (side * (width - 2 * arm) / 4, 0.08, seat + 0.05),
                ((width - 2 * arm) / 2 - 0.02, depth - 0.25, 0.1),
                "second",
            )
        )
    return Piece("sofa", tuple(parts), (width, depth, height), None, ("fabric", "plain"))


def _lamp(rng: np.random.Generator) -> Piece:
    height, radius = rng.uniform(1.3, 1.7), rng.uniform(0.14, 0.22)
    parts = (
        _cylinder((0, 0, 0.015), 0.15, 0.03, "second"),
        _cylinder((0, 0, height / 2), 0.02, height - 0.2, "second"),
        _cylinder((0, 0, height - 0.13), radius, 0.26),
    )
    return Piece("lamp", parts, (2 * radius, 2 * radius, height), None, ("plain", "fabric"))


def _plant(rng: np.random.Generator) -> Piece:
    pot, height = rng.uniform(0.12, 0.2), rng.uniform(0.7, 1.3)
    parts = [
        _cylinder((0, 0, pot), pot, 2 * pot, "main"),
        _cylinder((0, 0, (2 * pot + height - 0.2) / 2), 0.02, height - 0.2 - 2 * pot, "wood"),
    ]
    for _ in range(int(rng.integers(3, 6))):
        dx, dy = rng.uniform(-0.14, 0.14, 2)
        radius = rng.uniform(0.09, 0.17)
        parts.append(_sphere((dx, dy, height - 0.17 - rng.uniform(0, 0.25)), radius, "leaf"))
    return Piece("plant", tuple(parts), (0.56, 0.56, height), None, ("plain", "brick"))


def _crate(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.5)
    parts = (_box((0, 0, height / 2), (width, depth, height)),)
    materials = ("plain", "wood", "checker", "stripes")
    return Piece("box", parts, (width, depth, height), None, materials)


def _bin(rng: np.random.Generator) -> Piece:
    radius, height = rng.uniform(0.12, 0.18), rng.uniform(0.25, 0.4)
    parts = (_cylinder((0, 0, height / 2), radius, height),)
    return Piece("bin", parts, (2 * radius, 2 * radius, height), None, ("plain",))


def _ball(rng: np.random.Generator) -> Piece:
    radius = rng.uniform(0.09, 0.2)
    parts = (_sphere((0, 0, radius), radius),)
    return Piece("ball", parts, (2 * radius,) * 3, None, ("plain", "checker", "stripes"))


def _cup(rng: np.random.Generator) -> Piece:
    radius, height = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.12)
    parts = (_cylinder((0, 0, height / 2), radius, height),)
    return Piece("cup", parts, (2 * radius, 2 * radius, height), None, ("plain",))


def _bottle(rng: np.random.Generator) -> Piece:
    radius, height = rng.uniform(0.035, 0.05), rng.uniform(0.22, 0.32)
    parts = (
        _cylinder((0, 0, height * 0.35), radius, height * 0.7),
        _cylinder((0, 0, height * 0.85), radius * 0.4, height * 0.3, "second"),
    )
    return Piece("bottle", parts, (2 * radius, 2 * radius, height), None, ("plain",))


def _book(rng: np.random.Generator) -> Piece:
    width, depth, height = rng.uniform(0.16, 0.26), rng.uniform(0.2, 0.3), rng.uniform(0.03, 0.12)
    parts = (_box((0, 0, height / 2), (width, depth, height)),)
    return Piece("book", parts, (width, depth, height), None, ("plain", "stripes"))


def _monitor(rng: np.random.Generator) -> Piece:
    width = rng.uniform(0.45, 0.7)
    height = width * 0.6
    parts = (
        _box((0, 0, 0.01), (0.22, 0.18, 0.02), "second"),
        _box((0, -0.03, 0.08), (0.04, 0.03, 0.14), "second"),
        _box((0, 0, 0.12 + height / 2), (width, 0.04, height), "second", "screen"),
    )
    return Piece("monitor", parts, (width, 0.2, 0.12 + height), None, ("plain",))


def _flat(name: str, width: float, height: float, front: str, kinds: tuple[str, ...]) -> Piece:
    """A flat piece whose back touches a wall (y = 0 at its middle)."""
    depth = 0.05
    part = _box((0, 0, height / 2), (width, depth, height), "main", front)
    return Piece(name, (part,), (width, depth, height), None, kinds)


def _picture(rng: np.random.Generator) -> Piece:
    return _flat("picture", rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.8), "poster", ("plain",))


def _window(rng: np.random.Generator) -> Piece:
    return _flat("window", rng.uniform(0.8, 1.8), rng.uniform(0.9, 1.3), "window", ("plain",))


def _door(rng: np.random.Generator) -> Piece:
    return _flat("door", rng.uniform(0.8, 0.95), rng.uniform(1.95, 2.1), "door", ("wood", "plain"))


_BUILDERS: dict[str, Callable[[np.random.Generator], Piece]] = {
    "table": _table, "desk": _desk, "chair": _chair, "stool": _stool, "shelf": _shelf,
    "cabinet": _cabinet, "wardrobe": _wardrobe, "bed": _bed, "sofa": _sofa, "lamp": _lamp,
    "plant": _plant, "box": _crate, "bin": _bin, "ball": _ball, "cup": _cup,
    "bottle": _bottle, "book": _book, "monitor": _monitor, "picture": _picture,
    "window": _window, "door": _door,
}  # fmt: skip

AGAINST_WALL = ("desk", "shelf", "cabinet", "wardrobe", "bed", "sofa")
FLOOR_PIECES = (*AGAINST_WALL, "table", "chair", "stool", "lamp", "plant", "box", "bin", "ball")
WALL_PIECES = ("picture", "window", "door")
CLUTTER = ("cup", "bottle", "book", "box", "monitor", "ball")
