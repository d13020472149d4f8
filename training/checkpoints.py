"""State of a run on disk: written whole or not at all, read without pickles."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["RunState", "git_hash", "latest_checkpoint", "load_state", "save_state"]


@dataclass(frozen=True)
class RunState:
    """Everything that the next step depends on.

    Args:
        tensors: Weights, averaged weights and optimiser moments under prefixed names.
        meta: Step, config, shards: JSON values.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def save_state(path: Path, state: RunState) -> None:
    """Write a checkpoint under a temporary name and move it into place.

    Raises:
        OSError: The disk is full; an older checkpoint of the same name is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.tensors.items()}
    try:
        save_file(tensors, partial, metadata={"state": json.dumps(state.meta)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"checkpoint {path} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def load_state(path: Path) -> RunState:
    """Read a checkpoint.

    Raises:
        ValueError: The file is no checkpoint of this trainer.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = (file.metadata() or {}).get("state")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"checkpoint {path} cannot be read: {error}") from error
    if meta is None:
        raise ValueError(f"{path} holds no training state; give a file written by `g2vlm train`")
    return RunState(tensors, json.loads(meta))


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step in a run's folder, or None."""
    found = sorted(folder.glob("step-*.safetensors"))
    return found[-1] if found else None


def git_hash() -> str:
    """Commit of the sources, with "+" where they differ from it; "unknown" outside of git."""
    root = Path(__file__).resolve().parent
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


def flat(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before every name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def unflat(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors of a prefix, without it."""
    start = f"{prefix}/"
    return {
        name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)
    }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts of an optimiser under numbered names."""
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in optimiser.state_dict()["state"].items()
        for key, value in entry.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
