# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is K right? Turns that the pictures show, held against those that the odometry measures.

A turn by an angle a about an axis across the view moves the picture by f tan(a): with a focal
length that is said to be k times what it is, the pictures show turns of about a / k. The
lengths that come of it are wrong where nobody sees it; the turns are not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np

from ..mapping.keyframe import Edge, PlacedKeyframe
from ..poses import Floats, inverse, rotation_vector
from .odometry_history import NotYetError
from .samples import Samples

__all__ = ["FocalCheck"]

_LEAST_TURN = math.radians(3.0)  # of a pair that says something
_LEAST_PAIRS = 60
_KEPT = 400  # pairs
_PENDING = 100  # pairs whose odometry has not come
_USUAL = 1.003  # what pictures show where K is right: noise makes turns look larger
_OFF = 0.04  # of the log; from there on K, or the odometry's turns, must be wrong
_ALIKE = 4  # pairs of a keyframe that say nearly the same


class FocalCheck:
    """Collects pairs of keyframes that the camera turned between."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=_KEPT)
        self._waiting: deque[tuple[Edge, str, int, int]] = deque(maxlen=_PENDING)

    def forget(self) -> None:
        """Begin anew, as with another K."""
        self._ratios.clear()
        self._waiting.clear()

    def add(
        self, edges: Iterable[Edge], placed: Mapping[int, PlacedKeyframe], samples: Samples
    ) -> None:
        """Take in the visual edges of a new keyframe."""
        for edge in edges:
            i, j = placed.get(edge.i), placed.get(edge.j)
            if edge.kind == "visual" and i is not None and j is not None:
                stamps = i.keyframe.stamp_ns, j.keyframe.stamp_ns
                self._waiting.append((edge, i.keyframe.views[0].camera, *stamps))
        while self._waiting:
            try:
                self._compare(*self._waiting[0], samples)
            except NotYetError:
                return
            self._waiting.popleft()

    @property
    def gain(self) -> tuple[float, float]:
        """Turns by pictures over turns by odometry, and its standard deviation.

        (1, inf) before there are enough.
        """
        if len(self._ratios) < _LEAST_PAIRS:
            return 1.0, math.inf
        values = np.array(self._ratios)
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        return middle, 1.2533 * spread / math.sqrt(len(values) / _ALIKE)

    @property
    def doubt(self) -> str:
        """Why K is hardly right; "" where nothing speaks against it."""
        gain, sigma = self.gain
        if not math.isfinite(sigma) or abs(math.log(max(gain, 1e-3) / _USUAL)) <= _OFF:
            return ""
        return (
            f"the pictures show {gain:.2f} (+- {sigma:.2f}) of the turns that the odometry "
            f"measures, over {len(self._ratios)} pairs of keyframes: the focal length is said to "
            f"be about {1 / gain:.2f} times what it is, or the odometry's turns are off"
        )

    def _compare(self, edge: Edge, camera: str, i_ns: int, j_ns: int, samples: Samples) -> None:
        """One pair.

        Raises:
            NotYetError: Its odometry has not come.
        """
        T_base_cam = samples.T_base_cam(camera)
        there, here = samples.odometry(j_ns), samples.odometry(i_ns)
        if T_base_cam is None or here is None or there is None or here.epoch != there.epoch:
            return
        R_base = (inverse(here.T_odom_base) @ there.T_odom_base)[:3, :3]
        turn_2 = _across(T_base_cam[:3, :3].T @ R_base @ T_base_cam[:3, :3])
        square = float(turn_2 @ turn_2)
        if square >= _LEAST_TURN**2:
            self._ratios.append(float(_across(edge.T_i_j[:3, :3]) @ turn_2) / square)


def _across(R_33: Floats) -> Floats:
    """(2,) the turn about the axes across the view, rad; one about the optical axis needs no K."""
    return rotation_vector(R_33)[:2]
