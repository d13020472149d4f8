"""What `runtime="auto"` picks, and what it remembers of its measurement."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from g2vlm_model.interface import FrameWindow, RuntimeInfo, Scene, SpatialRuntime
from g2vlm_model.runtimes import auto, load_runtime, measured
from g2vlm_model.runtimes.auto import Machine, order
from g2vlm_model.runtimes.build_command import BuildStopped
from g2vlm_model.runtimes.building import BuildingRuntime
from g2vlm_model.runtimes.engine_cache import EngineCache
from g2vlm_model.runtimes.exported import ExportFolder
from g2vlm_model.runtimes.measured import Circumstances, observe_ms, recall, remember
from g2vlm_model.runtimes.onnx.runtime import OnnxRuntime

from ..exports import HALF, Exports
from ..helpers import REPO
from ..ros.scripted_runtime import ScriptedRuntime
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
        (GPU, "auto", "published", ("torch",)),
        (replace(GPU, torch_cuda=NO), "auto", "shared", ("tensorrt", "faster", "torch")),
        (replace(GPU, torch_cuda=NO, torch=NO, onnx=NO), "auto", "shared", ("tensorrt",)),
        (GPU_WITHOUT_TENSORRT, "auto", "shared", ("torch",)),
        (CPU, "auto", "shared", ("faster", "torch")),
        (CPU, "fp32", "shared", ("faster", "torch")),
        (CPU, "fp16", "shared", ("torch",)),
        (CPU, "bf16", "shared", ("torch",)),
        (CPU, "auto", "published", ("torch",)),
        (CPU_WITHOUT_TORCH, "auto", "shared", ("onnx",)),
        (CPU_WITHOUT_ONNX, "auto", "shared", ("torch",)),
    ],
)
def test_the_table(
    machine: Machine, precision: str, prompt_mode: str, expected: tuple[str, ...]
) -> None:
    assert order(machine, precision, prompt_mode) == expected


def test_a_machine_that_can_run_nothing_says_why() -> None:
    nothing = Machine(tensorrt="no GPU", torch_cuda=NO, torch="torch is gone", onnx="ort is gone")
    with pytest.raises(RuntimeError, match=r"torch is gone.*ort is gone.*no GPU"):
        order(nothing)
    with pytest.raises(
        RuntimeError, match="torch: not here; ONNX Runtime: its graphs know neither"
    ):
        order(CPU_WITHOUT_TORCH, "bf16")


def test_a_gpu_that_was_named_and_is_not_there_is_said(model_folder: Path) -> None:
    assert order(CPU, device="cuda") == ("torch",)
    assert order(CPU, device="cpu") == ("faster", "torch")
    if not torch.cuda.is_available():
        runtime = load_runtime("auto", model_folder, "cuda")
        assert "device 'cuda' was asked for" in runtime.info.fallback_reason
        runtime.close()


def test_a_cpu_that_is_asked_for_leaves_the_gpu_alone() -> None:
    machine = Machine.probe("cpu", export="folder")
    assert machine.tensorrt == machine.torch_cuda == "the device is 'cpu'"
    assert machine.torch == machine.onnx == ""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCache:
    monkeypatch.setenv("G2VLM_CACHE", str(tmp_path / "cache"))
    return EngineCache.open()


class Timed:
    """A runtime whose observations take a given time on a clock of its own."""

    info = RuntimeInfo("timed", "cpu", "fp32", "timed-0", 0)

    def __init__(self, clock: Clock, inner: SpatialRuntime, spans_s: Iterator[float]) -> None:
        self.clock, self.inner, self.spans_s = clock, inner, spans_s
        self.windows: list[tuple[str, ...]] = []

    def observe(self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        self.windows.append(tuple(frame.key for frame in window.frames))
        self.clock.now_s += next(self.spans_s)
        return self.inner.observe(window)


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


def test_medians_in_turns_without_the_first(
    runtime: SpatialRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    slow = Timed(clock, runtime, iter([9.0, 0.2, 0.3, 5.0, 0.3, 0.2]))
    fast = Timed(clock, runtime, iter([7.0, 0.1, 0.1, 0.1, 8.0, 0.1]))
    found = observe_ms({"slow": slow, "fast": fast}, (42, 56))  # type: ignore[dict-item]
    assert found == pytest.approx({"slow": 300.0, "fast": 100.0})
    assert slow.windows == fast.windows
    keys = [key for keys in slow.windows for key in keys]
    assert len(set(keys)) == len(keys) == 6 * measured.FRAMES  # nothing is encoded already


def test_a_slow_machine_measures_one_round(
    runtime: SpatialRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)
    slow = Timed(clock, runtime, iter([50.0, 40.0]))
    assert observe_ms({"slow": slow}, (42, 56)) == {"slow": 40e3}  # type: ignore[dict-item]


def test_waiting_for_a_nodes_own_observations_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock.perf_counter)

    class Shared:
        """Takes 0.3 s, and 2 s more while somebody else is served."""

        def observe(self, window: FrameWindow, **options: object) -> SimpleNamespace:
            clock.now_s += 2.3
            return SimpleNamespace(latency_ms={"wait": 2e3, "total": 2.3e3}, close=lambda: None)

    found = observe_ms({"shared": Shared()}, (42, 56))  # type: ignore[dict-item]
    assert found == pytest.approx({"shared": 300.0})


def test_what_was_measured_is_remembered_for_these_circumstances_only(cache: EngineCache) -> None:
    here = Circumstances.here("digest")
    assert recall(cache, here) is None
    remember(cache, here, {"torch": 3.5, "onnx": 2.5})
    assert recall(cache, here) == {"torch": 3.5, "onnx": 2.5}
    for other in (
        *(replace(here, export="another"), replace(here, cpu="another")),
        *(replace(here, threads="64"), replace(here, versions=("torch 9",))),
    ):
        assert recall(cache, other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace("2.5", "-1"),
        lambda text: text.replace("2.5", "NaN"),
        lambda text: text.replace("2.5", '"soon"'),
        lambda text: text.replace('"threads"', '"fingers"'),
        lambda text: json.dumps({**json.loads(text), "observe_ms": {}}),
    ],
)
def test_a_damaged_memory_is_measured_again(
    cache: EngineCache, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    here = Circumstances.here("digest")
    remember(cache, here, {"onnx": 2.5})
    (file,) = (cache.root / measured.FOLDER).iterdir()
    file.write_text(damage(file.read_text()))
    assert recall(cache, here) is None
    assert "measured again" in caplog.text


@pytest.mark.parametrize("faster", ["torch", "onnx"])
def test_the_faster_one_serves_and_is_known_the_next_time(
    cache: EngineCache,
    small_export: Path,
    model_folder: Path,
    faster: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The measuring itself is real; which one wins is turned both ways."""
    calls: list[dict[str, float]] = []

    def turned(*arguments: object) -> dict[str, float]:
        times = observe_ms(*arguments)  # type: ignore[arg-type]
        assert set(times) == {"torch", "onnx"}
        assert min(times.values()) > 0.1
        calls.append({name: 1.0 if name == faster else 2.0 for name in times})
        return calls[-1]

    monkeypatch.setattr(auto, "observe_ms", turned)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        runtime = load_runtime("auto", model_folder, "cpu", export=small_export)
        assert runtime.info.runtime == faster
        assert runtime.observe(window(1, 2)).geometry.valid.any()
        runtime.close()
    assert len(calls) == 1
    assert f"{faster} serves" in caplog.text
    here = Circumstances.here(ExportFolder.open(small_export).digest)
    assert recall(cache, here) == calls[0]


def test_a_measurement_can_be_ended_and_need_not_be_remembered(
    cache: EngineCache,
    small_export: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (cache.root / measured.FOLDER).write_text("in the way of the folder")
    load_runtime("auto", model_folder, "cpu", export=small_export).close()
    assert "not remembered" in caplog.text
    closed = []
    monkeypatch.setattr(OnnxRuntime, "close", lambda self: closed.append(self))
    told = iter([None, None, None])

    def between() -> None:
        if next(told, BuildStopped) is BuildStopped:
            raise BuildStopped

    with pytest.raises(BuildStopped):
        auto._measured(cache, ExportFolder.open(small_export), model_folder, None, between)
    assert len(closed) == 1


@pytest.mark.parametrize("measured", [True, False])
def test_a_measured_runtime_that_cannot_be_closed_leaves_no_other_open(
    cache: EngineCache,
    small_export: Path,
    measured: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    by_torch, by_onnx = ScriptedRuntime(), ScriptedRuntime()
    by_torch.close_error = RuntimeError("the device is gone")

    def observed(*_: object) -> dict[str, float]:
        if not measured:
            raise BuildStopped
        return {"torch": 2.0, "onnx": 1.0}

    monkeypatch.setattr(auto, "_torch", lambda *_: by_torch)
    monkeypatch.setattr("g2vlm_model.runtimes.onnx.runtime.open_runtime", lambda *_: by_onnx)
    monkeypatch.setattr(auto, "observe_ms", observed)
    if measured:
        assert auto._measured(cache, ExportFolder.open(small_export), "a model") is by_onnx
    else:
        with pytest.raises(BuildStopped):
            auto._measured(cache, ExportFolder.open(small_export), "a model")
    assert by_torch.closed
    assert by_onnx.closed is not measured
    assert "the device is gone" in caplog.text


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no export folder"):
        load_runtime("auto", device="cpu", export=tmp_path / "nothing")


def test_a_folder_of_another_precision_is_an_error(
    cache: EngineCache, exports: Exports, half_export: Path
) -> None:
    with pytest.raises(ValueError, match=r"precision is 'fp32', but .* was exported in fp16"):
        load_runtime("auto", exports.tiny_model(HALF), "cpu", "fp32", export=half_export)


@pytest.mark.parametrize("model", ["nano", "no model folder"])
def test_what_is_faster_does_not_decide_which_model_answers(
    cache: EngineCache, small_export: Path, model: str, caplog: pytest.LogCaptureFixture
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
    cache: EngineCache, small_export: Path, model_folder: Path
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
    cache: EngineCache, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export itself is taken from the tests' own; making one is tested with the command."""
    monkeypatch.setattr(auto, "observe_ms", lambda *_: {"torch": 2.0, "onnx": 1.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.onnx.starting.export_into_cache",
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
    cache: EngineCache, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "observe_ms", lambda *_: {"torch": 1.0, "onnx": 2.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.onnx.starting.export_into_cache",
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

    monkeypatch.setattr("g2vlm_model.runtimes.tensorrt.create_runtime", broken)
    runtime = load_runtime("auto", model_folder, "cpu")
    assert runtime.info.runtime == "torch"
    assert runtime.info.fallback_reason == "tensorrt cannot run here: the driver is too old"
    runtime.close()


def test_the_reason_stays_when_an_export_takes_over(
    cache: EngineCache, exports: Exports, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> SpatialRuntime:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(Machine, "probe", classmethod(lambda *_: Machine(torch_cuda=NO)))
    monkeypatch.setattr("g2vlm_model.runtimes.tensorrt.create_runtime", broken)
    monkeypatch.setattr(auto, "observe_ms", lambda *_: {"torch": 2.0, "onnx": 1.0})
    monkeypatch.setattr(
        "g2vlm_model.runtimes.onnx.starting.export_into_cache",
        lambda *_: ExportFolder.open(small_export),
    )
    runtime = load_runtime("auto", exports.tiny_model())
    assert isinstance(runtime, BuildingRuntime)
    assert runtime.wait(60)
    reason = "tensorrt cannot run here: the driver is too old"
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("onnx", reason)
    runtime.close()
    monkeypatch.setattr(auto, "_faster", broken)
    runtime = load_runtime("auto", exports.tiny_model(), "cpu")
    both = f"{reason}; onnx cannot run here: the driver is too old"
    assert (runtime.info.runtime, runtime.info.fallback_reason) == ("torch", both)
    runtime.close()
