# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory that a model takes by itself: weights, passes and scenes, followed through the code.

The passes of an observation and of a first question run on tensors without memory
(`g2vlm_model.measuring.live_bytes`), so the numbers follow the model's code and options, and the
2B model costs seconds and no memory here. `tests/export/test_plan.py` compares them with the
growth of real processes.

Shape letters as in `g2vlm_model.model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from g2vlm_model import layers
from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import (
    FLOAT32_PREFIXES,
    GLOBAL_POINTS,
    model_on_meta,
    quantised_bits,
)
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.extras.reading import GeometryReading, read_geometry
from g2vlm_model.measuring.live_bytes import LiveBytes, TracedAttention
from g2vlm_model.model import G2VLM
from g2vlm_model.poses import GeometryTensors, HeadOutputs, assemble_geometry
from g2vlm_model.preprocess import semantic_merged_hw
from g2vlm_model.quantised import GROUP

from .traced import in_place_of
from .wrappers import GeometryGraph, Prefix

__all__ = ["PassBytes", "Passes", "WeightBytes", "pass_bytes", "weight_bytes"]

_ANY_IDS = SpecialIds(0, 1, 2, 3, 4)
_PREFIX_TOKENS = 14  # the published system text
_QUESTION_TOKENS = 512  # room that a scene has for a question and its answer
_PIECE_TOKENS = 128  # of a question that are read at once
_CHUNK_FRAMES = 8  # that the heads decode at once in the torch runtime
_ARRAY_BYTES = 2 * 3 * 4 + 4 + 1 + 3  # two point maps, confidence, validity, colour of a pixel


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of weights by what uses them.

    Args:
        shared: The semantic expert's layers, which the marks around frames pass through as
            words do (of the last one what makes keys and values): a graph of the geometry holds
            them, and so does what answers.
        geometry: Else of the geometric path: encoder, geometric expert, heads.
        answers: Else of the answers: semantic encoder, embedding, language head, fusion.
    """

    shared: int
    geometry: int
    answers: int

    @property
    def graph(self) -> int:
        """Of an exported graph of the geometry, with keys and values."""
        return self.shared + self.geometry

    @property
    def answering(self) -> int:
        """Of what answers on top of such a graph."""
        return self.shared + self.answers

    @property
    def whole(self) -> int:
        """Of a runtime that does both with one copy."""
        return self.shared + self.geometry + self.answers


@dataclass(frozen=True)
class PassBytes:
    """Bytes of a window beside the weights.

    Args:
        observe: Most that encoding and reconstructing a new window keeps at once, beside the
            keys and values of its scene.
        ask: Most that a first question keeps at once, its scene not included.
        scene: What a scene keeps on the device until it is closed.
        semantic: Of that, the semantic tokens of one frame.
        arrays: What a scene keeps as numpy arrays.
    """

    observe: int
    ask: int
    scene: int
    semantic: int
    arrays: int


def weight_bytes(config: ModelConfig, dtype: torch.dtype, quantise: str = "") -> WeightBytes:
    """Bytes of weights as a runtime holds them: the global-point decoder is not loaded.

    Args:
        config: Of the model.
        dtype: Of the weights; the last maps of the heads stay float32. A half-precision graph
            of a model with match injection keeps its encoder in float32 too (nano: 9 MB instead
            of 7), which is not counted.
        quantise: One of `quantised.PRECISIONS`: what has 8 or 4 bits, beside scales of the type.
    """
    sizes = {"shared": 0, "geometry": 0, "answers": 0}
    model = model_on_meta(config, _ANY_IDS)
    bits = quantised_bits(model, quantise)
    for name, weight in model.named_parameters():
        if name.startswith(GLOBAL_POINTS):
            continue
        if name in bits:
            outputs, inputs = weight.shape
            group = GROUP[bits[name]] or inputs
            scales = outputs * max(1, inputs // group) * dtype.itemsize
            size = weight.numel() * bits[name] // 8 + scales
        else:
            size = weight.numel() * _stored_as(name, dtype).itemsize
        sizes[_user(name, config)] += size
    return WeightBytes(**sizes)


# What the marks around frames need of the semantic expert's last layer: nobody reads them behind.
_OF_KEYS = ("attention_norm", "k_proj", "k_norm", "v_proj")


def _user(name: str, config: ModelConfig) -> str:
    last = f"trunk.layers.{config.text.num_hidden_layers - 1}.semantic."
    if name.startswith(last) and name.removeprefix(last).split(".")[0] not in _OF_KEYS:
        return "answers"
    if ".semantic." in name:
        return "shared"
    geometric = ("dino.", "dino_projection.", "heads.", "match.", "trunk.geometric_norm.")
    if name.startswith(geometric) or ".geometric." in name:
        return "geometry"
    return "answers"


def _stored_as(name: str, dtype: torch.dtype) -> torch.dtype:
    keep = dtype.itemsize < 4 and name.startswith(FLOAT32_PREFIXES)
    return torch.float32 if keep else dtype


@dataclass(frozen=True)
class Passes:
    """How a runtime computes; decides what stands in memory at once.

    Args:
        dtype: Of weights, keys and values.
        scores: Copies of the attention scores that stand in memory; 0 is a fused kernel.
        engine: The geometric pass is the exported graph, which decodes all frames at once and
            gives keys and values as arrays of their own.
        in_place: Of float32 tensors, as torch computes on a CPU (`layers.in_place_pays`).
    """

    dtype: torch.dtype
    scores: int = 0
    engine: bool = False
    in_place: bool = False


@cache
def pass_bytes(
    config: ModelConfig, windows: tuple[int, ...], size_hw: tuple[int, int], passes: Passes
) -> dict[int, PassBytes]:
    """Follow an observation of each window and the first question about it.

    Args:
        config: Of the model.
        windows: Numbers of frames, all of them new.
        size_hw: Of the model's picture in pixels.
        passes: How they are computed.
    """

    def pays(x: Tensor) -> bool:
        return passes.in_place and x.dtype == torch.float32

    in_place = in_place_of(layers, "in_place_pays", pays)
    with torch.device("meta"), torch.no_grad(), TracedAttention(passes.scores), in_place:
        model = _model_without_memory(config, passes.dtype)
        # The longest window's question serves the others: what grows with a window is its scene.
        largest = max(windows)
        last = _follow(model, largest, size_hw, passes.engine)
        return {
            frames: last
            if frames == largest
            else _follow(model, frames, size_hw, passes.engine, last)
            for frames in windows
        }


def _follow(
    model: G2VLM,
    frames: int,
    size_hw: tuple[int, int],
    engine: bool,
    longer: PassBytes | None = None,
) -> PassBytes:
    """An observation and, where no longer window's is known, its first question."""
    height, width = size_hw
    patch = model.config.patch_size
    grid_hw = (height // patch, width // patch)
    pixels = frames * height * width
    with LiveBytes() as live:
        cache = _scene_cache(model, frames, grid_hw)
        held = live.now
        kept = _observe(model, torch.empty(1, frames, 3, height, width), cache, engine)
        observe, scene = live.peak - held, live.now
        ask, semantic = (longer.ask, longer.semantic) if longer else (0, 0)
        if longer is None:
            live.restart_peak()
            semantic = _first_question(model, cache, kept)
            ask = live.peak - scene
    return PassBytes(
        observe=observe,
        ask=ask,
        scene=scene + frames * semantic,
        semantic=semantic,
        arrays=pixels * _ARRAY_BYTES,
    )


def _observe(
    model: G2VLM, pixels_BN3HW: Tensor, cache: KeyValueCache, engine: bool
) -> tuple[Tensor, GeometryReading | None]:
    """An observation; returns what its scene keeps besides keys and values."""
    patch = model.config.patch_size
    grid_hw = (pixels_BN3HW.shape[3] // patch, pixels_BN3HW.shape[4] // patch)
    if engine:
        tokens_BNPD, hidden_BNPD, tensors = _run_graph(model, pixels_BN3HW, cache)
    else:
        tokens_BNPD = model.encode_geometry(pixels_BN3HW)
        hidden_BNPD = model.geometry_pass(tokens_BNPD, grid_hw, cache=cache).hidden_BNPD
        tensors = model.decode_geometry(
            hidden_BNPD, grid_hw, pixels_BN3HW=pixels_BN3HW, chunk_frames=_CHUNK_FRAMES
        )
    reading = None
    if model.fusion is not None:
        reading = read_geometry(hidden_BNPD, grid_hw, tensors)
    return tokens_BNPD, reading


def _run_graph(
    model: G2VLM, pixels_BN3HW: Tensor, cache: KeyValueCache
) -> tuple[Tensor, Tensor, GeometryTensors]:
    """The exported graph and what a runtime does with its outputs; tokens and hidden states."""
    prefix = Prefix(
        cache.keys[:, 0, :, : cache.length], cache.values[:, 0, :, : cache.length], cache.position
    )
    graph = GeometryGraph(model, prefix, in_graph_rotation=False)
    pictures_NHW3 = torch.empty_like(pixels_BN3HW[0].movedim(1, -1), dtype=torch.uint8)
    given = dict(zip(graph.outputs, graph(pictures_NHW3), strict=True))
    for layer, (keys, values) in enumerate(zip(given["keys"], given["values"], strict=True)):
        cache.append(layer, keys[None], values[None])
    cache.advance(given["keys"].shape[2], cache.position)
    tensors = assemble_geometry(
        HeadOutputs(
            local_points=given["local_points"][None],
            rotation9=given["rotation9"][None],
            translation=given["translation"][None],
        )
    )
    return given["tokens"][None], given.get("hidden", given["tokens"])[None], tensors


def _model_without_memory(config: ModelConfig, dtype: torch.dtype) -> G2VLM:
    """A model whose weights have shapes and types only."""
    model = model_on_meta(config, _ANY_IDS).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.data = weight.data.to(_stored_as(name, dtype))
    return model


def _scene_cache(model: G2VLM, frames: int, grid_hw: tuple[int, int]) -> KeyValueCache:
    """A cache with the prefix in it, as large as a scene's."""
    merged = _semantic_grid(model.config)
    blocks = grid_hw[0] * grid_hw[1] + 2 + merged[0] * merged[1] + 2
    capacity = _PREFIX_TOKENS + frames * blocks + _QUESTION_TOKENS
    cache = KeyValueCache(model.config, capacity, device="meta", dtype=model.dtype)
    cache.advance(_PREFIX_TOKENS, _PREFIX_TOKENS)
    return cache


def _semantic_grid(config: ModelConfig) -> tuple[int, int]:
    """Rows and columns of a frame's semantic tokens."""
    return semantic_merged_hw(config)


def _first_question(
    model: G2VLM, cache: KeyValueCache, kept: tuple[Tensor, GeometryReading | None]
) -> int:
    """Append one frame and read a piece of a question; returns bytes of the frame's tokens."""
    config = model.config
    merged_hw = _semantic_grid(config)
    merge = config.vit.spatial_merge_size
    full_hw = (merged_hw[0] * merge, merged_hw[1] * merge)
    rows = torch.empty(1, 1, full_hw[0] * full_hw[1], config.vit.row_width)
    tokens: Tensor = model.encode_semantic(rows, full_hw)
    own = tokens.numel() * tokens.element_size()
    reading, cameras = kept[1], None
    if reading is not None:
        images = model.fuse_images(tokens, merged_hw, reading.frame(0))
        tokens, cameras = images.tokens_BNSD, images.cameras_BND
    model.prefill_images(tokens, merged_hw, cache, cameras)
    model.prefill_text(torch.zeros(1, _PIECE_TOKENS, dtype=torch.int64), cache)
    return own
