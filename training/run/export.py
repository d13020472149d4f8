# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From a training run to a model folder: averaged weights, fp16, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g2vlm_model.checkpoint import save_model
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer

from .checkpoints import git_hash

__all__ = ["MODEL_PREFIX", "export_model", "put_averaged"]

MODEL_PREFIX = "model."


def put_averaged(model: G2VLM, average: Mapping[str, Tensor], source: str) -> None:
    """Copy the tensors whose name starts with `MODEL_PREFIX` into a model.

    Raises:
        ValueError: A name or shape that the model does not have.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in average.items():
            if not name.startswith(MODEL_PREFIX):
                continue
            target = parameters.get(name[len(MODEL_PREFIX) :])
            if target is None or target.shape != tensor.shape:
                raise ValueError(f"{source}: {name} {tuple(tensor.shape)} does not fit the model")
            target.copy_(tensor)


def export_model(
    folder: Path,
    model: G2VLM,
    tokenizer: Tokenizer,
    runs: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder in fp16.

    Args:
        folder: Created where missing.
        model: Its averaged weights are in place.
        tokenizer: Of the model.
        runs: Per stage, the metadata of the checkpoint that it came from; steps, frames, seed,
            commit, what it began with and what was changed on the way go into the header of the
            weights.
        before: The same of earlier runs, as a header has it (`runs_of`).
    """
    metadata = {"git": git_hash(), "seed_splits": "train 0, val 100000000, test 110000000"}
    metadata |= before or {}
    for stage, meta in runs.items():
        config = meta.get("config", {})
        kept = {
            "steps": meta["step"],
            "frames": meta["frames_seen"],
            "seed": config.get("seed"),
            "git": meta.get("git"),
            "shards": len(meta.get("shards", [])),
        }
        kept |= {name: meta[name] for name in ("base", "changes") if meta.get(name)}
        metadata[stage] = json.dumps(kept)
    save_model(folder, model, tokenizer, dtype=torch.float16, metadata=metadata)
