# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How a robot drives along given ways: speeds, turns on the spot, stops; the true motion.

A tour is a list of manoeuvres. Each becomes samples of the planar pose every `TICK_S`; heading
follows the way, so that the motion is one that two driven wheels can do.
Shape letters: K points of a way, M ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from .robot import Robot, turn_z

__all__ = ["TICK_S", "Leg", "Motion", "Pause", "Turn", "drive_along", "smooth_way"]

Floats = NDArray[np.float64]

TICK_S = 0.02
_STEP_M = 0.02  # of ways, on short robots; a car's is ten times as long
_SLOWEST = 0.03  # metres per second where a way begins and ends


@dataclass(frozen=True, eq=False)
class Leg:
    """Drive along a way and stop at its end.

    Args:
        way_K2: Points, metres; smooth (see `smooth_way`).
        speed: Fastest, metres per second; 0: as fast as the robot is.
    """

    way_K2: Floats
    speed: float = 0.0


@dataclass(frozen=True)
class Turn:
    """Turn on the spot by an angle; above 0 to the left, radians."""

    angle: float


@dataclass(frozen=True)
class Pause:
    """Stand still for some seconds."""

    seconds: float


@dataclass(frozen=True, eq=False)
class Motion:
    """The true motion of a base.

    Args:
        time_M: Seconds from the start, every `TICK_S`.
        pose_M3: x, y (metres), yaw (radians, going on beyond pi).
        way_M: Metres rolled since the tick before.
        turn_M: Radians turned since the tick before.
        T_world_base_M44: (M, 4, 4) with the small roll and pitch of a robot that shakes.
    """

    time_M: Floats
    pose_M3: Floats
    way_M: Floats
    turn_M: Floats
    T_world_base_M44: Floats

    @property
    def length_m(self) -> float:
        """Metres of the whole way."""
        return float(np.abs(self.way_M).sum())


def smooth_way(points_K2: Floats, rounding: float, step: float = _STEP_M) -> Floats:
    """Round the corners of a polyline; its ends stay.

    Args:
        points_K2: Corners, metres.
        rounding: Standard deviation of the Gauss that rounds them, metres along the way.
        step: Distance of the points returned, metres.

    Returns:
        (K', 2) points at even distances.
    """
    even = _evenly(points_K2, step)
    # Mirrored in its ends, a way keeps them where they are.
    rounded = np.column_stack([_rounded(even[:, axis], rounding / step) for axis in range(2)])
    return _evenly(rounded, step)


def _rounded(values_K: Floats, sigma: float) -> Floats:
    pad = min(len(values_K) - 1, int(4 * sigma) + 1)
    before = 2 * values_K[0] - values_K[pad:0:-1]
    behind = 2 * values_K[-1] - values_K[-2 : -pad - 2 : -1]
    smooth = gaussian_filter1d(np.concatenate([before, values_K, behind]), sigma)
    return np.asarray(smooth[pad : len(smooth) - pad], np.float64)


def _evenly(points_K2: Floats, step: float) -> Floats:
    gaps = np.linalg.norm(np.diff(points_K2, axis=0), axis=1)
    keep = np.concatenate([[True], gaps > 1e-9])
    points, along = points_K2[keep], np.concatenate([[0.0], np.cumsum(gaps[gaps > 1e-9])])
    count = max(2, round(along[-1] / step) + 1)
    wanted = np.linspace(0.0, along[-1], count)
    return np.column_stack([np.interp(wanted, along, points[:, axis]) for axis in range(2)])


def drive_along(
    manoeuvres: Sequence[Leg | Turn | Pause], robot: Robot, seed: int, start_yaw: float
) -> Motion:
    """Do manoeuvres one after the other; between two legs the robot turns on the spot.

    Args:
        manoeuvres: The first leg says where the tour starts.
        robot: Its limits.
        seed: Of how it shakes.
        start_yaw: Heading at the start, radians.

    Raises:
        ValueError: There is no leg.
    """
    legs = [item for item in manoeuvres if isinstance(item, Leg)]
    if not legs:
        raise ValueError(f"a tour of {len(manoeuvres)} manoeuvres has no leg, expected one or more")
    pieces = [np.array([[*legs[0].way_K2[0], start_yaw]])]
    for item in manoeuvres:
        last = pieces[-1][-1]
        if isinstance(item, Pause):
            pieces.append(np.tile(last, (round(item.seconds / TICK_S), 1)))
        elif isinstance(item, Turn):
            pieces.append(_turned(last, item.angle, robot))
        else:
            driven = _driven(item, robot)
            toward = float(np.remainder(driven[0, 2] - last[2] + np.pi, 2 * np.pi) - np.pi)
            pieces.append(_turned(last, toward, robot))
            driven[:, 2] += last[2] + toward - driven[0, 2]
            pieces.append(driven)
    return motion_of(np.concatenate([piece for piece in pieces if len(piece)]), robot, seed)


def motion_of(pose_M3: Floats, robot: Robot, seed: int) -> Motion:
    """The motion through planar poses, one each tick."""
    step = np.diff(pose_M3, axis=0, prepend=pose_M3[:1])
    middle = pose_M3[:, 2] - step[:, 2] / 2
    way = step[:, 0] * np.cos(middle) + step[:, 1] * np.sin(middle)
    return Motion(
        time_M=np.arange(len(pose_M3), dtype=np.float64) * TICK_S,
        pose_M3=pose_M3,
        way_M=way,
        turn_M=step[:, 2],
        T_world_base_M44=_with_shake(pose_M3, way, robot, seed),
    )


def _turned(pose_3: Floats, angle: float, robot: Robot) -> Floats:
    """Poses of a turn on the spot."""
    if abs(angle) < 1e-3:
        return np.zeros((0, 3))
    along = _ramp(abs(angle), robot.turn_rate, robot.turn_acceleration)
    turned = np.tile(pose_3, (len(along), 1))
    turned[:, 2] += np.sign(angle) * along
    return turned


def _ramp(length: float, speed: float, acceleration: float) -> Floats:
    """Distances at the ticks of a motion that starts and ends at rest."""
    speed = min(speed, float(np.sqrt(length * acceleration)))
    ramp_s = speed / acceleration
    total_s = ramp_s + length / speed
    time = np.arange(TICK_S, total_s + TICK_S, TICK_S).clip(max=total_s)
    rising = 0.5 * acceleration * np.minimum(time, ramp_s) ** 2
    level = speed * (np.minimum(time, total_s - ramp_s) - ramp_s).clip(min=0.0)
    falling_s = (time - (total_s - ramp_s)).clip(min=0.0)
    falling = speed * falling_s - 0.5 * acceleration * falling_s**2
    return np.asarray(rising + level + falling, np.float64)


def _driven(leg: Leg, robot: Robot) -> Floats:
    """Poses along a way, as fast as curves, acceleration and both ends allow."""
    way = leg.way_K2
    gaps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(gaps)])
    tangent = np.gradient(way, along, axis=0)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    curve = np.abs(np.gradient(yaw, along)).clip(min=1e-6)
    fastest = leg.speed or robot.speed
    speed = np.minimum(fastest, np.sqrt(robot.side_acceleration / curve))
    speed = np.minimum(speed, robot.turn_rate / curve).clip(min=max(_SLOWEST, robot.speed_at_least))
    speed[0] = speed[-1] = _SLOWEST
    for order in (range(1, len(speed)), range(len(speed) - 2, -1, -1)):
        for here in order:  # v'^2 = v^2 + 2 a ds, forwards and backwards
            there = here - order.step
            gap = abs(along[here] - along[there])
            reach = np.sqrt(speed[there] ** 2 + 2 * robot.acceleration * gap)
            speed[here] = min(speed[here], reach)
    seconds = np.concatenate([[0.0], np.cumsum(gaps / (0.5 * (speed[1:] + speed[:-1])))])
    time = np.arange(TICK_S, seconds[-1] + TICK_S, TICK_S).clip(max=seconds[-1])
    place = np.interp(time, seconds, along)
    return np.column_stack([np.interp(place, along, values) for values in (*way.T, yaw)])


def _with_shake(pose_M3: Floats, way_M: Floats, robot: Robot, seed: int) -> Floats:
    """(M, 4, 4) poses; roll and pitch tremble while the robot drives."""
    count = len(pose_M3)
    rng = np.random.default_rng([seed, 31])
    moving = np.minimum(1.0, np.abs(way_M) / (0.2 * robot.speed * TICK_S))
    moving = gaussian_filter1d(moving, 10.0)
    roll, pitch = (robot.shake * moving * _trembling(rng, count) for _ in range(2))
    tilt = np.tile(np.eye(3), (count, 1, 1))  # of small angles; made exact below
    tilt[:, 0, 2], tilt[:, 2, 0] = pitch, -pitch
    tilt[:, 1, 2], tilt[:, 2, 1] = -roll, roll
    u, _, vt = np.linalg.svd(tilt)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = np.stack([turn_z(yaw) for yaw in pose_M3[:, 2]]) @ (u @ vt)
    T[:, :2, 3] = pose_M3[:, :2]
    return T


def _trembling(rng: np.random.Generator, count: int) -> Floats:
    """(count,) of unit variance, smooth over a tenth of a second."""
    noise = gaussian_filter1d(rng.normal(0.0, 1.0, count), 5.0)
    return np.asarray(noise / max(1e-9, float(noise.std())), np.float64)
