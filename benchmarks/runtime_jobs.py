# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ways to run a geometric pass that `benchmarks.runtimes` compares.

Each candidate turns one window of uint8 pictures into points, poses, keys and values. One that
needs a library or a device that is not here raises `NotHere` with the reason.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from g2vlm_export.reference import TorchReference
from g2vlm_export.wrappers import GeometryGraph, Prefix
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.checkpoint import load_model
from g2vlm_model.config import CHAT
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.geometry_engine import GeometryArrays

__all__ = ["ON_CPU", "ON_CUDA", "Job", "NotHere", "Setting", "torch_eager"]

Pictures = NDArray[np.uint8]
Job = Callable[[], Mapping[str, Any]]
GIVEN = ("local_points", "rotation9", "translation")


class NotHere(Exception):  # noqa: N818 - not an error: a row of the table
    """A candidate cannot run on this machine; the text says why."""


@dataclass(frozen=True)
class Setting:
    """What all candidates get.

    Args:
        model: Folder.
        exports: Opset and precision -> export folder, e.g. "18 fp32".
        pictures_NHW3: The window.
        device: Of torch.
        threads: Of the CPU.
        scratch: For files that a candidate makes.
    """

    model: Path
    exports: Mapping[str, Path]
    pictures_NHW3: Pictures
    device: torch.device
    threads: int
    scratch: Path

    def export(self, name: str) -> ExportFolder:
        """An export by opset and precision."""
        if name not in self.exports:
            raise NotHere(f"no export {name}")
        return ExportFolder.open(self.exports[name])


def torch_eager(setting: Setting, dtype: torch.dtype = torch.float32) -> Job:
    """The pass as the torch runtime runs it."""
    reference = TorchReference(*load_model(setting.model, setting.device, dtype))
    return lambda: _given(reference.tensors(setting.pictures_NHW3))


def torch_compiled(setting: Setting, dtype: torch.dtype = torch.float32) -> Job:
    """The same as one compiled graph of this size; with CUDA graphs where there is CUDA."""
    reference = TorchReference(*load_model(setting.model, setting.device, dtype))
    chat = reference.prefixes[CHAT]
    prefix = Prefix(
        chat.keys[:, 0, :, : chat.length], chat.values[:, 0, :, : chat.length], chat.position
    )
    graph = GeometryGraph(reference.model, prefix, in_graph_rotation=False)
    on_cuda = setting.device.type == "cuda"
    compiled = torch.compile(graph, dynamic=False, mode="reduce-overhead" if on_cuda else None)

    def job() -> Mapping[str, Any]:
        with torch.inference_mode():
            pictures = torch.from_numpy(setting.pictures_NHW3).to(setting.device)
            return _given(dict(zip(graph.outputs, compiled(pictures), strict=True)))

    return job


def onnx(setting: Setting, export: str, device: str = "cpu") -> Job:
    """The exported graph in ONNX Runtime, as the onnx runtime runs it."""
    _needs("onnxruntime")
    from g2vlm_model.runtimes.onnx.geometry import OnnxGeometry
    from g2vlm_model.runtimes.onnx.sessions import Provider, ProviderError

    kind, _, index = device.partition(":")
    try:
        provider = Provider(kind, int(index or 0))
        engine = OnnxGeometry(setting.export(export), provider, threads=setting.threads)
    except ProviderError as error:
        raise NotHere(str(error)) from None
    return lambda: _arrays(engine.run(setting.pictures_NHW3))


def onnx_int8(setting: Setting, export: str) -> Job:
    """The products in int8, scales of the inputs found while running (ONNX Runtime dynamic)."""
    _needs("onnxruntime")
    _needs("onnx")
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from g2vlm_model.runtimes.onnx.sessions import SPINNING

    model = onnx.load(str(setting.export(export).graph("geometry")))
    del model.graph.value_info[:]  # the quantiser contradicts the exporter's shapes
    source, target = setting.scratch / "plain.onnx", setting.scratch / "int8.onnx"
    onnx.save(model, str(source))
    quantize_dynamic(
        *(source, target),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    for name, value in SPINNING.items():
        options.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(str(target), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {"pictures": setting.pictures_NHW3, **setting.export(export).prefixes()[CHAT]}
    return lambda: dict(zip(names, session.run(names, feeds), strict=True))


def openvino(setting: Setting, export: str, int8: bool = False) -> Job:
    """The exported graph in OpenVINO; int8 with ranges found on random windows (NNCF)."""
    ov = _needs("openvino")
    graph = ov.Core().read_model(str(setting.export(export).graph("geometry")))
    if int8:
        nncf = _needs("nncf")
        graph = nncf.quantize(
            graph,
            nncf.Dataset(_moved_windows(setting.pictures_NHW3), lambda pictures: {0: pictures}),
            model_type=nncf.ModelType.TRANSFORMER,
        )
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it
        "INFERENCE_NUM_THREADS": setting.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = ov.Core().compile_model(graph, "CPU", settings).create_infer_request()
    names = [output.get_any_name() for output in graph.outputs]

    def job() -> Mapping[str, Any]:
        said = request.infer({0: setting.pictures_NHW3})
        return {name: said[name] for name in names}

    return job


def _moved_windows(pictures_NHW3: Pictures, count: int = 8) -> list[Pictures]:
    """Windows of the same pictures, mirrored and in other brightness."""
    random = np.random.default_rng(0)
    windows = []
    for _ in range(count):
        gain, lift = random.uniform(0.5, 1.3), random.uniform(-30, 30)
        flipped = pictures_NHW3[:, :, :: random.choice((-1, 1))]
        windows.append(np.clip(flipped * gain + lift, 0, 255).astype(np.uint8))
    return windows


def _needs(package: str) -> Any:
    """Import a library that not every machine has."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NotHere(f"not installed: {error.name or package}") from None


def _given(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Points and poses on the host; keys and values stay where they are."""
    return {name: tensors[name].float().cpu().numpy() for name in GIVEN}


def _arrays(arrays: GeometryArrays) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(getattr(arrays, name)) for name in GIVEN}


def tensorrt(setting: Setting, export: str) -> Job:
    """The engine of the exported graph; it is built here where there is none yet."""
    from g2vlm_model.runtimes.store import Store
    from g2vlm_model.runtimes.tensorrt import Place, engines_for
    from g2vlm_model.runtimes.tensorrt.geometry import open_geometry

    try:
        place = Place.find(str(setting.device))
    except RuntimeError as error:
        raise NotHere(str(error)) from None
    folder, cache = setting.export(export), Store.open()
    if next(engines_for(folder, place, cache), None) is None:
        words = ("export", "tensorrt", "--onnx", str(folder.path), "--profile", "desktop")
        subprocess.run([sys.executable, "-m", "g2vlm_model.cli", *words], check=True)
    engine = open_geometry(folder, next(engines_for(folder, place, cache)), place.trt, place.gpu)
    return lambda: _arrays(engine.run(setting.pictures_NHW3))


ON_CPU: dict[str, Callable[[Setting], Job]] = {
    "torch eager": torch_eager,
    "torch compile": torch_compiled,
    "onnx opset 18": lambda setting: onnx(setting, "18 fp32"),
    "onnx opset 23": lambda setting: onnx(setting, "23 fp32"),
    "openvino": lambda setting: openvino(setting, "18 fp32"),
    "onnx int8 dynamic": lambda setting: onnx_int8(setting, "18 fp32"),
    "openvino int8": lambda setting: openvino(setting, "18 fp32", int8=True),
}
ON_CUDA: dict[str, Callable[[Setting], Job]] = {
    "torch eager": torch_eager,
    "torch eager fp16": lambda setting: torch_eager(setting, torch.float16),
    "torch eager bf16": lambda setting: torch_eager(setting, torch.bfloat16),
    "torch compile bf16, CUDA graphs": lambda setting: torch_compiled(setting, torch.bfloat16),
    "torch compile fp16, CUDA graphs": lambda setting: torch_compiled(setting, torch.float16),
    "onnx opset 18 fp16": lambda setting: onnx(setting, "18 fp16", str(setting.device)),
    "onnx opset 23 fp16": lambda setting: onnx(setting, "23 fp16", str(setting.device)),
    "tensorrt fp16": lambda setting: tensorrt(setting, "23 fp16"),
}
