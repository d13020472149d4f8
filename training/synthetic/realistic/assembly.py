# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Collects triangles, materials and named things while a scene is put together.

Letters: V vertices, F faces, T materials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..builder import MAX_OBJECTS, SceneObject
from ..models import ModelLibrary
from ..models.meshes import Material, ModelMesh, TexturePicture
from .colours import main_colour, name_shares
from .scene import Looks, Triangles

__all__ = ["Assembly", "Vector"]

Vector = Sequence[float] | NDArray[np.float64]
_THIN = 0.003  # metres; flatter things have no box that cameras must clear


class Assembly:
    """A scene in the making.

    Args:
        rng: Source of every random choice.
        library: Where models come from.
    """

    def __init__(self, rng: np.random.Generator, library: ModelLibrary) -> None:
        self.rng, self.library = rng, library
        self.objects: list[SceneObject] = []
        self.boxes: list[tuple[Vector, Vector, float]] = []  # centre, half, yaw
        self._position: list[NDArray[np.float32]] = []
        self._face: list[NDArray[np.int32]] = []
        self._normal: list[NDArray[np.float32]] = []
        self._uv: list[NDArray[np.float32]] = []
        self._material_F: list[NDArray[np.int32]] = []
        self._object_F: list[NDArray[np.uint8]] = []
        self._materials: list[Material] = []
        self._glow: list[tuple[float, float, float]] = []
        self._textures: list[NDArray[np.uint8]] = []
        self._known: dict[int, tuple[ModelMesh, int]] = {}
        self._vertices = 0

    def texture(self, picture: NDArray[np.uint8]) -> int:
        """Add a texture, (S, T, 3 or 4) uint8 with sides of powers of two; returns its number."""
        if picture.shape[2] == 3:
            opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
            picture = np.concatenate([picture, opaque], axis=2)
        self._textures.append(np.ascontiguousarray(picture))
        return len(self._textures) - 1

    def material(
        self, albedo: Vector, texture: int = -1, gloss: float = 0.03, opacity: float = 1.0,
        glow: Vector = (0.0, 0.0, 0.0),
    ) -> int:  # fmt: skip
        """Add a material; returns its number."""
        red, green, blue = (float(value) for value in albedo)
        self._materials.append(Material("", (red, green, blue), opacity, gloss, texture))
        self._glow.append((float(glow[0]), float(glow[1]), float(glow[2])))
        return len(self._materials) - 1

    def number(self) -> int:
        """The object number that the next named thing will get."""
        return len(self.objects) + 1

    def full(self) -> bool:
        """Whether no number is left."""
        return len(self.objects) >= MAX_OBJECTS

    def name(
        self, noun: str, colour: str, centre: Vector, size: Vector, yaw: float, clear: bool = True
    ) -> SceneObject:
        """Name what was added under `number()`."""
        x, y, z = (float(value) for value in centre)
        w, d, h = (float(value) for value in size)
        thing = SceneObject(self.number(), noun, colour, (x, y, z), (w, d, h), float(yaw))
        self.objects.append(thing)
        if clear and h > _THIN:
            self.boxes.append(((x, y, z), (w / 2, d / 2, h / 2), yaw))
        return thing

    def mesh(
        self, position_V3: NDArray[np.float32], face_F3: NDArray[np.int32],
        normal_V3: NDArray[np.float32], uv_V2: NDArray[np.float32],
        material_F: NDArray[np.int32], owner: int,
    ) -> None:  # fmt: skip
        """Add triangles in world axes."""
        self._position.append(np.asarray(position_V3, np.float32))
        self._face.append(np.asarray(face_F3, np.int32) + self._vertices)
        self._normal.append(np.asarray(normal_V3, np.float32))
        self._uv.append(np.asarray(uv_V2, np.float32))
        self._material_F.append(np.asarray(material_F, np.int32))
        self._object_F.append(np.full(len(face_F3), owner, np.uint8))
        self._vertices += len(position_V3)

    def quad(
        self, corner: Vector, edge_a: Vector, edge_b: Vector, material: int, owner: int = 0,
        tile: float = 0.0, start: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        """A parallelogram; its texture repeats every `tile` metres, or fits once at 0.

        Args:
            corner: World, metres.
            edge_a, edge_b: From the corner, metres; u goes along a, v along b.
            material: Number.
            owner: Object number.
            tile: See above.
            start: Metres along both edges at which the texture begins.
        """
        origin, a, b = (np.asarray(item, np.float64) for item in (corner, edge_a, edge_b))
        position = np.stack([origin, origin + a, origin + a + b, origin + b])
        normal = np.cross(a, b)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        wide, high = (1.0, 1.0) if tile == 0 else tuple(np.linalg.norm(e) / tile for e in (a, b))
        u, v = (0.0, 0.0) if tile == 0 else (start[0] / tile, start[1] / tile)
        uv = np.array([[u, v], [u + wide, v], [u + wide, v + high], [u, v + high]])
        face = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
        self.mesh(
            position.astype(np.float32), face, np.tile(normal, (4, 1)).astype(np.float32),
            uv.astype(np.float32), np.full(2, material, np.int32), owner,
        )  # fmt: skip

    def box(
        self, centre: Vector, size: Vector, material: int, owner: int = 0, yaw: float = 0.0,
        tile: float = 0.0, top: int | None = None,
    ) -> None:  # fmt: skip
        """A box, turned about z; `top` is another material for its upper side."""
        c, s = np.cos(yaw), np.sin(yaw)
        x = np.array([c, s, 0.0]) * size[0]
        y = np.array([-s, c, 0.0]) * size[1]
        z = np.array([0.0, 0.0, 1.0]) * size[2]
        low = np.asarray(centre, np.float64) - (x + y + z) / 2
        up = material if top is None else top
        sides = (
            (low, x, z, material), (low + y, x, z, material), (low, y, z, material),
            (low + x, y, z, material), (low, x, y, material), (low + z, x, y, up),
        )  # fmt: skip
        for corner, a, b, kind in sides:
            self.quad(corner, a, b, kind, owner, tile)

    def place(
        self, model: int, noun: str, at: Vector, yaw: float = 0.0, glow: float = 0.0,
        tint: NDArray[np.float64] | None = None,
    ) -> SceneObject | None:  # fmt: skip
        """Stand a model with the middle of its lower side at a place; None once numbers are out.

        Args:
            model: Its place in the library.
            noun: What it is called.
            at: World, metres.
            yaw: Turn about z; at 0 its front looks along -y.
            glow: Radiance of its bright upper parts, for lamps that are on.
            tint: (3,) what the colours of its untextured surfaces are multiplied by.
        """
        if self.full():
            return None
        mesh, first = self._model(model, tint)
        c, s = np.cos(yaw), np.sin(yaw)
        R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
        position = mesh.position_V3 @ R.T + np.asarray(at, np.float32)
        material_F = mesh.material_F + first
        if glow > 0:
            material_F = self._lit(mesh, material_F, glow)
        self.mesh(
            position, mesh.face_F3, mesh.normal_V3 @ R.T, mesh.uv_V2, material_F, self.number()
        )
        size = self.library.entries[model].size
        x, y, z = (float(value) for value in at)
        colour = self._colour(mesh, first)
        return self.name(noun, colour, (x, y, z + size[2] / 2), size, yaw)

    def _model(self, model: int, tint: NDArray[np.float64] | None) -> tuple[ModelMesh, int]:
        """A model's mesh and the number of its first material in this scene."""
        if model in self._known:
            return self._known[model]
        mesh = self.library.mesh(model)
        textures = [self.texture(picture.rgba) for picture in mesh.textures]
        first = len(self._materials)
        for item in mesh.materials:
            albedo = np.array(item.albedo)
            if item.texture < 0 and tint is not None and not item.is_glass:
                albedo = np.clip(albedo * tint, 0.01, 0.85)
            picture = textures[item.texture] if item.texture >= 0 else -1
            self.material(albedo, picture, item.gloss, item.opacity)
        self._known[model] = mesh, first
        return mesh, first

    def _lit(
        self, mesh: ModelMesh, material_F: NDArray[np.int32], glow: float
    ) -> NDArray[np.int32]:
        """Upper faces of a lamp get materials that glow."""
        height = mesh.position_V3[:, 2]
        middle = height[mesh.face_F3].mean(axis=1)
        upper = middle > height.max() * 0.6
        lit = material_F.copy()
        for number in np.unique(material_F[upper]):
            old = self._materials[number]
            light = np.array(old.albedo) * glow * np.array([1.0, 0.85, 0.65])
            new = self.material(old.albedo, old.texture, old.gloss, old.opacity, light)
            lit[upper & (material_F == number)] = new
        return np.asarray(lit, np.int32)

    def _colour(self, mesh: ModelMesh, first: int) -> str:
        """Name of the colour of most of a thing's surface, glass left out."""
        corner = mesh.position_V3[mesh.face_F3]
        area_F = np.linalg.norm(
            np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1
        )
        area_T = np.bincount(mesh.material_F, area_F, len(mesh.materials)).astype(np.float64)
        shares = []
        for number, item in enumerate(mesh.materials):
            own = self._materials[first + number]
            texels = np.array([own.albedo], np.float32)
            if item.texture >= 0:
                texels = texels * _sample(mesh.textures[item.texture])
            if item.is_glass:
                area_T[number] = 0.0
            shares.append(name_shares(texels))
        return main_colour(np.array(shares), area_T)

    def triangles(self) -> Triangles:
        """Everything that was added."""
        position = np.concatenate(self._position)
        face = np.concatenate(self._face)
        corner = position[face]
        edge_a, edge_b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        flat = np.cross(edge_a, edge_b)
        length = np.linalg.norm(flat, axis=1)
        uv = np.concatenate(self._uv)[face]
        side_a, side_b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        uv_area = np.abs(side_a[:, 0] * side_b[:, 1] - side_a[:, 1] * side_b[:, 0])
        normal = np.concatenate(self._normal)[face]
        good = length > 1e-10  # slivers would hit no ray, and their normals are noise
        unit = flat / np.maximum(length, 1e-12)[:, None]
        return Triangles(
            position_V3=position,
            face_F3=np.ascontiguousarray(face[good]),
            flat_F3=unit[good].astype(np.float32),
            normal_F33=np.rint(np.clip(normal[good], -1, 1) * 127).astype(np.int8),
            uv_F32=uv[good],
            density_F=np.sqrt(uv_area / np.maximum(length, 1e-12))[good].astype(np.float32),
            material_F=np.concatenate(self._material_F)[good],
            object_F=np.concatenate(self._object_F)[good],
        )

    def looks(self) -> Looks:
        """Their materials."""
        cut = [TexturePicture(picture).cut_out for picture in self._textures]
        return Looks(
            albedo_T3=np.array([item.albedo for item in self._materials], np.float32),
            texture_T=np.array([item.texture for item in self._materials], np.int32),
            gloss_T=np.array([item.gloss for item in self._materials], np.float32),
            glow_T3=np.array(self._glow, np.float32),
            clear_T=np.array([item.is_glass for item in self._materials], np.bool_),
            cut_T=np.array(
                [item.texture >= 0 and cut[item.texture] for item in self._materials], np.bool_
            ),
            textures=tuple(self._textures),
        )


def _sample(picture: TexturePicture) -> NDArray[np.float32]:
    """(K, 3) linear colours of a texture's visible texels, some of them."""
    rgba = picture.rgba[::4, ::4].reshape(-1, 4)
    seen = rgba[rgba[:, 3] > 127][:, :3]
    encoded = (seen if len(seen) else rgba[:, :3]).astype(np.float32) / 255
    linear: NDArray[np.float32] = np.power(encoded, np.float32(2.2))
    return linear
