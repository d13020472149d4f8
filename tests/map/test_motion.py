# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far the picture moved: shift, depth, nothing to follow."""

from __future__ import annotations

import numpy as np
import pytest

from g2vlm_map.keyframes import Reference
from g2vlm_map.pixels import small_gray
from tests.map.frames import frame


def test_motion_of_a_shift_and_of_depth() -> None:
    flat = Reference(small_gray(frame(0, shift=0).image)).motion_to(
        small_gray(frame(0, shift=8).image)
    )
    assert flat.movement == pytest.approx(8 / 160, rel=0.05)
    assert flat.parallax < 0.001
    near = frame(0, shift=16).image.copy()
    near[:60] = frame(0, shift=2).image[:60]
    deep = Reference(small_gray(frame(0, shift=0).image)).motion_to(small_gray(near))
    assert deep.parallax > 0.005


def test_motion_without_texture_is_none() -> None:
    gray = np.full((90, 160), 128, np.uint8)
    assert Reference(gray).motion_to(gray).movement == 0.0


def test_motion_to_another_place_is_infinite() -> None:
    other = np.random.default_rng(9).integers(0, 256, (120, 160), np.uint8)
    assert Reference(small_gray(frame(0).image)).motion_to(other).movement == float("inf")
