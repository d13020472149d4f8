# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory, copies and captured graphs around an engine, on a GPU in the host's memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from g2vlm_model.runtimes.export_folder import Golden
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.machine import Gpu, TensorRT
from g2vlm_model.runtimes.tensorrt.cuda import (
    BufferPool,
    Cuda,
    CudaError,
    DeviceArray,
    OutOfDeviceMemoryError,
)
from g2vlm_model.runtimes.tensorrt.engines import EngineRefusedError
from g2vlm_model.runtimes.tensorrt.geometry import check_graphs
from g2vlm_model.runtimes.tensorrt.graph import EngineError, TensorRTGraph

from .host_gpu import POISON, Code, HostCuda, at
from .host_tensorrt import CudaGraphStrategy, HostRtx, HostTensorRT

GPU = Gpu(0, "a GPU in the host's memory", "8.7", "1.0")
Open = Callable[..., TensorRTGraph]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine: total = sum over the pictures, half = pictures / 2 in half precision."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "L"]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["N", "L"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file = tmp_path_factory.mktemp("engine") / "small.engine"
    onnx.save(model, file)
    return file


@pytest.fixture
def host() -> HostCuda:
    return HostCuda()


@pytest.fixture
def opened(plan: Path, host: HostCuda) -> Iterator[Open]:
    """Opens graphs; at the end all memory of the device has been given back."""
    graphs = []

    def open_graph(api: HostTensorRT | None = None, **options: Any) -> TensorRTGraph:
        trt = TensorRT(api or HostTensorRT(host), "tensorrt", "10.15.1")
        graph = TensorRTGraph(options.pop("plan", plan), trt, GPU, cuda=Cuda(0, host), **options)
        graphs.append(graph)
        return graph

    yield open_graph
    for graph in graphs:
        graph.close()
        graph.close()
    gc.collect()
    assert not host.blocks, "memory of the device was not given back"
    assert host.calls["graphs"] == 0


def feeds(seed: int = 0, frames: int = 3, length: int = 5) -> dict[str, Any]:
    pictures = np.random.default_rng(seed).integers(0, 256, (frames, length), np.uint8)
    return {"pictures": pictures, "scale": np.array([0.5], np.float32)}


def check(results: dict[str, Any], given: dict[str, Any]) -> None:
    assert list(results) == ["total", "half"]
    assert results["total"].shape == ()
    assert results["total"] == given["pictures"].sum()
    assert results["half"].dtype == np.float16
    np.testing.assert_array_equal(results["half"], given["pictures"] * np.float16(0.5))


def test_arrays_go_in_and_out_by_name(opened: Open) -> None:
    graph = opened()
    assert {name: tensor.shape for name, tensor in graph.inputs.items()} == {
        "pictures": (-1, -1),
        "scale": (1,),
    }
    assert graph.outputs["half"].dtype == np.float16
    given = feeds()
    turned = {**given, "pictures": np.asfortranarray(given["pictures"])}
    check(graph.run(turned), given)


def test_results_belong_to_the_caller(opened: Open) -> None:
    graph = opened()
    pairs = [(given := feeds(seed, frames=2 + seed % 2), graph.run(given)) for seed in range(4)]
    for given, results in pairs:
        check(results, given)


def test_one_download_and_no_allocation_in_a_steady_stream(opened: Open, host: HostCuda) -> None:
    graph = opened()
    graph.run(feeds())
    before = host.calls.copy()
    for seed in range(5):
        given = feeds(seed)
        check(graph.run(given), given)
    spent = host.calls - before
    assert spent["cudaMalloc"] == 0
    assert spent["cudaMemcpyDeviceToHost"] == 5
    assert spent["cudaMemcpyHostToDevice"] == 5 * len(feeds())


def test_buffers_grow_with_the_window(opened: Open, host: HostCuda) -> None:
    graph = opened()
    for frames in range(1, 30):  # as the first windows of a segment do
        graph.run(feeds(frames=frames, length=4000), keep={"half"})
    needed = 29 * 4000 * (1 + 2)  # pictures and halves of the largest
    assert sum(map(ctypes.sizeof, host.blocks.values())) < 1.5 * needed
    for frames in (1, 40, 3, 400, 7):
        given = feeds(frames, frames=frames, length=300)
        check(graph.run(given), given)


def test_what_is_kept_stays_on_the_device(opened: Open, host: HostCuda) -> None:
    graph = opened()
    kept = []
    for seed in range(3):
        given = feeds(seed)
        results = graph.run(given, keep={"half"})
        assert isinstance(results["half"], DeviceArray)
        assert results["total"] == given["pictures"].sum()
        kept.append((given, results["half"]))
    for given, half in kept:
        np.testing.assert_array_equal(host.read(half), given["pictures"] * np.float16(0.5))
    taken = host.calls["cudaMalloc"]
    del kept, half, results
    graph.run(feeds(), keep={"half"})
    assert host.calls["cudaMalloc"] == taken, "what was let go is used again"
    last = graph.run(given, keep={"half"})["half"]
    graph.close()
    np.testing.assert_array_equal(host.read(last), given["pictures"] * np.float16(0.5))


def test_nothing_is_overwritten_that_others_may_still_read(opened: Open, host: HostCuda) -> None:
    """A reader in a stream of its own, such as torch, is waited for before memory is reused."""
    graph = opened()
    half = graph.run(feeds(1), keep={"half"})["half"]
    seen: list[Any] = []
    _, stream = host.cudaStreamCreateWithFlags(host.cudaStreamNonBlocking)
    place = half.__cuda_array_interface__
    host.put(
        stream,
        lambda: seen.append(at(place["data"][0], place["shape"], np.dtype(np.float16)).copy()),
    )
    del half
    graph.run(feeds(2), keep={"half"})
    np.testing.assert_array_equal(seen[0], feeds(1)["pictures"] * np.float16(0.5))
    host.cudaStreamDestroy(stream)


def test_inputs_may_be_on_the_device(opened: Open, host: HostCuda) -> None:
    graph = opened()
    pictures = feeds()["pictures"]
    pool = BufferPool(Cuda(0, host))
    block = pool.take(pictures.nbytes)
    at(block.address, pictures.shape, pictures.dtype)[...] = pictures
    before = host.calls["cudaMemcpyHostToDevice"]
    given = {**feeds(), "pictures": DeviceArray(block.address, (3, 5), pictures.dtype, block)}
    check(graph.run(given), feeds())
    assert host.calls["cudaMemcpyHostToDevice"] == before + 1  # the scale only
    del given, block
    pool.close()


def test_one_size_is_captured_and_replayed(opened: Open, host: HostCuda) -> None:
    graph = opened(static=True)
    for seed in range(5):
        given = feeds(seed)
        check(graph.run(given), given)
    # The first buffers are fresh ones; from the second run on they are always the same.
    assert host.calls["cudaStreamBeginCapture"] <= 2
    assert host.calls["cudaGraphLaunch"] >= 3


def test_the_golden_check_looks_at_a_replay(opened: Open, host: HostCuda) -> None:
    """What serves is the captured graph, so that is what has to agree with torch."""
    given = feeds()
    right = opened().run(given)
    wrong = {**right, "total": right["total"] + 1}
    export: Any = SimpleNamespace(path=Path("export"))
    export.manifest = SimpleNamespace(tolerances=Tolerances.of("fp32"))
    every: Any = SimpleNamespace(covers=lambda size: True)
    export.goldens = lambda name: [Golden(name, "3x5", given, right)]
    assert "3x5" in check_graphs({"small": opened(static=True)}, export, every)["small"]
    # The second run has the first one's buffers, and is a replay too, where addresses lie so.
    assert host.calls["cudaGraphLaunch"] in (1, 2)
    export.goldens = lambda name: [Golden(name, "3x5", given, wrong)]
    with pytest.raises(EngineRefusedError, match="wrong numbers on this device"):
        check_graphs({"small": opened(static=True)}, export, every)


def test_an_engine_that_cannot_be_captured_runs_without(
    opened: Open,
    host: HostCuda,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(stream: int) -> tuple[Code]:
        host._recording.pop(stream)
        return (Code.cudaErrorInvalidValue,)

    monkeypatch.setattr(host, "cudaStreamEndCapture", refused)
    graph = opened(static=True)
    for seed in range(3):
        given = feeds(seed)
        check(graph.run(given), given)
    assert host.calls["cudaStreamBeginCapture"] == 1
    assert host.calls["cudaGraphLaunch"] == 0
    assert caplog.text.count("small.engine runs without a CUDA graph") == 1


def test_captured_graphs_are_few_however_much_is_kept(opened: Open, host: HostCuda) -> None:
    graph = opened(static=True)
    kept = [(given := feeds(seed), graph.run(given, keep={"half"})["half"]) for seed in range(9)]
    assert host.calls["graphs"] == 4
    for given, half in kept:
        np.testing.assert_array_equal(host.read(half), given["pictures"] * np.float16(0.5))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scale": None}, "small.engine needs the inputs scale"),
        ({"pictures": np.zeros((3, 5), np.float32)}, r"float32 \[3, 5\], expected uint8 \[-1, -1"),
        ({"pictures": np.zeros((3, 5, 1), np.uint8)}, r"uint8 \[3, 5, 1\], expected uint8"),
        ({"scale": np.zeros(2, np.float32)}, r"float32 \[2\], expected float32 \[1\]"),
    ],
)
def test_inputs_that_do_not_fit(opened: Open, changed: dict[str, Any], words: str) -> None:
    graph = opened()
    given = {name: array for name, array in {**feeds(), **changed}.items() if array is not None}
    with pytest.raises(ValueError, match=words):
        graph.run(given)
    check(graph.run(feeds()), feeds())


def test_a_shape_that_tensorrt_refuses(opened: Open, host: HostCuda) -> None:
    graph = opened(HostTensorRT(host, largest=10))
    with pytest.raises(EngineError, match=r"not built for pictures of shape \[11, 5\]"):
        graph.run(feeds(frames=11))
    check(graph.run(feeds()), feeds())


def test_a_plan_that_is_none_is_refused_in_tensorrts_words(
    opened: Open, host: HostCuda, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.engine"
    broken.write_bytes(b"no engine")
    with pytest.raises(EngineError, match=r"broken.engine cannot be loaded by tensorrt 10.15.1 on"):
        opened(plan=broken)
    with pytest.raises(EngineError, match="the plan is no engine"):
        opened(plan=broken)
    assert not host.blocks


def test_a_full_device_is_said_and_survived(plan: Path) -> None:
    host = HostCuda(room=20_000)
    trt = TensorRT(HostTensorRT(host), "tensorrt", "10.15.1")
    graph = TensorRTGraph(plan, trt, GPU, cuda=Cuda(0, host))
    for length in (2000, 1200):  # the second one needs what the first one left
        given = feeds(length=length, frames=1)
        check(graph.run(given), given)
    with pytest.raises(OutOfDeviceMemoryError, match=r"out of memory on the device: cudaMalloc"):
        graph.run(feeds(length=9000))
    check(graph.run(feeds()), feeds())
    graph.close()
    gc.collect()
    assert not host.blocks


def test_a_closed_graph_and_no_device(opened: Open, host: HostCuda) -> None:
    graph = opened()
    graph.close()
    with pytest.raises(EngineError, match=r"small\.engine is closed"):
        graph.run(feeds())
    with pytest.raises(CudaError, match="cudaSetDevice failed: cudaErrorInvalidValue"):
        Cuda(1, host)


def test_freed_memory_is_not_touched(host: HostCuda) -> None:
    """The device of these tests notices what the code above is tested for."""
    cuda = Cuda(0, host)
    address = cuda.allocate(300)
    cuda.free(address)
    with pytest.raises(CudaError, match="cudaErrorIllegalAddress"):
        cuda.download(address, 300)
    with pytest.raises(CudaError, match="cudaErrorInvalidValue"):
        cuda.free(address)
    assert POISON


# TensorRT-RTX.


def test_rtx_captures_by_itself(opened: Open, host: HostCuda) -> None:
    api = HostRtx(host)
    check(opened(api, static=True).run(feeds()), feeds())
    check(opened(api).run(feeds()), feeds())
    assert api.strategies == [CudaGraphStrategy.WHOLE_GRAPH_CAPTURE, CudaGraphStrategy.DISABLED]
    assert host.calls["cudaStreamBeginCapture"] == 0


def test_rtx_keeps_its_kernels(opened: Open, host: HostCuda, tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    file = folder / "small.kernels"
    first = opened(HostRtx(host), kernels=file)
    first.run(feeds())
    assert file.read_bytes() == b"this machine\x01"
    first.run(feeds(frames=2))
    assert file.read_bytes() == b"this machine\x02"
    again = HostRtx(host)
    opened(again, kernels=file).run(feeds())
    assert again.loaded == [True]
    other = HostRtx(host, machine=b"another driver")
    opened(other, kernels=file).run(feeds())
    assert other.loaded == [False]
    assert file.read_bytes() == b"another driver\x01"


def test_a_full_disk_costs_the_kernels_only(opened: Open, host: HostCuda, tmp_path: Path) -> None:
    file = tmp_path / "missing" / "small.kernels"
    check(opened(HostRtx(host), kernels=file).run(feeds()), feeds())
    assert not file.exists()
