"""Pictures for benchmarks: a folder's, or smooth random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from g2vlm_model.interface import Frame, FrameWindow

__all__ = ["load_pictures", "random_picture", "window_of"]

SUFFIXES = (".png", ".jpg", ".jpeg")


def random_picture(seed: int, height: int = 480, width: int = 640) -> NDArray[np.uint8]:
    """A smooth random picture, (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def load_pictures(folder: Path, count: int, step: int = 1) -> list[NDArray[np.uint8]]:
    """Pictures of a folder in the order of their names.

    Args:
        folder: Searched with its subfolders; names with "depth" in them are left out.
        count: How many.
        step: Every step-th picture is taken.

    Raises:
        ValueError: Too few pictures.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and "depth" not in path.name
    )[::step][:count]
    if len(paths) < count:
        raise ValueError(f"{folder} holds {len(paths)} pictures at step {step}, {count} are needed")
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def window_of(pictures: list[NDArray[np.uint8]], name: str) -> FrameWindow:
    """A window whose keys occur nowhere else, so that nothing of it is cached."""
    return FrameWindow(
        tuple(
            Frame(picture, index, "camera_optical", "camera", f"{name}/{index}")
            for index, picture in enumerate(pictures)
        )
    )
