# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Marks as words and as drawings."""

from __future__ import annotations

import numpy as np

from g2vlm_model.interface import PixelMark
from g2vlm_model.marks import draw_marks, question_with_marks


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
