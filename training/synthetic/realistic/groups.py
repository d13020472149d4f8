# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furniture in groups, as rooms of each use have it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..builder import SceneObject, footprint
from .arrange import Arranger
from .pieces import add_books, add_monitor, lay_rug

__all__ = ["USES", "clutter", "hang_door", "stand"]


def _living(place: Arranger) -> None:
    rng, stock = place.rng, place.stock
    found = place.against(stock.draw(rng, "sofa"), "sofa", front=0.5)
    if found is not None:
        sofa = found[0]
        deep = sofa.size[1] / 2
        model = stock.draw(rng, "coffee table")
        if model is not None:
            away = deep + float(rng.uniform(0.3, 0.5)) + place.size(model)[1] / 2
            x, y = place.beside(sofa, float(rng.normal(0, 0.15)), away)
            if rng.random() < 0.6:
                lay_rug(place, x, y, sofa.size[0] * 1.1, 1.6, sofa.yaw)
            table = place.put(model, "coffee table", x, y, sofa.yaw + float(rng.normal(0, 0.05)))
            place.crowd(table, "coffee", int(rng.integers(1, 6)), 0.9)
        for side in (-1, 1):
            if rng.random() < 0.55:
                chair = stock.draw(rng, "armchair")
                x, y = place.beside(sofa, side * (sofa.size[0] / 2 + 0.35), deep + 0.8)
                turn = sofa.yaw - side * float(rng.uniform(1.0, 1.8))
                place.put(chair, "armchair", x, y, turn)
        if rng.random() < 0.4:
            x, y = place.beside(sofa, (sofa.size[0] / 2 + 0.3) * rng.choice([-1, 1]), 0.0)
            small = place.put(stock.draw(rng, "side table"), "side table", x, y, sofa.yaw)
            place.crowd(small, "night", 2)
    rack = place.against(stock.draw(rng, "tv stand"), "tv stand", front=0.4)
    if rack is not None and place.on_top(rack[0], stock.draw(rng, "tv"), "tv") is None:
        place.crowd(rack[0], "sideboard", 4)
    for kind, chance in (("shelf", 0.8), ("cabinet", 0.6), ("shelf", 0.3), ("floor lamp", 0.3)):
        stand(place, kind, chance, "sideboard")


def _dining(place: Arranger) -> None:
    rng = place.rng
    table = _table_with_chairs(place, "table", "chair")
    place.crowd(table, "dining", int(rng.integers(3, 14)), 0.95)
    for kind, chance in (("cabinet", 0.8), ("shelf", 0.5), ("cabinet", 0.4)):
        stand(place, kind, chance, "sideboard")
    if rng.random() < 0.25 and table is not None:
        lay_rug(place, *table.centre[:2], table.size[0] + 1.2, table.size[1] + 1.2, table.yaw)


def _table_with_chairs(place: Arranger, kind: str, seat: str) -> SceneObject | None:
    """A table somewhere free, and chairs of one model round it, some pulled back."""
    rng, stock = place.rng, place.stock
    table = place.anywhere_straight(stock.draw(rng, kind), kind, 0.45)
    if table is None:
        table = place.anywhere_straight(stock.draw(rng, kind), kind, 0.1)
    model = stock.draw(rng, seat)
    if table is None or model is None:
        return table
    width, depth, _ = place.size(model)
    own = place.plan.taken[-1]
    across, deep = table.size[0], table.size[1]
    sides = [(0.0, -1, across, deep), (np.pi, 1, across, deep)]
    if across < 1.4 * deep or rng.random() < 0.4:
        sides += [(np.pi / 2, -1, deep, across), (-np.pi / 2, -1, deep, across)]
    for turn, _, wide, far in sides:
        count = int(np.clip(wide // (width + 0.12), 1, 4))
        for index in range(count):
            if rng.random() < 0.15:
                continue
            along = ((index + 0.5) / count - 0.5) * wide
            pulled = (
                float(rng.uniform(-0.3, 0.15))
                if rng.random() < 0.8
                else float(rng.uniform(0.15, 0.5))
            )
            ahead = far / 2 + depth / 2 + max(pulled, -0.45 * depth)
            c, s = np.cos(turn), np.sin(turn)
            # The place as the table's own right and ahead, turned to this side of it.
            x, y = place.beside(table, float(c * along + s * ahead), float(c * ahead - s * along))
            yaw = table.yaw - turn + np.pi + float(rng.normal(0, 0.12))
            place.plan.taken.remove(own)
            free = place.plan.is_free(footprint(x, y, width, depth, yaw), -0.02)
            place.plan.taken.append(own)
            if free:
                chair = place.put(model, seat, x, y, yaw, reserve=False)
                if chair is not None:
                    place.plan.taken.append(footprint(x, y, width, depth, yaw))
    return table


def _bedroom(place: Arranger) -> None:
    rng, stock = place.rng, place.stock
    found = place.against(stock.draw(rng, "bed" if rng.random() < 0.9 else "cot"), "bed", front=0.4)
    if found is not None:
        bed, wall, along = found
        for side in (-1, 1):
            model = stock.draw(rng, "nightstand")
            if model is None or rng.random() < 0.25:
                continue
            at = along + side * (bed.size[0] / 2 + place.size(model)[0] / 2 + 0.06)
            night = place.against(model, "nightstand", wall, along=at)
            place.crowd(night[0] if night else None, "night", 3)
        if rng.random() < 0.4:
            x, y = place.beside(bed, bed.size[0] / 2 * rng.choice([-1, 1]), 0.3)
            lay_rug(place, x, y, 1.3, 1.9, bed.yaw)
    for kind, chance in (("wardrobe", 0.85), ("cabinet", 0.7), ("shelf", 0.4), ("armchair", 0.3)):
        stand(place, kind, chance, "sideboard")
    if rng.random() < 0.4:
        _desk_group(place)


def _office(place: Arranger) -> None:
    rng = place.rng
    for _ in range(int(rng.integers(1, 4))):
        _desk_group(place)
    for kind, chance in (("shelf", 0.9), ("cabinet", 0.8), ("shelf", 0.5), ("cabinet", 0.4)):
        stand(place, kind, chance, "sideboard")
    if rng.random() < 0.35:
        table = _table_with_chairs(place, "table", "office chair")
        place.crowd(table, "desk", 6)


def _desk_group(place: Arranger) -> None:
    """A desk at a wall with what is used on it, and a chair ahead of it."""
    rng, stock = place.rng, place.stock
    kind = "desk" if rng.random() < 0.7 else "table"
    found = place.against(stock.draw(rng, kind, (2.0, 1.0, 1.2)), "desk", front=0.7)
    if found is None:
        return
    desk = found[0]
    if rng.random() < 0.65:
        add_monitor(place, desk, float(rng.uniform(-0.25, 0.25)) * desk.size[0])
        if rng.random() < 0.3:
            add_monitor(place, desk, 0.35 * desk.size[0] * float(rng.choice([-1, 1])))
    if rng.random() < 0.4:
        add_books(place, desk)
    place.crowd(desk, "desk", int(rng.integers(3, 13)))
    chair = stock.draw(rng, "office chair" if rng.random() < 0.6 else "chair")
    if chair is not None:
        away = desk.size[1] / 2 + place.size(chair)[1] / 2 + float(rng.uniform(-0.15, 0.3))
        x, y = place.beside(desk, float(rng.normal(0, 0.15)), away)
        place.put(chair, "chair", x, y, desk.yaw + np.pi + float(rng.normal(0, 0.4)),
                  reserve=False)  # fmt: skip
        place.plan.taken.append(footprint(x, y, 0.5, 0.5, 0.0))


def _kitchen(place: Arranger) -> None:
    rng, stock = place.rng, place.stock
    wall = max(place.plan.walls, key=lambda each: each.length * (0.6 + 0.8 * rng.random()))
    kinds = ["lower cabinet", "sink", "stove", "lower cabinet", "washing machine", "fridge",
             "lower cabinet", "high cabinet", "lower cabinet"]  # fmt: skip
    rng.shuffle(kinds)
    along, lower = float(rng.uniform(0.03, 0.4)), stock.draw(rng, "lower cabinet")
    upper = stock.draw(rng, "upper cabinet")
    for kind in kinds:
        model = lower if kind == "lower cabinet" else stock.draw(rng, kind)
        if model is None:
            continue
        width, _, height = place.size(model)
        at = along + width / 2
        found = place.against(model, kind, wall, 0.02, along=at, front=0.5)
        along += width + 0.004
        if found is None:
            continue
        if height < 1.0 and kind != "stove":
            place.crowd(found[0], "counter", int(rng.integers(1, 5)), 0.95)
        above = stock.draw(rng, "hood") if kind == "stove" else upper
        if height < 1.0 and above is not None and rng.random() < 0.75:
            low = float(max(1.42, place.stock.library.entries[above].elevation))
            low = min(low, place.plan.size[2] - place.size(above)[2] - 0.02)
            place.against(above, "upper cabinet", wall, 0.02, low, at)
    if rng.random() < 0.7:
        table = _table_with_chairs(place, "table", "chair" if rng.random() < 0.7 else "stool")
        place.crowd(table, "dining", int(rng.integers(3, 12)), 0.95)
    for kind, chance in (("cabinet", 0.3), ("shelf", 0.3), ("fridge", 0.3)):
        stand(place, kind, chance, "counter")


def _bathroom(place: Arranger) -> None:
    for kind, chance in (
        ("bath", 0.6), ("shower", 0.5), ("toilet", 0.9), ("washbasin", 1.0), ("washbasin", 0.2),
        ("washing machine", 0.4), ("cabinet", 0.4), ("wardrobe", 0.15),
    ):  # fmt: skip
        stand(place, kind, chance, "bath", 3)


def _hall(place: Arranger) -> None:
    for kind, chance in (
        ("cabinet", 0.7), ("shelf", 0.5), ("wardrobe", 0.6), ("stool", 0.4), ("chair", 0.4),
        ("side table", 0.4),
    ):  # fmt: skip
        stand(place, kind, chance, "sideboard")


def _store(place: Arranger) -> None:
    rng, stock = place.rng, place.stock
    for _ in range(int(rng.integers(2, 6))):
        stand(place, str(rng.choice(["shelf", "cabinet", "wardrobe", "table"])), 1.0, "sideboard")
    for _ in range(int(rng.integers(4, 12))):
        model = stock.draw_small(rng, "floor")
        if rng.random() < 0.5:
            place.against(model, "", gap=0.06)
        else:
            place.anywhere(model, "")


def stand(
    place: Arranger, kind: str, chance: float, crowd: str, most: int = 6
) -> SceneObject | None:
    """Perhaps stand something of a kind to a wall, with small things on its top."""
    rng = place.rng
    if rng.random() >= chance:
        return None
    found = place.against(place.stock.draw(rng, kind), kind, front=0.25)
    if found is None:
        return None
    if rng.random() < 0.3:
        add_books(place, found[0])
    if found[0].size[2] < 2.0 and rng.random() < 0.9:
        place.crowd(found[0], crowd, int(rng.integers(2, most + 4)))
    return found[0]


def clutter(place: Arranger) -> None:
    """What every room collects: plants, boxes, bags, a person now and then."""
    rng, stock = place.rng, place.stock
    area = place.plan.area
    for _ in range(int(rng.integers(0, 2 + int(area / 10)))):
        model = stock.draw(rng, "plant")
        if place.against(model, "plant", gap=0.1) is None:
            place.anywhere(model, "plant")
    for _ in range(int(rng.integers(2, 6 + int(area / 4)))):
        model = stock.draw_small(rng, "floor")
        if rng.random() < 0.6:
            place.against(model, "", gap=float(rng.uniform(0.04, 0.15)))
        else:
            place.anywhere(model, "")
    if rng.random() < 0.2:
        place.against(stock.draw_small(rng, "large", (3.0, 2.0, place.plan.size[2] - 0.1)), "")
    for kind, chance in (("chair", 0.4), ("armchair", 0.2), ("stool", 0.2), ("pet", 0.05)):
        if rng.random() < chance:
            place.anywhere(stock.draw(rng, kind), kind)
    if rng.random() < 0.12:
        place.anywhere(stock.draw(rng, "person"), "person", 0.15)


def hang_door(place: Arranger) -> bool:
    """A closed door in a wall, with free floor ahead of it."""
    rng = place.rng
    model = place.stock.draw(rng, "door", (2.0, 0.3, 2.2))
    if model is None:
        return False
    width, depth, height = place.size(model)
    for _ in range(10):
        wall = place.plan.walls[int(rng.integers(len(place.plan.walls)))]
        if wall.length < width + 0.2 or height > place.plan.size[2] - 0.05:
            continue
        at = float(rng.uniform(width / 2 + 0.08, wall.length - width / 2 - 0.08))
        if not wall.free(at - width / 2, at + width / 2, 0.0, height):
            continue
        shown = float(rng.uniform(0.02, 0.05))  # the rest stands inside of the wall
        x, y = wall.at(at, shown - depth / 2)
        if place.put(model, "door", x, y, wall.yaw, reserve=False) is None:
            continue
        wall.taken.append((at - width / 2, at + width / 2, 0.0, height))
        fx, fy = wall.at(at, 0.4)
        place.plan.taken.append(footprint(fx, fy, width, 0.8, wall.yaw))
        return True
    return False


# Uses and their shares.
USES: dict[str, tuple[float, Callable[[Arranger], None]]] = {
    "living": (0.24, _living),
    "dining": (0.1, _dining),
    "bedroom": (0.18, _bedroom),
    "office": (0.19, _office),
    "kitchen": (0.17, _kitchen),
    "bathroom": (0.04, _bathroom),
    "hall": (0.04, _hall),
    "store": (0.04, _store),
}
