# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Yards and streets: ground, facades, trees, vehicles, what stands about; the sky is a panorama."""

from __future__ import annotations

import numpy as np

from ..builder import SceneObject, footprint
from ..parts import Shape
from .assembly import Assembly
from .daylight import daylight, lighting
from .kinds import Stock
from .scene import FurnishedScene
from .shell import drawn_texture, surface_material

__all__ = ["build_outdoors"]

_HALF, _TOP, _ROAM = 60.0, 40.0, 7.0
_GROUND = {"grass": (0.16, 0.22, 0.08), "asphalt": (0.18, 0.18, 0.18), "paving": (0.36, 0.34, 0.32),
           "speckle": (0.30, 0.26, 0.20)}  # fmt: skip
_TRUNK = 0.12  # share of a tree's width that cameras keep clear of
_YARD = (("garden thing", 0.35), ("bush", 0.2), ("street thing", 0.2), ("tree", 0.15),
         ("cycle", 0.05), ("person", 0.05))  # fmt: skip
_STREET = (("vehicle", 0.25), ("street thing", 0.3), ("tree", 0.12), ("cycle", 0.12),
           ("bush", 0.07), ("street lamp", 0.07), ("person", 0.05),
           ("large vehicle", 0.02))  # fmt: skip


def build_outdoors(seed: int, rng: np.random.Generator, stock: Stock) -> FurnishedScene:
    """Draw a yard or a street."""
    build = Assembly(rng, stock.library)
    taken: list[tuple[float, float, float, float]] = []
    street = rng.random() < 0.55
    _lay_ground(build, street)
    for _ in range(int(rng.integers(0, 4))):
        _add_building(build, taken)
    kinds = _STREET if street else _YARD
    shares = np.array([share for _, share in kinds])
    for _ in range(int(rng.integers(14, 34))):
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))][0]
        far = {"tree": 22.0, "vehicle": 14.0, "large vehicle": 24.0}.get(kind, 9.0)
        near = {"tree": 4.0, "vehicle": 3.0, "large vehicle": 9.0}.get(kind, 0.8)
        _stand(build, stock, kind, near, far, taken)
    day = daylight(rng, stock.library, False, outdoor=True)
    boxes = [((0.0, 0.0, _TOP / 2), (_HALF, _HALF, _TOP / 2), 0.0), *build.boxes]
    yaws = np.array([yaw for _, _, yaw in boxes])
    turn = np.zeros((len(yaws), 3, 3), np.float32)
    c, s = np.cos(yaws), np.sin(yaws)
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = c, -s, s, c, 1
    return FurnishedScene(
        seed=seed,
        kind="outdoor",
        size=(2 * _HALF, 2 * _HALF, _TOP),
        floor_area=None,
        roam=(-_ROAM, -_ROAM, _ROAM, _ROAM),
        objects=tuple(build.objects),
        shape_M=np.full(len(yaws), int(Shape.BOX), np.int64),
        centre_M3=np.array([centre for centre, _, _ in boxes], np.float32),
        half_M3=np.array([half for _, half, _ in boxes], np.float32),
        turn_M33=turn,
        triangles=build.triangles(),
        looks=build.looks(),
        lighting=lighting(day, (), ()),
        floors=((-_HALF, -_HALF, _HALF, _HALF),),
    )


def _lay_ground(build: Assembly, street: bool) -> None:
    rng = build.rng
    kind = str(rng.choice(["asphalt", "paving"] if street else list(_GROUND)))
    tint = np.array(_GROUND[kind]) * rng.uniform(0.6, 1.2)
    ground = build.material(tint, drawn_texture(build, kind), 0.02)
    tile = float(rng.uniform(0.9, 2.2))
    build.quad((-_HALF, -_HALF, 0), (2 * _HALF, 0, 0), (0, 2 * _HALF, 0), ground, 0, tile)
    if rng.random() < 0.7:  # a strip of another kind across it: a path, a road, a lawn
        other = str(rng.choice([name for name in _GROUND if name != kind]))
        tint = np.array(_GROUND[other]) * rng.uniform(0.7, 1.2)
        strip = build.material(tint, drawn_texture(build, other), 0.02)
        yaw, y = float(rng.uniform(0, np.pi)), float(rng.uniform(-4, 4))
        wide = float(rng.uniform(1.2, 7.0))
        build.box((-y * np.sin(yaw), y * np.cos(yaw), 0.0), (2 * _HALF, wide, 0.02), strip, 0, yaw,
                  tile)  # fmt: skip


def _add_building(build: Assembly, taken: list[tuple[float, float, float, float]]) -> None:
    """A house front: a box with rows of recessed, mirroring windows and a door's colour below."""
    rng = build.rng
    width, depth = float(rng.uniform(8, 18)), float(rng.uniform(6, 10))
    storeys = int(rng.integers(1, 4))
    height = 3.0 * storeys + 0.5
    angle, distance = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(9, 24)) + depth / 2
    x, y = distance * float(np.cos(angle)), distance * float(np.sin(angle))
    yaw = angle - np.pi / 2 + float(rng.normal(0, 0.15))
    rectangle = footprint(x, y, width, depth, yaw)
    if not _free(rectangle, taken) or build.full():
        return
    owner = build.number()
    name = str(rng.choice(["white-bricks", "gray-plaster", "cream-plaster", "clay"]))
    wall = surface_material(build, name, float(rng.uniform(0.25, 0.6)))
    if wall is None:
        wall = build.material(np.full(3, rng.uniform(0.3, 0.6)), drawn_texture(build, "brick"))
    build.box((x, y, height / 2), (width, depth, height), wall, owner, yaw, 2.5)
    frame = build.material((0.6, 0.6, 0.58))
    pane = build.material((0.03, 0.035, 0.04), -1, 0.35)
    c, s = np.cos(yaw), np.sin(yaw)
    across, front = np.array([c, s, 0.0]), np.array([s, -c, 0.0])
    count = max(2, int(width / rng.uniform(2.0, 3.2)))
    wide = float(rng.uniform(0.8, 1.3))
    for storey in range(storeys):
        for index in range(count):
            along = ((index + 0.5) / count - 0.5) * (width - 1.0)
            low = 3.0 * storey + 0.9
            middle = np.array([x, y, 0.0]) + along * across + (depth / 2) * front
            centre = middle + np.array([0, 0, low + 0.75])
            build.box(centre, (wide + 0.14, 0.1, 1.64), frame, owner, yaw)
            corner = centre + 0.052 * front - across * wide / 2 - np.array([0, 0, 0.75])
            build.quad(corner, across * wide, (0, 0, 1.5), pane, owner)
    build.name("building", "", (x, y, height / 2), (width, depth, height), yaw)
    taken.append(rectangle)


def _stand(
    build: Assembly, stock: Stock, kind: str, nearest: float, farthest: float,
    taken: list[tuple[float, float, float, float]],
) -> SceneObject | None:  # fmt: skip
    rng = build.rng
    model = stock.draw(rng, kind)
    if model is None:
        return None
    width, depth, height = stock.library.entries[model].size
    for _ in range(8):
        distance, angle = float(rng.uniform(nearest, farthest)), float(rng.uniform(0, 2 * np.pi))
        x, y = distance * float(np.cos(angle)), distance * float(np.sin(angle))
        yaw = float(rng.uniform(-np.pi, np.pi))
        foot = (_TRUNK * width, _TRUNK * depth) if kind == "tree" else (width, depth)
        rectangle = footprint(x, y, *foot, yaw)
        if not _free(rectangle, taken):
            continue
        thing = build.place(model, stock.noun(model, kind), (x, y, 0.0), yaw)
        if thing is not None:
            taken.append(rectangle)
            if kind == "tree":  # cameras may go under its crown
                half = (max(foot[0], 0.2) / 2, max(foot[1], 0.2) / 2, height / 2)
                build.boxes[-1] = ((x, y, height / 2), half, yaw)
        return thing
    return None


def _free(
    rectangle: tuple[float, float, float, float], taken: list[tuple[float, float, float, float]]
) -> bool:
    x0, y0, x1, y1 = rectangle
    return all(
        x1 + 0.15 < a or c + 0.15 < x0 or y1 + 0.15 < b or d + 0.15 < y0 for a, b, c, d in taken
    )
