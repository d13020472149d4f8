# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ways to run an export on this machine: ONNX Runtime, TensorRT.

A form turns pictures into named arrays, see `parity.Form`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.config import CHAT
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.geometry_engine import GeometryEngine, StreamingEngine
from g2vlm_model.runtimes.onnx.geometry import OnnxGeometry, StreamingOnnxGeometry
from g2vlm_model.runtimes.onnx.sessions import Provider, Session, candidates, onnxruntime_module
from g2vlm_model.runtimes.store import Store
from g2vlm_model.runtimes.tensorrt import Place, engines_for
from g2vlm_model.runtimes.tensorrt.geometry import open_geometry

from .parity import Arrays, Form, arrays_by_name

__all__ = ["geometry_forms", "onnx_forms", "onnx_graphs", "provider_of", "tensorrt_forms"]


def provider_of(device: str) -> Provider:
    """Return the execution provider of a device.

    Raises:
        ValueError: An unknown device.
        RuntimeError: ONNX Runtime is not installed.
    """
    return candidates(device, tuple(onnxruntime_module().get_available_providers()))[0]


@contextmanager
def onnx_forms(folder: ExportFolder, provider: Provider, threads: int = 0) -> Iterator[list[Form]]:
    """The forms that ONNX Runtime can run: in one graph, and in two where they are there.

    Raises:
        ValueError: It cannot load one of them.
    """
    with ExitStack() as open_engines:
        forms: list[Form] = []
        engines: list[tuple[str, str, Callable[..., GeometryEngine]]] = [
            ("onnx", "geometry", OnnxGeometry)
        ]
        if "streaming" in folder.manifest.parts:
            engines.append(("onnx streaming", "expert", StreamingOnnxGeometry))
        for name, graph, kind in engines:
            try:
                engine = kind(folder, provider, threads=threads)
            except RuntimeError as error:  # the folder's fault, or the device's
                raise ValueError(str(error)) from None
            open_engines.callback(engine.close)
            forms += geometry_forms(name, graph, folder, engine)
        yield forms


@contextmanager
def tensorrt_forms(folder: ExportFolder) -> Iterator[tuple[list[Form], str]]:
    """The newest engine of an export that this machine can run, and why there is none.

    Raises:
        EngineRefusedError: It fails the golden check.
    """
    try:
        place = Place.find("auto")
    except RuntimeError as error:
        yield [], str(error)
        return
    engines = next(engines_for(folder, place, Store.open()), None)
    if engines is None:
        yield [], f"no engine of it yet; build one with g2vlm export tensorrt --onnx {folder.path}"
        return
    engine = open_geometry(folder, engines, place.trt, place.gpu)
    try:
        graph = "expert" if isinstance(engine, StreamingEngine) else "geometry"
        covers = engines.manifest.profile.covers
        forms = geometry_forms("tensorrt", graph, folder, engine)
        yield [replace(form, serves=covers) for form in forms], ""
    finally:
        engine.close()


def geometry_forms(
    name: str, graph: str, folder: ExportFolder, engine: GeometryEngine
) -> Iterator[Form]:
    """The forms of an engine: one for each prompt that its frames can stand behind.

    Args:
        name: In words.
        graph: Of the folder, whose outputs the engine gives.
        folder: What the engine was made from.
        engine: Runs it.
    """
    outputs = tuple(record.name for record in folder.manifest.graphs[graph].outputs)
    if isinstance(engine, StreamingEngine):
        outputs = ("tokens", *outputs)

    def run(prompt: str, pictures_NHW3: NDArray[np.uint8]) -> Arrays:
        if not isinstance(engine, StreamingEngine):
            return arrays_by_name(engine.run(pictures_NHW3, prompt=prompt))
        # Frame by frame, as windows that overlap are encoded.
        each = [engine.encode(pictures_NHW3[i : i + 1]) for i in range(len(pictures_NHW3))]
        tokens_NPD = np.concatenate([np.asarray(one) for one in each])
        said = arrays_by_name(engine.run_tokens(tokens_NPD, pictures_NHW3, prompt=prompt))
        return {**said, "tokens": tokens_NPD}

    facts = f"{engine.facts.runtime}, {engine.facts.device}, {engine.facts.precision}"
    for prompt in engine.prompts:
        behind = name if prompt == CHAT else f"{name}, {prompt}"
        yield Form(behind, outputs, folder.manifest.tolerances, partial(run, prompt), facts, prompt)


def onnx_graphs(folder: ExportFolder, provider: Provider) -> Callable[[str, Arrays], Arrays]:
    """A function that runs a graph of the folder by its name; one graph is kept loaded."""
    loaded: dict[str, Session] = {}

    def run(name: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        if name not in loaded:
            for session in loaded.values():
                session.close()
            loaded.clear()
            loaded[name] = Session(folder.graph(name), provider, mapped=folder.mapped(name))
        return loaded[name].run(inputs)

    return run
