# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How marks of a question reach the model: as words, or drawn into its pictures.

Which of the two a model was trained with is `ModelConfig.mark_style`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .interface import PixelMark

__all__ = ["draw_marks", "question_with_marks"]

MARK_COLORS = ((230, 30, 30), (30, 170, 40), (40, 80, 230), (240, 160, 20), (170, 40, 190))
RADIUS_SHARE = 0.012  # of the picture's longer side


def question_with_marks(
    question: str, marks: Sequence[PixelMark], sizes_hw: Sequence[tuple[int, int]]
) -> str:
    """The question behind one line per mark: `A frame 1 x 34 y 57`.

    Frames count from 1. x and y are whole percents of the picture's width and height, 0..99,
    from the top left, so that the words do not depend on any resolution. A mark without a
    label is called `mark`.

    Args:
        question: As asked.
        marks: Checked, see `FrameWindow.check_marks`.
        sizes_hw: (height, width) of each frame's original picture.
    """
    lines = []
    for mark in marks:
        height, width = sizes_hw[mark.frame_index]
        x, y = _percent(mark.u, width), _percent(mark.v, height)
        lines.append(f"{mark.label or 'mark'} frame {mark.frame_index + 1} x {x} y {y}")
    return "\n".join([*lines, question])


def draw_marks(picture_HW3: NDArray[np.uint8], marks: Sequence[PixelMark]) -> NDArray[np.uint8]:
    """A copy of a picture with a coloured disc and the label at each mark.

    Args:
        picture_HW3: uint8 RGB, original size; not changed.
        marks: Those of this frame; their order picks the colours.
    """
    image = Image.fromarray(picture_HW3)
    draw = ImageDraw.Draw(image)
    radius = max(2.0, RADIUS_SHARE * max(image.size))
    font = ImageFont.load_default(size=max(10.0, 3.0 * radius))
    for number, mark in enumerate(marks):
        color = MARK_COLORS[number % len(MARK_COLORS)]
        box = (mark.u - radius, mark.v - radius, mark.u + radius, mark.v + radius)
        draw.ellipse(box, fill=color, outline=(255, 255, 255), width=max(1, round(radius / 4)))
        if mark.label:
            place = (mark.u + 1.5 * radius, mark.v)
            draw.text(
                place,
                mark.label,
                fill=color,
                font=font,
                anchor="lm",
                stroke_width=max(1, round(radius / 4)),
                stroke_fill=(255, 255, 255),
            )
    return np.asarray(image)


def _percent(pixel: float, side: int) -> int:
    """Whole percents of a side, 0..99, of a pixel whose centre is a whole number."""
    return min(99, max(0, int(100.0 * (pixel + 0.5) / side)))
