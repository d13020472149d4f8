# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Scenes that deceive: two rooms that look the same, and a room with a mirror.

Both are made of one room and its copy. Two equal rooms lie side by side on a corridor. A mirror
is an opening to a copy that is reflected in its plane: what is seen through it is what a mirror
would show, pixel by pixel; the true depth ends at its plane.
"""

from __future__ import annotations

import numpy as np
from g2vlm_training.synthetic import Room
from g2vlm_training.synthetic.builder import RoomBuilder, footprint
from g2vlm_training.synthetic.clutter import WALL_PIECES
from g2vlm_training.synthetic.furniture import FURNITURE
from g2vlm_training.synthetic.interior import Place
from g2vlm_training.synthetic.parts import Part, Shape
from g2vlm_training.synthetic.pieces import build_piece
from g2vlm_training.synthetic.room import freeze_room
from numpy.typing import NDArray

__all__ = ["make_mirror_room", "make_twin_rooms"]

Floats = NDArray[np.float64]
Rng = np.random.Generator

_LONG, _WIDE, _HIGH = 5.0, 4.2, 2.6  # of one room: along y, along x, along z, metres
_WALL = 0.12
_DOOR = 1.1
_CORRIDOR = 1.8
_GLASS = 1.6  # width of the mirror
_STANDING = ("cabinet", "shelf", "desk", "plant", "chair", "lamp", "box", "table", "bin", "sofa")
_PRINTS = ("picture", "picture", "picture", "clock", "whiteboard")


def make_twin_rooms(seed: int) -> tuple[Room, Floats]:
    """Two rooms that look the same, both with their doors to one corridor.

    Args:
        seed: The same seed, the same rooms.

    Returns:
        The scene, and (K, 2) corners of a tour through the first room, the corridor, the second
        room and back to its start.
    """
    apart = _WIDE + _WALL  # from the one room to the other, along x
    build = RoomBuilder(np.random.default_rng([seed, 43]), (2 * apart + 2.0, 9.0, _HIGH + 0.2))
    _add_shell(build)
    first = len(build.shape)
    middle = np.array([-apart / 2, 1.0])
    _add_room(build, middle, open_side="south", gap=_DOOR)
    _copy(build, first, len(build.shape), shift=(apart, 0.0))
    south = 1.0 - _LONG / 2
    _add_corridor(build, south - _CORRIDOR - 2 * _WALL, south - _WALL, 2 * apart)
    lamps = [(float(middle[0] + dx), 1.0) for dx in (0.0, apart)] + [(0.0, south - 1.0)]
    tour = []
    for x in (float(middle[0]), float(middle[0] + apart)):
        door = [(x, south - _CORRIDOR / 2 - _WALL), (x, south + 0.6)]
        tour += [*door, (x + 0.75, 0.4), (x + 0.75, 1.8), (x - 0.75, 1.8), (x - 0.75, 0.4)]
        tour += door[::-1]
    tour.append(tour[0])
    return freeze_room(seed, "indoor", build, _light(build, lamps)), np.array(tour)


def make_mirror_room(seed: int) -> tuple[Room, Floats]:
    """A room with a mirror in the plane x = 0, and its reflection behind.

    Args:
        seed: The same seed, the same room.

    Returns:
        The scene, and (K, 2) corners of a tour at x < 0 that looks into the mirror.
    """
    build = RoomBuilder(np.random.default_rng([seed, 47]), (2 * _WIDE + 2.0, 9.0, _HIGH + 0.2))
    _add_shell(build)
    first = len(build.shape)
    middle = np.array([-_WIDE / 2, 0.0])
    _add_room(build, middle, open_side="east", gap=_GLASS)
    _copy(build, first, len(build.shape), reflect=True)
    lamps = [(float(middle[0]), 0.0), (-float(middle[0]), 0.0)]
    x = float(middle[0])
    tour = [(x - 0.8, 0.0), (-0.9, 0.1), (-0.9, 1.0), (x, 1.2), (x - 0.8, 0.6)]
    tour += [(x - 0.8, -0.8), (x, -1.2), (-0.9, -1.0), (-0.9, -0.2), (x - 0.8, 0.0)]
    return freeze_room(seed, "indoor", build, _light(build, lamps)), np.array(tour)


def _add_shell(build: RoomBuilder) -> None:
    """What lies outside of the walls; nobody sees it."""
    half = [extent / 2 for extent in build.size]
    dark = build.material("plain", (0.2, 0.2, 0.2), 1.0)
    part = Part(Shape.BOX, (0, 0, half[2]), (half[0], half[1], half[2]))
    build.primitive(part, (0, 0, 0), 0.0, 0, [dark] * 6)


def _add_room(build: RoomBuilder, middle: Floats, *, open_side: str, gap: float) -> None:
    """Floor, ceiling, four walls, one of them with an opening, and what stands in it."""
    rng, (x, y) = build.rng, (float(value) for value in middle)
    wall = build.material("wallpaper", (0.62, 0.6, 0.55), float(rng.uniform(0.7, 1.1)))
    accent = build.material("brick", (0.5, 0.25, 0.18), 1.0)
    floor = build.material("wood", (0.42, 0.27, 0.15), float(rng.uniform(0.9, 1.4)))
    ceiling = build.special("grid")
    build.solid((x, y, 0.01), (_WIDE, _LONG, 0.02), floor)
    build.solid((x, y, _HIGH), (_WIDE, _LONG, 0.06), ceiling)
    build.solid((x - _WIDE / 2, y, _HIGH / 2), (_WALL, _LONG, _HIGH), accent)
    build.solid((x, y + _LONG / 2, _HIGH / 2), (_WIDE, _WALL, _HIGH), wall)
    if open_side == "south":
        build.solid((x + _WIDE / 2, y, _HIGH / 2), (_WALL, _LONG, _HIGH), wall)
        for side in (-1, 1):
            wide = (_WIDE - gap) / 2
            at = (x + side * (gap + wide) / 2, y - _LONG / 2, _HIGH / 2)
            build.solid(at, (wide, _WALL, _HIGH), wall)
        build.floor_taken.append((x - 1.3, y - _LONG / 2, x + 1.3, y + 1.4))
    else:
        build.solid((x, y - _LONG / 2, _HIGH / 2), (_WIDE, _WALL, _HIGH), wall)
        for side in (-1, 1):
            wide = (_LONG - gap) / 2
            at = (x + _WIDE / 2 - _WALL / 2, y + side * (gap + wide) / 2, _HIGH / 2)
            build.solid(at, (_WALL, wide, _HIGH), wall)
        build.floor_taken.append((x - 1.4, y - 1.7, x + _WIDE / 2, y + 1.7))
    _furnish(build, x, y)


def _furnish(build: RoomBuilder, x: float, y: float) -> None:
    """Furniture at the walls, pictures above it."""
    rng = build.rng
    for name in rng.permutation(np.repeat(_STANDING, 3)):
        piece = build_piece(str(name), rng, FURNITURE if name in FURNITURE else None)
        width, depth, _ = piece.size
        side = int(rng.integers(4))
        yaw = (0.0, np.pi / 2, np.pi, -np.pi / 2)[side]
        turned = (width, depth) if side % 2 == 0 else (depth, width)
        free = ((_WIDE - turned[0]) / 2 - 0.1, (_LONG - turned[1]) / 2 - 0.1)
        if min(free) <= 0:
            continue
        at = [x + rng.uniform(-1, 1) * free[0], y + rng.uniform(-1, 1) * free[1]]
        if side % 2 == 0:
            at[1] = y + (-1.0 if side == 0 else 1.0) * free[1]
        else:
            at[0] = x + (1.0 if side == 1 else -1.0) * free[0]
        rectangle = footprint(at[0], at[1], width, depth, yaw)
        if build.is_free(rectangle, 0.05):
            build.place(piece, (at[0], at[1], 0.02), yaw)
            build.floor_taken.append(rectangle)
    for index, name in enumerate(_PRINTS):
        piece = build_piece(name, rng, WALL_PIECES)
        along = y + (index - 2) * 0.95
        if piece.size[0] < 0.9:
            west = x - _WIDE / 2 + _WALL / 2 + piece.size[1] / 2
            build.place(piece, (west, along, 1.2), -np.pi / 2)


def _add_corridor(build: RoomBuilder, low: float, high: float, length: float) -> None:
    rng = build.rng
    wall = build.material("plaster", (0.6, 0.62, 0.66), float(rng.uniform(0.8, 1.4)))
    floor = build.material("tile", (0.4, 0.4, 0.42), 0.8)
    middle, wide = (low + high) / 2, high - low
    build.solid((0.0, middle, 0.01), (length, wide + _WALL, 0.02), floor)
    build.solid((0.0, middle, _HIGH), (length, wide + _WALL, 0.06), wall)
    build.solid((0.0, low, _HIGH / 2), (length, _WALL, _HIGH), wall)
    for side in (-1, 1):
        build.solid((side * length / 2, middle, _HIGH / 2), (_WALL, wide, _HIGH), wall)
    for place in np.arange(-length / 2 + 0.8, length / 2 - 0.5, 1.4):
        piece = build_piece("picture", rng, WALL_PIECES)
        build.place(piece, (float(place), low + _WALL / 2 + piece.size[1] / 2, 1.1), 0.0)


def _copy(
    build: RoomBuilder, first: int, last: int, *,
    shift: tuple[float, float] = (0.0, 0.0), reflect: bool = False,
) -> None:  # fmt: skip
    """Add primitives once more, moved, or reflected in the plane x = 0.

    Reflected axes are left-handed: places on a face, and so its texture, are reflected too.
    """
    mirror = np.diag([-1.0 if reflect else 1.0, 1.0, 1.0])
    offset = np.array([*shift, 0.0])
    for index in range(first, last):
        build.shape.append(build.shape[index])
        build.centre.append(tuple((mirror @ np.array(build.centre[index]) + offset).tolist()))
        build.half.append(build.half[index])
        build.turn.append(mirror @ build.turn[index])
        build.slope.append(build.slope[index])
        build.shades.append(build.shades[index])
        build.owner.append(build.owner[index])
        build.faces.append(build.faces[index])


def _light(build: RoomBuilder, lamps: list[tuple[float, float]]) -> Place:
    """A lamp in the middle of each room."""
    half = (build.size[0] / 2, build.size[1] / 2)
    return Place(
        floor_area=None,
        roam=(-half[0], -half[1], half[0], half[1]),
        lights=tuple(((x, y, _HIGH - 0.35), (2.4, 2.3, 2.1)) for x, y in lamps),
        above=(0.3, 0.3, 0.29),
        below=(0.2, 0.18, 0.15),
    )
