# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One model's OBJ file as arrays in metres: scaled to its listed size, front towards -y.

Letters: V vertices, F faces, T materials, G cells of the grid of tops.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sh3f import ModelEntry, ModelsError

__all__ = ["GRID", "Material", "ModelMesh", "TexturePicture", "load_mesh", "top_grid"]

GRID = 24  # cells per side of the grid of tops
_SIDES = (16, 32, 64, 128, 256, 512)
_SEE_THROUGH = 0.75  # opacity below which a surface counts as glass
_HOLES = 0.02  # share of texels without colour that makes a texture a cut-out
_GLOSS = (("mirror", 0.9), ("chrom", 0.5), ("metal", 0.25), ("steel", 0.3), ("alumin", 0.2),
          ("inox", 0.3), ("ceramic", 0.08), ("porcel", 0.08), ("marble", 0.08), ("lacquer", 0.08),
          ("gloss", 0.06), ("glass", 0.1), ("screen", 0.08), ("tile", 0.06))  # fmt: skip


@dataclass(frozen=True)
class TexturePicture:
    """A texture: (S, T, 4) uint8 sRGB with alpha, sides powers of two."""

    rgba: NDArray[np.uint8]

    @property
    def cut_out(self) -> bool:
        """Whether it has holes, as of leaves."""
        return bool((self.rgba[..., 3] < 128).mean() > _HOLES)


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Args:
        name: In the file.
        albedo: Linear RGB; where there is a texture, what multiplies it.
        opacity: 1 hides what is behind.
        gloss: Share of light that is mirrored, seen straight on.
        texture: Index into the model's textures, or -1.
    """

    name: str
    albedo: tuple[float, float, float]
    opacity: float = 1.0
    gloss: float = 0.03
    texture: int = -1

    @property
    def is_glass(self) -> bool:
        """Whether one looks through it."""
        return self.opacity < _SEE_THROUGH


@dataclass(frozen=True)
class ModelMesh:
    """The surface of a model.

    Args:
        position_V3: float32 metres in model axes.
        normal_V3: float32 unit vectors of the file, or of its faces.
        uv_V2: float32, v upwards; 0 without a texture.
        face_F3: int32.
        material_F: int32.
        materials: T of them.
        textures: Their pictures.
    """

    position_V3: NDArray[np.float32]
    normal_V3: NDArray[np.float32]
    uv_V2: NDArray[np.float32]
    face_F3: NDArray[np.int32]
    material_F: NDArray[np.int32]
    materials: tuple[Material, ...]
    textures: tuple[TexturePicture, ...]


def load_mesh(archive: zipfile.ZipFile, entry: ModelEntry, texture_side: int = 256) -> ModelMesh:
    """Read one model.

    Args:
        archive: Where it lies.
        entry: Which.
        texture_side: Largest side of the textures that are kept, pixels.

    Raises:
        ModelsError: It cannot be read, is empty, or a texture is missing.
    """
    parts = _parts(archive, entry)
    materials: list[Material] = []
    textures: list[TexturePicture] = []
    position, normal, uv, face, which = [], [], [], [], []
    first = 0
    for part in parts:
        material, picture = _material(part.visual, texture_side)
        if picture is not None:
            textures.append(picture)
            material = Material(
                material.name, material.albedo, material.opacity, material.gloss, len(textures) - 1
            )
        count = len(part.vertices)
        position.append(np.asarray(part.vertices, np.float64))
        normal.append(np.asarray(part.vertex_normals, np.float64))
        flat = getattr(part.visual, "uv", None)
        if flat is None or len(flat) != count:
            flat = np.zeros((count, 2))
        uv.append(np.asarray(flat, np.float32)[:, :2])
        face.append(np.asarray(part.faces, np.int32) + first)
        which.append(np.full(len(part.faces), len(materials), np.int32))
        materials.append(material)
        first += count
    place, direction = _upright(np.concatenate(position), np.concatenate(normal), entry)
    mesh = ModelMesh(
        position_V3=place.astype(np.float32),
        normal_V3=direction.astype(np.float32),
        uv_V2=np.nan_to_num(np.concatenate(uv)).astype(np.float32),
        face_F3=np.concatenate(face),
        material_F=np.concatenate(which),
        materials=tuple(materials),
        textures=tuple(textures),
    )
    if not np.isfinite(mesh.position_V3).all():
        raise ModelsError(f"{entry.key}: a vertex is no number")
    return mesh


def _parts(archive: zipfile.ZipFile, entry: ModelEntry) -> list[Any]:
    """The model's surfaces, one per material, as trimesh reads them."""
    import trimesh
    from trimesh.resolvers import ZipResolver

    folder = f"{PurePosixPath(entry.model).parent}/"
    beside = {
        name[len(folder) :]: io.BytesIO(archive.read(name))
        for name in archive.namelist()
        if name.startswith(folder) and not name.endswith("/")
    }
    missing: list[str] = []

    class Noting(ZipResolver):  # type: ignore[misc]
        """Trimesh goes on without what is not there; this does not."""

        def get(self, name: str) -> Any:
            try:
                return super().get(name)
            except Exception:  # whatever it was: trimesh swallows it, so it is noted
                missing.append(name)
                raise

    try:
        content = io.BytesIO(archive.read(entry.model))
        loaded = trimesh.load(content, file_type="obj", resolver=Noting(beside), process=False)
    except Exception as error:  # trimesh raises whatever its parts raise
        raise ModelsError(f"{entry.key}: {entry.model} cannot be read ({error})") from error
    if missing:
        raise ModelsError(f"{entry.key}: texture or material file {missing[0]} is missing")
    parts = list(loaded.geometry.values()) if hasattr(loaded, "geometry") else [loaded]
    parts = [part for part in parts if len(getattr(part, "faces", ()))]
    if not parts:
        raise ModelsError(f"{entry.key}: it has no faces")
    return parts


def _material(visual: Any, texture_side: int) -> tuple[Material, TexturePicture | None]:
    """A surface's look; grey where the file says nothing."""
    read = getattr(visual, "material", None)
    said = {str(key).lower(): value for key, value in (getattr(read, "kwargs", None) or {}).items()}
    name = str(getattr(read, "name", None) or "")
    image = getattr(read, "image", None)
    diffuse = np.asarray(said.get("kd", (0.6, 0.6, 0.6)), np.float64)[:3]
    albedo = _linear(np.clip(diffuse, 0, 1))
    if image is not None and albedo.max() < 0.05:  # black would hide the picture
        albedo = np.ones(3)
    opacity = _first(said.get("d"), 1.0)
    if "tr" in said and "d" not in said:
        opacity = 1.0 - _first(said["tr"], 0.0)
    lower = name.lower()
    gloss = next((value for word, value in _GLOSS if word in lower), 0.03)
    red, green, blue = np.minimum(albedo, 0.85 if image is None else 1.0).tolist()
    material = Material(name, (red, green, blue), float(np.clip(opacity, 0, 1)), gloss)
    return material, None if image is None else _picture(image, texture_side)


def _first(value: Any, default: float) -> float:
    """A number of an MTL file, which comes as a text, a list or not at all."""
    try:
        number = float(np.ravel(np.asarray(value, np.float64))[0])  # NaN of None
    except (TypeError, ValueError, IndexError):
        return default
    return number if math.isfinite(number) else default


def _linear(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """SRGB in 0..1 to linear light."""
    low, high = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    linear: NDArray[np.float64] = np.where(encoded <= 0.04045, low, high)
    return linear


def _picture(image: Any, largest: int) -> TexturePicture:
    """Sides become the powers of two at or below the picture's own."""
    sides = [
        max([side for side in _SIDES if side <= min(length, largest)] or [_SIDES[0]])
        for length in image.size
    ]
    small = image.convert("RGBA").resize((sides[0], sides[1]))
    return TexturePicture(np.asarray(small, np.uint8))


def _upright(
    position_V3: NDArray[np.float64], normal_V3: NDArray[np.float64], entry: ModelEntry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From the file's axes (y up, front +z) to the model's, filling the listed box on each axis."""
    if entry.turn is not None:
        turn = np.array(entry.turn).reshape(3, 3)
        position_V3, normal_V3 = position_V3 @ turn.T, normal_V3 @ turn.T
    swap = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    position, normal = position_V3 @ swap.T, normal_V3 @ swap.T
    low, high = position.min(axis=0), position.max(axis=0)
    extent = high - low
    size = np.array(entry.size)
    scale = np.where(extent > 1e-9, size / np.maximum(extent, 1e-9), 1.0)
    middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    bent = normal / np.maximum(scale, 1e-9)
    length = np.linalg.norm(bent, axis=1, keepdims=True)
    return (position - middle) * scale, bent / np.maximum(length, 1e-12)


def top_grid(mesh: ModelMesh, size: tuple[float, float, float]) -> NDArray[np.float16]:
    """(G, G) height of the highest surface over each cell of the footprint, -1 where there is none.

    Rows go along y, columns along x, from the low ends. Found by rays from above.
    """
    from .embree import Tracer

    centre = (np.arange(GRID) + 0.5) / GRID - 0.5
    y, x = np.meshgrid(centre * size[1], centre * size[0], indexing="ij")
    above = size[2] + 1.0
    origin = np.stack([x.ravel(), y.ravel(), np.full(x.size, above)], axis=1).astype(np.float32)
    down = np.tile(np.array([0, 0, -1], np.float32), (len(origin), 1))
    hits = Tracer(mesh.position_V3, mesh.face_F3).hits(origin, down)
    height = np.where(hits.face_R >= 0, above - hits.t_R, -1.0)
    grid: NDArray[np.float16] = height.reshape(GRID, GRID).astype(np.float16)
    return grid
