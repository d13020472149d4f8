# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures that forms of a model are compared on: windows of a folder's, and smooth random ones.

Read by Pillow alone, PNG and JPEG, upright and of a bounded size: the exporter needs neither OpenCV
nor the map, in which the decoder of the node lives, and whoever compares chose the folder.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import geometric_size, resize_geometric

__all__ = ["Case", "Picture", "load_pictures", "random_cases", "random_picture", "window_cases"]

SUFFIXES = (".png", ".jpg", ".jpeg")

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A window of pictures of the model's size.

    Args:
        name: In words, for reports.
        pictures_NHW3: uint8 RGB.
    """

    name: str
    pictures_NHW3: NDArray[np.uint8]

    @property
    def size_nhw(self) -> tuple[int, int, int]:
        """Frames, height and width."""
        frames, height, width, _ = self.pictures_NHW3.shape
        return frames, height, width


def random_picture(seed: int, height: int = 480, width: int = 640) -> Picture:
    """Return a smooth random picture, (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def load_pictures(folder: Path, count: int, step: int = 1) -> list[Picture]:
    """Return pictures of a folder in the order of their names.

    Args:
        folder: Searched with its subfolders; names with "depth" in them are left out.
        count: How many.
        step: Every step-th picture is taken.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Too few pictures, or a file that is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; give one that holds pictures")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and "depth" not in path.name
    )[::step][:count]
    if len(paths) < count:
        raise ValueError(f"{folder} holds {len(paths)} pictures at step {step}, {count} are needed")
    return [_load(path) for path in paths]


def random_cases(config: ModelConfig, static_nhw: tuple[int, ...] | None = None) -> list[Case]:
    """Return windows of four sizes: one to four frames, landscape, portrait, flat and square.

    Args:
        config: Gives the patch and the usual width.
        static_nhw: The one size that an export serves; None where it serves all.
    """
    patch = config.patch_size
    wide = config.dino_width // patch
    most, half = max(wide * 3 // 4, 1), max(wide // 2, 1)
    grids = [(1, most, wide), (2, wide, most), (3, half, wide), (4, wide, wide)]
    sizes = [(frames, rows * patch, columns * patch) for frames, rows, columns in grids]
    if static_nhw is not None:
        sizes = [(static_nhw[0], static_nhw[1], static_nhw[2])]
    return [
        Case(size_name(size), _random_window(size, 10 * index)) for index, size in enumerate(sizes)
    ]


def window_cases(
    config: ModelConfig,
    pictures: list[Picture],
    frames: int,
    static_nhw: tuple[int, ...] | None = None,
) -> Iterator[Case]:
    """Yield windows of pictures that follow each other, resized as the runtimes do.

    Args:
        config: Gives the model's size.
        pictures: Of any size.
        frames: Of a window.
        static_nhw: The one size that an export serves; it overrules the others.
    """
    frames = static_nhw[0] if static_nhw else frames
    for first in range(0, len(pictures) - frames + 1, frames):
        window = pictures[first : first + frames]
        size_hw = geometric_size(config, *window[0].shape[:2])
        if static_nhw:
            size_hw = (static_nhw[1], static_nhw[2])
        resized = np.stack([resize_geometric(picture, size_hw) for picture in window])
        yield Case(f"pictures {first}-{first + frames - 1}", resized)


def size_name(size_nhw: tuple[int, int, int]) -> str:
    """Return "2x84x112" for 2 frames of 84 x 112 pixels."""
    return "x".join(str(number) for number in size_nhw)


def _random_window(size_nhw: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    frames, height, width = size_nhw
    return np.stack([random_picture(seed + index, height, width) for index in range(frames)])


def _load(path: Path) -> Picture:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no picture that can be read: {error}") from None
