"""`runtime="auto"`: the fastest runtime that this machine has.

| machine                                          | what runs                                   |
|--------------------------------------------------|---------------------------------------------|
| a GPU and TensorRT                               | TensorRT                                    |
| a GPU that torch sees                            | torch                                       |
| a CPU, with torch and ONNX Runtime               | the faster of the two, measured here once   |
| one of the two                                   | that one                                    |

The measurement needs an export. Where the cache has none, torch serves while it is made.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import ModelConfig
from ..interface import SpatialRuntime
from .automatic import cached_export, missing_libraries, other_model
from .building import BuildContext, BuildingRuntime, close_all
from .engine_cache import EngineCache
from .exported import ExportFolder
from .measured import Circumstances, observe_ms, recall, remember
from .nvidia import GpuMissingError, find_gpu, find_tensorrt
from .scene_runtime import SceneRuntime

__all__ = ["Machine", "create_runtime", "order"]

_LOG = logging.getLogger(__name__)

ASPECT = 3 / 4  # height over width of the pictures that are measured with


@dataclass(frozen=True)
class Machine:
    """What could run here; "" where it can, else why not.

    Args:
        tensorrt: TensorRT on a GPU.
        torch_cuda: torch on a GPU.
        torch: torch at all.
        onnx: ONNX Runtime, with an export or with what makes one.
    """

    tensorrt: str = ""
    torch_cuda: str = ""
    torch: str = ""
    onnx: str = ""

    @classmethod
    def probe(cls, device: str = "auto", export: str | Path = "") -> Machine:
        """Look at the machine.

        Args:
            device: As in `load_runtime`; "cpu" leaves GPUs alone.
            export: Of the caller; an export that is there needs no exporter.
        """
        torch = _missing("torch")
        onnx = _missing("onnxruntime") or ("" if str(export) else missing_libraries())
        kind, _, index = device.partition(":")
        try:
            if kind == "cpu":
                raise GpuMissingError("the device is 'cpu'")
            find_gpu(int(index) if index.isdecimal() else 0)  # the runtime refuses other words
        except GpuMissingError as error:
            return cls(str(error), str(error), torch, onnx)
        return cls(_tensorrt_problem(), torch or _cuda_problem(), torch, onnx)


def order(
    machine: Machine, precision: str = "auto", prompt_mode: str = "shared", device: str = "auto"
) -> tuple[str, ...]:
    """Runtimes to use, the best first; "faster" stands for torch or ONNX Runtime, as measured.

    Args:
        machine: What could run.
        precision, prompt_mode: As in `load_runtime`; exported graphs know neither bf16 nor the
            published prompts.
        device: As in `load_runtime`. Of a GPU that is named and not there torch says so.

    Raises:
        RuntimeError: Nothing can run here.
    """
    exported = prompt_mode == "shared" and precision in ("auto", "fp32", "fp16")
    found = []
    if exported and not machine.tensorrt:
        found.append("tensorrt")
    if not machine.torch_cuda:
        found.append("torch")
    elif not machine.torch:
        # In half precision a CPU graph only emulates; torch says what it runs instead.
        wanted = precision != "fp16" and device in ("auto", "cpu")
        both = exported and wanted and not machine.onnx
        found += ["faster", "torch"] if both else ["torch"]
    elif exported and not machine.onnx:
        found.append("onnx")
    if not found:
        onnx = machine.onnx or "its graphs know neither bf16 nor the published prompts"
        raise RuntimeError(
            f"nothing can run here: torch: {machine.torch}; ONNX Runtime: {onnx}; TensorRT: "
            f"{machine.tensorrt}"
        )
    return tuple(found)


def create_runtime(
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    prompt_mode: str = "shared",
    export: str | Path = "",
) -> SpatialRuntime:
    """Load what is fastest here; see `g2vlm_model.runtimes.load_runtime`.

    Where TensorRT is there and cannot run this model, the next row of the table runs, and
    `info.fallback_reason` says why. An export of another model than `model` is run as it is:
    which of two models answers must not depend on what is faster.

    Raises:
        FileNotFoundError, ValueError: `export` is no export folder, or a damaged one.
    """
    machine = Machine.probe(device, export)
    if str(export):
        # A folder that was named has to be there: no other row.
        other = other_model(ExportFolder.open(export), model)
        if other:
            _LOG.warning("torch does not take part: %s", other)
            machine = replace(machine, torch=other, torch_cuda=other)
    names = order(machine, precision, prompt_mode, device)
    problem = ""
    for name in names[:-1]:
        try:
            return _created(name, model, device, precision, prompt_mode, export, problem)
        except (RuntimeError, OSError) as error:  # OSError: the cache's folder or disk
            shown = "onnx" if name == "faster" else name
            said = f"{shown} cannot run here: {error}"
            _LOG.warning("fallback: %s", said)
            problem = f"{problem}; {said}" if problem else said
    return _created(names[-1], model, device, precision, prompt_mode, export, problem)


def _created(
    name: str,
    model: str | Path,
    device: str,
    precision: str,
    prompt_mode: str,
    export: str | Path,
    problem: str,
) -> SpatialRuntime:
    """A runtime, with the reason why it is not something better ("" where it is the best)."""
    if name == "faster":
        created = _faster(model, precision, export)
    elif name == "torch":
        created = _torch(model, device, precision, prompt_mode)
    else:
        module = importlib.import_module(f".{name}", __package__)
        created = module.create_runtime(model, device, precision, prompt_mode, export)
    if problem:
        assert isinstance(created, SceneRuntime | BuildingRuntime), type(created)
        created.note_fallback(problem)
    return created


def _faster(model: str | Path, precision: str, export: str | Path) -> SpatialRuntime:
    """Run torch or ONNX Runtime on this CPU; torch while there is no export to compare with."""
    from .onnx.starting import given_export, own_export_key, serve_while_exporting

    cache = EngineCache.open()
    if str(export):
        return _measured(cache, given_export(export, precision), model)
    key = own_export_key(model, "fp32")
    folder = cached_export(cache, key)
    if folder is not None:
        return _measured(cache, folder, model)

    def finish(
        context: BuildContext, folder: ExportFolder, serving: SpatialRuntime
    ) -> SpatialRuntime | None:
        best = _measured(cache, folder, model, serving, lambda: context.stage("measuring"))
        return None if best is serving else best

    return serve_while_exporting(model, "cpu", cache, key, finish)


def _measured(
    cache: EngineCache,
    folder: ExportFolder,
    model: str | Path,
    serving: SpatialRuntime | None = None,
    between: Callable[[], None] = lambda: None,
) -> SpatialRuntime:
    """The faster of both, as remembered, or measured now; the other one is closed.

    Args:
        cache: Remembers.
        folder: The export.
        model: Of which it is.
        serving: torch, where it is loaded already; never closed here.
        between: Called between observations; what it raises ends the measurement.
    """
    from .onnx.runtime import open_runtime

    loaders: dict[str, Callable[[], SpatialRuntime]] = {
        "torch": lambda: serving or _torch(model, "cpu"),
        "onnx": lambda: open_runtime(folder, model, "cpu"),
    }
    circumstances = Circumstances.here(folder.digest)
    known = recall(cache, circumstances)
    loaded: dict[str, SpatialRuntime] = {}
    if known is None or set(known) != set(loaders):
        width = ModelConfig.from_folder(folder.path).dino_width
        try:
            for name, load in loaders.items():
                loaded[name] = load()
            known = observe_ms(loaded, (round(width * ASPECT), width), between)
        except BaseException:
            close_all(*(runtime for runtime in loaded.values() if runtime is not serving))
            raise
        try:
            remember(cache, circumstances, known)
        except OSError as error:  # a full or read-only disk: measured again the next time
            _LOG.warning("how fast the runtimes are is not remembered: %s", error)
    best = min(known, key=known.__getitem__)
    spoken = ", ".join(f"{name} {spent:.0f} ms" for name, spent in known.items())
    _LOG.info("an observation takes: %s; %s serves", spoken, best)
    others = [runtime for name, runtime in loaded.items() if name != best]
    close_all(*(runtime for runtime in others if runtime is not serving))
    return loaded.get(best) or loaders[best]()


def _torch(
    model: str | Path, device: str, precision: str = "auto", prompt_mode: str = "shared"
) -> SpatialRuntime:
    from .torch.placement import choose_placement
    from .torch.runtime import TorchRuntime

    return TorchRuntime(model, choose_placement(device, precision), prompt_mode)


def _missing(module: str) -> str:
    return "" if importlib.util.find_spec(module) else f"{module} is not installed"


def _tensorrt_problem() -> str:
    try:
        find_tensorrt()
    except ModuleNotFoundError as error:
        return str(error)
    return ""


def _cuda_problem() -> str:
    """Why torch cannot use the GPU that is there; imports torch."""
    from .torch.placement import Hardware

    return Hardware.probe().cuda_problem
