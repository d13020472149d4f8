# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small things that stand on surfaces, and things that hang on walls or lie on the floor."""

from __future__ import annotations

import numpy as np

from .parts import Builder, Part, Piece, assemble, box, cone, cylinder, sphere

__all__ = ["CLUTTER", "WALL_PIECES"]

Rng = np.random.Generator
_PRINTED = ("plain", "stripes", "label")


def _cup(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.12)
    parts = [
        cone((0, 0, height / 2), radius * rng.uniform(0.75, 1), radius, height),
        cylinder((0, 0, height), radius * 0.88, 0.002, "dark"),
        box((radius + 0.012, 0, height * 0.5), (0.03, 0.012, height * 0.5)),
    ]
    return assemble("cup", parts, ("plain", "stripes"))


def _bottle(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.03, 0.045), rng.uniform(0.2, 0.33)
    parts = [
        cylinder((0, 0, height * 0.31), radius, height * 0.62),
        cone((0, 0, height * 0.7), radius, radius * 0.4, height * 0.16),
        cylinder((0, 0, height * 0.87), radius * 0.4, height * 0.2),
        cylinder((0, 0, height * 0.985), radius * 0.45, height * 0.05, "second"),
        cylinder((0, 0, height * 0.33), radius * 1.02, height * 0.25, "label"),
    ]
    return assemble("bottle", parts)


def _book(rng: Rng) -> Piece:
    width, depth, height = (
        rng.uniform(0.13, 0.22),
        rng.uniform(0.18, 0.28),
        rng.uniform(0.015, 0.05),
    )
    parts = [
        box((0.004, 0, height / 2), (width - 0.008, depth - 0.008, height - 0.006), "white"),
        box((0, 0, height - 0.002), (width, depth, 0.004)),
        box((0, 0, 0.002), (width, depth, 0.004)),
        box((-width / 2 + 0.002, 0, height / 2), (0.004, depth, height)),
    ]
    if rng.random() < 0.4:
        turn = (0.0, 0.0, float(rng.uniform(-0.5, 0.5)))
        over = (0, 0, height + 0.015)
        parts.append(box(over, (width * 0.9, depth * 0.85, 0.03), "cover", turn=turn))
    return assemble("book", parts, _PRINTED)


def _packet(rng: Rng) -> Piece:
    size = (rng.uniform(0.06, 0.22), rng.uniform(0.05, 0.16), rng.uniform(0.05, 0.28))
    return assemble("box", [box((0, 0, size[2] / 2), size)], ("label", "plain", "cardboard"))


def _can(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.03, 0.045), rng.uniform(0.08, 0.13)
    parts = [
        cylinder((0, 0, height / 2), radius, height - 0.01),
        cylinder((0, 0, height / 2), radius * 0.93, height, "metal"),
    ]
    return assemble("can", parts, ("label", "plain"))


def _bowl(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.07, 0.13), rng.uniform(0.05, 0.09)
    parts = [
        cone((0, 0, height / 2), radius * 0.5, radius, height),
        cylinder((0, 0, height), radius * 0.92, 0.002, "second"),
    ]
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(-0.5, 0.5, 2) * radius
        parts.append(sphere((float(x), float(y), height + 0.02), 0.034, "fruit"))
    return assemble("bowl", parts)


def _plate(rng: Rng) -> Piece:
    radius = rng.uniform(0.09, 0.14)
    parts = [
        cone((0, 0, 0.01), radius * 0.6, radius, 0.02),
        cylinder((0, 0, 0.0205), radius * 0.65, 0.001, "second"),
    ]
    return assemble("plate", parts)


def _vase(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.05, 0.09), rng.uniform(0.15, 0.32)
    parts = [
        sphere((0, 0, radius), radius),
        cone((0, 0, (height + radius) / 2), radius * 0.7, radius * 0.5, height - radius),
    ]
    for _ in range(int(rng.integers(0, 6))):
        x, y = (float(v) for v in rng.uniform(-0.06, 0.06, 2))
        top = height + float(rng.uniform(0.08, 0.22))
        parts.append(cylinder((x * 0.5, y * 0.5, (height + top) / 2), 0.004, top - height, "leaf"))
        parts.append(sphere((x, y, top), float(rng.uniform(0.015, 0.035)), "fruit"))
    return assemble("vase", parts, ("plain", "stripes"))


def _pot_plant(rng: Rng) -> Piece:
    pot = rng.uniform(0.05, 0.08)
    parts = [
        cone((0, 0, pot * 0.8), pot * 0.7, pot, 1.6 * pot),
        cylinder((0, 0, 1.6 * pot), 0.9 * pot, 0.006, "soil"),
    ]
    for _ in range(int(rng.integers(4, 9))):
        angle, z = rng.uniform(0, 2 * np.pi), 1.6 * pot + rng.uniform(0.01, 0.16)
        place = (float(0.05 * np.cos(angle)), float(0.05 * np.sin(angle)), float(z))
        flat = (float(rng.uniform(0.03, 0.06)), 0.025, 0.012)
        turn = (0.0, float(rng.uniform(-0.9, 0.3)), float(angle))
        parts.append(Part(2, place, flat, "leaf", turn=turn))
    return assemble("plant", parts, ("plain", "brick"))


def _monitor(rng: Rng) -> Piece:
    width = rng.uniform(0.45, 0.7)
    height = width * 0.6
    parts = [
        box((0, 0, 0.01), (0.22, 0.18, 0.02), "dark"),
        box((0, -0.03, 0.08), (0.04, 0.03, 0.14), "dark"),
        box((0, 0, 0.12 + height / 2), (width, 0.04, height), "dark", "screen"),
    ]
    return assemble("monitor", parts)


def _laptop(rng: Rng) -> Piece:
    width, depth = rng.uniform(0.3, 0.38), rng.uniform(0.21, 0.25)
    open_by = rng.uniform(0.1, 0.5)
    back, up = -depth / 2 - 0.5 * depth * np.sin(open_by), 0.5 * depth * np.cos(open_by)
    parts = [
        box((0, 0, 0.009), (width, depth, 0.018), "steel"),
        box((0, 0.01 - depth / 10, 0.019), (width * 0.9, depth * 0.5, 0.002), "keys"),
        box(
            (0, float(back), 0.018 + float(up)), (width, 0.01, depth), "steel", "screen",
            turn=(float(open_by), 0, 0),
        ),
    ]  # fmt: skip
    return assemble("laptop", parts)


def _keyboard(rng: Rng) -> Piece:
    width = rng.uniform(0.3, 0.45)
    parts = [
        box((0, 0, 0.01), (width, 0.14, 0.02), "dark"),
        box((0, 0, 0.021), (width * 0.96, 0.12, 0.004), "keys"),
    ]
    return assemble("keyboard", parts)


def _desk_lamp(rng: Rng) -> Piece:
    height, radius = rng.uniform(0.3, 0.5), rng.uniform(0.08, 0.14)
    parts = [
        cylinder((0, 0, 0.01), 0.07, 0.02, "metal"),
        cylinder((0, 0, height / 2), 0.012, height - 0.06, "metal"),
        cone((0, 0, height - 0.07), radius, radius * 0.6, 0.14, "shade", shades=False),
    ]
    return assemble("lamp", parts, light=(0, 0, height - 0.07))


def _toy_ball(rng: Rng) -> Piece:
    radius = float(rng.uniform(0.03, 0.06))
    return assemble("ball", [sphere((0, 0, radius), radius)], ("plain", "stripes"))


def _jar(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.035, 0.06), rng.uniform(0.09, 0.16)
    parts = [
        cylinder((0, 0, height / 2), radius, height),
        cylinder((0, 0, height + 0.008), radius * 1.03, 0.016, "second"),
        cylinder((0, 0, height * 0.45), radius * 1.01, height * 0.4, "label"),
    ]
    return assemble("jar", parts)


def _kettle(rng: Rng) -> Piece:
    radius, height = rng.uniform(0.07, 0.09), rng.uniform(0.16, 0.22)
    parts = [
        cone((0, 0, height / 2), radius, radius * 0.7, height, "steel"),
        sphere((0, 0, height + 0.01), 0.015, "dark"),
        box((radius + 0.02, 0, height * 0.6), (0.02, 0.02, height * 0.6), "dark"),
        box((radius, 0, height * 0.88), (0.06, 0.02, 0.02), "dark"),
        box((-radius, 0, height * 0.75), (0.07, 0.02, 0.02), "steel", turn=(0, 0.5, 0)),
    ]
    return assemble("kettle", parts)


def _clock(rng: Rng) -> Piece:
    radius = rng.uniform(0.12, 0.18)
    lying = (np.pi / 2, 0.0, 0.0)
    parts = [
        cylinder((0, 0, radius), radius, 0.04, "second", lying),
        cylinder((0, 0.012, radius), radius * 0.9, 0.03, "white", lying),
        box((0, 0.03, radius * 1.3), (0.012, 0.006, radius * 0.6), "dark"),
        box((radius * 0.2, 0.03, radius), (radius * 0.4, 0.006, 0.014), "dark"),
    ]
    return assemble("clock", parts)


def _framed(name: str, width: float, height: float, front: str, frame: float) -> Piece:
    """A sheet in a frame that stands out by 2 cm."""
    parts = [box((0, 0, height / 2), (width - frame, 0.02, height - frame), "white", front)]
    for x in (-1, 1):
        post = (x * (width - frame) / 2, 0.005, height / 2)
        parts.append(box(post, (frame, 0.035, height)))
    for z in (frame / 2, height - frame / 2):
        parts.append(box((0, 0.005, z), (width, 0.035, frame)))
    return assemble(name, parts, ("wood", "plain"))


def _picture(rng: Rng) -> Piece:
    width, height = rng.uniform(0.3, 1.2), rng.uniform(0.3, 0.9)
    if rng.random() < 0.35:
        sheet = box((0, 0, height / 2), (width, 0.006, height), "white", "poster")
        return assemble("picture", [sheet])
    return _framed("picture", width, height, "poster", rng.uniform(0.02, 0.05))


def _window(rng: Rng) -> Piece:
    width, height = rng.uniform(0.7, 2.2), rng.uniform(0.9, 1.6)
    piece = _framed("window", width, height, "window", 0.07)
    bars = [box((0, 0.005, height / 2), (0.05, 0.035, height), "main")]
    if height > 1.3:
        bars.append(box((0, 0.005, height * 0.7), (width, 0.03, 0.04), "main"))
    sill = box((0, 0.08, -0.02), (width + 0.1, 0.18, 0.04), "white")
    return assemble("window", [*piece.parts, *bars, sill], ("plain",))


def _door(rng: Rng) -> Piece:
    width, height = rng.uniform(0.8, 0.95), rng.uniform(1.95, 2.1)
    parts = [
        box((0, 0, height / 2), (width, 0.03, height), "main", "door"),
        box((width / 2 - 0.08, 0.05, 1.02), (0.12, 0.02, 0.02), "metal"),
        box((0, 0.005, height + 0.04), (width + 0.16, 0.06, 0.08), "second"),
    ]
    for x in (-1, 1):
        post = (x * (width / 2 + 0.04), 0.005, height / 2)
        parts.append(box(post, (0.08, 0.06, height), "second"))
    return assemble("door", parts, ("wood", "plain"))


def _mirror(rng: Rng) -> Piece:
    return _framed("mirror", rng.uniform(0.4, 0.7), rng.uniform(0.6, 1.2), "glass", 0.04)


def _radiator(rng: Rng) -> Piece:
    width, height = rng.uniform(0.6, 1.4), rng.uniform(0.45, 0.6)
    parts = [box((0, -0.02, height / 2), (width, 0.04, height * 0.94), "white")]
    count = int(width / 0.12)
    for index in range(count):
        x = (index + 0.5) * width / count - width / 2
        parts.append(box((x, 0.025, height / 2), (0.07, 0.05, height), "white"))
    return assemble("radiator", parts)


def _curtain(rng: Rng) -> Piece:
    width, height = rng.uniform(0.35, 0.6), rng.uniform(1.9, 2.2)
    count = max(3, int(width / 0.09))
    parts = []
    for index in range(count):
        x = (index + 0.5) * width / count - width / 2
        fold = (width / count * 0.62, 0.05, height / 2)
        parts.append(Part(1, (x, float(rng.uniform(-0.01, 0.01)), height / 2), fold))
    return assemble("curtain", parts, ("fabric", "stripes", "plain"))


def _board(rng: Rng) -> Piece:
    width, height = rng.uniform(1.0, 2.2), rng.uniform(0.8, 1.2)
    return _framed("whiteboard", width, height, "writing", 0.03)


def _tv(rng: Rng) -> Piece:
    width = rng.uniform(0.8, 1.4)
    parts = [box((0, 0, width * 0.29), (width, 0.05, width * 0.58), "dark", "screen")]
    return assemble("tv", parts)


def _rug(rng: Rng) -> Piece:
    size = (rng.uniform(1.0, 2.4), rng.uniform(0.8, 1.7), 0.012)
    return assemble("rug", [box((0, 0, 0.006), size, "main", "")], ("rug", "carpet", "weave"))


CLUTTER: dict[str, tuple[Builder, ...]] = {
    "cup": (_cup,), "bottle": (_bottle,), "book": (_book,), "box": (_packet,), "can": (_can,),
    "bowl": (_bowl,), "plate": (_plate,), "vase": (_vase,), "plant": (_pot_plant,),
    "monitor": (_monitor,), "laptop": (_laptop,), "keyboard": (_keyboard,),
    "lamp": (_desk_lamp,), "ball": (_toy_ball,), "jar": (_jar,), "kettle": (_kettle,),
}  # fmt: skip
WALL_PIECES: dict[str, tuple[Builder, ...]] = {
    "picture": (_picture,), "window": (_window,), "door": (_door,), "mirror": (_mirror,),
    "radiator": (_radiator,), "curtain": (_curtain,), "whiteboard": (_board,), "tv": (_tv,),
    "clock": (_clock,), "rug": (_rug,),
}  # fmt: skip
