# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames to try a model on; the same on every machine."""

from __future__ import annotations

import numpy as np

from ..interface import Frame, FrameWindow

__all__ = ["STEP_PX", "trial_window"]

STEP_PX = 12  # that the texture moves by from one frame to the next
_WAVES = ((0.11, 0.03), (0.05, -0.17), (0.31, 0.2))  # radians a pixel, across and down


def trial_window(frames: int, height: int, width: int, shift: int = 0) -> FrameWindow:
    """Frames of a texture that moves.

    Args:
        frames: How many.
        height, width: Of each, in pixels.
        shift: Of the texture, in pixels: another picture.
    """
    across = width + STEP_PX * (frames - 1)
    y, x = np.mgrid[0:height, 0:across].astype(np.float64)
    waves = sum(np.sin((x + shift) * a + y * b) for a, b in _WAVES)
    gray = np.round(127.5 + 40.0 * waves).clip(0, 255).astype(np.uint8)
    made = []
    for number in range(frames):
        first = STEP_PX * number
        image = np.repeat(gray[:, first : first + width, None], 3, axis=2)
        made.append(
            Frame(
                np.ascontiguousarray(image),
                number * 100_000_000,
                "camera_optical",
                "camera",
                f"trial-{height}x{width}-{shift}-{number}",
            )
        )
    return FrameWindow(tuple(made))
