# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a run will take, before it runs: sizes, memory per device, tokens, operations, time.

A step's forward and backward pass is traced with tensors that have shapes and types but no
memory, so that the 2B model needs none either. Every storage that the step creates is followed
from birth to death; the largest sum alive is what the activations take. Operations are those of
the matrix products and of attention, recomputation included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from g2vlm_model.cache import GrowingCache
from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.config import SpecialIds
from g2vlm_model.extras.match import CELLS_PER_SIDE
from g2vlm_model.measuring.live_bytes import LiveBytes, TracedAttention
from g2vlm_model.model import G2VLM

from ..config import TrainConfig
from ..stages.freeze import apply_freezing, freezing_table
from ..stages.lora import put_adapters
from ..stages.losses import HeadOutput, geometry_loss, prepare_truth
from .precision import BLOCKS, mixed_precision, recompute_layers

__all__ = ["StepCost", "dry_run", "memory_of", "step_cost"]

_FLOAT = 4
_MOMENTS = 2
_SYSTEM_TOKENS, _QUESTION_TOKENS = 14, 64  # of a chat; the pictures outnumber them by far
_LOSS_SIDE = 56
_GATHERED = 2  # blocks whose weights FSDP holds at once: the one at work and the next
_GIB = 1024**3
_ANY_IDS = SpecialIds(0, 1, 2, 3, 4)


@dataclass(frozen=True)
class StepCost:
    """One step on one device.

    Args:
        activation_bytes: Largest sum of what forward and backward pass keep, without gradients.
        flops: Of forward and backward pass.
        tokens: That enter the transformer.
    """

    activation_bytes: int
    flops: int
    tokens: int


def step_cost(config: TrainConfig, clips: int, frames: int) -> StepCost:
    """Trace one step of `clips` windows of `frames` frames on one device.

    The pictures are `views.width` wide, else as wide as the model's, and as high as the middle of
    `views.aspect`, or 3 : 4.
    """
    model = model_on_meta(config.model, _ANY_IDS)
    _freeze(model, config)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _put_on_cpu(model)
        if config.recompute:
            recompute_layers(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_drop_gradient)
        products, attention, live = FlopCounterMode(display=False), TracedAttention(), LiveBytes()
        with products, attention, live:
            tokens, pixels = _forward_and_backward(model, config, clips, frames)
    peak = live.peak
    if config.stage in ("geometry", "joint"):
        peak += _loss_bytes_per_pixel(config) * pixels // config.extra.pixel_stride**2
        peak += _match_bytes(config, clips, frames)
    return StepCost(peak, products.get_total_flops() + attention.flops, tokens)


def _freeze(model: G2VLM, config: TrainConfig) -> None:
    """What a run does to a model ahead of its first step."""
    apply_freezing(model, config.stage)
    put_adapters(model, config)
    for parameter in model.parameters():
        if config.frozen == "bf16" and not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()


def _put_on_cpu(model: nn.Module) -> None:
    """Move a model from the meta device; in a mode whose tensors have no memory either."""
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            there = torch.empty_like(parameter, device="cpu")
            setattr(part, name, nn.Parameter(there, parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(buffer, device="cpu"))


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _forward_and_backward(
    model: G2VLM, config: TrainConfig, clips: int, frames: int
) -> tuple[int, int]:
    """Passes of a stage, in the order of training; returns tokens and pixels."""
    height, width = picture_size(config)
    grid = (height // model.config.patch_size, width // model.config.patch_size)
    pixels = torch.empty(clips, frames, 3, height, width)
    with mixed_precision(_precision(config), pixels.device):
        outputs: list[Tensor] = []
        tokens = 0
        if config.stage in ("geometry", "joint"):
            encoded = model.encode_geometry(pixels)
            hidden = model.geometry_pass(encoded, grid).hidden_BNPD
            geometry = model.decode_geometry(
                hidden, grid, pixels_BN3HW=pixels, with_global=config.extra.global_every > 0
            )
            outputs += [geometry.local_points_BNHW3, geometry.T_world_cam_BN44]
            outputs += [x for x in (geometry.global_points_BNHW3,) if x is not None]
            tokens += clips * frames * (grid[0] * grid[1] + 2)
        if config.stage != "geometry":
            logits, more = _answers(model, config, pixels, grid)
            outputs.append(logits)
            tokens += more
        total = torch.stack([x.float().sum() for x in outputs]).sum()
    total.backward()
    return tokens, clips * frames * height * width


def _answers(
    model: G2VLM, config: TrainConfig, pixels: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, int]:
    """Logits of all questions about the windows, and the tokens that went in."""
    clips, frames = pixels.shape[:2]
    vit = model.config.vit
    side = model.config.vit_size // (vit.patch_size * vit.spatial_merge_size)
    cache = GrowingCache()
    model.prefill_text(torch.zeros(clips, _SYSTEM_TOKENS, dtype=torch.int64), cache)
    with torch.set_grad_enabled(config.stage != "semantic"):
        model.geometry_pass(model.encode_geometry(pixels), grid, cache=cache)
    # Pictures that marks are drawn into are each question's own.
    each = config.questions if model.config.mark_style == "drawn" else 1
    cache = cache.repeat(each) if each > 1 else cache
    rows = torch.empty(clips * each, frames, (side * vit.spatial_merge_size) ** 2, vit.row_width)
    full = side * vit.spatial_merge_size
    model.prefill_images(model.encode_semantic(rows, (full, full)), (side, side), cache)
    # Else the questions of a window share its keys and values, as one long one does.
    length = config.questions // each * _QUESTION_TOKENS
    ids = torch.zeros(clips * each, length, dtype=torch.int64)
    logits = model.semantic_logits(ids, cache)
    window = _SYSTEM_TOKENS + frames * (grid[0] * grid[1] + 2 + each * (side**2 + 2))
    return logits, clips * (window + config.questions * _QUESTION_TOKENS)


def picture_size(config: TrainConfig) -> tuple[int, int]:
    """Height and width of the pictures that a step is measured with."""
    patch = config.model.patch_size
    width = config.views.width or config.model.dino_width
    ratio = sum(config.views.aspect) / 2 if config.views.width else 0.75
    return max(patch, round(width * ratio / patch) * patch), width


def _precision(config: TrainConfig) -> str:
    """Precision of a run on GPUs."""
    return "bf16" if config.precision == "auto" else config.precision


def _loss_bytes_per_pixel(config: TrainConfig) -> int:
    """Measured on a small real batch: the losses look at values, which traced tensors lack."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, 2, _LOSS_SIDE, _LOSS_SIDE)
    points = torch.rand(*shape, 3, generator=generator) + 0.5
    poses = torch.eye(4).expand(1, 2, 4, 4)
    predicted = points.clone().requires_grad_()
    with LiveBytes() as live:
        truth = prepare_truth(points, torch.ones(shape, dtype=torch.bool), poses)
        loss = geometry_loss(HeadOutput(predicted, poses, predicted + 0.1), truth, config.loss)
        loss.total.backward()
    pixels: int = predicted[..., 0].numel()
    per_pixel: int = live.peak // pixels
    return per_pixel


def _match_bytes(config: TrainConfig, clips: int, frames: int) -> int:
    """Similarities of all fine cells of all pairs of frames, and their logarithms."""
    if config.model.match_width == 0 or config.extra.correspondence <= 0:
        return 0
    height, width = picture_size(config)
    cells = height * width * CELLS_PER_SIDE**2 // config.model.patch_size**2
    return 2 * _FLOAT * clips * frames**2 * cells**2


def dry_run(config: TrainConfig, processes: int, tflops: float) -> str:
    """A table of what a run takes.

    Args:
        config: Of the run.
        processes: Devices that it will run on.
        tflops: What one device sustains, 1e12 operations per second.

    Raises:
        ValueError: A step has fewer windows than there are processes, or the stage is gasp, whose
            adapters cannot be traced without memory.
    """
    if config.stage == "gasp":
        raise ValueError(
            "the dry run knows no adapters; a step of gasp that asks takes what one of the stage "
            "semantic takes, one that matches holds the tokens of all layers and one chunk of "
            "similarities beside that"
        )
    model = model_on_meta(config.model, _ANY_IDS)
    _freeze(model, config)
    shares = _shares(config, processes)
    worst = max(shares, key=_size)
    ends = {worst, min(shares, key=_size)}
    costs = {share: step_cost(config, *share[:2]) for share in ends}
    flops = sum(cost.flops * share[2] for share, cost in costs.items()) / len(costs)
    memory = _state_bytes(model, config, processes)
    memory["activations"] = costs[worst].activation_bytes
    height, width = picture_size(config)
    seconds = flops / (tflops * 1e12)
    lines = [
        freezing_table(model),
        "",
        f"{processes} device(s), {config.parallel}, {_precision(config)}, "
        f"recompute {'on' if config.recompute else 'off'}; largest share {worst[0]} windows x "
        f"{worst[1]} frames of {height} x {width}",
        *(f"{name:<26}{size / _GIB:>10.2f} GiB" for name, size in memory.items()),
        f"{'memory per device':<26}{sum(memory.values()) / _GIB:>10.2f} GiB",
        f"{'tokens per step':<26}{costs[worst].tokens * worst[2] * processes:>10,}",
        f"{'operations per step':<26}{flops * processes / 1e12:>10.2f} TFLOP",
        f"{'a step at ' + f'{tflops:g} TFLOP/s':<26}{seconds:>10.3f} s",
        f"{f'{config.steps:,} steps':<26}{seconds * config.steps / 3600:>10.1f} h",
    ]
    return "\n".join(lines)


def memory_of(config: TrainConfig, processes: int) -> dict[str, int]:
    """Bytes per device by what holds them, in the step that takes most.

    Raises:
        ValueError: See `dry_run`.
    """
    model = model_on_meta(config.model, _ANY_IDS)
    _freeze(model, config)
    worst = max(_shares(config, processes), key=_size)
    cost = step_cost(config, *worst[:2])
    return {**_state_bytes(model, config, processes), "activations": cost.activation_bytes}


def _shares(config: TrainConfig, processes: int) -> set[tuple[int, int, int]]:
    """Windows of a part of a step on one device, frames, and how many parts a step has."""
    few = min(clips for clips, _ in config.windows)
    if few < processes:
        raise ValueError(f"a step of {few} windows cannot be shared by {processes} processes")
    shares = set()
    for clips, frames in config.windows:
        parts = min(config.accumulate, clips // processes)
        shares.add((-(-clips // (processes * parts)), frames, parts))
    return shares


def _size(share: tuple[int, int, int]) -> tuple[int, int]:
    return share[0] * share[1], share[1]


def _state_bytes(model: nn.Module, config: TrainConfig, processes: int) -> dict[str, int]:
    """Bytes per device of everything that lives from step to step, and of gathered blocks."""
    held: Callable[[nn.Module], int] = lambda part: sum(p.nbytes for p in part.parameters())  # noqa: E731
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    parts = processes if config.parallel == "fsdp" else 1
    sizes = {
        "weights": held(model),
        "gradients": trained,
        "AdamW moments": _MOMENTS * trained,
        "averaged weights": trained if config.ema > 0 else 0,
    }
    memory = {name: size // parts for name, size in sizes.items()}
    if parts > 1:
        blocks = [held(part) for part in model.modules() if isinstance(part, BLOCKS)]
        outside = held(model) - sum(blocks)
        memory["gathered weights"] = outside + _GATHERED * max(blocks)
    return memory
