#!/usr/bin/env python3
# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Write a folder of the published names, dtypes and layout with random weights, of any size.

The published weights are 18 GB and not everywhere to be had; loading, memory, quantisation, exports
and speed need only their shapes. Tensors are drawn and written one by one, each from a seed of its
own name, so a folder of any size takes the memory of its largest tensor. Norms are those of a
network that computes something finite: rows of unit expectation, residual branches that do not
grow with the depth, depth near 1, poses near the identity.

    python scripts/write_published_folder.py OUT                       # 4.5 B weights, 9 GB in bf16
    python scripts/write_published_folder.py OUT --layers 1            # the published widths, 0.7 B
    python scripts/write_published_folder.py OUT --twelfths 1 --layers 4 --vocabulary 2048
"""

from __future__ import annotations

import argparse
import json
import math
import string
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import torch
from torch import Tensor

from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.model_folder import INDEX_FILE, WEIGHTS_FILE
from g2vlm_model.tokenizer import QWEN2_SPECIAL

DTYPES = {
    "bf16": (torch.bfloat16, "BF16"),
    "fp16": (torch.float16, "F16"),
    "fp32": (torch.float32, "F32"),
}
BYTES = 256  # first entries of a byte-level vocabulary
BEHIND = 293  # rows of the published embedding behind the last entry of vocab.json


def published_config(
    layers: int | None = None, twelfths: int = 12, vocabulary: int | None = None
) -> ModelConfig:
    """The 2B model's config, shallower, narrower and with fewer words.

    Args:
        layers: Of every stack; None: the published depths.
        twelfths: Of the published widths, 1..12; heads keep theirs.
        vocabulary: Rows of the embedding; None: the published 151,936.
    """
    config = ModelConfig.g2vlm_2b()
    text, vit, dino, heads = config.text, config.vit, config.dino, config.heads
    width = 128 * twelfths
    few = max(1, round(16 * twelfths / 12))
    heads_few = few if width % (4 * few) == 0 else twelfths
    return replace(
        config,
        text=replace(
            text,
            vocab_size=vocabulary or text.vocab_size,
            hidden_size=width,
            intermediate_size=64 * round(text.intermediate_size * twelfths / 12 / 64),
            num_hidden_layers=layers or text.num_hidden_layers,
            num_attention_heads=twelfths,
            num_key_value_heads=2 if twelfths in (8, 10, 12) else 1,
        ),
        vit=replace(
            vit, depth=layers or vit.depth, embed_dim=80 * few, hidden_size=width, num_heads=few
        ),
        dino=replace(
            dino,
            hidden_size=64 * few,
            num_hidden_layers=layers or dino.num_hidden_layers,
            num_attention_heads=few,
        ),
        heads=replace(
            heads,
            depth=min(heads.depth, layers or heads.depth),
            num_heads=heads_few,
            point_dim=64 * few,
            camera_dim=32 * few,
        ),
    )


def write_folder(
    out: Path, config: ModelConfig, dtype: str = "bf16", shards: int = 1, seed: int = 0
) -> int:
    """Write a model folder; how many weights it holds.

    Args:
        out: New or empty folder.
        config: Sizes.
        dtype: "bf16", "fp16" or "fp32".
        shards: Weight files.
        seed: Of the weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    config.to_folder(out)
    ids = write_tokenizer(out, config.text.vocab_size)
    shapes = {n: tuple(p.shape) for n, p in model_on_meta(config, ids).named_parameters()}
    named = sorted(published_names(shapes).items())
    size = -(-len(named) // shards)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        part = named[number * size : (number + 1) * size]
        name = WEIGHTS_FILE
        if shards > 1:
            name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        _write_tensors(out / name, part, shapes, dtype, seed, config)
        weight_map |= {published: name for published, _ in part}
    if shards > 1:
        (out / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum(math.prod(shape) for shape in shapes.values())


def _write_tensors(
    path: Path,
    part: list[tuple[str, str]],
    shapes: dict[str, tuple[int, ...]],
    dtype: str,
    seed: int,
    config: ModelConfig,
) -> None:
    """One safetensors file: length of the header, header, tensors, each as it is drawn."""
    kind, kind_name = DTYPES[dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for published, ours in part:
        begin, end = end, end + math.prod(shapes[ours]) * kind.itemsize
        header[published] = {
            "dtype": kind_name,
            "shape": list(shapes[ours]),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, ours in part:
            tensor = draw(ours, shapes[ours], seed, config).to(kind)
            file.write(tensor.contiguous().view(torch.uint8).numpy().data)


def draw(name: str, shape: tuple[int, ...], seed: int, config: ModelConfig) -> Tensor:
    """One parameter in fp32, the same for a name, a shape and a seed."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))
    if name == "heads.camera_head.rotation.bias":
        return torch.eye(3).flatten()
    if len(shape) == 1:
        if name.endswith("bias"):
            return torch.empty(shape).normal_(0.0, 0.02, generator=generator)
        # Layer scales of branches; norms.
        return torch.full(shape, 0.1 if "scale" in name or "gamma" in name else 1.0)
    fan_in = math.prod(shape[1:])
    sigma = fan_in**-0.5
    if name.endswith(("o_proj.weight", "down_proj.weight", "proj.weight", "fc2.weight")):
        sigma /= math.sqrt(2 * config.text.num_hidden_layers)
    for quiet, share in (
        ("heads.point_head.", 0.2),
        ("heads.camera_head.rotation.", 0.1),
        ("heads.camera_head.translation.", 0.1),
    ):
        sigma *= share if name.startswith(quiet) else 1.0
    return torch.empty(shape).normal_(0.0, sigma, generator=generator)


def write_tokenizer(out: Path, rows: int) -> SpecialIds:
    """Write vocab.json and merges.txt of a byte-level BPE that fills a vocabulary; special ids.

    The merges are every pair of bytes, then pairs of letters with a third: no language's, but each
    text becomes tokens and comes back. Of the published number of rows the special tokens get the
    published ids.
    """
    from tokenizers import pre_tokenizers

    from g2vlm_model.config import TokenNames
    from g2vlm_model.tokenizer import Tokenizer

    size = rows - BEHIND
    if size < BYTES:
        raise SystemExit(f"--vocabulary is {rows}, expected {BYTES + BEHIND} or more")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(islice(_merges(alphabet), size - BYTES))
    words = [*alphabet, *(left + right for left, right in merges)]
    if len(words) != size:
        raise SystemExit(f"--vocabulary is {rows}, expected {len(words) + BEHIND} at most")
    vocab = {word: number for number, word in enumerate(words)}
    (out / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (out / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(QWEN2_SPECIAL) <= BEHIND
    return Tokenizer.from_folder(out).special_ids(TokenNames())


def _merges(alphabet: list[str]) -> Iterator[tuple[str, str]]:
    yield from product(alphabet, alphabet)
    letters = string.ascii_letters
    for first, second, third in product(letters, letters, letters):
        yield first + second, third


def main() -> int:
    """Write the folder that the command line describes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path, help="new or empty folder")
    parser.add_argument("--layers", type=int, help="of every stack (default: the published depths)")
    parser.add_argument(
        "--twelfths",
        type=int,
        default=12,
        choices=range(1, 13),
        metavar="1..12",
        help="of the published widths (default 12)",
    )
    parser.add_argument("--vocabulary", type=int, help="rows of the embedding (default 151936)")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out.is_dir() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    config = published_config(args.layers, args.twelfths, args.vocabulary)
    count = write_folder(args.out, config, args.dtype, args.shards, args.seed)
    print(f"{args.out}: {count / 1e9:.3f} B weights in {args.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
