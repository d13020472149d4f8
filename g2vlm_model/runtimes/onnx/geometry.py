# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometry of an export folder, run by ONNX Runtime.

Shape letters: N frames, H W pixels, P patches per frame, D width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...interface import RuntimeInfo, RuntimeLimits, WindowRefusedError
from ..export_folder import ExportFolder, Golden
from ..geometry_engine import Array, Cancelled, GeometryArrays, GeometryEngine
from ..golden_check import compare
from ..graph_geometry import GraphGeometry, StreamingGraphGeometry
from ..scene_runtime import LIMITS
from .sessions import (
    Provider,
    ProviderError,
    Session,
    candidates,
    onnxruntime_module,
)

__all__ = [
    "OnnxGeometry",
    "StreamingOnnxGeometry",
    "check_geometry",
    "open_geometry",
    "require_golden",
]

_LOG = logging.getLogger(__name__)


def open_geometry(
    folder: ExportFolder, device: str = "auto", *, on_device: bool = False, threads: int = 0
) -> tuple[GeometryEngine, Provider]:
    """Load a folder's geometry on the provider of a device, and check its smallest golden there.

    Args:
        folder: With the graphs "encoder" and "expert" where overlapping windows are to encode
            their new frames only, else "geometry".
        device: See `sessions`.
        on_device: Leave what the graphs compute on a CUDA device, for torch there.
        threads: Of the CPU; 0 is `machine.cpu_threads`.

    Returns:
        The engine, and the provider that runs it.

    Raises:
        ValueError: An unknown device.
        ProviderError: The device was asked for by name and does not run, or gives wrong numbers.
        RuntimeError: A graph cannot be loaded.
    """
    ort = onnxruntime_module()
    tried = candidates(device, tuple(ort.get_available_providers()))
    problem = ""
    for provider in tried[:-1]:
        try:
            return _opened(folder, provider, on_device, threads), provider
        except ProviderError as error:
            problem = str(error)
            _LOG.warning("fallback: %s", problem)
    return _opened(folder, tried[-1], on_device, threads, problem), tried[-1]


def _opened(
    folder: ExportFolder, provider: Provider, on_device: bool, threads: int, problem: str = ""
) -> GeometryEngine:
    streaming = "streaming" in folder.manifest.parts
    kind = StreamingOnnxGeometry if streaming else OnnxGeometry
    engine = kind(folder, provider, on_device, threads, problem)
    try:
        goldens = folder.goldens("geometry")
        least = min(golden.inputs["pictures"].size for golden in goldens)
        smallest = [one for one in goldens if one.inputs["pictures"].size == least]
        check_geometry(engine, folder, smallest)
    except BaseException:
        engine.close()
        raise
    return engine


def check_geometry(engine: GeometryEngine, folder: ExportFolder, goldens: Sequence[Golden]) -> None:
    """Refuse a folder's engine that does not say what torch said in goldens of "geometry".

    Raises:
        ProviderError: It fails on this device, or is out of tolerance.
    """
    for golden in goldens:
        try:
            arrays = engine.run(golden.inputs["pictures"], prompt=golden.prompt)
        except RuntimeError as error:
            raise ProviderError(str(error)) from error
        named = {name: _output(arrays, name) for name in golden.outputs}
        outputs = {name: array for name, array in named.items() if array is not None}
        where = f"{folder.path} gives wrong numbers on {engine.facts.device}"
        require_golden(outputs, golden, folder, where)


def require_golden(
    outputs: Mapping[str, NDArray[Any]], golden: Golden, folder: ExportFolder, wrong: str
) -> None:
    """Refuse outputs of a golden's graph that are not what torch said, by the folder's tolerances.

    Args:
        wrong: Begins the error: what gives wrong numbers, and where.

    Raises:
        ProviderError: They are out of tolerance.
    """
    comparison = compare(outputs, golden, folder.manifest.tolerances)
    if not comparison.passed:
        raise ProviderError(
            f"{wrong} for the golden {golden.case}:\n{comparison.report()}\nuse another device, "
            "or export with --precision fp32 --opset 18"
        )


def _output(arrays: GeometryArrays, name: str) -> Any:
    """An output by the graph's name for it, on the CPU; None where the engine leaves it out."""
    array: Any = arrays.rotation9 if name == "rotation" else getattr(arrays, name)
    if array is not None and not isinstance(array, np.ndarray):
        array = array.numpy()
    return array.reshape(-1, 3, 3) if name == "rotation" else array


class OnnxGeometry(GraphGeometry):
    """A `GeometryEngine`: one graph from pictures to points.

    Args:
        folder: The export.
        provider: Where it runs.
        on_device: Leave outputs on a CUDA device.
        threads: Of the CPU; 0 is `machine.cpu_threads`.
        problem: Why this is not the provider that was wanted.
    """

    def __init__(
        self,
        folder: ExportFolder,
        provider: Provider,
        on_device: bool = False,
        threads: int = 0,
        problem: str = "",
    ) -> None:
        manifest = folder.manifest
        self._patch = manifest.patch
        self._limits = LIMITS
        if manifest.static_nhw is not None:
            frames, height, width = manifest.static_nhw
            self._limits = RuntimeLimits(frames, frames, (height, width), (height, width))
        self._stay = on_device and provider.memory[0] == "cuda"
        facts = RuntimeInfo(
            runtime="onnx",
            device=provider.device,
            precision=manifest.precision,
            model_id=manifest.model_id,
            parameters=manifest.parameters,
            limits=self._limits,
            fallback_reason=problem,
        )

        def load(name: str) -> Session:
            return Session(folder.graph(name), provider, threads, mapped=folder.mapped(name))

        super().__init__(facts, folder.prefixes(), load)

    def _run(self, name: str, feeds: Mapping[str, Any], cancelled: Cancelled) -> dict[str, Array]:
        session: Session = self.graphs[name]
        feeds = {key: value for key, value in feeds.items() if key in session.inputs}
        return session.run(feeds, cancelled, on_device=self._stay)

    def _check(self, pictures_NHW3: NDArray[np.uint8]) -> None:
        frames, height, width = pictures_NHW3.shape[:3]
        if refusal := self._limits.refusal(frames, (height, width)):
            raise WindowRefusedError(refusal)
        if height % self._patch or width % self._patch:
            raise ValueError(
                f"pictures are {height} high and {width} wide, expected multiples of the patch "
                f"({self._patch}); resize them with preprocess.resize_geometric"
            )


class StreamingOnnxGeometry(StreamingGraphGeometry, OnnxGeometry):
    """A `StreamingEngine`: encoder and expert apart."""
