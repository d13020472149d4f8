# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The graphs that answer, one by one: half precision, sizes that are free, empty pasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from g2vlm_export.semantic_goldens import semantic_goldens
from g2vlm_export.semantic_to_onnx import GraphSpec, semantic_graphs
from g2vlm_export.to_onnx import to_onnx, trace_spec
from numpy.typing import NDArray

from g2vlm_model.cache import KeyValueCache
from g2vlm_model.layers import attend_full
from g2vlm_model.model import G2VLM
from g2vlm_model.mot import attend_causal
from g2vlm_model.runtimes.golden_check import Tolerances, compare
from g2vlm_model.runtimes.onnx.sessions import Provider, Session

from ..model.tiny import tiny_config, tiny_model

Run = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


def exported(spec: GraphSpec, opset: int, folder: Path) -> Session:
    graph = to_onnx(trace_spec(spec), spec.input_names, spec.output_names, opset)
    path = folder / f"{spec.name}.onnx"
    ir.save(graph, path)
    return Session(path, Provider("cpu"), 1)


@pytest.fixture(scope="module")
def model() -> G2VLM:
    """Four query heads share two key heads; three layers."""
    return tiny_model(tiny_config())


@pytest.mark.slow
def test_half_precision_is_near_and_keeps_its_keys_in_half(model: G2VLM, tmp_path: Path) -> None:
    goldens = semantic_goldens(model, np.dtype(np.float16))
    half = {spec.name: spec for spec in semantic_graphs(tiny_model(tiny_config()).half())}
    for name, opset in (("semantic_pictures", 18), ("semantic_expert", 23)):
        run = exported(half[name], opset, tmp_path).run
        cases = [golden for golden in goldens if golden.graph == name]
        assert cases
        for golden in cases:
            said = run(golden.inputs)
            comparison = compare(said, golden, Tolerances.of("fp16"))
            assert comparison.passed, comparison.report()
            assert comparison.worst.max_error > 1e-6, "nothing was rounded"
            assert all(
                said[kind].dtype == np.float16 for kind in ("keys", "values") if kind in said
            )


@pytest.fixture(scope="module")
def expert(model: G2VLM, tmp_path_factory: pytest.TempPathFactory) -> Run:
    spec = next(spec for spec in semantic_graphs(model) if spec.name == "semantic_expert")
    return exported(spec, 18, tmp_path_factory.mktemp("expert")).run


@pytest.mark.parametrize(
    ("tokens", "own", "scene"),
    [(5, 3, 7), (1, 4, 30), (1, 1, 1), (6, 0, 9), (1, 0, 9), (4, 0, 0), (1, 2, 0)],
)
@pytest.mark.parametrize("causal", [True, False])
def test_one_graph_serves_all_steps_behind_any_past(
    expert: Run, model: G2VLM, tokens: int, own: int, scene: int, causal: bool
) -> None:
    """Also behind nothing at all: the prefix is read with the same graph."""
    text = model.config.text
    layers, heads, width = text.num_hidden_layers, text.num_key_value_heads, text.head_dim
    random = torch.Generator().manual_seed(tokens)
    past = torch.randn(2, layers, heads, scene + own, width, generator=random)
    embeddings_TD = torch.randn(tokens, text.hidden_size, generator=random)
    positions_3T = torch.randint(0, 50, (3, tokens), generator=random)
    feeds: dict[str, NDArray[Any]] = {
        "embeddings": embeddings_TD.numpy(),
        "positions": positions_3T.numpy(),
        "causal": np.array(causal),
    }
    for kind, held_EGLC in zip(("keys", "values"), past.numpy(), strict=True):
        feeds[f"own_{kind}"] = np.moveaxis(held_EGLC[:, :, scene:], 2, 0)
        for layer in range(layers):
            feeds[f"scene_{kind}_{layer}"] = held_EGLC[layer, :, :scene]
    cache = KeyValueCache(model.config, scene + own + tokens)
    cache.keys[:, 0, :, : scene + own], cache.values[:, 0, :, : scene + own] = past
    cache.advance(scene + own, 0)
    with torch.inference_mode():
        hidden = model.trunk.semantic_pass(
            embeddings_TD[None],
            model.rope.rotation(positions_3T),
            cache,
            attend_causal if causal else attend_full,
        )
        logits_V = model.logits(hidden)[0, -1]
    said = expert(feeds)
    new = (cache.keys[:, 0, :, scene + own :], cache.values[:, 0, :, scene + own :])
    for name, want in (
        ("logits", logits_V),
        ("keys", new[0].permute(2, 0, 1, 3)),
        ("values", new[1].permute(2, 0, 1, 3)),
    ):
        error = np.abs(said[name] - want.numpy()) / np.ptp(want.numpy())
        assert error.max() < 1e-5, f"{name}: max {error.max():.1e}, mean {error.mean():.1e}"
