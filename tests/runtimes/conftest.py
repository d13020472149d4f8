"""A small model folder and a runtime of it, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime

from .model_folders import small_config, write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small", small_config())


@pytest.fixture
def runtime(model_folder: Path) -> Iterator[SpatialRuntime]:
    loaded = load_runtime(model=model_folder, device="cpu")
    yield loaded
    loaded.close()
