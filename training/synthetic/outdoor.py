# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Builds open scenes: ground, sky, facades, trees and what stands in yards and streets."""

from __future__ import annotations

import numpy as np

from .builder import RoomBuilder, footprint
from .interior import Place
from .outdoor_pieces import OUTDOOR_PIECES
from .parts import Part, Shape
from .pieces import build_piece

__all__ = ["build_outdoor"]

Rng = np.random.Generator
_HALF, _TOP = 60.0, 60.0  # metres to where the ground ends and the sky begins
_ROAM = 7.0
_SUN_DISTANCE = 150.0
_GROUND = {
    "grass": (0.13, 0.20, 0.06), "asphalt": (0.16, 0.16, 0.17), "paving": (0.36, 0.34, 0.32),
    "speckle": (0.32, 0.27, 0.20),
}  # fmt: skip


def build_outdoor(rng: Rng) -> tuple[RoomBuilder, Place]:
    """Draw a yard or street and light it by sun and sky."""
    build = RoomBuilder(rng, (2 * _HALF, 2 * _HALF, _TOP))
    ground = str(rng.choice(list(_GROUND)))
    tint = np.array(_GROUND[ground]) * rng.uniform(0.7, 1.3)
    floor = build.material(ground, tuple(tint.tolist()), float(rng.uniform(0.8, 2.0)))
    sky = build.material("plain", (0.5, 0.6, 0.8), 5.0)
    shell = Part(Shape.BOX, (0, 0, _TOP / 2), (_HALF, _HALF, _TOP / 2))
    build.primitive(shell, (0, 0, 0), 0.0, 0, [sky, sky, sky, sky, floor, sky])
    if rng.random() < 0.6:
        _add_strip(build, ground)
    for _ in range(int(rng.integers(1, 6))):
        _stand(build, "building", 12.0, 26.0)
    for name, most, far in (("tree", 8, 18.0), ("car", 4, 10.0), ("lamp", 3, 12.0)):
        for _ in range(int(rng.integers(0, most))):
            _stand(build, name, 2.0, far)
    near = ("bush", "crate", "barrel", "cone", "fence", "wall", "bench", "bin", "rock", "crate")
    for _ in range(int(rng.integers(8, 26))):
        _stand(build, near[int(rng.integers(len(near)))], 0.0, 9.0)
    return build, _daylight(rng, tint)


def _add_strip(build: RoomBuilder, ground: str) -> None:
    """A road or path that crosses the ground."""
    rng = build.rng
    kind = str(rng.choice([name for name in _GROUND if name != ground]))
    tint = np.array(_GROUND[kind]) * rng.uniform(0.8, 1.2)
    material = build.material(kind, tuple(tint.tolist()), float(rng.uniform(0.8, 1.6)))
    half = (_HALF, float(rng.uniform(0.7, 3.0)), 0.006)
    part = Part(Shape.BOX, (0, 0, 0.006), half)
    yaw = float(rng.uniform(0, np.pi))
    y = float(rng.uniform(-4, 4))
    build.primitive(part, (0, y, 0), yaw, 0, [material] * 6)


def _stand(build: RoomBuilder, name: str, nearest: float, farthest: float) -> None:
    """Stand a piece somewhere in a ring about the middle, if there is room."""
    rng = build.rng
    piece = build_piece(name, rng, OUTDOOR_PIECES)
    for _ in range(6):
        distance, angle = float(rng.uniform(nearest, farthest)), float(rng.uniform(0, 2 * np.pi))
        if name == "building":
            distance += piece.size[1] / 2
        x, y = distance * float(np.cos(angle)), distance * float(np.sin(angle))
        yaw = float(rng.uniform(-np.pi, np.pi))
        if name == "building":
            yaw = angle + np.pi / 2 + float(rng.normal(0, 0.15))
        rectangle = footprint(x, y, piece.size[0], piece.size[1], yaw)
        if build.is_free(rectangle, 0.15):
            build.place(piece, (x, y, 0.0), yaw)
            build.floor_taken.append(rectangle)
            return


def _daylight(rng: Rng, ground: np.ndarray) -> Place:
    overcast = rng.random() < 0.3
    height, heading = np.radians(rng.uniform(22, 68)), rng.uniform(0, 2 * np.pi)
    toward = np.array(
        [np.cos(height) * np.cos(heading), np.cos(height) * np.sin(heading), np.sin(height)]
    )
    sun = _SUN_DISTANCE * toward
    strength = rng.uniform(0.1, 0.4) if overcast else rng.uniform(1.2, 2.2)
    power = strength * _SUN_DISTANCE**2 * np.array([1.0, 0.95, 0.86])
    blue = np.array([0.80, 0.84, 0.88]) if overcast else np.array([0.52, 0.66, 0.90])
    above = blue * rng.uniform(0.55, 0.8)
    below = (0.3 * above + 0.5 * strength) * ground
    return Place(
        floor_area=None,
        roam=(-_ROAM, -_ROAM, _ROAM, _ROAM),
        lights=(((float(sun[0]), float(sun[1]), float(sun[2])), tuple(power.tolist())),),
        above=tuple(above.tolist()),
        below=tuple(below.tolist()),
    )
