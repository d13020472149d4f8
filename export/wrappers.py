# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometric path as a module with tensors in and out: what `to_onnx` traces.

uint8 pictures of one window go in, what the heads say comes out, behind a prompt's prefix. Where
the model's geometry hangs on the prompt, its keys and values go in too, so that one graph serves
reconstruction and questions; else those of the chat prefix are constants. There is no batch: a
graph serves one window of N frames.

Shape letters: N frames, H W pixels, P patches per frame, D width, E layers, G key/value heads,
T tokens of the prefix, L = N * (P + 2) tokens of the frames with their marks, C head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import normalise
from g2vlm_model.runtimes.export_folder import PREFIX_INPUTS

from .rotation import nearest_rotation_jacobi
from .traced import in_place_of

__all__ = ["GeometryGraph", "Prefix", "kept_names", "prefix_names", "said_names"]


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the text ahead of the frames.

    Args:
        keys_EGTC, values_EGTC: In the model's type.
        position: Rotary position of the token behind it.
    """

    keys_EGTC: Tensor
    values_EGTC: Tensor
    position: int

    @property
    def tokens(self) -> int:
        """Tokens of the prefix."""
        return self.keys_EGTC.shape[2]


def said_names(config: ModelConfig, *, in_graph_rotation: bool) -> tuple[str, ...]:
    """Names of what is said of a window, in the order of a graph's outputs."""
    names = ["local_points", "rotation" if in_graph_rotation else "rotation9", "translation"]
    if config.confidence_head:
        names.append("confidence_logits")
    if config.invalid_head:
        names.append("invalid_logits")
    return tuple(names)


def prefix_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of what a graph takes beside the pictures, in the order of its inputs."""
    return PREFIX_INPUTS if len(config.geometry_prompts) > 1 else ()


def kept_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of what questions about a window need, in the order of a graph's outputs."""
    return ("keys", "values", "hidden") if config.geometry_feedback else ("keys", "values")


class PassCache:
    """An `AttentionCache` that starts with a prefix and remembers what one pass adds."""

    def __init__(self, prefix: Prefix) -> None:
        self.length = prefix.tokens
        self.position = prefix.position
        self.keys_GLC: list[Tensor] = []
        self.values_GLC: list[Tensor] = []
        self._prefix = prefix

    def append(self, layer: int, k_BGLC: Tensor, v_BGLC: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values; return them behind the prefix's."""
        assert layer == len(self.keys_GLC), (layer, len(self.keys_GLC))
        self.keys_GLC.append(k_BGLC[0])
        self.values_GLC.append(v_BGLC[0])
        k_old_BGTC, v_old_BGTC = (
            old_EGTC[layer : layer + 1].to(k_BGLC.dtype)
            for old_EGTC in (self._prefix.keys_EGTC, self._prefix.values_EGTC)
        )
        return torch.cat((k_old_BGTC, k_BGLC), dim=2), torch.cat((v_old_BGTC, v_BGLC), dim=2)

    def advance(self, tokens: int, position: int) -> None:
        """End the pass; nobody goes on behind it."""


class GeometryGraph(nn.Module):
    """Pictures to `outputs`, in that order.

    Args:
        model: In evaluation mode; its type is the graph's precision.
        prefix: Of the chat prompt; the one that the graph stands behind where it is given none.
        in_graph_rotation: Give the nearest rotations in place of the raw matrices.

    Attributes:
        outputs: "tokens" (N, P, D) of the encoder, `said_names`, `kept_names`: the graphs of all
            parts are cut out of this one.
    """

    def __init__(self, model: G2VLM, prefix: Prefix, *, in_graph_rotation: bool) -> None:
        super().__init__()
        self.model = model
        self.in_graph_rotation = in_graph_rotation
        self.position = prefix.position
        self.register_buffer("keys_EGTC", prefix.keys_EGTC)
        self.register_buffer("values_EGTC", prefix.values_EGTC)
        # Two rows, so that the graph does not hold the whole table of embeddings for them.
        self.register_buffer("marks_2D", model.image_marks().detach().clone())
        said = said_names(model.config, in_graph_rotation=in_graph_rotation)
        self.outputs = ("tokens", *said, *kept_names(model.config))

    def forward(
        self,
        pictures_NHW3: Tensor,
        keys_EGTC: Tensor | None = None,
        values_EGTC: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Run a window.

        Args:
            pictures_NHW3: uint8; H and W multiples of the patch.
            keys_EGTC, values_EGTC: Of another prefix: text, so that it ends at position T.
        """
        model = self.model
        patch = model.config.patch_size
        grid_hw = (pictures_NHW3.shape[1] // patch, pictures_NHW3.shape[2] // patch)
        pixels_1N3HW = normalise(pictures_NHW3)[None]
        tokens_NPD = model.encode_geometry(pixels_1N3HW)[0]
        if keys_EGTC is None or values_EGTC is None:
            assert isinstance(self.keys_EGTC, Tensor)
            assert isinstance(self.values_EGTC, Tensor)
            cache = PassCache(Prefix(self.keys_EGTC, self.values_EGTC, self.position))
        else:
            cache = PassCache(Prefix(keys_EGTC, values_EGTC, keys_EGTC.shape[2]))
        with in_place_of(model, "image_marks", lambda: self.marks_2D):
            hidden_1NPD = model.geometry_pass(tokens_NPD[None], grid_hw, cache=cache).hidden_BNPD
        said = model.heads(hidden_1NPD, grid_hw, pixels_BN3HW=pixels_1N3HW)
        given = {
            "tokens": tokens_NPD,
            "local_points": said.local_points[0],
            "translation": said.translation[0],
            "keys": torch.stack(cache.keys_GLC),
            "values": torch.stack(cache.values_GLC),
            "hidden": hidden_1NPD[0].to(model.dtype),
        }
        if self.in_graph_rotation:
            given["rotation"] = nearest_rotation_jacobi(said.rotation9[0])
        else:
            given["rotation9"] = said.rotation9[0]
        if said.confidence_logits is not None:
            given["confidence_logits"] = said.confidence_logits[0, ..., 0]
        if said.invalid_logits is not None:
            given["invalid_logits"] = said.invalid_logits[0, ..., 0]
        return tuple(given[name] for name in self.outputs)
