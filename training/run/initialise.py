# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Start values for training from scratch on a small budget.

The published layer scale of 0.01 suits a deep trunk that starts from pretrained weights; a
shallow one from scratch hardly moves with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer

__all__ = ["initialise", "initialise_places", "sincos_positions"]

LAYER_SCALE = 0.5
POSITION_AMPLITUDE = 0.7
HEAD_STD = 0.02


@torch.no_grad()
def initialise(model: G2VLM, seed: int, layer_scale: float = LAYER_SCALE) -> None:
    """Draw every weight of a model anew.

    Matrices get a deviation of 1 / sqrt(fan in); the geometric encoder's positions a 2D sine
    table; the camera head starts at the identity, the point head at the nominal rays with depth 1,
    its refinement at nothing.

    Args:
        model: Changed in place.
        seed: Of the generator.
        layer_scale: Of the geometric encoder and expert; 0.01 is published.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, 0.5, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith(("attention_scale", "mlp_scale", "scale1", "scale2")):
            parameter.fill_(layer_scale)
    _initialise_geometric_encoder(model, generator)
    _initialise_heads(model, generator)
    rows = model.vit.patch_embed.weight
    rows.normal_(0.0, 1.0 / math.sqrt(rows[0].numel()), generator=generator)


@torch.no_grad()
def initialise_places(model: G2VLM, tokenizer: Tokenizer, seed: int) -> None:
    """Start the tokens of places (" x 0" to " y 99") so that neighbours resemble each other.

    Each axis gets sines and cosines of the place under a random map of its own. Places that the
    tokenizer spells with several tokens are left alone.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    table = model.trunk.embed_tokens.weight
    width, pairs, places = table.shape[1], 16, torch.arange(100) / 100
    frequencies = math.pi * torch.logspace(-1, 4, pairs, base=2.0)
    angles = places[:, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)
    for axis in ("x", "y"):
        projection = torch.randn(2 * pairs, width, generator=generator) / math.sqrt(pairs)
        rows = 0.5 * waves @ projection
        for place in range(len(places)):
            ids = tokenizer.encode(f" {axis} {place}")
            if len(ids) == 1:
                table[ids[0]] = rows[place]


def _initialise_geometric_encoder(model: G2VLM, generator: torch.Generator) -> None:
    dino = model.dino
    for parameter in (dino.cls_token, dino.register_tokens, dino.mask_token):
        parameter.normal_(0.0, 0.02, generator=generator)
    side, width = dino.stored_grid, dino.position_embeddings.shape[-1]
    dino.position_embeddings.zero_()
    dino.position_embeddings[0, 1:] = POSITION_AMPLITUDE * sincos_positions(side, width)


def _initialise_heads(model: G2VLM, generator: torch.Generator) -> None:
    heads = model.heads
    maps = (heads.point_head, heads.global_head, heads.confidence_head, heads.invalid_head)
    for head in maps:
        if head is not None:
            head.weight.normal_(0.0, HEAD_STD / math.sqrt(head.in_features), generator=generator)
    if heads.point_refine is not None:
        heads.point_refine.leave.weight.zero_()
    camera = heads.camera_head
    for head in (camera.rotation, camera.translation):
        head.weight.normal_(0.0, 0.1 / math.sqrt(head.in_features), generator=generator)
    camera.rotation.bias.copy_(torch.eye(3).flatten())


def sincos_positions(side: int, width: int) -> Tensor:
    """(side^2, width) sines and cosines of row and column, a quarter of the width each.

    Raises:
        ValueError: A width that is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width is {width}, expected a multiple of 4")
    grid = (torch.arange(side) + 0.5) / side * 2 - 1
    frequencies = math.pi * torch.logspace(-1, math.log2(side / 2), width // 4, base=2.0)
    angles = grid[:, None] * frequencies
    rows = torch.cat((angles.sin(), angles.cos()), dim=1)
    by_row = rows[:, None].expand(side, side, -1)
    by_column = rows[None].expand(side, side, -1)
    return torch.cat((by_row, by_column), dim=-1).flatten(0, 1)
