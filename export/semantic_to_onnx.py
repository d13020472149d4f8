# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The graphs that answer questions: what is exported for the part `semantic`.

Names of graphs, inputs and outputs are those that `runtimes/onnx/semantic.py` runs.

Shape letters as in `semantic_wrappers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from g2vlm_model.config import ModelConfig
from g2vlm_model.extras.references import FRAME_SLOTS, PLACE_SLOTS
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import semantic_merged_hw

from .semantic_wrappers import Expert, Fusion, Pictures, References, Words

__all__ = ["GraphSpec", "semantic_graphs"]

_FRAMES, _GRID_HW = 2, (3, 4)  # of the examples; they are free in the graphs


@dataclass(frozen=True)
class GraphSpec:
    """A graph to be exported.

    Args:
        name: In the manifest, and of its file.
        module: What is traced, in evaluation mode.
        inputs: Example inputs, in the order of `input_names`.
        input_names, output_names: In the graph.
        dynamic_shapes: For `torch.export`: argument -> axis -> symbol.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_shapes: Mapping[str, Any]


def semantic_graphs(model: G2VLM) -> list[GraphSpec]:
    """Return the graphs that answer questions behind keys and values of the geometry's graph.

    Args:
        model: In evaluation mode, in the precision of the export.
    """
    graphs = [_words(model), _pictures(model), _expert(model)]
    if model.config.geometry_feedback:
        graphs.append(_fusion(model))
    if model.config.reference_features:
        graphs.append(_references(model))
    return graphs


def _words(model: G2VLM) -> GraphSpec:
    return GraphSpec(
        name="semantic_words",
        module=Words(model).eval(),
        inputs=(torch.zeros(3, dtype=torch.int64),),
        input_names=("ids",),
        output_names=("embeddings",),
        dynamic_shapes={"ids_T": {0: Dim("tokens", min=1)}},
    )


def _pictures(model: G2VLM) -> GraphSpec:
    pictures = Pictures(model).eval()
    rows = pictures.grid_hw[0] * pictures.grid_hw[1]
    return GraphSpec(
        name="semantic_pictures",
        module=pictures,
        inputs=(torch.zeros(rows, model.config.vit.row_width),),
        input_names=("rows",),
        output_names=("tokens",),
        dynamic_shapes={"rows_RC": {}},
    )


def _expert(model: G2VLM) -> GraphSpec:
    text, dtype = model.config.text, model.dtype
    layers, heads, width = text.num_hidden_layers, text.num_key_value_heads, text.head_dim
    own = tuple(torch.zeros(3, layers, heads, width, dtype=dtype) for _ in range(2))
    scene = tuple(torch.zeros(heads, 7, width, dtype=dtype) for _ in range(2 * layers))
    tokens, own_tokens = Dim("tokens", min=1), Dim("own", min=0)
    scene_tokens = Dim("scene", min=0)
    return GraphSpec(
        name="semantic_expert",
        module=Expert(model).eval(),
        inputs=(
            torch.zeros(5, text.hidden_size),
            torch.zeros(3, 5, dtype=torch.int64),
            torch.tensor(True),
            *own,
            *scene,
        ),
        input_names=(
            "embeddings",
            "positions",
            "causal",
            "own_keys",
            "own_values",
            *(f"scene_keys_{layer}" for layer in range(layers)),
            *(f"scene_values_{layer}" for layer in range(layers)),
        ),
        output_names=("logits", "keys", "values"),
        dynamic_shapes={
            "embeddings_TD": {0: tokens},
            "positions_3T": {1: tokens},
            "causal": {},
            "own_keys_OEGC": {0: own_tokens},
            "own_values_OEGC": {0: own_tokens},
            "scene": tuple({1: scene_tokens} for _ in scene),
        },
    )


def _fusion(model: G2VLM) -> GraphSpec:
    shapes, sizes = _fused_shapes(model.config), _sizes(model.config)
    names = ("fused", "hidden", "local_points", "T_first_cam")
    return GraphSpec(
        name="semantic_fusion",
        module=Fusion(model).eval(),
        inputs=(*(torch.ones(shapes[name]) for name in names), torch.tensor(0.0)),
        input_names=("tokens", *names[1:], "log_scale"),
        output_names=("fused", "cameras", "pooled", "centres"),
        dynamic_shapes={
            "tokens_NMD": sizes["fused"],
            "hidden_NRCD": sizes["hidden"],
            "local_NHW3": sizes["local_points"],
            "T_first_cam_N44": sizes["T_first_cam"],
            "log_scale": {},
        },
    )


def _references(model: G2VLM) -> GraphSpec:
    shapes, sizes = _fused_shapes(model.config), _sizes(model.config)
    slots, count = PLACE_SLOTS + FRAME_SLOTS, Dim("references", min=1)
    return GraphSpec(
        name="semantic_references",
        module=References(model).eval(),
        inputs=(
            *(torch.ones(shape) for shape in shapes.values()),
            torch.tensor(0.0),
            torch.zeros(2, dtype=torch.int64),
            torch.zeros(2, dtype=torch.int64),
            torch.zeros(2, 2),
            torch.zeros(2, model.config.text.hidden_size),
            torch.zeros(slots, dtype=torch.int64),
            torch.zeros(slots),
            torch.zeros(FRAME_SLOTS, dtype=torch.int64),
        ),
        input_names=(
            *shapes,
            "log_scale",
            "kinds",
            "frames",
            "shares",
            "words",
            "slots",
            "filled",
            "viewers",
        ),
        output_names=("features", "summary", "weights"),
        dynamic_shapes={
            "tokens_NMD": sizes["fused"],
            "cameras_ND": sizes["cameras"],
            "pooled_NMD": sizes["pooled"],
            "centres_NM3": sizes["centres"],
            "hidden_NRCD": sizes["hidden"],
            "local_NHW3": sizes["local_points"],
            "T_first_cam_N44": sizes["T_first_cam"],
            "log_scale": {},
            **{name: {0: count} for name in ("kinds_K", "frames_K", "shares_K2", "words_KD")},
            **{name: {} for name in ("slots_Q", "filled_Q", "viewers_F")},
        },
    )


def _fused_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Example shapes of what is known of fused frames, by name."""
    merged = semantic_merged_hw(config)
    patches, width, patch = merged[0] * merged[1], config.text.hidden_size, config.patch_size
    frames, rows, columns = _FRAMES, *_GRID_HW
    return {
        "fused": (frames, patches, width),
        "cameras": (frames, width),
        "pooled": (frames, patches, width),
        "centres": (frames, patches, 3),
        "hidden": (frames, rows, columns, width),
        "local_points": (frames, patch * rows, patch * columns, 3),
        "T_first_cam": (frames, 4, 4),
    }


def _sizes(config: ModelConfig) -> dict[str, dict[int, Any]]:
    """Free axes of what is known of fused frames, by name."""
    frames, rows, columns = (Dim(name, min=1) for name in ("frames", "rows", "columns"))
    patch = config.patch_size
    return {
        **{name: {0: frames} for name in ("fused", "cameras", "pooled", "centres", "T_first_cam")},
        "hidden": {0: frames, 1: rows, 2: columns},
        "local_points": {0: frames, 1: patch * rows, 2: patch * columns},
    }
