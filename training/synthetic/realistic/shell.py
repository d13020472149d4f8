# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Builds the shell of a room: floor, ceiling, walls with real openings, windows, skirting."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..builder import WOODS
from ..models.sh3f import ModelsError
from ..textures import make_texture
from .assembly import Assembly
from .plan import FloorPlan, Opening, Wall

__all__ = ["Portal", "build_shell", "cut_windows", "drawn_texture", "surface_material"]

_WALLS = ("white-plaster", "gray-plaster", "light-gray-plaster", "cream-plaster", "yellow-plaster",
          "white-bricks", "pink-plaster", "clay")  # fmt: skip
_WALL_SHARES = np.array([0.3, 0.15, 0.2, 0.15, 0.05, 0.09, 0.03, 0.03])
_FLOORS = ("light-wood", "dark-wood", "wood-tiles", "wood-varnished-panels", "gray-woodgrain",
           "light-gray-floor-tile", "gray-felt", "red-wood", "ceramic")  # fmt: skip
_PAINTS = ((0.74, 0.73, 0.70), (0.66, 0.66, 0.65), (0.70, 0.66, 0.58), (0.60, 0.63, 0.64),
           (0.68, 0.62, 0.50), (0.55, 0.60, 0.55), (0.50, 0.55, 0.62),
           (0.62, 0.50, 0.44))  # fmt: skip
_PAINT_SHARES = np.array([0.34, 0.2, 0.16, 0.1, 0.08, 0.05, 0.04, 0.03])


@dataclass(frozen=True)
class Portal:
    """An opening to the sky: middle, half edges, direction into the room."""

    centre: np.ndarray
    across: np.ndarray
    up: np.ndarray
    facing: np.ndarray


def drawn_texture(build: Assembly, kind: str) -> int:
    """A procedural texture of the other kind of rooms, as sRGB bytes."""
    tile = make_texture(kind, build.rng)
    return build.texture(np.rint(np.clip(tile, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))


def surface_material(build: Assembly, name: str, tint: float, gloss: float = 0.03) -> int | None:
    """A material of a photographed texture whose mean brightness is `tint`; None without it."""
    if name not in build.library.surfaces:
        return None
    try:
        picture = build.library.surface(name).rgba
    except KeyError as error:
        raise ModelsError(f"texture {name} is listed and not there") from error
    mean = float(((picture[..., :3] / 255.0) ** 2.2).mean())
    level = min(tint / max(mean, 0.02), 1.6)
    return build.material((level,) * 3, build.texture(picture), gloss)


def _wall_material(build: Assembly) -> tuple[int, float]:
    """A material of walls and the length after which it repeats."""
    rng = build.rng
    if rng.random() < 0.35:
        name = str(rng.choice(_WALLS, p=_WALL_SHARES))
        found = surface_material(build, name, float(rng.uniform(0.4, 0.72)))
        if found is not None:
            return found, float(rng.uniform(1.2, 2.2))
    kind = str(rng.choice(["plaster", "plain", "wallpaper", "brick", "tile"],
                          p=[0.5, 0.3, 0.12, 0.04, 0.04]))  # fmt: skip
    paint = np.array(_PAINTS[int(rng.choice(len(_PAINTS), p=_PAINT_SHARES))])
    paint = paint * rng.uniform(0.8, 1.1) * (1 + rng.normal(0, 0.015, 3))
    return build.material(np.clip(paint, 0.05, 0.85), drawn_texture(build, kind)), 1.3


def _floor_material(build: Assembly) -> tuple[int, float]:
    rng = build.rng
    if rng.random() < 0.6:
        name = str(rng.choice(_FLOORS))
        gloss = 0.06 if name != "gray-felt" and rng.random() < 0.5 else 0.03
        found = surface_material(build, name, float(rng.uniform(0.12, 0.45)), gloss)
        if found is not None:
            return found, float(rng.uniform(1.0, 2.4))
    kind = str(rng.choice(["wood", "tile", "carpet", "speckle", "checker"],
                          p=[0.4, 0.25, 0.2, 0.1, 0.05]))  # fmt: skip
    tint = np.array(WOODS[int(rng.integers(4))]) * rng.uniform(0.8, 1.3)
    if kind != "wood":
        tint = np.full(3, rng.uniform(0.15, 0.6)) * (1 + rng.normal(0, 0.05, 3))
    gloss = 0.05 if kind in ("wood", "tile") and rng.random() < 0.5 else 0.02
    texture = drawn_texture(build, kind)
    return build.material(np.clip(tint, 0.02, 0.8), texture, gloss), float(rng.uniform(0.6, 1.4))


def cut_windows(plan: FloorPlan, rng: np.random.Generator) -> None:
    """Cut windows into outer walls; most rooms have one to three."""
    wanted = int(rng.choice([0, 1, 2, 3], p=[0.1, 0.4, 0.33, 0.17]))
    for _ in range(12):
        if wanted == 0:
            return
        outer = [wall for wall in plan.walls if wall.outer and wall.length > 1.0]
        wall = outer[int(rng.integers(len(outer)))]
        width = float(min(rng.uniform(0.6, 2.4), wall.length - 0.4))
        low = 0.05 if rng.random() < 0.12 else float(rng.uniform(0.7, 1.1))
        high = min(float(rng.uniform(1.9, 2.25)), plan.size[2] - 0.15)
        start = float(rng.uniform(0.15, max(0.16, wall.length - width - 0.15)))
        if wall.free(start, start + width, low, high, 0.2):
            wall.openings.append(Opening(start, start + width, low, high, "window"))
            wanted -= 1


def build_shell(plan: FloorPlan, build: Assembly) -> list[Portal]:
    """Add floor, ceiling, walls, windows and skirting; returns the openings to the sky."""
    rng, height = build.rng, plan.size[2]
    floor, floor_tile = _floor_material(build)
    ceiling = build.material((float(rng.uniform(0.62, 0.8)),) * 3, drawn_texture(build, "plaster"))
    for x0, y0, x1, y1 in plan.floors:
        start, along, up = (x0, y0), (x1 - x0, 0, 0), (0, y1 - y0, 0)
        build.quad((x0, y0, 0), along, up, floor, 0, floor_tile, start)
        build.quad((x0, y0, height), along, up, ceiling, 0, 1.5, start)
    main, tile = _wall_material(build)
    accent = _wall_material(build) if rng.random() < 0.3 else (main, tile)
    special = int(rng.integers(len(plan.walls)))
    white = build.material((float(rng.uniform(0.45, 0.8)),) * 3)
    skirting = 0.0 if rng.random() < 0.12 else float(rng.uniform(0.05, 0.13))
    paint = white if rng.random() < 0.7 else build.material(np.array(WOODS[int(rng.integers(4))]))
    portals = []
    for number, wall in enumerate(plan.walls):
        material, repeat = accent if number == special else (main, tile)
        _add_wall(build, wall, height, material, repeat)
        for hole in wall.openings:
            deep = 0.07 if hole.kind == "pass" else float(rng.uniform(0.1, 0.3))
            _add_reveal(build, wall, hole, deep, white if hole.kind == "window" else material)
            if hole.kind == "window":
                portals.append(_add_window(build, wall, hole, deep, white))
        if skirting:
            _add_skirting(build, wall, skirting, paint)
    return portals


def _upright(wall: Wall, along: float, off: float, z: float) -> np.ndarray:
    x, y = wall.at(along, off)
    return np.array([x, y, z])


def _add_wall(build: Assembly, wall: Wall, height: float, material: int, tile: float) -> None:
    """The wall's face, in strips around its openings."""
    heading = np.array([*wall.heading, 0.0])
    edges = sorted({0.0, wall.length, *(e for o in wall.openings for e in (o.start, o.end))})
    for start, end in itertools.pairwise(edges):
        middle = (start + end) / 2
        holes = sorted(
            (hole.low, hole.high) for hole in wall.openings if hole.start < middle < hole.end
        )
        low = 0.0
        for bottom, top in [*holes, (height, height)]:
            if bottom - low > 1e-4:
                build.quad(
                    _upright(wall, start, 0.0, low), heading * (end - start),
                    (0, 0, bottom - low), material, 0, tile, (start, low),
                )  # fmt: skip
            low = top


def _add_reveal(build: Assembly, wall: Wall, hole: Opening, deep: float, material: int) -> None:
    """The four sides of an opening, through the wall."""
    out = -np.array([*wall.inward, 0.0]) * deep
    along = np.array([*wall.heading, 0.0]) * (hole.end - hole.start)
    rise = np.array([0.0, 0.0, hole.high - hole.low])
    corner = _upright(wall, hole.start, 0.0, hole.low)
    build.quad(corner, out, rise, material, 0, 1.0)
    build.quad(corner + along, out, rise, material, 0, 1.0)
    build.quad(corner, along, out, material, 0, 1.0)
    build.quad(corner + rise, along, out, material, 0, 1.0)


def _add_window(build: Assembly, wall: Wall, hole: Opening, deep: float, paint: int) -> Portal:
    """Frame, bars, glass and sill; the opening as a portal."""
    rng = build.rng
    wide, high = hole.end - hole.start, hole.high - hole.low
    owner = build.number()
    frame = paint
    if rng.random() < 0.3:
        tint = np.array(WOODS[int(rng.integers(4))]) if rng.random() < 0.5 else np.full(3, 0.05)
        frame = build.material(tint)
    glass = build.material((0.8, 0.85, 0.83), -1, 0.04, 0.2)
    bar, thick = float(rng.uniform(0.04, 0.08)), 0.05
    off = -0.6 * deep
    yaw = wall.yaw
    columns = max(1, round(wide / float(rng.uniform(0.5, 1.1))))
    rows = 1 + int(rng.random() < 0.3)

    def strip(along: float, z: float, width: float, height: float) -> None:
        build.box(_upright(wall, along, off, z), (width, thick, height), frame, owner, yaw)

    for index in range(columns + 1):
        at = hole.start + bar / 2 + index * (wide - bar) / columns
        strip(at, (hole.low + hole.high) / 2, bar, high)
    for index in range(rows + 1):
        strip(
            (hole.start + hole.end) / 2, hole.low + bar / 2 + index * (high - bar) / rows, wide, bar
        )
    heading = np.array([*wall.heading, 0.0])
    build.quad(
        _upright(wall, hole.start, off, hole.low), heading * wide, (0, 0, high), glass, owner
    )
    centre = _upright(wall, (hole.start + hole.end) / 2, off, (hole.low + hole.high) / 2)
    build.name("window", "", centre, (wide, thick, high), yaw)
    if hole.low > 0.4 and rng.random() < 0.7:
        sill = float(rng.uniform(0.06, 0.22))
        board = _upright(wall, (hole.start + hole.end) / 2, (sill - deep) / 2, hole.low - 0.012)
        build.box(board, (wide + 0.08, sill + deep, 0.03), paint, 0, yaw)
    facing = np.array([*wall.inward, 0.0])
    middle = _upright(wall, (hole.start + hole.end) / 2, 0.01, (hole.low + hole.high) / 2)
    return Portal(middle, heading * wide / 2, np.array([0, 0, high / 2]), facing)


def _add_skirting(build: Assembly, wall: Wall, height: float, material: int) -> None:
    """A board along the foot of a wall, but not across its openings."""
    thick = 0.016
    doors = sorted((o.start, o.end) for o in wall.openings if o.low < height)
    start = 0.0
    for low, high in [*doors, (wall.length, wall.length)]:
        if low - start > 0.05:
            centre = _upright(wall, (start + low) / 2, thick / 2, height / 2)
            build.box(centre, (low - start, thick, height), material, 0, wall.yaw)
        start = high
