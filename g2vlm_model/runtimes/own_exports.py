# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""ONNX exports that runtimes make by themselves and keep in the store.

The exporter is the `g2vlm export` command, run as a child process: nothing here imports it, nor
torch. An export is used again as long as the model's files, the code that shapes the graphs, the
exporter's libraries, and what was asked for stay the same.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config import ModelConfig
from ..model_folder import resolve_folder
from .build_process import BuildContext
from .export_folder import PARTS, ExportFolder
from .machine import package_version
from .store import ExportKey, Store
from .vouched import file_sha256

__all__ = [
    "OwnExport",
    "graph_sources",
    "missing_libraries",
    "model_digest",
    "other_model",
]

EXPORTER, MODEL = "g2vlm_export", "g2vlm_model"
GRAPHS = ("to_onnx", "semantic_to_onnx", "weights")  # of the exporter: what traces the graphs
SHAPELESS = ("runtimes", "interface", "cli")  # of the model's package: nothing of it is traced
LIBRARIES = ("torch", "onnx", "onnxscript")  # what the exporter itself needs
MODEL_SUFFIXES = (".json", ".safetensors", ".txt")
# Graphs, their optimised copies and goldens, next to weights that may be stored in half precision.
SPACE_PER_WEIGHT_BYTE = 4
SMALL_BYTES = 256 << 20  # are hashed in a quarter of a second


@dataclass(frozen=True)
class OwnExport:
    """What a runtime exports of a model folder: every part that it can be exported in."""

    model: Path
    precision: str
    opset: int

    @classmethod
    def of(cls, model: Path, precision: str, opset: int) -> OwnExport:
        """Make sure that it can be made here; a `RuntimeError` says what is not installed."""
        if missing := missing_libraries():
            raise RuntimeError(
                f"{model} cannot be exported here: {missing}. Or export it on another machine "
                f"(g2vlm export onnx --opset {opset} --precision {precision} --parts "
                f"{','.join(PARTS)}) and name the folder: export=FOLDER"
            )
        return cls(model, precision, opset)

    def find(self, store: Store) -> ExportFolder | None:
        """The export, where it is there; reads no weights that take time.

        None too where the store has not seen this state of a large model's files: their digest
        is then computed by `make`, and with it the export found.
        """
        large = self._weight_bytes() > SMALL_BYTES
        digest = model_digest(self.model, store, known_only=large)
        entry = store.lookup(self.key(digest)) if digest else None
        return None if entry is None else ExportFolder.open(entry.folder)

    def make(self, context: BuildContext, store: Store) -> ExportFolder:
        """Export the model, or wait for and share what another process exports.

        Raises:
            BuildFailedError, OSError: The export failed; the text says what to do.
            BuildStopped: The build has to end.
        """
        context.stage("reading the model")
        key = self.key(model_digest(self.model, store))
        words = (
            *("export", "onnx", "--model", str(self.model), "--precision", self.precision),
            *("--opset", str(self.opset), "--parts", ",".join(key.parts)),
        )
        space = SPACE_PER_WEIGHT_BYTE * self._weight_bytes()
        return ExportFolder.open(context.entry(store, key, words, needed_bytes=space).folder)

    def key(self, digest: str) -> ExportKey:
        """What it is kept under; `digest` is the model's."""
        # Tokens of frames that influence each other cannot be shared by windows.
        coupled = ModelConfig.from_folder(self.model).dino_attention == "compat"
        parts = sorted(part for part in PARTS if not (coupled and part == "streaming"))
        version = _exporter_version()
        return ExportKey(digest, version, self.precision, str(self.opset), tuple(parts))

    def _weight_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.model.glob("*.safetensors"))


def missing_libraries(*needed: str) -> str:
    """Why this Python cannot export, and what to do; "" where it can.

    `needed` are further packages, of whoever is to run the result.
    """
    missing = [name for name in (*LIBRARIES, *needed) if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; pip install {' '.join(missing)}"
    if importlib.util.find_spec(EXPORTER) is None:
        return f"{EXPORTER} is not installed; install the whole project"
    return ""


def model_digest(model: Path, store: Store | None = None, *, known_only: bool = False) -> str:
    """A hash over every byte of a model folder's files.

    Args:
        model: The folder.
        store: Remembers the hash of each file by its path, size and time of change.
        known_only: Read no file: "" where the store does not know one of them.
    """
    digest = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.is_file() and path.suffix in MODEL_SUFFIXES:
            known = file_sha256(path) if store is None else store.sha256(path, known_only)
            if not known:
                return ""
            digest.update(f"{path.name} {known}\n".encode())
    return digest.hexdigest()


def other_model(export: ExportFolder, model: str | Path, store: Store | None = None) -> str:
    """Why torch must not answer with `model` for an export; "" where it may.

    The export's manifest holds the hash of the model that it was made of: every byte counts.
    """
    made_of = f"{export.path} was exported from {export.manifest.model_id}"
    try:
        folder = resolve_folder(model)
    except (FileNotFoundError, ValueError) as error:
        return f"{made_of}, and there is {error}"
    if model_digest(folder, store or Store.open()) == export.manifest.model_sha256:
        return ""
    return (
        f"{made_of}, but `model` is {model}, which holds other weights or settings; export that "
        "one, or name the model of the folder"
    )


@functools.cache
def _exporter_version() -> str:
    """Versions of the libraries, and a hash over the code that shapes the graphs."""
    digest = hashlib.sha256()
    for path in graph_sources():
        digest.update(f"{path.name} {_code(path)}\n".encode())
    versions = (f"{name} {package_version(name)}" for name in LIBRARIES)
    return " ".join([*versions, digest.hexdigest()[:16]])


def graph_sources() -> tuple[Path, ...]:
    """The files that shape the graphs: what traces them, and whatever of the model that imports.

    A graph's numbers follow from these, the weights and the libraries; commands, runtimes, checks
    and documentation may change without a new export.
    """
    specs = {name: importlib.util.find_spec(name) for name in (EXPORTER, MODEL)}
    roots = {
        name: Path(spec.submodule_search_locations[0])
        for name, spec in specs.items()
        if spec is not None and spec.submodule_search_locations
    }
    assert len(roots) == len(specs), f"{specs}; see missing_libraries"
    found: dict[Path, None] = {}
    waiting = [roots[EXPORTER] / f"{name}.py" for name in GRAPHS]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found[path] = None
        waiting += [
            imported
            for imported in _imports(path, roots)
            if not any(imported.is_relative_to(roots[MODEL] / name) for name in SHAPELESS)
            and imported.stem not in SHAPELESS
        ]
    return tuple(sorted(found))


def _imports(path: Path, roots: dict[str, Path]) -> Iterator[Path]:
    """Files of the packages that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        words = node.module.split(".") if node.module else []
        if node.level:
            base = path.parents[node.level - 1]
        elif words and words[0] in roots:
            base, words = roots[words[0]], words[1:]
        else:
            continue
        module = base.joinpath(*words)
        yield module / "__init__.py"
        if words:
            yield module.with_suffix(".py")
        yield from (module / f"{alias.name}.py" for alias in node.names)


def _code(path: Path) -> str:
    """A file's code without its comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
