# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Consistency confidence on a synthetic room corner seen by exact cameras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from g2vlm_model.confidence import (
    confidence_from_consistency,
    depth_edges,
    depth_jumps,
    valid_points,
)
from g2vlm_model.intrinsics import estimate_intrinsics

HEIGHT, WIDTH, F = 60, 80, 70.0


def rays() -> Tensor:
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack(
        [(u - (WIDTH - 1) / 2) / F, (v - (HEIGHT - 1) / 2) / F, torch.ones(HEIGHT, WIDTH)], -1
    )


def wall_and_floor(T_world_cam_44: Tensor, box: bool = False) -> Tensor:
    """(H, W, 3) local points: wall at z = 4, floor at y = 1, optionally a box face at z = 2."""
    directions = rays() @ T_world_cam_44[:3, :3].T
    origin = T_world_cam_44[:3, 3]
    wall = (4.0 - origin[2]) / directions[..., 2]
    floor = (1.0 - origin[1]) / directions[..., 1].clamp_min(1e-6)
    t = torch.minimum(wall, floor)
    if box:
        front = (2.0 - origin[2]) / directions[..., 2]
        hit = origin + front[..., None] * directions
        t = torch.where((hit[..., :2].abs() < 0.4).all(-1), torch.minimum(t, front), t)
    return rays() * t[..., None]


def cameras(count: int) -> Tensor:
    T_N44 = torch.eye(4).repeat(count, 1, 1)
    T_N44[:, 0, 3] = torch.linspace(0.0, 0.4, count)
    return T_N44


def intrinsics(count: int) -> Tensor:
    K = torch.tensor([[F, 0, (WIDTH - 1) / 2], [0, F, (HEIGHT - 1) / 2], [0, 0, 1]])
    return K.repeat(count, 1, 1)


def confidence(points: Tensor, T_N44: Tensor) -> Tensor:
    edges = depth_edges(points[..., 2])
    found: Tensor = confidence_from_consistency(points, T_N44, intrinsics(len(points)), edges)
    return found


def test_a_slanted_floor_is_no_edge_and_a_box_is() -> None:
    plain = wall_and_floor(torch.eye(4))[None]
    assert depth_edges(plain[..., 2]).max() < 0.5
    depth = wall_and_floor(torch.eye(4), box=True)[None, ..., 2]
    edges = depth_edges(depth)
    jump = (depth.diff(dim=2).abs() / depth[:, :, 1:]) > 0.4
    assert jump.sum() > 20
    assert (edges[:, :, 1:][jump] > 1.0).all()
    assert (edges[:, :, :-1][jump] > 1.0).all()
    assert (edges > 1.0).float().mean() < 0.06


def test_the_roughness_of_a_frame_is_no_edge_but_its_jumps_are() -> None:
    depth = wall_and_floor(torch.eye(4), box=True)[None, ..., 2]
    noise = 0.04 * torch.randn(depth.shape, generator=torch.Generator().manual_seed(0))
    rough = depth * (1.0 + noise)
    edges = depth_edges(torch.cat([depth, rough]))
    jump = ((depth.diff(dim=2).abs() / depth[:, :, 1:]) > 0.45)[0]
    assert (edges[1, :, 1:][jump] > 1.0).float().mean() > 0.9
    assert (edges[1] > 1.0).float().mean() < 0.15
    fixed = depth_jumps(rough) / 0.05  # without the roughness half of the frame would go
    assert (fixed > 1.0).float().mean() > 0.3


def test_validity_counts_each_reason() -> None:
    points = wall_and_floor(torch.eye(4), box=True)[None]
    points[0, 5, 5] = torch.nan
    points[0, 6, 6, 2] = -1.0
    edges = depth_edges(points[..., 2])
    valid = valid_points(points, edges)
    assert not valid[0, 5, 5]
    assert not valid[0, 6, 6]
    assert not valid[edges > 1.0].any()
    assert valid.float().mean() > 0.9


def test_agreeing_frames_are_trusted_more_than_a_lonely_one() -> None:
    T_N44 = cameras(4)
    points = torch.stack([wall_and_floor(T) for T in T_N44])
    together = confidence(points, T_N44)
    alone = confidence(points[:1], T_N44[:1])
    assert alone.max() <= 0.5
    inner = (slice(None), slice(10, 50), slice(20, 60))
    assert together[inner].mean() > 0.8
    assert together[inner].mean() > 1.6 * alone[inner].mean()


def test_a_frame_that_disagrees_is_not_trusted() -> None:
    T_N44 = cameras(4)
    points = torch.stack([wall_and_floor(T) for T in T_N44])
    wrong = points.clone()
    wrong[2, :, 40:] *= 0.7
    before, after = confidence(points, T_N44), confidence(wrong, T_N44)
    # Frames 0, 1, 3 contradict it, and its points stand in their free space.
    assert after[2, 15:45, 50:60].mean() < 0.3
    assert before[2, 15:45, 50:60].mean() > 0.75
    assert after[0, 15:45, 45:60].mean() < before[0, 15:45, 45:60].mean()


def test_what_another_frame_cannot_see_is_not_held_against_a_point() -> None:
    T_N44 = cameras(3)
    T_N44[:, 0, 3] = torch.tensor([0.0, 0.5, 1.0])
    points = torch.stack([wall_and_floor(T, box=True) for T in T_N44])
    # The wall right behind the box in another frame's picture, seen freely by this one.
    beside = confidence(points, T_N44)[0, 12:18, 8:16]
    assert beside.min() > 0.45


def test_grazing_surfaces_are_trusted_less() -> None:
    T_N44 = torch.eye(4)[None]
    flat = torch.full((1, HEIGHT, WIDTH), 2.0)[..., None] * rays()
    steep = flat.clone()
    slope = torch.linspace(0.0, 1.0, WIDTH)
    steep *= (1.0 / (1.0 - 0.98 * slope))[None, None, :, None]
    assert confidence(steep, T_N44).mean() < confidence(flat, T_N44).mean()
    assert confidence(flat, T_N44)[0, 5:-5, 5:-5].min() == pytest.approx(0.5, abs=1e-3)


def test_broken_points_have_no_confidence() -> None:
    T_N44 = cameras(2)
    points = torch.stack([wall_and_floor(T) for T in T_N44])
    points[0, 30, 30] = torch.inf
    points[1, 20:25] *= -1.0
    result = confidence(points, T_N44)
    assert torch.isfinite(result).all()
    assert result[0, 30, 30] == 0.0
    assert (result[1, 20:25] == 0.0).all()
    assert (result >= 0).all()
    assert (result <= 1).all()


def test_sizes_that_the_coarse_grid_does_not_divide() -> None:
    for height, width in ((14, 14), (61, 83), (126, 98), (2, 200)):
        points = torch.ones(2, height, width, 3)
        result = confidence_from_consistency(
            points, torch.eye(4).repeat(2, 1, 1), intrinsics(2), depth_edges(points[..., 2])
        )
        assert result.shape == (2, height, width)


def test_many_frames_are_compared_with_a_bounded_number_of_others() -> None:
    T_N44 = cameras(12)
    points = torch.stack([wall_and_floor(T) for T in T_N44])
    assert confidence(points, T_N44)[:, 10:50, 20:60].mean() > 0.85


def test_numpy_and_torch_say_the_same() -> None:
    """One spelling of the arithmetic, two libraries; with holes, so that masks take part."""
    T_N44 = cameras(8)  # more frames than partners
    points = torch.stack([wall_and_floor(T, box=index % 2 == 0) for index, T in enumerate(T_N44)])
    points[0, 5, 5] = torch.nan
    points[1, 6, 6, 2] = -1.0
    numbers = [0, 0, 1, 1, 0, 0, 1, 1]

    def all_of(points: Any, T_N44: Any) -> tuple[Any, ...]:
        edges = depth_edges(points[..., 2])
        valid = valid_points(points, edges)
        K = estimate_intrinsics(points, numbers, valid)
        return edges, valid, K, confidence_from_consistency(points, T_N44, K, edges)

    by_torch, by_numpy = all_of(points, T_N44), all_of(points.numpy(), T_N44.numpy())
    for tensor, array in zip(by_torch, by_numpy, strict=True):
        assert isinstance(array, np.ndarray)
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-5, atol=1e-5)
    assert 0.1 < by_numpy[3].mean() < 0.9
