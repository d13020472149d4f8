# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How marks of a question reach the model: as words, or drawn into its pictures.

Which of the two a model was trained with is `ModelConfig.mark_style`; `marked_question` and
`marked_picture` do what it says, in training as at inference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .interface import PixelMark

__all__ = ["draw_marks", "marked_picture", "marked_question", "question_with_marks"]

MARK_COLORS = ((230, 30, 30), (30, 170, 40), (40, 80, 230), (240, 160, 20), (170, 40, 190))
NAMED_COLORS = {
    "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0),
}  # fmt: skip
RADIUS_SHARE = 0.012  # of the picture's longer side


def marked_question(
    style: str, question: str, marks: Sequence[PixelMark], sizes_hw: Sequence[tuple[int, int]]
) -> str:
    """A question as a model reads it whose marks have this style.

    Args:
        style: `ModelConfig.mark_style`.
        question, marks, sizes_hw: See `question_with_marks`.
    """
    return question_with_marks(question, marks, sizes_hw) if style == "text" else question


def marked_picture(
    style: str, picture_HW3: NDArray[np.uint8], marks: Sequence[PixelMark]
) -> NDArray[np.uint8]:
    """A picture as the semantic encoder of a model sees it whose marks have this style.

    Args:
        style: `ModelConfig.mark_style`.
        picture_HW3: uint8 RGB, original size.
        marks: Those of this frame.
    """
    return draw_marks(picture_HW3, marks) if marks and style == "drawn" else picture_HW3


def question_with_marks(
    question: str, marks: Sequence[PixelMark], sizes_hw: Sequence[tuple[int, int]]
) -> str:
    """The question behind one line per mark: `A frame 1 x 34 y 57`.

    Frames count from 1. x and y are whole percents of the picture's width and height, 0..99,
    from the top left, so that the words do not depend on any resolution. A mark without a
    label is called `mark`. A box is told by two corners: `A frame 1 x 30 y 50 to x 38 y 64`.

    Args:
        question: As asked.
        marks: Checked, see `FrameWindow.check_marks`.
        sizes_hw: (height, width) of each frame's original picture.
    """
    lines = []
    for mark in marks:
        height, width = sizes_hw[mark.frame_index]
        corners = " to".join(
            f" x {_percent(u, width)} y {_percent(v, height)}" for u, v in _corners(mark)
        )
        lines.append(f"{mark.label or 'mark'} frame {mark.frame_index + 1}{corners}")
    return "\n".join([*lines, question])


def draw_marks(picture_HW3: NDArray[np.uint8], marks: Sequence[PixelMark]) -> NDArray[np.uint8]:
    """A copy of a picture with a coloured disc, or a box, and the label at each mark.

    A label that begins with one of `NAMED_COLORS` ("red point") is that colour, as in SPAR-7M, and
    is not written: the question names it by its colour.

    Args:
        picture_HW3: uint8 RGB, original size; not changed.
        marks: Those of this frame; their order picks the other colours.
    """
    image = Image.fromarray(picture_HW3)
    draw = ImageDraw.Draw(image)
    radius = max(2.0, RADIUS_SHARE * max(image.size))
    font = ImageFont.load_default(size=max(10.0, 3.0 * radius))
    for number, mark in enumerate(marks):
        named = NAMED_COLORS.get(mark.label.partition(" ")[0])
        color = named or MARK_COLORS[number % len(MARK_COLORS)]
        if mark.box_wh is not None:
            draw.rectangle((*_corners(mark)[0], *_corners(mark)[1]), None, color, round(radius))
        else:
            box = (mark.u - radius, mark.v - radius, mark.u + radius, mark.v + radius)
            draw.ellipse(box, fill=color, outline=(255, 255, 255), width=max(1, round(radius / 4)))
        if mark.label and named is None:
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


def _corners(mark: PixelMark) -> list[tuple[float, float]]:
    """(u, v) of the mark, or of the top left and bottom right corners of its box."""
    if mark.box_wh is None:
        return [(mark.u, mark.v)]
    half_w, half_h = mark.box_wh[0] / 2, mark.box_wh[1] / 2
    return [(mark.u - half_w, mark.v - half_h), (mark.u + half_w, mark.v + half_h)]


def _percent(pixel: float, side: int) -> int:
    """Whole percents of a side, 0..99, of a pixel whose centre is a whole number."""
    return min(99, max(0, int(100.0 * (pixel + 0.5) / side)))
