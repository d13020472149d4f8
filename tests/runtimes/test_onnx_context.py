# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keys, positions and samples of the answers without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from g2vlm_model.positions import CacheMark
from g2vlm_model.runtimes.onnx.context import NumpySampler, SceneKeys, frame_positions
from g2vlm_model.sequence import FrameBlocks, interleave

LAYERS, HEADS, WIDTH = 2, 3, 4


def tokens(first: int, count: int) -> NDArray[np.float32]:
    """(E, G, T, C) whose numbers tell layer, head and token."""
    layer, head, token, channel = np.indices((LAYERS, HEADS, count, WIDTH))
    return np.asarray(1000 * layer + 100 * head + first + token + channel / 10, np.float32)


def by_token(keys_EGTC: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.moveaxis(keys_EGTC, 2, 0)


def fed(keys: SceneKeys) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(E, G, L, C) keys and values as a graph is given them."""
    feeds = keys.feeds(lambda array: array)
    found = []
    for kind in ("keys", "values"):
        scene = np.stack([feeds[f"scene_{kind}_{layer}"] for layer in range(LAYERS)])
        own = feeds[f"own_{kind}"].transpose(1, 2, 0, 3)
        found.append(np.concatenate((scene, own), axis=2))
    return found[0], found[1]


def scene() -> SceneKeys:
    """Three tokens of a prefix and two of a frame, with room for four more."""
    keys = SceneKeys(tokens(0, 3), -tokens(0, 3), position=3, capacity=9)
    keys.append_to_scene(tokens(3, 2), -tokens(3, 2), position=7)
    return keys


def test_a_graph_is_fed_all_tokens_in_their_order() -> None:
    keys = scene()
    for first in (5, 6, 9):
        count = 3 if first == 6 else 1
        new = by_token(tokens(first, count))
        keys.append(new, -new, position=first + count)
    found, values = fed(keys)
    np.testing.assert_array_equal(found, tokens(0, 10))
    np.testing.assert_array_equal(values, -tokens(0, 10))
    assert keys.mark() == CacheMark(10, 10)


def test_a_question_is_forgotten_and_uploads_nothing_again() -> None:
    keys = scene()
    uploads = []

    def upload(array: NDArray[np.float32]) -> NDArray[np.float32]:
        uploads.append(array.shape)
        return array

    before = keys.mark()
    keys.feeds(upload)
    assert uploads == [(HEADS, 5, WIDTH)] * 2 * LAYERS
    for question in range(3):
        new = by_token(tokens(50 + question, 4))
        keys.append(new, new, position=60)
        keys.feeds(upload)
        keys.truncate(before.length, before.position)
    assert len(uploads) == 2 * LAYERS
    np.testing.assert_array_equal(fed(keys)[0], tokens(0, 5))
    keys.append_to_scene(tokens(5, 4), -tokens(5, 4), position=11)
    np.testing.assert_array_equal(fed(keys)[0], tokens(0, 9))


def test_a_full_scene_is_handed_over_without_a_copy() -> None:
    keys = scene()
    keys.append_to_scene(tokens(5, 4), tokens(5, 4), position=11)
    feeds = keys.feeds(lambda array: array)
    assert all(np.shares_memory(feeds[f"scene_keys_{i}"], keys._scene[0]) for i in range(LAYERS))
    assert all(feeds[f"scene_keys_{i}"].flags.c_contiguous for i in range(LAYERS))


def test_truncating_into_the_scene_and_forking_before_it() -> None:
    keys = scene()
    prefix = CacheMark(3, 3)
    fork = keys.fork(prefix)
    fork.append_to_scene(tokens(90, 6), tokens(90, 6), position=20)
    np.testing.assert_array_equal(fed(keys)[0], tokens(0, 5))
    assert fed(fork)[0].shape[2] == 9
    new = by_token(tokens(5, 1))
    keys.append(new, new, position=8)
    keys.truncate(prefix.length, prefix.position)
    np.testing.assert_array_equal(fed(keys)[0], tokens(0, 3))
    assert keys.mark() == prefix


@pytest.mark.parametrize("grid_hw", [(2, 2), (3, 5), (5, 3), (1, 1)])
def test_a_picture_stands_where_torch_puts_it(grid_hw: tuple[int, int]) -> None:
    blocks = FrameBlocks(1, *grid_hw)
    marks_3N2, patches_3NP = blocks.positions(17)
    want = interleave(marks_3N2, patches_3NP, 2)
    np.testing.assert_array_equal(frame_positions(17, grid_hw), want.numpy())


def test_samples_follow_the_softmax_of_their_temperature() -> None:
    logits_V = np.array([1.0, 3.0, 2.0, -40.0], np.float32)
    greedy = NumpySampler()(logits_V)
    logarithms_V = torch.from_numpy(logits_V).log_softmax(-1)
    assert greedy.token == 1
    assert greedy.log_probability == pytest.approx(float(logarithms_V[1]), abs=1e-6)
    draw = NumpySampler(temperature=2.0, seed=3)
    drawn = [draw(logits_V) for _ in range(4000)]
    counts_V = np.bincount([step.token for step in drawn], minlength=4) / len(drawn)
    shares_V = torch.from_numpy(logits_V / 2).softmax(-1).numpy()
    assert np.abs(counts_V - shares_V).max() < 0.03, f"{counts_V} for {shares_V}"
    step = next(step for step in drawn if step.token == 2)
    assert step.log_probability == pytest.approx(float(logarithms_V[2]), abs=1e-6)


def test_numbers_that_are_not_finite_show_in_the_log_probability() -> None:
    """The writer of answers refuses them there."""
    for sampler in (NumpySampler(), NumpySampler(1.0)):
        assert np.isnan(sampler(np.array([0.0, np.nan, 1.0], np.float32)).log_probability)
