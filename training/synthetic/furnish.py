# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places furniture in groups, as rooms of a purpose have it, and clutter on what it carries."""

from __future__ import annotations

import numpy as np

from .builder import RoomBuilder, SceneObject, footprint
from .clutter import CLUTTER, WALL_PIECES
from .furniture import FURNITURE
from .outdoor_pieces import OUTDOOR_PIECES
from .parts import Piece, Top
from .pieces import build_piece

__all__ = ["THEMES", "WALLS", "furnish", "wall_origin"]

# Walls: (axis, side, yaw of a piece whose back touches it).
WALLS = ((0, 1, np.pi / 2), (0, -1, -np.pi / 2), (1, 1, np.pi), (1, -1, 0.0))
_AGAINST_WALL = ("desk", "shelf", "cabinet", "wardrobe", "bed", "sofa", "counter", "fridge",
                 "nightstand")  # fmt: skip
_EVERYTHING = tuple(FURNITURE)
# What stands and lies in rooms of a purpose.
THEMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "living": (
        ("sofa", "armchair", "table", "cabinet", "shelf", "lamp", "plant", "ball", "stool", "box"),
        ("book", "cup", "vase", "plant", "bowl", "bottle", "lamp", "laptop", "box"),
    ),
    "bedroom": (
        ("bed", "nightstand", "wardrobe", "chair", "lamp", "cabinet", "plant", "suitcase", "desk"),
        ("book", "cup", "lamp", "vase", "bottle", "jar", "box", "ball"),
    ),
    "office": (
        ("desk", "desk", "chair", "shelf", "cabinet", "bin", "plant", "table", "lamp", "box"),
        ("monitor", "keyboard", "laptop", "book", "cup", "lamp", "plant", "box", "can"),
    ),
    "kitchen": (
        ("counter", "counter", "fridge", "table", "chair", "stool", "bin", "shelf", "cabinet"),
        ("plate", "bowl", "cup", "bottle", "kettle", "jar", "can", "box", "plant"),
    ),
    "store": (
        ("shelf", "shelf", "box", "box", "table", "crate", "barrel", "bin", "cabinet", "suitcase"),
        ("box", "jar", "can", "bottle", "box", "book"),
    ),
    "mixed": (_EVERYTHING, tuple(CLUTTER)),
}
_SHARES = (0.2, 0.17, 0.19, 0.14, 0.12, 0.18)
_MAX_PRIMITIVES = 420


def furnish(build: RoomBuilder, plan: str, area: float) -> None:
    """Fill a room with the furniture of a purpose.

    Args:
        build: The room, with its walls.
        plan: Floor plan; corridors stay passable.
        area: Free floor, square metres.
    """
    rng = build.rng
    theme = list(THEMES)[int(rng.choice(len(THEMES), p=_SHARES))]
    names, clutter = THEMES[theme]
    if plan == "corridor":
        names = ("cabinet", "plant", "bench", "box", "bin", "shelf", "stool", "suitcase", "lamp")
    target = int(rng.integers(3, 8) + min(area / 4.5, 20))
    if plan != "corridor" and rng.random() < 0.4:
        _add_rug(build)
    for _ in range(4 * target):
        if target <= 0 or len(build.shape) > _MAX_PRIMITIVES:
            return
        name = names[int(rng.integers(len(names)))]
        if rng.random() < 0.06:
            name = _EVERYTHING[int(rng.integers(len(_EVERYTHING)))]
        group = FURNITURE if name in FURNITURE else OUTDOOR_PIECES
        piece = build_piece(name, rng, group)
        spot = _find_spot(build, piece, name in _AGAINST_WALL or plan == "corridor")
        if spot is None:
            continue
        thing = _stand(build, piece, spot)
        if thing is None:
            return
        target -= 1
        for top in piece.tops:
            _add_clutter(build, thing, top, clutter)
        _add_company(build, thing)


def wall_origin(build: RoomBuilder, wall: int, along: float, gap: float) -> tuple[float, float]:
    """Place at a distance from a wall."""
    axis, side, _ = WALLS[wall]
    flat = [along, along]
    flat[axis] = side * (build.size[axis] / 2 - gap)
    return flat[0], flat[1]


def _stand(
    build: RoomBuilder, piece: Piece, spot: tuple[float, float, float]
) -> SceneObject | None:
    x, y, yaw = spot
    thing = build.place(piece, (x, y, 0.0), yaw)
    if thing is not None:
        build.floor_taken.append(footprint(x, y, piece.size[0], piece.size[1], yaw))
    return thing


def _add_rug(build: RoomBuilder) -> None:
    rng = build.rng
    rug = build_piece("rug", rng, WALL_PIECES)
    x = float(rng.uniform(-0.4, 0.4)) * max(0.0, build.size[0] - 2.5)
    y = float(rng.uniform(-0.4, 0.4)) * max(0.0, build.size[1] - 2.5)
    yaw = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1))
    rectangle = footprint(x, y, rug.size[0], rug.size[1], yaw)
    if build.is_free(rectangle, 0.0):
        build.place(rug, (x, y, 0.0), yaw)


def _find_spot(
    build: RoomBuilder, piece: Piece, against_wall: bool
) -> tuple[float, float, float] | None:
    rng = build.rng
    width, depth, height = piece.size
    if height > build.size[2] - 0.05:
        return None
    for _ in range(8):
        if against_wall:
            wall = int(rng.integers(4))
            axis, _, yaw = WALLS[wall]
            room_for = build.size[1 - axis] / 2 - width / 2 - 0.03
            if room_for <= 0:
                continue
            along = float(rng.uniform(-room_for, room_for))
            x, y = wall_origin(build, wall, along, depth / 2 + 0.03)
        else:
            x = float(rng.uniform(-0.5, 0.5)) * max(0.0, build.size[0] - width)
            y = float(rng.uniform(-0.5, 0.5)) * max(0.0, build.size[1] - width)
            yaw = float(rng.choice([0, np.pi / 2, np.pi, -np.pi / 2]) + rng.normal(0, 0.2))
        if build.is_free(footprint(x, y, width, depth, yaw), 0.05):
            return x, y, float(yaw)
    return None


def _add_company(build: RoomBuilder, thing: SceneObject) -> None:
    """What stands with a thing: chairs at tables and desks, a low table before a sofa."""
    rng = build.rng
    width, depth, height = thing.size
    if thing.name == "table" and height > 0.6:
        seats = [
            (0.0, 1.0, np.pi),
            (0.0, -1.0, 0.0),
            (1.0, 0.0, np.pi / 2),
            (-1.0, 0.0, -np.pi / 2),
        ]
        for right, front, turn in seats:
            if rng.random() < 0.6:
                x = right * (width / 2 + 0.12) + float(rng.uniform(-0.15, 0.15))
                y = front * (depth / 2 + 0.12)
                _beside(build, thing, "chair", (x, y), turn + float(rng.normal(0, 0.2)), 0.15)
    elif thing.name == "desk" and rng.random() < 0.85:
        yaw = np.pi + float(rng.normal(0, 0.4))
        _beside(build, thing, "chair", (float(rng.uniform(-0.2, 0.2)), depth / 2 + 0.3), yaw, 0.0)
    elif thing.name == "sofa" and rng.random() < 0.6:
        _beside(build, thing, "table", (0.0, depth / 2 + 0.7), 0.0, 0.0, tallest=0.5)
    elif thing.name == "bed" and rng.random() < 0.6:
        x = float(rng.choice([-1, 1])) * (width / 2 + 0.3)
        _beside(build, thing, "nightstand", (x, 0.22 - depth / 2), 0.0, 0.0)


def _beside(
    build: RoomBuilder,
    thing: SceneObject,
    name: str,
    place: tuple[float, float],
    turn: float,
    overlap: float,
    tallest: float = 9.0,
) -> None:
    """Put a piece at a place in the axes of a thing; `overlap` metres of it may stick under."""
    piece = build_piece(name, build.rng, FURNITURE)
    if piece.size[2] > tallest:
        return
    c, s = float(np.cos(thing.yaw)), float(np.sin(thing.yaw))
    reach = 1.0 + (piece.size[1] / 2 - overlap) / max(1e-6, float(np.hypot(*place)))
    x, y = (reach * v for v in place) if overlap else place
    spot = (
        thing.centre[0] + c * x - s * y, thing.centre[1] + s * x + c * y, thing.yaw + turn,
    )  # fmt: skip
    rectangle = footprint(spot[0], spot[1], piece.size[0], piece.size[1], spot[2])
    own = footprint(thing.centre[0], thing.centre[1], thing.size[0], thing.size[1], thing.yaw)
    hidden = own in build.floor_taken and overlap > 0
    if hidden:
        build.floor_taken.remove(own)
    if build.is_free(rectangle, 0.0):
        placed = _stand(build, piece, spot)
        if placed is not None and piece.tops:
            for top in piece.tops:
                _add_clutter(build, placed, top, THEMES["living"][1])
    if hidden:
        build.floor_taken.append(own)


def _add_clutter(
    build: RoomBuilder, carrier: SceneObject, top: Top, names: tuple[str, ...]
) -> None:
    """Small things on a surface, none inside of another."""
    rng = build.rng
    taken: list[tuple[float, float, float]] = []
    ground = carrier.centre[2] - carrier.size[2] / 2 + top.height
    headroom = min(top.headroom, build.size[2] - ground - 0.02)
    wanted = int(rng.poisson(min(8.0, 7.0 * top.width * max(top.depth, 0.25))))
    c, s = float(np.cos(carrier.yaw)), float(np.sin(carrier.yaw))
    for _ in range(wanted):
        if len(build.shape) > _MAX_PRIMITIVES:
            return
        name = names[int(rng.integers(len(names)))]
        piece = build_piece(name, rng, CLUTTER)
        width, depth, height = piece.size
        reach = float(np.hypot(width, depth)) / 2
        if height > headroom or width > top.width - 0.02 or depth > top.depth - 0.01:
            continue
        faces_front = name in ("monitor", "laptop", "keyboard")
        turn = float(rng.normal(0, 0.12)) if faces_front else float(rng.uniform(-np.pi, np.pi))
        span = width if faces_front else max(width, depth)
        slack = (max(0.0, top.width - span - 0.02), max(0.0, top.depth - span - 0.02))
        x, y = (float(v) for v in rng.uniform(-0.5, 0.5, 2) * slack)
        if any(np.hypot(x - a, y - b) < reach + r for a, b, r in taken):
            continue
        taken.append((x, y, reach))
        y += top.y
        origin = (
            carrier.centre[0] + c * x - s * y,
            carrier.centre[1] + s * x + c * y,
            ground,
        )
        build.place(piece, origin, carrier.yaw + turn)
