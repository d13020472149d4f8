# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometric expert's words, from geometry that is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_model.interface import PixelMark, SpatialQuery
from g2vlm_model.reasoning import geometry_in_words

WALL = np.tile(np.array([0.0, 0.0, 2.0], np.float32), (2, 6, 8, 1))  # median depth 2
SIZES = [(60, 80)] * 2


def poses(*T: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([np.eye(4), *T]).astype(np.float32)


def test_a_frames_line_says_where_its_camera_is_and_how_it_is_turned() -> None:
    """0.5 to the right, 0.2 up, 1 ahead, turned by 30 degrees to the left; in median depths."""
    angle = np.radians(-30)
    T = np.eye(4)
    T[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)],
    ]  # fmt: skip
    T[:3, 3] = (1.0, -0.4, 2.0)
    said = geometry_in_words(WALL, poses(T), (), SIZES)
    assert said == "at frame 2 right 0.50 up 0.20 forward 1.00 turn left 30 up 0"
    T[:3, 3] *= 7
    assert geometry_in_words(7 * WALL, poses(T), (), SIZES) == said  # whatever the unit


def test_a_marks_line_says_its_depth_and_its_point_in_the_first_camera() -> None:
    local = WALL.copy()
    local[1, 3, 4] = (-1.0, 0.6, 3.0)
    T = np.eye(4)
    T[:3, 3] = (0.0, 0.0, 1.0)
    marks = (PixelMark(1, 40.0, 30.0, "A"), PixelMark(0, 5, 5))
    lines = geometry_in_words(local, poses(T), marks, SIZES).splitlines()
    assert lines[1:] == [
        "A depth 1.50 left 0.50 down 0.30 forward 2.00",
        "mark depth 1.00 right 0.00 up 0.00 forward 1.00",
    ]


@pytest.mark.parametrize("depth", [np.nan, -1.0])
def test_what_the_geometry_does_not_know_is_said(depth: float) -> None:
    local = WALL.copy()
    local[0, 0, 0] = (0.0, 0.0, depth)
    said = geometry_in_words(local[:1], poses(), [PixelMark(0, 0, 0, "A")], SIZES)
    assert said == "A depth unknown"


def test_one_frame_without_marks_says_nothing() -> None:
    assert geometry_in_words(WALL[:1], poses(), (), SIZES) == ""


def test_an_unknown_way_to_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="reason is 'chain', expected one of"):
        SpatialQuery("How far?", reason="chain")
