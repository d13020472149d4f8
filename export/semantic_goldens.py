# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Golden inputs and outputs of the graphs that answer: what torch says in float32.

The expert's are a chain, as in an answer: a text is read behind nothing, its keys are the scene
of a picture, of a question and of the first token of an answer.

Shape letters as in `semantic_wrappers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from g2vlm_model.config import ModelConfig
from g2vlm_model.extras.references import FRAME_SLOTS, PLACE_SLOTS
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import semantic_patches
from g2vlm_model.runtimes.export_folder import Golden
from g2vlm_model.runtimes.golden_check import nearest_rotations

from .pictures import random_picture
from .semantic_to_onnx import GraphSpec, semantic_graphs

__all__ = ["semantic_goldens"]

Inputs = dict[str, NDArray[Any]]

FRAMES, GRID_HW = 2, (3, 4)
SCENE, QUESTION = 24, 6  # tokens


def semantic_goldens(model: G2VLM, key_type: np.dtype[Any]) -> list[Golden]:
    """Return goldens of all graphs of `semantic_graphs`.

    Args:
        model: In float32.
        key_type: Of keys and values in the graphs.
    """
    random = np.random.default_rng(0)
    specs = {spec.name: spec for spec in semantic_graphs(model)}
    config = model.config
    ids = {"ids": random.integers(0, config.text.vocab_size, SCENE)}
    goldens = [_golden(specs["semantic_words"], "ids", ids)]
    patches = semantic_patches(config, [random_picture(0)]).rows_NRC[0]
    goldens.append(_golden(specs["semantic_pictures"], "picture", {"rows": patches}))
    embeddings = goldens[0].outputs["embeddings"]
    goldens += _expert(specs["semantic_expert"], config, embeddings, key_type)
    scene = _scene(config, random)
    if config.geometry_feedback:
        tokens = goldens[1].outputs["tokens"] + np.zeros((FRAMES, 1, 1), np.float32)
        fusion = _golden(specs["semantic_fusion"], "frames", {"tokens": tokens, **scene})
        goldens.append(fusion)
        if config.reference_features:
            named = {**fusion.outputs, **scene, **_named(embeddings)}
            goldens.append(_golden(specs["semantic_references"], "question", named))
    return goldens


def _expert(
    spec: GraphSpec, config: ModelConfig, embeddings_TD: NDArray[Any], key_type: np.dtype[Any]
) -> Iterator[Golden]:
    """A picture, a question and a token of its answer behind the keys of a text."""
    text = config.text
    layers, heads, width = text.num_hidden_layers, text.num_key_value_heads, text.head_dim
    nothing = np.zeros((0, layers, heads, width), key_type)

    def inputs(
        first: int, count: int, *, causal: bool, own: Mapping[str, Any], scene: Mapping[str, Any]
    ) -> Inputs:
        found: Inputs = {
            "embeddings": embeddings_TD[first : first + count],
            "positions": np.tile(np.arange(first, first + count), (3, 1)),
            "causal": np.array(causal),
        }
        for kind in ("keys", "values"):
            found[f"own_{kind}"] = own.get(kind, nothing).astype(key_type)
            before_EGTC = np.moveaxis(scene.get(kind, nothing), 0, 2).astype(key_type)
            for layer in range(layers):
                found[f"scene_{kind}_{layer}"] = np.ascontiguousarray(before_EGTC[layer])
        return found

    first = SCENE - QUESTION - 1
    text_read = _run(spec, inputs(0, first, causal=True, own={}, scene={}))
    yield _golden(spec, "picture", inputs(first, QUESTION, causal=False, own={}, scene=text_read))
    question = _golden(
        spec, "question", inputs(first, QUESTION, causal=True, own={}, scene=text_read)
    )
    yield question
    yield _golden(
        spec, "step", inputs(SCENE - 1, 1, causal=True, own=question.outputs, scene=text_read)
    )


def _scene(config: ModelConfig, random: np.random.Generator) -> Inputs:
    """What a geometric pass could say of two frames."""
    rows, columns = GRID_HW
    patch = config.patch_size
    depths = np.exp(0.3 * random.standard_normal((FRAMES, patch * rows, patch * columns, 1)))
    rays = random.uniform(-0.8, 0.8, (*depths.shape[:3], 2))
    T_N44 = np.tile(np.eye(4), (FRAMES, 1, 1))
    turned = np.eye(3).ravel() + 0.2 * random.standard_normal((FRAMES - 1, 9))
    T_N44[1:, :3, :3] = nearest_rotations(turned)
    T_N44[1:, :3, 3] = 0.1 * random.standard_normal((FRAMES - 1, 3))
    hidden = random.standard_normal((FRAMES, rows, columns, config.text.hidden_size))
    floats = {
        "hidden": hidden,
        "local_points": np.concatenate((rays, np.ones_like(depths)), axis=-1) * depths,
        "T_first_cam": T_N44,
        "log_scale": np.array(0.7),
    }
    return {name: array.astype(np.float32) for name, array in floats.items()}


def _named(embeddings_TD: NDArray[Any]) -> Inputs:
    """A question that names two marks, a thing in any frame and a frame."""
    slots, filled = np.zeros((2, PLACE_SLOTS + FRAME_SLOTS))
    for slot, reference in ((0, 0), (1, 1), (2, 2), (PLACE_SLOTS, 3)):
        slots[slot], filled[slot] = reference, 1.0
    return {
        "kinds": np.array([0, 0, 1, 2]),
        "frames": np.array([0, 1, -1, 1]),
        "shares": np.array([[0.2, 0.3], [0.9, 0.5], [0, 0], [0, 0]], np.float32),
        "words": embeddings_TD[:4],
        "slots": slots.astype(np.int64),
        "filled": filled.astype(np.float32),
        "viewers": np.array([1, 0]),
    }


def _golden(spec: GraphSpec, case: str, inputs: Mapping[str, NDArray[Any]]) -> Golden:
    given = {name: inputs[name] for name in spec.input_names}
    return Golden(spec.name, case, given, _run(spec, given))


def _run(spec: GraphSpec, inputs: Mapping[str, NDArray[Any]]) -> Inputs:
    """Outputs of a module by name, computed in float32."""
    tensors = [_tensor(inputs[name]) for name in spec.input_names]
    module: nn.Module = spec.module
    with torch.inference_mode():
        outputs = module(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {
        name: output.numpy().copy() for name, output in zip(spec.output_names, outputs, strict=True)
    }


def _tensor(array: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor
