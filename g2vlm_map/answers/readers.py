# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every measurable kind of question, read off the scene's reconstruction.

What cannot be measured says why, and what would help. Left, right, in front and behind are meant
along the axes of the camera that looks: that of the marks' frame, or the one that the question
names. In front of a place is the side of whoever looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .extents import EXTENTS, LACKS, PLACELESS, length_told, read_extent
from .intent import Intent, Kind, Role
from .motion import read_motion
from .reading import Reading, Sighting, choice_reading, number_reading
from .viewing import Viewpoint, viewpoint

__all__ = ["MIN_CONFIDENCE", "read_geometry"]

Floats = NDArray[np.float64]

MIN_CONFIDENCE = 0.05  # of points that are used
MIN_SIDE_DEG = 1.0  # a smaller angle between lines of sight has no side
SIGHT_SIGMA_DEG, SIGHT_SIGMA = 0.5, 0.05  # of an angle between lines of sight; relative
MARGIN = 0.05  # least lead of an order, relative to the larger
MOTION = (Kind.MOVED, Kind.TURNED, Kind.TRAVELLED)


def read_geometry(intent: Intent, question: str, sighting: Sighting) -> Reading:
    """What the reconstruction says to a question.

    Args:
        intent: The question, understood.
        question: Its words, for the options that it offers.
        sighting: The points of its marks.

    Returns:
        With `lack` where it says nothing.
    """
    if intent.kind in MOTION:
        return read_motion(intent, sighting.T_world_cam, sighting.typical_depth)
    reader = _READERS.get(intent.kind)
    if reader is None:
        return Reading(lack=LACKS.get(intent.kind, "the reconstruction does not know this"))
    if intent.things:
        return Reading(lack=f"mark the {intent.things[0]}: a name alone is not measured")
    sighting = sighting.with_robot()
    rows = _rows(intent, sighting)
    unusable = _unusable(sighting, rows)
    if unusable is not None:
        return unusable
    if not rows and intent.kind not in PLACELESS:
        return Reading(lack="mark the place")
    return _lettered(reader(intent, question, sighting, rows), intent)


def _rows(intent: Intent, sighting: Sighting) -> list[int]:
    """Rows of the subjects, the robot's included where it is one of several or the only one."""
    marked, robot = sighting.marked, len(sighting.marked.labels)
    rows: list[int] = []
    for subject in intent.subjects:
        if subject.role is Role.MARK:
            row = marked.index(subject.name)
            rows += [] if row is None else [row]
        elif subject.role is Role.ROBOT and intent.kind in (Kind.BETWEEN, Kind.ELEVATION):
            rows.append(robot)
    return rows if rows or intent.kind in PLACELESS else list(range(robot))


def _unusable(sighting: Sighting, rows: list[int]) -> Reading | None:
    """Why some marks cannot be read; None where all can."""
    marked = sighting.marked
    given = [row for row in rows if row < len(marked.labels)]
    lost = [marked.labels[row] for row in given if not marked.found[row]]
    if lost:
        why = f"there is no point at {lost[0] or 'the mark'}: mark a place beside it"
        return Reading(lack=why, nowhere=True)
    doubted = [marked.labels[row] for row in given if marked.confidence[row] < MIN_CONFIDENCE]
    if not doubted:
        return None
    return Reading(lack=f"the depth at {doubted[0]} is not trusted: move 20 cm sideways")


def _lettered(reading: Reading, intent: Intent) -> Reading:
    """A choice as the letter that offers it."""
    if not intent.options or not reading.choice:
        return reading
    letters = [chr(65 + k) for k, words in enumerate(intent.options) if words == reading.choice]
    choice = letters[0] if letters else ""
    lack = "" if letters else f"{reading.choice!r} is not among the options"
    return replace(reading, choice=choice, lack=lack)


def _depth(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    local = viewpoint(intent, sighting, rows)
    if isinstance(local, str):
        return Reading(lack=local)
    metres = length_told(intent.modifier)
    if metres and len(rows) == 2:  # the depth of the second is told: it gives the scale
        return number_reading(
            sighting, rows, "m", lambda p: metres * local(p[0])[2] / max(local(p[1])[2], 1e-6)
        )
    return number_reading(sighting, rows[:1], "scene_unit", lambda p: float(local(p[0])[2]))


def _distance(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    if len(rows) == 1:
        local = viewpoint(intent, sighting, rows)
        if isinstance(local, str):
            return Reading(lack=local)
        return number_reading(
            sighting, rows, "scene_unit", lambda p: float(np.linalg.norm(local(p[0])))
        )
    return number_reading(
        sighting, rows[:2], "scene_unit", lambda p: float(np.linalg.norm(p[0] - p[1]))
    )


def _held_against(
    intent: Intent, sighting: Sighting, rows: list[int]
) -> Callable[[Floats], float] | str:
    """What a comparison is about: depth, distance or height of a point; or why it is not."""
    local, up_3 = viewpoint(intent, sighting, rows), sighting.up_3
    if isinstance(local, str):
        return local
    if intent.modifier == "depth":
        return lambda p: float(local(p)[2])
    if intent.modifier == "distance":
        return lambda p: float(np.linalg.norm(local(p)))
    if up_3 is None:
        return LACKS[Kind.ELEVATION]
    return lambda p: float(p @ up_3)


def _difference(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    of = _held_against(intent, sighting, rows)
    if isinstance(of, str) or len(rows) != 2:
        return Reading(lack=of if isinstance(of, str) else "mark both places")
    return number_reading(sighting, rows, "scene_unit", lambda p: of(p[0]) - of(p[1]))


def _ratio(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    if intent.modifier != "distance":
        return Reading(lack=LACKS[Kind.HEIGHT])
    if len(rows) != 2:
        return Reading(lack="mark both places")
    local = viewpoint(intent, sighting, rows)
    if isinstance(local, str):
        return Reading(lack=local)
    turned = re.search(r"\b(?:closer|nearer)\b", question, re.IGNORECASE) is not None

    def ratio(points: list[Floats]) -> float:
        first, second = (float(np.linalg.norm(local(p))) for p in points)
        return second / max(first, 1e-9) if turned else first / max(second, 1e-9)

    return number_reading(sighting, rows, "", ratio)


def _angle(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    local = viewpoint(intent, sighting, rows)
    if isinstance(local, str):
        return Reading(lack=local)

    def degrees(points: list[Floats]) -> float:
        first = local(points[0])
        second = local(points[1]) if len(points) > 1 else np.array([0.0, 0.0, 1.0])
        cosine = first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9)
        return math.degrees(math.acos(min(max(float(cosine), -1.0), 1.0)))

    found = number_reading(sighting, rows[:2], "deg", degrees)
    assert found.value is not None
    # A line of sight is as good as the pixel and the focal length, which no depth moves.
    sight = math.hypot(SIGHT_SIGMA_DEG, SIGHT_SIGMA * found.value)
    return replace(found, sigma=math.hypot(found.sigma or 0.0, sight))


def _side(sighting: Sighting, local: Viewpoint, rows: list[int]) -> Reading:
    """Which of two places, or a place and the middle, is farther right for who looks, by angle."""

    def lead(points: list[Floats]) -> float:
        angles = [math.degrees(math.atan2(local(p)[0], local(p)[2])) for p in points]
        return angles[0] - (angles[1] if len(angles) > 1 else 0.0)

    return choice_reading(sighting, rows, lead, ("right", "left"), MIN_SIDE_DEG)


def _before(sighting: Sighting, local: Viewpoint, rows: list[int]) -> Reading:
    """In front of a place is the side of whoever looks; in front of the camera what lies ahead."""
    if len(rows) == 1:
        return choice_reading(
            sighting, rows, lambda p: float(local(p[0])[2]), ("in front", "behind")
        )
    return choice_reading(
        sighting, rows[:2], lambda p: float(local(p[1])[2] - local(p[0])[2]), ("in front", "behind")
    )


def _above(sighting: Sighting, local: Viewpoint, rows: list[int]) -> Reading:
    up_3 = sighting.up_3

    def height(point: Floats) -> float:
        return float(-local(point)[1]) if up_3 is None else float(point @ up_3)

    level = 0.0 if up_3 is None else float(local.origin_3 @ up_3)
    return choice_reading(
        *(sighting, rows),
        lambda p: height(p[0]) - (height(p[1]) if len(p) > 1 else level),
        ("above", "below"),
    )


def _relation(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    local, asked = viewpoint(intent, sighting, rows), intent.modifier
    if isinstance(local, str):
        return Reading(lack=local)
    rows = rows[:2]
    if asked in ("left", "right", "left/right"):
        found = _side(sighting, local, rows)
    elif asked in ("above", "below", "above/below"):
        found = _above(sighting, local, rows)
    else:
        found = _before(sighting, local, rows)
    if "/" in asked or not found.choice:
        return found
    yes = found.choice.endswith(asked)
    return Reading(choice="yes" if yes else "no", lead=found.lead, confidence=found.confidence)


def _direction(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    """Of the sides that the question offers, all; else left or right and in front or behind."""
    offered = " ".join(intent.options) or question.casefold()
    local = viewpoint(intent, sighting, rows)
    if isinstance(local, str):
        return Reading(lack=local)
    if re.search(r"\babove\b", offered):
        return _above(sighting, local, rows[:2])
    along = re.search(r"\bfront\b|\bbehind\b", offered) is not None
    aside = re.search(r"\bleft\b", offered) is not None
    if along and not aside:
        return _before(sighting, local, rows[:2])
    if len(rows) > 1:
        side = choice_reading(
            sighting, rows[:2], lambda p: float(local(p[0])[0] - local(p[1])[0]), ("right", "left")
        )
    else:
        side = choice_reading(sighting, rows, lambda p: float(local(p[0])[0]), ("right", "left"))
    if aside and not along:
        return side
    return _both(side, _before(sighting, local, rows[:2]))


def _both(side: Reading, along: Reading) -> Reading:
    if not side.choice or not along.choice:
        return Reading(lack="too close to call", confidence=side.confidence)
    choice = f"{side.choice} {along.choice}"
    return Reading(
        choice=choice,
        lead=min(side.lead, along.lead),
        confidence=min(side.confidence, along.confidence),
    )


def _imagined(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    """Who stands at P and faces Q, both in the horizontal plane, sees R there; or from S."""
    if len(rows) not in (3, 4):
        return Reading(lack="mark all the places that the question names")
    up_3 = sighting.up_or_level()

    def ahead(p: Floats, q: Floats) -> Floats:
        flat = (q - p) - ((q - p) @ up_3) * up_3
        unit: Floats = flat / max(float(np.linalg.norm(flat)), 1e-9)
        return unit

    def parts(points: list[Floats]) -> tuple[float, float]:
        asked, *middle, p, q = points
        facing = ahead(p, q)
        gap = asked - (middle[0] if middle else p)
        left = np.cross(up_3, facing)
        return float(gap @ left), float(gap @ facing) * (-1.0 if middle else 1.0)

    side = choice_reading(sighting, rows, lambda p: parts(p)[0], ("left", "right"))
    along = choice_reading(sighting, rows, lambda p: parts(p)[1], ("in front", "behind"))
    return _both(side, along)


def _nearest(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    """Of the candidates the nearest or farthest; from the camera depth and range must agree."""
    anchors = [s.name for s in intent.subjects if s.anchor]
    marked = sighting.marked
    anchor = marked.index(anchors[0]) if anchors else None
    candidates = [row for row in rows if row != anchor]
    if len(candidates) < 2:
        return Reading(lack="mark the places that are to be compared")
    local = viewpoint(intent, sighting, candidates)
    if isinstance(local, str):
        return Reading(lack=local)
    if anchor is not None:
        center = sighting.moved(anchor, 0.0)
        measures = [lambda p: float(np.linalg.norm(p - center))]
    else:
        measures = [lambda p: float(np.linalg.norm(local(p))), lambda p: float(local(p)[2])]
    readings = [_extreme(intent, sighting, candidates, of, anchor) for of in measures]
    if len({reading.choice for reading in readings}) > 1:
        return Reading(lack="too close to call", confidence=readings[0].confidence)
    found = min(readings, key=lambda reading: reading.lead)
    asked_whether = re.match(r"\s*(?:is|are)\b", question, re.IGNORECASE) and len(candidates) == 2
    if asked_whether and " than " in question and found.choice:
        yes = marked.index(found.choice) == marked.index(intent.marks[0])
        return Reading(choice="yes" if yes else "no", lead=found.lead, confidence=found.confidence)
    return found


def _extreme(
    intent: Intent,
    sighting: Sighting,
    rows: list[int],
    of: Callable[[Floats], float],
    anchor: int | None,
) -> Reading:
    sign = -1.0 if intent.modifier in ("far", "high") else 1.0
    values = [sign * of(sighting.moved(row, 0.0)) for row in rows]
    order = np.argsort(values)
    best, second = rows[order[0]], rows[order[1]]
    least = MARGIN * max(abs(values[order[0]]), abs(values[order[1]]))
    names = (sighting.marked.labels[best], sighting.marked.labels[second])
    return choice_reading(
        sighting, [best, second], lambda p: sign * (of(p[1]) - of(p[0])), names, least
    )


def _tallest(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    up_3 = sighting.up_3
    if intent.modifier not in ("high", "low"):
        return Reading(lack=LACKS[Kind.SIZE])
    if len(rows) < 2:
        return Reading(lack="mark the places that are to be compared")
    if up_3 is None:
        return Reading(lack=LACKS[Kind.ELEVATION])
    return _extreme(intent, sighting, rows, lambda p: float(p @ up_3), None)


def _between(intent: Intent, question: str, sighting: Sighting, rows: list[int]) -> Reading:
    """Nearer to the line between the two than a third of it, and not beyond either end."""
    if len(rows) != 3:
        return Reading(lack="mark all three places")

    def inside(points: list[Floats]) -> float:
        middle, first, second = points
        along = second - first
        share = float((middle - first) @ along / max(float(along @ along), 1e-9))
        off = float(
            np.linalg.norm(middle - first - share * along) / max(float(np.linalg.norm(along)), 1e-9)
        )
        return min(share, 1.0 - share, 1 / 3 - off)

    return choice_reading(sighting, rows, inside, ("yes", "no"))


_READERS: dict[Kind, Callable[[Intent, str, Sighting, list[int]], Reading]] = {
    Kind.DEPTH: _depth,
    Kind.DISTANCE: _distance,
    Kind.GAP: _distance,
    Kind.DIFFERENCE: _difference,
    Kind.RATIO: _ratio,
    Kind.ANGLE: _angle,
    Kind.RELATION: _relation,
    Kind.DIRECTION: _direction,
    Kind.IMAGINED: _imagined,
    Kind.NEAREST: _nearest,
    Kind.TALLEST: _tallest,
    Kind.BETWEEN: _between,
    **dict.fromkeys(EXTENTS, read_extent),
}
