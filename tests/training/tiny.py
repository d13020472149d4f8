# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A model that trains in seconds, and clips for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from g2vlm_training.datasets.batch import WindowBatch
from g2vlm_training.datasets.synthetic import ShardPlan, write_shards
from g2vlm_training.run.initialise import initialise
from g2vlm_training.stages.stage import Stage, prepared

from g2vlm_model.config import (
    DinoConfig,
    HeadsConfig,
    ModelConfig,
    SpecialIds,
    TextConfig,
    VitConfig,
)
from g2vlm_model.model import G2VLM

SPECIAL = SpecialIds(1, 2, 3, 4, 5)
PLAN = ShardPlan(rooms=3, clips=1, frames=3, width=56, heights=(42,), smooth=0.0)


def tiny_config(**options: object) -> ModelConfig:
    width = 32
    settings: dict[str, object] = {
        "conv_stem": 16,
        "ray_prior_fov_deg": 65.0,
        "match_width": 16,
        "isolate_geometry": True,
        **options,
    }
    return ModelConfig(
        text=TextConfig(
            vocab_size=700, hidden_size=width, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, rope_theta=100.0, mrope_section=(2, 3, 3),
        ),
        vit=VitConfig(depth=1, embed_dim=32, hidden_size=width, num_heads=2),
        dino=DinoConfig(
            hidden_size=width, num_hidden_layers=1, num_attention_heads=2, image_size=56
        ),
        heads=HeadsConfig(depth=1, num_heads=2, point_dim=64, camera_dim=32),
        dino_width=56,
        vit_size=56,
        mark_style="text",
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip


def tiny_model(seed: int = 0, **options: object) -> G2VLM:
    model = G2VLM(tiny_config(**options), SPECIAL)
    initialise(model, seed)
    return model


def write_tiny_shards(folder: Path, count: int = 1) -> Path:
    for _ in write_shards(folder, PLAN, 0, count):
        pass
    return folder


def with_questions(stage: Stage, batch: WindowBatch, *seed: int) -> WindowBatch:
    """The batch with what the stage's preparer makes of each window."""
    rngs = [np.random.default_rng([*seed, window]) for window in range(len(batch.scenes))]
    return prepared(batch, stage.preparer, rngs)


def random_pixels(frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, frames, 3, 42, 56, generator=generator)
