# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A stage in several processes: whole in each of them (DDP), or a part in each (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from g2vlm_model.cache import GrowingCache
from g2vlm_model.mot import MixtureLayer

from .distribution import Processes
from .precision import BLOCKS

__all__ = ["parallel_stage", "send_gradients"]


def parallel_stage(stage: nn.Module, processes: Processes, kind: str) -> nn.Module:
    """Put a stage on its device and let the processes share the work.

    Args:
        stage: Frozen as it shall be; the first process holds the weights, the others may hold
            shapes only (the meta device). With "fsdp" its parameters become parts of sharded
            ones.
        processes: Of the run.
        kind: "ddp" or "fsdp".

    Returns:
        What to call in place of the stage; its parameters are those of the stage.
    """
    if not dist.is_initialized():
        return stage.to(processes.device)
    if kind == "ddp":
        return _replicated(stage, processes)
    _shard(stage, processes)
    return stage


def send_gradients(called: nn.Module, wanted: bool) -> None:
    """Whether the next backward pass shares its gradients with the other processes.

    Args:
        called: From `parallel_stage`.
        wanted: False where more of the same step follows.
    """
    if isinstance(called, DistributedDataParallel):
        called.require_backward_grad_sync = wanted
    elif isinstance(called, FSDPModule):
        called.set_requires_gradient_sync(wanted)


def _replicated(stage: nn.Module, processes: Processes) -> nn.Module:
    if processes.first:
        stage.to(processes.device)
    else:
        stage.to_empty(device=processes.device)  # filled from the first process by DDP
    cuda = processes.device.type == "cuda"
    # Some weights are used in some steps only, e.g. the decoder of the global points.
    return DistributedDataParallel(
        stage, device_ids=[processes.device] if cuda else None, find_unused_parameters=True
    )


def _shard(stage: nn.Module, processes: Processes) -> None:
    """Split every weight over the processes; none but the first ever holds the whole model."""
    weights = stage.state_dict() if processes.first else {}
    stage.to("meta")
    mesh = init_device_mesh(processes.device.type, (processes.world,))
    for module in stage.modules():
        if isinstance(module, MixtureLayer):
            _gather_for_keys(module)
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh)
        if isinstance(module, MixtureLayer):
            register_fsdp_forward_method(module, "forward_frames")
    fully_shard(stage, mesh=mesh)
    stage.to_empty(device=processes.device)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(stage, weights, options=options)


def _gather_for_keys(layer: MixtureLayer) -> None:
    """Have a layer's weights whole when gradients of its keys and values arrive.

    They leave the layer through the cache, where FSDP's hooks, which watch what a forward method
    returns, do not see them.
    """

    def gather(gradient: Tensor) -> None:
        assert isinstance(layer, FSDPModule)
        layer.unshard()

    def watched(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            out = forward(*args)
            for cache in args:
                if isinstance(cache, GrowingCache):
                    for kept in cache.layers[layer.index]:
                        if kept.requires_grad:
                            kept.register_hook(gather)
            return out

        return run

    for name in ("forward", "forward_frames"):
        setattr(layer, name, watched(getattr(layer, name)))
