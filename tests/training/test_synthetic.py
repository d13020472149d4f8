# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ray caster is exact: depth, poses, ids and pictures agree with each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from g2vlm_training.synthetic import (
    RenderedFrames,
    Room,
    camera_path,
    intrinsics,
    make_room,
    render,
    scene_seed,
)
from g2vlm_training.synthetic.parts import rotation
from g2vlm_training.synthetic.pieces import OBJECT_NAMES, build_piece
from g2vlm_training.synthetic.textures import TEXTURE_KINDS, TILE_SIZE, make_texture

SIZE = (60, 80)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(scene_seed("test", 4), "indoor")


@pytest.fixture(scope="module")
def frames(room: Room) -> RenderedFrames:
    path = camera_path(room, 1, 4, "hand", step=0.15)
    return render(room, path, intrinsics(65.0, SIZE), SIZE)


def _points(frames: RenderedFrames, index: int) -> np.ndarray:
    """World points of every pixel of a frame."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    z = frames.depth[index].astype(np.float64)
    K = frames.K
    local = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], axis=-1)
    T = frames.T_world_cam[index]
    world: np.ndarray = local @ T[:3, :3].T + T[:3, 3]
    return world


def test_points_project_onto_the_same_surface_in_the_other_views(
    frames: RenderedFrames,
) -> None:
    """Where a point is not hidden, the other view's depth map holds its depth to 1 %."""
    for i, j in ((0, 3), (3, 0), (1, 2)):
        T_cam_world = np.linalg.inv(frames.T_world_cam[j])
        local = _points(frames, i) @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
        uv = local @ frames.K.T
        u, v = uv[..., 0] / uv[..., 2], uv[..., 1] / uv[..., 2]
        inside = (local[..., 2] > 0.1) & (u > 0) & (v > 0) & (u < SIZE[1] - 1) & (v < SIZE[0] - 1)
        column, row = np.rint(u[inside]).astype(int), np.rint(v[inside]).astype(int)
        seen, expected = frames.depth[j][row, column], local[..., 2][inside]
        # Nothing can lie behind the surface that the other view sees (up to half a pixel).
        hidden = seen < 0.97 * expected
        beyond = seen > 1.06 * expected
        assert inside.mean() > 0.3
        assert beyond.mean() < 0.03, f"{beyond.mean():.3f} of the points float before a surface"
        close = np.abs(seen - expected)[~hidden & ~beyond] / expected[~hidden & ~beyond]
        assert np.median(close) < 0.01


def test_points_of_the_building_lie_on_its_walls(room: Room, frames: RenderedFrames) -> None:
    half = np.array(room.size) / 2
    own = np.flatnonzero(room.object_M == 0)
    for index in range(len(frames.depth)):
        points = _points(frames, index)
        assert np.all(np.abs(points - (0, 0, half[2])) < half + 1e-3)
        bare = points[frames.object_id[index] == 0]
        offset = bare[:, None] - room.centre_M3[own]
        local = np.einsum("mij,pmi->pmj", room.turn_M33[own], offset)
        gap = np.abs(np.max(np.abs(local) - room.half_M3[own], axis=2)).min(axis=1)
        assert np.quantile(gap, 0.9) < 1e-3


def test_objects_lie_in_their_boxes(room: Room, frames: RenderedFrames) -> None:
    checked = 0
    for thing in room.objects:
        for index in range(len(frames.depth)):
            mask = frames.object_id[index] == thing.object_id
            if mask.sum() < 5:
                continue
            offset = _points(frames, index)[mask] - np.array(thing.centre)
            c, s = np.cos(thing.yaw), np.sin(thing.yaw)
            x, y = c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0]
            assert np.all(np.abs(x) < thing.size[0] / 2 + 0.06), thing
            assert np.all(np.abs(y) < thing.size[1] / 2 + 0.06), thing
            assert np.all(np.abs(offset[:, 2]) < thing.size[2] / 2 + 0.06), thing
            checked += 1
    assert checked >= 3


def test_depth_does_not_depend_on_supersampling(room: Room, frames: RenderedFrames) -> None:
    fine = render(room, frames.T_world_cam[:1], frames.K, SIZE, supersample=2)
    np.testing.assert_array_equal(fine.depth[0], frames.depth[0])
    np.testing.assert_array_equal(fine.object_id[0], frames.object_id[0])
    # The colours are those of the same picture, only smoother.
    coarse = render(room, frames.T_world_cam[:1], frames.K, SIZE)
    difference = np.abs(fine.rgb[0].astype(int) - coarse.rgb[0])
    assert 0 < difference.mean() < 12


def test_same_seed_same_room_and_picture(room: Room, frames: RenderedFrames) -> None:
    again = make_room(room.seed, "indoor")
    assert again.objects == room.objects
    second = render(again, frames.T_world_cam[:1], frames.K, SIZE)
    first = render(room, frames.T_world_cam[:1], frames.K, SIZE)
    np.testing.assert_array_equal(second.rgb, first.rgb)
    assert make_room(room.seed + 1).objects != room.objects


def test_pictures_have_texture_and_light(frames: RenderedFrames) -> None:
    grey = frames.rgb.astype(np.float64).mean(axis=-1)
    assert 50 < grey.mean() < 190
    assert grey.std() > 12


def test_splits_never_share_a_seed() -> None:
    ends = {
        split: (scene_seed(split, 0), scene_seed(split, 9_999_999)) for split in ("val", "test")
    }
    train = (scene_seed("train", 0), scene_seed("train", 99_999_999))
    spans = sorted([train, *ends.values()])
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    with pytest.raises(ValueError, match="index is 10000000"):
        scene_seed("val", 10_000_000)
    with pytest.raises(ValueError, match="split is 'dev'"):
        scene_seed("dev", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["robot", "hand"])
def test_paths_keep_their_height_and_their_distance(style: str) -> None:
    for index in range(6):
        room = make_room(scene_seed("test", index), "indoor")
        path = camera_path(room, 0, 12, style)  # type: ignore[arg-type]
        assert path.shape == (12, 4, 4)
        rotations = path[:, :3, :3]
        np.testing.assert_allclose(
            rotations @ rotations.transpose(0, 2, 1),
            np.broadcast_to(np.eye(3), (12, 3, 3)),
            atol=1e-9,
        )
        np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-9)
        heights = path[:, 2, 3]
        if style == "robot":
            assert np.ptp(heights) < 1e-9
            assert 0.2 < heights[0] < 0.75
        assert np.all((heights > 0.1) & (heights < room.size[2]))
        assert np.all(rotations[:, 2, 1] < 0)  # the camera's down axis points down


def test_bad_input_is_refused(room: Room) -> None:
    K = intrinsics(60.0, SIZE)
    outside = np.eye(4)[None].copy()
    outside[0, 0, 3] = 50.0
    with pytest.raises(ValueError, match="outside the room"):
        render(room, outside, K, SIZE)
    with pytest.raises(ValueError, match=r"expected \(N, 4, 4\)"):
        render(room, np.eye(4), K, SIZE)
    with pytest.raises(ValueError, match="style is 'submarine'"):
        camera_path(room, 0, 3, "submarine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_frames is 0"):
        camera_path(room, 0, 0)
    with pytest.raises(ValueError, match="fov_deg is 0"):
        intrinsics(0.0, SIZE)
    with pytest.raises(ValueError, match="piece is 'throne'"):
        build_piece("throne", np.random.default_rng(0))
    with pytest.raises(ValueError, match="texture kind is 'fur'"):
        make_texture("fur", np.random.default_rng(0))


@pytest.mark.parametrize("kind", TEXTURE_KINDS)
def test_textures_are_tiles_in_range(kind: str) -> None:
    tile = make_texture(kind, np.random.default_rng(5))
    assert tile.shape == (TILE_SIZE, TILE_SIZE, 3)
    assert tile.min() >= 0
    assert tile.max() <= 1
    assert tile.std() > 0


@pytest.mark.parametrize("name", OBJECT_NAMES)
def test_pieces_stay_in_their_size(name: str) -> None:
    piece = build_piece(name, np.random.default_rng(1))
    size = np.array(piece.size)
    tight = np.zeros((2, 3))
    for part in piece.parts:
        reach = np.abs(rotation(part.turn)) @ np.array(part.half)
        low, high = np.array(part.centre) - reach, np.array(part.centre) + reach
        assert np.all(low >= (-size[0] / 2 - 1e-6, -size[1] / 2 - 1e-6, -1e-6)), part
        assert np.all(high <= (size[0] / 2 + 1e-6, size[1] / 2 + 1e-6, size[2] + 1e-6)), part
        tight = np.stack([np.minimum(tight[0], low), np.maximum(tight[1], high)])
    np.testing.assert_allclose(tight[1] - tight[0], size, atol=1e-6)
