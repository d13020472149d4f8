# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A robot that does what /cmd_vel tells it, in a scene, with the same sensors as a drive's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..drives import NS, START_NS, Drive, DriveFrame, planar
from ..free_space import FreeSpace
from ..lidar import Scanner
from ..messages import MessageMaker
from ..stream import Due, RobotMessages, Streams
from ..wheels import WheelOdometry

__all__ = ["Commanded"]

Floats = NDArray[np.float64]

_STALE_S = 0.5  # a command holds so long, as on a real base
_LARGEST_M2 = 400.0  # of scenes in which things are in the way; in larger ones nothing is


@dataclass(frozen=True, eq=False)
class _State:
    """Where the robot is at a tick."""

    pose_3: Floats
    time_ns: int


class Commanded:
    """The streams of a robot under command; each is to be read in real time.

    Args:
        drive: The scene; the robot starts where its tour does.
        maker: Makes the messages.
        streams: What is sent.
        start_ns: Monotonic clock at which the robot starts.
    """

    def __init__(self, drive: Drive, maker: MessageMaker, streams: Streams, start_ns: int) -> None:
        self._drive, self._start_ns = drive, start_ns
        self._made = RobotMessages(drive, maker, streams)
        self._wheels = WheelOdometry(drive.robot.wheel_base, drive.spec.wheels, drive.spec.seed)
        x0, y0, x1, y1 = drive.scene.room.roam
        small = (x1 - x0) * (y1 - y0) <= _LARGEST_M2
        self._space = FreeSpace(drive.scene.room, drive.robot.radius) if small else None
        self._lock = threading.Lock()
        self._state = _State(drive.motion.pose_M3[0].copy(), 0)
        self._wanted, self._told_ns = np.zeros(2), -NS
        self._speed = np.zeros(2)

    def command(self, speed: float, turn_rate: float) -> None:
        """Drive at a speed (metres per second) and a turn rate (radians per second)."""
        robot = self._drive.robot
        with self._lock:
            self._wanted = np.clip(
                [speed, turn_rate], [-robot.speed, -robot.turn_rate], [robot.speed, robot.turn_rate]
            )
            self._told_ns = time.monotonic_ns() - self._start_ns

    def static(self) -> Due:
        """/tf_static."""
        return self._made.static()

    def wheels(self) -> Iterator[list[Due]]:
        """The robot moves while this is read."""
        step_s = 1.0 / self._drive.spec.odometry_hz
        tick = 0
        while True:
            way, turn = self._advance(step_s) if tick else (0.0, 0.0)
            if tick:
                self._wheels.advance(way, turn, step_s)
            stamp = START_NS + round(tick * step_s * NS)
            with self._lock:
                self._state = _State(self._state.pose_3, stamp)
            twist = np.array([self._wheels.speed, self._wheels.turn_rate])
            T_odom_base = planar(*self._wheels.pose)
            yield self._made.odometry(stamp, T_odom_base, twist, planar(*self._state.pose_3))
            tick += 1

    def ranges(self) -> Iterator[list[Due]]:
        """A scan from where the robot is when it is asked for."""
        scanner = Scanner(self._drive.scene.room, self._drive.lidar)
        rng = np.random.default_rng([self._drive.spec.seed, 67])
        upside_down = self._drive.spec.faults.lidar_upside_down
        T_base_laser = self._drive.robot.T_base_laser(upside_down)
        for stamp, T_world_base in self._instants(self._drive.spec.scan_hz):
            ranges = scanner.measured((T_world_base @ T_base_laser)[None], rng)[0]
            yield self._made.scan(stamp, ranges)

    def pictures(self) -> Iterator[list[Due]]:
        """A picture from where the robot is when it is asked for."""
        drive, stereo = self._drive, self._drive.spec.stereo_m
        photographer = drive.pictures().photographer
        rights = [0.0, stereo] if stereo else [0.0]
        for number, (stamp, T_world_base) in enumerate(self._instants(drive.spec.rate_hz)):
            poses = np.stack([T_world_base @ drive.robot.T_base_optical(right) for right in rights])
            taken = photographer.take(poses)
            other = taken[1].rgb if stereo else None
            frame = DriveFrame(stamp, taken[0].rgb, taken[0].depth, poses[0], other)
            yield self._made.frame(frame, number)

    def _instants(self, rate_hz: float) -> Iterator[tuple[int, Floats]]:
        """Stamps at a rate, as they come, with where the robot is; those missed are left out."""
        number = 0
        while True:
            wait_ns = START_NS + round(number / rate_hz * NS) - self._now_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / NS)
            with self._lock:
                state = self._state
            yield max(state.time_ns, START_NS), planar(*state.pose_3)
            number = max(number + 1, int((self._now_ns() - START_NS) / NS * rate_hz))

    def _now_ns(self) -> int:
        return START_NS + time.monotonic_ns() - self._start_ns

    def _advance(self, seconds: float) -> tuple[float, float]:
        """Move; returns metres and radians."""
        robot = self._drive.robot
        with self._lock:
            stale = time.monotonic_ns() - self._start_ns - self._told_ns > _STALE_S * NS
            wanted = np.zeros(2) if stale else self._wanted
            most = seconds * np.array([robot.acceleration, robot.turn_acceleration])
            self._speed = self._speed + np.clip(wanted - self._speed, -most, most)
            way, turn = (float(value) for value in self._speed * seconds)
            x, y, yaw = self._state.pose_3
            heading = yaw + turn / 2
            there = np.array([x + way * np.cos(heading), y + way * np.sin(heading), yaw + turn])
            if self._space is not None and way:
                clear = float(self._space.clearance(there[None, :2])[0])
                here = float(self._space.clearance(self._state.pose_3[None, :2])[0])
                if clear < min(robot.radius, here):  # it stands against something
                    there[:2], way = (x, y), 0.0
                    self._speed[0] = 0.0
            self._state = _State(there, self._state.time_ns)
            return way, turn
