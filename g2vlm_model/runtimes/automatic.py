"""ONNX exports that runtimes make by themselves and keep in the cache.

The exporter is the `g2vlm export` command, run as a child process: nothing here imports it, nor
torch. An export is used again as long as the model's files, the exporter's code and libraries,
and what was asked for stay the same.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..config import ModelConfig
from ..model_folder import resolve_folder
from .building import BuildContext
from .cache_key import ExportKey
from .engine_cache import EngineCache
from .exported import PARTS, ExportFolder
from .file_hash import file_sha256

__all__ = [
    "cached_export",
    "export_into_cache",
    "export_key",
    "missing_libraries",
    "model_digest",
    "other_model",
    "own_parts",
]

EXPORTER = "g2vlm_export"
LIBRARIES = ("torch", "onnx", "onnxscript")  # what the exporter itself needs
MODEL_SUFFIXES = (".json", ".safetensors", ".txt")
# Graphs, their optimised copies and goldens, next to weights that may be stored in half precision.
SPACE_PER_WEIGHT_BYTE = 4


def missing_libraries(*needed: str) -> str:
    """What stands in the way of an export by this Python, and what to do; "" where nothing does.

    Args:
        needed: Further packages, of whoever is to run the result.
    """
    missing = [name for name in (*LIBRARIES, *needed) if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; pip install {' '.join(missing)}"
    if importlib.util.find_spec(EXPORTER) is None:
        return f"{EXPORTER} is not installed; install the whole project"
    return ""


def own_parts(model: Path) -> tuple[str, ...]:
    """The parts that a runtime exports of a model folder: all that it can be exported in.

    Tokens of frames that influence each other (`dino_attention` compat) cannot be shared by
    windows: no part "streaming".
    """
    coupled = ModelConfig.from_folder(model).dino_attention == "compat"
    return tuple(part for part in PARTS if not (coupled and part == "streaming"))


def export_key(
    model: Path, precision: str, opset: int, parts: Sequence[str], flags: Sequence[str] = ()
) -> ExportKey:
    """What an export of a model folder is kept under.

    Args:
        model: The folder; every byte of its files counts.
        precision: "fp32" or "fp16".
        opset: Of the graphs.
        parts: Of the export.
        flags: Further words of the command, such as "--in-graph-rotation".

    Raises:
        RuntimeError: The libraries of an export are not installed.
    """
    missing = missing_libraries()
    if missing:
        raise RuntimeError(f"the model cannot be exported: {missing}")
    return ExportKey(
        source=model_digest(model),
        exporter_version=_exporter_version(),
        precision=precision,
        opset=str(opset),
        parts=tuple(sorted(parts)),
        flags=tuple(sorted(flags)),
    )


def cached_export(cache: EngineCache, key: ExportKey) -> ExportFolder | None:
    """The export of a key; None where there is none that its manifest vouches for."""
    entry = cache.lookup(key)
    return None if entry is None else ExportFolder.open(entry.folder)


def export_into_cache(
    context: BuildContext, cache: EngineCache, key: ExportKey, model: Path
) -> ExportFolder:
    """Export a model, or wait for and share what another process exports.

    Args:
        context: Of the build that this is a step of.
        cache: Where the export is kept.
        key: From `export_key` of the same model.
        model: The folder.

    Raises:
        BuildFailedError, OSError: The export failed; the text says what to do.
        BuildStopped: The build has to end.
    """

    def words(folder: Path) -> tuple[str, ...]:
        return (
            *("export", "onnx", "--model", str(model), "--out", str(folder)),
            *("--precision", key.precision, "--opset", key.opset),
            *("--parts", ",".join(key.parts), *key.flags),
        )

    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    entry = context.entry(cache, key, words, needed_bytes=SPACE_PER_WEIGHT_BYTE * weights)
    return ExportFolder.open(entry.folder)


def model_digest(model: Path) -> str:
    """Return a hash over every byte of a model folder's files."""
    digest = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.is_file() and path.suffix in MODEL_SUFFIXES:
            digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def other_model(export: ExportFolder, model: str | Path) -> str:
    """Why a model's weights cannot take part in what an export does; "" where it is of them.

    Args:
        export: The folder; its manifest holds the hash of the model that it was made of.
        model: As in `load_runtime`; every byte of its files is read.
    """
    made_of = f"{export.path} was exported from {export.manifest.model_id}"
    try:
        folder = resolve_folder(model)
    except (FileNotFoundError, ValueError) as error:
        return f"{made_of}, and there is {error}"
    if model_digest(folder) == export.manifest.model_sha256:
        return ""
    return (
        f"{made_of}, but `model` is {model}, which holds other weights or settings; export that "
        "one, or name the model of the folder"
    )


@functools.cache
def _exporter_version() -> str:
    """Versions of the libraries, and a hash over the code of the exporter and of the model."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return " ".join([*(f"{name} {_version(name)}" for name in LIBRARIES), digest.hexdigest()[:16]])


def _sources() -> Iterator[Path]:
    yield from sorted(Path(__file__).resolve().parents[1].glob("*.py"))
    spec = importlib.util.find_spec(EXPORTER)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from sorted(Path(place).glob("*.py"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
