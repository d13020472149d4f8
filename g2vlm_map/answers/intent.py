# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question asks: its kind, its subjects, whose left is meant.

Standard library only. An `Intent` is what every reading of a question comes to, whoever
understood it: today the grammar (`grammar.understand`); a model that decodes an intent itself
would be another `Understands`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CAMERA", "Intent", "Kind", "Role", "Subject", "Understands"]


class Kind(enum.Enum):
    """What is asked; the values are the names in `calibration.json` and in messages."""

    DEPTH = "depth"  # along the optical axis
    DISTANCE = "distance"  # straight line: from the robot, or between two
    DIFFERENCE = "difference"  # by how much one is nearer, deeper, higher
    RATIO = "ratio"  # how many times as far, high, wide
    ELEVATION = "elevation"  # over the floor
    HEIGHT = "height"  # of a thing itself
    WIDTH = "width"
    SIZE = "size"
    GAP = "gap"  # free room between two
    ANGLE = "angle"  # between two lines of sight, or off the axis
    DIRECTION = "direction"
    NEAREST = "nearest"
    TALLEST = "tallest"  # which is higher, lower, bigger, smaller, wider
    RELATION = "relation"  # left, right, above, below, in front, behind
    BETWEEN = "between"
    REACH = "reach"
    FREE_WIDTH = "free_width"
    WAY_FREE = "way_free"
    TRAVELLED = "travelled"
    MOVED = "moved"  # which way
    TURNED = "turned"
    LOCATION = "location"
    RETURN = "return"
    VISITED = "visited"
    LAST_SEEN = "last_seen"
    COUNT = "count"
    EXISTS = "exists"
    NAME = "name"
    COLOUR = "colour"
    ROOM_SIZE = "room_size"
    MATCH = "match"  # which mark of another frame is at the same place
    VIEW_CHANGE = "view_change"  # how the camera moved and turned, in numbers
    IMAGINED = "imagined"  # where something is for who stands at one place facing another
    UNKNOWN = "unknown"


class Role(enum.Enum):
    """What a subject is."""

    MARK = "mark"
    THING = "thing"  # by its name, singular, lower case
    ROBOT = "robot"
    PLACE = "place"  # of the map: "start"
    FRAME = "frame"  # of the scene: "first", "last", or a number from 1 on


@dataclass(frozen=True)
class Subject:
    """Something that a question is about.

    Args:
        role: What it is.
        name: The mark's label, the thing's name, the place, the frame; "" for the robot.
        anchor: What candidates are held against: the B of "which is nearest to B".
    """

    role: Role
    name: str = ""
    anchor: bool = False

    def __str__(self) -> str:
        text = f"{self.role.value}:{self.name}" if self.name else self.role.value
        return f"of:{text}" if self.anchor else text


CAMERA = "camera"


@dataclass(frozen=True)
class Intent:
    """A question, understood.

    Args:
        kind: UNKNOWN where it is not.
        subjects: The thing asked about first, what it is held against behind it.
        frame: Whose left, right, front and back are meant: "camera", "base", or a subject
            ("mark:B", "frame:2") where the question says from where.
        modifier: What the kind leaves open: "far" of NEAREST, "left/right" of RELATION, a length.
        options: Answers that are offered under the letters A, B, ...; they are answered by letter.
    """

    kind: Kind
    subjects: tuple[Subject, ...] = ()
    frame: str = CAMERA
    modifier: str = ""
    options: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Labels of the marks that it is about, in the order of `subjects`."""
        return tuple(s.name for s in self.subjects if s.role is Role.MARK)

    @property
    def things(self) -> tuple[str, ...]:
        """Names of the things that it is about."""
        return tuple(s.name for s in self.subjects if s.role is Role.THING)

    def __str__(self) -> str:
        parts = [self.kind.value, *map(str, self.subjects)]
        return " ".join(parts + ([f"({self.modifier})"] if self.modifier else []))


class Understands(Protocol):
    """Whatever makes an intent of words."""

    def __call__(self, text: str, labels: Sequence[str] = ()) -> Intent:
        """Understand a question.

        Args:
            text: As asked.
            labels: Of the marks that came with it.

        Returns:
            Of kind UNKNOWN where it is none that geometry or eyes can answer; never raises.
        """
        ...
