"""A furnished room: primitives, materials, lights and the objects that questions ask about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .builder import COLOURS, WOODS, RoomBuilder, SceneObject, pick_colour
from .furniture import AGAINST_WALL, CLUTTER, FLOOR_PIECES, Part, Piece, Shape, build_piece

__all__ = ["COLOURS", "Room", "SceneObject", "Split", "make_room", "scene_seed"]

Split = Literal["train", "val", "test"]
_SPLIT_START: dict[str, int] = {"train": 0, "val": 100_000_000, "test": 110_000_000}
_SPLIT_SIZE: dict[str, int] = {"train": 100_000_000, "val": 10_000_000, "test": 10_000_000}


def scene_seed(split: Split, index: int) -> int:
    """Seed of the index-th room of a split; the three splits never share a seed.

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
        size: Length along x, width along y, height along z, metres.
        shape_M: `Shape` numbers; the shell counts as a box seen from inside.
        centre_M3, half_M3, yaw_M: Pose and half sizes of the primitives, metres, radians.
        object_M: Object id of each primitive.
        material_M6: Material of the faces -x +x -y +y -z +z (cylinders: sides in 0, caps in 4
            and 5; spheres: 0).
        texture_T: Index of the texture of each material.
        tint_T3: Linear-light tint of each material.
        tile_T: Edge of one texture tile in metres, 0 where the texture fits the face once.
        textures_SSS3: (K, S, S, 3) float32 textures.
        light_L3, power_L3: Positions and linear RGB power of the lamps; the first casts shadows.
        ambient: Linear light that comes from everywhere.
        objects: The named things.
    """

    seed: int
    size: tuple[float, float, float]
    shape_M: NDArray[np.int64]
    centre_M3: NDArray[np.float32]
    half_M3: NDArray[np.float32]
    yaw_M: NDArray[np.float32]
    object_M: NDArray[np.int64]
    material_M6: NDArray[np.int64]
    texture_T: NDArray[np.int64]
    tint_T3: NDArray[np.float32]
    tile_T: NDArray[np.float32]
    textures_KSS3: NDArray[np.float32]
    light_L3: NDArray[np.float32]
    power_L3: NDArray[np.float32]
    ambient: float
    objects: tuple[SceneObject, ...]


def make_room(seed: int) -> Room:
    """Make the room of a seed: the same seed is the same room, everywhere.

    Args:
        seed: From `scene_seed`, or any non-negative number.
    """
    rng = np.random.default_rng([seed, 11])
    size = (
        float(rng.uniform(3.2, 7.5)),
        float(rng.uniform(3.0, 6.5)),
        float(rng.uniform(2.3, 3.1)),
    )
    build = RoomBuilder(rng, size)
    _add_shell(build)
    if size[0] * size[1] > 20 and rng.random() < 0.35:
        _add_corner_block(build)
    _add_wall_pieces(build)
    _add_furniture(build)
    lights, powers = _lights(rng, size)
    return Room(
        seed=seed,
        size=size,
        shape_M=np.array(build.shape, np.int64),
        centre_M3=np.array(build.centre, np.float32),
        half_M3=np.array(build.half, np.float32),
        yaw_M=np.array(build.yaw, np.float32),
        object_M=np.array(build.owner, np.int64),
        material_M6=np.array(build.faces, np.int64),
        texture_T=np.array(build.texture, np.int64),
        tint_T3=np.array(build.tint, np.float32),
        tile_T=np.array(build.tile, np.float32),
        textures_KSS3=np.stack(build.textures),
        light_L3=lights,
        power_L3=powers,
        ambient=float(rng.uniform(0.25, 0.5)),
        objects=tuple(build.objects),
    )


def _pale(rng: np.random.Generator) -> tuple[float, ...]:
    value = rng.uniform(0.4, 0.85)
    tint = value * (1 + rng.uniform(-0.18, 0.18, 3))
    return tuple(float(v) for v in np.clip(tint, 0.05, 0.92))


def _add_shell(build: RoomBuilder) -> None:
    rng, (sx, sy, sz) = build.rng, build.size
    wall_kind = str(rng.choice(["plain", "plaster", "plain", "stripes", "brick"]))
    wall = build.material(wall_kind, _pale(rng), float(rng.uniform(0.8, 1.6)))
    walls = [wall] * 4
    if rng.random() < 0.4:
        accent = str(rng.choice(["brick", "plain", "wood", "stripes", "tile"]))
        walls[int(rng.integers(4))] = build.material(accent, pick_colour(rng, accent)[1], 1.2)
    floor_kind = str(rng.choice(["wood", "tile", "carpet", "checker", "plaster"]))
    floor_tint = WOODS[int(rng.integers(4))] if floor_kind == "wood" else _pale(rng)
    floor = build.material(floor_kind, floor_tint, float(rng.uniform(0.6, 1.4)))
    ceiling = build.material("plain", (0.75, 0.75, 0.73), 1.5)
    part = Part(Shape.BOX, (0, 0, sz / 2), (sx / 2, sy / 2, sz / 2))
    build.primitive(part, (0, 0, 0), 0.0, 0, [*walls, floor, ceiling])
    skirting = build.material("plain", _pale(rng), 1.0)
    height, depth = float(rng.uniform(0.05, 0.12)), 0.02
    for axis, side in ((0, -1), (0, 1), (1, -1), (1, 1)):
        centre = [0.0, 0.0, height / 2]
        half = [sx / 2, sy / 2, height / 2]
        centre[axis] = side * (build.size[axis] / 2 - depth / 2)
        half[axis] = depth / 2
        part = Part(Shape.BOX, tuple(centre), tuple(half))  # type: ignore[arg-type]
        build.primitive(part, (0, 0, 0), 0.0, 0, [skirting] * 6)


def _add_corner_block(build: RoomBuilder) -> None:
    """Fill one corner up to the ceiling, which makes the room L-shaped."""
    rng, (sx, sy, sz) = build.rng, build.size
    lx, ly = float(rng.uniform(0.8, 0.4 * sx)), float(rng.uniform(0.8, 0.4 * sy))
    x = float(rng.choice([-1, 1])) * (sx - lx) / 2
    y = float(rng.choice([-1, 1])) * (sy - ly) / 2
    part = Part(Shape.BOX, (x, y, sz / 2), (lx / 2, ly / 2, sz / 2))
    build.primitive(part, (0, 0, 0), 0.0, 0, [build.faces[0][0]] * 6)
    build.floor_taken.append((x - lx / 2, y - ly / 2, x + lx / 2, y + ly / 2))


# Walls: (axis, side, yaw of a piece whose back touches it).
_WALLS = ((0, 1, np.pi / 2), (0, -1, -np.pi / 2), (1, 1, np.pi), (1, -1, 0.0))


def _wall_origin(build: RoomBuilder, wall: int, along: float, gap: float) -> tuple[float, float]:
    axis, side, _ = _WALLS[wall]
    flat = [along, along]
    flat[axis] = side * (build.size[axis] / 2 - gap)
    return flat[0], flat[1]


def _add_wall_pieces(build: RoomBuilder) -> None:
    rng = build.rng
    names = ["door"] + ["window"] * int(rng.integers(0, 3)) + ["picture"] * int(rng.integers(1, 5))
    for name in names:
        piece = build_piece(name, rng)
        width, depth, height = piece.size
        wall = int(rng.integers(4))
        axis, _, yaw = _WALLS[wall]
        room_for = build.size[1 - axis] / 2 - width / 2 - 0.1
        along = float(rng.uniform(-room_for, room_for))
        low, high = along - width / 2 - 0.1, along + width / 2 + 0.1
        if any(w == wall and low < b and a < high for w, a, b in build.wall_taken):
            continue
        x, y = _wall_origin(build, wall, along, depth / 2)
        if any(a < x < c and b < y < d for a, b, c, d in build.floor_taken):
            continue
        build.wall_taken.append((wall, low, high))
        z = (
            0.0
            if name == "door"
            else float(rng.uniform(0.9, max(0.95, build.size[2] - height - 0.2)))
        )
        build.place(piece, (x, y, z), yaw)
        if name == "door":
            build.floor_taken.append((x - 0.6, y - 0.6, x + 0.6, y + 0.6))


def _footprint(
    x: float, y: float, width: float, depth: float, yaw: float
) -> tuple[float, float, float, float]:
    c, s = abs(np.cos(yaw)), abs(np.sin(yaw))
    hx, hy = (c * width + s * depth) / 2, (s * width + c * depth) / 2
    return float(x - hx), float(y - hy), float(x + hx), float(y + hy)


def _is_free(build: RoomBuilder, box: tuple[float, float, float, float], margin: float) -> bool:
    sx, sy = build.size[0] / 2, build.size[1] / 2
    if box[0] < -sx or box[1] < -sy or box[2] > sx or box[3] > sy:
        return False
    return all(
        box[2] + margin < a or c + margin < box[0] or box[3] + margin < b or d + margin < box[1]
        for a, b, c, d in build.floor_taken
    )


def _add_furniture(build: RoomBuilder) -> None:
    rng = build.rng
    area = build.size[0] * build.size[1]
    target = int(rng.integers(4, 8) + area / 8)
    for _ in range(4 * target):
        if target <= 0:
            return
        name = str(rng.choice(FLOOR_PIECES))
        piece = build_piece(name, rng)
        spot = _find_spot(build, piece, name in AGAINST_WALL)
        if spot is None:
            continue
        x, y, yaw = spot
        thing = build.place(piece, (x, y, 0.0), yaw)
        build.floor_taken.append(_footprint(x, y, piece.size[0], piece.size[1], yaw))
        target -= 1
        if piece.top is not None:
            _add_clutter(build, thing, piece.top)


def _find_spot(
    build: RoomBuilder, piece: Piece, against_wall: bool
) -> tuple[float, float, float] | None:
    rng = build.rng
    width, depth, _ = piece.size
    for _ in range(8):
        if against_wall:
            wall = int(rng.integers(4))
            axis, _, yaw = _WALLS[wall]
            room_for = build.size[1 - axis] / 2 - width / 2 - 0.02
            if room_for <= 0:
                continue
            along = float(rng.uniform(-room_for, room_for))
            x, y = _wall_origin(build, wall, along, depth / 2 + 0.03)
        else:
            x = float(rng.uniform(-0.5, 0.5)) * (build.size[0] - width)
            y = float(rng.uniform(-0.5, 0.5)) * (build.size[1] - width)
            yaw = float(rng.choice([0, np.pi / 2, np.pi, -np.pi / 2]) + rng.normal(0, 0.25))
        if _is_free(build, _footprint(x, y, width, depth, yaw), 0.05):
            return x, y, float(yaw)
    return None


def _add_clutter(build: RoomBuilder, carrier: SceneObject, top: float) -> None:
    """Small things on a surface, side by side along its width."""
    rng = build.rng
    slots = int(carrier.size[0] / 0.35)
    c, s = np.cos(carrier.yaw), np.sin(carrier.yaw)
    for slot in range(slots):
        if rng.random() < 0.45:
            continue
        piece = build_piece(str(rng.choice(CLUTTER)), rng)
        if max(piece.size[0], piece.size[1]) > 0.7 * carrier.size[1] or piece.size[0] > 0.5:
            continue
        x = (slot + 0.5) * carrier.size[0] / slots - carrier.size[0] / 2
        y = float(rng.uniform(-0.25, 0.25)) * (carrier.size[1] - piece.size[1])
        turn = 0.0 if piece.name == "monitor" else float(rng.uniform(-0.6, 0.6))
        origin = (carrier.centre[0] + c * x - s * y, carrier.centre[1] + s * x + c * y, top)
        build.place(piece, origin, carrier.yaw + turn)


def _lights(
    rng: np.random.Generator, size: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    count = int(rng.integers(1, 4))
    spread = np.array([size[0], size[1], 0.0]) * 0.35
    positions = rng.uniform(-1, 1, (count, 3)) * spread
    positions[:, 2] = size[2] - rng.uniform(0.1, 0.5, count)
    warm = np.array([1.0, 0.93, 0.82]) * rng.uniform(0.9, 1.1, (count, 3))
    share = rng.uniform(0.5, 1.0, count) * np.array([1.0, 0.5, 0.5])[:count]
    powers = warm * (share / share.sum())[:, None] * rng.uniform(2.2, 3.6)
    return positions.astype(np.float32), powers.astype(np.float32)
