# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Layers of G2VLM and of a plain Qwen2.5-VL, and heads that begin as their queries."""

from __future__ import annotations

import pytest
import torch
from g2vlm_training.gasp.gasp_heads import LayerTap, PointHead, chosen_layers, language_layers
from torch import nn

from g2vlm_model.cache import GrowingCache
from g2vlm_model.mot import Expert
from tests.training.tiny import tiny_model
from tests.training.tiny_qwen import tiny_qwen


def test_the_same_code_finds_both_models_layers() -> None:
    model = tiny_model()
    semantic, geometric = language_layers(model), language_layers(model, "geometric")
    assert [layer.name for layer in semantic] == [
        "trunk.layers.0.semantic", "trunk.layers.1.semantic",
    ]  # fmt: skip
    assert geometric[1].attention is model.trunk.layers[1].geometric
    qwen = language_layers(tiny_qwen())
    assert [layer.index for layer in qwen] == [0, 1, 2]
    assert qwen[2].name == "model.language_model.layers.2"
    assert qwen[0].width == semantic[0].width == 32


def test_ranges_are_checked() -> None:
    found = language_layers(tiny_qwen())
    assert chosen_layers(found, ()) == found
    assert [layer.index for layer in chosen_layers(found, (1, 3))] == [1, 2]
    with pytest.raises(ValueError, match="layers is 1 to 4, expected a range inside of the model"):
        chosen_layers(found, (1, 4))
    with pytest.raises(ValueError, match="Linear has no layer"):
        language_layers(nn.Linear(2, 2))


@pytest.mark.parametrize("qwen", [False, True])
def test_a_head_begins_as_the_query_projection(qwen: bool) -> None:
    model = tiny_qwen() if qwen else tiny_model()
    layer = language_layers(model)[1]
    query, norm = layer.attention.q_proj, layer.norm
    assert isinstance(query, nn.Linear)
    with torch.no_grad():  # else both biases are nothing
        query.bias.normal_(0, 0.1)
        norm.weight.normal_(1, 0.1)  # type: ignore[operator]
    head = PointHead(layer, 32)
    x = torch.randn(2, 7, 32)
    with torch.no_grad():
        mine = head(x)
        asked = nn.functional.normalize(query(norm(x)), dim=-1)
    torch.testing.assert_close(mine @ mine.mT, asked @ asked.mT, atol=2e-5, rtol=1e-4)
    small = PointHead(layer, 8)
    assert small(x).shape == (2, 7, 8)
    assert all(a is not b for a in head.parameters() for b in model.parameters())
    with pytest.raises(ValueError, match="descriptor_width is 33, but the queries of layer 1"):
        PointHead(layer, 33)


def test_a_tap_keeps_the_last_pass_and_leaves_nothing_behind() -> None:
    model = tiny_model()
    layers = language_layers(model)
    words = torch.tensor([[7, 8, 9]])
    cache = GrowingCache()
    with torch.no_grad(), LayerTap(layers, projections=True) as tap:
        model.prefill_text(words[:, :1], cache)
        said = model.prefill_text(words, cache)
    torch.testing.assert_close(model.trunk.semantic_norm(tap.hidden[1]), said)
    assert tap.queries[0].shape == (1, 3, 2, 16)
    # The first layer's queries by hand: projection and norm, no rotation.
    expert = layers[0].adapted
    assert isinstance(expert, Expert)
    with torch.no_grad():
        normed = expert.attention_norm(model.trunk.embed_tokens(words))
        q = expert.q_norm(expert.q_proj(normed).unflatten(-1, (2, 16)))
    torch.testing.assert_close(tap.queries[0], q)
    assert not any(module._forward_hooks for module in model.modules())
