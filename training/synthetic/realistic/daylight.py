# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Skies turned to a scene, their suns taken out of them, and lamps as rectangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models import ModelLibrary
from ..models.panoramas import draw_sky
from .scene import Lighting
from .shell import Portal

__all__ = ["Day", "Lamp", "daylight", "lighting"]

_DAYS = ("city", "courtyard", "forest", "sunrise", "sunset")
_OPEN = ("city", "sunrise", "sunset")
_NIGHTS = ("night",)
_SUN = 40.0  # times the mean of the upper sky: what is brighter belongs to the sun
_STRONGEST = 9.0  # irradiance of the sun, in units of the mean upper sky's radiance


@dataclass(frozen=True)
class Lamp:
    """A rectangle that shines: middle, half edges, direction (0: all round), radiance."""

    centre: NDArray[np.float64]
    across: NDArray[np.float64]
    up: NDArray[np.float64]
    facing: NDArray[np.float64]
    radiance: NDArray[np.float64]

    @staticmethod
    def small(at: NDArray[np.float64], half: float, power: NDArray[np.float64]) -> Lamp:
        """A lamp that shines all round; `power` is the irradiance at two metres."""
        radiance = power * 4 / (4 * half * half)
        return Lamp(at, np.array([half, 0, 0]), np.array([0, half, 0]), np.zeros(3), radiance)

    @staticmethod
    def panel(
        at: NDArray[np.float64], half: tuple[float, float], power: NDArray[np.float64]
    ) -> Lamp:
        """A lamp under the ceiling that shines down; `power` as of `small`."""
        radiance = power * 4 / (4 * half[0] * half[1])
        down = np.array([0.0, 0, -1])
        return Lamp(at, np.array([half[0], 0, 0]), np.array([0, half[1], 0]), down, radiance)


@dataclass(frozen=True)
class Day:
    """A sky and its sun; see `Lighting`."""

    sky_HW3: NDArray[np.float32]
    sun_3: NDArray[np.float32] | None
    sun_power_3: NDArray[np.float32]


def daylight(
    rng: np.random.Generator, library: ModelLibrary, night: bool, outdoor: bool = False
) -> Day:
    """Draw a sky, turn it about, scale its upper half to a mean of one, take its sun out.

    Args:
        rng: Source of every random choice.
        library: Where panoramas come from.
        night: Take a dark one.
        outdoor: Take one without walls near by, which would have a depth.
    """
    wanted = _NIGHTS if night else _OPEN if outdoor else _DAYS
    known = [name for name in wanted if name in library.panoramas]
    if known and (night or rng.random() < (0.7 if outdoor else 0.85)):
        sky = library.panorama(known[int(rng.integers(len(known)))]).copy()
    else:
        sky = draw_sky(rng)
    sky = np.roll(sky, int(rng.integers(sky.shape[1])), axis=1)
    height, width = sky.shape[:2]
    rows = (np.arange(height) + 0.5) / height * np.pi
    solid = (np.sin(rows) * (np.pi / height) * (2 * np.pi / width))[:, None]
    bright = sky.mean(axis=2)
    upper = slice(0, height // 2)
    typical = float(np.median(bright[upper]))
    peaks = bright > _SUN * max(typical, 1e-6)
    peaks[height // 2 :] = False
    sun: NDArray[np.float32] | None = None
    power: NDArray[np.floating] = np.zeros(3, np.float32)
    if peaks.any():
        row, column = np.unravel_index(int((bright * peaks).argmax()), bright.shape)
        sun = _direction(float(row), float(column), height, width)
        power = (sky * (solid * peaks)[..., None]).sum(axis=(0, 1))
        sky[peaks] *= (_SUN * typical / bright[peaks])[:, None]
    mean = float(
        (bright.clip(max=_SUN * typical) * solid)[upper].sum() / solid[upper].sum() / width
    )
    if night:
        mean *= float(rng.uniform(8, 40))
    sky, power = sky / max(mean, 1e-6), power / max(mean, 1e-6)
    if sun is None and not night and rng.random() < 0.35:
        lift, turn = np.radians(rng.uniform(15, 60)), rng.uniform(0, 2 * np.pi)
        flat = np.cos(lift)
        sun = np.array([flat * np.cos(turn), flat * np.sin(turn), np.sin(lift)], np.float32)
        power = np.array([1.0, 0.93, 0.82]) * rng.uniform(2.0, _STRONGEST)
    power = power * min(1.0, _STRONGEST / max(float(power.max()), 1e-6))
    return Day(sky.astype(np.float32), sun, np.asarray(power, np.float32))


def _direction(row: float, column: float, height: int, width: int) -> NDArray[np.float32]:
    down = (row + 0.5) / height * np.pi
    turn = (0.5 - (column + 0.5) / width) * 2 * np.pi
    flat = np.sin(down)
    return np.array([flat * np.cos(turn), flat * np.sin(turn), np.cos(down)], np.float32)


def lighting(day: Day, portals: Sequence[Portal], lamps: Sequence[Lamp]) -> Lighting:
    """One table of everything that shines."""

    def table(name: str) -> NDArray[np.float32]:
        rows = [np.asarray(getattr(item, name), np.float32) for item in (*portals, *lamps)]
        return np.array(rows, np.float32).reshape(-1, 3)

    return Lighting(
        sky_HW3=day.sky_HW3,
        sun_3=day.sun_3,
        sun_power_3=day.sun_power_3,
        centre_L3=table("centre"),
        across_L3=table("across"),
        up_L3=table("up"),
        facing_L3=table("facing"),
        radiance_L3=np.array(
            [np.zeros(3)] * len(portals) + [lamp.radiance for lamp in lamps], np.float32
        ).reshape(-1, 3),
        portal_L=np.array([True] * len(portals) + [False] * len(lamps), np.bool_),
    )
