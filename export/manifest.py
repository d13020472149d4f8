# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes export folders, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.checkpoint import weight_files
from g2vlm_model.interface.whole_files import whole_folder
from g2vlm_model.runtimes.export_folder import (
    MANIFEST,
    PREFIX_INPUTS,
    Golden,
    GraphRecord,
    Manifest,
    TensorRecord,
    golden_key,
)
from g2vlm_model.runtimes.store_entry import no_space_explained
from g2vlm_model.runtimes.vouched import FileRecord, file_sha256

from .weights import WEIGHTS, WeightFile
from .wrappers import Prefix

if TYPE_CHECKING:
    import onnx_ir

__all__ = [
    "GOLDENS",
    "PREFIXES",
    "copy_model_files",
    "file_records",
    "model_files",
    "replaced_folder",
    "save_goldens",
    "save_graph",
    "save_prefixes",
    "write_manifest",
]

GOLDENS = "goldens.safetensors"
PREFIXES = "prefixes.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


@contextmanager
def replaced_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `out` at the end of the block.

    Where the block fails nothing is left behind, and `out` is as it was.

    Raises:
        FileExistsError: `out` is an export and `force` is False, or is something else.
        OSError: The folder cannot be written; the text says where.
    """
    out = Path(os.path.abspath(out))
    _check_target(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        no_space_explained(out.parent, 0, "free some, or give --out on another disk"),
        whole_folder(out) as partial,
    ):
        yield partial


def _check_target(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file()):
        raise FileExistsError(
            f"{out} exists and is no export; give a new folder, this one is not touched"
        )
    if any(out.iterdir()) and not force:
        raise FileExistsError(f"{out} holds an export; give --force to replace it")


def save_graph(
    folder: Path, name: str, model: onnx_ir.Model, weights: WeightFile | None = None
) -> GraphRecord:
    """Write a graph, without the weights that stand in the file beside it.

    Args:
        folder: Where to.
        name: Of the file, without ".onnx".
        model: The graph; the notes in it about the source code are removed.
        weights: The file of the folder's graphs, whose tensors the graph may hold.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    outside = 0
    if weights is not None and weights.shared:
        outside = sum(_named(value, weights, folder) for value in model.graph.initializers.values())
    file = f"{name}.onnx"
    ir.save(model, folder / file)
    sides = [
        tuple(_tensor(value) for value in values)
        for values in (model.graph.inputs, model.graph.outputs)
    ]
    return GraphRecord(file, WEIGHTS if outside else "", *sides)


def _named(value: onnx_ir.Value, weights: WeightFile, folder: Path) -> bool:
    """Let a graph name a place of the file where one of its constants lies; whether it does."""
    import onnx_ir as ir

    constant = value.const_value
    raw = getattr(constant, "raw", None)
    if constant is None or not isinstance(raw, Tensor) or (place := weights.place_of(raw)) is None:
        return False
    value.const_value = ir.ExternalTensor(
        WEIGHTS, place, constant.nbytes, constant.dtype,
        shape=ir.Shape(raw.shape), name=str(value.name), base_dir=folder,
    )  # fmt: skip
    return True


def _tensor(value: onnx_ir.Value) -> TensorRecord:
    assert value.name is not None
    assert value.shape is not None, value
    assert value.dtype is not None, value
    sizes = (size if isinstance(size, int) else str(size.value) for size in value.shape)
    return TensorRecord(value.name, str(value.dtype.numpy()), tuple(sizes))


def save_goldens(folder: Path, goldens: Sequence[Golden]) -> None:
    """Write the golden inputs and outputs."""
    arrays = {
        golden_key(golden, side, name): np.asarray(array, order="C")
        for golden in goldens
        for side, arrays in (("inputs", golden.inputs), ("outputs", golden.outputs))
        for name, array in arrays.items()
    }
    _save(folder / GOLDENS, arrays)


def save_prefixes(folder: Path, prefixes: Mapping[str, Prefix]) -> None:
    """Write keys and values of the prompts, which the graphs take."""
    sides = ((prompt, (one.keys_EGTC, one.values_EGTC)) for prompt, one in prefixes.items())
    arrays = {
        f"{prompt}/{name}": tensor.numpy()
        for prompt, tensors in sides
        for name, tensor in zip(PREFIX_INPUTS, tensors, strict=True)
    }
    _save(folder / PREFIXES, arrays)


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    # Not save_file: its error at a full disk is no OSError.
    path.write_bytes(save(dict(arrays)))


def model_files(model: Path) -> list[Path]:
    """Return what a model folder is made of: configs, tokenizer, weights."""
    words = [model / name for name in TOKENIZER_FILES if (model / name).is_file()]
    return [*sorted(model.glob("*_config.json")), *words, *weight_files(model)]


def copy_model_files(model: Path, folder: Path) -> None:
    """Copy configs and tokenizer, so that no checkpoint is needed to run the graphs."""
    for path in model_files(model):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Return hash and size of every file of a folder but the manifest."""
    return {
        path.name: FileRecord(file_sha256(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, the last file of a folder."""
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
