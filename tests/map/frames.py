# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames of a texture that moves, for the tests of what chooses among them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.cameras import Arrival, InputFrame
from g2vlm_map.keyframes import Moment
from g2vlm_map.pixels import ArrayPixels
from g2vlm_model.interface import Frame

NS = 1_000_000_000
NOISE = np.random.default_rng(5).integers(0, 256, (20, 200), np.uint8)
TEXTURE = np.kron(NOISE, np.ones((6, 6), np.uint8))


def picture(shift: int = 0) -> NDArray[np.uint8]:
    """(120, 160, 3) RGB of a texture that moved by `shift` pixels."""
    gray = TEXTURE[:120, shift : shift + 160]
    return np.repeat(gray[..., None], 3, axis=2)


def frame(stamp_s: float, camera: str = "camera", shift: int = 0) -> Frame:
    """A decoded frame."""
    key = f"{camera}@{stamp_s}"
    return Frame(picture(shift), round(stamp_s * NS), f"{camera}_optical", camera, key)


def moment(stamp_s: float, still: bool = False) -> Moment:
    """A keyframe of one camera."""
    return Moment((frame(stamp_s),), received_ns=0, still=still)


def given(
    stamp_s: float, camera: str = "", shift: int = 0, frame_id: str | None = None
) -> InputFrame:
    """A frame as it is handed in."""
    return InputFrame(picture(shift), round(stamp_s * NS), camera, frame_id)


def arrival(stamp_s: float, camera: str = "camera") -> Arrival:
    """A frame that was let in."""
    pixels = ArrayPixels(picture())
    return Arrival(camera, round(stamp_s * NS), camera, None, pixels, (120, 160), 0)


class Drops(Counter[str]):
    """Counts what is dropped."""

    def __call__(self, reason: str, frames: int) -> None:
        if frames:
            self[reason] += frames
