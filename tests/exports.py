# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports that several tests share; the fixtures that give them stand in `tests/conftest.py`.

An export takes long, so each is made once for all processes of a run and kept in pytest's cache
for the next one, under a key over the model's files, the libraries and the code that shapes it.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from .helpers import REPO
from .made_once import MadeOnce

__all__ = ["HALF", "NANO_OPTIONS", "PARTS", "STATIC", "Exports"]

KEPT = 40  # exports; a session of all tests makes about fifteen
PARTS = ("geometry", "kv", "streaming", "semantic")
LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript", "numpy")
HALF: dict[str, object] = {
    "confidence_head": True, "invalid_head": True, "geometry_attention": "mixed",
}  # fmt: skip
"""The small model in half precision is of the published structure: a confidence head, and every
other layer sees one frame. The head that knows the sky stands beside it. Its key heads are shared,
as all small models' are."""
NANO_OPTIONS: dict[str, object] = {
    "conv_stem": 8,
    "ray_prior_fov_deg": 65.0,
    "match_width": 8,
    "point_refine": 8,
    "isolate_geometry": True,
    "geometry_feedback": True,
}
"""What nano has beyond the published structure, which is what a model without them is in small."""
STATIC = (2, 42, 56)


class Exports:
    """Makes exports, or finds them.

    Args:
        kept: Where they are kept.
        models: Folder for random models.
    """

    def __init__(self, kept: MadeOnce, models: Path) -> None:
        self._kept = kept
        self._models = models

    def nano(self, **options: object) -> Path:
        """An export of the embedded model; `options` are those of `ExportOptions`."""
        from g2vlm_model.checkpoint import resolve_folder

        return self._export(resolve_folder("nano"), {"parts": PARTS, **options})

    def tiny(self, config: dict[str, object] | None = None, **options: object) -> Path:
        """An export of a small random model.

        Args:
            config: Changes of `small_config`.
            options: Of `ExportOptions`.
        """
        return self._export(self.tiny_model(config), options)

    def tiny_model(self, config: dict[str, object] | None = None) -> Path:
        """The model folder behind `tiny`."""
        from tests.runtimes.model_folders import small_config, write_model

        changes = config or {}
        words = [f"{name}-{value}" for name, value in sorted(changes.items())]
        folder = self._models / "-".join(["small", *words])
        if not folder.exists():
            write_model(folder, small_config(**changes))
        return folder

    def derived(self, export: Path, parts: tuple[str, ...], model: Path | None = None) -> Path:
        """What an exporter writes for fewer parts, or for settings that no graph knows.

        Args:
            export: With these parts and more; nothing is traced again.
            parts: To keep.
            model: Has the weights of the exported one, and other settings; default: those of
                the export.
        """
        from g2vlm_model.checkpoint import model_id

        words = [export.name, *parts, *([model_id(model)] if model else [])]
        make = functools.partial(_derive, export, parts, model)
        return self._kept.folder("-".join(words), make)

    def _export(self, model: Path, options: dict[str, object]) -> Path:
        from g2vlm_export.export_onnx import Exporter
        from g2vlm_export.to_onnx import ExportOptions

        asked = ExportOptions(**options)  # type: ignore[arg-type]
        told = f"{_shaping()} {_files_digest(sorted(model.iterdir()))} {asked}"
        digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        return self._kept.folder(
            f"{model.name}-{digest}",
            lambda folder: Exporter(model, asked.precision).write(folder, asked),
        )


def _derive(export: Path, parts: tuple[str, ...], model: Path | None, folder: Path) -> None:
    from g2vlm_export.manifest import (
        copy_model_files,
        file_records,
        save_goldens,
        write_manifest,
    )

    from g2vlm_model.checkpoint import model_id
    from g2vlm_model.runtimes.export_folder import ExportFolder
    from g2vlm_model.runtimes.own_exports import model_digest

    whole = ExportFolder.open(export)
    wanted = {"geometry", *(("encoder", "expert") if "streaming" in parts else ())}
    graphs = {
        name: graph
        for name, graph in whole.manifest.graphs.items()
        if name in wanted or ("semantic" in parts and name.startswith("semantic"))
    }
    graph_files = {file for graph in graphs.values() for file in (graph.file, graph.data) if file}
    settings = {name for name in whole.manifest.files if name.endswith((".json", ".txt"))}
    prefixes = {whole.manifest.prefixes} - {""}
    for name in graph_files | settings | prefixes:
        shutil.copyfile(export / name, folder / name)
    save_goldens(folder, [golden for golden in whole.goldens() if golden.graph in graphs])
    manifest = replace(whole.manifest, parts=parts, graphs=graphs)
    if model is not None:
        copy_model_files(model, folder)
        manifest = replace(manifest, model_id=model_id(model), model_sha256=model_digest(model))
    write_manifest(folder, replace(manifest, files=file_records(folder)))


@functools.cache
def _shaping() -> str:
    """Versions of the libraries, and a digest of the code that decides what an export holds.

    That is the exporter, the model, and of the runtimes what the exporter imports.
    """
    libraries = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{libraries} {_files_digest(_sources())}"


def _sources() -> Iterator[Path]:
    exporter = sorted((REPO / "export").glob("*.py"))
    model = REPO / "g2vlm_model"
    yield from exporter
    yield from (path for path in sorted(model.rglob("*.py")) if "runtimes" not in path.parts)
    imports = re.compile(r"^from (g2vlm_model\.runtimes[\w.]*) import", re.MULTILINE)
    found = {name for path in exporter for name in imports.findall(path.read_text("utf-8"))}
    for name in sorted(found):
        module = REPO.joinpath(*name.split("."))
        yield module.with_suffix(".py") if not module.is_dir() else module / "__init__.py"


def _files_digest(paths: Iterator[Path] | list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
