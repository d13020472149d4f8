# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The library on disk: built once, read by every process, whole or not there.

`models.safetensors` holds per model positions (uint16 over its box), normals (int8 / 127), uv,
faces, materials by face, the grid of tops and its textures as PNG or JPEG bytes; panoramas
(float16, linear light) and surface textures beside them. `library.json` lists everything, with the
SHA-256 of the tensors and of every source; `CREDITS.md` names authors and licences.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.whole_files import whole_folder
from g2vlm_model.runtimes.store import cache_root
from g2vlm_model.safetensors_file import write_errors

from .credits import credits_text
from .meshes import Material, ModelMesh, TexturePicture, load_mesh, top_grid
from .packages import Sources
from .panoramas import read_panorama
from .sh3f import ModelEntry, ModelsError, read_archive

__all__ = ["FORMAT", "ModelLibrary", "build_library", "default_folder"]

_LOG = logging.getLogger(__name__)
FORMAT = 1
MAX_TRIANGLES = 40_000
_TENSORS, _LIST, _CREDITS = "models.safetensors", "library.json", "CREDITS.md"
_SURFACE_SIDE = 512
_JPEG_QUALITY = 92


def default_folder() -> Path:
    """Where the library lies when nobody says otherwise: `scenes-FORMAT` in the project's cache."""
    return cache_root() / f"scenes-{FORMAT}"


def build_library(folder: Path, sources: Sources, say: Callable[[str], None] = _LOG.info) -> Path:
    """Convert sources into a library; an older one in its place is replaced when all is done.

    Args:
        folder: Of the library.
        sources: What to convert.
        say: Gets a line of progress per archive.

    Raises:
        ModelsError: No model can be used.
        OSError: The disk is full or not writable; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as made:
        tensors: dict[str, NDArray[Any]] = {}
        kept: list[tuple[ModelEntry, ModelMesh]] = []
        left: dict[str, str] = {}
        for path in sources.archives:
            entries, refused = read_archive(path)
            left.update(refused)
            with zipfile.ZipFile(path) as archive:
                for entry in entries:
                    try:
                        mesh = load_mesh(archive, entry)
                        _check(mesh, entry)
                    except ModelsError as error:
                        left[entry.key] = str(error)
                        continue
                    tensors.update(_packed(f"m{len(kept):04d}", mesh, entry))
                    slim = dataclasses.replace(mesh, textures=())
                    kept.append((entry, slim))
            say(f"{path.name}: {len(entries)} models listed, {len(kept)} kept so far")
        if not kept:
            raise ModelsError(f"no model can be used: {_counted(left)}")
        panoramas, surfaces = _add_pictures(tensors, sources)
        _write(made, tensors, kept, left, sources, panoramas, surfaces)
    say(f"{folder}: {len(kept)} models, {len(left)} left out ({_counted(left)})")
    return folder


def _check(mesh: ModelMesh, entry: ModelEntry) -> None:
    if len(mesh.face_F3) > MAX_TRIANGLES:
        raise ModelsError(f"{entry.key}: more than {MAX_TRIANGLES} triangles")


def _counted(left: dict[str, str]) -> str:
    kinds = (("licence", "licence"), ("notice", "licence"), ("triangles", "size"),
             ("texture", "texture missing"), ("no faces", "empty"))  # fmt: skip
    tally = Counter(
        next((kind for word, kind in kinds if word in reason), "unreadable")
        for reason in left.values()
    )
    return ", ".join(f"{kind} {count}" for kind, count in sorted(tally.items())) or "none"


def _packed(key: str, mesh: ModelMesh, entry: ModelEntry) -> dict[str, NDArray[Any]]:
    """A model's tensors; positions lose up to 1/131070 of the box's side."""
    low = np.array([-entry.size[0] / 2, -entry.size[1] / 2, 0.0])
    size = np.maximum(np.array(entry.size), 1e-6)
    share = np.clip((mesh.position_V3 - low) / size, 0, 1)
    packed: dict[str, NDArray[Any]] = {
        f"{key}.position": np.rint(share * 65535).astype(np.uint16),
        f"{key}.normal": np.rint(mesh.normal_V3 * 127).astype(np.int8),
        f"{key}.uv": mesh.uv_V2,
        f"{key}.face": mesh.face_F3,
        f"{key}.material": mesh.material_F.astype(np.uint16),
        f"{key}.top": top_grid(mesh, entry.size),
    }
    for number, texture in enumerate(mesh.textures):
        packed[f"{key}.texture.{number}"] = _encoded(texture.rgba)
    return packed


def _encoded(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as the bytes of a file: PNG where it has alpha, else JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    if (rgba[..., 3] < 255).any():
        Image.fromarray(rgba, "RGBA").save(buffer, "PNG")
    else:
        Image.fromarray(np.ascontiguousarray(rgba[..., :3])).save(
            buffer, "JPEG", quality=_JPEG_QUALITY
        )
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _decoded(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(content.tobytes())) as image:
        return np.asarray(image.convert("RGBA"), np.uint8)


def _add_pictures(
    tensors: dict[str, NDArray[Any]], sources: Sources
) -> tuple[list[str], list[str]]:
    """Panoramas and surface textures; returns their names."""
    from PIL import Image

    panoramas, surfaces = [], []
    for path in sources.panoramas:
        tensors[f"panorama.{path.stem}"] = read_panorama(path)
        panoramas.append(path.stem)
    for path in sources.textures:
        with Image.open(path) as image:
            small = image.convert("RGBA").resize((_SURFACE_SIDE, _SURFACE_SIDE))
        opaque = np.array(small, np.uint8)
        opaque[..., 3] = 255
        tensors[f"surface.{path.stem}"] = _encoded(opaque)
        surfaces.append(path.stem)
    return panoramas, surfaces


def _write(
    folder: Path,
    tensors: dict[str, NDArray[Any]],
    kept: list[tuple[ModelEntry, ModelMesh]],
    left: dict[str, str],
    sources: Sources,
    panoramas: list[str],
    surfaces: list[str],
) -> None:
    from safetensors.numpy import save_file

    with write_errors(folder / _TENSORS):
        save_file(tensors, folder / _TENSORS)
    entries = [entry for entry, _ in kept]
    content = {
        "format": FORMAT,
        "tensors": _digest(folder / _TENSORS),
        "models": [
            {
                "entry": dataclasses.asdict(entry),
                "materials": [dataclasses.asdict(item) for item in mesh.materials],
                "triangles": len(mesh.face_F3),
            }
            for entry, mesh in kept
        ],
        "left_out": left,
        "panoramas": panoramas,
        "surfaces": surfaces,
        "notes": list(sources.notes),
        "sources": {
            path.name: _digest(path)
            for path in (*sources.archives, *sources.panoramas, *sources.textures)
        },
    }
    (folder / _LIST).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    (folder / _CREDITS).write_text(credits_text(entries, panoramas, surfaces), encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read()).hexdigest()
        )


class ModelLibrary:
    """A library on disk.

    Args:
        folder: Made by `build_library`.

    Raises:
        ModelsError: It is not there, of another format, or its bytes have changed.
    """

    def __init__(self, folder: Path) -> None:
        advice = f"make it with `g2vlm dataset models --out {folder}`"
        try:
            content = parse_json((folder / _LIST).read_bytes(), nan=True)  # of older ones
            tensors = folder / _TENSORS
            digest = _digest(tensors)
        except (OSError, ValueError) as error:
            raise ModelsError(f"no model library in {folder} ({error}); {advice}") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ModelsError(f"{folder} is of format {found!r:.40}, expected {FORMAT}; {advice}")
        if digest != content.get("tensors"):
            raise ModelsError(f"{tensors} is damaged: its SHA-256 is another; {advice}")
        from safetensors import safe_open

        self.folder = folder
        self._file = safe_open(tensors, framework="numpy")
        rows = content["models"]
        self.entries = tuple(_entry(row["entry"]) for row in rows)
        self.triangles = tuple(int(row["triangles"]) for row in rows)
        self._materials = [
            tuple(
                Material(**{**item, "albedo": tuple(item["albedo"])}) for item in row["materials"]
            )
            for row in rows
        ]
        self.panoramas: tuple[str, ...] = tuple(content["panoramas"])
        self.surfaces: tuple[str, ...] = tuple(content["surfaces"])
        self.digest: str = content["tensors"]

    def _tensor(self, name: str) -> NDArray[Any]:
        tensor: NDArray[Any] = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def mesh(self, number: int) -> ModelMesh:
        """The surface of a model, by its place in `entries`."""
        key, entry = f"m{number:04d}", self.entries[number]
        materials = self._materials[number]
        textures = 1 + max((item.texture for item in materials), default=-1)
        low = np.array([-entry.size[0] / 2, -entry.size[1] / 2, 0.0], np.float32)
        share = self._tensor(f"{key}.position").astype(np.float32) / np.float32(65535)
        return ModelMesh(
            position_V3=low + share * np.array(entry.size, np.float32),
            normal_V3=self._tensor(f"{key}.normal").astype(np.float32) / np.float32(127),
            uv_V2=self._tensor(f"{key}.uv"),
            face_F3=self._tensor(f"{key}.face"),
            material_F=self._tensor(f"{key}.material").astype(np.int32),
            materials=materials,
            textures=tuple(
                TexturePicture(_decoded(self._tensor(f"{key}.texture.{index}")))
                for index in range(textures)
            ),
        )

    def tops(self, number: int) -> NDArray[np.float32]:
        """(G, G) heights of a model from above; see `top_grid`."""
        grid: NDArray[np.float32] = self._tensor(f"m{number:04d}.top").astype(np.float32)
        return grid

    def panorama(self, name: str) -> NDArray[np.float32]:
        """(H, 2H, 3) linear light; see `read_panorama`."""
        sky: NDArray[np.float32] = self._tensor(f"panorama.{name}").astype(np.float32)
        return sky

    def surface(self, name: str) -> TexturePicture:
        """A texture of walls and floors."""
        return TexturePicture(_decoded(self._tensor(f"surface.{name}")))


def _entry(row: dict[str, Any]) -> ModelEntry:
    turn = row["turn"]
    return ModelEntry(
        **{**row, "size": tuple(row["size"]), "turn": None if turn is None else tuple(turn)}
    )
