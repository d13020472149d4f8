# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What torch computes in float32: the truth that every exported form is compared with.

It runs the model as the torch runtime does, with its cache and its fast paths, and not the
modules that are traced: what an exporter got wrong shows up.

Shape letters: N frames, H W pixels, P patches per frame, D width, E layers, G key/value heads,
L tokens, C head width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.checkpoint import load_model
from g2vlm_model.config import CHAT
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import normalise
from g2vlm_model.runtimes.torch.context import prefix_cache, scene_cache
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

__all__ = ["TorchReference"]


class TorchReference:
    """A model behind its prompts; the truth is float32 on the CPU.

    Args:
        model: In evaluation mode, on any device, in any precision.
        tokenizer: Of its folder.

    Attributes:
        prefixes: Keys and values of what its geometry may stand behind, by prompt.
    """

    def __init__(self, model: G2VLM, tokenizer: Tokenizer) -> None:
        self.model = model
        with torch.inference_mode():
            prompts = prompt_ids(tokenizer, model.config.tokens)
            self.prefixes = {
                prompt: prefix_cache(model, prompts.ahead(prompt))
                for prompt in model.config.geometry_prompts
            }

    @classmethod
    def load(cls, folder: str | Path) -> TorchReference:
        """Load a model folder or an embedded model in float32 on the CPU."""
        return cls(*load_model(folder))

    def geometry(
        self, pictures_NHW3: NDArray[np.uint8], prompt: str = CHAT
    ) -> dict[str, NDArray[Any]]:
        """Compute a window, see `tensors`; float32 on the host."""
        return {
            name: np.ascontiguousarray(tensor.float().cpu().numpy())
            for name, tensor in self.tensors(pictures_NHW3, prompt).items()
        }

    @torch.inference_mode()
    def tensors(self, pictures_NHW3: NDArray[np.uint8], prompt: str = CHAT) -> dict[str, Tensor]:
        """Compute a window.

        Args:
            pictures_NHW3: uint8 RGB; H and W multiples of the patch.
            prompt: What the frames stand behind, one of `ModelConfig.geometry_prompts`.

        Returns:
            What a graph `geometry` gives with every part: `local_points` (N, H, W, 3),
            `rotation9` (N, 9), `rotation` (N, 3, 3), `translation` (N, 3),
            `confidence_logits` and `invalid_logits` (N, H, W) where the model has the heads,
            `keys` and `values` (E, G, L, C) without the prefix's, `hidden` (N, P, D), and
            `tokens` (N, P, D) of the encoder.
        """
        model = self.model
        frames, height, width = pictures_NHW3.shape[:3]
        grid_hw = (height // model.config.patch_size, width // model.config.patch_size)
        pixels_1N3HW = normalise(torch.from_numpy(pictures_NHW3).to(model.device))[None]
        prefix = self.prefixes[prompt]
        cache = scene_cache(model, prefix, frames, grid_hw)
        tokens_1NPD = model.encode_geometry(pixels_1N3HW)
        hidden = model.geometry_pass(tokens_1NPD, grid_hw, cache=cache)
        said = model.decode_geometry(hidden.hidden_BNPD, grid_hw, pixels_BN3HW=pixels_1N3HW)
        own = slice(prefix.length, cache.length)
        tensors = {
            "local_points": said.local_points_BNHW3[0],
            "rotation9": said.rotation9_BN9[0],
            "rotation": said.T_world_cam_BN44[0, :, :3, :3],
            "translation": said.translation_BN3[0],
            "keys": cache.keys[:, 0, :, own],
            "values": cache.values[:, 0, :, own],
            "hidden": hidden.hidden_BNPD[0],
            "tokens": tokens_1NPD[0],
        }
        if said.confidence_logits_BNHW1 is not None:
            tensors["confidence_logits"] = said.confidence_logits_BNHW1[0, ..., 0]
        if said.invalid_logits_BNHW1 is not None:
            tensors["invalid_logits"] = said.invalid_logits_BNHW1[0, ..., 0]
        return tensors
