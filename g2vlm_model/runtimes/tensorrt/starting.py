"""From the words of `load_runtime` to a runtime: engines that are there, or new ones."""

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
from ..automatic import (
    cached_export,
    export_into_cache,
    export_key,
    missing_libraries,
    other_model,
    own_parts,
)
from ..building import BuildContext, BuildingRuntime
from ..engine_cache import EngineCache
from ..engine_folder import ENGINES_FILE, EngineFolder, EngineRefusedError, engine_key
from ..engine_profile import Profile, default_profile, named_profile
from ..exported import MANIFEST, PARTS, PRECISIONS, ExportFolder
from ..nvidia import Gpu, GpuMissingError, TensorRT, find_gpu, find_tensorrt
from .cuda import cuda_runtime
from .geometry import open_geometry
from .graph import EngineError

__all__ = ["Place", "engines_for", "profile_words", "start_runtime"]

_LOG = logging.getLogger(__name__)

KERNELS = "kernels"  # folder of the cache


@dataclass(frozen=True)
class Place:
    """What runs the engines.

    Args:
        trt: TensorRT.
        gpu: Device.
    """

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


def start_runtime(
    model: str | Path, device: str, precision: str, prompt_mode: str, export: str | Path
) -> SpatialRuntime:
    """See `create_runtime` of this package."""
    if prompt_mode != "shared":
        raise ValueError(
            f"prompt_mode is {prompt_mode!r}, but engines stand behind the chat prefix; use "
            "prompt_mode 'shared' or the runtime 'torch'"
        )
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(
            f"precision is {precision!r}, but engines are built in {' or '.join(PRECISIONS)}; "
            "choose one of them, auto, or the runtime 'torch'"
        )
    place, cache = Place.find(device), EngineCache.open()
    if str(export):
        given = _given(Path(export), precision)
        return _from_export(given, model, place, cache)
    missing = missing_libraries()
    if missing:
        raise RuntimeError(
            f"{model} cannot be exported here: {missing}. Or export it on another machine "
            f"(g2vlm export onnx --opset {place.trt.opset} --precision fp16 --parts "
            f"{','.join(PARTS)}) and name the folder: export=FOLDER"
        )
    folder = resolve_folder(model)
    own = "fp16" if precision == "auto" else precision
    key = export_key(folder, own, place.trt.opset, own_parts(folder))
    cached = cached_export(cache, key)
    if cached is not None:
        return _from_export(cached, model, place, cache)

    def build(context: BuildContext) -> SpatialRuntime:
        made = export_into_cache(context, cache, key, folder)
        return _built(context, made, model, place, cache)

    serving = _meanwhile(model, place, None)
    return BuildingRuntime(serving, f"{model} for tensorrt", build)


def engines_for(export: ExportFolder, place: Place, cache: EngineCache) -> Iterator[EngineFolder]:
    """Engines of an export that may be loaded here, the best first.

    Folders inside the export's own come first, then what the cache holds, the newest first. What
    was built by another TensorRT, for another GPU or driver, or was changed since, is left out;
    where it lies in the export's folder the log says why.
    """
    for inside in sorted(export.path.iterdir()):
        if (inside / ENGINES_FILE).is_file():
            try:
                yield EngineFolder.open(inside, place.trt, place.gpu, export.digest)
            except (EngineRefusedError, PermissionError) as error:
                _LOG.warning("%s is not used: %s", inside, error)
    facts = {
        "source": export.digest,
        "builder": place.trt.name,
        "builder_version": place.trt.version,
        "gpu": place.gpu.name,
        "compute_capability": place.gpu.compute_capability,
        "driver": place.gpu.driver,
    }
    for entry in cache.find("engine", **facts):
        with suppress(EngineRefusedError, FileNotFoundError):
            yield EngineFolder.open(entry.folder, place.trt, place.gpu, export.digest)


def profile_words(export: ExportFolder) -> tuple[Profile, tuple[str, ...]]:
    """The window sizes of engines that are built here, and the words that ask for them."""
    manifest = export.manifest
    if manifest.static_nhw is not None:
        frames, height, width = manifest.static_nhw
        return Profile(*[(frames, height, width)] * 3), ()
    name = default_profile()
    width = ModelConfig.from_folder(export.path).dino_width
    return named_profile(name, width, manifest.patch), ("--profile", name)


def _given(folder: Path, precision: str) -> ExportFolder:
    """The folder that the caller names."""
    if (folder / ENGINES_FILE).is_file() and not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder} holds compiled engines only; name the export folder that they were compiled "
            "from, and put this folder into it"
        )
    export = ExportFolder.open(folder)
    found = export.manifest.precision
    if precision not in ("auto", found):
        raise ValueError(
            f"precision is {precision!r}, but {folder} was exported in {found}; leave it on auto, "
            f"or export with --precision {precision}"
        )
    return export


def _from_export(
    export: ExportFolder, model: str | Path, place: Place, cache: EngineCache
) -> SpatialRuntime:
    """Load engines that are there, else build them while another runtime serves."""
    for engines in engines_for(export, place, cache):
        try:
            return _loaded(export, engines, model, place, cache)
        except (EngineRefusedError, EngineError) as error:
            _LOG.warning("%s is not used: %s", engines.path, error)
            _drop(engines, place, cache, str(error))
    serving = _meanwhile(model, place, export)
    return BuildingRuntime(
        serving,
        f"{export.manifest.model_id} for tensorrt",
        lambda context: _built(context, export, model, place, cache),
    )


def _built(
    context: BuildContext,
    export: ExportFolder,
    model: str | Path,
    place: Place,
    cache: EngineCache,
) -> SpatialRuntime:
    """Build engines in a child process, which also checks them, and load them."""
    profile, words = profile_words(export)
    manifest = export.manifest
    key = engine_key(export.digest, manifest.precision, place.trt, place.gpu, profile)
    command = ("export", "tensorrt", "--onnx", str(export.path), *words)
    command += ("--flavour", place.trt.name, "--device", str(place.gpu.index))
    entry = context.entry(cache, key, lambda folder: (*command, "--out", str(folder)))
    engines = EngineFolder.open(entry.folder, place.trt, place.gpu, export.digest)
    context.stage("loading the engine")
    return _loaded(export, engines, model, place, cache)


def _loaded(
    export: ExportFolder,
    engines: EngineFolder,
    model: str | Path,
    place: Place,
    cache: EngineCache,
) -> SpatialRuntime:
    """Engines, with whatever answers on top of them.

    torch on the same GPU takes keys and values where they are; else, and for an export of
    another model than `model`, the exported semantic expert answers, and torch on the CPU where
    there is none.

    Raises:
        ValueError: torch would answer with the weights of another model.
    """
    kernels = cache.root / KERNELS
    kernels.mkdir(mode=0o700, exist_ok=True)
    semantic = "semantic" in export.manifest.parts
    other = other_model(export, model)
    if other and not semantic:
        raise ValueError(f"torch is to answer here: {other}")
    on_gpu = _torch_on_gpu() and not other
    engine = open_geometry(export, engines, place.trt, place.gpu, on_device=on_gpu, kernels=kernels)
    try:
        if semantic and not on_gpu:
            from ..onnx.providers import candidates
            from ..onnx.runtime import OnnxRuntime

            return OnnxRuntime(export, engine, candidates("cpu", ("CPUExecutionProvider",))[0])
        from ..torch.placement import choose_placement
        from ..torch.runtime import TorchRuntime

        placement = choose_placement(f"cuda:{place.gpu.index}" if on_gpu else "cpu")
        return TorchRuntime(model, placement, geometry=engine)
    except BaseException:
        engine.close()
        raise


def _meanwhile(model: str | Path, place: Place, export: ExportFolder | None) -> SpatialRuntime:
    """What serves during a build.

    Raises:
        RuntimeError: Nothing here can.
    """
    other = "" if export is None else other_model(export, model)
    if importlib.util.find_spec("torch") is not None and not other:
        from ..torch import create_runtime as torch_runtime

        return torch_runtime(model, f"cuda:{place.gpu.index}" if _torch_on_gpu() else "cpu")
    if export is not None and "semantic" in export.manifest.parts:
        from ..onnx.runtime import open_runtime

        return open_runtime(export, model)
    if other:
        raise ValueError(f"torch is to serve and to answer here: {other}")
    raise RuntimeError(
        "there are no engines yet, and neither torch nor an export with the part 'semantic' that "
        "could serve while they are built; build them first: g2vlm export tensorrt --onnx DIR"
    )


def _drop(engines: EngineFolder, place: Place, cache: EngineCache, reason: str) -> None:
    """Take engines out of the cache that cannot be used, so that they are built again."""
    if engines.path.is_relative_to(cache.root):
        manifest = engines.manifest
        key = engine_key(
            manifest.source, manifest.precision, place.trt, place.gpu, manifest.profile
        )
        cache.set_aside(key, reason)


def _torch_on_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
