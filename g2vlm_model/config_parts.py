# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sizes of a model's parts, and the names of its special tokens; `config.py` joins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "DinoConfig",
    "HeadsConfig",
    "SpecialIds",
    "TextConfig",
    "TokenNames",
    "VitConfig",
]


def check(condition: bool, message: str) -> None:
    """Raise a ValueError with the message where the condition does not hold."""
    if not condition:
        raise ValueError(message)


def check_positive(config: Any, *names: str) -> None:
    """Refuse fields that are no positive integer."""
    for name in names:
        value = getattr(config, name)
        check(
            isinstance(value, int) and not isinstance(value, bool) and value > 0,
            f"{type(config).__name__}.{name} is {value!r}, expected a positive integer",
        )


@dataclass(frozen=True)
class TextConfig:
    """Mixture of transformers (`text_config.json`); defaults are the 2B model's.

    Raises:
        ValueError: Sizes that do not divide, or rotary sections that do not fill a head.
    """

    vocab_size: int = 151936
    hidden_size: int = 1536
    intermediate_size: int = 8960
    num_hidden_layers: int = 28
    num_attention_heads: int = 12
    num_key_value_heads: int = 2
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    mrope_section: tuple[int, int, int] = (16, 24, 24)

    def __post_init__(self) -> None:
        check_positive(
            self,
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        )
        check(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
            f"{self.num_attention_heads}",
        )
        check(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads {self.num_attention_heads} is no multiple of "
            f"num_key_value_heads {self.num_key_value_heads}",
        )
        check(
            len(self.mrope_section) == 3 and 2 * sum(self.mrope_section) == self.head_dim,
            f"mrope_section {list(self.mrope_section)} must hold three numbers that sum to half "
            f"the head width {self.head_dim}",
        )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class VitConfig:
    """Semantic encoder, the vision tower of Qwen2-VL (`vit_config.json`).

    `hidden_size` is the width that it hands to the language model.
    """

    depth: int = 32
    embed_dim: int = 1280
    hidden_size: int = 1536
    num_heads: int = 16
    mlp_ratio: float = 4
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2

    def __post_init__(self) -> None:
        check_positive(
            self,
            "depth",
            "embed_dim",
            "hidden_size",
            "num_heads",
            "in_channels",
            "patch_size",
            "spatial_merge_size",
            "temporal_patch_size",
        )
        check(
            self.embed_dim % self.num_heads == 0 and self.embed_dim // self.num_heads % 4 == 0,
            f"embed_dim {self.embed_dim} over num_heads {self.num_heads} must give a head width "
            "that is a multiple of 4",
        )

    @property
    def row_width(self) -> int:
        """Numbers of one input row: channels x temporal x patch x patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2


@dataclass(frozen=True)
class DinoConfig:
    """Geometric encoder, DINOv2 with registers (`dino_config.json`)."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    mlp_ratio: float = 4
    image_size: int = 518
    patch_size: int = 14
    num_channels: int = 3
    num_register_tokens: int = 4
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        check_positive(
            self,
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "image_size",
            "patch_size",
            "num_channels",
        )
        check(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
            f"{self.num_attention_heads}",
        )
        check(
            self.num_register_tokens >= 0,
            f"num_register_tokens is {self.num_register_tokens}, expected 0 or more",
        )

    @property
    def stored_grid(self) -> int:
        """Side of the stored position-embedding grid, in patches."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class HeadsConfig:
    """Geometry heads; the published code has these numbers in its constructor."""

    depth: int = 5
    num_heads: int = 16
    point_dim: int = 1024
    camera_dim: int = 512
    mlp_ratio: float = 4
    rope_base: float = 100.0

    def __post_init__(self) -> None:
        check_positive(self, "depth", "num_heads", "point_dim", "camera_dim")


@dataclass(frozen=True)
class TokenNames:
    """Names of the special tokens, looked up in the folder's tokenizer."""

    bos: str = "<|im_start|>"
    eos: str = "<|im_end|>"
    start_of_image: str = "<|vision_start|>"
    end_of_image: str = "<|vision_end|>"
    start_of_answer: str = "\n"


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens; the defaults are those of the published vocabulary.

    `start_of_answer` is the first input of decoding (the newline after "assistant").
    """

    bos: int = 151644
    eos: int = 151645
    start_of_image: int = 151652
    end_of_image: int = 151653
    start_of_answer: int = 198
