# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a language model's layers are, what they say, and the heads that GASP puts on them.

The same code finds the layers of G2VLM (either expert) and of a plain Qwen2.5-VL of
`transformers`. Heads exist in training only: they are no part of the model that they look at.

Shape letters: B batch, L tokens, A query heads, G key heads, C head width, D width, E descriptor
width, H hidden width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from g2vlm_model.mot import MixtureLayer

__all__ = ["EXPERTS", "LanguageLayer", "LayerTap", "PointHead", "chosen_layers", "language_layers"]

_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)")
EXPERTS = ("semantic", "geometric")


@dataclass(frozen=True)
class LanguageLayer:
    """One layer of a language model.

    Args:
        index: From 0.
        name: Of the adapted part in the model.
        layer: Its output is the residual stream.
        adapted: Holds the linear maps of one expert, or of the whole layer.
        norm: Ahead of the projections.
        attention: Holds `q_proj`, `k_proj`, `head_dim`, and norms of both where there are some.
    """

    index: int
    name: str
    layer: nn.Module
    adapted: nn.Module
    norm: nn.Module
    attention: nn.Module

    @property
    def width(self) -> int:
        """D."""
        weight_D = self.norm.weight
        assert isinstance(weight_D, Tensor)
        return len(weight_D)


def language_layers(model: nn.Module, expert: str = "semantic") -> list[LanguageLayer]:
    """Find the layers of the language model.

    Args:
        model: A `G2VLM`, or a model of `transformers` whose layers have `self_attn.q_proj` and
            `input_layernorm`.
        expert: Of a mixture: "semantic" or "geometric".

    Raises:
        ValueError: There are none.
    """
    assert expert in EXPERTS, expert
    found = []
    for name, layer in model.named_modules():
        match = _LAYER.fullmatch(name)
        if match is None:
            continue
        index = int(match[1])
        if isinstance(layer, MixtureLayer):
            part = getattr(layer, expert)
            place = f"{name}.{expert}"
            found.append(LanguageLayer(index, place, layer, part, part.attention_norm, part))
        elif hasattr(getattr(layer, "self_attn", None), "q_proj"):
            attention, norm = layer.self_attn, layer.input_layernorm
            assert isinstance(attention, nn.Module)
            assert isinstance(norm, nn.Module)
            found.append(LanguageLayer(index, name, layer, layer, norm, attention))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layer with projections of queries and keys, expected "
            "G2VLM or a language model such as Qwen2.5-VL"
        )
    return found


def chosen_layers(found: Sequence[LanguageLayer], span: Sequence[int]) -> list[LanguageLayer]:
    """The layers of a range.

    Args:
        found: From `language_layers`.
        span: First layer and the one behind the last; empty is all of them.

    Raises:
        ValueError: The range is not inside of the model.
    """
    if not span:
        return list(found)
    first, end = span
    if not 0 <= first < end <= len(found):
        raise ValueError(
            f"layers is {first} to {end}, expected a range inside of the model's {len(found)} "
            "layers, counted from 0"
        )
    return [layer for layer in found if first <= layer.index < end]


class PointHead(nn.Module):
    """Two-layer MLP from a layer's tokens to descriptors (eq. 4).

    It starts as the best approximation of that width of the layer's own query projection: the
    hidden units come in pairs of opposite sign, and gelu(z) - gelu(-z) = z, so that ahead of the
    first step the similarities of descriptors are those of queries.

    Args:
        source: The layer; its weights are copied, not kept.
        width: E.

    Raises:
        ValueError: The queries are narrower.
    """

    def __init__(self, source: LanguageLayer, width: int) -> None:
        super().__init__()
        query, gain_D = source.attention.q_proj, source.norm.weight
        assert isinstance(query, nn.Linear)
        assert isinstance(gain_D, Tensor)
        weight_QD = query.weight.detach()
        least = min(weight_QD.shape)
        if width > least:
            raise ValueError(
                f"descriptor_width is {width}, but the queries of layer {source.index} have "
                f"only {least} dimensions; lower gasp.descriptor_width"
            )
        self.scale = nn.Parameter(gain_D.detach().float().clone())
        self.inner = nn.Linear(source.width, 2 * width, bias=False, device=weight_QD.device)
        self.outer = nn.Linear(2 * width, width, device=weight_QD.device)
        if weight_QD.is_meta:  # another process has the weights
            return
        bias_Q = query.bias
        U_QR, spread_R, Vh_RD = torch.linalg.svd(weight_QD.float(), full_matrices=False)
        root_E = spread_R[:width].sqrt()
        rows_ED = root_E[:, None] * Vh_RD[:width]
        with torch.no_grad():
            self.inner.weight.copy_(torch.cat((rows_ED, -rows_ED)))
            self.outer.weight.copy_(torch.cat((root_E.diag(), -root_E.diag()), dim=1))
            self.outer.bias.zero_()
            if bias_Q is not None:
                self.outer.bias.copy_(bias_Q.detach().float() @ U_QR[:, :width])

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """Return unit-length descriptors (..., E) in fp32."""
        tokens_BLD = tokens_BLD.float()
        normed_BLD = F.rms_norm(tokens_BLD, self.scale.shape, self.scale, eps=1e-6)
        return F.normalize(self.outer(F.gelu(self.inner(normed_BLD))), dim=-1)


class LayerTap:
    """Keeps what layers said in their last pass while it is open (a context manager).

    Args:
        layers: Which.
        projections: Keep queries and keys too, ahead of their rotation.

    Attributes:
        hidden: Output (B, L, D) by layer.
        queries: (B, L, A, C) by layer.
        keys: (B, L, G, C) by layer.
    """

    def __init__(self, layers: Sequence[LanguageLayer], projections: bool = False) -> None:
        self.layers, self.projections = tuple(layers), projections
        self.hidden: dict[int, Tensor] = {}
        self.queries: dict[int, Tensor] = {}
        self.keys: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> LayerTap:
        for layer in self.layers:
            self._watch(layer.layer, self.hidden, layer.index)
            if self.projections:
                head = int(layer.attention.head_dim)  # type: ignore[arg-type]
                for letter, kept in (("q", self.queries), ("k", self.keys)):
                    last = getattr(layer.attention, f"{letter}_norm", None)
                    last = last or getattr(layer.attention, f"{letter}_proj")
                    self._watch(last, kept, layer.index, head)
        return self

    def __exit__(self, *raised: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _watch(self, part: nn.Module, kept: dict[int, Tensor], index: int, head: int = 0) -> None:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor: Tensor = output[0] if isinstance(output, tuple) else output
            flat = head > 0 and tensor.dim() == 3
            kept[index] = tensor.unflatten(-1, (-1, head)) if flat else tensor

        self._handles.append(part.register_forward_hook(keep))
