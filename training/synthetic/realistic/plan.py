# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Floor plans: rectangles that make a floor, and the walls around them with their openings.

Letters: none; lengths are metres, the room is centred on the z axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["PLANS", "FloorPlan", "Opening", "Rectangle", "Wall", "draw_plan"]

Rectangle = tuple[float, float, float, float]
# Plans and their shares.
PLANS = {"room": 0.45, "corner": 0.17, "alcove": 0.12, "two": 0.18, "corridor": 0.08}
_APART = 0.14  # thickness of the wall between two rooms


@dataclass(frozen=True)
class Opening:
    """A hole in a wall.

    Args:
        start, end: Along the wall from its start.
        low, high: Above the floor.
        kind: "window", "door" or "pass" (a way into the room next door).
    """

    start: float
    end: float
    low: float
    high: float
    kind: str


@dataclass
class Wall:
    """One side of a room; the room lies to the left of the way along it.

    Args:
        start: x, y of its beginning.
        heading: Unit vector along it.
        length: Of the wall.
        outer: Whether the open air may be behind it.
        openings: What is cut out.
        taken: Stretches (start, end, low, high) where something hangs or stands.
    """

    start: tuple[float, float]
    heading: tuple[float, float]
    length: float
    outer: bool = True
    openings: list[Opening] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def inward(self) -> tuple[float, float]:
        """Unit vector into the room."""
        return -self.heading[1], self.heading[0]

    @property
    def yaw(self) -> float:
        """Turn of a piece whose back is against the wall."""
        x, y = self.inward
        return float(np.arctan2(x, -y))

    def at(self, along: float, off: float = 0.0) -> tuple[float, float]:
        """A place along the wall, so far into the room."""
        (x, y), (a, b), (c, d) = self.start, self.heading, self.inward
        return x + a * along + c * off, y + b * along + d * off

    def free(self, start: float, end: float, low: float, high: float, margin: float = 0.05) -> bool:
        """Whether nothing is cut out, hangs or stands in a stretch."""
        if start < 0.02 or end > self.length - 0.02:
            return False
        used = [(hole.start, hole.end, hole.low, hole.high) for hole in self.openings]
        return all(
            end + margin < a or b + margin < start or high < c or d < low
            for a, b, c, d in (*used, *self.taken)
        )


@dataclass
class FloorPlan:
    """A plan.

    Args:
        name: One of `PLANS`.
        size: Extents of the whole, length, width, height.
        floors: Disjoint rectangles x0, y0, x1, y1.
        walls: All sides of all rooms.
        taken: Rectangles of the floor that something stands on.
    """

    name: str
    size: tuple[float, float, float]
    floors: tuple[Rectangle, ...]
    walls: list[Wall]
    taken: list[Rectangle] = field(default_factory=list)

    @property
    def area(self) -> float:
        """Square metres."""
        return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.floors)

    @property
    def covered(self) -> float:
        """Share of the floor that is taken, overlaps counted twice."""
        return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.taken) / self.area

    def is_free(self, rectangle: Rectangle, margin: float = 0.0) -> bool:
        """Whether a rectangle lies on the floor, and nothing stands on it."""
        x0, y0, x1, y1 = rectangle
        covered = sum(
            max(0.0, min(x1, c) - max(x0, a)) * max(0.0, min(y1, d) - max(y0, b))
            for a, b, c, d in self.floors
        )
        if covered < (x1 - x0) * (y1 - y0) - 1e-6:
            return False
        return all(
            x1 + margin <= a or c + margin <= x0 or y1 + margin <= b or d + margin <= y0
            for a, b, c, d in self.taken
        )


def draw_plan(rng: np.random.Generator) -> FloorPlan:
    """Draw a plan without openings but the ones between its rooms."""
    name = str(rng.choice(list(PLANS), p=list(PLANS.values())))
    height = float(rng.uniform(2.35, 2.95))
    if name == "corridor":
        sides = (float(rng.uniform(4.5, 9.0)), float(rng.uniform(1.6, 2.6)))
    elif name == "two":
        sides = (float(rng.uniform(6.0, 9.5)), float(rng.uniform(3.2, 5.0)))
    elif name == "room":
        sides = (float(rng.uniform(2.7, 6.2)), float(rng.uniform(2.5, 5.2)))
    else:
        sides = (float(rng.uniform(4.0, 7.2)), float(rng.uniform(3.8, 6.0)))
    across, deep = sides
    x, y = across / 2, deep / 2
    walls: list[Wall]
    floors: tuple[Rectangle, ...]
    if name == "corner":
        cut = (float(rng.uniform(0.25, 0.45)) * across, float(rng.uniform(0.25, 0.45)) * deep)
        floors = ((-x, -y, x, y - cut[1]), (-x, y - cut[1], x - cut[0], y))
        walls = _around([(-x, -y), (x, -y), (x, y - cut[1]), (x - cut[0], y - cut[1]),
                         (x - cut[0], y), (-x, y)])  # fmt: skip
    elif name == "alcove":
        start, end = sorted((float(rng.uniform(-0.9, -0.1)) * x, float(rng.uniform(0.1, 0.9)) * x))
        back = y - float(rng.uniform(0.2, 0.35)) * deep
        floors = ((-x, -y, x, back), (start, back, end, y))
        walls = _around([(-x, -y), (x, -y), (x, back), (end, back), (end, y), (start, y),
                         (start, back), (-x, back)])  # fmt: skip
    elif name == "two":
        floors, walls = _two(rng, x, y)
    else:
        floors, walls = ((-x, -y, x, y),), _around([(-x, -y), (x, -y), (x, y), (-x, y)])
    return _turned(FloorPlan(name, (across, deep, height), floors, walls), rng)


def _around(corners: Sequence[tuple[float, float]], inner: Sequence[int] = ()) -> list[Wall]:
    """Walls along a polygon, counter-clockwise; those of `inner` have a room behind them."""
    walls = []
    for number, (begin, end) in enumerate(zip(corners, [*corners[1:], corners[0]], strict=True)):
        offset = np.subtract(end, begin)
        length = float(np.linalg.norm(offset))
        a, b = (offset / length).tolist()
        walls.append(Wall(begin, (a, b), length, outer=number not in inner))
    return walls


def _two(rng: np.random.Generator, x: float, y: float) -> tuple[tuple[Rectangle, ...], list[Wall]]:
    """Two rooms side by side, with a way through the wall between them."""
    middle = float(rng.uniform(-0.2, 0.2)) * x
    low, high = middle - _APART / 2, middle + _APART / 2
    top = y - (float(rng.uniform(0.0, 0.3)) * y if rng.random() < 0.5 else 0.0)
    first = _around([(-x, -y), (low, -y), (low, y), (-x, y)], inner=[1])
    second = _around([(high, -y), (x, -y), (x, top), (high, top)], inner=[3])
    wide = float(rng.uniform(0.85, 2.2))
    room = 2 * y if top == y else y + top
    wide = min(wide, room - 0.6)
    start = float(rng.uniform(0.25, room - wide - 0.25))
    lintel = float(rng.uniform(2.0, 2.25))
    first[1].openings.append(Opening(start, start + wide, 0.0, lintel, "pass"))
    length = second[3].length
    second[3].openings.append(Opening(length - start - wide, length - start, 0.0, lintel, "pass"))
    return ((-x, -y, low, y), (high, -y, x, top)), [*first, *second]


def _turned(plan: FloorPlan, rng: np.random.Generator) -> FloorPlan:
    """The plan turned by a quarter or half, so that no direction is special."""
    for _ in range(int(rng.integers(4))):
        plan.floors = tuple((-y1, x0, -y0, x1) for x0, y0, x1, y1 in plan.floors)
        plan.size = (plan.size[1], plan.size[0], plan.size[2])
        for wall in plan.walls:
            wall.start = (-wall.start[1], wall.start[0])
            wall.heading = (-wall.heading[1], wall.heading[0])
    return plan
