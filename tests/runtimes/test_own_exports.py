# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports that runtimes make by themselves: what they are kept under, and how they come about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from g2vlm_model.runtimes import load_runtime, own_exports
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.own_exports import (
    OwnExport,
    graph_sources,
    missing_libraries,
    model_digest,
)
from g2vlm_model.runtimes.store import ExportKey, Store

from ..exports import Exports

NANO = Path(own_exports.__file__).parents[1] / "weights" / "nano"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model."""
    return Path(shutil.copytree(NANO, tmp_path / "model"))


def key_of(model: Path, precision: str = "fp32", opset: int = 23) -> ExportKey:
    """What an export of every part is kept under."""
    return OwnExport.of(model, precision, opset).key(model_digest(model))


def test_another_export_has_another_key(model: Path) -> None:
    key = key_of(model)
    assert key == key_of(NANO)
    others = [key_of(model, precision="fp16"), key_of(model, opset=18)]
    assert len({key.digest, *(other.digest for other in others)}) == 3


def test_a_model_whose_frames_influence_each_other_has_no_shared_tokens(exports: Exports) -> None:
    parts = OwnExport(exports.tiny_model(), "fp32", 23).key("digest").parts
    assert set(parts) == {"geometry", "kv", "streaming", "semantic"}
    coupled = exports.tiny_model({"dino_attention": "compat"})
    assert set(OwnExport(coupled, "fp32", 23).key("digest").parts) == set(parts) - {"streaming"}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "dino_config.json"])
def test_one_changed_byte_of_the_model_is_another_key(model: Path, name: str) -> None:
    before = model_digest(model)
    assert key_of(model).source == before
    content = bytearray((model / name).read_bytes())
    content[-2] ^= 1
    (model / name).write_bytes(content)
    assert model_digest(model) != before


def test_auto_runs_where_there_is_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G2VLM_CACHE", "/proc/nothing")
    runtime = load_runtime("auto", device="cpu")
    try:
        assert runtime.info.runtime == "torch"
        assert "onnx cannot run here" in runtime.info.fallback_reason
        assert "/proc/nothing" in runtime.info.fallback_reason
    finally:
        runtime.close()


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_libraries() == ""
    assert missing_libraries("no_such_library") == (
        "no_such_library not installed; pip install no_such_library"
    )
    monkeypatch.setattr(own_exports, "LIBRARIES", ("torch", "no_such_onnx"))
    with pytest.raises(
        RuntimeError, match=r"cannot be exported here: no_such_onnx not installed; pip"
    ):
        key_of(NANO)


def test_a_large_models_weights_are_not_read_to_look_for_its_export(
    cache: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What configures a node must not wait for gigabytes; the build reads them, once."""
    monkeypatch.setattr(own_exports, "SMALL_BYTES", 0)
    own = OwnExport(model, "fp32", 23)
    with cache.building(own.key(model_digest(model))) as building:
        (building.folder / "manifest.json").write_text("{}")
        building.commit()
    read: list[Path] = []

    def reading(path: Path) -> str:
        read.append(path)
        return "hash"

    monkeypatch.setattr("g2vlm_model.runtimes.store.file_sha256", reading)
    monkeypatch.setattr(ExportFolder, "open", lambda folder: folder)
    assert own.find(cache) is None
    assert read == []
    monkeypatch.undo()
    monkeypatch.setattr(ExportFolder, "open", lambda folder: folder)
    model_digest(model, cache)
    assert own.find(cache) is not None


def test_only_code_that_shapes_the_graphs_makes_another_export() -> None:
    names = {"/".join(path.parts[-2:]) for path in graph_sources()}
    shaping = {"g2vlm_model/model.py", "g2vlm_model/mot.py", "g2vlm_model/dinov2.py"}
    assert shaping | {"extras/match.py"} <= names
    assert {path.stem for path in graph_sources()} >= {"to_onnx", "semantic_to_onnx"}
    for other in ("runtimes/store.py", "runtimes/serving.py", "interface/runtime.py"):
        assert other not in names
    assert not any(name.endswith("cli.py") for name in names)
    assert len(names) < 50


def test_comments_and_docstrings_make_no_other_export(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    codes = []
    for text in (
        'def f(x):\n    """One."""\n    return x + 1\n',
        'def f(x):\n    """Two."""\n    # Why.\n    return x + 1\n',
        'def f(x):\n    """One."""\n    return x + 2\n',
    ):
        file.write_text(text)
        codes.append(own_exports._code(file))
    assert codes[0] == codes[1] != codes[2]
