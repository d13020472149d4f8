# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A model of any size in the memory of one layer: large weights are read whenever they are used.

Each pass reads the files once more, from the system's cache where they fit: at the published size
and in float32 that costs seconds a pass, where holding the weights costs 16 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g2vlm_model.checkpoint import (
    GLOBAL_POINTS,
    TABLE,
    assign,
    drop_global_points,
    load_model,
    model_on_meta,
    own_tokenizer,
    quantised_bits,
    resolve_folder,
    stored_weights,
    weight_count,
    weight_files,
)
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.quantised import QuantisedEmbedding, QuantisedLinear, quantisable
from g2vlm_model.runtimes.machine import free_memory
from g2vlm_model.safetensors_file import StoredRows, StoredWeight
from g2vlm_model.tokenizer import Tokenizer

from .weights import pieces_of

__all__ = ["StreamedLinear", "fits_whole", "streamed_model", "whole_or_streamed"]

WORK = 1.15  # of the weights: what they and the passes of a check take


class StreamedLinear(nn.Linear):
    """A linear map in float32 whose weights lie in their file between two calls.

    Args:
        shape: Of the weights, (O, I).
        stored: Where they are.
        bits: 8 or 4: they are rounded as `QuantisedLinear` does; 0: as they are.

    Attributes:
        weight: Without memory, for its shape.
    """

    def __init__(
        self, shape: torch.Size, stored: StoredWeight, bits: int, bias: nn.Parameter | None
    ) -> None:
        super().__init__(shape[1], shape[0], bias=False, device="meta")
        self.weight.requires_grad_(False)
        self.bias = bias  # type: ignore[assignment]  # nn.Linear has None for it too
        self._stored, self._bits = stored, bits

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        outputs = [self._of(x, rows) for rows in pieces_of(self.weight.shape)]
        y = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        return y if self.bias is None else y + self.bias

    def _of(self, x: Tensor, rows: slice) -> Tensor:
        """Some of the outputs: a language head is never whole in memory."""
        weight_OI = self._stored.read(torch.float32, rows=rows)
        if not self._bits:
            return F.linear(x, weight_OI)
        y: Tensor = QuantisedLinear(weight_OI, self._bits, torch.float32)(x)
        return y


@contextmanager
def streamed_model(folder: str | Path, quantise: str = "") -> Iterator[tuple[G2VLM, Tokenizer]]:
    """Open a model folder; its files stay open until the block ends.

    Args:
        folder: Folder, or the name of an embedded model.
        quantise: As of `load_model`.

    Returns:
        The model in float32 on the CPU, without the decoder of global points, and its tokenizer.

    Raises:
        FileNotFoundError, ValueError: See `load_model`.
    """
    root = resolve_folder(folder)
    config = ModelConfig.from_folder(root)
    tokenizer = own_tokenizer(root, config)
    model = model_on_meta(config, tokenizer.special_ids(config.tokens)).eval()
    model.requires_grad_(False)
    large = {f"{name}.weight" for name, _, _ in quantisable(model, "int8")}
    bits = quantised_bits(model, quantise)
    with stored_weights(model, weight_files(root)) as stored:
        shapes = {name: one.shape for name, one in model.named_parameters()}
        left = {one.name: one for one in stored if not one.name.startswith(GLOBAL_POINTS)}
        for name, one in left.items():
            if name == TABLE and (name in bits or not config.reference_features):
                _put_table(model, one, bool(bits))
            elif name not in large:
                assign(model, name, one.read(torch.float32))
        drop_global_points(model)
        for name in large & set(left):
            path = name.removesuffix(".weight")
            bias = getattr(model.get_submodule(path), "bias", None)
            made = StreamedLinear(shapes[name], left[name], bits.get(name, 0), bias)
            model.set_submodule(path, made)
        yield model, tokenizer


def _put_table(model: G2VLM, stored: StoredWeight, quantised: bool) -> None:
    """The table of embeddings: in 8 bits, or as pages of its file, of which few are read."""
    if quantised:
        made = QuantisedEmbedding(StoredRows(stored, "cpu"), torch.float32)
        model.set_submodule(TABLE.removesuffix(".weight"), made)
    else:
        assign(model, TABLE, stored.reader.mapped(stored.stored_as))


def fits_whole(folder: Path, quantise: str = "") -> bool:
    """Whether this machine's free memory holds a model and the work on it."""
    free, bytes_each = free_memory(), 1.1 if quantise else 4.0
    return free is None or WORK * bytes_each * weight_count(folder) < free


@contextmanager
def whole_or_streamed(folder: Path, quantise: str = "") -> Iterator[tuple[G2VLM, Tokenizer]]:
    """A model in float32 in memory where that fits, which is faster, else as `streamed_model`."""
    if not fits_whole(folder, quantise):
        with streamed_model(folder, quantise) as streamed:
            yield streamed
        return
    model, tokenizer = load_model(folder, global_points=False, quantise=quantise)
    yield model.requires_grad_(False), tokenizer
