# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decoding on a cache equals one pass over everything; questions leave a scene as it was."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.cache import GrowingCache, KeyValueCache
from g2vlm_model.config import ModelConfig
from g2vlm_model.generate import (
    Sampler,
    decode,
    prefill_frames,
    prefill_ids,
    prefill_semantic,
    reconstruct,
)
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import semantic_rows
from g2vlm_model.tokenizer import PromptIds

from .tiny import SPECIAL, random_pixels, tiny_config, tiny_model

PROMPTS = PromptIds((1, 20, 21), (1, 10, 11, 12), (2, 5, 1, 13), SPECIAL)
QUESTION = [40, 41, 42]


@pytest.fixture(scope="module")
def model() -> G2VLM:
    return tiny_model()


def pictures(count: int = 2) -> list[NDArray[np.uint8]]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randint(0, 256, (40, 60, 3), generator=generator, dtype=torch.uint8).numpy()
        for _ in range(count)
    ]


def scene(model: G2VLM, capacity: int = 256) -> KeyValueCache:
    """A cache that holds system text, two frames and their semantic pictures."""
    cache = KeyValueCache(model.config, capacity)
    with torch.inference_mode():
        prefill_ids(model, PROMPTS.system, cache)
        prefill_frames(model, random_pixels(1, 2, 3, 28, 42), cache)
        prefill_semantic(model, semantic_rows(model.config, pictures()), cache)
    return cache


@contextmanager
def forgotten(cache: KeyValueCache) -> Iterator[None]:
    """What is appended inside is forgotten at the end."""
    mark = cache.mark()
    try:
        yield
    finally:
        cache.truncate(mark.length, mark.position)


def ask(
    model: G2VLM, cache: KeyValueCache, *, temperature: float = 0.0, seed: int = 0
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Six tokens of an answer, and their log probabilities."""
    with torch.inference_mode(), forgotten(cache):
        prefill_ids(model, PROMPTS.question(QUESTION), cache)
        steps = list(itertools.islice(decode(model, cache, Sampler(temperature, seed)), 6))
    return tuple(step.token for step in steps), tuple(step.log_probability for step in steps)


def test_tokens_one_by_one_equal_one_pass(model: G2VLM) -> None:
    ids = torch.tensor([[7, 8, 9, 50, 60, 2, 5]])
    cache, whole = scene(model), scene(model)
    with torch.inference_mode():
        want = model.semantic_logits(ids, whole)[0]
        got = torch.stack(
            [model.decode_step(ids[:, index : index + 1], cache)[0] for index in range(7)]
        )
    error = (got - want).abs()
    assert error.max() < 1e-4, f"max {error.max():.2e}, mean {error.mean():.2e}"
    assert (cache.length, cache.position) == (whole.length, whole.position)


def test_growing_cache_gives_the_same_logits_and_gradients_flow(model: G2VLM) -> None:
    """The training forward: all passes differentiable, batch of two, padded at the end."""
    pixels = random_pixels(2, 2, 3, 28, 42)
    ids = torch.tensor([[7, 8, 9, 2], [30, 31, 2, 0]])
    growing = GrowingCache()
    model.prefill_text(torch.tensor([PROMPTS.system]), growing)
    prefill_frames(model, pixels, growing)
    rows = semantic_rows(model.config, pictures())
    tokens = model.encode_semantic(rows.rows_NRC.expand(2, -1, -1, -1), rows.grid_hw)
    model.prefill_images(tokens, rows.merged_hw, growing)
    logits = model.semantic_logits(ids, growing)
    logits.square().mean().backward()
    for part in (model.trunk.layers[0], model.vit, model.dino, model.dino_projection):
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert grads
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)
        assert any(float(grad.abs().max()) > 0 for grad in grads)
    model.zero_grad(set_to_none=True)
    with torch.inference_mode():
        for index in range(2):
            cache = KeyValueCache(model.config, 256)
            prefill_ids(model, PROMPTS.system, cache)
            prefill_frames(model, pixels[index : index + 1], cache)
            prefill_semantic(model, rows, cache)
            real = 4 - index  # the second sequence ends with padding
            want = model.semantic_logits(ids[index : index + 1, :real], cache)[0]
            error = (logits[index, :real].detach() - want).abs()
            assert error.max() < 1e-4, f"max {error.max():.2e}, mean {error.mean():.2e}"


def test_questions_leave_the_scene_as_it_was(model: G2VLM) -> None:
    cache = scene(model)
    mark = cache.mark()
    keys = cache.keys[:, :, :, : cache.length].clone()
    first = ask(model, cache)
    ask(model, cache, temperature=2.0, seed=4)
    assert cache.mark() == mark
    assert torch.equal(cache.keys[:, :, :, : cache.length], keys)
    again = ask(model, cache)
    assert again == first
    assert again == ask(model, scene(model))


def test_capacity_is_checked_and_can_grow(model: G2VLM) -> None:
    cache = scene(model)
    tight = scene(model, capacity=cache.length)
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"1 more do not fit; call reserve"),
    ):
        model.decode_step(torch.tensor([[7]]), tight)
    tight.reserve(20)
    assert tight.capacity == cache.length + 20
    assert ask(model, tight) == ask(model, cache)
    before = tight.keys.data_ptr()
    tight.reserve(20)
    assert tight.keys.data_ptr() == before
    assert tight.nbytes == 2 * tight.keys.numel() * 4


def test_memory_that_is_written_in_place_refuses_gradients(model: G2VLM) -> None:
    with pytest.raises(RuntimeError, match="use GrowingCache to train"):
        prefill_ids(model, QUESTION, KeyValueCache(model.config, 64))


def test_grid_must_be_that_of_the_tokens(model: G2VLM) -> None:
    with torch.inference_mode(), pytest.raises(AssertionError, match=r"6, \(2, 4\)"):
        model.geometry_pass(random_pixels(1, 2, 6, 32), (2, 4))


def test_truncate(model: G2VLM) -> None:
    cache = scene(model)
    with pytest.raises(ValueError, match=r"cannot truncate to 999 tokens, the cache holds"):
        cache.truncate(999, 0)
    short = KeyValueCache(model.config, 256)
    with torch.inference_mode():
        prefill_ids(model, PROMPTS.system, short)
        mark = short.mark()
        prefill_ids(model, QUESTION, short)
        short.truncate(mark.length, mark.position)
        one = model.decode_step(torch.tensor([[7]]), short)
        other_cache = KeyValueCache(model.config, 256)
        prefill_ids(model, PROMPTS.system, other_cache)
        other = model.decode_step(torch.tensor([[7]]), other_cache)
    assert torch.equal(one, other)


def test_growing_cache_copies_grow_alone() -> None:
    cache = GrowingCache()
    k = torch.randn(1, 2, 3, 4)
    cache.append(0, k, k)
    cache.advance(3, 3)
    branch = cache.copy()
    branch.append(0, k, k)
    branch.advance(3, 6)
    assert cache.layers[0][0].shape[2] == 3
    assert branch.layers[0][0].shape[2] == 6
    assert cache.repeat(3).layers[0][0].shape[0] == 3
    assert (cache.length, branch.position) == (3, 6)


def test_greedy_takes_the_most_probable_and_reports_it(model: G2VLM) -> None:
    cache = scene(model)
    with torch.inference_mode(), forgotten(cache):
        steps = decode(model, cache, Sampler())
        for _ in range(3):
            step = next(steps)
            probability = step.logits_V.softmax(-1)
            assert step.token == int(probability.argmax())
            assert step.log_probability == pytest.approx(math.log(probability.max()), abs=1e-5)


def test_sampling_follows_its_seed(model: G2VLM) -> None:
    cache = scene(model)
    drawn = {seed: ask(model, cache, temperature=3.0, seed=seed)[0] for seed in range(4)}
    assert len(set(drawn.values())) > 1
    for seed, ids in drawn.items():
        assert ask(model, cache, temperature=3.0, seed=seed)[0] == ids
    assert ask(model, cache, temperature=1e-4, seed=9)[0] == ask(model, cache)[0]
    with pytest.raises(ValueError, match="temperature is -1"):
        Sampler(-1)


def test_sampling_follows_the_probabilities() -> None:
    sampler = Sampler(temperature=2.0, seed=0)
    logits = torch.tensor([0.0, 2.0, -math.inf, 1.0])
    drawn = torch.stack([sampler(logits) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares, (logits / 2).softmax(-1), atol=0.03, rtol=0)


def test_later_pictures_see_earlier_ones_only(model: G2VLM) -> None:
    first, second = pictures()
    results: list[Tensor] = []
    for window in ([first, second], [first, first]):
        cache = KeyValueCache(model.config, 128)
        with torch.inference_mode():
            prefill_semantic(model, semantic_rows(model.config, window), cache)
        results.append(cache.keys[:, 0, :, : cache.length].clone())
    block = results[0].shape[2] // 2
    difference = (results[0] - results[1]).abs().amax((0, 1, 3))
    assert difference[:block].max() < 1e-5
    assert difference[block:].max() > 1e-3


def test_reconstruct_is_prompt_frames_heads(model: G2VLM) -> None:
    pixels = random_pixels(1, 2, 3, 28, 42)
    with torch.inference_mode():
        out = reconstruct(model, pixels, PROMPTS, with_global=True)
        cache = KeyValueCache(model.config, 64)
        prefill_ids(model, PROMPTS.reconstruct, cache)
        hidden, grid = prefill_frames(model, pixels, cache)
        want = model.decode_geometry(hidden.hidden_BNPD, grid)
    assert torch.equal(out.world_points_BNHW3, want.world_points_BNHW3)
    assert out.global_points_BNHW3 is not None
    assert want.global_points_BNHW3 is None


def test_collected_layers(model: G2VLM) -> None:
    tokens = random_pixels(1, 2, 6, 32)
    with torch.inference_mode():
        plain = model.geometry_pass(tokens, (2, 3))
        out = model.geometry_pass(tokens, (2, 3), collect_layers=(0, 2))
        assert sorted(out.layers) == [0, 2]
        assert torch.equal(out.hidden_BNPD, plain.hidden_BNPD)
        assert torch.equal(model.trunk.geometric_norm(out.layers[2]), out.hidden_BNPD)
        with pytest.raises(ValueError, match="collect_layers has 3, the model has 3"):
            model.geometry_pass(tokens, (2, 3), collect_layers=(3,))


def test_half_precision_stays_close() -> None:
    config: ModelConfig = tiny_config()
    pixels = random_pixels(1, 2, 3, 28, 42)
    with torch.inference_mode():
        want = reconstruct(tiny_model(config), pixels, PROMPTS)
        for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
            model = tiny_model(config).to(dtype)
            got = reconstruct(model, pixels, PROMPTS)
            assert got.local_points_BNHW3.dtype == torch.float32
            scale = want.local_points_BNHW3.abs().mean()
            error = (got.local_points_BNHW3 - want.local_points_BNHW3).abs() / scale
            assert error.mean() < tolerance, (
                f"{dtype}: max {error.max():.2e} mean {error.mean():.2e}"
            )
