# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What rays meet in a furnished scene: the nearest surface behind glass and through cut-outs.

Letters: R rays, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.embree import Hits, Tracer
from .scene import FurnishedScene
from .textures import Atlas, to_linear

__all__ = ["Met", "Surface", "Surfaces"]

Rays = NDArray[np.float32]
_PANES = 6  # glass and leaves that a ray may pass
_STEP = 1e-3  # metres by which it starts again behind them
_TINT = 0.92  # of clear glass
_SMOOTH = 0.5  # cosine between a face and its corners' normals below which the face counts
LEAF_SHADE = 0.45  # share of light that passes a surface with holes


@dataclass(frozen=True)
class Met:
    """Where rays ended.

    Args:
        face_R: int32, -1 for the sky.
        t_R: float32 in units of the direction.
        u_R, v_R: Barycentric weights.
        tint_R3: float32 share of light that glass ahead of it lets through.
        pane_R: int32 first face of glass, -1 for none.
        pane_t_R: float32 where.
    """

    face_R: NDArray[np.int32]
    t_R: NDArray[np.float32]
    u_R: NDArray[np.float32]
    v_R: NDArray[np.float32]
    tint_R3: NDArray[np.float32]
    pane_R: NDArray[np.int32]
    pane_t_R: NDArray[np.float32]


@dataclass(frozen=True)
class Surface:
    """What is there.

    Args:
        point_R3: World, metres.
        flat_R3: Normal of the face, towards where the ray came from.
        normal_R3: Smoothed, on the same side.
        albedo_R3: Linear.
        gloss_R: Share of mirrored light, seen straight on.
        glow_R3: Radiance of its own.
    """

    point_R3: NDArray[np.float32]
    flat_R3: NDArray[np.float32]
    normal_R3: NDArray[np.float32]
    albedo_R3: NDArray[np.float32]
    gloss_R: NDArray[np.float32]
    glow_R3: NDArray[np.float32]


class Surfaces:
    """The triangles of a scene, ready for rays.

    Args:
        scene: Which.
    """

    def __init__(self, scene: FurnishedScene) -> None:
        self.scene = scene
        triangles, looks = scene.triangles, scene.looks
        special_T = looks.clear_T | looks.cut_T
        special_F = special_T[triangles.material_F]
        self._solid_face = np.flatnonzero(~special_F).astype(np.int32)
        self._open_face = np.flatnonzero(special_F).astype(np.int32)
        position = triangles.position_V3
        self._solid = Tracer(position, triangles.face_F3[self._solid_face])
        self._open = Tracer(position, triangles.face_F3[self._open_face])
        self.has_open = bool(len(self._open_face))
        self._clear_F = looks.clear_T[triangles.material_F]
        self._atlas = Atlas(looks.textures)

    def meet(self, origin_R3: Rays, direction_R3: Rays) -> Met:
        """The nearest surface of each ray that hides what is behind it."""
        count = len(origin_R3)
        solid = self._solid.hits(origin_R3, direction_R3)
        known = solid.face_R >= 0
        face = np.where(known, self._solid_face[solid.face_R], -1).astype(np.int32)
        t, u, v = solid.t_R.copy(), solid.u_R.copy(), solid.v_R.copy()
        tint = np.ones((count, 3), np.float32)
        pane = np.full(count, -1, np.int32)
        pane_t = np.zeros(count, np.float32)
        if not self.has_open:
            return Met(face, t, u, v, tint, pane, pane_t)
        left = np.arange(count)
        start = np.zeros(count, np.float32)
        length = np.linalg.norm(direction_R3, axis=1)
        for _ in range(_PANES):
            origin = origin_R3[left] + start[left, None] * direction_R3[left]
            hit = self._open.hits(origin, direction_R3[left], t[left] - start[left])
            some = hit.face_R >= 0
            if not some.any():
                break
            left = left[some]
            hit = Hits(hit.face_R[some], hit.t_R[some], hit.u_R[some], hit.v_R[some])
            found, at = self._open_face[hit.face_R], start[left] + hit.t_R
            clear = self._clear_F[found]
            first = clear & (pane[left] < 0)
            pane[left[first]], pane_t[left[first]] = found[first], at[first]
            tint[left[clear]] *= self._glass_tint(found[clear])
            stops = ~clear
            stops[stops] = self._alpha(found[stops], hit.u_R[stops], hit.v_R[stops]) >= 128
            end = left[stops]
            face[end], t[end] = found[stops], at[stops]
            u[end], v[end] = hit.u_R[stops], hit.v_R[stops]
            left = left[~stops]
            start[left] = at[~stops] + _STEP / length[left]
        return Met(face, t, u, v, tint, pane, pane_t)

    def _glass_tint(self, face_R: NDArray[np.int32]) -> NDArray[np.float32]:
        looks = self.scene.looks
        albedo = looks.albedo_T3[self.scene.triangles.material_F[face_R]]
        most = np.maximum(albedo.max(axis=1, keepdims=True), 1e-3)
        tint: NDArray[np.float32] = _TINT * (0.6 + 0.4 * albedo / most)
        return tint

    def _alpha(self, face_R: NDArray[np.int32], u_R: Rays, v_R: Rays) -> NDArray[np.uint8]:
        triangles, looks = self.scene.triangles, self.scene.looks
        texture = looks.texture_T[triangles.material_F[face_R]]
        texels = self._atlas.look(texture, _mixed(triangles.uv_F32[face_R], u_R, v_R), None, None)
        alpha: NDArray[np.uint8] = texels[:, 3]
        return alpha

    def passing(self, origin_R3: Rays, direction_R3: Rays, most_R: Rays) -> NDArray[np.float32]:
        """(R,) share of light that comes along rays, no further than `most_R`."""
        through = np.where(self._solid.blocked(origin_R3, direction_R3, most_R), 0.0, 1.0)
        if self.has_open:
            some = np.flatnonzero(through > 0)
            hit = self._open.hits(origin_R3[some], direction_R3[some], most_R[some])
            met = hit.face_R >= 0
            clear = self._clear_F[self._open_face[hit.face_R[met]]]
            through[some[met]] = np.where(clear, _TINT, LEAF_SHADE)
        share: NDArray[np.float32] = through.astype(np.float32)
        return share

    def describe(
        self,
        face_R: NDArray[np.int32],
        u_R: Rays,
        v_R: Rays,
        point_R3: Rays,
        direction_R3: Rays,
        width_R: Rays,
        rng: np.random.Generator,
    ) -> Surface:
        """What lies at hits.

        Args:
            face_R: int32, none of the sky.
            u_R, v_R: Barycentric weights.
            point_R3: Places.
            direction_R3: Of the rays, any length.
            width_R: Of a ray's footprint there, metres.
            rng: Filters textures.
        """
        triangles, looks = self.scene.triangles, self.scene.looks
        flat = triangles.flat_F3[face_R]
        flat = flat * np.where((flat * direction_R3).sum(1) > 0, -1, 1).astype(np.float32)[:, None]
        material = triangles.material_F[face_R]
        albedo = looks.albedo_T3[material]
        texture = looks.texture_T[material]
        some = np.flatnonzero(texture >= 0)
        if len(some):
            face = face_R[some]
            uv = _mixed(triangles.uv_F32[face], u_R[some], v_R[some])
            footprint = width_R[some] * triangles.density_F[face]
            texels = self._atlas.look(texture[some], uv, footprint, rng)
            albedo[some] = albedo[some] * to_linear(texels[:, :3])
        return Surface(
            point_R3=point_R3,
            flat_R3=flat,
            normal_R3=_smoothed(triangles.normal_F33[face_R], flat, direction_R3, u_R, v_R),
            albedo_R3=albedo,
            gloss_R=looks.gloss_T[material],
            glow_R3=looks.glow_T3[material],
        )


def _mixed(corner_R32: NDArray[np.float32], u_R: Rays, v_R: Rays) -> NDArray[np.float32]:
    """(R, 2) of three corners' places."""
    first = corner_R32[:, 0]
    mixed: NDArray[np.float32] = (
        first
        + u_R[:, None] * (corner_R32[:, 1] - first)
        + v_R[:, None] * (corner_R32[:, 2] - first)
    )
    return mixed


def _smoothed(
    corner_R33: NDArray[np.int8], flat_R3: Rays, direction_R3: Rays, u_R: Rays, v_R: Rays
) -> NDArray[np.float32]:
    """Normals between the corners', on the face's side; the face's own where they mislead."""
    corner = corner_R33.astype(np.float32)
    normal = (
        corner[:, 0] * (1 - u_R - v_R)[:, None]
        + corner[:, 1] * u_R[:, None]
        + corner[:, 2] * v_R[:, None]
    )
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    along = (normal * flat_R3).sum(1)
    normal *= np.sign(along)[:, None]
    bad = (np.abs(along) < _SMOOTH) | ((normal * direction_R3).sum(1) > 0)
    normal[bad] = flat_R3[bad]
    smooth: NDArray[np.float32] = normal
    return smooth
