# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Kinds that need more than their marks: the floor, the robot, the room, what stands about.

`Surroundings` holds what is known of those; where it is not known, the reading says what would
help. The extent of a thing is taken between marks at its ends.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .intent import Intent, Kind
from .passage import HEADINGS, opening, way
from .reading import Reading, Sighting, choice_reading, number_reading

__all__ = ["EXTENTS", "LACKS", "PLACELESS", "SQUARE", "length_told", "read_extent"]

Floats = NDArray[np.float64]

UP_SIGMA = math.radians(1.5)  # of the vertical
SQUARE = "m2"
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1e3, "ft": 0.3048, "in": 0.0254}
LACKS = {
    Kind.HEIGHT: "the extent of a thing is not known from one mark: mark its top and its bottom, "
    "and ask how far apart they are",
    Kind.WIDTH: "the extent of a thing is not known from one mark: mark both its sides, and ask "
    "how far apart they are",
    Kind.SIZE: "the extent of a thing is not known from one mark: mark its ends, and ask how far "
    "apart they are",
    Kind.ELEVATION: "the floor is not known: let the camera see it, or give frames.base; or mark "
    "a place on the floor below, and ask how far apart they are",
    Kind.ROOM_SIZE: "the walls are not known: turn round in the room, or mark two, and ask how "
    "far apart they are",
}
_UNSCALED = "nothing fixes the scale, and {} is in metres: give a scale (docs/scale.md)"


def length_told(text: str) -> float | None:
    """Metres of "1.5 m", "80 cm", "3 ft"; None where the words are no length."""
    match = re.fullmatch(r"([\d.]+) (\w+)", text)
    if match is None or match[2] not in _METRES or match[1].count(".") > 1:
        return None
    return float(match[1]) * _METRES[match[2]]


def read_extent(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    """What is known around the scene says to a question of `EXTENTS`."""
    return EXTENTS[intent.kind](intent, sighting, rows)


def _elevation(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    """Over the floor; by the cameras' height where the robot itself is meant."""
    up_3, floor = sighting.up_3, sighting.around.floor
    if up_3 is None or floor is None:
        return Reading(lack=LACKS[Kind.ELEVATION])
    if rows[0] == len(sighting.marked.labels):  # "how high is your camera mounted?"
        camera = float(sighting.T_world_cam[-1, :3, 3] @ up_3) - floor.height
        return Reading(camera, "scene_unit", sigma=floor.sigma, confidence=1.0)
    found = number_reading(
        sighting, rows[:1], "scene_unit", lambda p: float(p[0] @ up_3) - floor.height
    )
    return replace(found, sigma=math.hypot(found.sigma or 0.0, floor.sigma))


def _extent(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    """Between marks at a thing's ends: upright, level, or the longest.

    A mark at an end may read what lies behind it, never what lies before: so both ends of a thing
    in one picture lie as deep as the nearer of them. On 358 extents of validation rooms that is
    right within 25 % in 38 %, each end at its own depth in 31 %.
    """
    if len(rows) < 2:
        return Reading(lack=LACKS[intent.kind])
    up_3, frames = sighting.up_3, sighting.marked.frame_indices

    def length(first: Floats, second: Floats) -> float:
        way_3 = second - first
        whole = float(np.linalg.norm(way_3))
        if up_3 is None or intent.kind is Kind.SIZE:
            return whole
        upright = float(way_3 @ up_3)
        return abs(upright) if intent.kind is Kind.HEIGHT else math.sqrt(whole**2 - upright**2)

    def nearer(a: int, b: int, points: list[Floats]) -> float:
        if frames[rows[a]] != frames[rows[b]]:
            return length(points[a], points[b])
        T = sighting.T_world_cam[frames[rows[a]]]
        ends = [(points[k] - T[:3, 3]) @ T[:3, :3] for k in (a, b)]
        z = min(end[2] for end in ends)
        first, second = (T[:3, :3] @ (end * z / end[2]) for end in ends)
        return length(first, second)

    def longest(points: list[Floats]) -> float:
        pairs = itertools.combinations(range(len(points)), 2)
        return max(nearer(a, b, points) for a, b in pairs)

    found = number_reading(sighting, rows, "scene_unit", longest)
    if len({frames[row] for row in rows}) > 1 or found.value is None:
        return found
    nearest = min(rows, key=lambda row: float(sighting.marked.depth[row]))  # which all hangs on
    return replace(found, sigma=found.value * float(sighting.sigma_M[nearest]))


def _reach(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    """Nearer to the base, or the camera where nobody knows it, than the arm is long."""
    around = sighting.around
    metres = length_told(intent.modifier) or around.reach
    if not metres:
        return Reading(lack="how far the arm reaches is unknown: set query.reach, or ask within "
                       "how many metres")  # fmt: skip
    if around.scale is None:
        return Reading(lack=_UNSCALED.format("a reach"))
    T = around.T_world_base
    origin_3 = sighting.T_world_cam[-1, :3, 3] if T is None else T[:3, 3]
    arm = metres / around.scale.metres_per_unit
    found = choice_reading(
        *(sighting, rows[:1]),
        lambda p: arm - float(np.linalg.norm(p[0] - origin_3)),
        ("yes", "no"),
    )
    if not found.choice:
        return found
    away = float(np.linalg.norm(sighting.moved(rows[0], 0.0) - origin_3))
    spread = abs(arm - away) / max(found.lead, 1e-6)
    lead = abs(arm - away) / math.hypot(spread, around.scale.relative_sigma * arm)
    text = f"it is {away * around.scale.metres_per_unit:.2f} m away, the reach is {metres:.2f} m"
    return replace(found, lead=lead, note=text + ("" if T is not None else " from the camera"))


def _free_width(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    nearby = sighting.around.nearby
    if nearby is None:
        return Reading(lack=sighting.around.no_nearby)
    found = opening(nearby)
    if found.width is None:
        return Reading(lack=f"{found.text}: look that way, then ask again")
    points = nearby.in_scene(found.points_P3)
    evidence = tuple(zip(("left bound", "right bound"), _tuples(points), strict=True))
    return Reading(found.width, "m", sigma=found.sigma, confidence=1.0, evidence=evidence)


def _way_free(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    """Straight on, aside, back, or up to a marked place."""
    nearby = sighting.around.nearby
    if nearby is None:
        return Reading(lack=sighting.around.no_nearby)
    heading, length = HEADINGS.get(intent.modifier, 0.0), 0.0
    if rows:
        T = nearby.T_world_base
        goal_3 = np.linalg.solve(T[:3, :3], sighting.moved(rows[0], 0.0) - T[:3, 3])
        heading = math.atan2(goal_3[1], goal_3[0])
        length = max(0.1, float(np.hypot(goal_3[0], goal_3[1])) - 0.5 * nearby.width)
    found = way(nearby, heading, length)
    if found.free is None:
        return Reading(lack=f"{found.text}: look that way, or drive up to it, then ask again")
    name = "end of the way" if found.free else "obstacle"
    (place,) = _tuples(nearby.in_scene(found.points_P3))
    choice = "yes" if found.free else "no"
    return Reading(
        choice=choice, lead=found.lead, confidence=1.0, note=found.text, evidence=((name, place),)
    )


def _room_size(intent: Intent, sighting: Sighting, rows: list[int]) -> Reading:
    """Between walls; an area needs metres, since map units of two rooms are not alike."""
    room, scale = sighting.around.room, sighting.around.scale
    if room is None:
        return Reading(lack=LACKS[Kind.ROOM_SIZE])
    length, width = room.sides
    names = [f"corner {number}" for number in range(1, 5)]
    corners = () if room.corners_43 is None else tuple(_tuples(room.corners_43))
    evidence = tuple(zip(names, corners, strict=False))
    if intent.modifier in ("length", "width", "height"):
        value = {"length": length, "width": width, "height": room.height}[intent.modifier]
        if value is None or (intent.modifier != "height" and room.lack):
            return Reading(lack=room.lack or "floor and ceiling were not both seen: look up")
        sigma = room.sigma * value
        return Reading(value, "scene_unit", sigma=sigma, confidence=1.0, evidence=evidence)
    if length is None or width is None or room.lack:
        return Reading(lack=room.lack or LACKS[Kind.ROOM_SIZE])
    if scale is None:
        return Reading(lack=_UNSCALED.format("an area"))
    metres = scale.metres_per_unit
    area = length * width * metres**2
    sigma = area * math.hypot(math.sqrt(2.0) * room.sigma, 2.0 * scale.relative_sigma)
    note = f"{length * metres:.1f} m by {width * metres:.1f} m"
    return Reading(area, SQUARE, sigma=sigma, confidence=1.0, note=note, evidence=evidence)


def _tuples(points_P3: Floats) -> list[tuple[float, float, float]]:
    return [(float(x), float(y), float(z)) for x, y, z in points_P3]


EXTENTS: dict[Kind, Callable[[Intent, Sighting, list[int]], Reading]] = {
    Kind.ELEVATION: _elevation,
    Kind.HEIGHT: _extent,
    Kind.WIDTH: _extent,
    Kind.SIZE: _extent,
    Kind.REACH: _reach,
    Kind.FREE_WIDTH: _free_width,
    Kind.WAY_FREE: _way_free,
    Kind.ROOM_SIZE: _room_size,
}
# Kinds that are read without any place being marked.
PLACELESS = frozenset({Kind.FREE_WIDTH, Kind.WAY_FREE, Kind.ROOM_SIZE})
