# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometry of an export folder, run by engines that were compiled from it.

Shape letters: N frames, H W pixels, P patches per frame, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...interface import RuntimeInfo
from ..export_folder import ExportFolder
from ..geometry_engine import Array, Cancelled, GeometryEngine
from ..golden_check import compare
from ..graph_geometry import GraphGeometry, StreamingGraphGeometry
from ..machine import Gpu, TensorRT
from .cuda import Cuda, DeviceArray
from .engines import EngineFolder, EngineRefusedError, Profile
from .graph import TensorRTGraph

__all__ = [
    "StreamingTensorRTGeometry",
    "TensorRTGeometry",
    "check_graphs",
    "open_geometry",
]


def open_geometry(
    export: ExportFolder,
    engines: EngineFolder,
    trt: TensorRT,
    gpu: Gpu,
    *,
    on_device: bool = False,
    kernels: Path | None = None,
) -> GeometryEngine:
    """Load the engines of a folder, and run them once.

    Whatever their manifest says, they are checked here: a driver may have changed under them.

    Args:
        export: That the engines were compiled from.
        engines: Opened for this TensorRT and GPU.
        trt: Runs them.
        gpu: Runs them.
        on_device: Leave on the device what the graphs compute, for torch there.
        kernels: Folder for what TensorRT-RTX compiles at first use.

    Raises:
        EngineRefusedError: An engine is missing, or fails the golden check.
        EngineError: TensorRT cannot load or run one.
        CudaError: The device cannot be used, or has no room.
    """
    names = engines.manifest.engines.keys()
    streaming = names >= set(StreamingTensorRTGeometry.names)
    kind = StreamingTensorRTGeometry if streaming else TensorRTGeometry
    engine = kind(export, engines, trt, gpu, on_device=on_device, kernels=kernels)
    try:
        manifest = engines.manifest
        reports = check_graphs(engine.graphs, export, manifest.profile)
        if manifest.targets or not manifest.checked:
            with suppress(OSError):  # a folder that is read-only is noted nowhere
                engines.mark_checked(reports)
        # What is compiled or taken at the first run is there before the first window.
        for prompt in engine.prompts:
            engine.run(np.zeros((*engines.manifest.profile.optimum, 3), np.uint8), prompt=prompt)
    except BaseException:
        engine.close()
        raise
    return engine


def check_graphs(
    graphs: Mapping[str, TensorRTGraph], export: ExportFolder, profile: Profile
) -> dict[str, str]:
    """Compare every graph with what torch computed.

    Returns:
        A report for each graph.

    Raises:
        EngineRefusedError: A graph computes something else, or nothing is there to compare with.
    """
    reports = {}
    for name, graph in graphs.items():
        goldens = [
            golden
            for golden in export.goldens(name)
            if profile.covers(golden.inputs["pictures"].shape[:3])
        ]
        if not goldens:
            raise EngineRefusedError(
                f"the engine of {name} cannot be checked: no golden window of {export.path} lies "
                f"in its profile, {profile}; build it with a wider one (--min)"
            )
        # What serves is the replay of a captured graph, which comes behind runs without.
        for golden in (golden for golden in goldens for _ in range(graph.runs_to_replay)):
            comparison = compare(graph.run(golden.inputs), golden, export.manifest.tolerances)
            if not comparison.passed:
                raise EngineRefusedError(
                    f"the engine of {name} gives wrong numbers on this device for the golden "
                    f"window {golden.case}:\n{comparison.report()}\nbuild it here, where other "
                    "forms are tried: g2vlm export tensorrt --onnx DIR --force"
                )
            reports[name] = f"{golden.case}: {'; '.join(comparison.report().splitlines())}"
    return reports


class TensorRTGeometry(GraphGeometry):
    """A `GeometryEngine`: one engine from pictures to points; see `open_geometry`.

    A graph that runs is not ended by a cancellation: it takes milliseconds.
    """

    def __init__(
        self,
        export: ExportFolder,
        engines: EngineFolder,
        trt: TensorRT,
        gpu: Gpu,
        *,
        on_device: bool = False,
        kernels: Path | None = None,
    ) -> None:
        manifest = engines.manifest
        self._profile = manifest.profile
        self._stay = on_device
        self._cuda: Cuda | None = Cuda(gpu.index)
        precision, fallback = _precision_of(engines, self.names)
        facts = RuntimeInfo(
            runtime="tensorrt",
            device=f"cuda:{gpu.index} ({gpu.name}, {trt})",
            precision=precision,
            model_id=export.manifest.model_id,
            parameters=export.manifest.parameters,
            limits=self._profile.limits,
            fallback_reason=fallback,
        )
        super().__init__(
            facts,
            export.prefixes(),
            lambda name: TensorRTGraph(
                engines.plan(name),
                trt,
                gpu,
                cuda=self._cuda,
                static=self._profile.is_static,
                kernels=kernels and kernels / f"{manifest.engines[name].sha256[:32]}.kernels",
            ),
        )

    def close(self) -> None:
        """Give the device's memory back."""
        super().close()
        cuda, self._cuda = self._cuda, None
        if cuda is not None:
            cuda.close()

    def _run(self, name: str, feeds: Mapping[str, Any], cancelled: Cancelled) -> dict[str, Array]:
        graph: TensorRTGraph = self.graphs[name]
        given = {key: feeds[key] for key in graph.inputs}
        # An orthogonal rotation is finished on the host; it is a few numbers.
        return graph.run(given, set(graph.outputs) - {"rotation"} if self._stay else ())

    def _check(self, pictures_NHW3: NDArray[np.uint8]) -> None:
        frames, height, width = pictures_NHW3.shape[:3]
        self._profile.require((frames, height, width))


class StreamingTensorRTGeometry(StreamingGraphGeometry, TensorRTGeometry):
    """A `StreamingEngine`: encoder and expert apart."""

    def encode(self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None) -> Array:
        """See `StreamingEngine.encode`.

        An engine for one size only encodes as many frames as it takes: what is missing is
        filled up, and left out of the result.
        """
        count, least = len(pictures_NHW3), self._profile.minimum[0]
        if count < least:
            fill = np.repeat(pictures_NHW3[-1:], least - count, axis=0)
            pictures_NHW3 = np.concatenate([pictures_NHW3, fill])
        self._check(pictures_NHW3)
        tokens_NPD = super().encode(pictures_NHW3, cancelled)
        if count < len(pictures_NHW3) and isinstance(tokens_NPD, DeviceArray):
            shape = (count, *tokens_NPD.shape[1:])
            return DeviceArray(tokens_NPD.address, shape, tokens_NPD.dtype, tokens_NPD)
        return tokens_NPD if count == len(pictures_NHW3) else tokens_NPD[:count]


def _precision_of(engines: EngineFolder, names: tuple[str, ...]) -> tuple[str, str]:
    """What the engines compute in, and why that is not what was exported ("" where it is)."""
    exported = engines.manifest.precision
    records = {name: engines.manifest.engines[name] for name in names}
    slower = {name: one for name, one in records.items() if one.rung == "fp32" != exported}
    reasons = [f"{name}: {'; '.join(one.reasons)}" for name, one in slower.items()]
    text = f"{exported} was refused by the golden check ({' | '.join(reasons)})" if reasons else ""
    return ("fp32" if len(slower) == len(names) else exported), text
