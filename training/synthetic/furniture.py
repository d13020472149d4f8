# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furniture that stands on the floor, built of parts."""

from __future__ import annotations

import numpy as np

from .parts import Builder, Part, Piece, Top, assemble, box, cone, cylinder, legs, sphere

__all__ = ["FURNITURE"]

Rng = np.random.Generator
_WOODEN = ("wood", "wood", "plain")
_SOFT = ("fabric", "fabric", "plain", "stripes", "weave")


def _table(rng: Rng) -> Piece:
    height, thick = rng.uniform(0.68, 0.8), rng.uniform(0.025, 0.06)
    if rng.random() < 0.3:
        radius = rng.uniform(0.4, 0.7)
        parts = [
            cylinder((0, 0, height - thick / 2), radius, thick),
            cylinder((0, 0, height / 2), 0.045, height - thick, "second"),
            cone((0, 0, 0.02), radius * 0.6, 0.08, 0.04, "second"),
        ]
        width = depth = 1.4 * radius
    else:
        width, depth = rng.uniform(0.9, 2.0), rng.uniform(0.6, 1.0)
        surface = str(rng.choice(["main", "second", "metal"]))
        parts = [box((0, 0, height - thick / 2), (width, depth, thick))]
        parts += legs(
            width, depth, height - thick, rng.uniform(0.04, 0.08), surface,
            rounded=bool(rng.random() < 0.4),
        )  # fmt: skip
        if rng.random() < 0.5:
            rail = height - thick - 0.04
            for y in (-1, 1):
                parts.append(box((0, y * (depth / 2 - 0.08), rail), (width - 0.16, 0.02, 0.08)))
    return assemble("table", parts, _WOODEN, tops=[Top(height, width, depth)])


def _low_table(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.45, 0.65), rng.uniform(0.35, 0.48)
    parts = [box((0, 0, height - 0.02), (width, depth, 0.04))]
    parts += legs(width, depth, height - 0.04, 0.05, "second")
    tops = [Top(height, width, depth)]
    if rng.random() < 0.5:
        parts.append(box((0, 0, 0.14), (width - 0.1, depth - 0.1, 0.02)))
        tops.append(Top(0.15, width - 0.15, depth - 0.15, height - 0.22))
    return assemble("table", parts, _WOODEN, tops=tops)


def _desk(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(1.1, 1.8), rng.uniform(0.6, 0.8), rng.uniform(0.7, 0.77)
    drawer, x = rng.uniform(0.35, 0.45), width / 2
    side = float(rng.choice([-1, 1]))
    parts = [
        box((0, 0, height - 0.02), (width, depth, 0.04)),
        box(
            (side * (x - drawer / 2), 0, (height - 0.04) / 2), (drawer, depth * 0.95, height - 0.04)
        ),
        box(
            (side * (0.025 - x), 0, (height - 0.04) / 2),
            (0.05, depth * 0.95, height - 0.04),
            "second",
        ),
        box((0, -depth / 2 + 0.02, height * 0.65), (width - 0.1, 0.02, height * 0.4), "second"),
    ]
    for row in range(3):
        z = (row + 0.5) * (height - 0.08) / 3 + 0.02
        front = (side * (x - drawer / 2), depth * 0.475 + 0.008, z)
        parts.append(box(front, (drawer - 0.03, 0.016, (height - 0.14) / 3), "second"))
        parts.append(box((front[0], front[1] + 0.02, z), (0.12, 0.02, 0.015), "metal"))
    return assemble("desk", parts, _WOODEN, tops=[Top(height, width, depth)])


def _chair(rng: Rng) -> Piece:
    width, seat = rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48)
    height = seat + rng.uniform(0.38, 0.5)
    surface = str(rng.choice(["main", "second", "metal", "wood"]))
    parts = [box((0, 0, seat - 0.025), (width, width, 0.05))]
    parts += legs(
        width, width, seat - 0.05, rng.uniform(0.03, 0.045), surface,
        rounded=bool(rng.random() < 0.5),
    )  # fmt: skip
    back, lean = -width / 2 + 0.02, rng.uniform(0.0, 0.12)
    tall = height - seat
    if rng.random() < 0.5:
        parts.append(
            box(
                (0, back - lean * tall / 2, seat + tall / 2), (width, 0.03, tall), turn=(lean, 0, 0)
            )
        )
    else:
        for x in (-1, 1):
            post = (x * (width / 2 - 0.02), back, seat + tall / 2)
            parts.append(box(post, (0.035, 0.035, tall), surface))
        for share in (0.45, 0.85):
            parts.append(box((0, back, seat + share * tall), (width, 0.025, 0.25 * tall)))
    return assemble("chair", parts, ("wood", "fabric", "plain"))


def _office_chair(rng: Rng) -> Piece:
    seat, width = rng.uniform(0.44, 0.52), rng.uniform(0.45, 0.52)
    parts = [
        box((0, 0, seat - 0.04), (width, width, 0.08)),
        box((0, -width / 2 + 0.03, seat + 0.35), (width * 0.9, 0.06, 0.5), turn=(0.1, 0, 0)),
        cylinder((0, 0, seat / 2), 0.03, seat - 0.1, "metal"),
        box((0, -width / 2 + 0.02, seat + 0.05), (0.06, 0.03, 0.2), "dark"),
    ]
    for index in range(5):
        angle = 2 * np.pi * index / 5
        x, y = 0.15 * np.cos(angle), 0.15 * np.sin(angle)
        parts.append(box((x, y, 0.075), (0.3, 0.04, 0.03), "dark", turn=(0, 0, angle)))
        parts.append(sphere((1.9 * x, 1.9 * y, 0.03), 0.03, "dark"))
    return assemble("chair", parts, ("fabric", "plain"))


def _armchair(rng: Rng) -> Piece:
    width, depth, seat = rng.uniform(0.75, 0.95), rng.uniform(0.75, 0.9), rng.uniform(0.38, 0.45)
    return _seat("armchair", rng, width, depth, seat, 1)


def _sofa(rng: Rng) -> Piece:
    width, depth, seat = rng.uniform(1.5, 2.3), rng.uniform(0.8, 0.95), rng.uniform(0.38, 0.45)
    return _seat("sofa", rng, width, depth, seat, 2 if width < 1.9 else 3)


def _seat(name: str, rng: Rng, width: float, depth: float, seat: float, places: int) -> Piece:
    height, arm = seat + rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.22)
    foot = rng.uniform(0.05, 0.12)
    inner = (width - 2 * arm) / places
    parts = [
        box((0, 0, (foot + seat - 0.1) / 2 + foot / 2), (width, depth, seat - 0.1 - foot)),
        box((0, -depth / 2 + 0.1, (height + foot) / 2), (width, 0.2, height - foot)),
    ]
    parts += legs(width, depth, foot, 0.05, "wood", rounded=True)
    for side in (-1, 1):
        x = side * (width / 2 - arm / 2)
        parts.append(box((x, 0, (seat + 0.2 + foot) / 2), (arm, depth, seat + 0.2 - foot)))
    soft = str(rng.choice(["main", "second"]))
    for index in range(places):
        x = (index + 0.5) * inner - places * inner / 2
        parts.append(box((x, 0.09, seat - 0.04), (inner - 0.015, depth - 0.21, 0.13), soft))
        lean = (x, -depth / 2 + 0.27, seat + 0.2)
        parts.append(box(lean, (inner - 0.02, 0.13, 0.36), soft, turn=(0.18, 0, 0)))
    for _ in range(int(rng.integers(0, 3))):
        x = rng.uniform(-0.5, 0.5) * (width - 2 * arm - 0.35)
        turn = (0.4, rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.5))
        pillow = (float(x), -depth / 2 + 0.42, seat + 0.2)
        parts.append(box(pillow, (0.38, 0.1, 0.36), "third", turn=turn))
    return assemble(name, parts, _SOFT)


def _stool(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.16, 0.22), rng.uniform(0.4, 0.75)
    parts = [cylinder((0, 0, height - 0.025), radius, 0.05)]
    if rng.random() < 0.5:
        parts += legs(1.7 * radius, 1.7 * radius, height - 0.05, 0.035, "second", rounded=True)
    else:
        parts.append(cylinder((0, 0, height / 2), 0.035, height - 0.05, "metal"))
        parts.append(cone((0, 0, 0.015), radius * 0.9, 0.05, 0.03, "metal"))
    return assemble("stool", parts, ("wood", "plain", "fabric"))


def _bench(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(1.0, 1.7), rng.uniform(0.3, 0.4), rng.uniform(0.42, 0.48)
    parts = []
    for y in (-depth / 3, 0.0, depth / 3):
        parts.append(box((0, y, height - 0.02), (width, depth / 3 - 0.02, 0.04)))
    for x in (-1, 1):
        side = (x * (width / 2 - 0.1), 0, (height - 0.04) / 2)
        parts.append(box(side, (0.06, depth, height - 0.04), "second"))
    return assemble("bench", parts, ("wood",), tops=[Top(height, width, depth)])


def _shelf(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.7, 1.5), rng.uniform(0.26, 0.4), rng.uniform(1.1, 2.1)
    wall, boards = 0.03, int(rng.integers(3, 6))
    parts = [
        box((-width / 2 + wall / 2, 0, height / 2), (wall, depth, height)),
        box((width / 2 - wall / 2, 0, height / 2), (wall, depth, height)),
    ]
    if rng.random() < 0.7:
        parts.append(box((0, -depth / 2 + 0.01, height / 2), (width, 0.02, height), "second"))
    tops = [Top(height, width, depth)]
    gap = (height - wall) / boards
    for index in range(boards + 1):
        z = wall / 2 + index * gap
        parts.append(box((0, 0, z), (width - 2 * wall, depth, wall)))
        if index == boards:
            break
        if rng.random() < 0.65:
            parts += _row_of_books(rng, width - 2 * wall, depth, z + wall / 2, gap - wall)
        else:
            tops.append(Top(z + wall / 2, width - 2 * wall, depth - 0.04, gap - wall - 0.02))
    return assemble("shelf", parts, _WOODEN, tops=tops)


def _row_of_books(rng: Rng, width: float, depth: float, z: float, room: float) -> list[Part]:
    """A block of spines, and some books that stand or lean beside it."""
    wide, tall = width * rng.uniform(0.25, 0.7), min(0.32, room * rng.uniform(0.65, 0.95))
    left = -width / 2 + rng.uniform(0, 0.2) * width
    deep = min(0.24, depth - 0.06)
    parts = [box((left + wide / 2, -0.02, z + tall / 2), (wide, deep, tall), "books")]
    x = left + wide + 0.005
    while x < width / 2 - 0.08 and rng.random() < 0.75:
        thick = rng.uniform(0.02, 0.05)
        high = min(0.3, room * rng.uniform(0.6, 0.9))
        parts.append(box((x + thick / 2, -0.02, z + high / 2), (thick, deep, high), "cover"))
        x += thick + 0.003
    return parts


def _cabinet(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.6, 1.6), rng.uniform(0.38, 0.6), rng.uniform(0.6, 1.3)
    parts = [
        box((0, 0, height / 2 + 0.03), (width, depth, height - 0.06)),
        box((0, 0, height - 0.015), (width + 0.03, depth + 0.03, 0.03), "second"),
    ]
    parts += legs(width, depth, 0.06, 0.05, "dark")
    doors, rows = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 3, 4]))
    for index in range(doors):
        for row in range(rows):
            x = (index + 0.5) * width / doors - width / 2
            z = 0.08 + (row + 0.5) * (height - 0.13) / rows
            size = (width / doors - 0.025, 0.02, (height - 0.13) / rows - 0.02)
            parts.append(box((x, depth / 2 + 0.01, z), size, "second"))
            if rows > 1:
                parts.append(box((x, depth / 2 + 0.03, z), (0.12, 0.015, 0.015), "metal"))
            else:
                parts.append(sphere((x + size[0] * 0.38, depth / 2 + 0.03, z), 0.018, "metal"))
    return assemble("cabinet", parts, _WOODEN, tops=[Top(height, width, depth)])


def _wardrobe(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.9, 1.8), rng.uniform(0.5, 0.65), rng.uniform(1.8, 2.2)
    parts = [
        box((0, 0, height / 2), (width, depth, height)),
        box((0, 0.01, height - 0.02), (width + 0.04, depth + 0.04, 0.04), "second"),
    ]
    doors = 2 if width < 1.4 else 3
    for index in range(doors):
        x = (index + 0.5) * width / doors - width / 2
        size = (width / doors - 0.02, 0.02, height - 0.14)
        parts.append(box((x, depth / 2 + 0.01, height / 2), size, "second"))
        handle = (x + size[0] * (0.42 if index % 2 == 0 else -0.42), depth / 2 + 0.035, height / 2)
        parts.append(box(handle, (0.02, 0.03, 0.2), "metal"))
    return assemble("wardrobe", parts, _WOODEN)


def _bed(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.9, 1.8), rng.uniform(1.9, 2.1), rng.uniform(0.4, 0.6)
    head = height + rng.uniform(0.25, 0.6)
    parts = [
        box((0, 0, 0.2), (width, depth, 0.14), "wood"),
        box((0, 0, (height + 0.27) / 2), (width * 0.96, depth * 0.97, height - 0.27), "white"),
        box((0, -depth / 2 - 0.02, head / 2), (width + 0.04, 0.05, head), "wood"),
    ]
    parts += legs(width, depth, 0.13, 0.07, "wood")
    cover = depth * rng.uniform(0.55, 0.75)
    top = (0, depth / 2 - cover / 2 - 0.02, height - 0.02)
    parts.append(box(top, (width * 1.0, cover, 0.09)))
    for x in (-width / 4, width / 4) if width > 1.3 else (0.0,):
        turn = (rng.uniform(0.1, 0.35), 0.0, rng.uniform(-0.1, 0.1))
        pillow = (x, -depth / 2 + 0.28, height + 0.07)
        parts.append(box(pillow, (min(0.6, width * 0.42), 0.38, 0.13), "second", turn=turn))
    return assemble("bed", parts, ("fabric", "stripes", "plain", "weave", "checker"))


def _nightstand(rng: Rng) -> Piece:
    width, height = rng.uniform(0.38, 0.5), rng.uniform(0.42, 0.6)
    parts = [box((0, 0, height / 2 + 0.05), (width, 0.38, height - 0.1))]
    parts += legs(width, 0.38, 0.1, 0.04, "second")
    for z in (0.33, 0.7):
        parts.append(
            box((0, 0.2, z * height + 0.05), (width - 0.03, 0.02, 0.35 * height), "second")
        )
        parts.append(sphere((0, 0.225, z * height + 0.05), 0.014, "metal"))
    return assemble("nightstand", parts, _WOODEN, tops=[Top(height, width, 0.38)])


def _counter(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(1.2, 2.6), 0.6, 0.9
    parts = [
        box((0, 0, 0.45), (width, depth - 0.04, 0.82)),
        box((0, 0.01, height - 0.02), (width + 0.02, depth + 0.02, 0.04), "stone"),
    ]
    for index in range(int(width / 0.55)):
        share = width / int(width / 0.55)
        x = (index + 0.5) * share - width / 2
        parts.append(box((x, depth / 2 - 0.01, 0.42), (share - 0.02, 0.02, 0.6), "second"))
        parts.append(box((x, depth / 2 - 0.01, 0.79), (share - 0.02, 0.02, 0.12), "second"))
        parts.append(box((x, depth / 2 + 0.015, 0.79), (0.14, 0.02, 0.014), "metal"))
    return assemble("counter", parts, ("wood", "plain"), tops=[Top(height, width, depth - 0.1)])


def _fridge(rng: Rng) -> Piece:
    width, height = rng.uniform(0.55, 0.75), rng.uniform(1.4, 1.9)
    parts = [box((0, 0, height / 2 + 0.01), (width, 0.6, height - 0.02), "steel")]
    split = height * rng.uniform(0.35, 0.65)
    for low, high in ((0.05, split - 0.005), (split + 0.005, height)):
        middle = (low + high) / 2
        parts.append(box((0, 0.32, middle), (width, 0.04, high - low), "main"))
        parts.append(box((-width / 2 + 0.06, 0.36, middle), (0.025, 0.04, 0.3), "metal"))
    return assemble("fridge", parts, ("plain",))


def _lamp(rng: Rng) -> Piece:
    height, radius = rng.uniform(1.3, 1.75), rng.uniform(0.14, 0.24)
    tall = rng.uniform(0.2, 0.32)
    parts = [
        cylinder((0, 0, 0.015), 0.15, 0.03, "metal"),
        cylinder((0, 0, height / 2), 0.014, height - 0.1, "metal"),
        cone(
            (0, 0, height - tall / 2), radius, radius * rng.uniform(0.5, 1), tall, "shade",
            shades=False,
        ),
    ]  # fmt: skip
    return assemble("lamp", parts, light=(0, 0, height - tall / 2))


def _plant(rng: Rng) -> Piece:
    pot, height = rng.uniform(0.12, 0.2), rng.uniform(0.6, 1.5)
    parts = [
        cone((0, 0, pot), pot * 0.75, pot, 2 * pot),
        cylinder((0, 0, 2 * pot), pot * 0.9, 0.02, "soil"),
        cylinder((0, 0, (2 * pot + height - 0.2) / 2), 0.015, height - 0.2, "wood"),
    ]
    for _ in range(int(rng.integers(6, 14))):
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.03, 0.22)
        z = rng.uniform(2 * pot + 0.1, height - 0.08)
        flat = (rng.uniform(0.07, 0.15), rng.uniform(0.05, 0.1), rng.uniform(0.02, 0.08))
        turn = (0.0, float(rng.uniform(-0.7, 0.7)), float(angle))
        place = (float(out * np.cos(angle)), float(out * np.sin(angle)), float(z))
        parts.append(Part(2, place, flat, "leaf", turn=turn))
    return assemble("plant", parts, ("plain", "brick", "stripes"))


def _carton(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.5)
    material = "cardboard" if rng.random() < 0.5 else "main"
    parts = [box((0, 0, height / 2), (width, depth, height), material)]
    if rng.random() < 0.6:
        parts.append(box((0, 0, height), (0.05, depth + 0.002, 0.003), "white"))
    if rng.random() < 0.3:
        turn = (0.0, 0.0, float(rng.uniform(-0.4, 0.4)))
        upper = 0.8 * min(width, depth)
        parts.append(
            box((0, 0, height + upper / 3), (upper, upper, upper / 1.5), "cardboard", turn=turn)
        )
    return assemble("box", parts, ("plain", "wood", "checker", "stripes"))


def _bin(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.12, 0.2), rng.uniform(0.25, 0.5)
    parts = [
        cone((0, 0, height / 2), radius * 0.8, radius, height),
        cylinder((0, 0, height), radius * 0.93, 0.004, "dark"),
    ]
    return assemble("bin", parts, ("plain", "weave"))


def _ball(rng: Rng) -> Piece:
    radius = float(rng.uniform(0.08, 0.2))
    return assemble("ball", [sphere((0, 0, radius), radius)], ("plain", "checker", "stripes"))


def _suitcase(rng: Rng) -> Piece:
    width, depth, height = rng.uniform(0.35, 0.5), rng.uniform(0.2, 0.28), rng.uniform(0.5, 0.7)
    parts = [
        box((0, 0, height / 2 + 0.04), (width, depth, height)),
        box((0, 0, height / 2 + 0.04), (width * 0.7, depth + 0.01, height * 0.92), "dark"),
        box((0, 0, height + 0.09), (0.2, 0.03, 0.02), "dark"),
    ]
    for x in (-0.09, 0.09):
        parts.append(box((x, 0, height + 0.06), (0.02, 0.03, 0.05), "dark"))
    for x in (-1, 1):
        parts.append(sphere((x * width * 0.4, 0, 0.03), 0.03, "dark"))
    return assemble("suitcase", parts, ("plain", "fabric"))


FURNITURE: dict[str, tuple[Builder, ...]] = {
    "table": (_table, _table, _low_table), "desk": (_desk,), "chair": (_chair, _office_chair),
    "armchair": (_armchair,), "sofa": (_sofa,), "stool": (_stool,), "bench": (_bench,),
    "shelf": (_shelf,), "cabinet": (_cabinet,), "wardrobe": (_wardrobe,), "bed": (_bed,),
    "nightstand": (_nightstand,), "counter": (_counter,), "fridge": (_fridge,),
    "lamp": (_lamp,), "plant": (_plant,), "box": (_carton,), "bin": (_bin,), "ball": (_ball,),
    "suitcase": (_suitcase,),
}  # fmt: skip
