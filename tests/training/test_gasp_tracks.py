# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where GASP's points lie and whether they are seen: rooms by rays, RGB-D frames by depth."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.base import Clip, SceneInfo
from g2vlm_training.datasets.batch import WindowBatch, batch_of
from g2vlm_training.datasets.layouts import open_dataset
from g2vlm_training.gasp.gasp_tracks import (
    anchors_of,
    lattice,
    patch_depths,
    point_tracks,
)
from g2vlm_training.synthetic import RenderedFrames, camera_path, intrinsics, make_room, render
from g2vlm_training.synthetic.correspond import correspondences

from tests.helpers import shared_data

SEED, FRAMES = 4, 3


@pytest.fixture(scope="module")
def rendered() -> RenderedFrames:
    room = make_room(SEED)
    poses = camera_path(room, 1, FRAMES, "hand", step=0.5, turn_deg=12.0)
    return render(room, poses, intrinsics(80.0, (72, 96)), (72, 96))


@pytest.fixture
def batch(rendered: RenderedFrames) -> WindowBatch:
    clip = Clip(
        rgb=rendered.rgb, depth=rendered.depth.astype(np.float32),
        T_world_cam=rendered.T_world_cam, K=np.tile(rendered.K, (FRAMES, 1, 1)),
        scene=SceneInfo(objects=make_room(SEED).objects, seed=SEED),
    )  # fmt: skip
    return batch_of([clip])


def test_lattices_take_the_middles() -> None:
    assert lattice(56, 8).tolist() == [3, 10, 17, 24, 31, 38, 45, 52]
    assert lattice(3, 6).tolist() == [0, 0, 1, 1, 2, 2]


def test_rays_say_what_can_be_seen(rendered: RenderedFrames, batch: WindowBatch) -> None:
    tracks = point_tracks(batch, 24)
    rows, columns = lattice(72, 24), lattice(96, 24)
    hidden = 0
    for i in range(FRAMES):
        for j in range(FRAMES):
            seen = tracks.visible_BNNQ[0, i, j].view(24, 24).numpy()
            if i == j:
                assert not seen.any()
                continue
            truth = correspondences(make_room(SEED), rendered, i, j)
            theirs = truth.visible_HW[rows][:, columns]
            assert (seen == theirs).mean() > 0.995, (i, j)
            uv = truth.uv_HW2[rows][:, columns][seen & theirs]
            mine = tracks.place_BNNQ2[0, i, j].view(24, 24, 2).numpy()[seen & theirs]
            np.testing.assert_allclose(mine, (uv + 0.5) / (96, 72), atol=2e-4)
            depth = truth.depth_HW[rows][:, columns][seen & theirs]
            found = tracks.depth_BNNQ[0, i, j].view(24, 24).numpy()[seen & theirs]
            np.testing.assert_allclose(found, depth, rtol=1e-3)
            place = tracks.place_BNNQ2[0, i, j].view(24, 24, 2).numpy()
            hidden += int((~theirs & ((place > 0) & (place < 1)).all(-1)).sum())
    assert hidden > 100, "nothing was hidden, the test shows nothing"


def test_depth_maps_say_nearly_the_same(batch: WindowBatch) -> None:
    rays, maps = point_tracks(batch, 24, "exact"), point_tracks(batch, 24, "depth")
    agree = (rays.visible_BNNQ == maps.visible_BNNQ).float().mean()
    wrong = (maps.visible_BNNQ & ~rays.visible_BNNQ).sum() / maps.visible_BNNQ.sum()
    assert 0.85 < float(agree) < 1
    assert float(wrong) < 0.02, "points count as seen that are not"


def test_a_room_that_is_made_in_another_way_by_now_is_noticed(
    batch: WindowBatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = dataclasses.replace(batch, scenes=(SceneInfo((), seed=SEED),))
    with caplog.at_level(logging.WARNING):
        tracks = point_tracks(other, 8)
    assert "makes another room" in caplog.text
    assert torch.equal(tracks.visible_BNNQ, point_tracks(batch, 8, "depth").visible_BNNQ)


def test_real_frames_by_projection() -> None:
    data = shared_data()
    if data is None or not (data / "7scenes_redkitchen").is_dir():
        pytest.skip("needs the 7-Scenes kitchen in ../shared/data")
    (sequence,) = open_dataset("7scenes", data / "7scenes_redkitchen")
    clip = sequence.read([0, 2, 4])
    batch = batch_of([clip])
    tracks = point_tracks(batch, 24)
    visible = tracks.visible_BNNQ[0]
    share = visible[~torch.eye(3, dtype=torch.bool)].float().mean()
    assert 0.3 < float(share) < 0.98
    # Points that are said to be seen look alike in both frames, more than others do.
    grey = batch.rgb_BN3HW[0].mean(dim=1)
    height, width = batch.grid
    rows, columns = lattice(height, 24), lattice(width, 24)
    here = grey[:, rows][..., columns].flatten(1)
    moved, still = [], []
    for i, j in ((0, 1), (1, 2), (0, 2)):
        seen = visible[i, j]
        place = tracks.place_BNNQ2[0, i, j][seen] * torch.tensor([width, height]) - 0.5
        x, y = place.round().long().unbind(-1)
        there = grey[j, y.clamp(0, height - 1), x.clamp(0, width - 1)]
        moved.append((there - here[i][seen]).abs())
        still.append((here[j][seen] - here[i][seen]).abs())
    assert float(torch.cat(moved).mean()) < 0.8 * float(torch.cat(still).mean())


def test_anchors_are_patches_of_their_window(batch: WindowBatch) -> None:
    tracks = point_tracks(batch, 8)
    anchors = anchors_of(tracks, 0, (3, 4))
    frame, patch = anchors.own_M // 12, anchors.own_M % 12
    assert bool((anchors.match_MN.gather(1, frame[:, None]) == -1).all())
    assert bool((anchors.match_MN >= 0).any(dim=1).all())
    seen = anchors.match_MN >= 0
    assert bool((anchors.match_MN // 12 == torch.arange(FRAMES))[seen].all())
    assert int(patch.max()) == 11
    assert len(anchors.own_M) == int(tracks.visible_BNNQ[0].any(dim=1).sum())


def test_patch_depths_know_what_they_do_not_know(batch: WindowBatch) -> None:
    depth = batch.depth_BNHW.clone()
    depth[0, 0, :36] = 0
    mean, known = patch_depths(depth, (2, 2))
    assert known[0, 0].tolist() == [False, False, True, True]
    assert float(mean[0, 1, 3]) == pytest.approx(float(depth[0, 1, 36:, 48:].mean()), rel=1e-4)


def test_bad_depth_is_refused_and_no_depth_gives_no_points(batch: WindowBatch) -> None:
    for value in (float("nan"), float("inf"), -1.0):
        depth = batch.depth_BNHW.clone()
        depth[0, 1, 3, 4] = value
        with pytest.raises(ValueError, match="1 depths of the batch are negative or no number"):
            point_tracks(dataclasses.replace(batch, depth_BNHW=depth), 8)
    blind = dataclasses.replace(batch, depth_BNHW=torch.zeros_like(batch.depth_BNHW))
    tracks = point_tracks(blind, 8)
    assert not tracks.visible_BNNQ.any()
    assert len(anchors_of(tracks, 0, (3, 4)).own_M) == 0
