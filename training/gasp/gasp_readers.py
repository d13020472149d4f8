# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures through a language model, whichever it is, with its layers listened to.

A reader puts the frames of windows through a model in the order of a chat and says which tokens
of the last pass are whose patches: G2VLM's semantic images, its geometric tokens, or the images
of a plain Qwen2.5-VL of `transformers`.

Shape letters: B windows, N frames, S visual tokens per frame, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from g2vlm_model.checkpoint import load_model, resolve_folder
from g2vlm_model.config import ModelConfig, VitConfig
from g2vlm_model.config_fields import read_json
from g2vlm_model.generate import reconstruct_prefix
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import PromptIds, prompt_ids

from ..datasets.base import Clip
from ..datasets.batch import WindowBatch, pixels_of
from ..datasets.views import model_clip
from ..stages.question_batch import picture_rows
from ..stages.semantic_stage import SemanticStage
from .gasp_heads import EXPERTS, LanguageLayer, language_layers

__all__ = [
    "GeometricReader",
    "PictureReader",
    "QwenReader",
    "SemanticReader",
    "image_tokens",
    "open_reader",
    "patch_tokens",
]

_QWEN = "qwen2_5_vl"


class PictureReader(Protocol):
    """Puts pictures through a language model."""

    @property
    def layers(self) -> Sequence[LanguageLayer]:
        """All layers of the model."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        ...

    def sized(self, clip: Clip) -> Clip:
        """The clip at the size at which the model takes pictures."""
        ...

    def read(self, batch: WindowBatch) -> tuple[int, int]:
        """Run the frames of windows, on the model's device; rows and columns of their tokens."""
        ...

    def images(self, said_BL: Tensor, frames: int) -> Tensor:
        """(B, N, S, ...) of the patches, from what a layer said (B, L, ...) in the last pass."""
        ...


def image_tokens(said_BL: Tensor, frames: int) -> Tensor:
    """(B, N, S, ...) patches of frames of (B, L, ...) that stand between two marks each."""
    tokens_BNS: Tensor = said_BL.unflatten(1, (frames, -1))[:, :, 1:-1]
    return tokens_BNS


def patch_tokens(said_BL: Tensor, frames: int) -> Tensor:
    """(B, N, P, ...) patches of frames of (B, L, ...) with nothing between them."""
    tokens_BNP: Tensor = said_BL.unflatten(1, (frames, -1))
    return tokens_BNP


class SemanticReader:
    """G2VLM's semantic images, behind system text and geometry.

    Args:
        semantic: Knows the sequence.
        side: Pixels of a side at which the semantic encoder sees pictures; 0 is the model's own.
    """

    def __init__(self, semantic: SemanticStage, side: int = 0) -> None:
        self.layers: Sequence[LanguageLayer] = language_layers(semantic.model)
        self._semantic, self._side = semantic, side

    @property
    def device(self) -> torch.device:
        """See `PictureReader`."""
        return self._semantic.model.device

    def sized(self, clip: Clip) -> Clip:
        """See `PictureReader`."""
        return model_clip(clip, self._semantic.model.config)

    def read(self, batch: WindowBatch) -> tuple[int, int]:
        """See `PictureReader`."""
        return self._semantic.prefix(batch, self._side).merged_hw

    def images(self, said_BL: Tensor, frames: int) -> Tensor:
        """See `PictureReader`."""
        return image_tokens(said_BL, frames)


class GeometricReader:
    """G2VLM's geometric tokens, as in a reconstruction.

    Args:
        model: The model.
        prompts: Of its tokenizer.
    """

    def __init__(self, model: G2VLM, prompts: PromptIds) -> None:
        self.layers: Sequence[LanguageLayer] = language_layers(model, "geometric")
        self._model, self._prompts = model, prompts

    @property
    def device(self) -> torch.device:
        """See `PictureReader`."""
        return self._model.device

    def sized(self, clip: Clip) -> Clip:
        """See `PictureReader`."""
        return model_clip(clip, self._model.config)

    def read(self, batch: WindowBatch) -> tuple[int, int]:
        """See `PictureReader`."""
        patch = self._model.config.patch_size
        grid = (batch.grid[0] // patch, batch.grid[1] // patch)
        tokens = self._model.encode_geometry(pixels_of(batch.rgb_BN3HW))
        cache = reconstruct_prefix(self._model, self._prompts, len(batch.scenes))
        self._model.geometry_pass(tokens, grid, cache=cache)
        return grid

    def images(self, said_BL: Tensor, frames: int) -> Tensor:
        """See `PictureReader`."""
        return patch_tokens(said_BL, frames)


class QwenReader:
    """The images of a plain Qwen2.5-VL, one after another, with nothing said about them.

    Args:
        model: `Qwen2_5_VLForConditionalGeneration`.
        side: Pixels of a side at which it sees pictures; made a multiple of a token's.
    """

    def __init__(self, model: Any, side: int = 448) -> None:
        self.layers: Sequence[LanguageLayer] = language_layers(model)
        self.model = model
        vision = model.config.vision_config
        vit = VitConfig(
            hidden_size=ModelConfig().text.hidden_size,
            patch_size=vision.patch_size,
            spatial_merge_size=vision.spatial_merge_size,
            temporal_patch_size=vision.temporal_patch_size,
            in_channels=vision.in_channels,
        )
        self._config = dataclasses.replace(ModelConfig(), vit=vit, vit_size=side)

    @property
    def device(self) -> torch.device:
        """See `PictureReader`."""
        return self.model.device  # type: ignore[no-any-return]

    def sized(self, clip: Clip) -> Clip:
        """See `PictureReader`; it resizes pictures itself."""
        return clip

    def inputs(self, batch: WindowBatch, after: Sequence[int] = ()) -> dict[str, Tensor]:
        """What the model takes for the frames of windows.

        Args:
            batch: B windows.
            after: Ids of text behind the pictures, the same for all windows.
        """
        config, device = self.model.config, batch.rgb_BN3HW.device
        rows = picture_rows(self._config, batch)
        windows, frames = batch.rgb_BN3HW.shape[:2]
        image = [
            config.vision_start_token_id,
            *[config.image_token_id] * (rows.merged_hw[0] * rows.merged_hw[1]),
            config.vision_end_token_id,
        ]
        ids_BL = torch.tensor([image * frames + list(after)] * windows, device=device)
        grid = torch.tensor([[1, *rows.grid_hw]] * (windows * frames), device=device)
        return {
            "input_ids": ids_BL,
            "attention_mask": torch.ones_like(ids_BL),
            "mm_token_type_ids": (ids_BL == config.image_token_id).long(),
            "pixel_values": rows.rows_NRC.flatten(0, 1).to(device, self.model.dtype),
            "image_grid_thw": grid,
        }

    def read(self, batch: WindowBatch) -> tuple[int, int]:
        """See `PictureReader`."""
        inputs = self.inputs(batch)
        self.model(**inputs, use_cache=False)
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        merge = self._config.vit.spatial_merge_size
        return rows // merge, columns // merge

    def images(self, said_BL: Tensor, frames: int) -> Tensor:
        """See `PictureReader`."""
        return image_tokens(said_BL, frames)


def open_reader(
    folder: str | Path,
    expert: str = "semantic",
    side: int = 0,
    device: torch.device | str = "cpu",
) -> PictureReader:
    """A reader of a model folder.

    Args:
        folder: Of G2VLM ("nano" is the embedded model), or of a Qwen2.5-VL of `transformers`.
        expert: Whose tokens, of a G2VLM.
        side: Pixels of a side at which the semantic encoder sees pictures; 0 is the model's own.
            More give more tokens per frame.
        device: Where the model goes.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: A model of another kind, or an unknown expert.
    """
    if expert not in EXPERTS:
        raise ValueError(f"expert is {expert!r}, expected one of {EXPERTS}")
    if folder != "nano" and (Path(folder) / "config.json").is_file():
        plain = _qwen(Path(folder)).to(device)
        return QwenReader(plain, side) if side else QwenReader(plain)
    model, tokenizer = load_model(resolve_folder(folder), device)
    if expert == "geometric":
        if side:
            raise ValueError(f"side is {side}, but the geometric expert does not read that encoder")
        return GeometricReader(model, prompt_ids(tokenizer, model.config.tokens))
    return SemanticReader(SemanticStage(model, tokenizer, questions=1), side)


def _qwen(folder: Path) -> Any:
    kind = read_json(folder / "config.json").get("model_type")
    if kind != _QWEN:
        raise ValueError(f"{folder} holds a model of type {kind!r}, expected G2VLM or {_QWEN!r}")
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    )
    return model.eval()
