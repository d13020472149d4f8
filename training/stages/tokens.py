# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The embedded model's own tokenizer: byte-level BPE, trained on the questions' words."""

from __future__ import annotations

import functools

from g2vlm_model.tokenizer import QWEN2_SPLIT, Tokenizer

from ..synthetic.questions import corpus

__all__ = ["SPECIAL_TOKENS", "nano_tokenizer"]

# The places of marks and the numbers of frames are one token each: a small model finds a patch
# by one embedding more easily than by digits. All other numbers are digits, the first one with
# the space ahead of it.
_SPLIT = r" (?:frame|x|y) \p{N}{1,2}(?!\p{N})| ?\p{N}|" + QWEN2_SPLIT

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
)  # fmt: skip


def nano_tokenizer(vocab_size: int) -> Tokenizer:
    """Train the tokenizer; the same corpus gives the same merges.

    Args:
        vocab_size: Upper bound of ids, bytes and special tokens included.

    Raises:
        ValueError: Too small for the bytes and the special tokens.
    """
    from tokenizers import Tokenizer as Backend

    smallest = 256 + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size is {vocab_size}, expected at least {smallest}")
    return Tokenizer(Backend.from_str(_trained(vocab_size)), "nano tokenizer")


@functools.cache
def _trained(vocab_size: int) -> str:
    """The tokenizer of a size as JSON."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(list(corpus()), trainer)
    return str(backend.to_str())
