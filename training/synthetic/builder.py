"""Collects the primitives, materials and named things of a room while it is furnished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .furniture import Part, Piece
from .textures import make_texture

__all__ = ["COLOURS", "WOODS", "RoomBuilder", "SceneObject", "pick_colour"]

# Linear-light tints of the colour names; each piece varies its tint a little.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.58, 0.04, 0.04), "orange": (0.80, 0.26, 0.03), "yellow": (0.80, 0.60, 0.06),
    "green": (0.06, 0.34, 0.08), "blue": (0.04, 0.12, 0.50), "purple": (0.24, 0.06, 0.36),
    "pink": (0.78, 0.28, 0.40), "brown": (0.22, 0.10, 0.045), "black": (0.018, 0.018, 0.02),
    "gray": (0.20, 0.20, 0.21), "white": (0.78, 0.77, 0.74),
}  # fmt: skip
WOODS = ((0.30, 0.16, 0.07), (0.42, 0.26, 0.13), (0.16, 0.08, 0.04), (0.55, 0.40, 0.24))


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


@dataclass
class RoomBuilder:
    """Collects primitives and materials while a room is furnished."""

    rng: np.random.Generator
    size: tuple[float, float, float]
    shape: list[int] = field(default_factory=list)
    centre: list[Sequence[float]] = field(default_factory=list)
    half: list[Sequence[float]] = field(default_factory=list)
    yaw: list[float] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    faces: list[list[int]] = field(default_factory=list)
    texture: list[int] = field(default_factory=list)
    tint: list[Sequence[float]] = field(default_factory=list)
    tile: list[float] = field(default_factory=list)
    textures: list[NDArray[np.float32]] = field(default_factory=list)
    by_kind: dict[str, list[int]] = field(default_factory=dict)
    objects: list[SceneObject] = field(default_factory=list)
    floor_taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    wall_taken: list[tuple[int, float, float]] = field(default_factory=list)

    def material(self, kind: str, tint: Sequence[float], tile: float) -> int:
        """Add a material; up to two textures of a kind are drawn per room."""
        known = self.by_kind.setdefault(kind, [])
        if len(known) < 2 and (not known or self.rng.random() < 0.4):
            known.append(len(self.textures))
            self.textures.append(make_texture(kind, self.rng))
        self.texture.append(int(self.rng.choice(known)))
        self.tint.append(tint)
        self.tile.append(tile)
        return len(self.tint) - 1

    def primitive(
        self, part: Part, origin: Sequence[float], yaw: float, owner: int, faces: list[int]
    ) -> None:
        """Add a part of a piece that stands at an origin, turned by yaw."""
        c, s = np.cos(yaw), np.sin(yaw)
        x, y, z = part.centre
        self.shape.append(part.shape)
        self.centre.append((origin[0] + c * x - s * y, origin[1] + s * x + c * y, origin[2] + z))
        self.half.append(part.half)
        self.yaw.append(yaw)
        self.owner.append(owner)
        self.faces.append(faces)

    def place(self, piece: Piece, origin: Sequence[float], yaw: float) -> SceneObject:
        """Add a piece with its own materials and colour."""
        rng = self.rng
        owner = len(self.objects) + 1
        kind = str(rng.choice(piece.materials))
        colour, tint = pick_colour(rng, kind)
        tile = float(rng.uniform(0.3, 0.9))
        surfaces = {
            "main": self.material(kind, tint, tile),
            "second": self.material("plain", pick_colour(rng, "plain")[1], tile),
        }
        for part in piece.parts:
            if part.surface not in surfaces:
                surfaces[part.surface] = self._special(part.surface)
            faces = [surfaces[part.surface]] * 6
            if part.front:
                faces = [*faces]
                faces[3] = self._special(part.front)
            self.primitive(part, origin, yaw, owner, faces)
        w, d, h = piece.size
        centre = (float(origin[0]), float(origin[1]), float(origin[2] + h / 2))
        shown = "" if piece.name in ("picture", "window") else colour
        thing = SceneObject(owner, piece.name, shown, centre, (w, d, h), float(yaw))
        self.objects.append(thing)
        return thing

    def _special(self, kind: str) -> int:
        rng = self.rng
        if kind == "leaf":
            return self.material("plaster", (0.05, rng.uniform(0.16, 0.35), 0.05), 0.15)
        if kind == "wood":
            return self.material("wood", WOODS[int(rng.integers(len(WOODS)))], 0.6)
        if kind == "plain":
            return self.material("plain", (0.3, 0.3, 0.3), 0.5)
        if kind == "door":
            return self.material("door", WOODS[int(rng.integers(len(WOODS)))], 0.0)
        return self.material(kind, (0.9, 0.9, 0.9), 0.0)


def pick_colour(rng: np.random.Generator, kind: str) -> tuple[str, tuple[float, ...]]:
    """A colour name and a tint that varies around it; wooden things are mostly brown."""
    if kind == "wood" and rng.random() < 0.75:
        tint = np.array(WOODS[int(rng.integers(3))]) * rng.uniform(0.85, 1.15)
        return "brown", tuple(float(v) for v in tint)
    name = str(rng.choice(list(COLOURS)))
    tint = np.array(COLOURS[name]) * rng.uniform(0.8, 1.2) + rng.uniform(0, 0.015, 3)
    return name, tuple(float(v) for v in np.clip(tint, 0.01, 0.95))
