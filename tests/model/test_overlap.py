# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Overlap of frames from descriptors of the pass: exact where it can be, telling where it must."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.batch import pixels_of
from g2vlm_training.datasets.synthetic import ShardPlan, render_room
from g2vlm_training.gasp.gasp_heads import LayerTap, language_layers
from g2vlm_training.synthetic import scene_seed
from torch import Tensor
from torch.nn import functional as F

from g2vlm_model.cache import KeyValueCache
from g2vlm_model.checkpoint import load_model
from g2vlm_model.extras.overlap import frame_overlap, key_descriptors, overlap_with_newest
from g2vlm_model.interface import Frame, FrameWindow
from g2vlm_model.model import G2VLM
from g2vlm_model.sequence import FrameBlocks
from tests.model.tiny import random_pixels, tiny_config, tiny_model

ROOMS, FRAMES = 14, 3
PLAN = ShardPlan(split="test", clips=1, frames=FRAMES, smooth=0.0, fov_deg=(70.0, 70.0))


def keys_of(model: G2VLM, pixels_NHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Descriptors of a window behind a few words."""
    keys_GLC, position = cached_keys(model, pixels_NHW, grid)
    found: Tensor = key_descriptors(keys_GLC, model.config.text, grid, position)
    return found


def cached_keys(model: G2VLM, pixels_NHW: Tensor, grid: tuple[int, int]) -> tuple[Tensor, int]:
    """The last layer's keys of a window behind a few words, and the position they start at."""
    cache = KeyValueCache(model.config, 8 + FrameBlocks(len(pixels_NHW), *grid).tokens)
    with torch.inference_mode():
        model.prefill_text(torch.tensor([[5, 6, 7]]), cache)
        start, position = cache.length, cache.position
        model.geometry_pass(model.encode_geometry(pixels_NHW[None]), grid, cache=cache)
    return cache.keys[-1, 0, :, start : cache.length], position


def test_keys_are_those_ahead_of_the_rotation() -> None:
    model = tiny_model(tiny_config(dino_width=42))
    pixels = random_pixels(3, 3, 28, 42)
    found = keys_of(model, pixels, (2, 3))
    with torch.inference_mode(), LayerTap(language_layers(model, "geometric"), True) as tap:
        cache = KeyValueCache(model.config, 64)
        model.prefill_text(torch.tensor([[5, 6, 7]]), cache)
        model.geometry_pass(model.encode_geometry(pixels[None]), (2, 3), cache=cache)
    plain = F.normalize(tap.keys[2][0].flatten(1), dim=-1).unflatten(0, (3, 6))
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-4)


def test_the_newest_overlaps_itself_and_order_of_places_is_nothing() -> None:
    places = F.normalize(torch.randn(3, 10, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    places[0] = places[2][torch.randperm(10)]
    overlap = overlap_with_newest(places)
    torch.testing.assert_close(overlap[[0, 2]], torch.ones(2))
    assert float(overlap[1]) < 0.9


def test_a_frame_is_looked_for_in_all_frames_of_the_newest_moment() -> None:
    """Two cameras that swap places: each sees what the other one saw."""
    left, right = F.normalize(
        torch.randn(2, 10, 8, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    frames = tuple(
        Frame(np.zeros((8, 8, 3), np.uint8), stamp, camera, camera, f"{camera}{stamp}")
        for stamp in (0, 1)
        for camera in ("left", "right")
    )
    window = FrameWindow(frames)
    places = torch.stack((left, right, right, left))
    torch.testing.assert_close(overlap_with_newest(places, window.newest_moment), torch.ones(4))
    with_one = overlap_with_newest(places)
    assert float(with_one[1]) < 0.9, "right saw what left sees now, and it counts"


@pytest.mark.parametrize(
    ("cameras", "newest"), [("a", 1), ("aaa", 1), ("abab", 2), ("abc", 3), ("abcab", 3), ("aab", 2)]
)
def test_a_moment_has_each_camera_once(cameras: str, newest: int) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    frames = [Frame(picture, n, camera, camera, str(n)) for n, camera in enumerate(cameras)]
    assert FrameWindow(tuple(frames)).newest_moment == newest


@pytest.mark.parametrize("frames", [1, 3])
def test_numpy_and_tensors_agree(frames: int) -> None:
    model = tiny_model(tiny_config(dino_width=42))
    keys, position = cached_keys(model, random_pixels(frames, 3, 28, 42), (2, 3))
    by_tensors = frame_overlap(keys, model.config.text, (2, 3), position, 1)
    by_numpy = frame_overlap(keys.numpy(), model.config.text, (2, 3), position, 1)
    assert isinstance(by_tensors, Tensor)
    assert isinstance(by_numpy, np.ndarray)
    assert by_numpy.dtype == np.float32
    assert by_numpy.shape == (frames,)
    assert by_numpy[-1] == 1
    assert ((by_numpy[:-1] > 0) & (by_numpy[:-1] < 1)).all()
    np.testing.assert_allclose(by_tensors.numpy(), by_numpy, atol=1e-6)
    half = frame_overlap(keys.bfloat16(), model.config.text, (2, 3), position, 1)
    np.testing.assert_allclose(half.numpy(), by_numpy, atol=1e-2)


def test_numbers_that_are_not_finite_share_nothing() -> None:
    model = tiny_model(tiny_config(dino_width=42))
    keys, position = cached_keys(model, random_pixels(2, 3, 28, 42), (2, 3))
    keys[:, 3] = torch.nan
    overlap = frame_overlap(keys, model.config.text, (2, 3), position, 1)
    assert overlap.tolist() == [0, 1]


def area_under(overlapping: list[float], other: list[float]) -> float:
    """Share of (overlapping, other) pairs in the right order."""
    return float((np.array(overlapping)[:, None] > np.array(other)).mean())


def test_overlapping_frames_are_told_from_others() -> None:
    """The embedded model on rooms that it has not seen: AUC of both kinds of descriptors."""
    model, _ = load_model("nano")
    assert model.match is not None
    rooms = [render_room(PLAN, scene_seed("test", 500 + k), (84, 112))[0] for k in range(ROOMS)]
    pixels = [
        pixels_of(torch.from_numpy(clip.rgb).permute(0, 3, 1, 2).float() / 255) for clip in rooms
    ]
    same = [(room, i, room, j) for room in range(ROOMS) for i, j in combinations(range(FRAMES), 2)]
    apart = [(a, 0, b, 1) for a, b in combinations(range(ROOMS), 2)]
    scores: dict[str, dict[bool, list[float]]] = {
        kind: {True: [], False: []} for kind in ("matches", "keys")
    }
    for overlapping, pairs in ((True, same), (False, apart)):
        for a, i, b, j in pairs:
            window = torch.stack((pixels[a][i], pixels[b][j]))
            with torch.inference_mode():
                tokens_1NPD = model.encode_geometry(window[None])
                descriptors_NSE = model.match.descriptors(tokens_1NPD, (6, 8))[0]
            matches = overlap_with_newest(descriptors_NSE)
            keys = overlap_with_newest(keys_of(model, window, (6, 8)))
            scores["matches"][overlapping].append(float(matches[0]))
            scores["keys"][overlapping].append(float(keys[0]))
    area = {kind: area_under(found[True], found[False]) for kind, found in scores.items()}
    assert area["matches"] >= 0.95, area
    assert area["keys"] >= 0.95, area
