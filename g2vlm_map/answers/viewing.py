# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whose left, right, front and back are meant: a camera's, the base's, or those of a place.

Who stands at a marked place looks at what is asked about: at the one it is held against, or at the
middle of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .intent import CAMERA, Intent, Role
from .reading import Sighting

__all__ = ["Viewpoint", "viewpoint"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """Where somebody stands and looks.

    Args:
        origin_3: World axes.
        axes_33: Columns are right, down and ahead in world axes.
    """

    origin_3: Floats
    axes_33: Floats

    def __call__(self, point_3: Floats) -> Floats:
        """(3,) a world point in these axes: x right, y down, z ahead."""
        seen: Floats = (point_3 - self.origin_3) @ self.axes_33
        return seen


def viewpoint(intent: Intent, sighting: Sighting, rows: list[int]) -> Viewpoint | str:
    """Who looks, or what is not known of that and would help.

    Args:
        intent: The question; its `frame` says who.
        sighting: The points of its marks.
        rows: Marks that are asked about: without a word it is their own camera.
    """
    role, _, name = intent.frame.partition(":")
    if role == "base":
        return _base(sighting)
    if role == Role.MARK.value:
        return _at_mark(sighting, rows, name)
    if role not in (CAMERA, Role.FRAME.value):
        return f"mark the {name}, and ask what is seen from that mark" if name else "from where?"
    T = sighting.T_world_cam[_frame(role, name, sighting, rows)]
    return Viewpoint(T[:3, 3], T[:3, :3])


def _frame(role: str, name: str, sighting: Sighting, rows: list[int]) -> int:
    """The frame whose camera looks: the one named, the common one of the marks, the newest."""
    last = len(sighting.T_world_cam) - 1
    if role == Role.FRAME.value:
        number = {"first": 0, "last": last}.get(name)
        return min(max(int(name) - 1, 0), last) if number is None else number
    known = len(sighting.marked.frame_indices)  # the robot has a row, and no frame
    frames = {sighting.marked.frame_indices[row] for row in rows if row < known}
    return frames.pop() if len(frames) == 1 else last


def _base(sighting: Sighting) -> Viewpoint | str:
    T = sighting.around.T_world_base
    if T is None:
        return "where the camera sits on the robot is unknown: give frames.base, or ask it as seen"
    return Viewpoint(T[:3, 3], np.stack((-T[:3, 1], -T[:3, 2], T[:3, 0]), axis=1))


def _at_mark(sighting: Sighting, rows: list[int], name: str) -> Viewpoint | str:
    row = sighting.marked.index(name)
    if row is None or not sighting.marked.found[row]:
        return f"mark {name} has no point: mark a place beside it"
    others = [sighting.moved(other, 0.0) for other in rows if other != row]
    if len(others) < 2:
        return f"which way does {name} look? ask for the direction of one place from another"
    origin_3, up_3 = sighting.moved(row, 0.0), sighting.up_or_level()
    way_3 = np.mean(others, axis=0) - origin_3
    ahead_3 = way_3 - (way_3 @ up_3) * up_3
    length = float(np.linalg.norm(ahead_3))
    if length < 1e-6:
        return f"{name} lies above or below what is asked about"
    ahead_3 = ahead_3 / length
    return Viewpoint(origin_3, np.stack((np.cross(ahead_3, up_3), -up_3, ahead_3), axis=1))
