# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scenes of drives: rooms, yards, streets, and two that deceive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from g2vlm_training.synthetic import Room, Split, make_room, scene_seed
from numpy.typing import NDArray

from .copied_rooms import make_mirror_room, make_twin_rooms
from .free_space import FreeSpace
from .motion import Leg, Pause, Turn, smooth_way
from .robot import CAR, ROVER, Robot
from .streets import make_streets

__all__ = ["SCENES", "Scene", "SceneName", "make_scene"]

Floats = NDArray[np.float64]
SceneName = Literal["room", "hall", "yard", "street", "twins", "mirror"]
SCENES: tuple[str, ...] = get_args(SceneName)

_TRIES = 40
_FIRST = {"room": 0, "hall": 1_000_000, "yard": 2_000_000}  # where a kind's scenes begin
_LEAST_AREA = {"room": 4.0, "hall": 22.0, "yard": 60.0}  # square metres that the robot reaches
_STOPS = {"room": 4, "hall": 5, "yard": 6}
_ROUNDING = {"street": 3.6}  # metres; 0.22 elsewhere
_LOOK_ABOUT = (0.5, 1.4)  # radians


@dataclass(frozen=True, eq=False)
class Scene:
    """Where a robot drives, and its tour.

    Args:
        name: One of `SCENES`.
        room: What cameras and lidar see.
        robot: That drives there.
        manoeuvres: Of a tour that returns to its start.
        start_yaw: Heading at its start, radians.
        mirror_x: Plane x = `mirror_x` ends what is truly there; None where there is no mirror.
    """

    name: str
    room: Room
    robot: Robot
    manoeuvres: tuple[Leg | Turn | Pause, ...]
    start_yaw: float
    mirror_x: float | None = None


def make_scene(name: str, split: Split, index: int) -> Scene:
    """Make the index-th scene of a kind.

    Args:
        name: One of `SCENES`.
        split: "val" to tune on, "test" to evaluate; nothing is trained on either.
        index: From 0 on.

    Raises:
        ValueError: An unknown name, split or index.
        RuntimeError: No scene of the kind was found near the index.
    """
    if name not in SCENES:
        raise ValueError(f"scene is {name!r}, expected one of {SCENES}")
    if name in ("room", "hall", "yard"):
        return _found(name, split, index)
    seed = scene_seed(split, index)
    rng = np.random.default_rng([seed, 53])
    if name == "street":
        room, corners = make_streets(seed)
        return _along(name, room, CAR, corners, rng)
    room, corners = make_twin_rooms(seed) if name == "twins" else make_mirror_room(seed)
    scene = _along(name, room, ROVER, corners, rng)
    if name == "mirror":
        return replace(scene, mirror_x=0.0)
    return scene


def _found(name: str, split: Split, index: int) -> Scene:
    """A procedural room with enough floor, and a tour through it."""
    kind: Literal["indoor", "outdoor"] = "outdoor" if name == "yard" else "indoor"
    for number in range(_TRIES):
        seed = scene_seed(split, _FIRST[name] + _TRIES * index + number)
        room = make_room(seed, kind)
        extent = room.size[0] * room.size[1]
        if name == "hall" and extent < 40.0:
            continue
        space = FreeSpace(room, ROVER.radius + 0.05)
        if space.area >= _LEAST_AREA[name]:
            rng = np.random.default_rng([seed, 59])
            return _tour(name, room, space, rng)
    raise RuntimeError(f"no {name} among {_TRIES} scenes at index {index}; take another index")


def _tour(name: str, room: Room, space: FreeSpace, rng: np.random.Generator) -> Scene:
    """From stop to stop and back; at some it stands still, at some it looks about."""
    stops = space.stops(rng, _STOPS[name])
    manoeuvres: list[Leg | Turn | Pause] = [Pause(0.6)]
    for start, end in zip(stops, [*stops[1:], stops[0]], strict=True):
        manoeuvres.append(Leg(_clear(space, space.way(start, end))))
        if rng.random() < 0.4:
            manoeuvres.append(Pause(float(rng.uniform(0.5, 2.0))))
        if rng.random() < 0.5:
            angle = float(rng.uniform(*_LOOK_ABOUT) * rng.choice([-1, 1]))
            manoeuvres += [Turn(angle), Pause(0.4)]
    manoeuvres.append(_first_leg_again(manoeuvres))
    return Scene(name, room, ROVER, tuple(manoeuvres), _heading(manoeuvres))


def _first_leg_again(manoeuvres: list[Leg | Turn | Pause]) -> Leg:
    """The first half of the first leg once more: the end sees what the start saw."""
    first = next(item for item in manoeuvres if isinstance(item, Leg))
    return Leg(first.way_K2[: max(10, len(first.way_K2) // 2)], first.speed)


def _clear(space: FreeSpace, way_K2: Floats) -> Floats:
    """Round a way as far as it still keeps clear."""
    for rounding in (0.25, 0.15, 0.08):
        smooth = smooth_way(way_K2, rounding)
        if space.clearance(smooth).min() > ROVER.radius:
            return smooth
    return smooth_way(way_K2, 0.04)


def _along(
    name: str, room: Room, robot: Robot, corners_K2: Floats, rng: np.random.Generator
) -> Scene:
    """A tour along given corners; in streets with stops at some of the crossings."""
    if name != "street":
        legs = [Leg(smooth_way(corners_K2, 0.22))]
        manoeuvres: list[Leg | Turn | Pause] = [Pause(0.6), *legs]
        manoeuvres.append(Leg(legs[0].way_K2[: len(legs[0].way_K2) // 8]))
        return Scene(name, room, robot, tuple(manoeuvres), _heading(manoeuvres))
    way = smooth_way(corners_K2, _ROUNDING[name], 0.2)
    count = int(rng.integers(2, 5))
    cuts = np.sort(rng.choice(np.arange(2, 11), count, replace=False)) * (len(way) // 12)
    manoeuvres = [Pause(0.5)]
    for first, last in zip([0, *cuts], [*cuts, len(way) - 1], strict=True):
        manoeuvres.append(Leg(way[first : last + 1], float(rng.uniform(5.0, robot.speed))))
        manoeuvres.append(Pause(float(rng.uniform(0.5, 2.5))))
    return Scene(name, room, robot, tuple(manoeuvres), _heading(manoeuvres))


def _heading(manoeuvres: list[Leg | Turn | Pause]) -> float:
    """Where the first leg leads, radians."""
    first = next(item for item in manoeuvres if isinstance(item, Leg))
    ahead = first.way_K2[1] - first.way_K2[0]
    return float(np.arctan2(ahead[1], ahead[0]))
