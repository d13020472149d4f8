# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How much light falls on places: sun, windows, lamps, and what surfaces throw back.

Direct light is sampled with one ray to the sun and one to a window or lamp. What surfaces throw
back comes from a volume of six-sided irradiance (McTaggart, "Half-Life 2 / Valve Source Shading",
GDC 2004) that is gathered once per scene; it is only read where a bounced ray ends, so that its
coarseness does not show.
Letters: R rays, L lights, P points of the volume, D directions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scene import FurnishedScene
from .surfaces import Surfaces

__all__ = ["Light", "Volume", "sky_light"]

Rays = NDArray[np.float32]
_LIFT = 2e-3  # metres above a surface at which rays start
_FAR = 1e3
_NEAREST = 0.03  # square metres: nearer lamps are no brighter
_DIRECTIONS = 40
_BOUNCES = 3
_BURIED = 0.05  # metres: a point whose rays mostly end nearer lies inside of something
_AXES = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)  # +x +y +z -x -y -z
OPEN_REACH, OPEN_SPACING = 14.0, 1.6  # metres, outdoors


def sky_light(sky_HW3: NDArray[np.float32], direction_R3: Rays) -> NDArray[np.float32]:
    """(R, 3) radiance of a panorama along directions, between its four nearest pixels."""
    height, width = sky_HW3.shape[:2]
    length = np.linalg.norm(direction_R3, axis=1, keepdims=True)
    unit = direction_R3 / np.maximum(length, 1e-12)
    row = np.arccos(np.clip(unit[:, 2], -1, 1)) / np.pi * height - 0.5
    column = (0.5 - np.arctan2(unit[:, 1], unit[:, 0]) / (2 * np.pi)) * width - 0.5
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = (row - top)[:, None], (column - left)[:, None]
    low, high = np.clip(top, 0, height - 1), np.clip(top + 1, 0, height - 1)
    first, second = left % width, (left + 1) % width
    upper = sky_HW3[low, first] * (1 - right) + sky_HW3[low, second] * right
    lower = sky_HW3[high, first] * (1 - right) + sky_HW3[high, second] * right
    mixed: NDArray[np.float32] = (upper * (1 - down) + lower * down).astype(np.float32)
    return mixed


class Light:
    """Sun, windows and lamps of a scene.

    Args:
        scene: Which.
        surfaces: Its triangles.
    """

    def __init__(self, scene: FurnishedScene, surfaces: Surfaces) -> None:
        self._surfaces = surfaces
        light = scene.lighting
        self.lighting = light
        self.open = not light.portal_L.any()  # whether a bounced ray may meet the sky
        self._area_L = 4 * np.linalg.norm(np.cross(light.across_L3, light.up_L3), axis=1)
        coarse = light.sky_HW3
        while coarse.shape[0] > 32:  # for sampling, where bright texels would only be noise
            coarse = _halved(coarse)
        self._coarse = np.minimum(coarse, 12 * coarse.mean()).astype(np.float32)
        outward = (
            sky_light(self._coarse, -light.facing_L3) if len(self._area_L) else np.zeros((0, 3))
        )
        radiance = np.where(light.portal_L[:, None], outward, light.radiance_L3)
        self._power_L = radiance.mean(axis=1) * self._area_L

    def sky(self, direction_R3: Rays, coarse: bool = False) -> NDArray[np.float32]:
        """(R, 3) radiance of the sky; `coarse` where it lights something."""
        return sky_light(self._coarse if coarse else self.lighting.sky_HW3, direction_R3)

    def direct(
        self, point_R3: Rays, flat_R3: Rays, normal_R3: Rays, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """(R, 3) irradiance that comes straight from sun, windows and lamps, one sample each."""
        start = point_R3 + _LIFT * flat_R3
        total = np.zeros_like(point_R3)
        sun = self.lighting.sun_3
        if sun is not None:
            facing = normal_R3 @ sun
            some = np.flatnonzero((facing > 0) & (flat_R3 @ sun > 0))
            toward = np.tile(sun, (len(some), 1))
            share = self._surfaces.passing(
                start[some], toward, np.full(len(some), _FAR, np.float32)
            )
            total[some] += (facing[some] * share)[:, None] * self.lighting.sun_power_3
        if len(self._area_L):
            total += self._sampled(start, flat_R3, normal_R3, rng)
        return total

    def _sampled(
        self, start_R3: Rays, flat_R3: Rays, normal_R3: Rays, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """One light of all, drawn by what it would give if nothing stood between."""
        light, count = self.lighting, len(start_R3)
        guess = self._guess(start_R3, normal_R3)
        ends = np.cumsum(guess, axis=1)
        drawn = (ends < (rng.random(count, np.float32) * ends[:, -1])[:, None]).sum(axis=1)
        drawn = np.minimum(drawn, guess.shape[1] - 1)
        chance = guess[np.arange(count), drawn] / np.maximum(ends[:, -1], 1e-12)
        spot = 2 * rng.random((count, 2), np.float32) - 1
        end = (
            light.centre_L3[drawn]
            + spot[:, :1] * light.across_L3[drawn]
            + spot[:, 1:] * light.up_L3[drawn]
        )
        toward = end - start_R3
        square = np.maximum((toward * toward).sum(1), 1e-6)
        length = np.sqrt(square)
        unit = toward / length[:, None]
        facing = light.facing_L3[drawn]
        leaving = np.where((facing != 0).any(1), -(facing * unit).sum(1), 1.0)
        arriving = (normal_R3 * unit).sum(1)
        some = np.flatnonzero((leaving > 0) & (arriving > 0) & ((flat_R3 * unit).sum(1) > 0))
        share = self._surfaces.passing(start_R3[some], unit[some], length[some] - 2 * _LIFT)
        weight = leaving * arriving * self._area_L[drawn] / np.maximum(square, _NEAREST)
        weight = (weight / np.maximum(chance, 1e-4))[some] * share
        radiance = light.radiance_L3[drawn[some]].copy()
        portal = light.portal_L[drawn[some]]
        if portal.any():
            radiance[portal] = self.sky(unit[some][portal], coarse=True)
        total = np.zeros_like(start_R3)
        total[some] = radiance * weight[:, None]
        return total

    def _guess(self, point_R3: Rays, normal_R3: Rays) -> NDArray[np.float32]:
        """(R, L) what each light would give, roughly; never quite 0 where it might."""
        light = self.lighting
        guesses = []
        for index in range(len(self._area_L)):
            toward = light.centre_L3[index] - point_R3
            square = (toward * toward).sum(1)
            length = np.sqrt(square)
            reach = np.sqrt(self._area_L[index]) / (length + 1e-3)
            facing = light.facing_L3[index]
            leaving = -(toward @ facing) / length if facing.any() else np.ones_like(length)
            arriving = (toward * normal_R3).sum(1) / length
            shown = np.clip(leaving + 0.1 * reach, 0, 1) * np.clip(arriving + 0.5 * reach, 0, 1)
            guesses.append(self._power_L[index] * shown / (square + self._area_L[index]))
        guess: NDArray[np.float32] = np.stack(guesses, axis=1).astype(np.float32)
        return guess + 1e-7


def _halved(sky_HW3: NDArray[np.float32]) -> NDArray[np.float32]:
    """The panorama at half its size."""
    rows = sky_HW3[::2] + sky_HW3[1::2]
    half: NDArray[np.float32] = ((rows[:, ::2] + rows[:, 1::2]) / np.float32(4)).astype(np.float32)
    return half


class Volume:
    """Irradiance of a scene on a grid of points, for surfaces of six directions.

    Args:
        scene: Which.
        surfaces, light: Of the scene.
        rng: Of the rays.
        spacing: Metres between points.
    """

    def __init__(
        self, scene: FurnishedScene, surfaces: Surfaces, light: Light,
        rng: np.random.Generator, spacing: float = 0.4,
    ) -> None:  # fmt: skip
        indoor = scene.kind == "indoor"
        reach = np.array(scene.size[:2]) / 2 if indoor else np.full(2, OPEN_REACH)
        spacing = spacing if indoor else OPEN_SPACING
        self._low = np.array([-reach[0], -reach[1], 0.0]) + 0.08
        extent = np.array([2 * reach[0], 2 * reach[1], scene.size[2] if indoor else 9.0]) - 0.16
        self._count = np.maximum(np.rint(extent / spacing).astype(int) + 1, 2)
        self._step = extent / (self._count - 1)
        grid = np.meshgrid(*[np.arange(n) for n in self._count], indexing="ij")
        place = self._low + np.stack(grid, axis=-1).reshape(-1, 3) * self._step
        inside = _inside(place, scene) if indoor else np.ones(len(place), np.bool_)
        self._irradiance_P63 = np.zeros((len(place), 6, 3), np.float32)
        self._gather(place[inside].astype(np.float32), np.flatnonzero(inside), surfaces, light, rng)

    def _gather(
        self, point_P3: Rays, number_P: NDArray[np.int64], surfaces: Surfaces, light: Light,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        count = len(point_P3)
        direction = rng.normal(size=(count, _DIRECTIONS, 3)).astype(np.float32)
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        rays = direction.reshape(-1, 3)
        origin = np.repeat(point_P3, _DIRECTIONS, axis=0)
        met = surfaces.meet(origin, rays)
        hit = met.face_R >= 0
        far = met.t_R.reshape(count, _DIRECTIONS)
        buried = np.median(far, axis=1) < _BURIED
        point = origin[hit] + met.t_R[hit, None] * rays[hit]
        width = np.full(int(hit.sum()), 0.1, np.float32)
        surface = surfaces.describe(
            met.face_R[hit], met.u_R[hit], met.v_R[hit], point, rays[hit], width, rng
        )
        base = self._straight(point_P3, light, rng)
        sky = np.zeros((len(rays), 3), np.float32)
        if light.open:
            sky[~hit] = light.sky(rays[~hit], coarse=True)
        weight = np.maximum(direction @ _AXES.T, 0) * (4 * np.pi / _DIRECTIONS)
        self._set(number_P, base, buried)
        for _ in range(_BOUNCES):
            radiance = sky.copy()
            fallen = self.look(surface.point_R3, surface.normal_R3, rng)
            radiance[hit] = surface.albedo_R3 / np.pi * fallen * met.tint_R3[hit]
            radiance = radiance.reshape(count, _DIRECTIONS, 3)
            gathered = np.einsum("pda,pdc->pac", weight, radiance)
            self._set(number_P, base + gathered, buried)

    def _straight(self, point_P3: Rays, light: Light, rng: np.random.Generator) -> Rays:
        """(P, 6, 3) irradiance from sun, windows and lamps, some samples each."""
        samples = 4
        normal = np.tile(np.repeat(_AXES, samples, axis=0), (len(point_P3), 1))
        point = np.repeat(point_P3, 6 * samples, axis=0)
        direct = light.direct(point, normal, normal, rng)
        mean: Rays = direct.reshape(len(point_P3), 6, samples, 3).mean(axis=2)
        return mean

    def _set(
        self, number_P: NDArray[np.int64], value_P63: Rays, buried_P: NDArray[np.bool_]
    ) -> None:
        """Store values; points inside of things and outside of the room take their neighbours'."""
        shape = (*self._count, 6, 3)
        known = np.zeros(len(self._irradiance_P63), np.float32)
        known[number_P[~buried_P]] = 1.0
        self._irradiance_P63[:] = 0
        self._irradiance_P63[number_P[~buried_P]] = value_P63[~buried_P]
        value, weight = self._irradiance_P63.reshape(shape), known.reshape(shape[:3])
        for _ in range(int(max(self._count))):
            if weight.all():
                break
            total, near = np.zeros_like(value), np.zeros_like(weight)
            for axis in range(3):
                for way in (-1, 1):
                    moved, there = np.roll(value, way, axis), np.roll(weight, way, axis)
                    edge: list[slice | int] = [slice(None)] * 3
                    edge[axis] = 0 if way == 1 else -1
                    there = there.copy()
                    there[tuple(edge)] = 0
                    total += moved * there[..., None, None]
                    near += there
            fill = (weight == 0) & (near > 0)
            value[fill] = total[fill] / near[fill][:, None, None]
            weight = np.where(fill, 1.0, weight)

    def look(
        self, point_R3: Rays, normal_R3: Rays, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """(R, 3) irradiance of surfaces, from one of the eight points around, drawn by nearness."""
        place = (point_R3 + 0.12 * normal_R3 - self._low) / self._step
        place = place + rng.random(place.shape, np.float32)
        index = np.clip(np.floor(place).astype(int), 0, self._count - 1)
        flat = (index[:, 0] * self._count[1] + index[:, 1]) * self._count[2] + index[:, 2]
        cube = self._irradiance_P63[flat]
        square = normal_R3 * normal_R3
        positive = np.where(normal_R3 > 0, square, 0)[..., None]
        negative = np.where(normal_R3 > 0, 0, square)[..., None]
        total: NDArray[np.float32] = (cube[:, :3] * positive + cube[:, 3:] * negative).sum(axis=1)
        return total


def _inside(place_P3: NDArray[np.float64], scene: FurnishedScene) -> NDArray[np.bool_]:
    """(P,) whether places lie over a floor."""
    inside = np.zeros(len(place_P3), np.bool_)
    for x0, y0, x1, y1 in scene.floors:
        inside |= (
            (place_P3[:, 0] > x0) & (place_P3[:, 0] < x1)
            & (place_P3[:, 1] > y0) & (place_P3[:, 1] < y1)
        )  # fmt: skip
    return inside
