# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Model shapes that the benchmarks run, with random weights where there are no trained ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from g2vlm_model.checkpoint import EMBEDDED_MODELS, save_model
from g2vlm_model.config import (
    DinoConfig,
    HeadsConfig,
    ModelConfig,
    SpecialIds,
    TextConfig,
    VitConfig,
)
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer

__all__ = ["SHAPES", "Shape", "random_model", "write_random_folder"]


@dataclass(frozen=True)
class Shape:
    """A model shape and the window that it is measured on.

    Args:
        config: All sizes.
        special_ids: Within the vocabulary.
        frames: Of the window.
        height, width: Of the model's picture in pixels.
    """

    config: ModelConfig
    special_ids: SpecialIds
    frames: int
    height: int
    width: int

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        patch = self.config.patch_size
        return self.height // patch, self.width // patch

    def pixels(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(1, N, 3, H, W) noise of the range of normalised pictures."""
        generator = torch.Generator().manual_seed(0)
        shape = (1, self.frames, 3, self.height, self.width)
        return torch.randn(shape, generator=generator).to(device, dtype)


_SMALL_IDS = SpecialIds(bos=0, eos=1, start_of_image=2, end_of_image=3, start_of_answer=4)


def _mid() -> ModelConfig:
    """Hidden 384, 12 layers of the encoder and of both experts, heads of the published depth."""
    return ModelConfig(
        text=TextConfig(
            vocab_size=1024,
            hidden_size=384,
            intermediate_size=1536,
            num_hidden_layers=12,
            num_attention_heads=6,
            num_key_value_heads=2,
            mrope_section=(8, 12, 12),
        ),
        vit=VitConfig(depth=12, embed_dim=384, hidden_size=384, num_heads=6),
        dino=DinoConfig(
            hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=224
        ),
        heads=HeadsConfig(depth=5, num_heads=6, point_dim=384, camera_dim=192),
        dino_width=224,
        vit_size=224,
    )


SHAPES = {
    "mid": Shape(_mid(), _SMALL_IDS, frames=8, height=224, width=224),
    "nano": Shape(ModelConfig.nano(), _SMALL_IDS, frames=4, height=168, width=224),
    "2b": Shape(ModelConfig.g2vlm_2b(), SpecialIds(), frames=8, height=392, width=518),
}


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> G2VLM:
    """A model with random weights, made on the device in its final type.

    Layer scales and normalisation weights are near one, so that every part takes part.
    """
    with torch.device("meta"):
        model = G2VLM(shape.config, shape.special_ids)
    model = model.to_empty(device=device).to(dtype).eval()
    generator = torch.Generator(device=device).manual_seed(0)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            fan_in = parameter[0].numel()
            parameter.normal_(0.0, fan_in**-0.5, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    return model


def write_random_folder(shape: Shape, folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """A model folder of a shape with random weights and the embedded model's tokenizer.

    Args:
        shape: Which model.
        folder: Where it is written.
        dtype: Of the file.
    """
    tokenizer = Tokenizer.from_folder(EMBEDDED_MODELS["nano"])
    embedded = ModelConfig.from_folder(EMBEDDED_MODELS["nano"])
    config = replace(shape.config, tokens=embedded.tokens)
    named = replace(shape, config=config, special_ids=tokenizer.special_ids(config.tokens))
    save_model(folder, random_model(named, torch.device("cpu"), dtype), tokenizer)
    return folder
