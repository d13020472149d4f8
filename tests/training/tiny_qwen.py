# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A plain Qwen2.5-VL of `transformers` with a tiny random configuration."""

from __future__ import annotations

import logging

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

__all__ = ["tiny_qwen"]


def tiny_qwen(seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """Three layers of width 32, two attention layers of pictures, patches of 14 x 14."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 320,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 2, 1],
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        image_token_id=301,
        video_token_id=302,
        vision_start_token_id=303,
        vision_end_token_id=304,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    return model.eval()
