# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map's keyframes say by their poses alone: how far, where, back to the start, been here.

No network is asked. Only keyframes of the segment that grows share axes and unit; what lies in
another one is not connected with the present place, and the answer says so.

Lengths are in map units, points in the map's level axes (`World`). A pose is as good as its
covariance says; the length of a way is good to `WAY_SIGMA` beside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import AnswerStatus, SpatialAnswer

from ..mapping.keyframe import PlacedKeyframe
from ..world import World
from .asked import MapPose, Recalled
from .deciding import by_geometry, in_words
from .intent import Intent, Kind, Role
from .measure import Scale
from .motion import read_motion
from .reading import Reading

__all__ = ["Recollection", "Trail", "answered", "is_of_poses", "recall", "trail_of"]

Floats = NDArray[np.float64]

WAY_SIGMA = 0.05  # relative sigma of a way's length, the scale's aside
HERE_DEPTHS = 0.25  # of the typical depth: so near to an earlier place is the same place
AWAY = 3.0  # times that far it must have been meanwhile, else it never left
_NS = 1e9
_ALONE = "the present part of the map has one keyframe: move, then ask again"


@dataclass(frozen=True, eq=False)
class Trail:
    """Keyframes of the segment that grows, oldest first, and where the base was at each.

    Args:
        placed: N keyframes.
        T_level_base_N44: Of the base, map units; of the camera where nobody knows the base.
        ahead_N3: Where the robot looks, unit vectors in level axes.
        R_level_map: (3, 3) from the map's axes.
        parts: Other segments of the map.
    """

    placed: tuple[PlacedKeyframe, ...]
    T_level_base_N44: Floats
    ahead_N3: Floats
    R_level_map: Floats
    parts: int

    @property
    def places_N3(self) -> Floats:
        """Where the base was."""
        places: Floats = self.T_level_base_N44[:, :3, 3]
        return places

    @property
    def stamps_N(self) -> NDArray[np.int64]:
        """When, ns."""
        return np.array([one.keyframe.stamp_ns for one in self.placed], np.int64)


@dataclass(frozen=True, eq=False)
class Recollection:
    """What the map says to a question.

    Args:
        reading: As of a scene; `evidence` and lengths in level axes and map units.
        rows: Keyframes of the trail that it rests on, the best first.
        words: To be said behind its number.
    """

    reading: Reading
    rows: tuple[int, ...] = ()
    words: str = ""


def is_of_poses(intent: Intent, asked_of_map: bool) -> bool:
    """Whether poses of the map answer a question, and no scene.

    Args:
        intent: The question.
        asked_of_map: Its scope is the map; else only what no scene can know is the map's.
    """
    if intent.kind in (Kind.LOCATION, Kind.RETURN, Kind.VISITED):
        return not any(s.role in (Role.FRAME, Role.MARK, Role.THING) for s in intent.subjects)
    if intent.kind not in (Kind.TRAVELLED, Kind.MOVED, Kind.TURNED):
        return False
    if any(subject.role is Role.FRAME for subject in intent.subjects):
        return False
    since = any(subject.role is Role.PLACE for subject in intent.subjects)
    return asked_of_map or since or seconds_of(intent) is not None


def seconds_of(intent: Intent) -> float | None:
    """How far back a question looks, s: the "60 s" of "in the last minute"; None: to the start."""
    match = re.search(r"\b([\d.]+) s$", intent.modifier)
    return float(match[1]) if match else None


def trail_of(world: World) -> Trail:
    """Where the base was at the keyframes of the segment that grows."""
    ours = sorted(
        (placed for placed in world.keyframes if placed.segment == world.segment),
        key=lambda placed: placed.keyframe.stamp_ns,
    )
    others = {placed.segment for placed in world.keyframes} - {world.segment}
    T_N44 = np.array([world.T_level_map @ one.T_map_body for one in ours]).reshape(-1, 4, 4)
    ahead_N3 = T_N44[:, :3, 2]
    if world.T_base_body is not None:
        T_body_base = np.linalg.inv(world.T_base_body)
        # The lever is in metres: without a scale it is left out.
        T_body_base[:3, 3] *= 1 / world.scale.metres_per_unit if world.scale.metric else 0.0
        T_N44 = T_N44 @ T_body_base
        ahead_N3 = T_N44[:, :3, 0]
    return Trail(tuple(ours), T_N44, ahead_N3, world.T_level_map[:3, :3], len(others))


def recall(intent: Intent, world: World) -> Recollection:
    """What poses say to a question of `is_of_poses`."""
    trail = trail_of(world)
    if not trail.placed:
        return Recollection(Reading(lack="the map has no keyframe of this place yet"))
    reader = {Kind.LOCATION: _location, Kind.RETURN: _return, Kind.VISITED: _visited}
    return reader.get(intent.kind, _motion)(intent, trail)


def answered(
    intent: Intent, found: Recollection, world: World, model_id: str = ""
) -> tuple[SpatialAnswer, Recalled]:
    """An answer of what the map says, in metres where its scale carries, else in map units.

    Args:
        intent: The question.
        found: What is said, of that world.
        world: The map.
        model_id: Of the weights, for the answer.
    """
    scale = None
    if world.scale.metric:
        known = world.scale
        scale = Scale(known.metres_per_unit, known.sigma, "+".join(known.sources))
    answer = SpatialAnswer(AnswerStatus.OK, kind=intent.kind.value, model_id=model_id)
    reading = found.reading
    trail, metres = trail_of(world), 1.0 if scale is None else scale.metres_per_unit
    newest_ns = int(trail.stamps_N[-1]) if trail.placed else 0
    if reading.lack:
        return replace(answer, status=AnswerStatus.UNSUPPORTED, message=reading.lack), Recalled(
            newest_ns
        )
    answer = in_words(by_geometry(answer, reading, scale))
    points = (answer.points * metres).astype(np.float32)
    choice = reading.choice
    answer = replace(answer, points=points, is_metric=scale is not None, measured_choice=choice)
    if intent.kind is Kind.LOCATION:
        unit = "m" if scale is not None else "map units"
        x, y, z = points[0]
        answer = replace(
            answer, reply=f"x {x:.2f}, y {y:.2f}, z {z:.2f} {unit}", measured_choice=""
        )
    elif found.words:
        answer = replace(answer, reply=f"{answer.reply}, {found.words}")
    poses = []
    for row in found.rows:
        T = trail.T_level_base_N44[row].copy()
        T[:3, 3] *= metres
        poses.append(MapPose(int(trail.stamps_N[row]), T))
    return answer, Recalled(newest_ns, tuple(poses))


def _motion(intent: Intent, trail: Trail) -> Recollection:
    """How far, which way, by how much it turned: over the whole way, or its last seconds."""
    seconds, first = seconds_of(intent), 0
    if seconds is not None:
        since_ns = trail.stamps_N[-1] - round(seconds * _NS)
        first = max(0, int(np.searchsorted(trail.stamps_N, since_ns, side="right")) - 1)
    T_N44 = np.array([one.T_map_body for one in trail.placed[first:]])
    if len(T_N44) < 2:
        return Recollection(Reading(lack=_ALONE))
    if intent.kind is Kind.TRAVELLED:  # the way of the base, not of the camera on it
        T_N44 = trail.T_level_base_N44[first:]
    plain = replace(intent, subjects=(), modifier="" if seconds is not None else intent.modifier)
    found = read_motion(plain, T_N44, _typical_depth(trail.placed[-1]))
    if intent.kind is Kind.TRAVELLED and found.value is not None:
        spread = math.sqrt(np.trace(trail.placed[-1].pose_covariance[:3, :3]))
        sigma = math.hypot(WAY_SIGMA * found.value, spread)
        found = replace(found, sigma=sigma, note=_since(trail, first))
    rows = (len(trail.placed) - 1, first)
    ends = zip(("now", "then"), trail.places_N3[list(rows)], strict=True)
    return Recollection(replace(found, evidence=tuple((n, _tuple(p)) for n, p in ends)), rows)


def _since(trail: Trail, first: int) -> str:
    span_s = (trail.stamps_N[-1] - trail.stamps_N[first]) / _NS
    others = f"; {trail.parts} other parts are not connected with it" if trail.parts else ""
    return f"over the last {span_s:.0f} s of the present part of the map{others}"


def _location(intent: Intent, trail: Trail) -> Recollection:
    row = len(trail.placed) - 1
    place, ahead = trail.places_N3[row], trail.ahead_N3[row]
    heading = math.degrees(math.atan2(ahead[1], ahead[0]))
    found = Reading(
        choice="here", confidence=1.0, evidence=(("robot", _tuple(place)),),
        note=f"heading {heading:.0f} degrees in the map{_apart(trail)}",
    )  # fmt: skip
    return Recollection(found, (row,))


def _return(intent: Intent, trail: Trail) -> Recollection:
    """Straight to where the segment began: how far, and which way to turn for it."""
    row = len(trail.placed) - 1
    now, start = trail.places_N3[row], trail.places_N3[0]
    way_3 = start - now
    away = float(np.linalg.norm(way_3))
    unit_3 = way_3 / max(away, 1e-9)
    along_3 = trail.R_level_map.T @ unit_3
    spread = trail.placed[row].pose_covariance[:3, :3]
    sigma = math.sqrt(max(float(along_3 @ spread @ along_3), 0.0))
    words = _turn_to(trail.ahead_N3[row], way_3)
    found = Reading(
        away, "scene_unit", sigma=math.hypot(sigma, 0.01 * away), confidence=1.0,
        note=f"straight, as the map stands; obstacles are not looked at{_apart(trail)}",
        evidence=(("start", _tuple(start)), ("robot", _tuple(now))),
    )  # fmt: skip
    return Recollection(found, (0, row), words)


def _turn_to(ahead_3: Floats, way_3: Floats) -> str:
    """How a robot turns that looks ahead, in words; level axes."""
    if np.hypot(way_3[0], way_3[1]) < 1e-6:
        return "here"
    angle = math.degrees(
        math.atan2(
            ahead_3[0] * way_3[1] - ahead_3[1] * way_3[0],
            ahead_3[0] * way_3[0] + ahead_3[1] * way_3[1],
        )
    )
    if abs(angle) < 10.0:
        return "straight ahead"
    if abs(angle) > 170.0:
        return "straight behind"
    return f"{abs(angle):.0f} degrees to the {'left' if angle > 0 else 'right'}"


def _visited(intent: Intent, trail: Trail) -> Recollection:
    """Whether an earlier keyframe lies here, and it was away in between."""
    row, places = len(trail.placed) - 1, trail.places_N3
    away_N = np.linalg.norm(places - places[row], axis=1)
    here = HERE_DEPTHS * _typical_depth(trail.placed[row])
    if away_N.max() < AWAY * here and row > 0:
        return Recollection(
            Reading(lack="it has not left this place yet, as far as this part of the map goes")
        )
    left = np.flatnonzero(away_N > AWAY * here)
    before = away_N[: int(left[-1])] if len(left) else away_N[:0]
    spread = math.sqrt(np.trace(trail.placed[row].pose_covariance[:3, :3]))
    sigma = math.hypot(spread, 0.1 * here)
    if len(before) and before.min() < here:
        then = int(np.argmin(before))
        ago_s = (trail.stamps_N[row] - trail.stamps_N[then]) / _NS
        found = Reading(
            choice="yes", lead=(here - float(before[then])) / sigma, confidence=1.0,
            note=f"{ago_s:.0f} s ago", evidence=(("then", _tuple(places[then])),),
        )  # fmt: skip
        return Recollection(found, (then, row))
    if trail.parts:
        return Recollection(
            Reading(lack="not in the present part of the map; other parts are not connected with "
                    "it: go on until a known place is met, or call ~/localize")
        )  # fmt: skip
    nearest = float(before.min()) if len(before) else float(away_N.max())
    return Recollection(Reading(choice="no", lead=(nearest - here) / sigma, confidence=1.0), (row,))


def _apart(trail: Trail) -> str:
    return f"; {trail.parts} other parts of it are not connected with this one" * bool(trail.parts)


def _typical_depth(placed: PlacedKeyframe) -> float:
    depth = placed.depth()
    known = depth[depth > 0]
    return float(np.median(known)) if known.size else 1.0


def _tuple(place_3: Sequence[float] | Floats) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in place_3)
    return (x, y, z)
