"""Exports that several tests share; the fixtures that give them stand in `tests/conftest.py`.

An export takes long, so it is kept in pytest's cache for the next session: under a key over the
model's files, the exporter's code and libraries, as the automatic exports of a runtime are.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from g2vlm_export.export_onnx import Exporter

KEPT = 40  # exports; a session of all tests makes about twenty
PARTS = ("geometry", "kv", "streaming", "semantic")


class Exports:
    """Makes exports, or finds them.

    Args:
        root: Of the cache that they are kept in.
        models: Folder for random models.
    """

    def __init__(self, root: Path, models: Path) -> None:
        self._root = root
        self._models = models
        self._exporters: dict[tuple[Path, str], Exporter] = {}

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

    def _export(self, model: Path, options: dict[str, object]) -> Path:
        from g2vlm_export.export_onnx import Exporter
        from g2vlm_export.to_onnx import ExportOptions

        from g2vlm_model.runtimes.automatic import export_key
        from g2vlm_model.runtimes.engine_cache import EngineCache

        asked = ExportOptions(**options)  # type: ignore[arg-type]
        flags = [f"{model.name} rotation {asked.in_graph_rotation} static {asked.static_nhw}"]
        key = export_key(model, asked.precision, asked.opset, asked.parts, flags)
        cache = EngineCache.open(self._root)
        entry = cache.lookup(key)
        if entry is None:
            self._prune()
            with cache.building(key) as building:
                if building.entry is None:
                    # One exporter per model and precision: it traces once for all of them.
                    exporter = self._exporters.setdefault(
                        (model, asked.precision), Exporter(model, asked.precision)
                    )
                    exporter.write(building.folder, asked)
                    building.commit({})
                assert building.entry is not None
                return building.entry.folder
        os.utime(entry.folder)
        return entry.folder

    def _prune(self) -> None:
        """Remove what was not used for longest: every change of the exporter makes new ones."""
        entries = (self._root / "entries").iterdir()
        for old in sorted(entries, key=lambda folder: -folder.stat().st_mtime)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
