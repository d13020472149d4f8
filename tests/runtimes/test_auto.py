# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `runtime="auto"` picks, and what it remembers of its measurement."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import fastest, load_runtime
from g2vlm_model.runtimes.auto import Machine, order
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.fastest import Circumstances, remember
from g2vlm_model.runtimes.request import RuntimeRequest
from g2vlm_model.runtimes.serving import BuildingRuntime
from g2vlm_model.runtimes.store import Store

from ..exports import HALF, Exports
from ..helpers import REPO
from .model_folders import window

NO = "not here"
GPU = Machine()
GPU_WITHOUT_TENSORRT = Machine(tensorrt=NO)
CPU = Machine(tensorrt=NO, torch_cuda=NO)
CPU_WITHOUT_TORCH = Machine(tensorrt=NO, torch_cuda=NO, torch=NO)
CPU_WITHOUT_ONNX = Machine(tensorrt=NO, torch_cuda=NO, onnx=NO)


@pytest.mark.parametrize(
    ("machine", "precision", "prompt_mode", "expected"),
    [
        (GPU, "auto", "shared", ("tensorrt", "torch")),
        (GPU, "fp16", "shared", ("tensorrt", "torch")),
        (GPU, "bf16", "shared", ("torch",)),
        (GPU, "auto", "published", ("tensorrt", "torch")),
        (replace(GPU, torch_cuda=NO), "auto", "shared", ("tensorrt", "fastest", "torch")),
        (replace(GPU, torch_cuda=NO, torch=NO, onnx=NO), "auto", "shared", ("tensorrt",)),
        (GPU_WITHOUT_TENSORRT, "auto", "shared", ("torch",)),
        (CPU, "auto", "shared", ("fastest", "torch")),
        (CPU, "fp32", "shared", ("fastest", "torch")),
        (CPU, "fp16", "shared", ("torch",)),
        (CPU, "bf16", "shared", ("torch",)),
        (CPU, "auto", "published", ("fastest", "torch")),
        (CPU_WITHOUT_TORCH, "auto", "shared", ("onnx",)),
        (CPU_WITHOUT_ONNX, "auto", "shared", ("torch",)),
    ],
)
def test_the_table(
    machine: Machine, precision: str, prompt_mode: str, expected: tuple[str, ...]
) -> None:
    request = RuntimeRequest(precision=precision, prompt_mode=prompt_mode)
    assert order(request, machine) == expected


def test_a_machine_that_can_run_nothing_says_why() -> None:
    nothing = Machine(tensorrt="no GPU", torch_cuda=NO, torch="torch is gone", onnx="ort is gone")
    with pytest.raises(RuntimeError, match=r"torch is gone.*ort is gone.*no GPU"):
        order(RuntimeRequest(), nothing)
    with pytest.raises(
        RuntimeError, match="torch: not here; ONNX Runtime: its graphs know no bf16"
    ):
        order(RuntimeRequest(precision="bf16"), CPU_WITHOUT_TORCH)


def test_a_gpu_that_was_named_and_is_not_there_is_refused(model_folder: Path) -> None:
    assert order(RuntimeRequest(device="cuda"), CPU) == ("torch",)
    assert order(RuntimeRequest(device="cpu"), CPU) == ("fastest", "torch")
    with pytest.raises(ValueError, match="device is 'cuda:64', but "):
        load_runtime("auto", model_folder, "cuda:64")


def test_a_cpu_that_is_asked_for_leaves_the_gpu_alone() -> None:
    machine = Machine.probe("cpu", exported=True)
    assert machine.tensorrt == machine.torch_cuda == "the device is 'cpu'"
    assert machine.torch == machine.onnx == ""


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no export folder"):
        load_runtime("auto", device="cpu", export=tmp_path / "nothing")


def test_a_folder_of_another_precision_is_an_error(
    cache: Store, exports: Exports, half_export: Path
) -> None:
    with pytest.raises(ValueError, match=r"precision is 'fp32', but .* was exported in fp16"):
        load_runtime("auto", exports.tiny_model(HALF), "cpu", "fp32", export=half_export)


@pytest.mark.parametrize("model", ["nano", "no model folder"])
def test_what_is_faster_does_not_decide_which_model_answers(
    cache: Store, small_export: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    export = ExportFolder.open(small_export)
    remember(cache, Circumstances.here(export.digest), {"torch": 1.0, "onnx": 2.0})
    runtime = load_runtime("auto", model, "cpu", export=small_export)
    assert (runtime.info.runtime, runtime.info.model_id) == ("onnx", export.manifest.model_id)
    assert f"was exported from {export.manifest.model_id}" in caplog.text
    runtime.close()
    with pytest.raises(RuntimeError, match=r"nothing can run here: torch: .* was exported from"):
        load_runtime("auto", model, "cpu", "bf16", export=small_export)


@pytest.mark.parametrize("device", ["cuda:x", "cuda:-1", "gpu", ""])
def test_a_device_that_is_none_is_named(device: str, model_folder: Path) -> None:
    with pytest.raises(ValueError, match=f"device is '{device}'"):
        load_runtime("auto", model_folder, device)


def test_a_known_choice_loads_nothing_else(
    cache: Store, small_export: Path, model_folder: Path
) -> None:
    here = Circumstances.here(ExportFolder.open(small_export).digest)
    remember(cache, here, {"torch": 2.0, "onnx": 1.0})
    code = (
        "import sys; from g2vlm_model.runtimes import load_runtime; "
        "runtime = load_runtime('auto', sys.argv[1], 'cpu', export=sys.argv[2]); "
        "print(runtime.info.runtime, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(model_folder), str(small_export)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["onnx", "False"], done.stderr


def test_torch_serves_while_there_is_no_export(
    cache: Store, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export itself is taken from the tests' own; making one is tested with the command."""
    monkeypatch.setattr(fastest, "observe_ms", lambda *_: {"torch": 2.0, "onnx": 1.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.own_exports.OwnExport.make",
        lambda *_: ExportFolder.open(small_export),
    )
    runtime = load_runtime("auto", exports.tiny_model(), "cpu")
    assert isinstance(runtime, BuildingRuntime)
    scene = runtime.observe(window(1, 2))
    assert runtime.wait(60)
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("onnx", "")
    assert runtime.observe(window(1, 2)).geometry.valid.any()
    scene.close()
    runtime.close()


def test_torch_goes_on_serving_where_it_is_faster(
    cache: Store, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "observe_ms", lambda *_: {"torch": 1.0, "onnx": 2.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.own_exports.OwnExport.make",
        lambda *_: ExportFolder.open(small_export),
    )
    runtime = load_runtime("auto", exports.tiny_model(), "cpu")
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.wait(60)
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("torch", "")
    assert runtime.observe(window(1)).geometry.valid.any()
    runtime.close()


def test_what_cannot_run_here_is_named_as_the_reason_for_what_does(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "probe", classmethod(lambda *_: Machine()))

    def broken(*_: object) -> SpatialRuntime:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr("g2vlm_model.runtimes.tensorrt.ready", broken)
    runtime = load_runtime("auto", model_folder, "cpu")
    assert runtime.info.runtime == "torch"
    assert runtime.info.fallback_reason == "tensorrt cannot run here: the driver is too old"
    runtime.close()


def test_the_reason_stays_when_an_export_takes_over(
    cache: Store, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> SpatialRuntime:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(Machine, "probe", classmethod(lambda *_: Machine(torch_cuda=NO)))
    monkeypatch.setattr("g2vlm_model.runtimes.tensorrt.ready", broken)
    monkeypatch.setattr(fastest, "observe_ms", lambda *_: {"torch": 2.0, "onnx": 1.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.own_exports.OwnExport.make",
        lambda *_: ExportFolder.open(small_export),
    )
    runtime = load_runtime("auto", exports.tiny_model())
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.wait(60)
    reason = "tensorrt cannot run here: the driver is too old"
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("onnx", reason)
    runtime.close()
    monkeypatch.setattr(fastest, "ready", broken)
    runtime = load_runtime("auto", exports.tiny_model(), "cpu")
    both = f"{reason}; onnx cannot run here: the driver is too old"
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("torch", both)
    runtime.close()
