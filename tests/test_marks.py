# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Marks as words and as drawings."""

from __future__ import annotations

import numpy as np

from g2vlm_model.interface import PixelMark
from g2vlm_model.marks import (
    draw_marks,
    marked_picture,
    marked_question,
    question_with_marks,
)


def test_words_do_not_depend_on_the_resolution() -> None:
    small = [PixelMark(0, 54.9, 35.1, "A"), PixelMark(1, -0.5, 47.5, "B")]
    large = [PixelMark(0, 549.0, 355.0, "A"), PixelMark(1, 0.0, 479.0, "B")]
    expected = "A frame 1 x 34 y 44\nB frame 2 x 0 y 99\nWhich is closer?"
    assert question_with_marks("Which is closer?", large, [(800, 1600), (480, 640)]) == expected
    assert question_with_marks("Which is closer?", small, [(80, 160), (48, 64)]) == expected


def test_a_mark_without_a_label_and_no_mark() -> None:
    assert question_with_marks("How far?", [PixelMark(0, 5, 5)], [(10, 10)]) == (
        "mark frame 1 x 55 y 55\nHow far?"
    )
    assert question_with_marks("How far?", [], [(10, 10)]) == "How far?"


def test_drawings_touch_a_copy_around_the_mark_only() -> None:
    picture = np.full((120, 160, 3), 128, np.uint8)
    drawn = draw_marks(picture, [PixelMark(0, 40, 60, "A"), PixelMark(0, 120, 30)])
    assert (picture == 128).all()
    changed = (drawn != picture).any(-1)
    assert changed[60, 40]
    assert changed[30, 120]
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 26
    assert rows.max() <= 72
    assert columns.min() >= 36
    assert (drawn[60, 40] != drawn[30, 120]).any()  # two colours
    label = changed[50:71, 43:60].sum()
    assert label > 20


def test_a_box_is_told_by_its_corners_and_drawn_in_the_colour_of_its_name() -> None:
    box = PixelMark(0, 49.5, 29.5, "red bbox", (40.0, 20.0))
    assert question_with_marks("How large?", [box], [(100, 100)]) == (
        "red bbox frame 1 x 30 y 20 to x 70 y 40\nHow large?"
    )
    picture = np.full((100, 100, 3), 128, np.uint8)
    drawn = draw_marks(picture, [PixelMark(0, 80, 80, "blue point"), box])
    assert drawn[20, 50].tolist() == drawn[39, 50].tolist() == [255, 0, 0]
    assert drawn[30, 50].tolist() == [128] * 3  # its inside is left
    assert drawn[80, 80].tolist() == [0, 0, 255]
    assert (drawn[80, 86:] == 128).all()  # a colour is not written beside its mark


def test_the_models_style_decides_where_marks_go() -> None:
    picture, marks = np.full((60, 80, 3), 9, np.uint8), [PixelMark(0, 40, 30, "A")]
    sizes = [(60, 80)]
    assert marked_question("drawn", "Where is A?", marks, sizes) == "Where is A?"
    assert marked_picture("text", picture, marks) is picture
    assert marked_question("text", "Where is A?", marks, sizes).startswith("A frame 1 x 50")
    assert (marked_picture("drawn", picture, marks) != picture).any()
