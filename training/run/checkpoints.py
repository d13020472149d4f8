# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""State of a run on disk: written whole or not at all, read without pickles.

One process writes a safetensors file. Several write a folder with
`torch.distributed.checkpoint`, each its own part. Either is read by any number of processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.whole_files import remove_remains, sync, whole_file
from g2vlm_model.safetensors_file import write_errors

from .checkpoint_index import IndexReader, IndexWriter

__all__ = [
    "RunState",
    "checkpoint_path",
    "git_hash",
    "latest_checkpoint",
    "load_into",
    "load_state",
    "prune",
    "save_state",
    "stored_meta",
    "stored_shapes",
]

_STATE_FILE = "state.json"
_NAME = re.compile(r"step-(\d+)(\.safetensors)?$")
_PARTS = re.compile(r"\.step-\d+\.partial")  # where several processes write


@dataclass(frozen=True)
class RunState:
    """Everything that the next step depends on.

    Args:
        tensors: Weights, averaged weights and optimiser moments under prefixed names.
        meta: Step, config, shards: JSON values.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step goes: a file, or with several processes a folder."""
    return folder / f"step-{step:07d}{'' if dist.is_initialized() else '.safetensors'}"


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step in a run's folder, or None."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def prune(folder: Path, kept: int) -> None:
    """Delete all but the newest checkpoints, and what killed processes left behind."""
    remove_remains(folder, "step-*.safetensors")
    parts = [path for path in folder.glob(".step-*") if _PARTS.fullmatch(path.name)]
    for path in [*_checkpoints(folder)[:-kept], *parts]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _checkpoints(folder: Path) -> list[Path]:
    found = [(match, path) for path in folder.glob("step-*") if (match := _NAME.match(path.name))]
    return [path for match, path in sorted(found, key=lambda item: int(item[0][1]))]


def save_state(path: Path, state: RunState) -> None:
    """Write a checkpoint under a temporary name and move it into place.

    Args:
        path: From `checkpoint_path`; with several processes all of them call this.
        state: Tensors may be parts of sharded ones.

    Raises:
        OSError: The disk is full; older checkpoints are untouched. With several processes it is
            raised in all of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        _save_file(path, state)
    else:
        _save_folder(path, state)


def _save_file(path: Path, state: RunState) -> None:
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.tensors.items()}
    with whole_file(path) as partial, write_errors(path):
        save_file(tensors, partial, metadata={"state": json.dumps(state.meta)})


def _save_folder(path: Path, state: RunState) -> None:
    """Write the parts of all processes; the first one then says that they are all there."""
    first = dist.get_rank() == 0
    partial = path.with_name(f".{path.name}.partial")  # the same for all of them
    if first:
        shutil.rmtree(partial, ignore_errors=True)
    dist.barrier()
    tensors = {name: tensor.detach() for name, tensor in state.tensors.items()}
    trouble: list[str | None] = [None]
    try:
        state_dict_saver.save(tensors, storage_writer=IndexWriter(partial))
    except CheckpointException as error:
        trouble = [str(next(iter(error.failures.values()))[0])]
    if first:
        try:
            if trouble == [None]:
                content = json.dumps(state.meta)
                (partial / _STATE_FILE).write_text(content, encoding="utf-8")
                sync(partial / _STATE_FILE)
                sync(partial)
                os.replace(partial, path)
                sync(path.parent)
        except OSError as error:
            trouble = [str(error)]
        shutil.rmtree(partial, ignore_errors=True)
    dist.broadcast_object_list(trouble, src=0)
    if trouble[0] is not None:
        raise OSError(f"checkpoint {path} could not be written: {trouble[0]}")


def stored_meta(path: Path) -> dict[str, Any]:
    """The JSON values of a checkpoint.

    Raises:
        ValueError: The file is no checkpoint of this trainer.
    """
    try:
        if path.is_dir():
            meta: str | None = (path / _STATE_FILE).read_text(encoding="utf-8")
        else:
            with safe_open(path, framework="pt") as file:
                meta = (file.metadata() or {}).get("state")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"checkpoint {path} cannot be read: {error}; delete it to go on from the one before"
        ) from error
    if meta is None:
        raise ValueError(f"{path} holds no training state; give a file written by `g2vlm train`")
    try:
        content = parse_json(meta)
    except ValueError as error:
        raise ValueError(f"the state of checkpoint {path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"the state of checkpoint {path} is {type(content).__name__}, not a dict")
    return content


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors.

    Raises:
        ValueError: The file is no checkpoint of this trainer.
    """
    stored_meta(path)
    if path.is_dir():
        try:
            stored = IndexReader(path).read_metadata().state_dict_metadata
        except OSError as error:
            raise ValueError(f"checkpoint {path} has no index that can be read: {error}") from error
        return {
            name: tuple(entry.size)
            for name, entry in stored.items()
            if isinstance(entry, TensorStorageMetadata)
        }
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def load_into(path: Path, targets: Mapping[str, Tensor]) -> None:
    """Copy tensors of a checkpoint into tensors of the same shapes, whole or sharded.

    Raises:
        ValueError: The file is no checkpoint of this trainer, or was cut off.
    """
    stored_meta(path)
    try:
        with torch.no_grad():
            if path.is_dir():
                state_dict_loader.load(
                    dict(targets),
                    storage_reader=IndexReader(path),
                    no_dist=not dist.is_initialized(),
                )
                return
            with safe_open(path, framework="pt") as file:
                for name, target in targets.items():
                    _copy(target, file.get_tensor(name))
    except (SafetensorError, OSError, CheckpointException) as error:
        raise ValueError(
            f"checkpoint {path} cannot be read: {error}; delete it to go on from the one before"
        ) from error


def _copy(target: Tensor, whole: Tensor) -> None:
    if isinstance(target, DTensor):
        whole = whole.to(target.device)
        mesh, placements = target.device_mesh, target.placements
        whole = distribute_tensor(whole, mesh, placements, src_data_rank=None)
    target.copy_(whole)


def load_state(path: Path) -> RunState:
    """Read a whole checkpoint.

    Raises:
        ValueError: The file is no checkpoint of this trainer.
    """
    meta = stored_meta(path)
    tensors = {name: torch.zeros(shape) for name, shape in stored_shapes(path).items()}
    load_into(path, tensors)
    return RunState(tensors, meta)


def git_hash() -> str:
    """Commit of the sources, with "+" where they differ from it; "unknown" outside of git."""
    root = Path(__file__).resolve().parents[1]  # the package
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty else "")


def _git(root: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


def flat(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before every name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unflat(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Take the entries of a prefix, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
