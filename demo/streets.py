# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Streets to drive through: blocks of houses, trees, parked cars, lamps and what else stands there.

The streets form a grid of `nodes`; a tour follows them on the right-hand side and comes back
to its start, some metres beyond it, so that the first view is seen once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from g2vlm_training.synthetic import Room
from g2vlm_training.synthetic.builder import RoomBuilder, footprint
from g2vlm_training.synthetic.interior import Place
from g2vlm_training.synthetic.outdoor_pieces import OUTDOOR_PIECES
from g2vlm_training.synthetic.parts import Part, Piece, Shape
from g2vlm_training.synthetic.pieces import build_piece
from g2vlm_training.synthetic.room import freeze_room
from numpy.typing import NDArray

__all__ = ["make_streets"]

Floats = NDArray[np.float64]
Rng = np.random.Generator

_HALF_STREET = 3.6  # metres
_PAVEMENT = 2.6
_LANE = 1.7  # from the middle of the street to that of the lane
_BEYOND = 18.0  # metres that a tour goes on behind its start
_MARGIN = 45.0  # metres of ground around the outermost streets
_TOP = 60.0
_SUN_DISTANCE = 400.0
# Rounds through a grid of three by two nodes: the outer one, a figure of eight, a half and all.
_ROUNDS = (
    ((0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)),
    ((0, 0), (1, 0), (1, 1), (2, 1), (2, 0), (1, 0), (1, 1), (0, 1)),
    ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)),
)
_ON_PAVEMENT = ("lamp", "tree", "bin", "bench", "bush", "barrel", "cone", "crate", "tree", "lamp")
_IN_GARDENS = ("tree", "bush", "rock", "fence", "wall", "bush", "tree", "crate", "bench")


@dataclass(frozen=True)
class _Street:
    """One straight piece between two nodes, metres."""

    start: Floats
    end: Floats

    @property
    def ahead(self) -> Floats:
        """(2,) unit vector along it."""
        way = self.end - self.start
        unit: Floats = way / np.linalg.norm(way)
        return unit

    @property
    def length(self) -> float:
        """Metres between its nodes."""
        return float(np.linalg.norm(self.end - self.start))


def make_streets(seed: int) -> tuple[Room, Floats]:
    """Make streets and a tour.

    Args:
        seed: The same seed, the same streets and tour.

    Returns:
        The scene, and (K, 2) corners of a tour of at least 300 m that returns to its start.
    """
    rng = np.random.default_rng([seed, 41])
    pitch = np.array([rng.uniform(55.0, 72.0), rng.uniform(48.0, 60.0)])
    nodes = {(i, j): (np.array([i, j]) - (1.0, 0.5)) * pitch for i in range(3) for j in range(2)}
    half = np.array([1.0, 0.5]) * pitch + _MARGIN
    build = RoomBuilder(rng, (2 * float(half[0]), 2 * float(half[1]), _TOP))
    streets = [
        _Street(nodes[i, j], nodes[i + a, j + b])
        for i in range(3)
        for j in range(2)
        for a, b in ((1, 0), (0, 1))
        if (i + a, j + b) in nodes
    ]
    ground = _pave(build, streets)
    for street in streets:
        _line_with_houses(build, street)
    for street in streets:
        _furnish(build, street)
    room = freeze_room(seed, "outdoor", build, _daylight(rng, ground, half))
    return room, _tour(rng, nodes)


def _pave(build: RoomBuilder, streets: list[_Street]) -> Floats:
    """Ground, streets, pavements and lane marks; returns the ground's tint."""
    rng = build.rng
    kind = str(rng.choice(["grass", "speckle", "paving"]))
    tints = {"grass": (0.13, 0.20, 0.06), "speckle": (0.32, 0.27, 0.2), "paving": (0.3, 0.29, 0.27)}
    tint = np.array(tints[kind]) * rng.uniform(0.8, 1.2)
    floor = build.material(kind, tint.tolist(), float(rng.uniform(1.2, 2.4)))
    sky = build.material("plain", (0.5, 0.6, 0.8), 5.0)
    half = [extent / 2 for extent in build.size]
    shell = Part(Shape.BOX, (0, 0, half[2]), (half[0], half[1], half[2]))
    build.primitive(shell, (0, 0, 0), 0.0, 0, [sky, sky, sky, sky, floor, sky])
    asphalt = build.material("asphalt", (0.16, 0.16, 0.17), float(rng.uniform(2.0, 3.0)))
    slabs = build.material("paving", (0.36, 0.34, 0.32), float(rng.uniform(1.0, 1.8)))
    paint = build.material("plain", (0.75, 0.74, 0.7), 1.0)
    for street in streets:
        middle, width = (street.start + street.end) / 2, 2 * _HALF_STREET
        extent = np.abs(street.end - street.start) + width
        wide = extent + 2 * _PAVEMENT * (np.abs(street.ahead) < 0.5)
        _strip(build, middle, wide, 0.004, slabs)
        _strip(build, middle, extent, 0.008, asphalt)
        build.floor_taken.append(_around(middle, wide - 2 * _PAVEMENT * (wide != extent)))
        for place in np.arange(8.0, street.length - 8.0, 6.0):
            at = street.start + place * street.ahead
            _strip(build, at, np.abs(street.ahead) * 2.0 + 0.12, 0.012, paint)
    return tint


def _strip(
    build: RoomBuilder, middle: Floats, extent: Floats, height: float, material: int
) -> None:
    """A flat box on the ground."""
    x, y = (float(value) for value in middle)
    size = (float(extent[0]), float(extent[1]), height)
    build.solid((x, y, height / 2), size, material)


def _around(middle: Floats, extent: Floats) -> tuple[float, float, float, float]:
    low, high = middle - extent / 2, middle + extent / 2
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _line_with_houses(build: RoomBuilder, street: _Street) -> None:
    """Houses on both sides; they look at the street."""
    rng = build.rng
    for side in (-1.0, 1.0):
        across = side * np.array([-street.ahead[1], street.ahead[0]])
        place = _HALF_STREET + float(rng.uniform(2.0, 6.0))
        while place < street.length - _HALF_STREET:
            house = build_piece("building", rng, OUTDOOR_PIECES)
            width, depth, _ = house.size
            setback = _HALF_STREET + _PAVEMENT + float(rng.uniform(0.3, 4.0)) + depth / 2
            at = street.start + (place + width / 2) * street.ahead + setback * across
            _stand(build, house, at, _facing(-across))
            place += width + float(rng.choice([0.6, rng.uniform(1.5, 9.0)]))


def _furnish(build: RoomBuilder, street: _Street) -> None:
    """Parked cars, and what stands on pavements and in gardens."""
    rng = build.rng
    for side in (-1.0, 1.0):
        across = side * np.array([-street.ahead[1], street.ahead[0]])
        along = float(np.arctan2(street.ahead[1], street.ahead[0]))
        # Cars stand on the pavement: the street itself stays free.
        for name, every, low, high in (
            ("car", 11.0, _HALF_STREET + 1.1, _HALF_STREET + 1.3),
            ("pavement", 4.5, _HALF_STREET + 0.7, _HALF_STREET + _PAVEMENT),
            ("garden", 9.0, _HALF_STREET + _PAVEMENT + 0.5, _HALF_STREET + _PAVEMENT + 10.0),
        ):
            place = _HALF_STREET + float(rng.uniform(1.0, every))
            while place < street.length - _HALF_STREET:
                choice = {"pavement": _ON_PAVEMENT, "garden": _IN_GARDENS}.get(name, (name,))
                piece = build_piece(str(rng.choice(choice)), rng, OUTDOOR_PIECES)
                at = street.start + place * street.ahead + float(rng.uniform(low, high)) * across
                yaw = along if name == "car" else float(rng.uniform(-np.pi, np.pi))
                yaw = _facing(-across) if piece.name in ("bench", "fence", "wall") else yaw
                _stand(build, piece, at, yaw + np.pi * float(rng.integers(2)))
                place += every * float(rng.uniform(0.5, 1.6))


def _facing(toward: Floats) -> float:
    """Yaw of a piece whose front (+y) looks along a direction."""
    return float(np.arctan2(toward[1], toward[0]) - np.pi / 2)


def _stand(build: RoomBuilder, piece: Piece, at: Floats, yaw: float) -> None:
    """Stand a piece where it touches nothing."""
    width, depth, _ = piece.size
    x, y = (float(value) for value in at)
    rectangle = footprint(x, y, width, depth, yaw)
    if build.is_free(rectangle, 0.1) and build.place(piece, (x, y, 0.0), yaw):
        build.floor_taken.append(rectangle)


def _tour(rng: Rng, nodes: dict[tuple[int, int], Floats]) -> Floats:
    """(K, 2) corners of a round on the right-hand lane, begun in the middle of a street."""
    names = list(_ROUNDS[int(rng.integers(len(_ROUNDS)))])
    if rng.random() < 0.5:
        names.reverse()
    corners = np.array([nodes[name] for name in names])
    middle = (corners[0] + corners[1]) / 2
    closed = np.concatenate([[middle], corners[1:], corners[:1], [middle]])
    ahead = np.diff(closed, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.column_stack([ahead[:, 1], -ahead[:, 0]])
    lane = [closed[0] + _LANE * right[0]]
    for index in range(1, len(closed) - 1):
        turns = abs(float(ahead[index - 1] @ ahead[index])) < 0.5
        shift = right[index - 1] + right[index] if turns else right[index]
        lane.append(closed[index] + _LANE * shift)
    lane.append(closed[-1] + _LANE * right[-1] + _BEYOND * ahead[-1])
    return np.array(lane)


def _daylight(rng: Rng, ground: Floats, half: Floats) -> Place:
    """Sun and sky; the sun stands far enough to light all streets alike."""
    height, heading = np.radians(rng.uniform(28, 65)), rng.uniform(0, 2 * np.pi)
    toward = np.array(
        [np.cos(height) * np.cos(heading), np.cos(height) * np.sin(heading), np.sin(height)]
    )
    strength = float(rng.uniform(0.2, 1.8))
    sun, power = _SUN_DISTANCE * toward, strength * _SUN_DISTANCE**2 * np.array([1.0, 0.95, 0.86])
    blue = np.array([0.52, 0.66, 0.90]) if strength > 0.6 else np.array([0.80, 0.84, 0.88])
    above = blue * rng.uniform(0.6, 0.85)
    below = (0.3 * above + 0.5 * strength) * ground
    x, y = (float(value) for value in half)
    return Place(
        floor_area=None,
        roam=(-x, -y, x, y),
        lights=(((float(sun[0]), float(sun[1]), float(sun[2])), tuple(power.tolist())),),
        above=tuple(above.tolist()),
        below=tuple(below.tolist()),
    )
