# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Model folders with random weights and a tokenizer trained on a few sentences."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from g2vlm_model.checkpoint import save_model
from g2vlm_model.config import DinoConfig, HeadsConfig, ModelConfig, TextConfig, VitConfig
from g2vlm_model.interface import Frame, FrameWindow
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import QWEN2_SPLIT, Tokenizer
from tests.helpers import REPO

SENTENCES = (
    "system You are a helpful assistant. user Reconstruct the 3D scene.",
    "Which is closer, A or B? A frame 1 x 34 y 57 B frame 2 x 80 y 99",
    "How far is A from the camera? 0.5 units. Did the camera turn left or right?",
)


def small_config(**options: object) -> ModelConfig:
    """A model that runs in milliseconds: 56 px wide pictures, two layers of everything."""
    config = ModelConfig(
        text=TextConfig(
            vocab_size=400,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            rope_theta=1e4,
            mrope_section=(4, 6, 6),
        ),
        vit=VitConfig(depth=1, embed_dim=32, hidden_size=64, num_heads=2),
        dino=DinoConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56),
        heads=HeadsConfig(depth=1, num_heads=2, point_dim=32, camera_dim=16, mlp_ratio=2),
        dino_width=56,
        vit_size=56,
        mark_style="text",
    )
    return replace(config, **options)  # type: ignore[arg-type]


def small_tokenizer() -> Tokenizer:
    """Byte-level BPE in the published split, with the published special tokens."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    names = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return Tokenizer(backend)


def write_model(folder: Path, config: ModelConfig, seed: int = 0) -> Path:
    """A complete model folder; the weights make every part take part."""
    torch.manual_seed(seed)
    tokenizer = small_tokenizer()
    model = G2VLM(config, tokenizer.special_ids(config.tokens))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, weight[0].numel() ** -0.5)
            elif name.endswith("bias"):
                weight.normal_(0.0, 0.02)
            else:
                weight.fill_(1.0)
        # Depth around 1 (it is the exponential of a head's output), poses near the identity.
        model.heads.point_head.weight.mul_(0.2)
        model.heads.camera_head.rotation.weight.mul_(0.1)
        model.heads.camera_head.rotation.bias.copy_(torch.eye(3).flatten())
        model.heads.camera_head.translation.weight.mul_(0.1)
    save_model(folder, model, tokenizer)
    return folder


def write_stand_in(folder: Path) -> Path:
    """The published model in small: its names, layout, dtype, pictures and proportions.

    Four layers a stack, a sixth of the widths, 2,048 words; by the command of the project.
    """
    size = ("--twelfths", "2", "--layers", "4", "--vocabulary", "2048")
    command = [sys.executable, "scripts/write_published_folder.py", str(folder), *size]
    subprocess.run([*command, "--shards", "3"], cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    return folder


def picture(seed: int, height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """A smooth random picture."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
    blocks: NDArray[np.uint8] = np.kron(coarse, np.ones((10, 10, 1), np.uint8))
    return np.ascontiguousarray(blocks[:height, :width])


def window(*seeds: int, height: int = 60, width: int = 80) -> FrameWindow:
    """Frames of one camera; a seed is a picture and its key."""
    frames = tuple(
        Frame(picture(seed, height, width), 10 * seed, "camera_optical", "camera", f"frame-{seed}")
        for seed in seeds
    )
    return FrameWindow(frames)
