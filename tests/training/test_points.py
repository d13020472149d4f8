# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Points and normals on cases with known results."""

from __future__ import annotations

import math

import numpy as np
import pytest
from g2vlm_training.evaluate.points import (
    block_normals,
    icp,
    normal_angles_deg,
    point_score,
    similarity,
    umeyama,
)
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]


def about_z(degrees: float) -> Floats:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def plane(slope: float, size: int = 8) -> Floats:
    """(1, size, size, 3) points on z = 2 + slope * x, one per pixel."""
    y, x = np.meshgrid(np.arange(size) * 0.1, np.arange(size) * 0.1, indexing="ij")
    return np.stack((x, y, 2 + slope * x), axis=-1)[None]


def test_umeyama_finds_the_similarity() -> None:
    source = np.random.default_rng(0).normal(size=(50, 3))
    R, t = about_z(30), np.array([1.0, -2.0, 0.5])
    scale, R_found, t_found = umeyama(source, 2.5 * source @ R.T + t)
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(R_found, R, atol=1e-12)
    np.testing.assert_allclose(t_found, t, atol=1e-12)


def test_a_rigid_alignment_keeps_the_scale_and_few_points_are_laid_too() -> None:
    source = np.random.default_rng(3).normal(size=(40, 3))
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scale, R_found, t = similarity(source, 2.5 * source @ R.T + 4.0, with_scale=False)
    assert scale == 1.0
    np.testing.assert_allclose(R_found, R, atol=1e-9)
    np.testing.assert_allclose(t, 2.5 * R @ source.mean(0) + 4.0 - R @ source.mean(0), atol=1e-9)
    two = np.array([[0.0, 0, 0], [1, 0, 0]])
    scale, R_found, t = similarity(two, np.array([[1.0, 1, 0], [1, 3, 0]]))
    assert scale == pytest.approx(2.0)
    np.testing.assert_allclose(scale * two @ R_found.T + t, [[1, 1, 0], [1, 3, 0]], atol=1e-9)


def test_umeyama_never_mirrors() -> None:
    source = np.random.default_rng(0).normal(size=(50, 3))
    _, R, _ = umeyama(source, source * np.array([-1.0, 1, 1]))
    assert np.linalg.det(R) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("points", "words"), [(np.zeros((2, 3)), "2 points"), (np.ones((9, 3)), "one place")]
)
def test_umeyama_refuses_what_cannot_be_aligned(points: Floats, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        umeyama(points, points)


def test_icp_takes_out_a_small_motion() -> None:
    y, x = np.meshgrid(np.arange(20) * 0.1, np.arange(20) * 0.1)
    cloud = np.stack((x, y, np.sin(3 * x) * np.cos(2 * y)), axis=-1).reshape(-1, 3)
    moved = cloud @ about_z(1.0).T + 0.01
    R, t = icp(moved, cKDTree(cloud))
    assert np.abs(moved - cloud).max() > 0.02
    np.testing.assert_allclose(moved @ R.T + t, cloud, atol=1e-3)
    R, t = icp(cloud + 100.0, cKDTree(cloud))
    np.testing.assert_array_equal(R, np.eye(3))
    np.testing.assert_array_equal(t, np.zeros(3))


@pytest.mark.parametrize("count", [500, 20_000])
def test_point_score_of_the_truth_in_another_gauge_is_zero(count: int) -> None:
    """Also with more points than the ICP looks at: all of them are scored."""
    truth = np.random.default_rng(1).normal(size=(count, 3))
    score = point_score(0.3 * truth @ about_z(70).T + 4.0, truth)
    assert max(vars(score).values()) < 1e-9


def test_accuracy_and_completeness_are_two_things() -> None:
    """One predicted point in ten lies 1 m off: it costs accuracy; the truth stays covered."""
    side = np.linspace(0, 4, 20)
    truth = np.stack(np.meshgrid(side, side, [0.0, 3.0]), axis=-1).reshape(-1, 3)
    predicted = truth.copy()
    off = np.arange(len(truth)) % 10 == 0
    predicted[off, 2] += np.where(np.arange(off.sum()) // 2 % 2, 1.0, -1.0)
    score = point_score(predicted, truth)
    assert score.accuracy_median < 0.05
    assert score.accuracy_mean == pytest.approx(0.1, abs=0.04)
    assert score.completeness_mean < 0.6 * score.accuracy_mean


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_that_are_no_numbers_are_refused(bad: float) -> None:
    cloud = np.random.default_rng(0).normal(size=(10, 3))
    wrong = cloud.copy()
    wrong[3, 1] = bad
    with pytest.raises(ValueError, match="not finite"):
        point_score(wrong, cloud)
    with pytest.raises(ValueError, match="expected equal"):
        point_score(cloud[:5], cloud)


def test_normals_point_towards_the_camera() -> None:
    np.testing.assert_allclose(block_normals(plane(0.0))[0, 3, 3], (0, 0, -1), atol=1e-12)
    slanted = block_normals(plane(1.0))[0, 3, 3]
    np.testing.assert_allclose(slanted, np.array([1, 0, -1]) / math.sqrt(2), atol=1e-12)


def test_normal_angles_of_known_planes() -> None:
    valid = np.ones((1, 8, 8), np.bool_)
    gentle, flat = plane(0.2), plane(0.0)
    angles = normal_angles_deg(flat, gentle, valid)
    assert len(angles) == 49
    np.testing.assert_allclose(angles, math.degrees(math.atan(0.2)), atol=1e-9)
    np.testing.assert_allclose(normal_angles_deg(3.0 * gentle, gentle, valid), 0, atol=1e-5)


def test_normals_look_at_known_smooth_blocks_only() -> None:
    truth = plane(0.0)
    truth[0, :, 4:, 2] += 1.0  # a step: its blocks lie on no surface
    valid = np.ones((1, 8, 8), np.bool_)
    valid[0, 0, 0] = False
    assert len(normal_angles_deg(truth, truth, valid)) == 49 - 7 - 1
    assert len(normal_angles_deg(truth, truth, np.zeros_like(valid))) == 0


def test_given_normals_count_where_they_are_known() -> None:
    truth = plane(0.0)
    normals = np.zeros_like(truth)
    normals[0, :4] = (0, 0, -1)
    angles = normal_angles_deg(plane(1.0), truth, np.ones((1, 8, 8), np.bool_), normals)
    assert len(angles) == 4 * 7
    np.testing.assert_allclose(angles, 45.0, atol=1e-9)
