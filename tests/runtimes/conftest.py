# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A small model folder and runtimes of it, shared by the tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.export_folder import MANIFEST, ExportFolder
from g2vlm_model.runtimes.machine import TensorRT
from g2vlm_model.runtimes.store import Store

from ..exports import Exports
from .build_commands import install
from .compiled import GPU, STREAMING, WHOLE
from .host_gpu import HostCuda
from .host_tensorrt import HostTensorRT


@pytest.fixture
def build_for_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find the command."""
    install(tmp_path / "installed")
    known = os.environ.get("PYTHONPATH", "")
    paths = filter(None, (str(tmp_path / "installed"), known))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture(scope="session")
def model_folder(exports: Exports) -> Path:
    return exports.tiny_model()


@pytest.fixture(scope="session")
def small_export(whole_export: Path) -> Path:
    """Every part of the small model."""
    return whole_export


@pytest.fixture
def runtime(model_folder: Path) -> Iterator[SpatialRuntime]:
    loaded = load_runtime(model=model_folder, device="cpu", prompt_mode="shared")
    yield loaded
    loaded.close()


@pytest.fixture(params=["torch", "onnx"])
def any_runtime(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[SpatialRuntime]:
    """The same small model on each runtime that a CPU has: what none may do otherwise.

    One pass serves geometry and questions; two of them are looked at in `test_prompt_mode.py`.
    """
    export = request.getfixturevalue("small_export") if request.param == "onnx" else ""
    loaded = load_runtime(
        request.param, model=model_folder, device="cpu", prompt_mode="shared", export=export
    )
    assert loaded.info.runtime == request.param
    yield loaded
    loaded.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    return Store.open()


# A machine with a GPU and TensorRT, as far as the runtime can see.


@pytest.fixture
def host() -> HostCuda:
    return HostCuda()


@pytest.fixture
def trt(host: HostCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    """A machine with a GPU, TensorRT and an empty cache, as far as the runtime can see."""
    found = TensorRT(HostTensorRT(host), "tensorrt", "10.15.1")
    # Imported here: not every test of this folder has use for them.
    from g2vlm_model.runtimes import tensorrt
    from g2vlm_model.runtimes.tensorrt import cuda

    monkeypatch.setattr(tensorrt, "find_gpu", lambda index: replace(GPU, index=index))
    monkeypatch.setattr(tensorrt, "find_tensorrt", lambda: found)
    monkeypatch.setattr(tensorrt, "cuda_runtime", lambda: host)
    monkeypatch.setattr(cuda, "cuda_runtime", lambda: host)
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    return found


@pytest.fixture
def export(small_export: Path, tmp_path: Path) -> ExportFolder:
    """The small model without the part "semantic"; a copy that a test may put engines into."""
    folder = Path(shutil.copytree(small_export, tmp_path / "export"))
    manifest = ExportFolder.open(folder).manifest
    geometry = {name: manifest.graphs[name] for name in (*WHOLE, *STREAMING)}
    parts = ("geometry", "kv", "streaming")
    (folder / MANIFEST).write_text(replace(manifest, parts=parts, graphs=geometry).to_json())
    return ExportFolder.open(folder)
