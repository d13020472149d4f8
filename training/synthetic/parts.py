# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Primitives that things are built of, and pieces: things made of them.

A builder returns parts in the axes of the piece: origin on the floor (or the surface that it
stands on) under its middle, x to its right, y to its front, z up; metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Builder",
    "Part",
    "Piece",
    "Shape",
    "Top",
    "Vec3",
    "assemble",
    "box",
    "cone",
    "cylinder",
    "legs",
    "rotation",
    "sphere",
]

Vec3 = tuple[float, float, float]


class Shape:
    """Numbers of the primitive kinds in `Room.shape_M`."""

    BOX = 0
    CONE = 1  # capped, round about z; a cylinder where both ends are as wide
    SPHERE = 2


@dataclass(frozen=True)
class Part:
    """One primitive of a piece.

    Args:
        shape: `Shape` number.
        centre: Middle, in the axes of the piece.
        half: Half sizes along its own axes; of a cone the wider end.
        surface: Which of the piece's materials covers it ("main", "second", "third"), or a
            material with a fixed look (`builder.SPECIAL`).
        front: Material of the +y face of a box, or "" for `surface` all around.
        turn: Turns about its own x, then the piece's y, then z axis, radians.
        slope: Of a cone: half the difference of the upper and the lower radius, as a share of
            the wider one; -0.5 comes to a point on top, 0 is a cylinder.
        shades: Whether it throws shadows; the shade of a lamp does not.
    """

    shape: int
    centre: Vec3
    half: Vec3
    surface: str = "main"
    front: str = ""
    turn: Vec3 = (0.0, 0.0, 0.0)
    slope: float = 0.0
    shades: bool = True


@dataclass(frozen=True)
class Top:
    """A surface of a piece that carries clutter.

    Args:
        height: Above the ground of the piece, metres.
        width, depth: Extents, metres.
        headroom: Free height above it, metres.
        y: Its middle, towards the front of the piece, metres.
    """

    height: float
    width: float
    depth: float
    headroom: float = 2.0
    y: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A named object made of parts; `assemble` makes one.

    Args:
        name: The noun that questions use.
        parts: Its primitives, standing on z = 0, their box centred on the z axis.
        size: Full extents of that box (width, depth, height).
        tops: Surfaces that carry clutter.
        materials: Texture kinds that suit its main surface.
        light: Where a lamp shines, in the axes of the piece, or None.
    """

    name: str
    parts: tuple[Part, ...]
    size: Vec3
    tops: tuple[Top, ...] = ()
    materials: tuple[str, ...] = ("plain",)
    light: Vec3 | None = None


def assemble(
    name: str,
    parts: Sequence[Part],
    materials: tuple[str, ...] = ("plain",),
    *,
    tops: Sequence[Top] = (),
    light: Vec3 | None = None,
) -> Piece:
    """Make a piece of parts: measure their box and stand it on the origin."""
    reach = [np.abs(rotation(part.turn)) @ np.array(part.half) for part in parts]
    low = np.min([np.array(part.centre) - r for part, r in zip(parts, reach, strict=True)], axis=0)
    high = np.max([np.array(part.centre) + r for part, r in zip(parts, reach, strict=True)], axis=0)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    size = high - low

    def moved(place: Vec3) -> Vec3:
        x, y, z = np.array(place) - shift
        return float(x), float(y), float(z)

    return Piece(
        name=name,
        parts=tuple(replace(part, centre=moved(part.centre)) for part in parts),
        size=(float(size[0]), float(size[1]), float(size[2])),
        tops=tuple(
            replace(top, height=top.height - float(shift[2]), y=top.y - float(shift[1]))
            for top in tops
        ),
        materials=materials,
        light=None if light is None else moved(light),
    )


def rotation(turn: Vec3) -> NDArray[np.float64]:
    """(3, 3) turn about the own x, then the piece's y, then its z axis."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(turn), np.sin(turn)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned: NDArray[np.float64] = about_z @ about_y @ about_x
    return turned


Builder = Callable[[np.random.Generator], Piece]


def box(
    centre: Vec3, size: Vec3, surface: str = "main", front: str = "", turn: Vec3 = (0.0, 0.0, 0.0)
) -> Part:
    """A box of full extents `size`."""
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    return Part(Shape.BOX, centre, half, surface, front, turn)


def cylinder(
    centre: Vec3,
    radius: float,
    height: float,
    surface: str = "main",
    turn: Vec3 = (0.0, 0.0, 0.0),
) -> Part:
    """A capped cylinder, upright unless turned."""
    return Part(Shape.CONE, centre, (radius, radius, height / 2), surface, turn=turn)


def cone(
    centre: Vec3,
    lower: float,
    upper: float,
    height: float,
    surface: str = "main",
    *,
    shades: bool = True,
) -> Part:
    """An upright cone from one radius to another."""
    wide = max(lower, upper)
    slope = (upper - lower) / (2 * wide)
    return Part(Shape.CONE, centre, (wide, wide, height / 2), surface, slope=slope, shades=shades)


def sphere(centre: Vec3, radii: float | Vec3, surface: str = "main") -> Part:
    """A ball, or an ellipsoid of three radii."""
    half = radii if isinstance(radii, tuple) else (radii, radii, radii)
    return Part(Shape.SPHERE, centre, half, surface)


def legs(
    width: float, depth: float, height: float, thick: float, surface: str, *, rounded: bool = False
) -> list[Part]:
    """Four legs under the corners of a width x depth top."""
    x, y = width / 2 - thick, depth / 2 - thick
    places = [(sx * x, sy * y, height / 2) for sx in (-1, 1) for sy in (-1, 1)]
    if rounded:
        return [cylinder(place, thick / 2, height, surface) for place in places]
    return [box(place, (thick, thick, height), surface) for place in places]
