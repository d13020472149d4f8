"""Sizes and options of a model: one frozen tree, filled from the published config JSONs.

A model folder holds `text_config.json`, `vit_config.json` and `dino_config.json` with the
published field names, and optionally `g2vlm_config.json` with what the published code spells
inside its constructor, plus options that the published architecture does not have. Every
field of that last file defaults to the published value.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config_fields import from_published, from_strict, read_json

__all__ = [
    "DinoConfig",
    "HeadsConfig",
    "ModelConfig",
    "SpecialIds",
    "TextConfig",
    "TokenNames",
    "VitConfig",
]

EXTRA_FILE = "g2vlm_config.json"
DINO_ATTENTION = ("per_image", "compat")
GEOMETRY_ATTENTION = ("global", "frame", "mixed", "frame_causal")
MARK_STYLES = ("drawn", "text")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(
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
        _check_positive(
            self,
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
        )
        _check(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
            f"{self.num_attention_heads}",
        )
        _check(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_attention_heads {self.num_attention_heads} is no multiple of "
            f"num_key_value_heads {self.num_key_value_heads}",
        )
        _check(
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
        _check_positive(
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
        _check(
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
        _check_positive(
            self,
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "image_size",
            "patch_size",
            "num_channels",
        )
        _check(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
            f"{self.num_attention_heads}",
        )
        _check(
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
        _check_positive(self, "depth", "num_heads", "point_dim", "camera_dim")


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


@dataclass(frozen=True)
class ModelConfig:
    """All of a model.

    Args:
        text, vit, dino, heads: Sizes of the parts.
        dino_width: Width in pixels of the geometric encoder's picture.
        vit_size: Side in pixels of the square picture ahead of the semantic encoder's rounding.
        confidence_head: The model has a confidence decoder and head.
        dino_attention: "per_image", or "compat": the windows of the published code, which
            drift by one image's class and register tokens per image.
        geometry_attention: Which frames see each other in the geometric pass: "global" (all),
            "frame" (itself), "mixed" (frame in even layers, global in odd ones),
            "frame_causal" (itself and earlier ones).
        tokens: Names of the special tokens.
        mark_style: How a question's marks reach the model: "drawn" into the semantic
            encoder's picture, or as "text".
        conv_stem: Channels of an overlapping convolution stem ahead of the geometric
            encoder's patch projection; 0 is none (published).
        ray_prior_fov_deg: Horizontal field of view of a nominal ray grid that is added to the
            point head's x/z and y/z; 0 is none (published).
        match_width: Numbers of one fine descriptor of the match injection (`match.py`); 0 is
            none (published).
        isolate_geometry: Patches of the geometric pass see no text and no marks, only patches,
            so that the semantic expert cannot change the geometry; False is published.

    Raises:
        ValueError: Unknown choice, or parts whose sizes do not fit each other.
    """

    text: TextConfig = field(default_factory=TextConfig)
    vit: VitConfig = field(default_factory=VitConfig)
    dino: DinoConfig = field(default_factory=DinoConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    dino_width: int = 518
    vit_size: int = 768
    confidence_head: bool = False
    dino_attention: str = "per_image"
    geometry_attention: str = "global"
    tokens: TokenNames = field(default_factory=TokenNames)
    mark_style: str = "drawn"
    conv_stem: int = 0
    ray_prior_fov_deg: float = 0.0
    match_width: int = 0
    isolate_geometry: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "dino_width", "vit_size")
        for name, choices in (
            ("dino_attention", DINO_ATTENTION),
            ("geometry_attention", GEOMETRY_ATTENTION),
            ("mark_style", MARK_STYLES),
        ):
            value = getattr(self, name)
            _check(value in choices, f"{name} is {value!r}, expected one of {list(choices)}")
        _check(
            self.dino_width % self.dino.patch_size == 0,
            f"dino_width {self.dino_width} is no multiple of the patch {self.dino.patch_size}",
        )
        _check(
            self.vit.hidden_size == self.text.hidden_size,
            f"vit hidden_size {self.vit.hidden_size} differs from text hidden_size "
            f"{self.text.hidden_size}",
        )
        width, heads = self.text.hidden_size, self.heads.num_heads
        _check(
            width % heads == 0 and width // heads % 4 == 0,
            f"text hidden_size {width} over heads.num_heads {heads} must give a head width "
            "that is a multiple of 4",
        )
        _check(self.conv_stem >= 0, f"conv_stem is {self.conv_stem}, expected 0 or more")
        _check(self.match_width >= 0, f"match_width is {self.match_width}, expected 0 or more")
        _check(
            0.0 <= self.ray_prior_fov_deg < 180.0,
            f"ray_prior_fov_deg is {self.ray_prior_fov_deg}, expected 0 (none) up to 180",
        )

    @property
    def patch_size(self) -> int:
        """Side of one geometric patch in pixels."""
        return self.dino.patch_size

    @classmethod
    def g2vlm_2b(cls) -> ModelConfig:
        """The published 2B model."""
        return cls()

    @classmethod
    def nano(cls) -> ModelConfig:
        """The embedded model: 4.7 M parameters, 112 px wide pictures.

        Its options that the published architecture lacks are what training from scratch on a
        small budget needs (docs/training.md).
        """
        width = 128
        return cls(
            text=TextConfig(
                vocab_size=1024,
                hidden_size=width,
                intermediate_size=384,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=4,
                rope_theta=100.0,
                mrope_section=(4, 6, 6),
            ),
            vit=VitConfig(depth=2, embed_dim=128, hidden_size=width, num_heads=4),
            dino=DinoConfig(
                hidden_size=width, num_hidden_layers=2, num_attention_heads=4, image_size=112
            ),
            heads=HeadsConfig(depth=1, num_heads=4, point_dim=256, camera_dim=128),
            dino_width=112,
            vit_size=112,
            mark_style="text",
            conv_stem=64,
            ray_prior_fov_deg=65.0,
            match_width=32,
            isolate_geometry=True,
        )

    @classmethod
    def from_folder(cls, folder: str | Path) -> ModelConfig:
        """Read the config JSONs of a model folder.

        Raises:
            FileNotFoundError: One of the three published files is missing.
            ValueError: Unknown key, missing key, value of the wrong type or out of range; the
                message names the key and the file.
        """
        root = Path(folder)
        parts: dict[str, Any] = {
            name: from_published(part, name, root / f"{name}_config.json")
            for name, part in (("text", TextConfig), ("vit", VitConfig), ("dino", DinoConfig))
        }
        extra_path = root / EXTRA_FILE
        extra = read_json(extra_path) if extra_path.is_file() else {}
        for name, part in (("heads", HeadsConfig), ("tokens", TokenNames)):
            if name in extra:
                parts[name] = from_strict(part, extra.pop(name), extra_path, prefix=f"{name}.")
        return from_strict(cls, extra, extra_path, given=parts)

    def to_folder(self, folder: str | Path) -> None:
        """Write the four config JSONs that `from_folder` reads."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        tree = dataclasses.asdict(self)
        for name in ("text", "vit", "dino"):
            part = tree.pop(name)
            if name == "text":
                section = part.pop("mrope_section")
                part["rope_scaling"] = {"type": "mrope", "mrope_section": list(section)}
                part["tie_word_embeddings"] = False
            _write_json(root / f"{name}_config.json", part)
        _write_json(root / EXTRA_FILE, tree)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
