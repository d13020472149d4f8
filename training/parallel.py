"""A stage in several processes: whole in each of them (DDP), or a part in each (FSDP2)."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from g2vlm_model.mot import MixtureLayer

from .distribution import Processes
from .precision import BLOCKS

__all__ = ["parallel_stage"]


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
        if isinstance(module, BLOCKS):
            fully_shard(module, mesh=mesh)
            if isinstance(module, MixtureLayer):
                register_fsdp_forward_method(module, "forward_frames")
    fully_shard(stage, mesh=mesh)
    stage.to_empty(device=processes.device)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(stage, weights, options=options)
