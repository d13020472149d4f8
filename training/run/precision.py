# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a training step may give up: bits of the forward pass, memory of layers, time to compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from g2vlm_model.cache import GrowingCache
from g2vlm_model.dinov2 import DinoBlock
from g2vlm_model.heads import DecoderBlock
from g2vlm_model.mot import MixtureLayer
from g2vlm_model.qwen2_vit import VitBlock

from .throughput import recomputing

__all__ = ["BLOCKS", "compile_layers", "mixed_precision", "recompute_layers"]

BLOCKS = (MixtureLayer, DinoBlock, VitBlock, DecoderBlock)
"""What is recomputed, and gathered by FSDP, as one piece."""


def mixed_precision(precision: str, device: torch.device) -> torch.autocast:
    """The forward pass in bfloat16; weights, heads' last maps and losses stay in float32.

    Args:
        precision: "fp32", "bf16", or "auto": bf16 on GPUs that have it.
        device: Where the pass runs.
    """
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = precision == "bf16" or (precision == "auto" and has_it)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def compile_layers(module: nn.Module, backend: str = "inductor") -> int:
    """Have torch.compile make kernels of every layer, when it is first called with a new size.

    Losses and gradients stay the same up to rounding. To be called ahead of `recompute_layers`.

    Args:
        module: Holds the layers; changed in place, parameter names stay.
        backend: Of torch.compile.

    Returns:
        How many layers that are.
    """
    found = [part for part in module.modules() if isinstance(part, BLOCKS)]
    for part in found:
        for name in ("forward", "forward_frames"):
            if hasattr(part, name):
                setattr(part, name, torch.compile(getattr(part, name), backend=backend))
    return len(found)


def recompute_layers(module: nn.Module) -> int:
    """Keep only the inputs of every layer for the backward pass (gradient checkpointing).

    Losses and gradients are the same; the layers run twice.

    Args:
        module: Holds the layers; changed in place, parameter names stay.

    Returns:
        How many layers that are.
    """
    found = [part for part in module.modules() if isinstance(part, BLOCKS)]
    for part in found:
        forward = part.forward
        if isinstance(part, MixtureLayer):
            part.forward = _recomputed_pass(part.index, forward)  # type: ignore[method-assign]
            frames = _recomputed_pass(part.index, part.forward_frames)
            part.forward_frames = frames  # type: ignore[method-assign]
        else:
            part.forward = _recomputed(forward)  # type: ignore[method-assign]
    return len(found)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=recomputing)

    return run


def _recomputed_pass(index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's pass whose second run does not append to the cache again."""

    def run(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args)
        found = [place for place, arg in enumerate(args) if isinstance(arg, GrowingCache)]
        if not found:  # questions behind shared windows keep their own few keys
            return forward(*args)
        place, cache = found[0], args[found[0]]
        before = cache.copy()

        def once(*inputs: Any) -> tuple[Any, tuple[Tensor, Tensor]]:
            own = before.copy()
            out = forward(*inputs[:place], own, *inputs[place:])
            return out, own.layers[index]

        inputs = (*args[:place], *args[place + 1 :])
        out, cache.layers[index] = checkpoint(
            once, *inputs, use_reentrant=False, context_fn=recomputing
        )
        return out

    return run
