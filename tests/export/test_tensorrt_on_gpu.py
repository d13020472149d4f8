# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Engines built, checked and run on the GPU of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from g2vlm_export.tensorrt_cli import main
from g2vlm_export.to_tensorrt import EngineOrder

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.golden_check import compare
from g2vlm_model.runtimes.machine import (
    FLAVOURS,
    Gpu,
    TensorRT,
    find_gpu,
    find_tensorrt,
)
from g2vlm_model.runtimes.store import Store
from g2vlm_model.runtimes.tensorrt.engines import (
    EngineFolder,
    EngineRefusedError,
    Profile,
    engine_key,
)

from ..exports import Exports

pytestmark = pytest.mark.gpu

WINDOWS = Profile((1, 84, 112), (2, 84, 112), (4, 84, 112))
CUSTOM = ("--profile", "custom", "--min", "1,84,112", "--opt", "2,84,112", "--max", "4,84,112")


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    return find_gpu()


@pytest.fixture(scope="module", params=FLAVOURS)
def trt(request: pytest.FixtureRequest) -> TensorRT:
    flavour: str = request.param
    try:
        return find_tensorrt(flavour)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    return Store.open()


def words(source: Path, trt: TensorRT) -> list[str]:
    return ["--onnx", str(source), "--flavour", trt.name, *CUSTOM]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engines_compute_what_torch_computes(
    exports: Exports, gpu: Gpu, trt: TensorRT, cache: Store, precision: str
) -> None:
    from g2vlm_model.runtimes.tensorrt.graph import TensorRTGraph

    parts = ("geometry", "kv", "streaming")
    source = exports.nano(parts=parts, precision=precision, opset=trt.opset)
    export = ExportFolder.open(source)
    assert main(words(source, trt)) == 0
    entry = cache.lookup(engine_key(export.digest, precision, trt, gpu, WINDOWS))
    assert entry is not None
    folder = EngineFolder.open(entry.folder, trt, gpu, export.digest)
    assert folder.manifest.checked
    assert set(folder.manifest.engines) == {"encoder", "expert"}
    order = EngineOrder(export, WINDOWS, trt, gpu)
    for name, engine in folder.manifest.engines.items():
        assert "golden windows pass" in engine.check
        with closing(TensorRTGraph(folder.plan(name), trt, gpu)) as graph:
            for golden in order.goldens(name):
                said = graph.run(golden.inputs)
                comparison = compare(said, golden, export.manifest.tolerances)
                assert comparison.passed, f"{name} {golden.case}\n{comparison.report()}"
    built = (entry.folder / "engines.json").stat().st_mtime_ns
    assert main(words(source, trt)) == 0
    assert (entry.folder / "engines.json").stat().st_mtime_ns == built, "built once"


def test_two_processes_build_the_same_engine_once(
    tiny_export: Path, gpu: Gpu, trt: TensorRT, cache: Store
) -> None:
    del gpu
    sizes = ("--profile", "custom", "--min", "1,42,56", "--opt", "2,42,56", "--max", "4,42,56")
    command = [sys.executable, "-m", "g2vlm_model.cli", "export", "tensorrt"]
    command += ["--onnx", str(tiny_export), "--flavour", trt.name, *sizes, "--progress", "json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    reports = [[json.loads(line) for line in text.splitlines() if line[:1] == "{"] for text in said]
    assert sorted(map(bool, reports)) == [False, True], "one built, the other waited"
    assert len(list((cache.root / "entries").iterdir())) == 1


def test_an_engine_of_another_driver_is_not_found(
    tiny_export: Path, gpu: Gpu, trt: TensorRT, cache: Store
) -> None:
    export = ExportFolder.open(tiny_export)
    sizes = ["--profile", "custom", *("--min", "2,42,56"), *("--opt", "2,42,56")]
    sizes += ["--max", "2,42,56"]
    assert main(["--onnx", str(tiny_export), "--flavour", trt.name, *sizes]) == 0
    windows = Profile(*[(2, 42, 56)] * 3)
    own = cache.lookup(engine_key(export.digest, "fp32", trt, gpu, windows))
    assert own is not None
    updated = replace(gpu, driver="999.99")
    assert cache.lookup(engine_key(export.digest, "fp32", trt, updated, windows)) is None
    with pytest.raises(EngineRefusedError, match=r"driver: built with .*, here is 999\.99"):
        EngineFolder.open(own.folder, trt, updated)
