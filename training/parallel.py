"""A stage in several processes: whole in each of them (DDP), or a part in each (FSDP2)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from g2vlm_model.dinov2 import DinoBlock
from g2vlm_model.heads import DecoderBlock
from g2vlm_model.mot import MixtureLayer
from g2vlm_model.qwen2_vit import VitBlock

from .distribution import Processes

__all__ = ["LAYERS", "parallel_stage"]

LAYERS = (MixtureLayer, DinoBlock, VitBlock, DecoderBlock)
"""What is gathered, and recomputed, as one piece."""


def parallel_stage(stage: nn.Module, processes: Processes, kind: str) -> nn.Module:
    """Put a stage on its device and let the processes share the work.

    Args:
        stage: The same weights in every process; frozen as they shall be. With "fsdp" its
            parameters become parts of sharded ones.
        processes: Of the run.
        kind: "ddp" or "fsdp".

    Returns:
        What to call in place of the stage; its parameters are those of the stage.
    """
    stage.to(processes.device)
    if not dist.is_initialized():
        return stage
    if kind == "ddp":
        cuda = processes.device.type == "cuda"
        # Some weights are used in some steps only, e.g. the decoder of the global points.
        return DistributedDataParallel(
            stage, device_ids=[processes.device] if cuda else None, find_unused_parameters=True
        )
    mesh = init_device_mesh(processes.device.type, (processes.world,))
    for module in stage.modules():
        if isinstance(module, LAYERS):
            fully_shard(module, mesh=mesh)
            if isinstance(module, MixtureLayer):
                register_fsdp_forward_method(module, "forward_frames")
    fully_shard(stage, mesh=mesh)
    return stage


def same_start(stage: nn.Module) -> None:
    """Give every process the weights of the first one.

    Needed where weights were drawn or loaded by the first process only.
    """
    if dist.is_initialized():
        with torch.no_grad():
            for parameter in stage.parameters():
                dist.broadcast(parameter, src=0)
