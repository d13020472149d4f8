# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Weights of 8 and 4 bits: linear maps whose weights are small integers with a scale for a group.

The table of embeddings has 8 bits and a scale for each row. Activations, caches, norms,
convolutions and the last maps of the heads keep their precision; so does all of the options that
the published architecture lacks. Weights are rounded to the nearest of 2^bits - 1 symmetric levels
while they are loaded, tensor by tensor; no frames are needed for it. A product casts a few rows of
the weights at a time, which stay in the processor's cache: what comes from memory are the integers.

Shape letters: O outputs, I inputs, G groups of inputs, V words, D width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "PRECISIONS",
    "QuantisedEmbedding",
    "QuantisedLinear",
    "Rows",
    "bits_of",
    "cast_at_once",
    "quantisable",
    "weight_count",
]

GROUP = {8: 0, 4: 64}  # inputs that share a scale; 0: all of a row
_ROUNDED = 1 << 20  # weights that are rounded at once: what is between takes 16 times a byte
_BLOCK_BYTES = 1 << 20  # of weights that are cast at once on a CPU for few tokens
_ROWS = 32  # few tokens; of more the products outweigh a cast, and smaller products are slower
_CAST_CPU = 1 << 22  # weights that are cast at once for them: 16 MiB
_CAST = 1 << 24  # and elsewhere: all of a map, but of a language head

# Precision -> bits of (semantic half, geometric half).
PRECISIONS = {"int8": (8, 8), "int4": (4, 4), "int4+int8": (4, 8)}
_SEMANTIC = re.compile(
    r"trunk\.layers\.\d+\.semantic\.\w+_proj|trunk\.lm_head|vit\.(blocks\.\d+|merger)\..+"
)
_GEOMETRIC = re.compile(
    r"trunk\.layers\.\d+\.geometric\.\w+_proj|dino\.blocks\.\d+\..+|"
    r"heads\.(point|camera|global|confidence)_decoder\.blocks\.\d+\..+"
)


def bits_of(name: str, precision: str) -> int:
    """Bits of a linear map's weights; 0 where they are not quantised.

    Args:
        name: Of the module, as `named_modules` has it.
        precision: One of `PRECISIONS`.
    """
    semantic, geometric = PRECISIONS[precision]
    if _SEMANTIC.fullmatch(name):
        return semantic
    return geometric if _GEOMETRIC.fullmatch(name) else 0


def weight_count(model: nn.Module) -> int:
    """How many weights a model has, however many bits they have."""
    count = 0
    for module in model.modules():
        if isinstance(module, QuantisedLinear):
            count += module.in_features * module.out_features
            count -= module.weight.numel() + module.scale.numel()
        elif isinstance(module, QuantisedEmbedding):
            count -= module.scale.numel()
    return count + sum(parameter.numel() for parameter in model.parameters())


def quantisable(model: nn.Module, precision: str) -> Iterator[tuple[str, nn.Linear, int]]:
    """Name, module and bits of what a precision quantises."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (bits := bits_of(name, precision)):
            yield name, module, bits


def cast_at_once(on_cpu: bool) -> int:
    """How many weights a product of many tokens casts at once."""
    return _CAST_CPU if on_cpu else _CAST


class Rows(Protocol):
    """Weights that can be had row by row: a tensor, or what lies in a file."""

    @property
    def shape(self) -> torch.Size:
        """(O, I)."""

    @property
    def device(self) -> torch.device:
        """Where rows are handed out."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Some rows, any float type."""


class QuantisedLinear(nn.Module):
    """y = x W^T + b with W_OI = q_OI s_OG.

    Args:
        weight_OI: Weights, of which a few rows are asked for at once.
        bits: 8 or 4.
        dtype: Of the scales, and of what the weights are cast to.
        bias: (O,), or None.

    Attributes:
        weight: int8 (O, I); of 4 bits uint8 (O, I / 2), the even input in the low half.
        scale: (O, G).
    """

    def __init__(
        self, weight_OI: Rows, bits: int, dtype: torch.dtype, bias: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        group = GROUP[bits] if GROUP[bits] and inputs % GROUP[bits] == 0 else inputs
        if bits == 4 and inputs % 2:
            raise ValueError(f"4 bits need an even number of inputs, got {inputs}")
        self.out_features, self.in_features, self.bits = outputs, inputs, bits
        packed = torch.uint8 if bits == 4 else torch.int8
        device = weight_OI.device
        levels = torch.empty(outputs, inputs * bits // 8, dtype=packed, device=device)
        scale_OG = torch.empty(outputs, inputs // group, dtype=dtype, device=device)
        rows = max(1, _ROUNDED // inputs)
        for first in range(0, outputs, rows):
            part = slice(first, first + rows)
            levels[part], scale_OG[part] = _rounded(weight_OI[part].detach(), bits, group, dtype)
        self.weight = nn.Parameter(levels, requires_grad=False)
        self.scale = nn.Parameter(scale_OG, requires_grad=False)
        self.bias = bias

    def weights(self) -> Tensor:
        """W, (O, I), in the scales' type."""
        return self._scaled(self._levels(0, self.out_features), 0, self.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        x = x.to(self.scale.dtype)
        cast = cast_at_once(x.device.type == "cpu")
        tokens = x.numel() // self.in_features
        if x.device.type == "cpu" and tokens <= _ROWS:
            cast = _BLOCK_BYTES // self.scale.dtype.itemsize
        rows = max(1, cast // max(self.in_features, tokens))  # weights, and their products
        if rows >= self.out_features:
            y = self._product(x, 0, self.out_features)
        else:
            y = x.new_empty(*x.shape[:-1], self.out_features)
            for first in range(0, self.out_features, rows):
                end = min(first + rows, self.out_features)
                y[..., first:end] = self._product(x, first, end)
        return y if self.bias is None else y.add_(self.bias)

    def _product(self, x: Tensor, first: int, end: int) -> Tensor:
        """Outputs [first, end): one scale of a row is cheaper on the outputs."""
        levels_OI = self._levels(first, end)
        if self.scale.shape[1] == 1:
            return F.linear(x, levels_OI).mul_(self.scale[first:end, 0])
        return F.linear(x, self._scaled(levels_OI, first, end))

    def _levels(self, first: int, end: int) -> Tensor:
        """Rows [first, end) of q, (O, I), in the scales' type."""
        packed = self.weight[first:end]
        if self.bits == 4:
            # A shift of int8 keeps the sign: the low half goes up first.
            signed = packed.view(torch.int8)
            packed = torch.stack(((signed << 4) >> 4, signed >> 4), dim=-1).flatten(-2)
        return packed.to(self.scale.dtype)

    def _scaled(self, levels_OI: Tensor, first: int, end: int) -> Tensor:
        grouped_OGI = levels_OI.view(end - first, self.scale.shape[1], -1)
        return (grouped_OGI * self.scale[first:end, :, None]).view(end - first, -1)

    def extra_repr(self) -> str:
        """Return sizes and bits."""
        return f"{self.in_features}, {self.out_features}, bits={self.bits}"


def _rounded(weight_OI: Tensor, bits: int, group: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Levels as `QuantisedLinear.weight` has them, and scales (O, G) of a type."""
    outputs, inputs = weight_OI.shape
    grouped_OGI = weight_OI.float().view(outputs, inputs // group, group)
    top = 2 ** (bits - 1) - 1
    scale_OG = (grouped_OGI.abs().amax(-1).clamp_min(1e-12) / top).to(dtype)
    levels = (grouped_OGI / scale_OG.float()[..., None]).round_().clamp_(-top, top).to(torch.int8)
    levels = levels.view(outputs, inputs)
    if bits == 4:
        low, high = levels[:, ::2] & 15, levels[:, 1::2] & 15
        levels = low.to(torch.uint8) | (high.to(torch.uint8) << 4)
    return levels, scale_OG


class QuantisedEmbedding(nn.Module):
    """A table of embeddings of 8 bits.

    Args:
        weight_VD: The table, as `QuantisedLinear` takes weights.
        dtype: Of the scales, and of what is looked up.

    Attributes:
        weight: int8 (V, D).
        scale: (V, 1).
    """

    def __init__(self, weight_VD: Rows, dtype: torch.dtype) -> None:
        super().__init__()
        rounded = QuantisedLinear(weight_VD, 8, dtype)  # a scale for each row, here as there
        self.weight, self.scale = rounded.weight, rounded.scale

    def forward(self, ids: Tensor) -> Tensor:
        """(..., D) of ids (...)."""
        return F.embedding(ids, self.weight).to(self.scale.dtype) * F.embedding(ids, self.scale)

    def row(self, number: int) -> Tensor:
        """(D,) of one id that is known ahead."""
        return self.weight[number].to(self.scale.dtype) * self.scale[number]
