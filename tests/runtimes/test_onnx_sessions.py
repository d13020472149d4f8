# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which provider runs: what is refused, what falls back, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from g2vlm_model.runtimes import load_runtime, machine
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.onnx import geometry, sessions
from g2vlm_model.runtimes.onnx.geometry import check_geometry, open_geometry
from g2vlm_model.runtimes.onnx.sessions import (
    PROVIDERS,
    Provider,
    ProviderError,
    Session,
    candidates,
)
from tests.helpers import REPO

CPU = Provider("cpu")
has_gpu = pytest.mark.skipif(
    PROVIDERS["cuda"] not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no CUDA",
)


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A graph: y = x @ (2 I)."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], (2 * np.eye(3)).flatten().tolist())
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "doubling.onnx")
    return tmp_path / "doubling.onnx"


@pytest.mark.parametrize(
    ("device", "cuda", "expected"),
    [
        ("auto", False, [Provider("cpu")]),
        ("auto", True, [Provider("cuda"), Provider("cpu")]),
        ("cpu", True, [Provider("cpu")]),
        ("cuda", False, [Provider("cuda")]),
        ("cuda:2", True, [Provider("cuda", 2)]),
        ("tensorrt", True, [Provider("tensorrt")]),
        ("rtx:1", False, [Provider("rtx", 1)]),
    ],
)
def test_a_device_that_is_named_is_the_only_one(
    device: str, cuda: bool, expected: list[Provider]
) -> None:
    available = (PROVIDERS["cuda"], PROVIDERS["cpu"]) if cuda else (PROVIDERS["cpu"],)
    assert list(candidates(device, available)) == expected


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:", "cuda:x", ""])
def test_devices_that_are_none(device: str) -> None:
    with pytest.raises(ValueError, match="expected auto, cpu, cuda"):
        candidates(device, ())


@pytest.mark.skipif(
    PROVIDERS["cuda"] in onnxruntime.get_available_providers(), reason="CUDA is there"
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_a_device_that_was_asked_for_and_is_not_there_is_an_error(
    small_export: Path, model_folder: Path, device: str
) -> None:
    with pytest.raises(ProviderError, match=r"has no \w+ExecutionProvider.*pip install"):
        load_runtime("onnx", model_folder, device, export=small_export)


def test_a_jetson_is_not_told_to_install_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    nowhere = SimpleNamespace(__version__="1", get_available_providers=lambda: [PROVIDERS["cpu"]])
    with pytest.raises(ProviderError, match=r"no onnxruntime-gpu for aarch64.*'tensorrt'"):
        Provider("cuda").open(nowhere, Path("g.onnx"), onnxruntime.SessionOptions())  # type: ignore[arg-type]


def test_a_plugin_that_is_missing_is_named(doubling: Path) -> None:
    if importlib.util.find_spec(sessions.RTX_PLUGIN):
        pytest.skip("the plugin is installed")
    with pytest.raises(ProviderError, match=r"pip install onnxruntime-ep-nv-tensorrt-rtx"):
        Session(doubling, Provider("rtx"))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """ONNX Runtime that lists CUDA and loads everything on the CPU, as it does without cuDNN."""

    def pretend(assigned: list[Any] | None = None) -> None:
        real = onnxruntime.InferenceSession

        class Fallen(real):  # type: ignore[misc, valid-type]
            def __init__(self, path: str, options: Any, providers: Any) -> None:
                super().__init__(path, options, providers=["CPUExecutionProvider"])

            if assigned is not None:

                def get_providers(self) -> list[str]:
                    return [PROVIDERS["cuda"], PROVIDERS["cpu"]]

                def get_provider_graph_assignment_info(self) -> list[Any]:
                    return assigned

        names = [PROVIDERS["cuda"], PROVIDERS["cpu"]]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)

    return pretend


def test_a_silent_fall_back_is_an_error_where_the_device_was_named(
    pretended: Callable[..., None], small_export: Path, model_folder: Path
) -> None:
    pretended()
    with pytest.raises(ProviderError, match=r"loaded encoder.onnx on CPUExecutionProvider and not"):
        load_runtime("onnx", model_folder, "cuda", export=small_export)


def test_a_silent_fall_back_is_said_where_the_device_was_not_named(
    pretended: Callable[..., None],
    small_export: Path,
    model_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pretended()
    runtime = load_runtime("onnx", model_folder, "auto", "fp32", export=small_export)
    assert runtime.info.device == "cpu (CPUExecutionProvider)"
    assert "on CPUExecutionProvider and not on CUDA" in runtime.info.fallback_reason
    assert "fallback" in caplog.text
    runtime.close()


def test_a_provider_that_leaves_the_products_to_the_cpu_is_refused(
    pretended: Callable[..., None], doubling: Path
) -> None:
    def part(name: str, *operators: str) -> Any:
        nodes = [SimpleNamespace(op_type=operator) for operator in operators]
        return SimpleNamespace(ep_name=PROVIDERS[name], get_nodes=lambda: nodes)

    pretended([part("cuda", "MatMul", "Add"), part("cpu", "Conv", "MatMul", "Shape")])
    with pytest.raises(ProviderError, match=r"put 2 of 3 products of doubling.onnx on the CPU"):
        Session(doubling, Provider("cuda"))
    pretended([part("cuda", "MatMul", "Conv"), part("cpu", "Conv", "Shape")])
    Session(doubling, Provider("cuda"))


def test_an_engine_that_gives_wrong_numbers_is_refused(small_export: Path) -> None:
    folder = ExportFolder.open(small_export)
    engine, _ = open_geometry(folder, "cpu")
    golden = folder.goldens("geometry")[0]
    check_geometry(engine, folder, (golden,))
    outputs = dict(golden.outputs)
    outputs["local_points"] = outputs["local_points"] * 1.01
    with pytest.raises(ProviderError, match=r"wrong numbers on cpu .*\n(.*\n)*.*local_points"):
        check_geometry(engine, folder, (replace(golden, outputs=outputs),))
    engine.close()


def test_wrong_numbers_at_the_start_are_refused(
    small_export: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = geometry.OnnxGeometry._run

    def off(self: Any, *given: Any) -> Any:
        return {key: value + np.float32(0.1) for key, value in real(self, *given).items()}

    monkeypatch.setattr(geometry.OnnxGeometry, "_run", off)
    with pytest.raises(RuntimeError, match="gives wrong numbers"):
        load_runtime("onnx", model_folder, "cpu", export=small_export)


def test_a_session_gives_arrays_and_clear_errors(doubling: Path, tmp_path: Path) -> None:
    session = Session(doubling, CPU, threads=1)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
    held = session.upload(x)
    x[:] = 1.0  # the CPU's memory is shared
    np.testing.assert_array_equal(session.run({"x": held})["y"], np.full((2, 3), 2.0))
    np.testing.assert_array_equal(session.run({"x": x.T.copy().T})["y"], 2 * x)
    with pytest.raises(RuntimeError, match=r"doubling.onnx failed on cpu.*invalid dimensions"):
        session.run({"x": np.ones((2, 4), np.float32)})
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run({"x": x})
    (tmp_path / "cut.onnx").write_bytes(doubling.read_bytes()[:60])
    with pytest.raises(RuntimeError, match=r"cut.onnx cannot be loaded on cpu"):
        Session(tmp_path / "cut.onnx", CPU)


def test_threads_spin_only_while_a_graph_runs_and_follow_the_environment(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    options = Session(doubling, CPU)._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    assert int(options.get_session_config_entry("session.intra_op.spin_duration_us")) <= 100
    for unusable in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unusable)
        assert 1 <= machine.cpu_threads() <= len(os.sched_getaffinity(0))


def test_two_threads_of_one_core_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert machine.cpu_threads() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert machine.cpu_threads() == 1


def test_a_missing_onnx_runtime_is_an_error_with_the_line_that_installs_it(
    small_export: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeError, match=r"needs ONNX Runtime.*pip install onnxruntime"):
        load_runtime("onnx", model_folder, "cpu", export=small_export)


@pytest.mark.gpu
@has_gpu
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_says_what_the_cpu_says(small_export: Path, model_folder: Path, device: str) -> None:
    from .model_folders import window

    by_gpu, by_cpu = (
        load_runtime("onnx", model_folder, where, "fp32", export=small_export)
        for where in (device, "cpu")
    )
    assert PROVIDERS[device] in by_gpu.info.device
    got, expected = (one.observe(window(1, 2, 3)).geometry for one in (by_gpu, by_cpu))
    extent = np.ptp(expected.local_points)
    np.testing.assert_allclose(got.local_points, expected.local_points, atol=1e-3 * extent)
    by_gpu.close()
    by_cpu.close()


WIDENED = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
from g2vlm_model.runtimes.onnx.sessions import Provider, Session
def kept_kb(name):
    return int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
run = {"x": np.ones((1, 2048), np.float16)}
Session(Path(sys.argv[2]), Provider("cpu"), 1).run(run)  # what libraries take at their first run
before = kept_kb("RssAnon")
session = Session(Path(sys.argv[1]), Provider("cpu"), 1, mapped=True)
loaded = kept_kb("RssAnon") - before
most = (kept_kb("VmData") << 10) + (int(sys.argv[3]) << 20)
resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
print(json.dumps({"loaded": loaded / 1024, "y": session.run(run)["y"][0, :2].tolist()}))
"""


def test_half_precision_is_widened_one_product_at_a_time(tmp_path: Path) -> None:
    """Twelve maps of 8 MiB: all in float32 would be 192 MiB, one is 16."""
    half, maps = TensorProto.FLOAT16, 12
    for name, count in (("mapped", maps), ("first", 1)):
        eye = np.eye(2048, dtype=np.float16)
        weights = [onnx.numpy_helper.from_array(eye, f"w{i}") for i in range(count)]
        names = ["x", *(f"h{i}" for i in range(1, count)), "y"]
        nodes = [
            helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(count)
        ]
        x, y = (helper.make_tensor_value_info(one, half, ["n", 2048]) for one in "xy")
        model = helper.make_model(
            helper.make_graph(nodes, "g", [x], [y], weights),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )
        onnx.save(
            model, tmp_path / f"{name}.onnx", save_as_external_data=True, location=f"{name}.bin"
        )
    paths = [str(tmp_path / f"{name}.onnx") for name in ("mapped", "first")]
    done = subprocess.run(
        [sys.executable, "-c", WIDENED, *paths, "96"],
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["y"] == [1.0, 1.0]
    assert said["loaded"] < 24.0, said
