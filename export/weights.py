# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The weights of an export in one file, in the form that its graphs read: `lay_out`.

They are read, converted and written tensor by tensor, and the model's parameters are views of the
file's mapping: a model of any size is traced in the memory of its largest tensor. Graphs name
places of the file, so what several of them use (the semantic expert, which answers and which the
marks around frames pass through) is there once, on the disk and in the memory of whoever maps it.

Large linear maps are kept as products of ONNX take them (inputs x outputs), or in the layout of
ONNX Runtime's operator MatMulNBits: [outputs, blocks, bytes of a block], unsigned levels around
2^(bits - 1), the even input in the low half of a byte, and one float32 scale for each block. The
levels and scales are those of `g2vlm_model.quantised`; a row's only scale stands in each block.

Shape letters: O outputs, I inputs, K blocks, B bytes of a block.
"""

from __future__ import annotations

import mmap
import shutil
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from g2vlm_model.checkpoint import (
    FLOAT32_PREFIXES,
    GLOBAL_POINTS,
    TABLE,
    assign,
    drop_global_points,
    model_on_meta,
    quantised_bits,
    stored_weights,
    weight_files,
)
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.model import G2VLM
from g2vlm_model.quantised import PRECISIONS, QuantisedEmbedding, QuantisedLinear, quantisable
from g2vlm_model.safetensors_file import StoredRows, StoredWeight

__all__ = ["WEIGHTS", "NBitsLinear", "WeightFile", "block_size", "lay_out", "nbits", "pieces_of"]

WEIGHTS = "weights.bin"
BLOCKS = (256, 128, 64, 32, 16)  # inputs; what MatMulNBits takes
# A graph's own file ends at 2 GB, and small ones are faster with packed copies of their weights.
SHARED_BYTES = 256 << 20
# Weights of one product. MatMulNBits casts all of them at each run, as a CPU does with float16: of
# a language head for 151,936 words that would be 0.9 GiB a token.
PIECE = 1 << 24
SEARCH = ("dino", "dino_projection", "match")  # modules of the model
_ALIGN = 64  # bytes


class MatrixLinear(nn.Module):
    """y = x W + b with weights (I, O): the form of a product in ONNX.

    Args:
        pieces: Weights of so many outputs each.
        bias: (O,), or None.
    """

    def __init__(self, pieces: list[Tensor], bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(one, requires_grad=False) for one in pieces])
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return _joined([x @ weight_IO for weight_IO in self.weights], self.bias)


class NBitsLinear(nn.Module):
    """y = x W^T + b by MatMulNBits; for tracing only, it computes nothing.

    Args:
        pieces: Packed weights (O, K, B) uint8 and scales (O, K) float32 of so many outputs each.
        inputs: I.
        bits: 8 or 4.
        bias: (O,), or None.
    """

    def __init__(
        self,
        pieces: list[tuple[Tensor, Tensor]],
        inputs: int,
        bits: int,
        bias: nn.Parameter | None,
    ) -> None:
        super().__init__()
        self.weights, self.scales = (
            nn.ParameterList([nn.Parameter(one, requires_grad=False) for one in each])
            for each in zip(*pieces, strict=True)
        )
        self.bias = bias
        self.inputs, self.bits = inputs, bits
        self.block = pieces[0][0].shape[2] * 8 // bits

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        outputs = [
            self._product(x, weight, scale)
            for weight, scale in zip(self.weights, self.scales, strict=True)
        ]
        return _joined(outputs, self.bias)

    def _product(self, x: Tensor, weight_OKB: Tensor, scale_OK: Tensor) -> Tensor:
        outputs = weight_OKB.shape[0]
        y: Tensor = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (x, weight_OKB, scale_OK),
            {"K": self.inputs, "N": outputs, "bits": self.bits, "block_size": self.block},
            dtype=x.dtype,
            shape=(*x.shape[:-1], outputs),
            version=1,
        )
        return y


def _joined(outputs: list[Tensor], bias: Tensor | None) -> Tensor:
    y = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
    return y if bias is None else y + bias


def block_size(group: int) -> int:
    """Inputs of a block: the most that divide a group, else 16, and the last block is filled up."""
    return next((size for size in BLOCKS if group % size == 0), BLOCKS[-1])


def nbits(quantised: QuantisedLinear) -> tuple[Tensor, Tensor]:
    """Packed weights (O, K, B) uint8 and scales (O, K) float32 of a map, for MatMulNBits.

    Raises:
        ValueError: Groups of inputs that no block fits.
    """
    outputs, inputs, bits = quantised.out_features, quantised.in_features, quantised.bits
    groups = quantised.scale.shape[1]
    block = block_size(inputs // groups)
    blocks = -(-inputs // block)
    if groups > 1 and (inputs // groups) % block:
        raise ValueError(f"groups of {inputs // groups} inputs do not fill blocks of {block}")
    middle = 0x80 if bits == 8 else 0x88  # 0 of one level, or of two
    # Two's complement to levels around the middle: the highest bit turns over.
    stored = quantised.weight.detach().view(torch.uint8) ^ middle
    size = blocks * block * bits // 8
    if stored.shape[1] < size:
        rest = torch.full((outputs, size - stored.shape[1]), middle, dtype=torch.uint8)
        stored = torch.cat((stored, rest), dim=1)
    scales_OG = quantised.scale.detach().float()
    scales_OK = scales_OG.repeat_interleave(blocks // groups, dim=1).contiguous()
    return stored.view(outputs, blocks, -1), scales_OK


@dataclass
class WeightFile:
    """A file of tensors that is written once and then mapped.

    Args:
        path: Where it is written; it may be moved or removed once it is mapped.

    Attributes:
        bytes: Of the file.
    """

    path: Path
    bytes: int = 0
    _places: dict[str, tuple[int, torch.dtype, torch.Size]] = field(default_factory=dict)
    _map: mmap.mmap | None = None
    _first: int = 0

    def put(self, file: BinaryIO, name: str, pieces: Iterable[Tensor]) -> None:
        """Append a tensor to the open file, of which pieces of its rows come one after the other.

        A tensor without rows is one piece.
        """
        assert name not in self._places, name
        file.write(b"\0" * (-self.bytes % _ALIGN))
        self.bytes += -self.bytes % _ALIGN
        begin, shape, dtype = self.bytes, torch.Size(), torch.float32
        for number, piece in enumerate(pieces):
            raw = piece.detach().contiguous()
            shape = torch.Size((shape[0] + len(raw), *shape[1:])) if number else raw.shape
            dtype = raw.dtype
            file.write(raw.view(-1).view(torch.uint8).numpy().data)
            self.bytes += raw.nbytes
        self._places[name] = (begin, dtype, shape)

    def map(self) -> dict[str, Tensor]:
        """Map what was written; tensors that are views of it, only read, by name."""
        with self.path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            self._first = torch.frombuffer(self._map, dtype=torch.uint8, count=1).data_ptr()
            return {
                name: torch.frombuffer(
                    self._map, dtype=dtype, count=shape.numel(), offset=place
                ).view(shape)
                for name, (place, dtype, shape) in self._places.items()
            }

    @property
    def shared(self) -> bool:
        """Whether graphs name places of it; else each holds its weights itself."""
        return self.bytes > SHARED_BYTES

    def place_of(self, tensor: Tensor) -> int | None:
        """Where in the file the bytes of a whole tensor of it lie; None for any other tensor."""
        offset = tensor.data_ptr() - self._first if tensor.device.type == "cpu" else -1
        return offset if 0 <= offset < self.bytes and tensor.is_contiguous() else None

    def copy_to(self, path: Path) -> None:
        """Write the file once more."""
        assert self._map is not None, "not mapped"
        self._map.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(self._map, file, 1 << 24)


def lay_out(
    source: Path, config: ModelConfig, ids: SpecialIds, precision: str, path: Path
) -> tuple[G2VLM, WeightFile]:
    """Write a model's weights for its graphs and return the model on top of them, to be traced.

    In half precision a model that searches for matches (`match_width`) keeps the search and the
    encoder ahead of it in float32: which cell is the best one is not continuous, and the rounding
    of half precision picks another one for a few tokens of every fourth window. Those were wrong
    by 6 % of the range of the keys, 120 times what half precision costs all others.

    Args:
        source: Folder of the model.
        config: Of it.
        ids: Of its tokenizer.
        precision: One of `export_folder.PRECISIONS`.
        path: The new file.

    Raises:
        ValueError: Files that do not fit the config, or numbers that are not finite.
        OSError: The file cannot be written.
    """
    model = model_on_meta(config, ids).eval().requires_grad_(False)
    linear = {f"{name}.weight" for name, _, _ in quantisable(model, "int8")}
    bits = quantised_bits(model, precision if precision in PRECISIONS else "")
    half = precision == "fp16"
    kept = (*FLOAT32_PREFIXES, *(f"{name}." for name in SEARCH if model.match is not None))
    file = WeightFile(path)
    with path.open("wb") as out, stored_weights(model, weight_files(source)) as stored:
        for one in stored:
            if one.name.startswith(GLOBAL_POINTS):
                continue
            if one.name in bits:
                for part, tensor in _quantised(one, bits[one.name]):
                    file.put(out, part, [tensor])
                continue
            whole = half and not one.name.startswith(kept)
            dtype = torch.float16 if whole else torch.float32
            pieces = (one.read(dtype, rows=rows) for rows in pieces_of(one.shape))
            if one.name not in linear:
                file.put(out, one.name, pieces)
                continue
            for number, piece in enumerate(pieces):
                file.put(out, f"{one.name}/{number}", [piece.t()])
    drop_global_points(model)
    _fill(model, file.map(), linear, bits)
    return model, file


def _quantised(stored: StoredWeight, bits: int) -> Iterator[tuple[str, Tensor]]:
    """Parts of a quantised parameter, by names of their own."""
    name = stored.name
    if name == TABLE:
        table = QuantisedEmbedding(StoredRows(stored, "cpu"), torch.float32)
        yield from ((name, table.weight), (f"{name}/scale", table.scale))
        return
    for piece, rows in enumerate(pieces_of(stored.shape)):
        weight_OI = stored.read(stored.dtype, rows=rows)
        packed, scales = nbits(QuantisedLinear(weight_OI, bits, torch.float32))
        yield from ((f"{name}/{piece}", packed), (f"{name}/{piece}/scale", scales))


def pieces_of(shape: torch.Size) -> list[slice]:
    """Rows of a tensor: weights of so many outputs each."""
    if not shape:
        return [slice(None)]
    rows = max(1, PIECE // max(1, shape[1:].numel()))
    return [slice(first, first + rows) for first in range(0, shape[0], rows)]


def _fill(model: G2VLM, tensors: dict[str, Tensor], linear: set[str], bits: dict[str, int]) -> None:
    """Put the mapped tensors into a model, linear maps as modules of their graph's form."""
    shapes = {name: tuple(one.shape) for name, one in model.named_parameters()}
    for name in shapes:
        if name in tensors and name not in linear and name not in bits:
            assign(model, name, tensors[name])
    for name in sorted(linear & set(shapes)):
        path = name.removesuffix(".weight")
        bias = getattr(model.get_submodule(path), "bias", None)
        parts = [f"{name}/{piece}" for piece in range(len(tensors)) if f"{name}/{piece}" in tensors]
        made: nn.Module
        if name in bits:
            pieces = [(tensors[part], tensors[f"{part}/scale"]) for part in parts]
            made = NBitsLinear(pieces, shapes[name][1], bits[name], bias)
        else:
            made = MatrixLinear([tensors[part] for part in parts], bias)
        model.set_submodule(path, made)
    if TABLE in bits:
        table = QuantisedEmbedding(torch.zeros(1, 1), torch.float32)
        table.weight.data, table.scale.data = tensors[TABLE], tensors[f"{TABLE}/scale"]
        model.set_submodule(TABLE.removesuffix(".weight"), table)
