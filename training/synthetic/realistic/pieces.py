# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What rooms hold that the library lacks: pictures, mirrors, rugs, monitors, curtains, lamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..builder import WOODS, SceneObject
from .arrange import Arranger
from .plan import Wall
from .shell import drawn_texture

__all__ = [
    "add_books",
    "add_monitor",
    "hang_board",
    "hang_curtains",
    "hang_mirror",
    "hang_notes",
    "hang_picture",
    "lay_papers",
    "lay_rug",
]


def _print_of(place: Arranger) -> int:
    """A picture's texture: a drawn print, or a view cut out of a panorama."""
    build, rng = place.build, place.rng
    names = build.library.panoramas
    if not names or rng.random() < 0.5:
        return drawn_texture(build, "poster" if rng.random() < 0.8 else "writing")
    sky = build.library.panorama(names[int(rng.integers(len(names)))])
    height, width = sky.shape[:2]
    side = int(rng.integers(height // 4, height // 2))
    row, column = int(rng.integers(height // 6, height - side)), int(rng.integers(width - side))
    view = sky[row : row + side, column : column + side]
    bright = view / max(1e-6, float(np.quantile(view, 0.9)))
    encoded = np.clip(bright, 0, 1) ** (1 / 2.2)
    index = np.linspace(0, side - 1, 128).astype(int)
    pixels: NDArray[np.uint8] = np.rint(encoded[index][:, index] * 255).astype(np.uint8)
    return build.texture(pixels)


def hang_picture(place: Arranger) -> None:
    """A framed print on a wall."""
    rng, build = place.rng, place.build
    wide, high = float(rng.uniform(0.2, 1.1)), float(rng.uniform(0.2, 0.9))
    spot = _on_wall(place, wide, high, float(rng.uniform(1.2, 1.5)))
    if spot is None:
        return
    wall, along, low = spot
    owner = build.number()
    frame = build.material(np.array(WOODS[int(rng.integers(4))]) if rng.random() < 0.5
                           else np.full(3, rng.choice([0.03, 0.6])))  # fmt: skip
    thick, border = 0.025, float(rng.uniform(0.01, 0.04))
    x, y = wall.at(along, thick / 2)
    build.box((x, y, low + high / 2), (wide, thick, high), frame, owner, wall.yaw)
    canvas = build.material((0.8, 0.8, 0.8), _print_of(place), 0.05 if rng.random() < 0.4 else 0.02)
    heading = -np.array([*wall.heading, 0.0])
    begin = wall.at(along + wide / 2 - border, thick + 0.002)
    build.quad((*begin, low + border), heading * (wide - 2 * border), (0, 0, high - 2 * border),
               canvas, owner)  # fmt: skip
    build.name("picture", "", (x, y, low + high / 2), (wide, thick, high), wall.yaw)


def hang_mirror(place: Arranger) -> None:
    """A mirror in a thin frame; what it shows has the depth of its glass."""
    rng, build = place.rng, place.build
    wide, high = float(rng.uniform(0.35, 1.0)), float(rng.uniform(0.5, 1.4))
    spot = _on_wall(place, wide, high, float(rng.uniform(1.3, 1.5)))
    if spot is None:
        return
    wall, along, low = spot
    owner = build.number()
    frame = build.material(np.full(3, rng.choice([0.03, 0.3, 0.6])))
    glass = build.material((0.75, 0.76, 0.76), -1, 0.9)
    x, y = wall.at(along, 0.012)
    build.box((x, y, low + high / 2), (wide, 0.024, high), frame, owner, wall.yaw)
    heading = -np.array([*wall.heading, 0.0])
    begin = wall.at(along + wide / 2 - 0.02, 0.026)
    build.quad((*begin, low + 0.02), heading * (wide - 0.04), (0, 0, high - 0.04), glass, owner)
    build.name("mirror", "", (x, y, low + high / 2), (wide, 0.024, high), wall.yaw)


def _on_wall(
    place: Arranger, wide: float, high: float, middle: float
) -> tuple[Wall, float, float] | None:
    """A free stretch of wall about a height: the wall, where along it, its lower side."""
    for _ in range(8):
        wall = place.plan.walls[int(place.rng.integers(len(place.plan.walls)))]
        if wall.length < wide + 0.3:
            continue
        along = float(place.rng.uniform(wide / 2 + 0.1, wall.length - wide / 2 - 0.1))
        low = min(middle - high / 2, place.plan.size[2] - high - 0.1)
        if wall.free(along - wide / 2, along + wide / 2, low, low + high):
            wall.taken.append((along - wide / 2, along + wide / 2, low, low + high))
            return wall, along, low
    return None


def lay_rug(place: Arranger, x: float, y: float, wide: float, deep: float, yaw: float) -> None:
    """A thin rug; it takes no floor."""
    rng, build = place.rng, place.build
    floor = place.plan.floors
    inside = [f for f in floor if f[0] < x < f[2] and f[1] < y < f[3]]
    if not inside or build.full():
        return
    x0, y0, x1, y1 = inside[0]
    c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
    along, across = c * wide + s * deep, s * wide + c * deep
    share = min(1.0, 1.9 * min(x - x0, x1 - x) / along, 1.9 * min(y - y0, y1 - y) / across)
    if share < 0.4:
        return
    kind = "rug" if rng.random() < 0.5 else "carpet"
    tint = np.clip(np.exp(rng.normal(-1.1, 0.5)) * np.exp(rng.normal(0, 0.25, 3)), 0.02, 0.8)
    material = build.material(tint, drawn_texture(build, kind))
    owner = build.number()
    size = (share * wide, share * deep, 0.012)
    tile = 0.0 if kind == "rug" else 0.5
    build.box((x, y, 0.006), size, material, owner, yaw, tile)
    build.name("rug", "", (x, y, 0.006), size, yaw, clear=False)


def add_monitor(place: Arranger, desk: SceneObject, right: float) -> None:
    """A flat screen on a stand, on a desk, its back towards the desk's back."""
    rng, build = place.rng, place.build
    if build.full():
        return
    wide = float(rng.uniform(0.42, 0.68))
    high = wide * float(rng.uniform(0.52, 0.65))
    lift = float(rng.uniform(0.07, 0.16))
    turn = desk.yaw + float(rng.normal(0, 0.15))
    x, y = place.beside(desk, right, -0.18 * desk.size[1])
    bottom = desk.centre[2] + desk.size[2] / 2
    model = place.models.get(desk.object_id)
    if model is not None:
        grid = place.stock.library.tops(model)
        column = int(np.clip((right / desk.size[0] + 0.5) * 24, 0, 23))
        height = float(grid[14:20, max(0, column - 2) : column + 3].max(initial=-1.0))
        if height < 0.5:
            return
        bottom = desk.centre[2] - desk.size[2] / 2 + height
    owner = build.number()
    case = build.material(np.full(3, rng.choice([0.02, 0.03, 0.3])))
    build.box((x, y, bottom + 0.008), (0.24, 0.18, 0.016), case, owner, turn)
    build.box((x, y, bottom + (lift + 0.1) / 2), (0.05, 0.03, lift + 0.1), case, owner, turn)
    c, s = np.cos(turn), np.sin(turn)
    front = np.array([s, -c, 0.0])
    centre = np.array([x, y, bottom + lift + high / 2]) + 0.02 * front
    build.box(centre, (wide, 0.025, high), case, owner, turn)
    on = rng.random() < 0.5
    texture = drawn_texture(build, "screen") if on else -1
    glow = np.full(3, rng.uniform(0.3, 1.5)) if on else np.zeros(3)
    shown = (0.8, 0.8, 0.8) if on else (0.015, 0.015, 0.017)
    screen = build.material(shown, texture, 0.06, 1.0, glow * (0.15 if on else 0.0))
    across = np.array([c, s, 0.0]) * (wide - 0.03)
    corner = centre + 0.0135 * front - across / 2 - np.array([0, 0, high / 2 - 0.015])
    build.quad(corner, across, (0, 0, high - 0.03), screen, owner)
    middle = (centre[0], centre[1], bottom + (lift + high) / 2)
    build.name("monitor", "", middle, (wide, 0.18, lift + high), turn)


def add_books(place: Arranger, thing: SceneObject) -> None:
    """A row of books along the back of a thing's top."""
    rng, build = place.rng, place.build
    model = place.models.get(thing.object_id)
    if model is None or build.full() or thing.size[1] < 0.16:
        return
    level = float(place.stock.library.tops(model)[16:, 4:20].max(initial=-1.0))
    if level < 0.3 or thing.centre[2] - thing.size[2] / 2 + level > 1.9:
        return
    wide, high = float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.18, 0.3))
    wide = min(wide, 0.6 * thing.size[0])
    right = float(rng.uniform(-0.5, 0.5)) * (thing.size[0] - wide - 0.1)
    x, y = place.beside(thing, right, -thing.size[1] / 2 + 0.1)
    owner = build.number()
    spines = build.material((0.75, 0.75, 0.75), drawn_texture(build, "books"))
    paper = build.material((0.6, 0.58, 0.5))
    z = thing.centre[2] - thing.size[2] / 2 + level + high / 2
    build.box((x, y, z), (wide, 0.16, high), paper, owner, thing.yaw)
    c, s = np.cos(thing.yaw), np.sin(thing.yaw)
    front, across = np.array([s, -c, 0.0]), np.array([c, s, 0.0]) * wide
    corner = np.array([x, y, z - high / 2]) + 0.082 * front - across / 2
    build.quad(corner, across, (0, 0, high), spines, owner)
    build.name("book", "", (x, y, z), (wide, 0.16, high), thing.yaw)


def hang_curtains(place: Arranger, wall: Wall, start: float, end: float, top: float) -> None:
    """Cloth in folds at both sides of a window."""
    rng, build = place.rng, place.build
    tint = np.clip(np.exp(rng.normal(-0.9, 0.5)) * np.exp(rng.normal(0, 0.15, 3)), 0.03, 0.8)
    kind = "fabric" if rng.random() < 0.6 else "stripes"
    material = build.material(tint, drawn_texture(build, kind))
    low = 0.06 if rng.random() < 0.6 else 0.75
    share = float(rng.uniform(0.15, 0.4))
    for side in (0, 1):
        wide = share * (end - start)
        begin = start - 0.1 if side == 0 else end + 0.1 - wide
        if begin < 0.03 or begin + wide > wall.length - 0.03 or build.full():
            continue
        owner = build.number()
        folds, count = max(2, round(wide / 0.12)), 48
        s = np.linspace(0, 1, count + 1)
        off = 0.09 + 0.03 * np.sin(2 * np.pi * folds * s + rng.uniform(0, 6))
        base = np.array([wall.at(begin + wide * a, float(b)) for a, b in zip(s, off, strict=True)])
        lower = np.column_stack([base, np.full(count + 1, low)])
        upper = np.column_stack([base, np.full(count + 1, top)])
        slope = np.gradient(off, s * wide)
        heading, inward = np.array(wall.heading), np.array(wall.inward)
        normal = inward - slope[:, None] * heading
        normal = np.column_stack([normal / np.linalg.norm(normal, axis=1)[:, None], 0 * s])
        index = np.arange(count)
        face = np.concatenate([
            np.stack([index, index + 1, index + count + 2], axis=1),
            np.stack([index, index + count + 2, index + count + 1], axis=1),
        ])  # fmt: skip
        uv = np.concatenate([
            np.column_stack([s * wide * 2, np.zeros(count + 1)]),
            np.column_stack([s * wide * 2, np.full(count + 1, (top - low) * 2)]),
        ])  # fmt: skip
        build.mesh(
            np.concatenate([lower, upper]), face.astype(np.int32), np.tile(normal, (2, 1)), uv,
            np.full(len(face), material, np.int32), owner,
        )  # fmt: skip
        x, y = wall.at(begin + wide / 2, 0.09)
        build.name("curtain", "", (x, y, (low + top) / 2), (wide, 0.07, top - low), wall.yaw)


def lay_papers(place: Arranger, thing: SceneObject | None, count: int) -> None:
    """Sheets and booklets, flat on a thing's top."""
    top = None if thing is None else place.top(thing)
    if thing is None or top is None:
        return
    rng, build, (level, free) = place.rng, place.build, top
    for _ in range(count):
        wide = float(rng.uniform(0.1, 0.24))
        deep, high = 1.41 * wide, float(rng.uniform(0.002, 0.015))
        turn = float(rng.normal(0, 0.6))
        at = place.spot(thing, (wide, deep), free.copy(), turn)  # papers may lie on papers
        if at is None or build.full():
            continue
        x, y = place.beside(thing, at[0], -at[1])
        z = thing.centre[2] - thing.size[2] / 2 + level
        kind = str(rng.choice(["poster", "writing", "label"]))
        white = build.material(np.full(3, rng.uniform(0.6, 0.8)))
        shown = build.material((0.8, 0.8, 0.8), drawn_texture(build, kind))
        owner, yaw = build.number(), thing.yaw + turn
        build.box((x, y, z + high / 2), (wide, deep, high), white, owner, yaw, 0.0, shown)
        build.name("paper", "", (x, y, z + high / 2), (wide, deep, high), yaw, clear=False)


def hang_notes(place: Arranger) -> None:
    """A cluster of notes and leaflets on a stretch of wall."""
    rng, build = place.rng, place.build
    wide, high = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.3, 0.8))
    spot = _on_wall(place, wide, high, float(rng.uniform(1.3, 1.6)))
    if spot is None:
        return
    wall, along, low = spot
    heading = -np.array([*wall.heading, 0.0])
    for _ in range(int(rng.integers(3, 12))):
        w = float(rng.uniform(0.08, 0.22))
        h = w * float(rng.choice([0.71, 1.0, 1.41]))
        if w > wide or h > high or build.full():
            continue
        begin = along + wide / 2 - float(rng.uniform(0, wide - w))
        bottom = low + float(rng.uniform(0, high - h))
        off = float(rng.uniform(0.003, 0.008))
        kind = str(rng.choice(["poster", "writing", "label"]))
        sheet = build.material(np.full(3, rng.uniform(0.6, 0.85)), drawn_texture(build, kind))
        owner = build.number()
        build.quad((*wall.at(begin, off), bottom), heading * w, (0, 0, h), sheet, owner)
        x, y = wall.at(begin - w / 2, off)
        build.name("paper", "", (x, y, bottom + h / 2), (w, 0.002, h), wall.yaw, clear=False)


def hang_board(place: Arranger, crowd: str) -> None:
    """A shelf board on a wall, with things on it."""
    rng, build = place.rng, place.build
    size = (float(rng.uniform(0.5, 1.4)), float(rng.uniform(0.18, 0.3)), 0.025)
    spot = _on_wall(place, size[0], 0.45, float(rng.uniform(1.4, 1.8)))
    if spot is None or build.full():
        return
    wall, along, low = spot
    tint = np.array(WOODS[int(rng.integers(4))]) if rng.random() < 0.6 else np.full(3, 0.6)
    board = build.material(tint, drawn_texture(build, "wood"))
    x, y = wall.at(along, size[1] / 2)
    build.box((x, y, low + size[2] / 2), size, board, build.number(), wall.yaw, 0.6)
    thing = build.name("shelf", "", (x, y, low + size[2] / 2), size, wall.yaw)
    place.boards.add(thing.object_id)
    place.crowd(thing, crowd, int(rng.integers(2, 9)))
