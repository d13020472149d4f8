# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ONNX runtime: an exported model, run by ONNX Runtime, with or without torch. A `Maker`.

Where no export is given it makes its own, fp16 for a GPU and fp32 for the CPU; torch serves
until that is done.
"""

from __future__ import annotations

from ...interface import SpatialRuntime
from ...model_folder import resolve_folder
from ..export_folder import PRECISIONS, ExportFolder
from ..own_exports import OwnExport
from ..request import RuntimeRequest
from ..serving import BuildContext
from ..store import Store

__all__ = ["OPSET", "build", "meanwhile", "own_export", "ready"]

OPSET = 23


def ready(request: RuntimeRequest) -> SpatialRuntime | None:
    """Load the export that is given, or one's own.

    Raises:
        ValueError, FileNotFoundError, RuntimeError: See `Maker`; among them a device that was
            asked for by name and does not run.
    """
    request.require_exported(PRECISIONS)
    folder = request.given_export() or own_export(request).find(Store.open())
    return None if folder is None else _opened(folder, request)


def meanwhile(request: RuntimeRequest) -> SpatialRuntime:
    """torch: on the CPU, unless a GPU is asked for that torch sees too."""
    from ..torch import meanwhile as by_torch
    from ..torch.placement import nearest

    kind, _, index = request.device.partition(":")
    on_gpu = kind in ("cuda", "tensorrt", "rtx")
    device = nearest(f"cuda:{index or 0}") if on_gpu else request.device
    return by_torch(RuntimeRequest(request.model, device, prompt_mode=request.prompt_mode))


def build(context: BuildContext, request: RuntimeRequest) -> SpatialRuntime:
    """Export the model, check every golden, and load the result."""
    from .geometry import check_geometry, open_geometry

    folder = own_export(request).make(context, Store.open())
    context.stage("checking the result")
    engine, _ = open_geometry(folder, request.device)
    try:
        check_geometry(engine, folder, folder.goldens("geometry"))
    finally:
        engine.close()
    return _opened(folder, request)


def own_export(request: RuntimeRequest) -> OwnExport:
    """What this runtime exports for a request.

    Raises:
        FileNotFoundError, ValueError: No such model folder, or no such device.
        RuntimeError: The exporter's libraries, or ONNX Runtime, are not installed.
    """
    from .sessions import candidates, onnxruntime_module

    available = tuple(onnxruntime_module().get_available_providers())
    first = candidates(request.device, available)[0]
    own = "fp32" if first.kind == "cpu" else "fp16"
    chosen = own if request.precision == "auto" else request.precision
    return OwnExport.of(resolve_folder(request.model), chosen, OPSET)


def _opened(folder: ExportFolder, request: RuntimeRequest) -> SpatialRuntime:
    from .runtime import open_runtime

    return open_runtime(folder, request.model, request.device, request.prompt_mode)
