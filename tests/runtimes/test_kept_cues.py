# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a window that slides by one frame keeps of its pairs, and what a rig's newest moment is."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_model.extras import match
from g2vlm_model.interface import FrameWindow, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.torch.geometry import WeightsGeometry
from g2vlm_model.runtimes.torch.runtime import TorchRuntime

from .model_folders import window
from .spies import CallSpy, model_of


@pytest.fixture
def nano() -> Iterator[SpatialRuntime]:
    loaded = load_runtime("torch", model="nano", device="cpu")
    yield loaded
    loaded.close()


def test_only_pairs_of_a_new_frame_are_searched(
    nano: SpatialRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the scenes are those of a runtime that searches every pair of every window."""
    windows = [window(*seeds) for seeds in ((1, 2, 3), (2, 3, 4), (3, 4, 5))]
    monkeypatch.setattr(match, "pair_cues", match.pair_cues)  # the spy goes at the end
    search = CallSpy(match, "pair_cues", lambda source: source.shape[1])
    kept = [nano.observe(one).geometry for one in windows]
    assert sum(search.seen) == 6 + 4 + 4
    monkeypatch.setattr(WeightsGeometry, "_known_cues", lambda frames, features: None)
    forgetful = load_runtime("torch", model="nano", device="cpu")
    fresh = [forgetful.observe(one).geometry for one in windows]
    forgetful.close()
    assert sum(search.seen) == 6 + 4 + 4 + 3 * 6
    for one, other in zip(kept, fresh, strict=True):
        for name in ("local_points", "T_world_cam", "confidence"):
            error = np.abs(getattr(one, name) - getattr(other, name))
            assert error.max() < 1e-5, f"{name}: max {error.max():.2e}, mean {error.mean():.2e}"


def test_cues_go_with_their_frames(nano: SpatialRuntime) -> None:
    """A frame keeps no more than those about frames that are in use."""
    assert model_of(nano).match is not None
    for first in range(6):
        nano.observe(window(first, first + 1, first + 2)).close()
    gc.collect()
    assert isinstance(nano, TorchRuntime)
    features = nano._known.of_window(window(5, 6, 7), (84, 112))
    assert [len(one.cues) for one in features] == [2, 2, 2]


def test_a_rigs_frames_are_compared_with_its_newest_moment(any_runtime: SpatialRuntime) -> None:
    """Both cameras see their picture of before again, in the other camera."""
    single = window(1, 2, 2 + 10, 1 + 10).frames
    again = {12: single[1], 11: single[0]}
    frames = tuple(
        replace(
            frame,
            camera=("left", "right")[number % 2],
            image=again.get(frame.stamp_ns // 10, frame).image,
        )
        for number, frame in enumerate(single)
    )
    of_rig = any_runtime.observe(FrameWindow(frames)).overlap
    of_one = any_runtime.observe(
        FrameWindow(tuple(replace(frame, camera="one") for frame in frames))
    ).overlap
    assert of_rig is not None
    assert of_one is not None
    np.testing.assert_array_equal(of_rig[2:], 1)
    assert (of_rig[:2] > of_one[:2] - 1e-6).all()
    assert of_rig[1] > of_one[1] + 1e-3, (of_rig, of_one)
