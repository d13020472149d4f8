# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A scene: primitives, materials, lamps and the objects that questions ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .builder import COLOURS, RoomBuilder, SceneObject
from .interior import Place, build_interior
from .outdoor import build_outdoor

__all__ = [
    "COLOURS",
    "Room",
    "SceneKind",
    "SceneObject",
    "Split",
    "freeze_room",
    "make_room",
    "scene_seed",
]

SceneKind = Literal["indoor", "outdoor"]
Split = Literal["train", "val", "test"]
OUTDOOR_SHARE = 0.15
_SPLIT_START: dict[str, int] = {"train": 0, "val": 100_000_000, "test": 110_000_000}
_SPLIT_SIZE: dict[str, int] = {"train": 100_000_000, "val": 10_000_000, "test": 10_000_000}


def scene_seed(split: Split, index: int) -> int:
    """Seed of the index-th scene of a split; the three splits never share a seed.

    Raises:
        ValueError: Unknown split, or an index outside of it.
    """
    if split not in _SPLIT_START:
        raise ValueError(f"split is {split!r}, expected one of {sorted(_SPLIT_START)}")
    if not 0 <= index < _SPLIT_SIZE[split]:
        raise ValueError(f"{split} index is {index}, expected 0..{_SPLIT_SIZE[split] - 1}")
    return _SPLIT_START[split] + index


@dataclass(frozen=True)
class Room:
    """Everything the ray caster and the question maker need; primitive 0 is the shell.

    Args:
        seed: What `make_room` was called with.
        kind: "indoor", or "outdoor": the shell's walls and ceiling are sky.
        size: Length along x, width along y, height along z of the shell, metres.
        floor_area: Square metres inside of the walls, None outdoors.
        roam: Where cameras go: x0, y0, x1, y1, metres.
        shape_M: `Shape` numbers; the shell counts as a box seen from inside.
        centre_M3, half_M3: Middles and half sizes of the primitives, metres.
        turn_M33: Columns are the primitives' axes in the world.
        slope_M: Of cones, see `Part`.
        shades_M: Which throw shadows.
        object_M: Object id of each primitive.
        material_M6: Material of the faces -x +x -y +y -z +z (cones: side in 0, caps in 4 and
            5; balls: 0).
        texture_T: Index of the texture of each material.
        tint_T3: Linear-light tint of each material.
        tile_T: Edge of one texture tile in metres, 0 where the texture fits the face once.
        gloss_T, glow_T: Share of mirrored lamp light; light of its own per albedo.
        textures_KSS3: (K, S, S, 3) float32 textures.
        light_L3, power_L3: Positions and linear RGB power of the lamps, the strongest first; the
            first two throw shadows.
        above_3, below_3: Indirect light on surfaces that look up and down.
        objects: The named things.
    """

    seed: int
    kind: SceneKind
    size: tuple[float, float, float]
    floor_area: float | None
    roam: tuple[float, float, float, float]
    shape_M: NDArray[np.int64]
    centre_M3: NDArray[np.float32]
    half_M3: NDArray[np.float32]
    turn_M33: NDArray[np.float32]
    slope_M: NDArray[np.float32]
    shades_M: NDArray[np.bool_]
    object_M: NDArray[np.int64]
    material_M6: NDArray[np.int64]
    texture_T: NDArray[np.int64]
    tint_T3: NDArray[np.float32]
    tile_T: NDArray[np.float32]
    gloss_T: NDArray[np.float32]
    glow_T: NDArray[np.float32]
    textures_KSS3: NDArray[np.float32]
    light_L3: NDArray[np.float32]
    power_L3: NDArray[np.float32]
    above_3: NDArray[np.float32]
    below_3: NDArray[np.float32]
    objects: tuple[SceneObject, ...]


def make_room(seed: int, kind: SceneKind | None = None) -> Room:
    """Make the scene of a seed: the same seed is the same scene, everywhere.

    Args:
        seed: From `scene_seed`, or any non-negative number.
        kind: Ask for a kind; by default the seed decides, 15 % are outdoors.
    """
    rng = np.random.default_rng([seed, 11])
    drawn: SceneKind = "outdoor" if rng.random() < OUTDOOR_SHARE else "indoor"
    kind = drawn if kind is None else kind
    build, place = build_outdoor(rng) if kind == "outdoor" else build_interior(rng)
    return freeze_room(seed, kind, build, place)


def freeze_room(seed: int, kind: SceneKind, build: RoomBuilder, place: Place) -> Room:
    """The scene that a builder has collected; primitive 0 must be the shell."""
    return Room(
        seed=seed,
        kind=kind,
        size=build.size,
        floor_area=place.floor_area,
        roam=place.roam,
        shape_M=np.array(build.shape, np.int64),
        centre_M3=np.array(build.centre, np.float32),
        half_M3=np.array(build.half, np.float32),
        turn_M33=np.array(build.turn, np.float32),
        slope_M=np.array(build.slope, np.float32),
        shades_M=np.array(build.shades, np.bool_),
        object_M=np.array(build.owner, np.int64),
        material_M6=np.array(build.faces, np.int64),
        texture_T=np.array(build.texture, np.int64),
        tint_T3=np.array(build.tint, np.float32),
        tile_T=np.array(build.tile, np.float32),
        gloss_T=np.array(build.gloss, np.float32),
        glow_T=np.array(build.glow, np.float32),
        textures_KSS3=np.stack(build.textures),
        light_L3=np.array([light[0] for light in place.lights], np.float32),
        power_L3=np.array([light[1] for light in place.lights], np.float32),
        above_3=np.array(place.above, np.float32),
        below_3=np.array(place.below, np.float32),
        objects=tuple(build.objects),
    )
