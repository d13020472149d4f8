# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Wheels, or another odometry: metres between keyframes, by chords over several of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...poses import Floats, inverse, rotation_vector
from ..readings import Measured
from ..samples import Samples
from .chords import chord_ends, open_chord
from .seen_steps import SeenSteps
from .sight import Sight

__all__ = ["OdometrySource"]

_POSITION_SIGMA = 0.005  # metres of a pose, beside what grows with the way
_SHARE_SIGMA = 0.02  # of a chord, where the odometry does not tell
_LEVER_ARM = 0.3  # metres between base and camera that may be overlooked where nobody told
_FROZEN = 1e-6  # metres, turns: what has not moved by that repeats its last value
_LOOKED_AT = 15  # keyframes without a chord after which the odometry is doubted
_MOVED = 0.03  # of the median depth: what a camera that moved has moved by


@dataclass(frozen=True, eq=False)
class _Stand:
    """Where the camera was by odometry, at a keyframe."""

    keyframe: int
    T_odom_cam: Floats
    epoch: int


class OdometrySource:
    """Chords of the reference camera's path by odometry."""

    def __init__(self) -> None:
        self._seen = SeenSteps()
        self._anew(None)

    def forget(self) -> None:
        """The next chord begins at the next keyframe."""
        self._seen.forget()
        self._anew(None)

    def _anew(self, begin: _Stand | None) -> None:
        """A chord begins."""
        self._begin, self._last = begin, begin
        self._between: list[tuple[int, Floats]] = []
        self._steps: list[float] = []  # lengths of the way to those between, as `Measured.seen`
        self._alive = 0  # of those between, until the last that is not like the one before it

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """A chord that ends at this keyframe, or one that is open until the next.

        Raises:
            NotYetError: The odometry has not arrived at the keyframe's stamp yet.
        """
        keyframe = sight.placed.keyframe
        pose = samples.odometry(keyframe.stamp_ns)
        self._seen.add(keyframe.number, (*sight.edges, *sight.denied))
        if pose is None:
            return []
        T_base_cam = samples.T_base_cam(keyframe.views[0].camera)
        mounted = T_base_cam is not None
        T_odom_cam = pose.T_odom_base @ (np.eye(4) if T_base_cam is None else T_base_cam)
        stand = _Stand(keyframe.number, T_odom_cam, pose.epoch)
        begin, last = self._begin, self._last
        if begin is None or begin.epoch != stand.epoch or begin.keyframe not in sight.map_keyframes:
            self._anew(stand)
            return []
        assert last is not None  # the newest since the begin
        step_3 = (inverse(last.T_odom_cam) @ T_odom_cam)[:3, 3]
        self._steps.append(self._seen.log_length(last.keyframe, stand.keyframe, step_3))
        chord = float(np.linalg.norm(stand.T_odom_cam[:3, 3] - begin.T_odom_cam[:3, 3]))
        span = stand.keyframe - begin.keyframe
        if not chord_ends(span, chord):
            self._between.append((stand.keyframe, stand.T_odom_cam[:3, 3]))
            if float(np.abs(T_odom_cam - last.T_odom_cam).max()) > _FROZEN:
                self._alive = len(self._between)
            self._last = stand
            if self._frozen(sight):
                samples.complain(
                    f"odometry stands still to the last digit over {_LOOKED_AT} keyframes in which "
                    "the camera moved: it repeats its last value, or its topic is another robot's"
                )
            start = begin.keyframe, begin.T_odom_cam[:3, 3]
            alive = slice(self._alive)
            return open_chord("odometry", start, self._between[alive], self._steps[alive])
        between, seen = tuple(self._between), tuple(self._steps)
        self._anew(stand)
        sigma = math.hypot(math.sqrt(2) * _POSITION_SIGMA / chord, pose.sigma_share or _SHARE_SIGMA)
        if not mounted:
            turn = rotation_vector(begin.T_odom_cam[:3, :3].T @ stand.T_odom_cam[:3, :3])
            sigma = math.hypot(sigma, _LEVER_ARM * float(np.linalg.norm(turn)) / chord)
        ends = np.stack((begin.T_odom_cam[:3, 3], stand.T_odom_cam[:3, 3]))
        log_chord = math.log(chord)
        numbers = begin.keyframe, stand.keyframe
        return [Measured("odometry", *numbers, log_chord, sigma, ends, between, seen)]

    def _frozen(self, sight: Sight) -> bool:
        """Whether the newest of the keyframes without a chord have one place to the last digit."""
        if len(self._between) % _LOOKED_AT:
            return False
        since, place_3 = self._between[-_LOOKED_AT]
        way = float(np.linalg.norm(self._between[-1][1] - place_3))
        return way < _FROZEN and since in sight.map_keyframes and _moved(sight, since)


def _moved(sight: Sight, since: int) -> bool:
    """Whether the map says that the camera moved."""
    way = np.linalg.norm(
        sight.placed.T_map_body[:3, 3] - sight.map_keyframes[since].T_map_body[:3, 3]
    )
    depth_HW = sight.placed.depth()
    seen = depth_HW[depth_HW > 0]
    return bool(seen.size) and float(way) > _MOVED * float(np.median(seen))
