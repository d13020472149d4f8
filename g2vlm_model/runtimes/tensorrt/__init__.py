# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The TensorRT runtime: engines compiled on this device from an exported model. A `Maker`.

Engines lie in a folder inside the export, or in the store. Where there are none for this model,
TensorRT, GPU and driver yet, they are built in the background, the export that they need before
them. torch, or the exported graphs where torch is missing, serves meanwhile, and afterwards the
windows that the engines were not built for.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...config import ModelConfig
from ...interface import SpatialRuntime
from ...model_folder import resolve_folder
from ..export_folder import FLOATS, MANIFEST, ExportFolder
from ..machine import Gpu, GpuMissingError, TensorRT, find_gpu, find_tensorrt
from ..own_exports import OwnExport, other_model
from ..request import RuntimeRequest
from ..serving import BuildContext
from ..store import Store
from .cuda import cuda_runtime
from .engines import (
    ENGINES_FILE,
    EngineFolder,
    EngineRefusedError,
    Profile,
    bound_to,
    default_profile,
    engine_key,
    named_profile,
)

__all__ = [
    "Place",
    "build",
    "engines_for",
    "meanwhile",
    "profile_words",
    "ready",
    "require_floats",
]

_LOG = logging.getLogger(__name__)

KERNELS = "kernels"  # folder of the store
KEPT_KERNELS = 8  # files of it


@dataclass(frozen=True)
class Place:
    """What runs the engines."""

    trt: TensorRT
    gpu: Gpu

    @classmethod
    def find(cls, device: str) -> Place:
        """Look for TensorRT, a GPU, and the bindings that reach it.

        Raises:
            ValueError: A device that TensorRT does not run on.
            RuntimeError: One of them is missing.
        """
        match = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
        if match is None:
            raise ValueError(
                f"device is {device!r}, but TensorRT runs on NVIDIA GPUs: auto, cuda or cuda:N; "
                "on others use the runtime 'onnx' or 'torch'"
            )
        try:
            gpu = find_gpu(int(match[1] or 0))
            cuda_runtime()
            return cls(find_tensorrt(), gpu)
        except (GpuMissingError, ModuleNotFoundError) as error:
            raise RuntimeError(
                f"TensorRT cannot run here: {error}; or use the runtime 'onnx' or 'torch'"
            ) from error


def ready(request: RuntimeRequest) -> SpatialRuntime | None:
    """Load engines that are there, and check them on this device."""
    from .graph import EngineError

    request.require_exported(FLOATS)
    place, store = Place.find(request.device), Store.open()
    export = _given(request) or _own(request, place).find(store)
    for engines in () if export is None else engines_for(export, place, store):
        assert export is not None, request
        try:
            return _loaded(export, engines, request, place, store)
        except (EngineRefusedError, EngineError) as error:
            _LOG.warning("%s is not used: %s", engines.path, error)
            _drop(engines, place, store, str(error))
    return None


def meanwhile(request: RuntimeRequest) -> SpatialRuntime:
    """torch, on the GPU where it can; the exported graphs where torch is missing."""
    export = _given(request)
    other = "" if export is None else other_model(export, request.model)
    if importlib.util.find_spec("torch") is not None and not other:
        from ..torch import meanwhile as by_torch

        index = Place.find(request.device).gpu.index
        device = f"cuda:{index}" if _torch_on_gpu() else "cpu"
        return by_torch(RuntimeRequest(request.model, device, prompt_mode=request.prompt_mode))
    if export is not None and "semantic" in export.manifest.parts:
        from ..onnx.runtime import open_runtime

        return open_runtime(export, request.model, prompt_mode=request.prompt_mode)
    if other:
        raise ValueError(f"torch is to serve and to answer here: {other}")
    raise RuntimeError(
        "there are no engines yet, and neither torch nor an export with the part 'semantic' that "
        "could serve while they are built; build them first: g2vlm export tensorrt --onnx DIR"
    )


def build(context: BuildContext, request: RuntimeRequest) -> SpatialRuntime:
    """Export where needed, build engines in a child process that checks them, and load them."""
    place, store = Place.find(request.device), Store.open()
    export = _given(request) or _own(request, place).make(context, store)
    profile, words = profile_words(export)
    key = engine_key(export.digest, export.manifest.precision, place.trt, place.gpu, profile)
    command = ("export", "tensorrt", "--onnx", str(export.path), *words)
    command += ("--flavour", place.trt.name, "--device", str(place.gpu.index))
    entry = context.entry(store, key, command)
    engines = EngineFolder.open(entry.folder, place.trt, place.gpu, export.digest)
    context.stage("loading the engine")
    return _loaded(export, engines, request, place, store)


def engines_for(export: ExportFolder, place: Place, store: Store) -> Iterator[EngineFolder]:
    """Engines of an export that may be loaded here, the best first.

    Folders inside the export's own come first, then what the store holds, the newest first. What
    was built by another TensorRT, for another GPU or driver, or was changed since, is left out;
    where it lies in the export's folder the log says why.
    """
    for inside in sorted(export.path.iterdir()):
        if (inside / ENGINES_FILE).is_file():
            try:
                yield EngineFolder.open(inside, place.trt, place.gpu, export.digest)
            except (EngineRefusedError, OSError) as error:
                _LOG.warning("%s is not used: %s", inside, error)
    facts = bound_to(place.trt, place.gpu)
    for entry in store.find("engine", source=export.digest, **facts):
        with suppress(EngineRefusedError, FileNotFoundError):
            yield EngineFolder.open(entry.folder, place.trt, place.gpu, export.digest)


def require_floats(export: ExportFolder) -> None:
    """Refuse an export with weights of few bits.

    Raises:
        ValueError: It has them; the text says why no TensorRT compiles it, and what to do.
    """
    if export.manifest.precision not in FLOATS:
        raise ValueError(
            f"{export.path} was exported in {export.manifest.precision}, which no TensorRT reads, "
            "neither 10.3 nor 11: MatMulNBits is ONNX Runtime's own operator, and of TensorRT's "
            "types INT4 alone is for weights only, in another form of graph (DequantizeLinear of "
            "opset 21). Compile an export in fp16; where that does not fit, use the runtime 'onnx' "
            "with this one, or 'torch' with the same precision"
        )


def profile_words(export: ExportFolder) -> tuple[Profile, tuple[str, ...]]:
    """The window sizes of engines that are built here, and the words that ask for them."""
    manifest = export.manifest
    if manifest.static_nhw is not None:
        frames, height, width = manifest.static_nhw
        return Profile(*[(frames, height, width)] * 3), ()
    name = default_profile()
    width = ModelConfig.from_folder(export.path).dino_width
    return named_profile(name, width, manifest.patch), ("--profile", name)


def _given(request: RuntimeRequest) -> ExportFolder | None:
    """The folder that the caller names; a `ValueError` where it holds engines and no export."""
    folder = Path(request.export)
    if (
        str(request.export)
        and (folder / ENGINES_FILE).is_file()
        and not (folder / MANIFEST).is_file()
    ):
        raise ValueError(
            f"{folder} holds compiled engines only; name the export folder that they were compiled "
            "from, and put this folder into it"
        )
    export = request.given_export()
    if export is not None:
        require_floats(export)
    return export


def _own(request: RuntimeRequest, place: Place) -> OwnExport:
    precision = "fp16" if request.precision == "auto" else request.precision
    return OwnExport.of(resolve_folder(request.model), precision, place.trt.opset)


def _loaded(
    export: ExportFolder, engines: EngineFolder, request: RuntimeRequest, place: Place, store: Store
) -> SpatialRuntime:
    """Engines, with whatever answers on top of them.

    torch on the same GPU takes keys and values where they are; else, and for an export of
    another model than `model`, the exported semantic expert answers, and torch on the CPU where
    there is none.

    Raises:
        ValueError: torch would answer with the weights of another model.
    """
    from .geometry import open_geometry

    semantic = "semantic" in export.manifest.parts
    other = other_model(export, request.model, store)
    if other and not semantic:
        raise ValueError(f"torch is to answer here: {other}")
    on_gpu = _torch_on_gpu() and not other
    engine = open_geometry(
        export, engines, place.trt, place.gpu, on_device=on_gpu, kernels=_kernels(store)
    )
    try:
        if semantic and not on_gpu:
            from ..onnx.runtime import OnnxRuntime
            from ..onnx.sessions import Provider

            return OnnxRuntime(export, engine, Provider("cpu"), request.prompt_mode)
        from ..torch.placement import choose_placement
        from ..torch.runtime import TorchRuntime

        placement = choose_placement(f"cuda:{place.gpu.index}" if on_gpu else "cpu")
        return TorchRuntime(request.model, placement, request.prompt_mode, engine)
    except BaseException:
        engine.close()
        raise


def _kernels(store: Store) -> Path:
    """The folder of compiled kernels, those of engines long gone removed."""
    folder = store.root / KERNELS
    folder.mkdir(mode=0o700, exist_ok=True)
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for old in files[:-KEPT_KERNELS]:
        old.unlink(missing_ok=True)
    return folder


def _drop(engines: EngineFolder, place: Place, store: Store, reason: str) -> None:
    """Take engines out of the store that cannot be used, so that they are built again."""
    if engines.path.is_relative_to(store.root):
        own = engines.manifest
        key = engine_key(own.source, own.precision, place.trt, place.gpu, own.profile)
        store.set_aside(key, reason)


def _torch_on_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
