# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The TensorRT runtime by name: which engines it takes, refuses, builds; who answers on them.

Engines of these tests are the exported graphs themselves, "executed" by `host_gpu`. What needs a
real GPU stands at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from g2vlm_model.interface import PixelMark, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime, tensorrt
from g2vlm_model.runtimes.auto import Machine
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.fastest import Circumstances, remember
from g2vlm_model.runtimes.machine import GpuMissingError, TensorRT, cpu_facts, find_gpu
from g2vlm_model.runtimes.serving import BuildingRuntime
from g2vlm_model.runtimes.store import Store
from g2vlm_model.runtimes.tensorrt import cuda as cuda_module
from g2vlm_model.runtimes.tensorrt.engines import EngineFolder, Profile, engine_key
from g2vlm_model.runtimes.vouched import file_sha256

from .compiled import GPU, STREAMING, WIDE, compiled, compute_something_else, manifest_of
from .host_gpu import HostCuda
from .model_folders import window

QUERY = SpatialQuery("How far is A from the camera?", (PixelMark(0, 40, 30, "A"),), max_tokens=8)


def same_as_torch(runtime: SpatialRuntime, model_folder: Path) -> None:
    by_torch = load_runtime("torch", model_folder, "cpu")
    for seeds in ((1, 2, 3), (2, 3, 4)):  # overlapping windows: tokens are used again
        expected, scene = (one.observe(window(*seeds)) for one in (by_torch, runtime))
        for name in ("local_points", "T_world_cam"):
            got, wanted = (getattr(one.geometry, name) for one in (scene, expected))
            np.testing.assert_allclose(got, wanted, atol=2e-4 * np.ptp(wanted))
        answers = [one.ask(made, QUERY) for one, made in ((by_torch, expected), (runtime, scene))]
        assert answers[0].text == answers[1].text
        assert answers[0].tokens == answers[1].tokens > 0
    by_torch.close()


def test_torch_answers_on_engines_in_the_export(
    export: ExportFolder, trt: TensorRT, host: HostCuda, model_folder: Path
) -> None:
    compiled(export)
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    info = runtime.info
    assert (info.runtime, info.precision, info.building) == ("tensorrt", "fp32", None)
    assert info.device.startswith("cuda:0 (a GPU")
    same_as_torch(runtime, model_folder)
    runtime.close()
    assert not host.blocks


def test_without_torch_on_the_gpu_exported_answers_serve(
    small_export: Path, trt: TensorRT, model_folder: Path, tmp_path: Path
) -> None:
    export = ExportFolder.open(shutil.copytree(small_export, tmp_path / "whole"))
    compiled(export)
    runtime = load_runtime("tensorrt", "no model folder", export=export.path)
    assert runtime.info.runtime == "tensorrt"
    same_as_torch(runtime, model_folder)
    runtime.close()


def test_torch_of_another_model_does_not_answer_on_engines(
    small_export: Path, export: ExportFolder, trt: TensorRT, host: HostCuda, tmp_path: Path
) -> None:
    for built in (False, True):  # neither meanwhile nor on the engines
        if built:
            compiled(export)
        with pytest.raises(ValueError, match=r"was exported from small@.*`model` is nano"):
            load_runtime("tensorrt", "nano", export=export.path)
    assert not host.blocks
    whole = ExportFolder.open(shutil.copytree(small_export, tmp_path / "whole"))
    compiled(whole)
    runtime = load_runtime("tensorrt", "nano", export=whole.path)
    assert runtime.info.model_id == whole.manifest.model_id
    runtime.close()


def test_engines_in_the_cache_are_found_whatever_their_profile(
    export: ExportFolder, trt: TensorRT, model_folder: Path
) -> None:
    key = engine_key(export.digest, "fp32", trt, GPU, WIDE)
    with Store.open().building(key) as building:
        manifest_of(building.folder, export, STREAMING).write(building.folder)
        building.commit()
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert runtime.info.runtime == "tensorrt"
    runtime.close()


def broken(folder: Path) -> None:
    (folder / "expert.engine").write_bytes(b"cut off")


def for_another(**facts: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        replace(EngineFolder.read(folder).manifest, **facts).write(folder)  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (broken, "has 7 bytes, engines.json says"),
        (
            for_another(builder_version="10.3.0"),
            "builder_version: built with 10.3.0, here is 10.15.1",
        ),
        (for_another(driver="540.4"), "driver: built with 540.4, here is 550.1"),
        (for_another(gpu="Orin"), "gpu: built with Orin"),
        (for_another(targets=("sm89",)), "built for sm89, here is sm87"),
        (for_another(source="another export"), "built from the export another"),
        (lambda folder: folder.chmod(0o777), "others may"),
    ],
)
def test_engines_of_elsewhere_are_left_out_and_new_ones_built(
    export: ExportFolder,
    trt: TensorRT,
    model_folder: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    spoil(compiled(export))
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert isinstance(runtime, BuildingRuntime)
    assert words in caplog.text
    assert runtime.info.runtime == "torch"
    runtime.close()


def test_the_build_is_a_real_command_and_its_failure_leaves_torch(
    export: ExportFolder, trt: TensorRT, model_folder: Path
) -> None:
    """The child sees the machine as it is: here it finds no GPU."""
    try:
        find_gpu()
        pytest.skip("there is a GPU: the build would succeed")
    except GpuMissingError:
        pass
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.wait(60.0)
    info = runtime.info
    assert info.runtime == "torch"
    assert "for tensorrt could not be built, torch on cpu" in info.fallback_reason
    assert f"`g2vlm export tensorrt --onnx {export.path}" in info.fallback_reason
    same_as_torch(runtime, model_folder)
    runtime.close()


def test_an_engine_that_does_not_load_leaves_the_cache(
    export: ExportFolder, trt: TensorRT, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Store.open()
    key = engine_key(export.digest, "fp32", trt, GPU, WIDE)
    with cache.building(key) as building:
        manifest = manifest_of(building.folder, export, STREAMING)
        file = building.folder / "expert.engine"
        file.write_bytes(b"vouched for, but no engine")
        record = replace(
            manifest.engines["expert"], sha256=file_sha256(file), bytes=file.stat().st_size
        )
        replace(manifest, engines={**manifest.engines, "expert": record}).write(building.folder)
        building.commit()
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert isinstance(runtime, BuildingRuntime)
    assert "the plan is no engine" in caplog.text
    assert cache.lookup(key) is None
    runtime.close()


def test_engines_that_compute_wrong_here_do_not_serve_whatever_their_manifest_says(
    export: ExportFolder, trt: TensorRT, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = compiled(export)
    compute_something_else(folder)
    assert EngineFolder.read(folder).manifest.checked
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert runtime.info.runtime == "torch"
    assert "gives wrong numbers on this device" in caplog.text
    runtime.close()


def test_a_window_that_engines_were_not_built_for_goes_to_torch(
    export: ExportFolder, trt: TensorRT, model_folder: Path
) -> None:
    most = max(len(golden.inputs["pictures"]) for golden in export.goldens("geometry"))
    compiled(export, profile=Profile((1, 14, 14), (most, 42, 56), (most, 560, 560)))
    runtime = load_runtime("tensorrt", model_folder, export=export.path)
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("tensorrt", "")
    limits = runtime.info.limits
    assert limits is not None
    assert limits.max_frames > most
    seeds = range(1, most + 2)
    inside, outside = (runtime.observe(window(*few)) for few in (seeds[:most], seeds))
    for scene in (inside, outside):
        assert scene.geometry.valid.any()
        assert runtime.ask(scene, QUERY).tokens > 0
    assert runtime.info.runtime == "tensorrt"
    assert runtime.info.fallback_reason.startswith(
        f"a window went to torch on cpu ({cpu_facts()[0]}): the window has {most + 1} frames"
    )
    runtime.close()


def test_a_device_that_fails_is_an_error(
    export: ExportFolder, trt: TensorRT, host: HostCuda, model_folder: Path
) -> None:
    compiled(export)
    host.room = 1
    with pytest.raises(RuntimeError, match="out of memory on the device: cudaMalloc failed"):
        load_runtime("tensorrt", model_folder, export=export.path)


NO = "not here"


@pytest.mark.parametrize(
    ("machine", "faster", "serves"),
    [
        (Machine(), "", "torch"),
        (Machine(torch_cuda=NO), "torch", "torch"),
        (Machine(torch_cuda=NO), "onnx", "onnx"),
        (Machine(torch_cuda=NO, torch=NO), "", "onnx"),
    ],
)
def test_of_a_device_that_fails_whatever_serves_instead_says_so(
    small_export: Path,
    trt: TensorRT,
    host: HostCuda,
    model_folder: Path,
    tmp_path: Path,
    machine: Machine,
    faster: str,
    serves: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every row of `auto`'s table below TensorRT's."""
    export = ExportFolder.open(shutil.copytree(small_export, tmp_path / "whole"))
    compiled(export)
    host.room = 1
    monkeypatch.setattr(Machine, "probe", classmethod(lambda *_: machine))
    if faster:
        times = {name: 1.0 if name == faster else 2.0 for name in ("torch", "onnx")}
        remember(Store.open(), Circumstances.here(export.digest), times)
    runtime = load_runtime("auto", model_folder, export=export.path)
    assert runtime.info.runtime == serves
    reason = runtime.info.fallback_reason
    assert reason.startswith("tensorrt cannot run here: out of memory on the device: cudaMalloc")
    assert runtime.observe(window(1, 2)).geometry.valid.any()
    runtime.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "cpu"}, "device is 'cpu', but TensorRT runs on NVIDIA GPUs"),
        ({"device": "cuda:x"}, "device is 'cuda:x'"),
        ({"precision": "bf16"}, "precision is 'bf16', but graphs are exported in"),
        ({"precision": "fp16"}, "precision is 'fp16', but .* was exported in fp32"),
    ],
)
def test_words_that_do_not_fit(
    export: ExportFolder, trt: TensorRT, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_runtime("tensorrt", export=export.path, **given)


def test_a_folder_of_engines_only_is_told_apart(export: ExportFolder, trt: TensorRT) -> None:
    with pytest.raises(ValueError, match="holds compiled engines only; name the export folder"):
        load_runtime("tensorrt", export=compiled(export))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is faked here: this machine lacks a driver, or has all."""
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path))
    try:
        find_gpu()
    except GpuMissingError:
        with pytest.raises(RuntimeError, match=r"TensorRT cannot run here: .*; or use the runtime"):
            load_runtime("tensorrt")
    monkeypatch.setattr(tensorrt, "find_gpu", lambda index: GPU)
    monkeypatch.setattr(cuda_module, "BINDINGS", "no_such_bindings.runtime")
    with pytest.raises(RuntimeError, match=r"no_such_bindings.* cannot be imported: .*pip install"):
        load_runtime("tensorrt")


# What needs a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engines_are_built_here_and_take_over(
    model_folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path))
    runtime = load_runtime("tensorrt", model_folder, "cuda", precision)
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.info.runtime == "torch"
    assert runtime.wait(1200.0)
    info = runtime.info
    assert (info.runtime, info.fallback_reason) == ("tensorrt", "")
    if precision == "fp32":
        same_as_torch(runtime, model_folder)
    runtime.observe(window(1, 2, 3))
    runtime.close()
    again = load_runtime("tensorrt", model_folder, "cuda", precision)
    assert (again.info.runtime, again.info.building) == ("tensorrt", None)
    again.close()
