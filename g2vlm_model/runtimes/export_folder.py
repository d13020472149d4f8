# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Export folders: graphs of a model, what they were made from, and golden outputs to check them.

`g2vlm export onnx` writes such a folder; runtimes and engine builders read it here. Everything
that is read is vouched for by the hashes in `manifest.json`. numpy, JSON and safetensors only:
a robot without torch and without the checkpoint can use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import CHAT
from .golden_check import Tolerances
from .vouched import FileRecord, ManifestFile, require_plain

__all__ = [
    "FLOATS",
    "FORMAT",
    "MANIFEST",
    "PARTS",
    "PRECISIONS",
    "PREFIX_INPUTS",
    "ExportFolder",
    "FileRecord",
    "Golden",
    "GraphRecord",
    "Largest",
    "Manifest",
    "Prefixes",
    "TensorRecord",
    "golden_key",
]

MANIFEST = "manifest.json"
FORMAT = 1
PARTS = ("geometry", "kv", "streaming", "semantic")
FLOATS = ("fp32", "fp16")
PRECISIONS = (*FLOATS, "int8", "int4+int8", "int4")
AGAIN = "export the model again with `g2vlm export onnx`"
SETTINGS = ("*_config.json", "tokenizer.json", "vocab.json", "merges.txt")
PREFIX_INPUTS = ("prefix_keys", "prefix_values")

Prefixes = Mapping[str, Mapping[str, NDArray[Any]]]
"""Prompt (of `ModelConfig.geometry_prompts`) -> what a graph that can stand behind several takes
beside the pictures: `PREFIX_INPUTS`, (E, G, T, C) each. Empty where it stands behind one only."""


@dataclass(frozen=True)
class TensorRecord:
    """An input or output of a graph.

    In its shape a string is a symbol, or a product such as "14*rows", that is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if any(isinstance(size, int) and size < 0 for size in self.shape):
            raise ValueError(f"shape of {self.name} is {list(self.shape)}")
        if str(np.dtype(self.dtype)) != self.dtype:
            raise ValueError(f"dtype of {self.name} is {self.dtype!r}")


@dataclass(frozen=True)
class GraphRecord:
    """One graph; `data` is a file with its weights, "" where they stand in `file`.

    Graphs of a folder share the file, and one that stands in several of them is there once.
    """

    file: str
    data: str
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]


@dataclass(frozen=True)
class Largest:
    """The largest absolute number that a layer of torch's float32 pass gave on the goldens.

    Half precision ends at 65504.
    """

    layer: str
    value: float


@dataclass(frozen=True)
class Manifest:
    """What an export folder holds.

    Args:
        model_id: Of the model folder, as `checkpoint.model_id` names it.
        model_sha256: Over the model folder's configs, tokenizer and weight files.
        precision: "fp32" or "fp16": of weights, keys and values, and the layers between the
            residual streams. "int8", "int4+int8", "int4": weights of so many bits, all else fp32.
        opset: Of every graph.
        parts: Of `PARTS`.
        in_graph_rotation: The output is `rotation` (N, 3, 3) in place of `rotation9`.
        static_nhw: The one size that the graphs serve; None where N, H and W are free.
        patch: Side of a patch in pixels: H and W are multiples of it.
        prefix_tokens, prefix_position: Length of the chat prefix, and rotary position of the token
            behind it.
        versions: Package -> version of what made the folder.
        tolerances: What the graphs may differ from torch in float32.
        parameters: Number of weights in the graphs.
        largest: Layers with the largest numbers, the largest first.
        files: Name -> hash and size of every file but the manifest.
        graphs: Name -> graph.
        goldens: File of golden inputs and outputs.
        prefixes: File with keys and values of the texts that the geometry may stand behind, which
            its graphs then take; "": those of the chat prefix stand in the graphs.
    """

    model_id: str
    model_sha256: str
    precision: str
    opset: int
    parts: tuple[str, ...]
    in_graph_rotation: bool
    static_nhw: tuple[int, ...] | None
    patch: int
    prefix_tokens: int
    prefix_position: int
    tolerances: Tolerances
    files: Mapping[str, FileRecord]
    graphs: Mapping[str, GraphRecord]
    goldens: str
    versions: Mapping[str, str]
    largest: tuple[Largest, ...]
    parameters: int = 0
    prefixes: str = ""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, expected one of {PRECISIONS}")
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or "geometry" not in self.parts:
            raise ValueError(f"parts are {list(self.parts)}, expected geometry and some of {PARTS}")
        if "geometry" not in self.graphs:
            raise ValueError(f"graphs are {list(self.graphs)}, expected geometry among them")
        sizes = (1, 1, 1) if self.static_nhw is None else self.static_nhw
        if len(sizes) != 3 or min(self.opset, self.patch, *sizes) < 1:
            raise ValueError(
                f"opset {self.opset}, patch {self.patch} and static_nhw {self.static_nhw} are "
                "expected to be numbers from 1, three of them in static_nhw"
            )
        names = [self.goldens, *([self.prefixes] if self.prefixes else [])]
        for graph in self.graphs.values():
            names += [graph.file, graph.data] if graph.data else [graph.file]
        require_plain(*self.files, *names)
        unvouched = sorted(set(names) - set(self.files))
        if unvouched:
            raise ValueError(f"no hash for {', '.join(unvouched)}")

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return EXPORT.text(self)


EXPORT = ManifestFile(MANIFEST, Manifest, FORMAT, AGAIN)


@dataclass(frozen=True)
class Golden:
    """Inputs of a graph and what torch made of them in float32, by name.

    `case` is the size in words, e.g. "2x84x112", and behind a blank the prompt that the frames
    stand behind where it is not the chat's.
    """

    graph: str
    case: str
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]

    @property
    def prompt(self) -> str:
        """What the frames stand behind."""
        return self.case.partition(" ")[2] or CHAT


class ExportFolder:
    """A folder that `g2vlm export onnx` wrote, checked when it was opened.

    `digest` is the SHA-256 of the manifest, and so of everything.
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest

    @classmethod
    def open(cls, path: str | Path) -> ExportFolder:
        """Read the manifest and check the hash of every file.

        Hashes of files that have not changed since (size and time) are remembered for the life
        of the process.

        Raises:
            FileNotFoundError: No such folder, no manifest, or a file of it is missing.
            ValueError: A manifest that does not fit, or a file that is not what it says.
        """
        root = Path(path)
        if not root.is_dir():
            raise FileNotFoundError(
                f"no export folder {root}; make it: g2vlm export onnx --model MODEL --out {root}"
            )
        source = root / MANIFEST
        if not source.is_file():
            raise FileNotFoundError(
                f"{root} is no export folder: it has no {MANIFEST}; give the folder that "
                "`g2vlm export onnx --out` wrote"
            )
        content = source.read_bytes()
        manifest = EXPORT.parse(content, source)
        EXPORT.check(root, manifest.files)
        found = sorted(path.name for glob in SETTINGS for path in root.glob(glob))
        if unvouched := [name for name in found if name not in manifest.files]:
            raise ValueError(
                f"{root} holds {', '.join(unvouched)}, which {MANIFEST} has no hash for: it was "
                f"put there after the export; {AGAIN}"
            )
        return cls(root, manifest, hashlib.sha256(content).hexdigest())

    def graph(self, name: str) -> Path:
        """Return the ONNX file of a graph.

        Raises:
            ValueError: The folder has no such graph.
        """
        if name not in self.manifest.graphs:
            raise ValueError(
                f"{self.path} has no graph {name!r}, it has {', '.join(self.manifest.graphs)}; "
                f"{AGAIN} with the part that holds it (--parts {','.join(PARTS)})"
            )
        return self.path / self.manifest.graphs[name].file

    def mapped(self, name: str) -> bool:
        """Whether a graph's weights stand in the file that the folder's graphs share."""
        return bool(self.manifest.graphs[name].data)

    def goldens(self, graph: str | None = None) -> tuple[Golden, ...]:
        """Return the golden inputs and outputs, those of one graph where it is named.

        Raises:
            ValueError: A file cannot be read, or holds none.
        """
        source = self.path / self.manifest.goldens
        tensors, prefixes = self._tensors(source), self.prefixes()
        cases: dict[tuple[str, str], dict[str, dict[str, NDArray[Any]]]] = {}
        for key, array in tensors.items():
            owner, case, side, name = (*key.split("/", 3), "", "", "")[:4]
            if side not in ("inputs", "outputs") or not name:
                raise ValueError(
                    f"{source} holds {key!r}, expected graph/case/inputs/name; {AGAIN}"
                )
            sides = cases.setdefault((owner, case), {"inputs": {}, "outputs": {}})
            sides[side][name] = array
        found = [
            self._behind(Golden(owner, case, **sides), prefixes)
            for (owner, case), sides in sorted(cases.items())
            if graph in (None, owner)
        ]
        if not found:
            raise ValueError(f"{source} holds no golden for {graph or 'any graph'}; {AGAIN}")
        return tuple(found)

    def prefixes(self) -> Prefixes:
        """Return what the geometry's graphs take for each prompt; nothing where there is one only.

        Raises:
            ValueError: The file cannot be read, or lacks something.
        """
        if not self.manifest.prefixes:
            return {CHAT: {}}
        source = self.path / self.manifest.prefixes
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for key, array in sorted(self._tensors(source).items()):
            prompt, _, name = key.partition("/")
            found.setdefault(prompt, {})[name] = array
        if CHAT not in found or any(set(one) != set(PREFIX_INPUTS) for one in found.values()):
            raise ValueError(
                f"{source} holds {', '.join(sorted(found)) or 'nothing'}, expected "
                f"{' and '.join(PREFIX_INPUTS)} of {CHAT} and others; {AGAIN}"
            )
        return found

    def _behind(self, golden: Golden, prefixes: Prefixes) -> Golden:
        """A golden with what its graph takes for its prompt."""
        record = self.manifest.graphs.get(golden.graph)
        if record is None or golden.prompt not in prefixes:
            return golden
        taken = {one.name for one in record.inputs}
        given = {name: one for name, one in prefixes[golden.prompt].items() if name in taken}
        return replace(golden, inputs={**golden.inputs, **given})

    @staticmethod
    def _tensors(source: Path) -> dict[str, NDArray[Any]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors: dict[str, NDArray[Any]] = load_file(source)
        except SafetensorError as error:
            raise ValueError(f"{source} is no safetensors file: {error}; {AGAIN}") from None
        return tensors


def golden_key(golden: Golden, side: str, name: str) -> str:
    """Return the name of an array in the file of goldens; `side` is "inputs" or "outputs"."""
    return f"{golden.graph}/{golden.case}/{side}/{name}"
