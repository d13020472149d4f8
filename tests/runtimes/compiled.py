# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports with engines that are the exported graphs themselves, for `host_tensorrt`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.machine import Gpu
from g2vlm_model.runtimes.tensorrt.engines import (
    EngineFolder,
    EngineManifest,
    EngineRecord,
    Profile,
)
from g2vlm_model.runtimes.vouched import file_sha256

GPU = Gpu(0, "a GPU in the host's memory", "8.7", "550.1")
WIDE = Profile((1, 14, 14), (2, 42, 56), (24, 560, 560))
STREAMING, WHOLE = ("encoder", "expert"), ("geometry",)


def manifest_of(folder: Path, export: ExportFolder, names: tuple[str, ...]) -> EngineManifest:
    engines = {}
    for name in names:
        file = Path(shutil.copyfile(export.graph(name), folder / f"{name}.engine"))
        engines[name] = EngineRecord(
            file.name, file_sha256(file), file.stat().st_size, "fp32", (), "", {}, 1.0
        )
    return EngineManifest(
        source=export.digest,
        model_id=export.manifest.model_id,
        builder="tensorrt",
        builder_version="10.15.1",
        gpu=GPU.name,
        compute_capability=GPU.compute_capability,
        driver=GPU.driver,
        targets=(),
        precision="fp32",
        checked=True,
        profile=WIDE,
        engines=engines,
    )


def compute_something_else(folder: Path) -> None:
    """Spoil the encoder, as a wrong fusion would, and have the manifest vouch for it."""
    manifest = EngineFolder.read(folder).manifest
    file = folder / "encoder.engine"
    model = onnx.load(file)
    largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    largest.raw_data = (1.05 * numpy_helper.to_array(largest)).astype(np.float32).tobytes()
    onnx.save(model, file)
    record = replace(
        manifest.engines["encoder"], sha256=file_sha256(file), bytes=file.stat().st_size
    )
    replace(manifest, engines={**manifest.engines, "encoder": record}).write(folder)


def compiled(export: ExportFolder, names: tuple[str, ...] = STREAMING, **facts: object) -> Path:
    """A folder of engines inside an export."""
    folder = export.path / "engines"
    folder.mkdir(mode=0o700)
    replace(manifest_of(folder, export, names), **facts).write(folder)  # type: ignore[arg-type]
    return folder
