# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges that odometry contradicts: a facade's period off, or a place that only looks the same.

Where patterns repeat, matches agree on a motion that did not happen, with many inliers: on a
street with equal houses a fifth of the edges led backwards while the wheels went forwards (6 % of
those to the keyframe before, 21 to 32 % of those further back), and every loop linked places that
were 9 to 64 m apart. The direction of a motion needs no scale, so an edge between neighbours is
checked by it; for a loop the metres per map unit come from the edges of neighbours themselves.

Wheels do not count where they stand nearly still, and not where they deny as much as they agree
with: then it is they, or where the camera is said to sit, that is wrong.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from ..scale.odometry_history import NotYetError
from ..scale.samples import Samples
from .keyframe import Edge, Keyframe
from .rotations import log_rotations

__all__ = ["OdometryGate"]

Floats = NDArray[np.float64]

_SHARE = 0.03  # of the way, where an odometry does not say how good it is
_STEP_TURN, _TURN_SHARE = 0.005, 0.03  # heading lost by each keyframe, rad; by each turn
_LEAST_M = 0.1  # a shorter motion has no direction that counts
_DIRECTION = math.radians(60.0)  # a direction that is off by more is another motion's
_SIGMAS = 3.0
_GRACE = 4  # denials in advance of agreement
_LATE_NS = (0, 50_000_000, 100_000_000, 200_000_000)  # odometry may come after its frame
_RATIOS, _ENOUGH = 64, 5  # lengths of neighbours that the unit is taken from


@dataclass(frozen=True, eq=False)
class _Mark:
    """Where odometry was at a keyframe: its pose, way and turns so far since its last reset."""

    epoch: int
    T_odom_body: Floats
    share: float
    way_m: float
    turned: float
    steps: int


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
        self._ratios: deque[float] = deque(maxlen=_RATIOS)
        self._agreed = self._denied = 0

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
        steps, last = 0, self._newest
        if last is not None and last.epoch == stand.epoch:
            step = inverse(last.T_odom_body) @ T
            way = last.way_m + float(np.linalg.norm(step[:3, 3]))
            turned = last.turned + float(np.linalg.norm(log_rotations(step[None, :3, :3])[0]))
            steps = last.steps + 1
        mark = _Mark(stand.epoch, T, stand.sigma_share or _SHARE, way, turned, steps)
        with self._lock:
            self._newest = self._marks[keyframe.number] = mark

    def denies(self, edge: Edge) -> str:
        """Why an edge cannot be, "" where it can.

        Args:
            edge: Of kind "visual" between neighbours, or "loop".
        """
        with self._lock:
            i, j = self._marks.get(edge.i), self._marks.get(edge.j)
            if i is None or j is None or i.epoch != j.epoch or self._denied > self._trust:
                return ""
            return self._loop(edge, i, j) if edge.kind == "loop" else self._near(edge, i, j)

    @property
    def _trust(self) -> int:
        return self._agreed + _GRACE

    def _near(self, edge: Edge, i: _Mark, j: _Mark) -> str:
        T, sigma_m = _between(i, j)
        length_m, length = (float(np.linalg.norm(t)) for t in (T[:3, 3], edge.T_i_j[:3, 3]))
        if not math.isfinite(edge.sigma_direction) or length_m < max(_LEAST_M, 4 * sigma_m):
            return ""
        if length <= 0:
            return ""
        cosine = float(T[:3, 3] @ edge.T_i_j[:3, 3]) / (length_m * length)
        off = math.acos(min(1.0, max(-1.0, cosine)))
        if off > _DIRECTION + _SIGMAS * min(edge.sigma_direction, 0.3):
            self._denied += 1
            return (
                f"{edge.inliers} matches lead {math.degrees(off):.0f} deg away from where "
                f"{length_m:.2f} m by odometry do"
            )
        self._agreed += 1
        if math.isfinite(edge.sigma_log_length):
            self._ratios.append(math.log(length_m / length))
        return ""

    def _loop(self, edge: Edge, i: _Mark, j: _Mark) -> str:
        if len(self._ratios) < _ENOUGH:
            return ""
        T, sigma_m = _between(i, j)
        ratios = np.array(self._ratios)
        middle = float(np.median(ratios))
        spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
        loop_m = edge.T_i_j[:3, 3] * math.exp(middle)
        size = float(np.linalg.norm(loop_m))
        own = size * math.hypot(min(edge.sigma_log_length, 1.0), min(spread, 1.0))
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
    way, steps = abs(j.way_m - i.way_m), abs(j.steps - i.steps)
    turned = abs(j.turned - i.turned)
    heading = math.hypot(_STEP_TURN * math.sqrt(steps), _TURN_SHARE * turned)
    return inverse(i.T_odom_body) @ j.T_odom_body, way * math.hypot(max(i.share, j.share), heading)
