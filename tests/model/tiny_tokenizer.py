# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Trains a byte-level BPE as Qwen2's in a moment."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from g2vlm_model.tokenizer import QWEN2_SPLIT

CORPUS = [
    "Reconstruct the 3D scene.",
    "You are a helpful assistant.",
    "system user assistant",
    "How far is the red box from the camera? It's 1.25 away, isn't it?",
    "Which of A and B is nearer? The chair stands left of the table.\nYes.\n",
]
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")


def train_tokenizer(size: int) -> Any:
    """A backend with `size` tokens, the special ones last."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS * 3, trainer)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    assert backend.get_vocab_size() == size
    return backend
