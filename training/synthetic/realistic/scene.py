# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A furnished scene: triangles, materials, light, and what camera paths and questions need.

Letters: V vertices, F faces, T materials, M boxes of the clearance test, L lights, K textures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..builder import SceneObject
from ..room import SceneKind

__all__ = ["FurnishedScene", "Lighting", "Looks", "Triangles"]


@dataclass(frozen=True)
class Triangles:
    """All surfaces, world axes, metres.

    Args:
        position_V3: float32.
        face_F3: int32.
        flat_F3: float32 unit normals of the faces; the side that they point to means nothing.
        normal_F33: int8 / 127, normals at the three corners, as the model's author smoothed them.
        uv_F32: float32 (F, 3, 2) texture places of the corners, v upwards.
        density_F: float32 texture units per metre; 0 without a texture.
        material_F: int32.
        object_F: uint8, 0 the building or ground.
    """

    position_V3: NDArray[np.float32]
    face_F3: NDArray[np.int32]
    flat_F3: NDArray[np.float32]
    normal_F33: NDArray[np.int8]
    uv_F32: NDArray[np.float32]
    density_F: NDArray[np.float32]
    material_F: NDArray[np.int32]
    object_F: NDArray[np.uint8]


@dataclass(frozen=True)
class Looks:
    """Materials and textures.

    Args:
        albedo_T3: float32 linear; multiplies the texture where there is one.
        texture_T: int32 index, -1 for none.
        gloss_T: float32 share of mirrored light, seen straight on.
        glow_T3: float32 radiance of their own.
        clear_T: bool, glass: one looks through.
        cut_T: bool, texels without colour are holes.
        textures: K pictures (S, T, 4) uint8 sRGB with alpha, sides powers of two.
    """

    albedo_T3: NDArray[np.float32]
    texture_T: NDArray[np.int32]
    gloss_T: NDArray[np.float32]
    glow_T3: NDArray[np.float32]
    clear_T: NDArray[np.bool_]
    cut_T: NDArray[np.bool_]
    textures: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Lighting:
    """Where light comes from; radiance in units of the mean upper sky.

    Args:
        sky_HW3: float32 panorama without its sun, turned to the world; see `panoramas`.
        sun_3: Unit vector towards the sun, or None.
        sun_power_3: Irradiance of a surface that faces it.
        centre_L3, across_L3, up_L3: Rectangles: middle and half edges, metres.
        facing_L3: Unit vectors to which they shine; 0 for all round.
        radiance_L3: Of lamps; 0 for windows, which show the sky.
        portal_L: bool, an opening to the sky.
    """

    sky_HW3: NDArray[np.float32]
    sun_3: NDArray[np.float32] | None
    sun_power_3: NDArray[np.float32]
    centre_L3: NDArray[np.float32]
    across_L3: NDArray[np.float32]
    up_L3: NDArray[np.float32]
    facing_L3: NDArray[np.float32]
    radiance_L3: NDArray[np.float32]
    portal_L: NDArray[np.bool_]


@dataclass(frozen=True)
class FurnishedScene:
    """A scene of furniture models; what it has in common with `Room` has the same names.

    Args:
        seed, kind, size, floor_area, roam, objects: As of `Room`.
        shape_M, centre_M3, half_M3, turn_M33: Boxes that cameras keep clear of; the first is the
            whole scene and counts for nothing.
        triangles, looks, lighting: What is rendered.
        floors: Rectangles x0, y0, x1, y1 that the floor is made of, metres.
    """

    seed: int
    kind: SceneKind
    size: tuple[float, float, float]
    floor_area: float | None
    roam: tuple[float, float, float, float]
    objects: tuple[SceneObject, ...]
    shape_M: NDArray[np.int64]
    centre_M3: NDArray[np.float32]
    half_M3: NDArray[np.float32]
    turn_M33: NDArray[np.float32]
    triangles: Triangles
    looks: Looks
    lighting: Lighting
    floors: tuple[tuple[float, float, float, float], ...]
