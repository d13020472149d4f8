# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Normals, depth and correspondences are exact; several rooms in one call change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from g2vlm_training.synthetic import (
    RenderedFrames,
    Room,
    Shot,
    camera_path,
    correspondences,
    intrinsics,
    make_room,
    render,
    render_shots,
    scene_seed,
)

SIZE = (48, 64)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(scene_seed("test", 7), "indoor")


@pytest.fixture(scope="module")
def frames(room: Room) -> RenderedFrames:
    path = camera_path(room, 3, 3, "hand", step=0.4)
    return render(room, path, intrinsics(75.0, SIZE), SIZE)


def _rays(frames: RenderedFrames) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    K = frames.K
    return np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones(SIZE)], axis=-1)


def test_depth_of_the_floor_is_that_of_the_plane(room: Room, frames: RenderedFrames) -> None:
    """Rays of bare-floor pixels meet z = 0 at the depth of the analytic plane."""
    checked = 0
    for index in range(len(frames.depth)):
        T = frames.T_world_cam[index]
        fall = _rays(frames) @ T[2, :3]
        expected = -T[2, 3] / np.where(fall < -1e-3, fall, np.nan)
        up = frames.normals[index] @ T[2, :3] > 0.9999
        floor = (frames.object_id[index] == 0) & up
        world_z = T[2, 3] + fall * frames.depth[index]
        floor &= world_z < 0.01
        np.testing.assert_allclose(frames.depth[index][floor], expected[floor], rtol=2e-5)
        checked += int(floor.sum())
    assert checked > 300


def test_normals_are_those_of_the_depth(frames: RenderedFrames) -> None:
    """Unit, towards the camera, and equal to finite differences of the points inside faces."""
    for index in range(len(frames.depth)):
        normals = frames.normals[index].astype(np.float64)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-5)
        rays = _rays(frames)
        assert np.all((normals * rays).sum(-1) < 1e-4)
        points = rays * frames.depth[index][..., None].astype(np.float64)
        right = points[1:-1, 2:] - points[1:-1, :-2]
        down = points[2:, 1:-1] - points[:-2, 1:-1]
        cross = np.cross(right, down)
        cross /= -np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-12)
        inner = normals[1:-1, 1:-1]
        flat = np.ones(inner.shape[:2], bool)
        for shift in ((0, 1), (2, 1), (1, 0), (1, 2)):
            rows, columns = (slice(s, s + n - 2) for s, n in zip(shift, SIZE, strict=True))
            flat &= (normals[rows, columns] * inner).sum(-1) > 0.99999
            flat &= frames.object_id[index][rows, columns] == frames.object_id[index][1:-1, 1:-1]
        plane = (inner * points[1:-1, 1:-1]).sum(-1)
        for shift in ((0, 1), (2, 1), (1, 0), (1, 2)):  # no step to a parallel face
            rows, columns = (slice(s, s + n - 2) for s, n in zip(shift, SIZE, strict=True))
            flat &= np.abs((inner * points[rows, columns]).sum(-1) - plane) < 1e-3
        agreement = (cross * inner).sum(-1)[flat]
        assert flat.mean() > 0.3
        assert np.quantile(agreement, 0.02) > 0.999


def test_correspondences_are_reprojections_that_nothing_hides(
    room: Room, frames: RenderedFrames
) -> None:
    """Where the other frame's pixel is hit nearly in its middle, its depth says the same."""
    found = correspondences(room, frames, 0, 2)
    T_2_0 = np.linalg.inv(frames.T_world_cam[2]) @ frames.T_world_cam[0]
    points = _rays(frames) * frames.depth[0][..., None]
    uvz = (points @ T_2_0[:3, :3].T + T_2_0[:3, 3]) @ frames.K.T
    ahead = uvz[..., 2] > 0.01
    np.testing.assert_allclose(
        found.uv_HW2[ahead], (uvz[..., :2] / uvz[..., 2:])[ahead], rtol=1e-5, atol=1e-3
    )
    inside = np.all(
        np.abs(found.uv_HW2 - np.array(SIZE[::-1]) / 2) < np.array(SIZE[::-1]) / 2 - 1, -1
    )
    nearest = np.rint(np.where(inside[..., None], found.uv_HW2, 0)).astype(int)
    seen = frames.depth[2][nearest[..., 1], nearest[..., 0]]
    close = np.abs(seen / found.depth_HW - 1)
    visible = found.visible_HW & inside
    hidden = ~found.visible_HW & inside
    assert visible.mean() > 0.2
    assert hidden.mean() > 0.005
    assert np.mean(close[visible] < 0.03) > 0.95
    before = seen[hidden] < 0.999 * found.depth_HW[hidden]
    turned_away = close[hidden] < 0.02  # edges: half a pixel beside, the surface is the same
    assert np.mean(before | turned_away) > 0.9
    itself = correspondences(room, frames, 1, 1)
    assert itself.visible_HW.all()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    np.testing.assert_allclose(itself.uv_HW2, np.stack([x, y], -1), atol=1e-9)
    with pytest.raises(ValueError, match=r"frame is 9, expected 0\.\.2"):
        correspondences(room, frames, 0, 9)


def test_shots_of_several_rooms_are_what_each_is_alone(room: Room, frames: RenderedFrames) -> None:
    yard = make_room(scene_seed("test", 1), "outdoor")
    K = intrinsics(60.0, SIZE)
    path = camera_path(yard, 0, 2, "robot")
    shots = [Shot(room, frames.T_world_cam, frames.K), Shot(yard, path, K)]
    both = render_shots(shots, SIZE)
    alone = render(yard, path, K, SIZE)
    np.testing.assert_array_equal(both[0].depth, frames.depth)
    np.testing.assert_array_equal(both[0].object_id, frames.object_id)
    np.testing.assert_array_equal(both[1].depth, alone.depth)
    np.testing.assert_array_equal(both[1].normals, alone.normals)
    for pair, single in zip(both, (frames, alone), strict=True):
        difference = np.abs(pair.rgb.astype(int) - single.rgb)
        assert difference.max() <= 2, "the order of sums may differ by a rounding, not more"
    with pytest.raises(ValueError, match="shots is empty"):
        render_shots([], SIZE)
    with pytest.raises(ValueError, match="got 1 exposures for 2 shots"):
        render_shots(shots, SIZE, exposures=[1.0])


def test_the_sky_has_no_depth() -> None:
    yard = make_room(scene_seed("test", 2), "outdoor")
    K = intrinsics(90.0, SIZE)
    frames = render(yard, camera_path(yard, 0, 4, "robot"), K, SIZE)
    sky = frames.depth == 0
    assert 0.02 < sky.mean() < 0.7
    assert np.all(frames.object_id[sky] == 0)
    assert np.all(frames.normals[sky] == 0)
    np.testing.assert_allclose(np.linalg.norm(frames.normals[~sky], axis=-1), 1.0, atol=1e-5)
    found = correspondences(yard, frames, 0, 0)
    np.testing.assert_array_equal(found.visible_HW, ~sky[0])
    assert np.all(np.isnan(found.uv_HW2[sky[0]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_takes_the_same_pictures(room: Room, frames: RenderedFrames) -> None:
    other = render(room, frames.T_world_cam, frames.K, SIZE, device="cuda")
    same = np.abs(other.depth - frames.depth) < 1e-3 * frames.depth
    assert same.mean() > 0.999, f"depth differs at {1 - same.mean():.4%} of the pixels"
    assert np.mean(other.object_id == frames.object_id) > 0.999
    assert np.mean(np.abs(other.rgb.astype(int) - frames.rgb) <= 2) > 0.995
