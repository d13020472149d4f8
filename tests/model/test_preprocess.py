# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Preprocessing against the published code's outputs, intrinsics, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from g2vlm_model import preprocess
from g2vlm_model.config import ModelConfig

from .golden_cases import folders_with

FOLDERS = folders_with("preprocess.safetensors")
CONFIG = ModelConfig.g2vlm_2b()
ROW_TOLERANCE = 1e-5


def pictures(folder: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    with np.load(folder / "images.npz") as images:
        return [images[f"img{index}"] for index in range(len(images.files))]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_geometric_pictures_are_published_ones(folder: Path) -> None:
    want = load_file(str(folder / "preprocess.safetensors"))
    compared = 0
    for index, picture in enumerate(pictures(folder)):
        if f"dino{index}_uint8" not in want:
            continue
        size = preprocess.geometric_size(CONFIG, *picture.shape[:2])
        got = preprocess.resize_geometric(picture, size)
        assert got.shape == tuple(want[f"dino{index}_uint8"].shape)
        difference = np.abs(got.astype(int) - want[f"dino{index}_uint8"].numpy().astype(int))
        assert difference.max() == 0, (
            f"img{index}: max {difference.max()}, mean {difference.mean()}"
        )
        compared += 1
    assert compared


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_first_picture_fixes_the_size(folder: Path) -> None:
    want = load_file(str(folder / "preprocess.safetensors"))
    name = "dino_multi_first_portrait_w98"
    if name not in want:
        pytest.skip(f"{folder} has no {name}")
    config = ModelConfig(dino_width=98)
    first, second = pictures(folder)[1], pictures(folder)[0]
    size = preprocess.geometric_size(config, *first.shape[:2])
    got = np.stack([preprocess.resize_geometric(one, size) for one in (first, second)])
    published = (want[name].permute(0, 2, 3, 1) * 255).round().numpy()
    np.testing.assert_array_equal(got, published)
    pixels = preprocess.geometric_pixels(config, [first, second])
    mean = torch.tensor(preprocess.IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(preprocess.IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(pixels, (want[name] - mean) / std, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_semantic_rows_are_published_ones(folder: Path) -> None:
    want = load_file(str(folder / "preprocess.safetensors"))
    compared = 0
    for index, picture in enumerate(pictures(folder)):
        if f"vit{index}_grid_thw" not in want:
            continue
        rows = preprocess.semantic_rows(CONFIG, [picture])
        assert [1, *rows.grid_hw] == want[f"vit{index}_grid_thw"][0].tolist()
        got = rows.rows_NRC[0]
        sampled = got[want[f"vit{index}_rows"]]
        error = (sampled - want[f"vit{index}_pixel_values_rows"]).abs()
        assert error.max() <= ROW_TOLERANCE, f"max {error.max():.2e}, mean {error.mean():.2e}"
        sums = torch.stack((got.double().sum(), got.double().abs().sum()))
        torch.testing.assert_close(sums, want[f"vit{index}_sum"].double(), rtol=1e-4, atol=2.0)
        compared += 1
    assert compared


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (392, 518)), (120, 90, (686, 518)), (518, 518, (518, 518)), (61, 400, (84, 518))],
)
def test_geometric_size(height: int, width: int, expected: tuple[int, int]) -> None:
    assert preprocess.geometric_size(CONFIG, height, width) == expected


@pytest.mark.parametrize(("height", "width"), [(5, 1000), (2100, 500), (65537, 2)])
def test_extreme_shapes_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"picture is {height} high and {width} wide"):
        preprocess.geometric_size(CONFIG, height, width)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(768, 768, (756, 756)), (100, 100, (112, 112)), (20, 30, (56, 84)), (4000, 3000, (1148, 840))],
)
def test_smart_size(height: int, width: int, expected: tuple[int, int]) -> None:
    assert preprocess.smart_size(height, width, 28) == expected


def test_rows_are_merge_blocks_of_patches() -> None:
    config = ModelConfig(vit_size=84)
    picture = np.random.default_rng(0).integers(0, 256, (84, 84, 3), dtype=np.uint8)
    rows = preprocess.semantic_rows(config, [picture])
    assert (rows.grid_hw, rows.merged_hw) == ((6, 6), (3, 3))
    mean, std = np.array(preprocess.CLIP_MEAN), np.array(preprocess.CLIP_STD)
    # Block 4 is the middle one; its third row is its lower left patch.
    patch = picture[42:56, 28:42].astype(np.float64) / 255
    want = np.repeat(((patch - mean) / std).transpose(2, 0, 1)[:, None], 2, axis=1)
    np.testing.assert_allclose(rows.rows_NRC[0, 4 * 4 + 2].numpy(), want.ravel(), atol=1e-6)


def test_scaled_intrinsics_follow_the_pixels() -> None:
    K = np.array([[600.0, 0, 319.5], [0, 590.0, 239.5], [0, 0, 1]])
    scaled = preprocess.scaled_intrinsics(K, (480, 640), (392, 518))
    assert scaled[0, 2] == pytest.approx(518 / 2 - 0.5)
    assert scaled[1, 2] == pytest.approx(392 / 2 - 0.5)
    point = np.array([0.3, -0.2, 2.0])
    u, v, _ = K @ point / 2.0
    u_small, v_small, _ = scaled @ point / 2.0
    assert (u_small + 0.5) / 518 == pytest.approx((u + 0.5) / 640)
    assert (v_small + 0.5) / 392 == pytest.approx((v + 0.5) / 480)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_wrong_pictures_are_refused(
    picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    for function in (preprocess.geometric_pixels, preprocess.semantic_rows):
        with pytest.raises(ValueError, match="expected uint8"):
            function(CONFIG, [picture])
        with pytest.raises(ValueError, match="0 pictures"):
            function(CONFIG, [])


def test_read_only_and_strided_pictures_are_taken() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    view = whole[::2, ::2]
    view.flags.writeable = False
    want = np.asarray(Image.fromarray(view.copy()).resize((518, 392), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(preprocess.resize_geometric(view, (392, 518)), want)


def test_pictures_of_their_own_size_keep_their_shape() -> None:
    """The first one of a window gives the size of all; exported graphs have none of their own."""
    config = ModelConfig(semantic_picture="own")
    wide, high = np.zeros((56, 168, 3), np.uint8), np.zeros((168, 56, 3), np.uint8)
    assert preprocess.semantic_rows(config, [wide, high]).merged_hw == (2, 6)
    assert preprocess.semantic_rows(config, [high]).merged_hw == (6, 2)
    assert preprocess.semantic_rows(ModelConfig(), [wide]).merged_hw == (27, 27)
    assert preprocess.semantic_size(config, (2000, 3000)) == (812, 1204)  # Qwen2-VL's largest area
    with pytest.raises(ValueError, match="answer with the runtime torch"):
        preprocess.semantic_merged_hw(config)
    with pytest.raises(ValueError, match="semantic_picture is 'round', expected one of"):
        ModelConfig(semantic_picture="round")
