# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Skies and surroundings: HDR panoramas, read or drawn.

A panorama is (H, 2H, 3) linear light. Its rows go from straight up to straight down, its columns
round the horizon; the middle column lies along world +x, columns to the left towards +y.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .sh3f import ModelsError

__all__ = ["HEIGHT", "draw_sky", "read_panorama"]

HEIGHT = 512
_BRIGHTEST = 6e4  # what float16 holds


def read_panorama(path: Path) -> NDArray[np.float16]:
    """Read an EXR file and shrink it to `HEIGHT` rows.

    Raises:
        ModelsError: It cannot be read.
    """
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV reads EXR only when asked to
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3:
        raise ModelsError(f"{path} is no EXR picture that OpenCV reads")
    rgb = picture[..., 2::-1].astype(np.float32)
    small = cv2.resize(rgb, (2 * HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.clip(np.nan_to_num(small), 0, _BRIGHTEST).astype(np.float16)


def draw_sky(rng: np.random.Generator) -> NDArray[np.float32]:
    """A sky with clouds over grey ground, without a sun, for when there is no panorama."""
    lift = np.linspace(1, -1, HEIGHT, dtype=np.float32)[:, None, None]
    blue = np.array([0.45, 0.62, 0.95], np.float32) * rng.uniform(0.8, 1.3)
    pale = np.array([0.95, 0.97, 1.0], np.float32)
    sky = pale + (blue - pale) * np.sqrt(np.clip(lift, 0, 1))
    across = np.linspace(0, 2 * np.pi, 2 * HEIGHT, endpoint=False, dtype=np.float32)[None, :]
    cloud = np.zeros((HEIGHT, 2 * HEIGHT), np.float32)
    for octave in range(1, 6):
        phase = rng.uniform(0, 2 * np.pi, 2)
        turns = int(rng.integers(2**octave, 2 ** (octave + 1)))
        wave = np.sin(turns * across + phase[0]) * np.sin(2**octave * 4 * lift[..., 0] + phase[1])
        cloud += wave / octave
    cover = np.clip(cloud * rng.uniform(0.1, 0.5), 0, 1)[..., None]
    ground = np.array([0.25, 0.23, 0.2], np.float32) * rng.uniform(0.6, 1.4)
    drawn: NDArray[np.float32] = np.where(lift > 0, sky + (1.1 - sky) * cover, ground)
    return drawn.astype(np.float32)
