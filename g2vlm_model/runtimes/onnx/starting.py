"""From the words of `load_runtime` to a runtime: a folder, an export in the cache, or a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...interface import SpatialRuntime
from ...model_folder import resolve_folder
from ..automatic import (
    cached_export,
    export_into_cache,
    export_key,
    missing_libraries,
    own_parts,
)
from ..building import BuildContext, BuildingRuntime
from ..engine_cache import EngineCache, ExportKey
from ..exported import PRECISIONS, ExportFolder
from .geometry import check_geometry, open_geometry
from .providers import candidates
from .runtime import open_runtime
from .sessions import onnxruntime_module

__all__ = [
    "OPSET",
    "given_export",
    "own_export_key",
    "serve_while_exporting",
    "start_runtime",
]

OPSET = 23

Finish = Callable[[BuildContext, ExportFolder, SpatialRuntime], SpatialRuntime | None]


def start_runtime(
    model: str | Path,
    device: str,
    precision: str,
    prompt_mode: str,
    export: str | Path,
) -> SpatialRuntime:
    """See `create_runtime` of this package."""
    if prompt_mode != "shared":
        raise ValueError(
            f"prompt_mode is {prompt_mode!r}, but exported graphs stand behind the chat prefix; "
            "use prompt_mode 'shared' or the runtime 'torch'"
        )
    own = _own_precision(device, precision)
    if str(export):
        return open_runtime(given_export(export, precision), model, device)
    cache, key = EngineCache.open(), own_export_key(model, own)
    cached = cached_export(cache, key)
    if cached is not None:
        return open_runtime(cached, model, device)

    def finish(
        context: BuildContext, folder: ExportFolder, serving: SpatialRuntime
    ) -> SpatialRuntime:
        context.stage("checking the result")
        engine, _ = open_geometry(folder, device)
        try:
            check_geometry(engine, folder, folder.goldens("geometry"))
        finally:
            engine.close()
        return open_runtime(folder, model, device)

    return serve_while_exporting(model, device, cache, key, finish)


def given_export(path: str | Path, precision: str) -> ExportFolder:
    """The export folder that the caller names.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: A damaged one, or one of another precision.
    """
    folder = ExportFolder.open(path)
    found = folder.manifest.precision
    if precision not in ("auto", found):
        raise ValueError(
            f"precision is {precision!r}, but {folder.path} was exported in {found}; leave it on "
            f"auto, or export with --precision {precision}"
        )
    return folder


def own_export_key(model: str | Path, precision: str) -> ExportKey:
    """What an export that this runtime makes by itself is kept under.

    Raises:
        FileNotFoundError, ValueError: No such model folder.
        RuntimeError: The exporter's libraries are not installed.
    """
    missing = missing_libraries()
    if missing:
        raise RuntimeError(
            f"{model} cannot be exported here: {missing}. Or export it on another machine "
            "(g2vlm export onnx --parts geometry,kv,streaming,semantic) and name the folder: "
            "export=FOLDER"
        )
    folder = resolve_folder(model)
    return export_key(folder, precision, OPSET, own_parts(folder))


def serve_while_exporting(
    model: str | Path, device: str, cache: EngineCache, key: ExportKey, finish: Finish
) -> SpatialRuntime:
    """Serve with torch while a model is exported.

    Args:
        model: What is exported.
        device: Where torch serves: the CPU, unless a GPU is asked for.
        cache, key: Where the export is kept.
        finish: Makes the runtime that takes over, given the export and what serves; None keeps
            that.
    """
    from ..torch import create_runtime as torch_runtime

    def build(context: BuildContext) -> SpatialRuntime | None:
        folder = export_into_cache(context, cache, key, resolve_folder(model))
        return finish(context, folder, serving)

    kind, _, index = device.partition(":")
    on_gpu = kind in ("cuda", "tensorrt", "rtx")
    place = f"cuda:{index or 0}" if on_gpu else device
    serving = torch_runtime(model, place)
    return BuildingRuntime(serving, f"{model} for onnx", build)


def _own_precision(device: str, precision: str) -> str:
    """Precision of an export that is made for a device."""
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(
            f"precision is {precision!r}, but graphs are exported in {' or '.join(PRECISIONS)}; "
            "choose one of them, auto, or the runtime 'torch'"
        )
    available = tuple(onnxruntime_module().get_available_providers())
    if precision != "auto":
        return precision
    return "fp32" if candidates(device, available)[0].kind == "cpu" else "fp16"
