# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small models with random weights, non-trivial in every parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from g2vlm_model.config import (
    DinoConfig,
    HeadsConfig,
    ModelConfig,
    SpecialIds,
    TextConfig,
    VitConfig,
)
from g2vlm_model.model import G2VLM

SPECIAL = SpecialIds(bos=1, eos=2, start_of_image=3, end_of_image=4, start_of_answer=5)
PATCH = 14


def tiny_config(**changes: Any) -> ModelConfig:
    """A model of some ten thousand weights."""
    config = ModelConfig(
        text=TextConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            mrope_section=(1, 2, 1),
        ),
        vit=VitConfig(depth=1, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2),
        dino=DinoConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            image_size=42,
        ),
        heads=HeadsConfig(depth=1, num_heads=4, point_dim=24, camera_dim=16),
        dino_width=56,
        vit_size=56,
        confidence_head=True,
        invalid_head=True,
    )
    return replace(config, **changes)


def tiny_model(config: ModelConfig | None = None, seed: int = 0) -> G2VLM:
    """A model in evaluation mode; the same seed gives the same weights."""
    model = G2VLM(config or tiny_config(), SPECIAL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_gain = parameter.dim() == 1 and not name.endswith("bias")
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.copy_(1 + 0.2 * noise if is_gain else noise / max(fan_in, 4) ** 0.5)
    return model.eval()


def random_pixels(*shape: int, seed: int = 1) -> Tensor:
    """Normalised pictures."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
