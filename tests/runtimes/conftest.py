"""A small model folder and runtimes of it, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime

from ..exports import PARTS, Exports


@pytest.fixture(scope="session")
def model_folder(exports: Exports) -> Path:
    return exports.tiny_model()


@pytest.fixture(scope="session")
def small_export(exports: Exports) -> Path:
    """Every part of the small model."""
    return exports.tiny(parts=PARTS)


@pytest.fixture
def runtime(model_folder: Path) -> Iterator[SpatialRuntime]:
    loaded = load_runtime(model=model_folder, device="cpu")
    yield loaded
    loaded.close()


@pytest.fixture(params=["torch", "onnx"])
def any_runtime(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[SpatialRuntime]:
    """The same small model on each backend that a CPU has: what no backend may do otherwise."""
    engines = request.getfixturevalue("small_export") if request.param == "onnx" else ""
    loaded = load_runtime(request.param, model=model_folder, device="cpu", engines=engines)
    assert loaded.info.backend == request.param
    yield loaded
    loaded.close()
