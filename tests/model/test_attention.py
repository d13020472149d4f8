# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Attention patterns: who sees whom, in small products and in the whole geometric pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from g2vlm_model import layers
from g2vlm_model.cache import GrowingCache, KeyValueCache
from g2vlm_model.extras.frame_attention import PATTERNS
from g2vlm_model.layers import attend_full
from g2vlm_model.model import G2VLM
from g2vlm_model.mot import attend_causal

from .tiny import random_pixels, tiny_config, tiny_model

GRID = (2, 3)
FRAMES = 3
VARIANTS = ("global", "frame", "mixed", "frame_causal")


def plain(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(C)) v with repeated key heads and a mask, in float64."""
    repeat = q.shape[2] // k.shape[1]
    k, v = (x.double().repeat_interleave(repeat, dim=1) for x in (k, v))
    scores = q.double().transpose(1, 2) @ k.mT / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def operands(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(queries + keys)
    q = torch.randn(2, queries, 4, 8, generator=generator)
    k, v = torch.randn(2, 2, 2, keys, 8, generator=generator)
    return q, k, v


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 8), (1, 6), (1, 1)])
def test_causal_is_aligned_at_the_end(queries: int, keys: int) -> None:
    q, k, v = operands(queries, keys)
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    want = plain(q, k, v, seen)
    got = attend_causal(q, k, v)
    error = (got - want).abs()
    assert error.max() < 1e-5, f"max {error.max():.2e}, mean {error.mean():.2e}"


@pytest.mark.parametrize("kind", ["global", "frame", "frame_causal"])
@pytest.mark.parametrize("prefix", [0, 4])
def test_frame_patterns(kind: str, prefix: int) -> None:
    block, per_frame = 6, 4
    q, k, v = operands(FRAMES * per_frame, prefix + FRAMES * block)
    of_query = torch.arange(FRAMES).repeat_interleave(per_frame)[:, None]
    of_key = torch.arange(FRAMES).repeat_interleave(block)[None]
    own = {
        "global": torch.ones(FRAMES * per_frame, FRAMES * block, dtype=torch.bool),
        "frame": of_query == of_key,
        "frame_causal": of_query >= of_key,
    }[kind]
    seen = torch.cat((torch.ones(FRAMES * per_frame, prefix, dtype=torch.bool), own), dim=1)
    pattern = PATTERNS[kind][0]
    error = (pattern(q, k, v, FRAMES, block) - plain(q, k, v, seen)).abs()
    assert error.max() < 1e-5, f"max {error.max():.2e}, mean {error.mean():.2e}"


def test_repeated_key_heads_are_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs where the kernel cannot share key heads gives the same."""
    q, k, v = operands(5, 9)
    want = attend_full(q, k, v)
    monkeypatch.setattr(layers, "_kernel_groups_heads", lambda q: False)
    torch.testing.assert_close(attend_full(q, k, v), want, atol=1e-6, rtol=1e-5)


def pass_over(model: G2VLM, tokens: Tensor) -> Tensor:
    """Hidden states of a pass behind a short text."""
    cache = KeyValueCache(model.config, 64, batch=tokens.shape[0])
    with torch.inference_mode():
        model.prefill_text(torch.tensor([[1, 7, 9]]).expand(tokens.shape[0], -1), cache)
        return model.geometry_pass(tokens, GRID, cache=cache).hidden_BNPD


@pytest.mark.parametrize(("layers", "like_frame"), [(1, True), (2, False)])
def test_mixed_begins_with_frames_by_themselves(layers: int, like_frame: bool) -> None:
    text = replace(tiny_config().text, num_hidden_layers=layers)
    tokens = random_pixels(1, FRAMES, 6, 32)
    mixed, frame, everywhere = (
        pass_over(tiny_model(tiny_config(text=text, geometry_attention=kind)), tokens)
        for kind in ("mixed", "frame", "global")
    )
    assert torch.equal(mixed, frame) == like_frame
    assert not torch.equal(mixed, everywhere)


def changed_frames(kind: str, changed: int) -> list[bool]:
    """Which frames' hidden states move when one frame's tokens change."""
    model = tiny_model(tiny_config(geometry_attention=kind))
    tokens = random_pixels(1, FRAMES, 6, 32)
    other = tokens.clone()
    other[:, changed] += 1.0
    difference = (pass_over(model, tokens) - pass_over(model, other)).abs()
    moved: list[bool] = (difference.amax((0, 2, 3)) > 1e-5).tolist()
    return moved


@pytest.mark.parametrize(
    ("kind", "changed", "moved"),
    [
        ("global", 1, [True, True, True]),
        ("frame", 1, [False, True, False]),
        ("mixed", 1, [True, True, True]),
        ("frame_causal", 0, [True, True, True]),
        ("frame_causal", 1, [False, True, True]),
        ("frame_causal", 2, [False, False, True]),
    ],
)
def test_which_frames_a_change_reaches(kind: str, changed: int, moved: list[bool]) -> None:
    assert changed_frames(kind, changed) == moved


def test_frame_causal_passes_can_be_split() -> None:
    """Frames one at a time on a growing cache give what one pass over all gives."""
    model = tiny_model(tiny_config(geometry_attention="frame_causal"))
    tokens = random_pixels(1, FRAMES, 6, 32)
    cache = KeyValueCache(model.config, 64)
    with torch.inference_mode():
        model.prefill_text(torch.tensor([[1, 7, 9]]), cache)
        parts = [
            model.geometry_pass(tokens[:, index : index + 1], GRID, cache=cache).hidden_BNPD
            for index in range(FRAMES)
        ]
    error = (torch.cat(parts, 1) - pass_over(model, tokens)).abs()
    assert error.max() < 1e-4, f"max {error.max():.2e}, mean {error.mean():.2e}"


def test_global_pass_treats_frames_alike() -> None:
    """Equal frames still differ in their rotary positions, and in nothing else."""
    model = tiny_model()
    tokens = random_pixels(1, 1, 6, 32).expand(1, 2, 6, 32)
    hidden = pass_over(model, tokens)
    assert (hidden[:, 0] - hidden[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("isolate", [False, True])
def test_batch_equals_single_passes(kind: str, isolate: bool) -> None:
    model = tiny_model(tiny_config(geometry_attention=kind, isolate_geometry=isolate))
    tokens = random_pixels(2, FRAMES, 6, 32)
    both = pass_over(model, tokens)
    singles = torch.cat([pass_over(model, tokens[index : index + 1]) for index in range(2)])
    error = (both - singles).abs()
    assert error.max() < 1e-4, f"max {error.max():.2e}, mean {error.mean():.2e}"
    assert (both[0] - both[1]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", VARIANTS)
def test_both_caches_agree(kind: str) -> None:
    model = tiny_model(tiny_config(geometry_attention=kind))
    tokens = random_pixels(1, FRAMES, 6, 32)
    growing = GrowingCache()
    with torch.no_grad():
        model.prefill_text(torch.tensor([[1, 7, 9]]), growing)
        hidden = model.geometry_pass(tokens, GRID, cache=growing).hidden_BNPD
    error = (hidden - pass_over(model, tokens)).abs()
    assert error.max() < 1e-5, f"max {error.max():.2e}, mean {error.mean():.2e}"


def test_isolated_patches_do_not_see_text() -> None:
    tokens = random_pixels(1, FRAMES, 6, 32)
    for isolate, moves in ((True, False), (False, True)):
        model = tiny_model(tiny_config(isolate_geometry=isolate))
        with torch.inference_mode():
            alone = model.geometry_pass(tokens, GRID, start_position=3).hidden_BNPD
        difference = (alone - pass_over(model, tokens)).abs().max()
        assert (difference > 1e-4) == moves, (isolate, difference)
