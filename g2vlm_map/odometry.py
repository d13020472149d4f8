# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Odometry out of the map: where the base has gone, as a robot's filters want it.

The map's poses jump when a loop closes and change their lengths when the scale does. An odometry
must not (REP 105): it adds up the motion from each keyframe to the next as it was known when the
newer one came, in the metres of that time, and never looks back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .mapping.keyframe import Edge, PlacedKeyframe
from .poses import Floats, StampedPoses, cross_matrix, inverse, metric, rotation_vector
from .sensing import OdometrySample
from .world import World

__all__ = ["ContinuousOdometry", "OdometryFeed", "OdometryPose"]

_NS = 1_000_000_000
# Measured spread of a pose graph's steps between keyframes (a kitchen, 105 of them). The turn's
# share of it comes to what an edge says: edges of neighbouring keyframes share pictures, lens and
# matches, so their errors go the same way from step to step.
_STEP_SHARE, _STEP_RAD = 0.3, 0.0125
_STEP_FLOOR, _TURN_FLOOR = 0.002, 0.05  # of a translation, and of one that no edge could see
# A step that nobody has seen (between two segments): as fast as an indoor robot.
_UNSEEN_SPEED, _UNSEEN_TURN = 1.0, 0.5


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """Where the base has gone until a keyframe.

    Args:
        stamp_ns: Of the keyframe.
        T_odom_base: (4, 4) metres (map units in an odometry that has no scale).
        covariance_66: Of it since the start: translation, then rotation, in odom's axes.
        twist_6: Mean velocity since the keyframe before, in the base's axes: m/s, then rad/s.
        twist_covariance_66: Of that.
        is_gap: The motion since the keyframe before was not seen by the camera.
    """

    stamp_ns: int
    T_odom_base: Floats
    covariance_66: Floats
    twist_6: Floats
    twist_covariance_66: Floats
    is_gap: bool = False


class OdometryFeed:
    """The robot's odometry as it comes: what is kept for lookups, and what is told to others.

    Others are promised that an odometry never jumps. One that was reset, or leapt, is told to them
    as if it had stood still in that step; `at` answers in the odometry's own frame, which is the
    one that TF has.

    Args:
        sigma_share: Its lengths' standard deviation as a share of the way; 0: not known.
    """

    def __init__(self, sigma_share: float = 0.0) -> None:
        self._sigma_share = sigma_share
        self._poses = StampedPoses()
        self._T_told_odom: Floats = np.eye(4)
        self._T_told_base: Floats = np.eye(4)

    @property
    def refused(self) -> dict[str, int]:
        """See `StampedPoses`."""
        return dict(self._poses.refused)

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest pose; 0 before the first."""
        newest = self._poses.newest
        return 0 if newest is None else newest[0]

    def at(self, stamp_ns: int) -> Floats | None:
        """T_odom_base at a stamp, as the odometry said; None where it is not known."""
        return self._poses.at(stamp_ns)

    def motion(self, start_ns: int, end_ns: int) -> Floats | None:
        """T_before_after of the base between two stamps; None where one is not known."""
        start, end = self.at(start_ns), self.at(end_ns)
        return None if start is None or end is None else inverse(start) @ end

    def take(self, stamp_ns: int, T_odom_base: Floats) -> tuple[OdometrySample | None, str]:
        """Take a pose over.

        Returns:
            What to tell others, None where it was refused; and the cause, see `StampedPoses.add`.
        """
        cause = self._poses.add(stamp_ns, T_odom_base)
        if cause in (StampedPoses.ORDER, StampedPoses.VALUE):
            return None, cause
        if cause:
            self._T_told_odom = self._T_told_base @ inverse(T_odom_base)
        self._T_told_base = self._T_told_odom @ T_odom_base
        return OdometrySample(stamp_ns, self._T_told_base, self._sigma_share), cause


class ContinuousOdometry:
    """Adds up the steps between keyframes.

    Args:
        scaled: In metres, with extrinsics, from the first time on that the scale carries; else in
            map units, about the axes of the base at the place of the camera, from the first
            keyframe on.
        bridge: (stamp_ns, stamp_ns) to the base's motion T_before_after in metres by another
            odometry, None where it does not know; asked where the camera lost its way.
    """

    def __init__(
        self, scaled: bool, bridge: Callable[[int, int], Floats | None] = lambda start, end: None
    ) -> None:
        self._scaled = scaled
        self._bridge = bridge
        self._last: PlacedKeyframe | None = None
        self._T_odom_base: Floats = np.eye(4)
        self._covariance: Floats = np.zeros((6, 6))
        self._along: Floats = np.zeros(6)  # what one sigma of the scale moves
        self._pose: OdometryPose | None = None

    @property
    def pose(self) -> OdometryPose | None:
        """The newest; None before the first."""
        return self._pose

    def step(self, world: World, head: PlacedKeyframe | None = None) -> OdometryPose | None:
        """Go on to the newest keyframe, and to where the camera is now.

        Args:
            world: Its newest keyframe has the highest number.
            head: A moment after that keyframe that did not become one: where the camera stands
                still, for one. The odometry tells of it and forgets it again.

        Returns:
            The new pose; None where there is nothing new, or nothing to start from.
        """
        ours = [placed for placed in world.keyframes if placed.segment == world.segment]
        if not ours or (self._scaled and self._last is None and not world.scale.metric):
            return None
        newest = max(ours, key=lambda placed: placed.keyframe.number)
        told = self._begin(newest) if self._last is None else self._go_on(world, ours, newest)
        last = self._last
        if head is None or last is None or head.keyframe.stamp_ns <= last.keyframe.stamp_ns:
            return told
        if self._is_lost(world):
            return told
        seconds = (head.keyframe.stamp_ns - last.keyframe.stamp_ns) / _NS
        T_step, Q_66 = self._seen(world, newest, head)
        self._pose = self._compound(head, T_step, Q_66, seconds, is_gap=False)
        return self._pose

    def _begin(self, first: PlacedKeyframe) -> OdometryPose:
        zeros = np.zeros((6, 6))
        self._last = first
        self._pose = OdometryPose(first.keyframe.stamp_ns, np.eye(4), zeros, np.zeros(6), zeros)
        return self._pose

    def _go_on(
        self, world: World, ours: Sequence[PlacedKeyframe], newest: PlacedKeyframe
    ) -> OdometryPose | None:
        """Add the step from the keyframe before to the newest one."""
        last = self._last
        assert last is not None
        if newest.keyframe.number <= last.keyframe.number:
            return None
        before = next((p for p in ours if p.keyframe.number == last.keyframe.number), None)
        self._last = newest
        seconds = max((newest.keyframe.stamp_ns - last.keyframe.stamp_ns) / _NS, 1e-6)
        gap = before is None or self._is_lost(world)
        if before is None or gap:
            T_step, Q_66 = self._unseen(last, newest, seconds)
        else:
            T_step, Q_66 = self._seen(world, before, newest)
            sigma = world.scale.sigma if self._scaled else 0.0
            self._along[:3] += sigma * self._T_odom_base[:3, :3] @ T_step[:3, 3]
        self._pose = self._compound(newest, T_step, Q_66, seconds, is_gap=gap)
        self._covariance = self._pose.covariance_66 - np.outer(self._along, self._along)
        self._T_odom_base = self._pose.T_odom_base
        return self._pose

    def _is_lost(self, world: World) -> bool:
        """Whether nobody knows how long a step is in metres."""
        return self._scaled and not math.isfinite(world.scale.sigma)

    def _seen(
        self, world: World, before: PlacedKeyframe, newest: PlacedKeyframe
    ) -> tuple[Floats, Floats]:
        """The base's step and its covariance in the axes of the base before it."""
        units = world.scale.metres_per_unit if self._scaled else 1.0
        extrinsics = _extrinsics(world, lever=self._scaled)
        T_body = inverse(before.T_map_body) @ newest.T_map_body
        T_step = extrinsics @ metric(T_body, units) @ inverse(extrinsics)
        Q_body = _edge_covariance(_direct_edge(world, before, newest), T_body[:3, 3] * units)
        R = extrinsics[:3, :3]
        lever = R @ T_body[:3, :3] @ inverse(extrinsics)[:3, 3]
        jacobian = np.zeros((6, 6))
        jacobian[:3, :3] = jacobian[3:, 3:] = R
        jacobian[:3, 3:] = -cross_matrix(lever) @ R
        return T_step, jacobian @ Q_body @ jacobian.T

    def _unseen(
        self, last: PlacedKeyframe, newest: PlacedKeyframe, seconds: float
    ) -> tuple[Floats, Floats]:
        """A step that the camera has not seen: by another odometry, else none at all."""
        T_step = None
        if self._scaled:
            T_step = self._bridge(last.keyframe.stamp_ns, newest.keyframe.stamp_ns)
        shift, turn = _UNSEEN_SPEED * seconds, min(_UNSEEN_TURN * seconds, math.pi)
        if T_step is not None:
            shift = 0.05 * float(np.linalg.norm(T_step[:3, 3])) + 0.02
            turn = 0.05 * float(np.linalg.norm(rotation_vector(T_step[:3, :3]))) + 0.02
        variances = np.array([shift**2] * 3 + [turn**2] * 3)
        return np.eye(4) if T_step is None else T_step, np.diag(variances)

    def _compound(
        self,
        to: PlacedKeyframe,
        T_step: Floats,
        Q_66: Floats,
        seconds: float,
        *,
        is_gap: bool,
    ) -> OdometryPose:
        """The pose behind a step: F C F' + G Q G' with the Jacobians of T_odom_base @ T_step."""
        R = self._T_odom_base[:3, :3]
        F = np.eye(6)
        F[:3, 3:] = -cross_matrix(R @ T_step[:3, 3])
        G = np.zeros((6, 6))
        G[:3, :3] = G[3:, 3:] = R
        covariance = F @ self._covariance @ F.T + G @ Q_66 @ G.T
        turn = rotation_vector(T_step[:3, :3])
        # The scale is one and the same in all steps: its error adds up, it does not average out.
        return OdometryPose(
            to.keyframe.stamp_ns,
            self._T_odom_base @ T_step,
            covariance + np.outer(self._along, self._along),
            np.concatenate([T_step[:3, 3], turn]) / seconds,
            Q_66 / seconds**2,
            is_gap,
        )


def _extrinsics(world: World, *, lever: bool) -> Floats:
    """T_base_body; without the lever where its metres are not in the unit of the steps."""
    if world.T_base_body is None:
        return np.eye(4)
    return world.T_base_body if lever else metric(world.T_base_body, 0.0)


def _direct_edge(world: World, before: PlacedKeyframe, newest: PlacedKeyframe) -> Edge | None:
    """The best edge between two keyframes; None where there is none."""
    i, j = before.keyframe.number, newest.keyframe.number
    edges = [one for one in world.edges if (one.i, one.j) == (i, j) or (one.i, one.j) == (j, i)]
    return min(edges, key=lambda edge: edge.sigma_rotation, default=None)


def _edge_covariance(edge: Edge | None, step_3: Floats) -> Floats:
    """(6, 6) of a step in the axes of the body before it.

    Args:
        edge: Whose sigmas hold; None: those of a usual step.
        step_3: The step's translation, in the unit of the covariance.
    """
    length = float(np.linalg.norm(step_3))
    seen = edge is None or math.isfinite(edge.sigma_direction)
    floor = np.eye(3) * (_STEP_FLOOR if seen else _TURN_FLOOR) ** 2
    covariance = np.zeros((6, 6))
    if edge is None:
        covariance[:3, :3] = np.eye(3) * (_STEP_SHARE * length) ** 2 + floor
        covariance[3:, 3:] = np.eye(3) * _STEP_RAD**2
        return covariance
    direction = step_3 / length if length > 0 else np.zeros(3)
    along = np.outer(direction, direction)
    across = min(edge.sigma_direction, 1.0) * length  # beyond a radian the direction is unknown
    lengthwise = min(edge.sigma_log_length, 1.0) * length
    covariance[:3, :3] = along * lengthwise**2 + (np.eye(3) - along) * across**2 + floor
    covariance[3:, 3:] = np.eye(3) * (edge.sigma_rotation**2 + _STEP_RAD**2)
    return covariance
