# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Builds the inside of houses: floor plans, walls and what hangs on them, lamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .builder import WOODS, RoomBuilder, pick_colour
from .clutter import WALL_PIECES
from .furnish import WALLS, furnish, wall_origin
from .parts import Part, Shape
from .pieces import build_piece

__all__ = ["PLANS", "Place", "build_interior"]

Rng = np.random.Generator
Rgb = tuple[float, ...]
# Floor plans and their shares.
PLANS = {"room": 0.42, "corner": 0.16, "alcove": 0.08, "corridor": 0.11, "hall": 0.11, "flat": 0.12}
_MAX_LIGHTS = 3


@dataclass(frozen=True)
class Place:
    """What a scene is beside its primitives; see `Room`."""

    floor_area: float | None
    roam: tuple[float, float, float, float]
    lights: tuple[tuple[tuple[float, float, float], Rgb], ...]
    above: Rgb
    below: Rgb


def build_interior(rng: Rng) -> tuple[RoomBuilder, Place]:
    """Draw a floor plan, furnish it and light it."""
    plan = str(rng.choice(list(PLANS), p=list(PLANS.values())))
    build = RoomBuilder(rng, _extent(rng, plan))
    wall_tint, floor_tint = _add_shell(build)
    area = build.size[0] * build.size[1] - _add_plan(build, plan)
    _add_wall_pieces(build, plan)
    _add_ceiling(build, area)
    furnish(build, plan, area)
    place = _light_up(build, area, wall_tint, floor_tint)
    return build, place


def _extent(rng: Rng, plan: str) -> tuple[float, float, float]:
    ranges = {
        "room": ((2.6, 6.0), (2.4, 5.5), (2.3, 2.9)),
        "corner": ((4.0, 7.5), (4.0, 7.0), (2.3, 3.0)),
        "alcove": ((4.0, 7.0), (3.8, 6.5), (2.3, 3.0)),
        "corridor": ((6.0, 12.0), (1.7, 2.7), (2.3, 3.0)),
        "hall": ((7.5, 12.0), (6.0, 12.0), (2.8, 4.5)),
        "flat": ((6.5, 11.0), (4.0, 7.5), (2.4, 2.8)),
    }[plan]
    x, y, z = (float(rng.uniform(*limits)) for limits in ranges)
    return (x, y, z) if rng.random() < 0.5 else (y, x, z)


def _pale(rng: Rng, low: float = 0.4, high: float = 0.82) -> Rgb:
    value = rng.uniform(low, high)
    tint = value * (1 + rng.uniform(-0.12, 0.12, 3))
    return tuple(np.clip(tint, 0.05, 0.9).tolist())


def _add_shell(build: RoomBuilder) -> tuple[Rgb, Rgb]:
    """Walls, floor, ceiling and skirting; returns the tints of walls and floor."""
    rng, (sx, sy, sz) = build.rng, build.size
    kinds = ["plain", "plaster", "plain", "plaster", "stripes", "brick", "tile", "wallpaper"]
    wall_kind = kinds[int(rng.choice(8, p=[0.34, 0.29, 0.1, 0.1, 0.02, 0.04, 0.03, 0.08]))]
    wall_tint = _pale(rng)
    wall = build.material(wall_kind, wall_tint, float(rng.uniform(0.8, 1.6)))
    walls = [wall] * 4
    if rng.random() < 0.4:
        accent = str(rng.choice(["brick", "plain", "wood", "wallpaper", "tile"]))
        tint = pick_colour(rng, accent)[1]
        walls[int(rng.integers(4))] = build.material(accent, tint, float(rng.uniform(0.8, 1.4)))
    floor_kind = str(
        rng.choice(
            ["wood", "tile", "carpet", "checker", "speckle", "paving"],
            p=[0.38, 0.22, 0.18, 0.05, 0.12, 0.05],
        )
    )
    floor_tint = (
        tuple((np.array(WOODS[int(rng.integers(4))]) * rng.uniform(0.8, 1.3)).tolist())
        if floor_kind == "wood"
        else _pale(rng, 0.15, 0.7)
    )
    fine = 0.4 if floor_kind in ("speckle", "carpet") else 1.0
    floor = build.material(floor_kind, floor_tint, fine * float(rng.uniform(0.6, 1.4)))
    ceiling_kind, tile = ("grid", 0.6) if rng.random() < 0.2 else ("plain", 1.5)
    ceiling = (
        build.special("grid")
        if ceiling_kind == "grid"
        else build.material("plain", _pale(rng, 0.65, 0.85), tile)
    )
    part = Part(Shape.BOX, (0, 0, sz / 2), (sx / 2, sy / 2, sz / 2))
    build.primitive(part, (0, 0, 0), 0.0, 0, [*walls, floor, ceiling])
    if rng.random() < 0.85:
        skirting = build.material("plain", _pale(rng, 0.2, 0.85), 1.0)
        height = float(rng.uniform(0.05, 0.14))
        _add_rim(build, skirting, height / 2, height, 0.02)
    if rng.random() < 0.2:
        _add_rim(build, build.material("plain", _pale(rng, 0.6, 0.85), 1.0), sz - 0.04, 0.08, 0.06)
    return wall_tint, floor_tint


def _add_rim(build: RoomBuilder, material: int, z: float, height: float, depth: float) -> None:
    """A strip along all four walls."""
    sx, sy, _ = build.size
    for side in (-1, 1):
        build.solid((side * (sx - depth) / 2, 0.0, z), (depth, sy, height), material)
        build.solid((0.0, side * (sy - depth) / 2, z), (sx, depth, height), material)


def _add_plan(build: RoomBuilder, plan: str) -> float:
    """Solid blocks and partitions that shape the floor; returns the area that they take."""
    rng, (sx, sy, _) = build.rng, build.size
    taken = 0.0
    if plan in ("corner", "alcove"):
        sides = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
        rng.shuffle(sides)
        wide, deep = float(rng.uniform(0.22, 0.42) * sx), float(rng.uniform(0.22, 0.42) * sy)
        for right, left in sides[: 1 if plan == "corner" else 2]:
            middle = (right * (sx - wide) / 2, left * (sy - deep) / 2)
            taken += _block(build, middle, wide, deep)
    if plan == "hall" or (plan == "room" and rng.random() < 0.12):
        for _ in range(int(rng.integers(1, 5)) if plan == "hall" else 1):
            side = float(rng.uniform(0.25, 0.45))
            x, y = (float(v) for v in rng.uniform(-0.35, 0.35, 2) * (sx, sy))
            taken += _block(build, (x, y), side, side)
    if plan == "flat":
        taken += _partition(build)
    return taken


def _block(build: RoomBuilder, middle: tuple[float, float], wide: float, deep: float) -> float:
    x, y = middle
    build.solid((x, y, build.size[2] / 2), (wide, deep, build.size[2]), build.faces[0][0])
    build.floor_taken.append((x - wide / 2, y - deep / 2, x + wide / 2, y + deep / 2))
    return wide * deep


def _partition(build: RoomBuilder) -> float:
    """A wall across the longer side, with an opening to walk through."""
    rng, size = build.rng, build.size
    axis = 0 if size[0] >= size[1] else 1
    at, thick = float(rng.uniform(-0.2, 0.2) * size[axis]), 0.12
    length = size[1 - axis]
    gap, lintel = float(rng.uniform(0.9, 1.8)), float(rng.uniform(2.0, 2.2))
    middle = float(rng.uniform(-0.5, 0.5) * (length - gap - 0.4))
    pieces = [
        (-length / 2, middle - gap / 2, 0.0, size[2]),
        (middle + gap / 2, length / 2, 0.0, size[2]),
        (middle - gap / 2, middle + gap / 2, lintel, size[2]),
    ]
    for low, high, bottom, top in pieces:
        centre, extent = [at, at, (bottom + top) / 2], [thick, thick, top - bottom]
        centre[1 - axis], extent[1 - axis] = (low + high) / 2, high - low
        build.solid(
            (centre[0], centre[1], centre[2]), (extent[0], extent[1], extent[2]), build.faces[0][2]
        )
    across = ((-length / 2, length / 2, 0.1), (middle - gap / 2, middle + gap / 2, 0.9))
    for low, high, beside in across:  # the wall, and the way through it
        if axis == 0:
            build.floor_taken.append((at - beside, low, at + beside, high))
        else:
            build.floor_taken.append((low, at - beside, high, at + beside))
    return thick * length


def _add_wall_pieces(build: RoomBuilder, plan: str) -> None:
    rng = build.rng
    wealth = max(1, int((build.size[0] + build.size[1]) / 3.5))
    names = ["door"] * int(rng.integers(1, 2 + wealth // 2))
    names += ["window"] * int(rng.integers(0, 1 + wealth))
    names += ["picture"] * int(rng.integers(1, 2 + 2 * wealth))
    for name, share in (("radiator", 0.5), ("mirror", 0.2), ("clock", 0.3), ("tv", 0.2)):
        names += [name] * int(rng.random() < share)
    names += ["whiteboard"] * int(plan in ("hall", "room") and rng.random() < 0.15)
    for name in names:
        piece = build_piece(name, rng, WALL_PIECES)
        width, depth, height = piece.size
        wall = int(rng.integers(4))
        axis, _, yaw = WALLS[wall]
        room_for = build.size[1 - axis] / 2 - width / 2 - 0.1
        if room_for <= 0 or height > build.size[2] - 0.1:
            continue
        along = float(rng.uniform(-room_for, room_for))
        low, high = along - width / 2 - 0.08, along + width / 2 + 0.08
        if any(w == wall and low < b and a < high for w, a, b in build.wall_taken):
            continue
        x, y = wall_origin(build, wall, along, depth / 2)
        reach = 0.5 * width
        if any(
            a - reach < x < c + reach and b - reach < y < d + reach
            for a, b, c, d in build.floor_taken
            if (c - a) * (d - b) > 0.15
        ):
            continue
        build.wall_taken.append((wall, low, high))
        highest = build.size[2] - height - 0.12
        z = {"door": 0.0, "radiator": 0.12, "clock": min(1.8, highest)}.get(
            name, float(rng.uniform(min(0.85, highest), max(min(1.5, highest), 0.86)))
        )
        build.place(piece, (x, y, min(z, highest)), yaw)
        if name == "door":
            build.floor_taken.append((x - 0.6, y - 0.6, x + 0.6, y + 0.6))
        if name == "window" and rng.random() < 0.4:
            _hang_curtains(build, wall, along, width)


def _hang_curtains(build: RoomBuilder, wall: int, along: float, width: float) -> None:
    curtain = build_piece("curtain", build.rng, WALL_PIECES)
    yaw, z = WALLS[wall][2], max(0.05, min(2.3, build.size[2] - 0.15) - curtain.size[2])
    for side in (-1, 1):
        place = along + side * (width / 2 + curtain.size[0] / 2 - 0.05)
        axis = WALLS[wall][0]
        if abs(place) + curtain.size[0] / 2 < build.size[1 - axis] / 2:
            x, y = wall_origin(build, wall, place, 0.12)
            build.place(curtain, (x, y, z), yaw)
            half = curtain.size[0] / 2
            build.wall_taken.append((wall, place - half, place + half))


def _add_ceiling(build: RoomBuilder, area: float) -> None:
    """Lamps under the ceiling, each with something that glows, and beams."""
    rng, (sx, sy, sz) = build.rng, build.size
    count = int(np.clip(round(area / 14 + rng.uniform(-0.4, 0.8)), 1, 6))
    across = count if sx >= sy else 1
    along = 1 if sx >= sy else count
    if count >= 4:
        across, along = (count + 1) // 2, 2
    glow = build.material("plain", (0.9, 0.87, 0.8), 0.5, 0.0, 3.0)
    kind = int(rng.integers(3))
    for i in range(across):
        for j in range(along):
            x = ((i + 0.5) / across - 0.5) * sx + float(rng.uniform(-0.2, 0.2))
            y = ((j + 0.5) / along - 0.5) * sy + float(rng.uniform(-0.2, 0.2))
            part = (
                Part(Shape.BOX, (0, 0, 0), (0.55, 0.12, 0.03), shades=False),
                Part(Shape.SPHERE, (0, 0, -0.05), (0.16, 0.16, 0.09), shades=False),
                Part(Shape.CONE, (0, 0, -0.03), (0.2, 0.2, 0.04), shades=False),
            )[kind]
            build.primitive(part, (x, y, sz - 0.02), 0.0, 0, [glow] * 6)
            tone = float(rng.uniform(0.0, 1.0))
            colour = (1.0, 0.97 - 0.07 * tone, 0.92 - 0.18 * tone)
            build.lights.append(((x, y, sz - 0.25), float(rng.uniform(0.7, 1.3)), colour))
    if rng.random() < 0.08:
        beam = build.material("wood", WOODS[int(rng.integers(4))], 1.0)
        for y in np.arange(-sy / 2 + 0.6, sy / 2 - 0.4, 1.1):
            build.solid((0, float(y), sz - 0.06), (sx, 0.12, 0.12), beam)


def _light_up(build: RoomBuilder, area: float, wall: Rgb, floor: Rgb) -> Place:
    """Choose the strongest lamps; daylight comes from windows; walls and floor bounce light."""
    rng = build.rng
    lights = list(build.lights)
    if rng.random() < 0.6:
        for thing in build.objects:
            if thing.name == "window":
                out = np.array([-np.sin(thing.yaw), np.cos(thing.yaw), 0.0])
                at = np.array(thing.centre) + 0.45 * out
                at[2] += 0.2
                day = (0.86, 0.94, 1.0)
                lights.append(((float(at[0]), float(at[1]), float(at[2])), 1.3, day))
        if rng.random() < 0.5 and len(lights) > len(build.lights):  # ceiling lamps are off
            lights = [(at, share * 0.15, colour) for at, share, colour in build.lights] + lights[
                len(build.lights) :
            ]
    lights.sort(key=lambda light: -light[1])
    kept = lights[:_MAX_LIGHTS]
    total = sum(share for _, share, _ in kept)
    power = float(rng.uniform(2.4, 3.6)) * (area / 14) ** 0.6
    lamps = tuple(
        (at, tuple(power * share / total * channel for channel in colour))
        for at, share, colour in kept
    )
    level = float(rng.uniform(0.2, 0.42))
    mixed = np.mean([colour for _, _, colour in kept], axis=0)
    above = level * mixed * (0.55 + 0.45 * np.array(wall))
    below = level * mixed * (0.25 + 0.75 * np.array(floor))
    half = (build.size[0] / 2, build.size[1] / 2)
    return Place(
        floor_area=area,
        roam=(-half[0], -half[1], half[0], half[1]),
        lights=lamps,
        above=_rgb(above),
        below=_rgb(below),
    )


def _rgb(values: Sequence[float] | np.ndarray) -> Rgb:
    return tuple(float(value) for value in values)
