# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Odometry as wheels give it: the speeds of two wheels, with their errors, integrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WheelErrors", "WheelOdometry"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WheelErrors:
    """How wrong the wheels are; shares of the way that a wheel rolls.

    The first two are drawn once per drive and stay; so they do not average out.

    Args:
        scale: Standard deviation of the error that both wheels share (their radius, the floor).
        difference: Standard deviation of the difference between the wheels.
        noise: Standard deviation of each wheel's speed, anew each tenth of a second.
        slip_rate: Slips per second of driving: a wheel turns and the robot does not follow.
        slip: Longest of them, metres.
    """

    scale: float = 0.02
    difference: float = 0.0007
    noise: float = 0.01
    slip_rate: float = 0.02
    slip: float = 0.01


class WheelOdometry:
    """Integrates what two wheels measure; starts at the origin.

    x' = v cos(yaw), y' = v sin(yaw), yaw' = (right - left) / base; the yaw in the middle of a
    step is used for it.

    Args:
        wheel_base: Metres between the wheels.
        errors: Of the wheels.
        seed: Of all that is drawn.
    """

    def __init__(self, wheel_base: float, errors: WheelErrors, seed: int) -> None:
        self._base, self._errors = wheel_base, errors
        self._rng = np.random.default_rng([seed, 71])
        shared = 1.0 + self._rng.normal(0.0, errors.scale)
        apart = self._rng.normal(0.0, errors.difference) / 2
        self._gain_2 = np.array([shared - apart, shared + apart])
        self._noise_2 = np.zeros(2)
        self._until_s = 0.0
        self._slip_left = np.zeros(2)
        self.x = self.y = self.yaw = 0.0
        self.speed = self.turn_rate = 0.0

    def advance(
        self, way: float, turn: float, seconds: float, extra: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        """Roll on.

        Args:
            way: Metres that the middle between the wheels really moved along the heading.
            turn: Radians that the robot really turned to the left.
            seconds: In this time.
            extra: Factors on what the left and the right wheel measure: a slipping wheel.
        """
        errors = self._errors
        self._until_s -= seconds
        if self._until_s <= 0.0:
            self._until_s += 0.1
            self._noise_2 = self._rng.normal(0.0, errors.noise, 2)
            if abs(way) > 1e-6 and self._rng.random() < 0.1 * errors.slip_rate:
                wheel = int(self._rng.integers(2))
                self._slip_left[wheel] = self._rng.uniform(0.0, errors.slip)
        wheels_2 = np.array([way - turn * self._base / 2, way + turn * self._base / 2])
        slipped_2 = np.minimum(self._slip_left, 0.5 * np.abs(wheels_2))
        self._slip_left = self._slip_left - slipped_2
        wheels_2 = wheels_2 * self._gain_2 * (1.0 + self._noise_2) * np.array(extra) + slipped_2
        forward = float(wheels_2.mean())
        turned = float(wheels_2[1] - wheels_2[0]) / self._base
        middle = self.yaw + turned / 2
        self.x += forward * float(np.cos(middle))
        self.y += forward * float(np.sin(middle))
        self.yaw += turned
        self.speed, self.turn_rate = forward / seconds, turned / seconds

    def reset(self) -> None:
        """Start at the origin again, as after a restart of the base's driver."""
        self.x = self.y = self.yaw = 0.0

    @property
    def pose(self) -> Floats:
        """(3,) x, y in metres, yaw in radians, of the base in the odometry's frame."""
        return np.array([self.x, self.y, self.yaw])
