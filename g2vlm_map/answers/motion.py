# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the camera did, read off its poses: travelled, moved, turned."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import measure
from .intent import Intent, Kind, Role
from .reading import Reading

__all__ = ["read_motion"]

MIN_TURN_DEG = 1.0  # a smaller turn has no side
MIN_MOTION = 0.01  # a shorter way, relative to the typical depth, has no direction
MOTION_LEAD = 1.5  # of the strongest direction over the other
TURN_SIGMA_DEG = 1.0  # of a turn between two frames, and
TURN_SIGMA = 0.08  # relative: what the embedded model reaches in unseen rooms
WAY_SIGMA = 0.15  # relative sigma of the length of a way


def read_motion(intent: Intent, T_world_cam: NDArray[np.float64], typical_depth: float) -> Reading:
    """How the camera moved or turned between the frames named, else from the first to the last.

    Args:
        intent: Of kind MOVED, TURNED or TRAVELLED.
        T_world_cam: (N, 4, 4) poses of the window.
        typical_depth: What a motion is held against.
    """
    start, end = _frames(intent, len(T_world_cam))
    if max(start, end) >= len(T_world_cam):
        return Reading(lack=f"the scene has frames 1 to {len(T_world_cam)} only")
    if start == end:
        return Reading(lack="the scene has one picture: move the camera, then ask again")
    T_start, T_end = T_world_cam[start], T_world_cam[end]
    if intent.kind is Kind.TURNED:
        return _turned(intent, T_start, T_end)
    if intent.kind is Kind.MOVED:
        return _moved(T_start, T_end, typical_depth)
    steps = T_world_cam[min(start, end) : max(start, end) + 1, :3, 3]
    length = float(np.linalg.norm(np.diff(steps, axis=0), axis=1).sum())
    return Reading(length, "scene_unit", sigma=WAY_SIGMA * length, confidence=1.0)


def _frames(intent: Intent, count: int) -> tuple[int, int]:
    last = count - 1
    named = [s.name for s in intent.subjects if s.role is Role.FRAME]
    numbers = [{"first": 0, "last": last}.get(name) for name in named]
    indices = [
        max(int(name) - 1, 0) if number is None else number
        for name, number in zip(named, numbers, strict=True)
    ]
    return (indices[0], indices[1]) if len(indices) == 2 else (0, last)


def _turned(intent: Intent, T_start: NDArray[np.float64], T_end: NDArray[np.float64]) -> Reading:
    angle, yaw = measure.turn_between(T_start, T_end)
    sigma = math.hypot(TURN_SIGMA_DEG, TURN_SIGMA * angle)
    if intent.modifier == "angle":
        return Reading(angle, "deg", sigma=sigma, confidence=1.0)
    if intent.modifier == "yes":
        yes = angle > 2 * MIN_TURN_DEG
        lead = abs(angle - 2 * MIN_TURN_DEG) / sigma
        return Reading(choice="yes" if yes else "no", lead=lead, confidence=1.0)
    if abs(yaw) <= MIN_TURN_DEG:
        return Reading(lack="it hardly turned to a side", confidence=1.0)
    return Reading(choice="right" if yaw > 0 else "left", lead=abs(yaw) / sigma, confidence=1.0)


def _moved(
    T_start: NDArray[np.float64], T_end: NDArray[np.float64], typical_depth: float
) -> Reading:
    """The direction that a camera's way has most of, in the axes of its first pose."""
    way = (T_end[:3, 3] - T_start[:3, 3]) @ T_start[:3, :3]
    right, forward = float(way[0]), float(way[2])
    big, small = max(abs(right), abs(forward)), min(abs(right), abs(forward))
    if big < MIN_MOTION * typical_depth:
        return Reading(lack="it hardly moved", confidence=1.0)
    if big < MOTION_LEAD * small:
        return Reading(lack="it moved aside about as much as ahead", confidence=1.0)
    lead = math.degrees(math.atan2(big, small)) - 45.0
    if abs(right) > abs(forward):
        return Reading(choice="right" if right > 0 else "left", lead=lead / 10.0, confidence=1.0)
    choice = "forward" if forward > 0 else "backward"
    return Reading(choice=choice, lead=lead / 10.0, confidence=1.0)
