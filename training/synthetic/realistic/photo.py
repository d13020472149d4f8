# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Photographs of furnished scenes: Embree's rays, one bounce into a light volume, OIDN.

Each pixel's colour is the mean of a few jittered rays, denoised by Open Image Denoise with their
albedo and normals beside them; depth, normals and object numbers are those of one ray through the
pixel's centre and carry no noise. Depth goes through glass and is that of a mirror's own surface;
where the sky is seen, through a window too, it is 0.
Letters: N frames, H W pixels, R rays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..render import RenderedFrames
from .light import Light, Volume
from .scene import FurnishedScene
from .surfaces import Met, Surface, Surfaces

__all__ = ["Photographer", "develop"]

Rays = NDArray[np.float32]
_LIFT = 2e-3
_SHINY = 0.045  # gloss from which on a mirrored ray is cast
_BRIGHTEST = 25.0  # irradiance of one ray, times the picture's mean
_KEY = 0.17  # what the mean brightness of a clip becomes, linear
_BALANCE = 0.75  # share of a colour cast that automatic white balance removes


class Photographer:
    """A scene, lit once, ready for any number of pictures.

    Args:
        scene: Which.
        seed: Of the noise that denoising leaves.
        rays: Per pixel.
        spacing: Of the light volume, metres.
    """

    def __init__(
        self, scene: FurnishedScene, seed: int = 0, rays: int = 4, spacing: float = 0.4
    ) -> None:
        if rays < 1:
            raise ValueError(f"rays is {rays}, expected at least 1")
        self.scene, self.rays = scene, rays
        self._rng = np.random.default_rng([scene.seed, seed, 41])
        self._surfaces = Surfaces(scene)
        self._light = Light(scene, self._surfaces)
        self._volume = Volume(scene, self._surfaces, self._light, self._rng, spacing)

    def take(
        self,
        T_world_cam_N44: NDArray[np.float64],
        K_33: NDArray[np.float64],
        size_hw: tuple[int, int],
        exposure: float = 1.0,
    ) -> RenderedFrames:
        """Photograph along a camera path, with one exposure for all frames.

        Args:
            T_world_cam_N44: (N, 4, 4) camera-to-world, OpenCV axes, metres.
            K_33: (3, 3) pinhole matrix in pixels.
            size_hw: Height and width of the pictures.
            exposure: Factor on the automatic exposure.

        Raises:
            ValueError: Wrong shapes, or no frame.
        """
        poses = np.asarray(T_world_cam_N44, np.float64)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or not len(poses):
            raise ValueError(f"T_world_cam has shape {poses.shape}, expected (N, 4, 4) with N >= 1")
        if np.shape(K_33) != (3, 3) or min(size_hw) < 1:
            raise ValueError(f"K has shape {np.shape(K_33)} and size is {size_hw}")
        K = np.asarray(K_33, np.float64)
        lights, depths, normals, ids = [], [], [], []
        for T_world_cam in poses:
            depth, normal, number = self.truth(T_world_cam, K, size_hw)
            lights.append(self.light_of(T_world_cam, K, size_hw))
            depths.append(depth)
            normals.append(normal)
            ids.append(number)
        return RenderedFrames(
            rgb=develop(np.stack(lights), exposure),
            depth=np.stack(depths),
            normals=np.stack(normals),
            object_id=np.stack(ids),
            T_world_cam=poses,
            K=K,
        )

    def truth(
        self, T_world_cam: NDArray[np.float64], K: NDArray[np.float64], size_hw: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """(H, W) z-depth, (H, W, 3) normals in camera axes, (H, W) object numbers."""
        height, width = size_hw
        y, x = np.mgrid[:height, :width]
        origin, direction = _rays(T_world_cam, K, x.ravel(), y.ravel())
        met = self._surfaces.meet(origin, direction)
        seen = met.face_R >= 0
        depth = np.where(seen, met.t_R, 0).astype(np.float32)
        triangles = self.scene.triangles
        flat = triangles.flat_F3[met.face_R]
        flat = flat * np.where((flat * direction).sum(1) > 0, -1, 1)[:, None]
        normal = np.where(seen[:, None], flat @ T_world_cam[:3, :3], 0).astype(np.float32)
        number = np.where(seen, triangles.object_F[met.face_R], 0).astype(np.uint8)
        return (
            depth.reshape(size_hw), normal.reshape(height, width, 3), number.reshape(size_hw),
        )  # fmt: skip

    def light_of(
        self, T_world_cam: NDArray[np.float64], K: NDArray[np.float64], size_hw: tuple[int, int]
    ) -> NDArray[np.float32]:
        """(H, W, 3) linear light, denoised."""
        from pyoidn import denoise

        height, width = size_hw
        count = height * width
        y, x = np.mgrid[:height, :width]
        # One jittered ray after the other, each from its own part of the pixel.
        side = int(np.ceil(np.sqrt(self.rays)))
        cell = self._rng.permutation(side * side)[: self.rays]
        jitter = self._rng.random((2, self.rays, count), np.float32)
        column = x.ravel() + (cell[:, None] % side + jitter[0]) / side - 0.5
        row = y.ravel() + (cell[:, None] // side + jitter[1]) / side - 0.5
        origin, direction = _rays(T_world_cam, K, column.ravel(), row.ravel())
        angle = np.float32(1.0 / (K[0, 0] * np.sqrt(self.rays)))
        light, albedo, normal = self._seen(origin, direction, angle)
        mean = [
            np.ascontiguousarray(item.reshape(self.rays, height, width, 3).mean(axis=0))
            for item in (light, albedo, normal @ T_world_cam[:3, :3].astype(np.float32))
        ]
        smooth: NDArray[np.float32] = denoise(
            mean[0], np.clip(mean[1], 0, 1), np.clip(mean[2], -1, 1), hdr=True
        )
        return np.maximum(smooth, 0)

    def _seen(self, origin: Rays, direction: Rays, angle: np.float32) -> tuple[Rays, Rays, Rays]:
        """(R, 3) light, albedo and world normal of what rays see; z of the directions is 1."""
        met = self._surfaces.meet(origin, direction)
        hit = np.flatnonzero(met.face_R >= 0)
        light, albedo = np.zeros_like(origin), np.ones_like(origin)
        normal = -direction / np.linalg.norm(direction, axis=1, keepdims=True)
        away = np.flatnonzero(met.face_R < 0)
        light[away] = self._light.sky(direction[away])
        surface = self._described(met, hit, origin, direction, angle)
        radiance = self._lit(surface)
        toward = direction[hit]
        radiance, mirrored = self._shone(surface, toward, radiance)
        light[hit] = radiance
        light *= met.tint_R3
        self._mirror_panes(met, origin, direction, light)
        albedo[hit] = np.where(mirrored[:, None], 0.8, surface.albedo_R3)
        normal[hit] = surface.normal_R3
        return light, albedo, normal

    def _described(
        self, met: Met, hit: NDArray[np.int64], origin: Rays, direction: Rays, angle: np.float32
    ) -> Surface:
        t = met.t_R[hit]
        point = origin[hit] + t[:, None] * direction[hit]
        flat = self.scene.triangles.flat_F3[met.face_R[hit]]
        length = np.linalg.norm(direction[hit], axis=1)
        slant = np.abs((flat * direction[hit]).sum(1)) / length
        width = angle * t / np.maximum(slant, 0.25)
        return self._surfaces.describe(
            met.face_R[hit], met.u_R[hit], met.v_R[hit], point, direction[hit], width, self._rng
        )

    def _lit(self, surface: Surface) -> Rays:
        """(R, 3) light that matt surfaces send out: direct, one bounce, their own."""
        point, flat, normal = surface.point_R3, surface.flat_R3, surface.normal_R3
        fallen = self._light.direct(point, flat, normal, self._rng)
        bounced = _about(normal, self._rng)
        under = (bounced * flat).sum(1) < 0.02  # below the real surface: lift it
        bounced[under] += 1.1 * flat[under] * np.abs((bounced * flat).sum(1))[under, None]
        fallen += np.pi * self._glance(point + _LIFT * flat, bounced)
        if len(fallen):  # what few rays find by chance would become spots
            most = np.float32(_BRIGHTEST * float(fallen.mean()) + 1e-9)
            fallen *= (most / np.maximum(fallen.max(axis=1), most))[:, None]
        light: Rays = surface.albedo_R3 / np.pi * fallen + surface.glow_R3
        return light

    def _glance(self, origin: Rays, direction: Rays, shining: bool = False) -> Rays:
        """(R, 3) radiance along rays, as the light volume knows it.

        `shining` sees the sky and what glows too, which direct light has counted already where
        rays bounce off matt surfaces.
        """
        met = self._surfaces.meet(origin, direction)
        hit = np.flatnonzero(met.face_R >= 0)
        radiance = np.zeros_like(origin)
        surface = self._described(met, hit, origin, direction, np.float32(0.05))
        fallen = self._volume.look(surface.point_R3, surface.normal_R3, self._rng)
        radiance[hit] = surface.albedo_R3 / np.pi * fallen
        if shining:
            radiance[hit] += surface.glow_R3
        if shining or self._light.open:
            away = np.flatnonzero(met.face_R < 0)
            radiance[away] = self._light.sky(direction[away], coarse=not shining)
        tinted: Rays = radiance * met.tint_R3
        return tinted

    def _shone(
        self, surface: Surface, direction: Rays, light: Rays
    ) -> tuple[Rays, NDArray[np.bool_]]:
        """Add what glossy surfaces mirror (Schlick's rise towards grazing); which are mirrors."""
        some = np.flatnonzero(surface.gloss_R > _SHINY)
        mirrors = surface.gloss_R > 0.6
        if not len(some):
            return light, mirrors
        unit = direction[some] / np.linalg.norm(direction[some], axis=1, keepdims=True)
        normal = surface.normal_R3[some]
        gloss = surface.gloss_R[some]
        facing = np.clip(-(unit * normal).sum(1), 0, 1)
        share = gloss + (1 - gloss) * (1 - facing) ** 5 * np.minimum(4 * gloss, 1.0)
        rough = 0.12 * (gloss < 0.6)[:, None] * self._rng.normal(size=unit.shape)
        bounced = unit + 2 * facing[:, None] * normal + rough.astype(np.float32)
        start = surface.point_R3[some] + _LIFT * surface.flat_R3[some]
        seen = self._glance(start, bounced.astype(np.float32), shining=True)
        light[some] = light[some] * (1 - share)[:, None] + seen * share[:, None]
        return light, mirrors

    def _mirror_panes(self, met: Met, origin: Rays, direction: Rays, light: Rays) -> None:
        """Add what glass mirrors, in place."""
        some = np.flatnonzero(met.pane_R >= 0)
        if not len(some):
            return
        flat = self.scene.triangles.flat_F3[met.pane_R[some]]
        unit = direction[some] / np.linalg.norm(direction[some], axis=1, keepdims=True)
        along = (flat * unit).sum(1)
        flat = flat * -np.sign(along)[:, None]
        share = 0.04 + 0.96 * (1 - np.abs(along)) ** 5
        point = origin[some] + met.pane_t_R[some, None] * direction[some]
        bounced = unit + 2 * np.abs(along)[:, None] * flat
        seen = self._glance(point + _LIFT * flat, bounced, shining=True)
        light[some] = light[some] * (1 - share)[:, None] + seen * share[:, None]


def _rays(
    T_world_cam: NDArray[np.float64], K: NDArray[np.float64],
    column_R: NDArray[np.floating], row_R: NDArray[np.floating],
) -> tuple[Rays, Rays]:  # fmt: skip
    """Origins and directions of pixels; z of the directions is 1 in camera axes."""
    local = np.stack(
        [(column_R - K[0, 2]) / K[0, 0], (row_R - K[1, 2]) / K[1, 1], np.ones(len(column_R))],
        axis=1,
    )
    direction = (local @ T_world_cam[:3, :3].T).astype(np.float32)
    origin = np.broadcast_to(T_world_cam[:3, 3].astype(np.float32), direction.shape)
    return np.ascontiguousarray(origin), direction


def _about(normal_R3: Rays, rng: np.random.Generator) -> Rays:
    """(R, 3) unit vectors about normals, as often as Lambert's cosine wants."""
    z = 2 * rng.random(len(normal_R3), np.float32) - 1
    turn = np.float32(2 * np.pi) * rng.random(len(normal_R3), np.float32)
    flat = np.sqrt(1 - z * z)
    ball = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)
    summed = normal_R3 + 0.999 * ball
    unit: Rays = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return unit


def _balanced(light_NHW3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Most of a cast taken out, as automatic white balance does: the means of the colours meet."""
    capped = np.minimum(light_NHW3, 4 * float(np.median(light_NHW3)) + 1e-9)
    mean = capped.reshape(-1, 3).mean(axis=0)
    gain = (mean.mean() / np.maximum(mean, 1e-9)) ** _BALANCE
    balanced: NDArray[np.float32] = light_NHW3 * np.clip(gain, 0.4, 2.5).astype(np.float32)
    return balanced


def develop(light_NHW3: NDArray[np.float32], exposure: float = 1.0) -> NDArray[np.uint8]:
    """Linear light of a clip to (N, H, W, 3) sRGB bytes.

    The geometric mean of the brightness fixes the exposure, as of a camera that does not let a
    window decide; highlights roll off.

    Args:
        light_NHW3: Any unit.
        exposure: Factor on the automatic exposure.
    """
    light_NHW3 = _balanced(light_NHW3)
    bright = light_NHW3 @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    floor = 1e-3 * max(float(bright.mean()), 1e-9)
    level = float(np.exp(np.log(np.maximum(bright, floor)).mean()))
    linear = light_NHW3 * np.float32(_KEY * exposure / level)
    linear = np.where(linear > 0.6, 0.6 + 0.4 * np.tanh((linear - 0.6) / 0.4), linear)
    low, high = 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    encoded = np.where(linear <= 0.0031308, low, high)
    pixels: NDArray[np.uint8] = np.rint(np.clip(encoded, 0, 1) * 255).astype(np.uint8)
    return pixels
