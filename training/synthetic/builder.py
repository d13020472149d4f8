# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Collects the primitives, materials, lamps and named things of a room while it is furnished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .parts import Part, Piece, rotation
from .textures import make_texture

__all__ = ["COLOURS", "WOODS", "RoomBuilder", "SceneObject", "footprint", "pick_colour"]

# Linear-light tints of the colour names; each piece varies its tint a little.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.50, 0.05, 0.05), "orange": (0.72, 0.27, 0.05), "yellow": (0.74, 0.56, 0.10),
    "green": (0.08, 0.30, 0.10), "blue": (0.06, 0.14, 0.42), "purple": (0.22, 0.08, 0.32),
    "pink": (0.70, 0.32, 0.40), "brown": (0.22, 0.11, 0.055), "black": (0.02, 0.02, 0.022),
    "gray": (0.21, 0.21, 0.21), "white": (0.76, 0.75, 0.73),
}  # fmt: skip
_SHARES = np.array([7, 5, 6, 7, 9, 4, 4, 12, 13, 16, 17], float) / 100
WOODS = ((0.30, 0.17, 0.08), (0.42, 0.27, 0.15), (0.14, 0.075, 0.04), (0.55, 0.42, 0.28))
_SHADE_HALF = 0.03  # metres; smaller parts throw no shadow
MAX_OBJECTS = 250  # object numbers are bytes

# Looks that do not depend on the piece: texture kind, tint, tile (0 fits the face), gloss, glow.
SPECIAL: dict[str, tuple[str, tuple[float, float, float], float, float, float]] = {
    "metal": ("brushed", (0.30, 0.30, 0.31), 0.2, 0.5, 0.0),
    "steel": ("brushed", (0.48, 0.48, 0.49), 0.4, 0.5, 0.0),
    "dark": ("plain", (0.03, 0.03, 0.032), 0.5, 0.15, 0.0),
    "white": ("plain", (0.72, 0.71, 0.69), 0.6, 0.05, 0.0),
    "rubber": ("plain", (0.02, 0.02, 0.02), 0.3, 0.05, 0.0),
    "soil": ("speckle", (0.09, 0.06, 0.04), 0.1, 0.0, 0.0),
    "stone": ("speckle", (0.42, 0.41, 0.39), 0.5, 0.12, 0.0),
    "cardboard": ("cardboard", (0.42, 0.29, 0.17), 0.0, 0.02, 0.0),
    "books": ("books", (0.9, 0.9, 0.9), 0.0, 0.03, 0.0),
    "poster": ("poster", (0.9, 0.9, 0.9), 0.0, 0.05, 0.0),
    "writing": ("writing", (0.85, 0.85, 0.86), 0.0, 0.1, 0.0),
    "label": ("label", (0.9, 0.9, 0.9), 0.0, 0.05, 0.0),
    "window": ("window", (1.0, 1.0, 1.0), 0.0, 0.1, 1.6),
    "screen": ("screen", (0.9, 0.9, 0.9), 0.0, 0.2, 0.25),
    "keys": ("keys", (0.5, 0.5, 0.5), 0.0, 0.05, 0.0),
    "glass": ("glass", (0.22, 0.26, 0.29), 0.0, 0.9, 0.05),
    "bark": ("bark", (0.17, 0.12, 0.08), 0.6, 0.0, 0.0),
    "redlight": ("plain", (0.5, 0.03, 0.03), 0.3, 0.4, 0.0),
    "orange": ("plain", (0.75, 0.20, 0.04), 0.5, 0.05, 0.0),
    "grid": ("tile", (0.7, 0.7, 0.7), 0.6, 0.0, 0.0),
}
_GLOSS = {"wood": 0.12, "tile": 0.3, "plain": 0.08, "paint": 0.5, "label": 0.1}


@dataclass(frozen=True)
class SceneObject:
    """A thing with a name.

    Args:
        object_id: Its number in `RenderedFrames.object_id`; from 1, 0 is the room's shell.
        name: Noun, e.g. "chair".
        colour: Name of the colour of its main surface (a key of `COLOURS`), or "" where no
            single colour names it (pictures, windows).
        centre: Middle of its box, world axes, metres.
        size: Full extents of its box (width, depth, height), metres.
        yaw: Turn of the box about z, radians.
    """

    object_id: int
    name: str
    colour: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float


_COLOURLESS = ("picture", "window", "mirror", "tv", "monitor", "laptop", "clock", "whiteboard",
               "plant", "tree", "bush", "rock", "cone", "keyboard")  # fmt: skip


@dataclass
class RoomBuilder:
    """Collects primitives, materials and lamps while a room is furnished.

    Args:
        rng: Source of every random choice.
        size: Length, width and height of the room, metres.
    """

    rng: np.random.Generator
    size: tuple[float, float, float]
    shape: list[int] = field(default_factory=list)
    centre: list[Sequence[float]] = field(default_factory=list)
    half: list[Sequence[float]] = field(default_factory=list)
    turn: list[NDArray[np.float64]] = field(default_factory=list)
    slope: list[float] = field(default_factory=list)
    shades: list[bool] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    faces: list[list[int]] = field(default_factory=list)
    texture: list[int] = field(default_factory=list)
    tint: list[Sequence[float]] = field(default_factory=list)
    tile: list[float] = field(default_factory=list)
    gloss: list[float] = field(default_factory=list)
    glow: list[float] = field(default_factory=list)
    textures: list[NDArray[np.float32]] = field(default_factory=list)
    by_kind: dict[str, list[int]] = field(default_factory=dict)
    objects: list[SceneObject] = field(default_factory=list)
    floor_taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    wall_taken: list[tuple[int, float, float]] = field(default_factory=list)
    lights: list[tuple[tuple[float, float, float], float, tuple[float, float, float]]] = field(
        default_factory=list
    )

    def material(
        self, kind: str, tint: Sequence[float], tile: float, gloss: float | None = None,
        glow: float = 0.0,
    ) -> int:  # fmt: skip
        """Add a material; up to two textures of a kind are drawn per room (prints: six)."""
        known = self.by_kind.setdefault(kind, [])
        most, chance = (6, 0.8) if kind in ("poster", "label") else (2, 0.35)
        if len(known) < most and (not known or self.rng.random() < chance):
            known.append(len(self.textures))
            self.textures.append(make_texture(kind, self.rng))
        self.texture.append(known[int(self.rng.integers(len(known)))])
        self.tint.append(tint)
        self.tile.append(tile)
        self.gloss.append(_GLOSS.get(kind, 0.03) if gloss is None else gloss)
        self.glow.append(glow)
        return len(self.tint) - 1

    def primitive(
        self, part: Part, origin: Sequence[float], yaw: float, owner: int, faces: list[int]
    ) -> None:
        """Add a part of a piece that stands at an origin, turned by yaw."""
        c, s = float(np.cos(yaw)), float(np.sin(yaw))
        x, y, z = part.centre
        self.shape.append(part.shape)
        self.centre.append((origin[0] + c * x - s * y, origin[1] + s * x + c * y, origin[2] + z))
        self.half.append(part.half)
        about_z = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self.turn.append(about_z @ rotation(part.turn) if any(part.turn) else about_z)
        self.slope.append(part.slope)
        self.shades.append(part.shades and max(part.half) > _SHADE_HALF)
        self.owner.append(owner)
        self.faces.append(faces)

    def solid(
        self, centre: tuple[float, float, float], size: tuple[float, float, float], material: int
    ) -> None:
        """Add a box that belongs to the building: a wall, a pillar, a step of the floor."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self.primitive(Part(0, centre, half), (0, 0, 0), 0.0, 0, [material] * 6)

    def place(self, piece: Piece, origin: Sequence[float], yaw: float) -> SceneObject | None:
        """Add a piece with its own materials and colour; None once there is no number left."""
        if len(self.objects) >= MAX_OBJECTS:
            return None
        rng = self.rng
        owner = len(self.objects) + 1
        kind = piece.materials[int(rng.integers(len(piece.materials)))]
        colour, tint = pick_colour(rng, kind)
        tile = float(rng.uniform(0.3, 0.9))
        if kind in ("label", "cardboard"):
            main, colour = self.special(kind), "brown" if kind == "cardboard" else ""
        else:
            main = self.material(kind, tint, 0.0 if kind == "rug" else tile)
        surfaces = {"main": main}
        for part in piece.parts:
            for name in (part.surface, part.front):
                if name and name not in surfaces:
                    surfaces[name] = self.special(name)
            faces = [surfaces[part.surface]] * 6
            if part.front:
                faces = [*faces]
                faces[3] = surfaces[part.front]
            self.primitive(part, origin, yaw, owner, faces)
        w, d, h = piece.size
        centre = (float(origin[0]), float(origin[1]), float(origin[2] + h / 2))
        shown = "" if piece.name in _COLOURLESS else colour
        thing = SceneObject(owner, piece.name, shown, centre, (w, d, h), float(yaw))
        self.objects.append(thing)
        if piece.light is not None:
            c, s = float(np.cos(yaw)), float(np.sin(yaw))
            x, y, z = piece.light
            at = (origin[0] + c * x - s * y, origin[1] + s * x + c * y, origin[2] + z)
            self.lights.append((at, 0.5, (1.0, 0.86, 0.68)))
        return thing

    def special(self, kind: str) -> int:
        """Add a material that a part asks for by name."""
        rng = self.rng
        if kind in SPECIAL:
            texture, tint, tile, gloss, glow = SPECIAL[kind]
            varied = np.clip(np.array(tint) * rng.uniform(0.85, 1.15), 0, 1)
            return self.material(texture, tuple(varied.tolist()), tile, gloss, glow)
        if kind in ("leaf", "foliage"):
            tint = (rng.uniform(0.04, 0.12), rng.uniform(0.14, 0.3), rng.uniform(0.03, 0.07))
            return self.material("leaves", tint, 0.3 if kind == "leaf" else 1.2, 0.05)
        if kind == "wood":
            return self.material("wood", WOODS[int(rng.integers(len(WOODS)))], 0.6)
        if kind == "door":
            return self.material("door", WOODS[int(rng.integers(len(WOODS)))], 0.0)
        if kind == "shade":
            return self.material("fabric", (0.85, 0.78, 0.62), 0.3, 0.0, 1.2)
        if kind == "second" and rng.random() < 0.75:
            return self.material("plain", _neutral(rng), 0.5)
        if kind in ("second", "third", "cover", "fruit"):
            return self.material("plain", pick_colour(rng, "plain")[1], 0.5)
        raise ValueError(f"material is {kind!r}, expected one of {sorted(SPECIAL)} or a slot")

    def is_free(self, rectangle: tuple[float, float, float, float], margin: float) -> bool:
        """Whether a rectangle of the floor lies in the room and touches nothing."""
        sx, sy = self.size[0] / 2, self.size[1] / 2
        x0, y0, x1, y1 = rectangle
        if x0 < -sx or y0 < -sy or x1 > sx or y1 > sy:
            return False
        return all(
            x1 + margin < a or c + margin < x0 or y1 + margin < b or d + margin < y0
            for a, b, c, d in self.floor_taken
        )


def footprint(
    x: float, y: float, width: float, depth: float, yaw: float
) -> tuple[float, float, float, float]:
    """Rectangle of the floor (x0, y0, x1, y1) around a turned rectangle."""
    c, s = abs(float(np.cos(yaw))), abs(float(np.sin(yaw)))
    hx, hy = (c * width + s * depth) / 2, (s * width + c * depth) / 2
    return x - hx, y - hy, x + hx, y + hy


def _neutral(rng: np.random.Generator) -> tuple[float, ...]:
    """White to black with a breath of colour: fronts, frames and legs."""
    value = float(np.exp(rng.uniform(np.log(0.02), np.log(0.75))))
    tinted = value * (1.0 + rng.uniform(-0.12, 0.12) * np.array([1.0, 0.1, -1.0]))
    return tuple(np.clip(tinted, 0.01, 0.9).tolist())


def pick_colour(rng: np.random.Generator, kind: str) -> tuple[str, tuple[float, ...]]:
    """A colour name and a tint that varies around it; wooden things are mostly brown."""
    if kind == "wood" and rng.random() < 0.8:
        tint = np.array(WOODS[int(rng.integers(3))]) * rng.uniform(0.85, 1.15)
        return "brown", tuple(tint.tolist())
    names = tuple(COLOURS)
    name = names[int(rng.choice(len(names), p=_SHARES))]
    tint = np.array(COLOURS[name]) * rng.uniform(0.8, 1.2) + rng.uniform(0, 0.012, 3)
    return name, tuple(np.clip(tint, 0.01, 0.95).tolist())
