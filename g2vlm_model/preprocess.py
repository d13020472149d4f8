# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""uint8 pictures to the inputs of both encoders, with the published resizing.

numpy; what hands out tensors imports torch when it is called.

Geometric encoder: the first picture of a window fixes the size (`dino_width` wide, height
rounded to patches); every picture is squeezed to it with PIL's LANCZOS filter, nothing is cut
off. Semantic encoder: a bicubic squash to a square, a second one to a multiple of the merge
block, then rows of patches; or, without the square, the whole picture at its own size
(`ModelConfig.semantic_picture`), of which the first picture of a window has a say again.

Shape letters: N frames, H W pixels, R rows, C numbers of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .config import ModelConfig, VitConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "SemanticRows",
    "geometric_pixels",
    "geometric_size",
    "normalise",
    "resize_geometric",
    "scaled_intrinsics",
    "semantic_merged_hw",
    "semantic_patches",
    "semantic_rows",
    "semantic_size",
    "smart_size",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_HEIGHT_OVER_WIDTH = 4
MIN_SEMANTIC_PIXELS = 56 * 56
MAX_SEMANTIC_PIXELS = 14 * 14 * 4 * 1280

Picture = NDArray[np.uint8]
Rows = TypeVar("Rows")


def geometric_size(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    """Return (H, W) of the geometric encoder's picture for a first picture's size.

    Raises:
        ValueError: The picture is so flat that no patch remains, or more than four times
            higher than wide.
    """
    patch, target = config.patch_size, config.dino_width
    rows = round(height * (target / width) / patch)
    if rows < 1 or height > MAX_HEIGHT_OVER_WIDTH * width:
        raise ValueError(
            f"picture is {height} high and {width} wide; at a width of {target} that is "
            f"{rows} rows of patches, expected at least 1 and at most "
            f"{MAX_HEIGHT_OVER_WIDTH} times the width; crop it"
        )
    return rows * patch, target


def resize_geometric(picture: Picture, size_hw: tuple[int, int]) -> Picture:
    """Return a uint8 RGB picture resized with PIL's LANCZOS filter (published)."""
    image = Image.fromarray(_checked(picture))
    return np.asarray(image.resize((size_hw[1], size_hw[0]), Image.Resampling.LANCZOS))


def normalise(pictures_NHW3: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return (N, 3, H, W) ImageNet-normalised pixels of uint8 (N, H, W, 3), on its device.

    Args:
        pictures_NHW3: uint8.
        dtype: Of the result; None is float32.
    """
    import torch

    dtype = dtype or torch.float32
    # The type first: TensorRT takes bytes as an input and does nothing but convert them.
    pixels_N3HW = pictures_NHW3.to(dtype).permute(0, 3, 1, 2) / 255
    mean, std = (
        torch.tensor(values, dtype=dtype, device=pictures_NHW3.device)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (pixels_N3HW - mean) / std


def geometric_pixels(config: ModelConfig, pictures: Sequence[Picture]) -> Tensor:
    """Return the geometric encoder's input of a window.

    Args:
        config: The model's.
        pictures: uint8 RGB (H0, W0, 3); the first fixes the size, sizes may differ.

    Returns:
        (N, 3, H, W) float32.

    Raises:
        ValueError: No picture, a wrong type or shape, or an extreme shape.
    """
    import torch

    if not pictures:
        raise ValueError("got 0 pictures, expected at least 1")
    size = geometric_size(config, *_checked(pictures[0]).shape[:2])
    return normalise(
        torch.from_numpy(np.stack([resize_geometric(picture, size) for picture in pictures]))
    )


def scaled_intrinsics(
    K: NDArray[np.float64], from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the intrinsics of a resized picture.

    Pixel centres are at whole numbers, so the picture's left edge is at -0.5.

    Args:
        K: (3, 3) in pixels of the picture of size `from_hw`.
        from_hw, to_hw: (height, width) before and after.
    """
    scale_y, scale_x = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    resize = np.array(
        [
            [scale_x, 0.0, 0.5 * scale_x - 0.5],
            [0.0, scale_y, 0.5 * scale_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    return resize @ np.asarray(K, dtype=np.float64)


def smart_size(height: int, width: int, factor: int) -> tuple[int, int]:
    """Return Qwen2-VL's (height, width): multiples of `factor` within its bounds of area."""
    sides = (height, width)
    rounded = tuple(max(factor, round(side / factor) * factor) for side in sides)
    area = rounded[0] * rounded[1]
    if area > MAX_SEMANTIC_PIXELS:
        scale = (height * width / MAX_SEMANTIC_PIXELS) ** 0.5
        rounded = tuple(max(factor, int(side / scale / factor) * factor) for side in sides)
    elif area < MIN_SEMANTIC_PIXELS:
        scale = (MIN_SEMANTIC_PIXELS / (height * width)) ** 0.5
        rounded = tuple(-int(-side * scale // factor) * factor for side in sides)
    return rounded[0], rounded[1]


def semantic_size(config: ModelConfig, first_hw: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (H, W) of the semantic encoder's pictures of a window.

    Args:
        config: The model's.
        first_hw: (height, width) of the window's first picture.

    Raises:
        ValueError: Pictures have their own size, and nobody says which.
    """
    block = config.vit.patch_size * config.vit.spatial_merge_size
    if config.semantic_picture == "square":
        return smart_size(config.vit_size, config.vit_size, block)
    if first_hw is None:
        raise ValueError(
            "semantic_picture is 'own': each window has a size of its own, which exported graphs "
            "of the semantic expert cannot have; answer with the runtime torch"
        )
    return smart_size(*first_hw, block)


def semantic_merged_hw(
    config: ModelConfig, first_hw: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return rows and columns of a picture's semantic tokens; see `semantic_size`."""
    block = config.vit.patch_size * config.vit.spatial_merge_size
    height, width = semantic_size(config, first_hw)
    return height // block, width // block


class SemanticRows(Generic[Rows]):
    """Input of the semantic encoder for pictures of one size.

    Args:
        rows_NRC: float32, CLIP-normalised patches in the order of merge blocks; a numpy array
            or a tensor.
        grid_hw: Rows and columns of patches.
        merged_hw: Rows and columns of tokens.
    """

    def __init__(self, rows_NRC: Rows, grid_hw: tuple[int, int], merge: int) -> None:
        self.rows_NRC = rows_NRC
        self.grid_hw = grid_hw
        self.merged_hw = (grid_hw[0] // merge, grid_hw[1] // merge)


def semantic_rows(config: ModelConfig, pictures: Sequence[Picture]) -> SemanticRows[Tensor]:
    """Return the semantic encoder's input of a window, see `semantic_patches`."""
    import torch

    found = semantic_patches(config, pictures)
    merge = config.vit.spatial_merge_size
    return SemanticRows(torch.from_numpy(found.rows_NRC), found.grid_hw, merge)


def semantic_patches(
    config: ModelConfig, pictures: Sequence[Picture], first_hw: tuple[int, int] | None = None
) -> SemanticRows[NDArray[np.float32]]:
    """Return the semantic encoder's input of a window.

    Args:
        config: The model's.
        pictures: uint8 RGB (H0, W0, 3), any sizes.
        first_hw: (height, width) of the window's first picture; None where it is the first here.

    Raises:
        ValueError: No picture, or a wrong type or shape.
    """
    if not pictures:
        raise ValueError("got 0 pictures, expected at least 1")
    vit, side = config.vit, config.vit_size
    first = _checked(pictures[0])
    height, width = semantic_size(config, first_hw or (first.shape[0], first.shape[1]))
    bicubic = Image.Resampling.BICUBIC
    images = [Image.fromarray(_checked(picture)) for picture in pictures]
    if config.semantic_picture == "square":
        images = [image.resize((side, side), bicubic) for image in images]
    resized = [image.resize((width, height), bicubic) for image in images]
    pixels_NHW3 = np.stack([np.asarray(image) for image in resized]).astype(
        np.float32
    ) / np.float32(255)
    mean, std = (np.array(values, np.float32) for values in (CLIP_MEAN, CLIP_STD))
    grid = (height // vit.patch_size, width // vit.patch_size)
    rows_NRC = _to_rows((pixels_NHW3 - mean) / std, vit)
    return SemanticRows(rows_NRC, grid, vit.spatial_merge_size)


def _to_rows(pixels_NHW3: NDArray[np.float32], vit: VitConfig) -> NDArray[np.float32]:
    """Cut pictures into patches, merge block after merge block; (channel, time, y, x) inside."""
    patch, merge = vit.patch_size, vit.spatial_merge_size
    frames, height, width, channels = pixels_NHW3.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    blocks = pixels_NHW3.reshape(frames, rows, merge, patch, columns, merge, patch, channels)
    # N, block row, block column, row in block, column in block, channel, y, x
    ordered = blocks.transpose(0, 1, 4, 2, 5, 7, 3, 6)
    both_times = np.repeat(ordered[:, :, :, :, :, :, None], vit.temporal_patch_size, axis=6)
    return both_times.reshape(frames, rows * columns * merge * merge, -1)


def _checked(picture: Picture) -> Picture:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"picture is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3) RGB"
        )
    return picture
