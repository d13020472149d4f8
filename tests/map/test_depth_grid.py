# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth at the frame's own size: exact on planes, edges where the picture has them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.clouds import depth_pair
from g2vlm_map.depth_grid import bilinear_depth, guided_depth
from g2vlm_map.options import DepthOptions
from g2vlm_map.scenes import SceneRecord
from g2vlm_model.interface import FrameWindow
from tests.map.bench import Make
from tests.map.test_optics import K_FRAME, frame, guessed

FRAME_HW, COARSE_HW = (240, 320), (24, 32)
GREY = np.full((*FRAME_HW, 3), 128, np.uint8)
Floats = NDArray[np.float32]


def plane(size_hw: tuple[int, int]) -> Floats:
    """A slanted floor: inverse depth is linear in the pixel."""
    v, u = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
    v, u = (v + 0.5) / size_hw[0], (u + 0.5) / size_hw[1]
    return np.asarray(1 / (0.2 + 0.5 * v + 0.1 * u), np.float32)


def box(size_hw: tuple[int, int]) -> tuple[Floats, NDArray[np.uint8]]:
    """A dark box at 1 m in front of a light wall at 3 m, its edges oblique to the grid."""
    v, u = np.mgrid[0 : size_hw[0], 0 : size_hw[1]]
    v, u = (v + 0.5) / size_hw[0] - 0.5, (u + 0.5) / size_hw[1] - 0.5
    inside = (np.abs(v + 0.3 * u) < 0.23) & (np.abs(u - 0.2 * v) < 0.27)
    color = np.where(inside[..., None], (60, 50, 40), (180, 190, 200)).astype(np.uint8)
    return np.where(inside, 1.0, 3.0).astype(np.float32), color


def shrunk(color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(color, COARSE_HW[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def test_planes_stay_planes() -> None:
    found = guided_depth(plane(COARSE_HW), shrunk(GREY), GREY)
    inner = (slice(6, -6), slice(6, -6))  # nothing is known beyond the outermost samples
    np.testing.assert_allclose(found[inner], plane(FRAME_HW)[inner], rtol=1e-3)


def test_no_point_hangs_between_two_surfaces() -> None:
    truth, color = box(FRAME_HW)
    coarse, _ = box(COARSE_HW)
    plain = bilinear_depth(coarse, FRAME_HW)
    found = guided_depth(coarse, shrunk(color), color)
    assert ((plain > 1.1) & (plain < 2.8)).mean() > 0.03, "plain interpolation has such points"
    assert ((found > 1.1) & (found < 2.8)).mean() < 0.001
    wrong = np.abs(found - truth) > 0.2
    assert wrong.mean() < 0.005, wrong.mean()
    assert wrong.mean() < 0.1 * (np.abs(plain - truth) > 0.2).mean()


def test_strips_along_edges_are_filled_and_holes_stay() -> None:
    truth, color = box(FRAME_HW)
    coarse, _ = box(COARSE_HW)
    jump = cv2.dilate(coarse, np.ones((3, 3))) != cv2.erode(coarse, np.ones((3, 3)))
    coarse[jump] = np.nan  # as the model leaves its depth out along edges
    coarse[:9, 24:] = np.nan  # a window that reflects
    found = guided_depth(coarse, shrunk(color), color)
    assert np.isnan(found[:70, 265:]).all()  # but for a sample and a half around it
    kept = np.ones(FRAME_HW, bool)
    kept[:100, 230:] = False
    assert np.isfinite(found[kept]).mean() > 0.99
    assert np.isnan(bilinear_depth(coarse, FRAME_HW)[kept]).mean() > 0.1, "strips are wide"
    assert (np.abs(found - truth)[kept] > 0.2).mean() < 0.02


@pytest.mark.parametrize("fill", [np.nan, 0.0, np.inf])
def test_nothing_comes_of_nothing(fill: float) -> None:
    coarse = np.full(COARSE_HW, fill, np.float32)
    assert np.isnan(guided_depth(coarse, shrunk(GREY), GREY)).all()


def test_both_grids_give_the_same_points(bench: Make) -> None:
    """Depth times the rays of the K beside it, at either size, is the same surface."""
    window = FrameWindow((frame(1.0),))
    geometry = guessed([frame(1.0)])
    geometry.local_points[..., 2] = 2.0
    record = SceneRecord(_Scene(window), 0, 1.5, 1, (0,), None, geometry)  # type: ignore[arg-type]
    coarse = depth_pair(record, 0, DepthOptions())
    fine = depth_pair(record, 0, DepthOptions(grid="camera"))
    assert coarse.depth_HW.shape == coarse.image_HW3.shape[:2] == (24, 32)
    assert fine.depth_HW.shape == fine.image_HW3.shape[:2] == (120, 160)
    np.testing.assert_array_equal(fine.K, K_FRAME)
    np.testing.assert_allclose(fine.depth_HW, 3.0, rtol=1e-6)


class _Scene:
    def __init__(self, window: FrameWindow) -> None:
        self.window = window
