# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Intrinsics from exact and from disturbed synthetic points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from g2vlm_model.intrinsics import IntrinsicsConfig, estimate_intrinsics

HEIGHT, WIDTH = 84, 112


def points_seen(fx: float, fy: float, cx: float, cy: float, seed: int = 0) -> Tensor:
    """(1, H, W, 3) points of an uneven surface, exactly on the rays of this camera."""
    generator = torch.Generator().manual_seed(seed)
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    depth = 0.5 + 4.0 * torch.rand(HEIGHT, WIDTH, generator=generator)
    return torch.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], -1)[None]


def test_exact_points_give_exact_intrinsics() -> None:
    points = points_seen(100.0, 104.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    K = estimate_intrinsics(points)[0]
    expected = torch.tensor([[100.0, 0, 55.5], [0, 104.0, 41.5], [0, 0, 1]])
    torch.testing.assert_close(K, expected, rtol=1e-4, atol=1e-4)


def test_a_free_principal_point_is_found() -> None:
    points = points_seen(90.0, 95.0, 60.0, 37.0)
    K = estimate_intrinsics(points, config=IntrinsicsConfig(free_principal_point=True))[0]
    expected = torch.tensor([[90.0, 0, 60.0], [0, 95.0, 37.0], [0, 0, 1]])
    torch.testing.assert_close(K, expected, rtol=1e-4, atol=2e-3)


def test_outliers_and_holes_do_not_bend_it() -> None:
    points = points_seen(100.0, 100.0, 55.5, 41.5)
    generator = torch.Generator().manual_seed(1)
    wrong = torch.rand(1, HEIGHT, WIDTH, generator=generator) < 0.2
    points[wrong] += 3.0 * torch.rand(int(wrong.sum()), 3, generator=generator)
    points[0, 10:20, :, :] = torch.nan
    points[0, :, 5:9, 2] = -1.0
    K = estimate_intrinsics(points)[0]
    assert K[0, 0] == pytest.approx(100.0, rel=0.01)
    assert K[1, 1] == pytest.approx(100.0, rel=0.01)
    plain = estimate_intrinsics(points, config=IntrinsicsConfig(iterations=1))[0]
    assert abs(plain[0, 0] - 100.0) > 3.0 * abs(K[0, 0] - 100.0)


def test_noise_does_not_shrink_the_focal_length() -> None:
    points = points_seen(100.0, 100.0, 55.5, 41.5)
    ray_noise = 0.2 * torch.randn(points[..., :2].shape, generator=torch.Generator().manual_seed(2))
    points[..., :2] += ray_noise * points[..., 2:]
    K = estimate_intrinsics(points, config=IntrinsicsConfig(samples_per_frame=HEIGHT * WIDTH))[0]
    # Regressing the pixel on x/z would give 100 / (1 + 0.04 / var(x/z)), about 72.
    assert K[0, 0] == pytest.approx(100.0, rel=0.03)


def test_frames_of_one_camera_share_their_intrinsics() -> None:
    a, b = points_seen(100.0, 100.0, 55.5, 41.5), points_seen(140.0, 140.0, 55.5, 41.5, seed=3)
    noisy = a + 0.02 * torch.randn(a.shape, generator=torch.Generator().manual_seed(4))
    K = estimate_intrinsics(torch.cat([a, b, noisy]), groups=[0, 1, 0])
    assert torch.equal(K[0], K[2])
    assert K[0, 0, 0] == pytest.approx(100.0, rel=0.01)
    assert K[1, 0, 0] == pytest.approx(140.0, rel=1e-3)
    apart = estimate_intrinsics(torch.cat([a, b, noisy]))
    assert not torch.equal(apart[0], apart[2])


@pytest.mark.parametrize(
    "points", [torch.full((1, 84, 112, 3), torch.nan), -torch.ones(1, 84, 112, 3)]
)
def test_points_that_say_nothing_give_a_usable_camera(points: Tensor) -> None:
    K = estimate_intrinsics(points)[0]
    assert torch.isfinite(K).all()
    fov_deg = 2 * torch.rad2deg(torch.atan(WIDTH / 2 / K[0, 0]))
    assert fov_deg == pytest.approx(60.0, abs=0.01)


def test_mirrored_points_are_not_a_camera() -> None:
    points = points_seen(100.0, 100.0, 55.5, 41.5)
    points[..., 0] *= -1.0
    K = estimate_intrinsics(points)[0]
    assert K[0, 0] == pytest.approx(0.5 * WIDTH * 3.0**0.5, rel=1e-5)
    assert K[1, 1] == pytest.approx(100.0, rel=1e-3)
