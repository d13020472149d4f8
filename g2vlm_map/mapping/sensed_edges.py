# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges by what other sensors say: odometry between keyframes, poses that are known.

Odometry is in metres, the map is not: an edge of it knows rotation and direction, and its length
in the unit that the segment keeps (`odometry_gate.py`). That one is exact, as what all lengths
share, a wheel's radius, is part of the unit. Until there is one, a length is known as far as the
scale is; then the edges so far are made again. An edge is gated by the visual edge of the same
pair; what was reset, has leapt or went back is told by `scale.samples`, and no edge reaches across
it. A known pose is tied to the first keyframe of the segment that has one, so that it does not
drift.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..poses import StampedPoses, inverse
from ..scale.estimate import ScaleEstimate
from ..scale.odometry_history import NotYetError
from ..scale.samples import Samples
from ..sensing import OdometrySample, PoseSample, Sample
from .keyframe import Edge, Keyframe, PlacedKeyframe
from .map_graph import MapGraph
from .odometry_gate import OdometryGate
from .rotations import log_rotations

__all__ = ["SensedEdges"]

Floats = NDArray[np.float64]

_KNOWN_SHARE = 0.005  # of the way, that known poses are wrong by
_SHARE = 0.03  # of the way, where an odometry does not say how good it is
_TURN_SHARE, _LEAST_TURN = 0.03, 0.005  # of the turn; rad
_LEAST_STEP_M = 0.01
_GATE_TURN = math.radians(10.0)  # beyond which a visual edge refuses an odometry's turn
_GATE_LENGTH = 1.0  # and its log length
_WAITING = 20  # pairs that wait for odometry of their time
_AHEAD_NS = (20_000_000, 50_000_000, 100_000_000, 200_000_000)
_AHEAD_SHARE = 0.3  # of a way that is foreseen
_SPARE = 100  # keyframes that are gone and still known
_UNSCALED = 200  # edges that wait for the segment's unit


@dataclass(frozen=True, eq=False)
class _InMetres:
    """An edge as its sensor measured it: `sigma_rotation` in rad, `sigma_m` of the translation."""

    i: int
    j: int
    kind: str
    T_i_j: Floats
    sigma_rotation: float
    sigma_m: float


class SensedEdges:
    """Makes edges out of samples.

    Args:
        samples: What the sensors said lately, of the scale.
        reference: Name of the reference camera.
        refuse: Told why a sensor was not believed.
    """

    def __init__(self, samples: Samples, reference: str, refuse: Callable[[str], object]) -> None:
        self._samples = samples
        self.gate = OdometryGate(samples)
        self._reference = reference
        self._has_odometry = False
        self._refuse = refuse
        self._known = StampedPoses()
        self._sigmas = (0.0, 0.0)
        self._waiting: deque[tuple[PlacedKeyframe, Keyframe]] = deque(maxlen=_WAITING)
        self._unscaled: deque[_InMetres] = deque(maxlen=_UNSCALED)
        self._root: tuple[int, Floats] | None = None

    def begin(self) -> None:
        """A new segment: nothing reaches back across it."""
        self._waiting.clear()
        self._unscaled.clear()
        self._root = None
        self.gate.begin()

    def sense(self, sample: Sample) -> None:
        """Take in a known pose; other samples are `Samples`' business.

        Where there is no odometry, known poses are one that hardly drifts: they fix the scale.
        """
        if isinstance(sample, OdometrySample):
            self._has_odometry = True
        if not isinstance(sample, PoseSample):
            return
        self._sigmas = (sample.sigma_rotation, sample.sigma_translation)
        problem = self._known.add(sample.stamp_ns, sample.T_world_cam)
        if problem == StampedPoses.VALUE:
            self._refuse("a known pose is no rigid pose, or not finite: left out")
        elif not self._has_odometry:
            T_base_cam = self._samples.T_base_cam(self._reference)
            if T_base_cam is not None:
                T_world_base = np.asarray(sample.T_world_cam, np.float64) @ inverse(T_base_cam)
                self._samples.add(OdometrySample(sample.stamp_ns, T_world_base, _KNOWN_SHARE))

    def T_body_cams(self) -> dict[str, Floats]:
        """Poses of the rig's cameras in the reference camera's axes, metres, where known."""
        known = self._samples.T_base_cams()
        found = {self._reference: np.eye(4)}
        if self._reference in known:
            T_body_base = inverse(known[self._reference])
            found = {name: T_body_base @ T_base_cam for name, T_base_cam in known.items()}
            found[self._reference] = np.eye(4)
        return found

    def edges(
        self,
        before: PlacedKeyframe,
        keyframe: Keyframe,
        visual: Sequence[Edge],
        scale: ScaleEstimate,
    ) -> list[Edge]:
        """Edges of a new keyframe to the one before and to the known poses' first one."""
        made = []
        try:
            edge = self._odometry(before.keyframe, keyframe, scale)
        except NotYetError:
            self._waiting.append((before, keyframe))
            edge = None if visual else self._foreseen(before.keyframe, keyframe, scale)
        if edge is not None and self._believed(edge, visual):
            made.append(edge)
        prior = self._prior(before.keyframe, keyframe, scale)
        return made if prior is None else [*made, prior]

    def late(self, graph: MapGraph, scale: ScaleEstimate) -> list[Edge]:
        """Edges whose odometry has come since, and all of the segment once its unit is known."""
        self._forget_gone(graph)
        made = []
        if self.gate.metres_per_unit is not None:
            made = [self._in_map_units(one, scale) for one in self._unscaled]
            self._unscaled.clear()
        for _ in range(len(self._waiting)):
            before, keyframe = self._waiting.popleft()
            try:
                edge = self._odometry(before.keyframe, keyframe, scale)
            except NotYetError:
                self._waiting.append((before, keyframe))
                continue
            if edge is not None and self._believed(edge, graph.edges_of(keyframe.number)):
                made.append(edge)
        return made

    def _forget_gone(self, graph: MapGraph) -> None:
        """Keyframes go when the map is bounded or reset; priors then hang on a later one."""
        if self._root is not None and graph.get(self._root[0]) is None:
            self._root = None
        if len(self.gate) > 2 * len(graph) + _SPARE:
            self.gate.keep(graph.by_number().keys())

    def _foreseen(self, i: Keyframe, j: Keyframe, scale: ScaleEstimate) -> Edge | None:
        """The edge as the motion of the newest samples leads on, which beats a broken map.

        `late` puts the measured one in its place.
        """
        for ahead_ns in _AHEAD_NS:
            try:
                return self._odometry(i, j, scale, ahead_ns)
            except NotYetError:
                continue
        return None

    def _odometry(
        self, i: Keyframe, j: Keyframe, scale: ScaleEstimate, ahead_ns: int = 0
    ) -> Edge | None:
        """The edge by samples up to `ahead_ns` before j's time, and the motion of as long before.

        Raises:
            NotYetError: The samples end earlier.
        """
        T_base_body = self._samples.T_base_cam(i.views[0].camera)
        here = self._samples.odometry(i.stamp_ns)
        there = self._samples.odometry(j.stamp_ns - ahead_ns)
        earlier = self._samples.odometry(j.stamp_ns - 2 * ahead_ns)
        if T_base_body is None or here is None or there is None or earlier is None:
            return None
        if not here.epoch == earlier.epoch == there.epoch:
            return None
        ahead = inverse(earlier.T_odom_base) @ there.T_odom_base
        T_base = inverse(here.T_odom_base) @ there.T_odom_base @ ahead
        T = inverse(T_base_body) @ T_base @ T_base_body
        share = there.sigma_share or _SHARE
        turn = float(np.linalg.norm(log_rotations(T_base[None, :3, :3])[0]))
        sigma_turn = math.hypot(_LEAST_TURN, _TURN_SHARE * turn)
        guessed = _AHEAD_SHARE * float(np.linalg.norm(ahead[:3, 3]))
        sigma_m = math.hypot(_LEAST_STEP_M, share * float(np.linalg.norm(T_base[:3, 3])), guessed)
        measured = _InMetres(i.number, j.number, "odometry", T, sigma_turn, sigma_m)
        return self._in_map_units(measured, scale)

    def _prior(self, before: Keyframe, j: Keyframe, scale: ScaleEstimate) -> Edge | None:
        T_world_j = self._known.at(j.stamp_ns)
        if T_world_j is None:
            return None
        if self._root is None:
            T_world_i = self._known.at(before.stamp_ns)
            if T_world_i is None:
                return None
            self._root = (before.number, T_world_i)
        number, T_world_i = self._root
        T = inverse(T_world_i) @ T_world_j
        return self._in_map_units(_InMetres(number, j.number, "prior", T, *self._sigmas), scale)

    def _believed(self, edge: Edge, visual: Sequence[Edge]) -> bool:
        """Whether no visual edge of the same pair contradicts an odometry's."""
        for other in visual:
            if (other.i, other.j) != (edge.i, edge.j) or other.kind == "model":
                continue
            turn = edge.T_i_j[:3, :3].T @ other.T_i_j[:3, :3]
            off = float(np.linalg.norm(log_rotations(turn[None])[0]))
            if off > _GATE_TURN + 3 * edge.sigma_rotation:
                self._refuse(
                    f"odometry turned by {math.degrees(off):.0f} deg from what the pictures say"
                )
                return False
            lengths = [float(np.linalg.norm(e.T_i_j[:3, 3])) for e in (edge, other)]
            known = all(math.isfinite(e.sigma_log_length) for e in (edge, other))
            if known and min(lengths) > 0 and abs(math.log(lengths[0] / lengths[1])) > _GATE_LENGTH:
                self._refuse(
                    f"odometry moved by {lengths[0] / lengths[1]:.2f} times what the pictures say"
                )
                return False
        return True

    def _in_map_units(self, measured: _InMetres, scale: ScaleEstimate) -> Edge:
        """An edge of a sensor that knows metres, by the segment's unit, else by the scale."""
        sigma_rotation, sigma_m = max(measured.sigma_rotation, 1e-4), max(measured.sigma_m, 1e-4)
        unit, sigma_unit = self.gate.metres_per_unit, 0.0
        if unit is None:
            self._unscaled.append(measured)
            unit, sigma_unit = scale.metres_per_unit, scale.sigma
        known = math.isfinite(sigma_unit)
        length_m = float(np.linalg.norm(measured.T_i_j[:3, 3]))
        T: Floats = measured.T_i_j.copy()
        T[:3, 3] /= unit if known else 1.0
        pair = (measured.i, measured.j, measured.kind)
        if length_m < 2 * sigma_m:  # no direction to speak of: it stood
            still = sigma_m / unit if known else math.inf
            T[:3, 3] = 0.0
            return Edge(*pair, T, sigma_rotation, math.inf, math.inf, sigma_still=still)
        share = sigma_m / length_m
        sigma_length = math.hypot(share, sigma_unit) if known else math.inf
        return Edge(*pair, T, sigma_rotation, share, sigma_length)
