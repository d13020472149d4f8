# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes furnished rooms: plan, windows, furniture by use, clutter, lamps, daylight."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np

from ..models import ModelLibrary
from ..parts import Shape
from ..room import OUTDOOR_SHARE, SceneKind
from .arrange import Arranger
from .assembly import Assembly
from .daylight import Day, Lamp, daylight, lighting
from .groups import USES, clutter, hang_door, stand
from .kinds import Stock
from .outdoors import build_outdoors
from .pieces import (
    hang_board,
    hang_curtains,
    hang_mirror,
    hang_notes,
    hang_picture,
    lay_papers,
)
from .plan import FloorPlan, Rectangle, draw_plan
from .scene import FurnishedScene
from .shell import Portal, build_shell, cut_windows

__all__ = ["furnished_scene", "open_stock"]

_NIGHT = 0.15  # share of rooms without daylight


@functools.lru_cache(maxsize=2)
def open_stock(folder: Path) -> Stock:
    """The models of a library's folder, opened once in a process.

    Raises:
        ModelsError: There is no library, or it is damaged.
    """
    return Stock(ModelLibrary(folder))


def furnished_scene(seed: int, stock: Stock, kind: SceneKind | None = None) -> FurnishedScene:
    """Make the scene of a seed: the same seed and library are the same scene, everywhere.

    Args:
        seed: From `scene_seed`, or any non-negative number.
        stock: Models.
        kind: Ask for a kind; by default the seed decides, 15 % are outdoors.
    """
    rng = np.random.default_rng([seed, 17])
    drawn: SceneKind = "outdoor" if rng.random() < OUTDOOR_SHARE else "indoor"
    if (drawn if kind is None else kind) == "outdoor":
        return build_outdoors(seed, rng, stock)
    plan = draw_plan(rng)
    build = Assembly(rng, stock.library)
    cut_windows(plan, rng)
    portals = build_shell(plan, build)
    place = Arranger(build, stock, plan)
    night = rng.random() < _NIGHT or not portals
    place.lamps_on = night or rng.random() < 0.35
    _furnish(place)
    lamps = _hang_lamps(place, night)
    day = daylight(rng, stock.library, night)
    return _finished(seed, place, portals, lamps, day)


def _furnish(place: Arranger) -> None:
    rng, plan, build = place.rng, place.plan, place.build
    for _ in range(int(rng.integers(1, 3))):
        hang_door(place)
    for wall in plan.walls:
        for hole in wall.openings:
            if hole.kind == "window" and rng.random() < 0.45:
                hang_curtains(
                    place, wall, hole.start, hole.end, min(hole.high + 0.15, plan.size[2])
                )
    names = list(USES)
    shares = np.array([USES[name][0] for name in names])
    if plan.name == "corridor":
        uses = ["hall", "store" if rng.random() < 0.3 else "hall"]
    else:
        count = 2 if plan.name == "two" or plan.area > 22 else 1
        uses = [
            str(use) for use in rng.choice(names, count, replace=False, p=shares / shares.sum())
        ]
    for use in uses:
        USES[use][1](place)
    for _ in range(int(plan.area / 14)):  # large rooms hold more than one group
        again = uses[int(rng.integers(len(uses)))] if rng.random() < 0.6 else "hall"
        USES[again][1](place)
    target = float(rng.uniform(0.18, 0.4))
    for _ in range(30):  # people fill their rooms
        if plan.covered > target:
            break
        kind = str(rng.choice(["shelf", "cabinet", "wardrobe", "armchair", "desk", "side table"]))
        stand(place, kind, 1.0, "sideboard")
    clutter(place)
    for thing in list(build.objects):
        if thing.name in ("table", "desk", "cabinet", "counter") and rng.random() < 0.5:
            lay_papers(place, thing, int(rng.integers(1, 6)))
    _dress_walls(place)


def _dress_walls(place: Arranger) -> None:
    rng, stock = place.rng, place.stock
    for _ in range(int(rng.integers(1, 4 + int(place.plan.area / 6)))):
        hang_picture(place)
    if rng.random() < 0.3:
        hang_mirror(place)
    for _ in range(int(rng.integers(0, 3))):
        hang_notes(place)
    for _ in range(int(rng.integers(0, 4))):
        hang_board(place, str(rng.choice(["sideboard", "counter", "desk"])))
    for kind, chance, low in (
        ("radiator", 0.6, 0.1), ("wall tv", 0.15, 1.0), ("wall thing", 0.5, 1.5),
        ("switch", 0.9, 1.05), ("switch", 0.7, 0.25), ("wall thing", 0.2, 1.9),
    ):  # fmt: skip
        model = stock.draw(rng, kind)
        if model is not None and rng.random() < chance:
            height = place.size(model)[2]
            low = min(low, place.plan.size[2] - height - 0.05)
            place.against(model, kind, gap=0.005, low=max(low, 0.0))


def _hang_lamps(place: Arranger, night: bool) -> list[Lamp]:
    """Lamps under the ceiling, and those on tables that are on."""
    rng, plan = place.rng, place.plan
    lamps = []
    level = float(np.exp(rng.uniform(np.log(0.25), np.log(1.6))))
    warm = float(rng.uniform(0.0, 1.0))
    colour = np.array([1.0, 0.95 - 0.13 * warm, 0.88 - 0.38 * warm])
    panel = rng.random() < 0.35
    for x0, y0, x1, y1 in plan.floors:
        if (x1 - x0) * (y1 - y0) < 2.0:
            continue
        count = int(np.clip(round((x1 - x0) * (y1 - y0) / 12), 1, 3))
        for index in range(count):
            share = (index + 0.5) / count
            wide = x1 - x0 >= y1 - y0
            x = x0 + (x1 - x0) * (share if wide else 0.5) + float(rng.normal(0, 0.1))
            y = y0 + (y1 - y0) * (0.5 if wide else share) + float(rng.normal(0, 0.1))
            on = place.lamps_on and (night or rng.random() < 0.7)
            lamp = _ceiling_lamp(place, x, y, panel, on, level * colour / count)
            if lamp is not None:
                lamps.append(lamp)
    for thing in place.lit:
        top = thing.centre[2] + thing.size[2] / 2
        at = np.array([thing.centre[0], thing.centre[1], min(top + 0.06, plan.size[2] - 0.05)])
        power = float(rng.uniform(0.05, 0.2)) * np.array([1.0, 0.85, 0.62])
        lamps.append(Lamp.small(at, 0.06, power))
    if night and not lamps:
        at = np.array([0.0, 0.0, plan.size[2] - 0.1])
        lamps.append(Lamp.small(at, 0.12, level * colour))
    return lamps


def _ceiling_lamp(
    place: Arranger, x: float, y: float, panel: bool, on: bool, power: np.ndarray
) -> Lamp | None:
    """A panel, or a lamp of the library; None where it is off."""
    rng, build, top = place.rng, place.build, place.plan.size[2]
    if build.full():
        return None
    if panel:
        owner = build.number()
        size = (0.6, 0.6, 0.04) if rng.random() < 0.5 else (1.2, 0.3, 0.06)
        glow = power * 4 / (size[0] * size[1]) if on else np.zeros(3)
        white = build.material((0.7, 0.7, 0.7))
        bright = build.material((0.75, 0.75, 0.75), glow=np.minimum(glow, 8.0))
        low = top - size[2]
        build.box((x, y, low + size[2] / 2), size, white, owner)
        build.quad((x - 0.48 * size[0], y - 0.48 * size[1], low - 0.002), (0.96 * size[0], 0, 0),
                   (0, 0.96 * size[1], 0), bright, owner)  # fmt: skip
        build.name("lamp", "white", (x, y, low + size[2] / 2), size, 0.0)
        at, half = np.array([x, y, low - 0.01]), (size[0] / 2, size[1] / 2)
        return Lamp.panel(at, half, power) if on else None
    model = place.stock.draw(rng, "ceiling lamp")
    if model is None or place.size(model)[2] > top - 1.9:
        return None
    height = place.size(model)[2]
    shine = float(rng.uniform(2, 5)) if on else 0.0
    thing = build.place(model, "lamp", (x, y, top - height), 0.0, shine)
    if thing is None or not on:
        return None
    return Lamp.small(np.array([x, y, top - height - 0.05]), 0.12, power)


def _finished(
    seed: int, place: Arranger, portals: list[Portal], lamps: list[Lamp], day: Day
) -> FurnishedScene:
    build, plan = place.build, place.plan
    half = np.array(plan.size) / 2
    centre, sizes, yaws = [np.array([0, 0, half[2]])], [half], [0.0]
    for solid in _solids(plan):
        x0, y0, x1, y1 = solid
        centre.append(np.array([(x0 + x1) / 2, (y0 + y1) / 2, half[2]]))
        sizes.append(np.array([(x1 - x0) / 2, (y1 - y0) / 2, half[2]]))
        yaws.append(0.0)
    for middle, extent, yaw in build.boxes:
        centre.append(np.asarray(middle))
        sizes.append(np.asarray(extent))
        yaws.append(yaw)
    turn = np.zeros((len(yaws), 3, 3), np.float32)
    c, s = np.cos(yaws), np.sin(yaws)
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = c, -s, s, c, 1
    return FurnishedScene(
        seed=seed,
        kind="indoor",
        size=plan.size,
        floor_area=plan.area,
        roam=(-half[0], -half[1], half[0], half[1]),
        objects=tuple(build.objects),
        shape_M=np.full(len(yaws), int(Shape.BOX), np.int64),
        centre_M3=np.array(centre, np.float32),
        half_M3=np.array(sizes, np.float32),
        turn_M33=turn,
        triangles=build.triangles(),
        looks=build.looks(),
        lighting=lighting(day, portals, lamps),
        floors=plan.floors,
    )


def _solids(plan: FloorPlan) -> list[Rectangle]:
    """Rectangles inside of the plan's extents that are no floor and no way through a wall."""
    ways = []
    for wall in plan.walls:
        for hole in wall.openings:
            if hole.kind == "pass":
                (ax, ay), (bx, by) = wall.at(hole.start, 0.0), wall.at(hole.end, -0.14)
                ways.append((min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)))
    open_parts = [*plan.floors, *ways]
    x, y = plan.size[0] / 2, plan.size[1] / 2
    xs = sorted({-x, x, *(v for part in open_parts for v in (part[0], part[2]))})
    ys = sorted({-y, y, *(v for part in open_parts for v in (part[1], part[3]))})
    solids = []
    for x0, x1 in itertools.pairwise(xs):
        for y0, y1 in itertools.pairwise(ys):
            mx, my = (x0 + x1) / 2, (y0 + y1) / 2
            if not any(a < mx < c and b < my < d for a, b, c, d in open_parts):
                solids.append((x0, y0, x1, y1))
    return solids
