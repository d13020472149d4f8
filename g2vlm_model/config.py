# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

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
from .config_parts import (
    DinoConfig,
    HeadsConfig,
    SpecialIds,
    TextConfig,
    TokenNames,
    VitConfig,
    check,
    check_positive,
)
from .model_folder import has_file

__all__ = [
    "CHAT",
    "RECONSTRUCT",
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
SEMANTIC_PICTURES = ("square", "own")
CHAT, RECONSTRUCT = "chat", "reconstruct"  # prompts that frames stand behind


@dataclass(frozen=True)
class ModelConfig:
    """All of a model.

    Args:
        text, vit, dino, heads: Sizes of the parts.
        dino_width: Width in pixels of the geometric encoder's picture.
        vit_size: Side in pixels of the square picture ahead of the semantic encoder's rounding.
        semantic_picture: What the semantic encoder sees of a picture: "square", the whole squashed
            to `vit_size` (published), or "own", the whole in its own shape and size, rounded
            and bounded as Qwen2-VL does it; the first picture of a window gives that of all.
        confidence_head: The model has a confidence decoder and head.
        invalid_head: Beside it a head that knows pixels without anything solid (sky, the rim of a
            lens); False is published.
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
        point_refine: Channels of the convolutions that let the point map follow the picture
            (`extras/point_refine.py`); 0 is none (published).
        isolate_geometry: Patches of the geometric pass see no text and no marks, only patches,
            so that the semantic expert cannot change the geometry; False is published.
        geometry_feedback: Hidden states, points and poses of the geometric pass are added to
            the semantic image tokens and to each frame's start mark (`fusion.py`); False is
            published.
        reference_features: Words of a question that name a mark or a frame carry the features
            of that place or camera (`references.py`); False is published.

    Raises:
        ValueError: Unknown choice, or parts whose sizes do not fit each other.
    """

    text: TextConfig = field(default_factory=TextConfig)
    vit: VitConfig = field(default_factory=VitConfig)
    dino: DinoConfig = field(default_factory=DinoConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    dino_width: int = 518
    vit_size: int = 768
    semantic_picture: str = "square"
    confidence_head: bool = False
    invalid_head: bool = False
    dino_attention: str = "per_image"
    geometry_attention: str = "global"
    tokens: TokenNames = field(default_factory=TokenNames)
    mark_style: str = "drawn"
    conv_stem: int = 0
    ray_prior_fov_deg: float = 0.0
    match_width: int = 0
    point_refine: int = 0
    isolate_geometry: bool = False
    geometry_feedback: bool = False
    reference_features: bool = False

    @property
    def geometry_prompts(self) -> tuple[str, ...]:
        """Texts that the geometric pass may stand behind, the questions' first.

        Where patches see patches only the published one would change nothing.
        """
        return (CHAT,) if self.isolate_geometry else (CHAT, RECONSTRUCT)

    def __post_init__(self) -> None:
        check_positive(self, "dino_width", "vit_size")
        for name, choices in (
            ("dino_attention", DINO_ATTENTION),
            ("geometry_attention", GEOMETRY_ATTENTION),
            ("mark_style", MARK_STYLES),
            ("semantic_picture", SEMANTIC_PICTURES),
        ):
            value = getattr(self, name)
            check(value in choices, f"{name} is {value!r}, expected one of {list(choices)}")
        check(
            self.dino_width % self.dino.patch_size == 0,
            f"dino_width {self.dino_width} is no multiple of the patch {self.dino.patch_size}",
        )
        check(
            self.vit.hidden_size == self.text.hidden_size,
            f"vit hidden_size {self.vit.hidden_size} differs from text hidden_size "
            f"{self.text.hidden_size}",
        )
        width, heads = self.text.hidden_size, self.heads.num_heads
        check(
            width % heads == 0 and width // heads % 4 == 0,
            f"text hidden_size {width} over heads.num_heads {heads} must give a head width "
            "that is a multiple of 4",
        )
        check(
            self.confidence_head or not self.invalid_head,
            "invalid_head reads the confidence decoder: set confidence_head too",
        )
        check(self.conv_stem >= 0, f"conv_stem is {self.conv_stem}, expected 0 or more")
        check(self.match_width >= 0, f"match_width is {self.match_width}, expected 0 or more")
        check(self.point_refine >= 0, f"point_refine is {self.point_refine}, expected 0 or more")
        check(
            not self.reference_features or (self.geometry_feedback and self.mark_style == "text"),
            f"reference_features needs geometry_feedback and mark_style 'text', got "
            f"{self.geometry_feedback} and {self.mark_style!r}",
        )
        check(
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
        """The embedded model: 5.6 M parameters, 112 px wide pictures.

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
            vit=VitConfig(
                depth=2, embed_dim=128, hidden_size=width, num_heads=4, spatial_merge_size=1
            ),
            dino=DinoConfig(
                hidden_size=width, num_hidden_layers=2, num_attention_heads=4, image_size=112
            ),
            heads=HeadsConfig(depth=1, num_heads=4, point_dim=256, camera_dim=128),
            dino_width=112,
            vit_size=112,
            confidence_head=True,
            invalid_head=True,
            mark_style="text",
            conv_stem=64,
            ray_prior_fov_deg=65.0,
            match_width=32,
            point_refine=16,
            isolate_geometry=True,
            geometry_feedback=True,
            reference_features=True,
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
        extra = read_json(extra_path) if has_file(extra_path, "it holds the options") else {}
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
