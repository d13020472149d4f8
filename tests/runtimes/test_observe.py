# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an observation returns, and what it does not compute twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from g2vlm_model.checkpoint import load_model
from g2vlm_model.generate import reconstruct
from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    ObservationCancelledError,
    SpatialQuery,
    SpatialRuntime,
    TokenScene,
    WindowRefusedError,
)
from g2vlm_model.preprocess import geometric_pixels, resize_geometric
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.onnx import sessions
from g2vlm_model.runtimes.scene import generalised_mean
from g2vlm_model.runtimes.torch.placement import Placement
from g2vlm_model.runtimes.torch.runtime import TorchRuntime
from g2vlm_model.tokenizer import prompt_ids

from .model_folders import small_config, window, write_model
from .spies import CallSpy, encoder_spy, model_of


def test_the_prediction_keeps_its_contract(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1, 2, 3))
    geometry = scene.geometry
    assert geometry.image_size == (42, 56)
    assert geometry.local_points.shape == (3, 42, 56, 3)
    assert geometry.local_points.dtype == np.float32
    assert geometry.confidence.dtype == np.float32
    assert geometry.valid.dtype == np.bool_
    assert geometry.confidence_source == "consistency"
    assert ((geometry.confidence >= 0) & (geometry.confidence <= 1)).all()
    assert (geometry.local_points[geometry.valid][:, 2] > 0).all()
    np.testing.assert_array_equal(geometry.T_world_cam[0], np.eye(4, dtype=np.float32))
    T = geometry.T_world_cam
    moved = np.einsum("nij,nhwj->nhwi", T[:, :3, :3], geometry.local_points)
    moved += T[:, None, None, :3, 3]
    np.testing.assert_allclose(geometry.world_points, moved, atol=1e-5)
    for frame, colors in zip(scene.window.frames, geometry.colors, strict=True):
        np.testing.assert_array_equal(colors, resize_geometric(frame.image, (42, 56)))
    assert scene.overlap is not None
    assert scene.overlap.dtype == np.float32
    assert scene.overlap[-1] == 1
    assert ((scene.overlap[:-1] > 0) & (scene.overlap[:-1] < 1)).all()
    steps = {"preprocess", "encode", "confidence", "overlap", "total"}
    assert steps <= scene.latency_ms.keys()
    parts = sum(value for name, value in scene.latency_ms.items() if name != "total")
    assert 0 < parts <= scene.latency_ms["total"] + 1.0


def test_a_frame_has_the_same_tokens_in_every_window(any_runtime: SpatialRuntime) -> None:
    scenes = [any_runtime.observe(window(*seeds)) for seeds in ((1, 2, 3), (2, 3, 4))]
    assert isinstance(scenes[0], TokenScene)
    assert isinstance(scenes[1], TokenScene)
    first, second = scenes[0].tokens, scenes[1].tokens
    assert first is not None
    assert second is not None
    assert first.dtype == np.float32
    assert len(first) == len(second) == 3
    assert (first > 0).all()
    np.testing.assert_array_equal(first[1:], second[:2])
    assert np.abs(first[0] - first[1]).max() > 1e-3, "frames that differ have the same tokens"


def test_the_generalised_mean_is_what_its_formula_says() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    expected = (np.maximum(tokens, 1e-6).astype(np.float64) ** 3).mean(axis=1) ** (1 / 3)
    np.testing.assert_allclose(generalised_mean(tokens), expected, rtol=1e-5)
    np.testing.assert_allclose(generalised_mean(torch.from_numpy(tokens)), expected, rtol=1e-5)


def test_published_mode_returns_the_published_reconstruction(model_folder: Path) -> None:
    runtime = load_runtime(model=model_folder, device="cpu", prompt_mode="published")
    frames = window(4, 5)
    geometry = runtime.observe(frames).geometry
    model, tokenizer = load_model(model_folder)
    pixels = geometric_pixels(model.config, [frame.image for frame in frames.frames])
    with torch.inference_mode():
        expected = reconstruct(model, pixels[None], prompt_ids(tokenizer, model.config.tokens))
    np.testing.assert_allclose(
        geometry.local_points, expected.local_points_BNHW3[0].numpy(), atol=1e-5, rtol=1e-5
    )
    T = expected.T_world_cam_BN44[0].double().numpy()
    np.testing.assert_allclose(geometry.T_world_cam, np.linalg.inv(T[0]) @ T, atol=1e-5)
    runtime.close()


def test_the_prompt_modes_differ_only_by_the_prefix(model_folder: Path) -> None:
    """The prefix reaches the geometry (the small model's frames see the text), a little."""
    points = []
    for mode in ("shared", "published"):
        runtime = load_runtime(model=model_folder, device="cpu", prompt_mode=mode)
        points.append(runtime.observe(window(1, 2)).geometry.local_points)
        runtime.close()
    difference = np.abs(points[0] - points[1]).max()
    assert 1e-6 < difference < 0.5 * np.abs(points[0]).max()


def test_a_frame_is_encoded_once_while_it_stays_in_the_window(any_runtime: SpatialRuntime) -> None:
    spy = encoder_spy(any_runtime)

    def counts() -> list[int]:
        return [frames for frames, *_ in spy.seen]

    any_runtime.observe(window(1, 2, 3))
    assert counts() == [3]
    second = any_runtime.observe(window(2, 3, 4))
    assert counts() == [3, 1]
    any_runtime.observe(window(4, 3, 2))
    assert counts() == [3, 1]
    any_runtime.observe(window(1))  # had left the window, and no scene holds it
    assert counts() == [3, 1, 1]
    del second


def test_cached_tokens_change_nothing(runtime: SpatialRuntime, model_folder: Path) -> None:
    runtime.observe(window(1, 2, 3))
    warm = runtime.observe(window(2, 3, 4)).geometry
    fresh_runtime = load_runtime(model=model_folder, device="cpu", prompt_mode="shared")
    cold = fresh_runtime.observe(window(2, 3, 4)).geometry
    np.testing.assert_allclose(warm.local_points, cold.local_points, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(warm.T_world_cam, cold.T_world_cam, atol=1e-6)
    fresh_runtime.close()


@pytest.mark.parametrize("changed", ["another array", "another size", "the same buffer"])
def test_a_key_with_other_pixels_is_refused(any_runtime: SpatialRuntime, changed: str) -> None:
    """Taken as known it would get the first picture's geometry, bit for bit."""
    frame = window(1).frames[0]
    image = frame.image.copy()
    first = any_runtime.observe(FrameWindow((replace(frame, image=image),)))
    if changed == "the same buffer":
        image[:] = window(7).frames[0].image
    elif changed == "another size":
        image = image[:-1]
    else:
        image = image.copy()
        image[20, 20] ^= 255  # one pixel
    other = FrameWindow((replace(frame, stamp_ns=99, image=image),))
    with pytest.raises(ValueError, match=rf"frame '{frame.key}': a frame with this key and other"):
        any_runtime.observe(other)
    fresh = any_runtime.observe(FrameWindow((replace(other.frames[0], key="another"),)))
    assert not np.array_equal(fresh.geometry.local_points, first.geometry.local_points)


def test_a_key_with_the_same_pixels_is_known(any_runtime: SpatialRuntime) -> None:
    spy = encoder_spy(any_runtime)
    frame = window(1).frames[0]
    any_runtime.observe(FrameWindow((frame,)))
    any_runtime.observe(FrameWindow((replace(frame, stamp_ns=99, image=frame.image.copy()),)))
    assert [frames for frames, *_ in spy.seen] == [1]


def test_windows_of_another_size_do_not_share_tokens(any_runtime: SpatialRuntime) -> None:
    spy = encoder_spy(any_runtime)
    wide, square = window(1).frames[0], window(2, height=80, width=80).frames[0]
    any_runtime.observe(FrameWindow((wide, square)))
    scene = any_runtime.observe(FrameWindow((square, wide)))
    assert spy.seen == [(2, 42, 56), (2, 56, 56)]
    assert scene.geometry.image_size == (56, 56)


def test_drifting_windows_of_the_published_encoder_are_encoded_as_a_whole(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "drift", small_config(dino_attention="compat"))
    runtime = load_runtime(model=folder, device="cpu")
    spy = CallSpy(model_of(runtime), "encode_geometry", lambda pixels: pixels.shape[1])
    runtime.observe(window(1, 2, 3))
    runtime.observe(window(2, 3, 4))
    assert spy.seen == [3, 3]
    runtime.close()


def test_a_confidence_head_is_used_where_there_is_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "head", small_config(confidence_head=True))
    runtime = load_runtime(model=folder, device="cpu")
    kept: list[Tensor] = []
    model = model_of(runtime)
    decode = model.decode_geometry

    def keep(*args: object, **keywords: object) -> object:
        tensors = decode(*args, **keywords)  # type: ignore[arg-type]
        kept.append(tensors.confidence_logits_BNHW1)  # type: ignore[arg-type]
        return tensors

    model.decode_geometry = keep  # type: ignore[method-assign, assignment]
    geometry = runtime.observe(window(1, 2)).geometry
    assert geometry.confidence_source == "head"
    expected = 1.0 / (1.0 + np.exp(-kept[0][0, ..., 0].numpy()))
    np.testing.assert_allclose(geometry.confidence, expected, atol=1e-6)
    assert geometry.confidence.std() > 1e-3
    runtime.close()


def test_pixels_that_show_nothing_are_named_and_neither_valid_nor_trusted(tmp_path: Path) -> None:
    config = small_config(confidence_head=True, invalid_head=True)
    runtime = load_runtime(model=write_model(tmp_path / "sky", config), device="cpu")
    head = model_of(runtime).heads.invalid_head
    assert head is not None
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, -1.0)
    head.bias.data[: config.patch_size] = 1.0  # the top row of every patch
    geometry = runtime.observe(window(1, 2)).geometry
    assert geometry.invalid is not None
    rows = np.arange(geometry.invalid.shape[1]) % config.patch_size == 0
    assert geometry.invalid[:, rows].all()
    assert not geometry.invalid[:, ~rows].any()
    assert not geometry.valid[:, rows].any()
    assert geometry.valid[:, ~rows].any()
    assert (geometry.confidence[:, rows] == 0).all()
    assert (geometry.confidence[:, ~rows] > 0).any()
    runtime.close()


def test_cameras_have_intrinsics_of_their_own(any_runtime: SpatialRuntime) -> None:
    frames = window(1, 2, 3).frames
    rig = FrameWindow((frames[0], replace(frames[1], camera="rear"), frames[2]))
    K = any_runtime.observe(rig).geometry.K
    np.testing.assert_array_equal(K[0], K[2])
    assert not np.array_equal(K[0], K[1])


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((8, 8, 1), np.uint8), r"uint8 \(8, 8, 1\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \(8, 8, 3\)"),
        ([[[0, 0, 0]] * 8] * 8, "a list, expected a numpy array"),
    ],
)
def test_what_is_no_colour_picture_is_refused(image: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"frame '7': image is {says}"):
        Frame(image, stamp_ns=1, frame_id="optical", camera="camera", key="7")


def test_windows_that_the_model_does_not_take_are_refused(any_runtime: SpatialRuntime) -> None:
    limits = any_runtime.info.limits
    assert limits is not None
    most = limits.max_frames
    assert limits.refusal(most, (42, 56)) == ""
    assert limits.refusal(most + 1) == (
        f"the window has {most + 1} frames, the runtime takes 1 to {most}; give fewer keyframes"
    )
    with pytest.raises(WindowRefusedError, match=f"the window has {most + 1} frames"):
        any_runtime.observe(window(*range(most + 1)))
    flat = Frame(np.zeros((4, 400, 3), np.uint8), 0, "camera", "camera", "flat")
    with pytest.raises(ValueError, match="crop it"):
        any_runtime.observe(FrameWindow((flat,)))
    assert len(any_runtime.observe(window(1, 2)).window) == 2


def test_how_long_a_window_may_be_is_the_callers(model_folder: Path) -> None:
    """1,000 frames at stride 40, as the paper takes them, are 25; nothing in a model ends there."""
    runtime = load_runtime(model=model_folder, device="cpu", max_frames=66)
    assert len(runtime.observe(window(*range(66))).window) == 66
    with pytest.raises(WindowRefusedError, match="the runtime takes 1 to 66"):
        runtime.observe(window(*range(67)))
    runtime.close()
    with pytest.raises(ValueError, match="max_frames is 0, expected at least 1"):
        load_runtime(model=model_folder, max_frames=0)


def test_four_cameras_of_eight_moments_are_a_window(any_runtime: SpatialRuntime) -> None:
    frames = [
        replace(frame, camera=f"camera{index % 4}")
        for index, frame in enumerate(window(*range(32)).frames)
    ]
    scene = any_runtime.observe(FrameWindow(tuple(frames)))
    assert scene.geometry.valid.shape[0] == len(scene.window) == 32
    assert any_runtime.ask(scene, SpatialQuery("Which is closer?", max_tokens=2)).tokens > 0


def test_a_cancelled_pass_ends_wherever_it_is_and_leaves_the_runtime_usable(
    runtime: SpatialRuntime,
) -> None:
    """Cancelled at the first, second, third ... time of asking, until a pass gets through."""
    expected = runtime.observe(window(1, 2, 3)).geometry.local_points
    asked = 0
    for number in itertools.count(1):
        left = iter(range(number))

        def cancelled(left: Iterator[int] = left) -> bool:
            return next(left, None) is None

        try:
            scene = runtime.observe(window(4, 5, 6), cancelled=cancelled)
        except ObservationCancelledError:
            asked = number
            continue
        assert scene.geometry.valid.any()
        break
    layers = 2 + 2 * 2 + 2 * 1  # encoder blocks, two halves of each layer, blocks of two heads
    assert asked >= layers + 4, "asked between layers, and between stages"
    again = runtime.observe(window(1, 2, 3)).geometry.local_points
    np.testing.assert_array_equal(again, expected)


def test_a_graph_that_runs_is_ended(
    small_export: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph itself: between the first question of the watcher and the end of the run.

    A run may be done before the watcher's thread has had its turn, so it is tried again.
    """
    monkeypatch.setattr(sessions, "WATCH_S", 0.0)
    runtime = load_runtime("onnx", model_folder, "cpu", export=small_export)
    expected = runtime.observe(window(1, 2)).geometry.local_points
    began = threading.Event()

    def cancelled() -> bool:
        watched = threading.current_thread().name == "cancel-watch"
        if watched:
            began.set()
        return watched

    many = window(*range(10, 70))
    with pytest.raises(ObservationCancelledError):
        for _ in range(20):
            runtime.observe(many, cancelled=cancelled)
    assert began.is_set()
    np.testing.assert_array_equal(runtime.observe(window(1, 2)).geometry.local_points, expected)
    runtime.close()


def test_numbers_that_overflow_are_an_error_and_not_a_cloud(runtime: SpatialRuntime) -> None:
    model = model_of(runtime)
    kept = model.heads.point_head.bias.clone()
    model.heads.point_head.bias.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="no finite point"):
        runtime.observe(window(1, 2))
    model.heads.point_head.bias.copy_(kept)
    assert runtime.observe(window(1, 2)).geometry.valid.any()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 3e-2)], ids=["fp16", "bf16"]
)
def test_half_precision_says_nearly_the_same(
    model_folder: Path, runtime: SpatialRuntime, dtype: torch.dtype, tolerance: float
) -> None:
    """What a GPU runs by default, emulated here; the tolerance is relative to the depth."""
    placement = Placement(torch.device("cpu"), dtype, "half", "cpu")
    half = TorchRuntime(model_folder, placement, "shared")
    assert model_of(half).dtype == dtype
    scene, reference = half.observe(window(1, 2)), runtime.observe(window(1, 2))
    gap = np.linalg.norm(scene.geometry.local_points - reference.geometry.local_points, axis=-1)
    assert np.median(gap / reference.geometry.local_points[..., 2]) < tolerance
    np.testing.assert_allclose(
        scene.geometry.T_world_cam, reference.geometry.T_world_cam, atol=3 * tolerance
    )
    answer = half.ask(scene, SpatialQuery("Which is closer?", max_tokens=4))
    assert answer.tokens == 4
    assert 0.0 < answer.confidence < 1.0
    half.close()


def test_a_closed_runtime_says_so(any_runtime: SpatialRuntime) -> None:
    scene = any_runtime.observe(window(1))
    any_runtime.close()
    any_runtime.close()
    with pytest.raises(RuntimeError, match="runtime is closed"):
        any_runtime.observe(window(1))
    with pytest.raises(RuntimeError, match="runtime is closed"):
        any_runtime.ask(scene, SpatialQuery("Which is closer?"))
    assert scene.geometry.local_points.shape[0] == 1
