# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Puts models into rooms: against walls, about other things, on tops; nothing floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..builder import SceneObject, footprint
from ..models.meshes import GRID
from .assembly import Assembly
from .kinds import Stock
from .plan import FloorPlan, Wall

__all__ = ["Arranger"]

_LEVEL = 0.012  # metres by which a top may be uneven under a thing
_TRIES = 12
_LAMPS = ("Lamp", "Little lamp", "Desk lamp", "Pedestal vase lamp", "Japanese lantern")


class Arranger:
    """Places models of a stock in a floor plan.

    Args:
        build: Where they go.
        stock: Where they come from.
        plan: What is free.
    """

    def __init__(self, build: Assembly, stock: Stock, plan: FloorPlan) -> None:
        self.build, self.stock, self.plan, self.rng = build, stock, plan, build.rng
        self.models: dict[int, int] = {}  # object number -> model
        self.boards: set[int] = set()  # object numbers of level boxes that things may stand on
        self.lit: list[SceneObject] = []  # lamps that are on
        self.lamps_on = False

    def size(self, model: int) -> tuple[float, float, float]:
        """Width, depth, height of a model."""
        return self.stock.library.entries[model].size

    def put(
        self, model: int | None, kind: str, x: float, y: float, yaw: float, z: float = 0.0,
        margin: float = 0.02, reserve: bool = True,
    ) -> SceneObject | None:  # fmt: skip
        """Stand a model on the floor or at a height; None where something is in its way."""
        if model is None or self.build.full():
            return None
        width, depth, _ = self.size(model)
        rectangle = footprint(x, y, width, depth, yaw)
        if reserve and not self.plan.is_free(rectangle, margin):
            return None
        thing = self._add(model, kind, x, y, z, yaw)
        if thing is not None and reserve:
            self.plan.taken.append(rectangle)
        return thing

    def _add(
        self, model: int, kind: str, x: float, y: float, z: float, yaw: float
    ) -> SceneObject | None:
        entry = self.stock.library.entries[model]
        lit = self.lamps_on and entry.name in _LAMPS
        tint = None
        if self.rng.random() < 0.35:  # other paint, other cloth
            tint = np.exp(self.rng.normal(0, 0.35)) * np.exp(self.rng.normal(0, 0.12, 3))
        glow = float(self.rng.uniform(2.0, 6.0)) if lit else 0.0
        noun = self.stock.noun(model, kind)
        thing = self.build.place(model, noun, (x, y, z), yaw, glow, tint)
        if thing is not None:
            self.models[thing.object_id] = model
            if lit:
                self.lit.append(thing)
        return thing

    def against(
        self, model: int | None, kind: str, wall: Wall | None = None, gap: float = 0.03,
        low: float = 0.0, along: float | None = None, front: float = 0.0,
    ) -> tuple[SceneObject, Wall, float] | None:  # fmt: skip
        """Stand or hang a model with its back to a wall.

        Args:
            model: Which; None gives None.
            kind: What it serves as.
            wall: Which; None tries several.
            gap: Metres between back and wall.
            low: Height of its lower side; things above 0.3 m take no floor.
            along: Where along the wall; None tries several.
            front: Metres ahead of it that have to be free too.
        """
        if model is None:
            return None
        width, depth, height = self.size(model)
        for _ in range(_TRIES):
            on = wall or self._some_wall()
            half = width / 2
            if on.length < width + 0.1:
                continue
            at = (
                along
                if along is not None
                else float(self.rng.uniform(half + 0.04, on.length - half - 0.04))
            )
            if along is None and self.rng.random() < 0.3:  # into a corner
                at = half + 0.05 if self.rng.random() < 0.5 else on.length - half - 0.05
            if not on.free(at - half, at + half, low, low + height, 0.02):
                continue
            x, y = on.at(at, gap + depth / 2)
            if low > 0.3:
                thing = self.put(model, kind, x, y, on.yaw, low, reserve=False)
            else:
                fx, fy = on.at(at, gap + (depth + front) / 2)
                if not self.plan.is_free(footprint(fx, fy, width, depth + front, on.yaw)):
                    continue
                thing = self.put(model, kind, x, y, on.yaw, low)
            if thing is None:
                continue
            on.taken.append((at - half, at + half, low, low + height))
            return thing, on, at
        return None

    def _some_wall(self) -> Wall:
        lengths = np.array([wall.length for wall in self.plan.walls])
        return self.plan.walls[int(self.rng.choice(len(lengths), p=lengths / lengths.sum()))]

    def anywhere(self, model: int | None, kind: str, margin: float = 0.05) -> SceneObject | None:
        """Stand a model somewhere on the floor, turned anyhow."""
        if model is None:
            return None
        for _ in range(_TRIES):
            x0, y0, x1, y1 = self._some_floor()
            x, y = float(self.rng.uniform(x0, x1)), float(self.rng.uniform(y0, y1))
            thing = self.put(model, kind, x, y, float(self.rng.uniform(-np.pi, np.pi)), 0.0, margin)
            if thing is not None:
                return thing
        return None

    def anywhere_straight(self, model: int | None, kind: str, margin: float) -> SceneObject | None:
        """Stand a model somewhere on the floor, along the walls or nearly."""
        if model is None:
            return None
        for _ in range(_TRIES):
            x0, y0, x1, y1 = self._some_floor()
            x, y = float(self.rng.uniform(x0, x1)), float(self.rng.uniform(y0, y1))
            yaw = float(self.rng.integers(4)) * np.pi / 2
            if self.rng.random() < 0.3:
                yaw += float(self.rng.normal(0, 0.15))
            thing = self.put(model, kind, x, y, yaw, 0.0, margin)
            if thing is not None:
                return thing
        return None

    def _some_floor(self) -> tuple[float, float, float, float]:
        areas = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.plan.floors])
        return self.plan.floors[int(self.rng.choice(len(areas), p=areas / areas.sum()))]

    def beside(self, thing: SceneObject, right: float, ahead: float) -> tuple[float, float]:
        """A place so far to the right of and ahead of a thing, as seen by who faces its front."""
        c, s = float(np.cos(thing.yaw)), float(np.sin(thing.yaw))
        x, y = right, -ahead
        return thing.centre[0] + c * x - s * y, thing.centre[1] + s * x + c * y

    def crowd(self, thing: SceneObject | None, place: str, count: int, near: float = 1.0) -> None:
        """Stand small things on a thing's top.

        Args:
            thing: On what.
            place: A key of `kinds.SETS`.
            count: How many are tried.
            near: Share of the top, from its middle, that is used.
        """
        top = None if thing is None else self.top(thing)
        if thing is None or top is None:
            return
        level, free = top
        for _ in range(count):
            most = (0.8 * thing.size[0], 0.95 * thing.size[1], 0.9)
            small = self.stock.draw_small(self.rng, place, most)
            if small is None:
                continue
            self._on_top(thing, small, free, level, near)

    def top(self, thing: SceneObject) -> tuple[float, NDArray[np.bool_]] | None:
        """Height of a thing's level top above its lower side, and which of its cells are level."""
        if thing.object_id in self.boards:
            return thing.size[2], np.ones((GRID, GRID), np.bool_)
        if thing.object_id not in self.models:
            return None
        model = self.models[thing.object_id]
        entry = self.stock.library.entries[model]
        grid = self.stock.library.tops(model)
        level = _shelf(grid, entry.size[2] if entry.top is None else entry.top)
        return None if level is None else (level, np.abs(grid - level) < _LEVEL)

    def spot(
        self, thing: SceneObject, size: tuple[float, float], free: NDArray[np.bool_], turn: float,
        near: float = 1.0,
    ) -> tuple[float, float] | None:  # fmt: skip
        """A place on a thing's top whose cells are free, in its own axes; they are taken then."""
        wide, deep, _ = thing.size
        c, s = abs(np.cos(turn)), abs(np.sin(turn))
        half = ((c * size[0] + s * size[1]) / 2, (s * size[0] + c * size[1]) / 2)
        room = (near * wide / 2 - half[0], near * deep / 2 - half[1])
        if min(room) < 0:
            return None
        x, y = (float(self.rng.uniform(-limit, limit)) for limit in room)
        columns = _cells(x - half[0], x + half[0], wide)
        rows = _cells(y - half[1], y + half[1], deep)
        if not free[rows, columns].all():
            return None
        free[rows, columns] = False
        return x, y

    def on_top(self, thing: SceneObject | None, model: int | None, kind: str) -> SceneObject | None:
        """Stand one model on a thing's top, facing as it does, near its middle."""
        if thing is None or model is None or thing.object_id not in self.models:
            return None
        under = self.models[thing.object_id]
        entry = self.stock.library.entries[under]
        top = entry.top if entry.top is not None else entry.size[2]
        level = _shelf(self.stock.library.tops(under), top)
        width, depth, height = self.size(model)
        if level is None or width > 1.15 * entry.size[0] or depth > 1.1 * entry.size[1]:
            return None
        bottom = thing.centre[2] - thing.size[2] / 2 + level
        if bottom + height > self.plan.size[2]:
            return None
        x, y = self.beside(thing, float(self.rng.normal(0, 0.04)), 0.0)
        return self._add(model, kind, x, y, bottom, thing.yaw)

    def _on_top(
        self, thing: SceneObject, small: int, free: NDArray[np.bool_], level: float, near: float
    ) -> None:
        """One thing where enough level cells are free; they are taken then."""
        width, depth, height = self.size(small)
        bottom = thing.centre[2] - thing.size[2] / 2 + level
        if bottom + height > self.plan.size[2] - 0.05:
            return
        for _ in range(_TRIES):
            turn = float(self.rng.normal(0, 0.5))
            if self.rng.random() < 0.2:
                turn = float(self.rng.uniform(-np.pi, np.pi))
            place = self.spot(thing, (width, depth), free, turn, near)
            if place is not None:
                at = self.beside(thing, place[0], -place[1])
                self._add(small, "", at[0], at[1], bottom, thing.yaw + turn)
                return


def _cells(low: float, high: float, side: float) -> slice:
    """Cells of the grid of tops that a stretch touches."""
    first = int(np.floor((low / side + 0.5) * GRID))
    last = int(np.ceil((high / side + 0.5) * GRID))
    return slice(max(0, first), min(GRID, max(last, first + 1)))


def _shelf(grid: NDArray[np.float32], top: float) -> float | None:
    """Height of the level part of a top nearest to the listed one; None where there is none."""
    heights = np.sort(grid[grid > 0.05])
    if not len(heights):
        return None
    levels = np.rint(heights / _LEVEL).astype(int)
    values, counts = np.unique(levels, return_counts=True)
    large = values[counts >= max(6, 0.12 * GRID * GRID)]
    if not len(large):
        return None
    nearest = large[np.abs(large * _LEVEL - top).argmin()]
    return float(np.median(heights[np.abs(levels - nearest) <= 1]))
