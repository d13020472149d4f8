# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges that odometry contradicts: a facade's period off, or a place that only looks the same.

Where patterns repeat, matches agree on a motion that did not happen, with many inliers: on a
street with equal houses a fifth of the edges led backwards while the wheels went forwards (6 % of
those to the keyframe before, 21 to 32 % of those further back), and every loop linked places that
were 9 to 64 m apart. The direction of a motion needs no scale, so an edge between neighbours is
checked by it. Two views know a turn better than wheels do; but where the edge to the keyframe
before bears the wheels out, another one that says otherwise is wrong.

Lengths need metres per map unit. The first edges of neighbours that agree in direction say them,
and a segment keeps them: the unit of a map is free to choose, but once it is chosen odometry knows
each length, and a map whose unit followed its own newest edges drifted by 20 to 50 % on a street
beside wheels that are good to 2 %. An edge a period too short or too long is denied by it, and so
is a loop that leads to another place.

Wheels do not count where they stand nearly still, and not where they deny as much as they agree
with: then it is they, or where the camera is said to sit, that is wrong.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from ..scale.odometry_history import NotYetError
from ..scale.samples import Samples
from .keyframe import Edge, Keyframe, PlacedKeyframe
from .rotations import log_rotations

__all__ = ["OdometryGate"]

Floats = NDArray[np.float64]

_SHARE = 0.03  # of the way, where an odometry does not say how good it is
_STEP_TURN, _TURN_SHARE = 0.005, 0.03  # heading lost by each keyframe, rad; by each turn
_LEAST_M = 0.1  # a shorter motion has no direction that counts
_DIRECTION = math.radians(30.0)  # a direction that is off by more is another motion's
_TURN = math.radians(10.0)  # and so is a turn: wheels know nothing of pitch and roll
_LENGTH = 0.15  # of the log of a length by the model's depth, beside its own sigma
_SIGMAS = 3.0
_GRACE = 4  # denials in advance of agreement
_LATE_NS = (0, 50_000_000, 100_000_000, 200_000_000)  # odometry may come after its frame
_ENOUGH = 5  # lengths of neighbours that the unit is taken from


@dataclass(frozen=True, eq=False)
class _Mark:
    """Where odometry was at a keyframe: its pose, way and turns so far since its last reset.

    `doubts` are the steps so far that turned by what the edge of the same step contradicts.
    """

    epoch: int
    T_odom_body: Floats
    share: float
    way_m: float
    turned: float
    steps: int
    doubts: int


@dataclass(eq=False)
class _Trust:
    """Whether what denies edges is to be heard: it agrees about as often as it denies."""

    agreed: int = 0
    denied: int = 0

    def __bool__(self) -> bool:
        return self.denied <= self.agreed + _GRACE

    def count(self, denies: bool) -> None:
        self.denied += denies
        self.agreed += not denies


class OdometryGate:
    """Knows where odometry was at each keyframe; `denies` may be asked from any thread.

    Args:
        samples: What the sensors said lately.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._lock = threading.Lock()
        self._marks: dict[int, _Mark] = {}
        self._newest: _Mark | None = None
        self._ratios: deque[float] = deque(maxlen=_ENOUGH)
        self._ways, self._lengths = _Trust(), _Trust()
        self._unit: float | None = None

    @property
    def metres_per_unit(self) -> float | None:
        """What the segment keeps; None until it is known."""
        return self._unit

    def metres_per_unit_of(self, placed: Iterable[PlacedKeyframe]) -> float | None:
        """What the ways between some keyframes of a segment say; None where they are too few."""
        with self._lock:
            marks = [(self._marks.get(one.keyframe.number), one.T_map_body) for one in placed]
        ratios = []
        for (i, T_i), (j, T_j) in pairwise(marks):
            if i is not None and j is not None and i.epoch == j.epoch:
                way_m = float(np.linalg.norm(j.T_odom_body[:3, 3] - i.T_odom_body[:3, 3]))
                way = float(np.linalg.norm(T_j[:3, 3] - T_i[:3, 3]))
                if way_m > _LEAST_M and way > 0:
                    ratios.append(way_m / way)
        return float(np.median(ratios)) if len(ratios) >= _ENOUGH else None

    def begin(self) -> None:
        """A new segment has a unit of its own."""
        with self._lock:
            self._ratios.clear()
            self._lengths, self._unit = _Trust(), None

    def rescale(self, log_scale: float) -> None:
        """The map's unit is another one.

        Args:
            log_scale: Natural log of new units in one old unit.
        """
        with self._lock:
            self._ratios.clear()
            if self._unit is not None:
                self._unit *= math.exp(-log_scale)

    def note(self, keyframe: Keyframe) -> None:
        """Remember where odometry is at a new keyframe."""
        T_base_body = self._samples.T_base_cam(keyframe.views[0].camera)
        if T_base_body is None:
            return
        for late_ns in _LATE_NS:
            try:
                stand = self._samples.odometry(keyframe.stamp_ns - late_ns)
            except NotYetError:
                continue
            break
        else:
            return
        if stand is None:
            return
        T = np.asarray(stand.T_odom_base, np.float64) @ T_base_body
        way = turned = 0.0
        steps, doubts, last = 0, 0, self._newest
        if last is not None and last.epoch == stand.epoch:
            step = inverse(last.T_odom_body) @ T
            way = last.way_m + float(np.linalg.norm(step[:3, 3]))
            turned = last.turned + float(np.linalg.norm(log_rotations(step[None, :3, :3])[0]))
            steps, doubts = last.steps + 1, last.doubts
        mark = _Mark(stand.epoch, T, stand.sigma_share or _SHARE, way, turned, steps, doubts)
        with self._lock:
            self._newest = self._marks[keyframe.number] = mark

    def __len__(self) -> int:
        """At how many keyframes it knows."""
        return len(self._marks)

    def keep(self, numbers: Set[int]) -> None:
        """Forget all other keyframes: they are gone."""
        with self._lock:
            self._marks = {n: mark for n, mark in self._marks.items() if n in numbers}

    def denies(self, edge: Edge) -> str:
        """Why an edge cannot be, "" where it can.

        Args:
            edge: Of kind "visual" between neighbours, or "loop".
        """
        with self._lock:
            i, j = self._marks.get(edge.i), self._marks.get(edge.j)
            if i is None or j is None or i.epoch != j.epoch or not self._ways:
                return ""
            return self._loop(edge, i, j) if edge.kind == "loop" else self._near(edge, i, j)

    def _near(self, edge: Edge, i: _Mark, j: _Mark) -> str:
        T, sigma_m = _between(i, j)
        if turned := self._turned(edge, i, j, T):
            return turned
        length_m, length = (float(np.linalg.norm(t)) for t in (T[:3, 3], edge.T_i_j[:3, 3]))
        if not math.isfinite(edge.sigma_direction) or length_m < max(_LEAST_M, 4 * sigma_m):
            return ""
        if length <= 0:
            return ""
        cosine = float(T[:3, 3] @ edge.T_i_j[:3, 3]) / (length_m * length)
        off = math.acos(min(1.0, max(-1.0, cosine)))
        denies = off > _DIRECTION + _SIGMAS * min(edge.sigma_direction, 0.3)
        self._ways.count(denies)
        if denies:
            return (
                f"{edge.inliers} matches lead {math.degrees(off):.0f} deg away from where "
                f"{length_m:.2f} m by odometry do"
            )
        if not math.isfinite(edge.sigma_log_length):
            return ""
        return self._length(edge, length_m, math.log(length_m / length), sigma_m / length_m)

    def _turned(self, edge: Edge, i: _Mark, j: _Mark, T_m: Floats) -> str:
        """The same of its turn."""
        turn = T_m[:3, :3].T @ edge.T_i_j[:3, :3]
        off = float(np.linalg.norm(log_rotations(turn[None])[0]))
        if off <= _TURN + _SIGMAS * math.hypot(_heading(i, j), edge.sigma_rotation):
            return ""
        if j.steps == i.steps + 1:  # `SensedEdges` decides which of the two is right
            self._marks[edge.j] = doubtful = replace(j, doubts=j.doubts + 1)
            self._newest = doubtful if self._newest is j else self._newest
        if i.doubts != j.doubts or j.steps == i.steps + 1:
            return ""
        self._ways.count(True)
        return (
            f"{edge.inliers} matches turn by {math.degrees(off):.0f} deg from where odometry does"
        )

    def _length(self, edge: Edge, length_m: float, log_ratio: float, share: float) -> str:
        """The same of its length, once the unit is known; till then it helps to find it."""
        if self._unit is None:
            self._ratios.append(log_ratio)
            if len(self._ratios) == _ENOUGH:
                self._unit = math.exp(float(np.median(self._ratios)))
            return ""
        off = log_ratio - math.log(self._unit)
        denies = abs(off) > _SIGMAS * math.hypot(_LENGTH, edge.sigma_log_length, share)
        trusted = bool(self._lengths)
        self._lengths.count(denies)
        if not (denies and trusted):
            return ""
        return (
            f"{edge.inliers} matches with the model's depth are {math.exp(-off):.2f} times as long "
            f"as the {length_m:.2f} m by odometry"
        )

    def _loop(self, edge: Edge, i: _Mark, j: _Mark) -> str:
        if self._unit is None:
            return ""
        T, sigma_m = _between(i, j)
        loop_m = edge.T_i_j[:3, 3] * self._unit
        size = float(np.linalg.norm(loop_m))
        own = size * math.hypot(min(edge.sigma_log_length, 1.0), _LENGTH)
        off = float(np.linalg.norm(T[:3, 3] - loop_m))
        sigma = math.hypot(sigma_m, own)
        if off <= _SIGMAS * sigma + _LEAST_M:
            return ""
        return (
            f"{edge.i}-{edge.j} looks alike ({edge.inliers} inliers), but odometry has it "
            f"{off:.1f} m elsewhere, with a sigma of {sigma:.1f} m"
        )


def _between(i: _Mark, j: _Mark) -> tuple[Floats, float]:
    """Pose of j in i by odometry, metres, and the standard deviation of its place."""
    way = abs(j.way_m - i.way_m)
    sigma_m = way * math.hypot(max(i.share, j.share), _heading(i, j))
    return inverse(i.T_odom_body) @ j.T_odom_body, sigma_m


def _heading(i: _Mark, j: _Mark) -> float:
    """Standard deviation of the turn from i to j by odometry, rad."""
    lost = _STEP_TURN * math.sqrt(abs(j.steps - i.steps))
    return math.hypot(lost, _TURN_SHARE * abs(j.turned - i.turned))
