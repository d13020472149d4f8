# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows: which frames, crops that stay true, mirrored worlds, mixtures, refusals."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.config_file import load_config
from g2vlm_training.datasets.base import Clip, DataError
from g2vlm_training.datasets.batch import batch_of, draw_batch
from g2vlm_training.datasets.mixture import ClipPool, FolderPool, Mixture, SourceOptions
from g2vlm_training.datasets.shards import write_shard
from g2vlm_training.datasets.views import (
    ViewOptions,
    draw_boxes,
    draw_frames,
    draw_size,
    mirror,
    resample,
    round_lens,
)

from tests.helpers import REPO
from tests.training.layout_folders import make_truth, pinhole, write_7scenes, write_scannet
from tests.training.test_shards import SCENE, make_clip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def room_clip(cx: float = 36.0) -> Clip:
    """A box room with normals, see `layout_folders`."""
    truth = make_truth(pinhole(55.0, cx, 21.0))
    points = _points(truth.depth, truth.K, truth.T_world_cam)
    wall = np.abs(np.abs(points) - (3.0, 2.2, 1.3)).argmin(-1)
    world = -np.sign(np.take_along_axis(points, wall[..., None], -1)) * np.eye(3)[wall]
    local = np.einsum("nhwi,nij->nhwj", world, truth.T_world_cam[:, :3, :3])
    return Clip(
        rgb=truth.rgb,
        depth=truth.depth.astype(np.float32),
        T_world_cam=truth.T_world_cam,
        K=np.tile(truth.K, (3, 1, 1)),
        object_id=(wall + 1).astype(np.uint8),
        normals=local.astype(np.float32),
        scene=SCENE,
    )


def _points(depth: np.ndarray, K: np.ndarray, T_world_cam: np.ndarray) -> np.ndarray:
    """World points (N, H, W, 3); K of all or of each frame."""
    v, u = np.mgrid[: depth.shape[1], : depth.shape[2]]
    pixel = np.stack([u, v, np.ones_like(u)], -1)
    rays = np.einsum("nij,hwj->nhwi", np.linalg.inv(np.broadcast_to(K, (len(depth), 3, 3))), pixel)
    local = rays * depth[..., None]
    moved = np.einsum("nij,nhwj->nhwi", T_world_cam[:, :3, :3], local)
    points: np.ndarray = moved + T_world_cam[:, None, None, :3, 3]
    return points


def _on_walls(clip: Clip, half: tuple[float, float, float] = (3.0, 2.2, 1.3)) -> float:
    """Median distance in metres of a clip's points from the walls of the box room."""
    points = _points(clip.depth, clip.K, clip.T_world_cam)
    return float(np.median(np.abs(np.abs(points) - half).min(-1)))


@pytest.mark.parametrize("seed", range(4))
def test_crops_keep_the_geometry_and_centre_the_principal_point(seed: int) -> None:
    clip, options = room_clip(), ViewOptions(width=42, zoom=0.3)
    size = draw_size(options, generator(seed))
    assert size is not None
    assert size[1] == 42
    assert size[0] % 14 == 0
    assert 21 <= size[0] <= 42
    boxes = draw_boxes(clip, size, options.zoom, generator(seed))
    assert (boxes[:, :2] >= -1e-9).all()
    assert (boxes[:, 2:] <= (64 + 1e-9, 48 + 1e-9)).all()
    out = resample(clip, boxes, size)
    assert out.size_hw == size
    np.testing.assert_allclose(out.K[:, :2, 2], [((42 - 1) / 2, (size[0] - 1) / 2)] * 3, atol=1e-6)
    np.testing.assert_allclose(out.K[:, 0, 0] / out.K[:, 1, 1], 1.0, atol=1e-6)
    # Depth is that of the nearest pixel, half a pixel of 1/55 rad off at most.
    assert _on_walls(out) < 0.02
    assert out.object_id is not None
    assert out.normals is not None
    assert _on_walls(resample(clip, np.tile([0.0, 0, 64, 48], (3, 1)), (48, 64))) < 1e-6


def test_a_whole_box_at_the_same_size_changes_nothing() -> None:
    clip = room_clip()
    same = resample(clip, np.tile([0.0, 0, 64, 48], (3, 1)), (48, 64))
    for field in dataclasses.fields(clip):
        if isinstance(getattr(clip, field.name), np.ndarray):
            np.testing.assert_allclose(getattr(same, field.name), getattr(clip, field.name))


def test_a_principal_point_at_the_border_leaves_more_than_a_sliver() -> None:
    clip = room_clip(cx=3.0)
    out = resample(clip, draw_boxes(clip, (28, 42), 0.0, generator()), (28, 42))
    assert _on_walls(out) < 0.02
    assert out.K[0, 0, 2] < 0.3 * 42


def test_the_mirrored_world_is_a_world() -> None:
    clip = room_clip()
    other = mirror(clip)
    assert other.scene is None
    assert _on_walls(other) < 1e-6
    points = _points(clip.depth, clip.K, clip.T_world_cam)
    mirrored = _points(other.depth, other.K, other.T_world_cam)
    np.testing.assert_allclose(mirrored[:, :, ::-1] * (-1, 1, 1), points, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(other.T_world_cam[:, :3, :3]), 1.0)
    for one in (clip, other):  # normals are those of the surface that the points lie on
        points = _points(one.depth, one.K, one.T_world_cam)
        across, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:] - points[:, :-2]
        world = np.cross(down[:, :, 1:-1], across)
        local = np.einsum("nhwi,nij->nhwj", world, one.T_world_cam[:, :3, :3])
        local /= np.linalg.norm(local, axis=-1, keepdims=True)
        assert one.normals is not None
        agreement = np.abs((local * one.normals[:, 1:-1, 1:-1]).sum(-1))
        facing = (one.normals * _points(one.depth, one.K, np.tile(np.eye(4), (3, 1, 1)))).sum(-1)
        assert np.median(agreement) > 0.9999
        assert (facing < 0).all()
    twice = mirror(other)
    np.testing.assert_allclose(twice.T_world_cam, clip.T_world_cam)
    np.testing.assert_allclose(twice.K, clip.K)
    np.testing.assert_array_equal(twice.rgb, clip.rgb)


@pytest.mark.parametrize(("length", "frames"), [(6, 6), (6, 2), (40, 3), (2000, 24), (25, 24)])
def test_frames_are_distinct_and_near_their_reference(length: int, frames: int) -> None:
    options, source = ViewOptions(), generator()
    windows = [draw_frames(length, frames, options, source) for _ in range(300)]
    spans = []
    for window in windows:
        assert len(set(window)) == len(window) == frames
        assert 0 <= min(window) <= max(window) < length
        spans.append(max(window) - min(window))
    whole = sum(span > 2 * 30 * frames for span in spans) / len(spans)
    if frames <= 16:
        assert whole == 0
    elif length > 1000:
        assert 0.03 < whole < 0.2
    if length == 2000:
        seen = Counter(frame for window in windows for frame in window)
        assert len(seen) > 1500
    first = [window[0] for window in windows]
    assert any(window != sorted(window) for window in windows)
    assert len(set(first)) > 0.5 * min(length, 60)


def test_a_radius_bounds_the_window_and_fills_it_evenly() -> None:
    options, source = ViewOptions(radius=48), generator()
    windows = [draw_frames(1000, 24, options, source) for _ in range(400)]
    spans = [max(window) - min(window) for window in windows]
    assert max(spans) <= 96
    assert np.mean(spans) > 80, "24 of 97 frames reach far"
    assert all(len(set(window)) == 24 for window in windows)
    assert len(set(draw_frames(10, 8, options, source))) == 8
    with pytest.raises(ValueError, match="radius is -1"):
        ViewOptions(radius=-1)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    for number, size in enumerate(((28, 42), (42, 42))):
        clips = [make_clip(10 * number + i, size=size) for i in range(3)]
        write_shard(root / "rooms" / f"train-{number:05d}.tar", clips)
    write_7scenes(root / "real")
    write_scannet(root / "scans")
    return root


SOURCES = (
    SourceOptions(root="rooms", weight=2.0),
    SourceOptions("7scenes", "real", weight=1.0),
    SourceOptions("scannet", "scans", weight=1.0),
)


def test_a_mixture_draws_by_weight_and_repeats_exactly(roots: Path) -> None:
    mixture, source = Mixture(SOURCES, roots), generator()
    tally: Counter[str] = Counter()
    for _ in range(200):
        for sequence in mixture.draw(3, 2, source):
            kinds = [kind for kind in ("rooms", "real", "scans") if f"/{kind}/" in sequence.name]
            tally.update(kinds)
    assert tally["rooms"] / tally.total() == pytest.approx(0.5, abs=0.08)
    assert tally["real"] / tally.total() == pytest.approx(0.25, abs=0.07)
    views = ViewOptions(width=28, flip=0.5)
    batches = [
        draw_batch(Mixture(SOURCES, roots), 6, 3, generator(3), None, views) for _ in range(2)
    ]
    assert batches[0].grid[1] == 28
    assert 3 <= len(batches[0].scenes) <= 6  # a pool of three clips gives at most three
    for field in dataclasses.fields(batches[0]):
        first, again = (getattr(batch, field.name) for batch in batches)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, again), field.name
        else:
            assert first == again


def test_windows_of_two_sets_of_shards_have_one_size(tmp_path: Path) -> None:
    both, tall = (28, 42), (42, 42)
    for name, sizes in {"plain": (both, tall), "rich": (both,)}.items():
        for number, size in enumerate(sizes):
            clips = [make_clip(10 * number + i, size=size) for i in range(6)]
            write_shard(tmp_path / name / f"train-{number:05d}.tar", clips)
    sources = (SourceOptions(root="plain"), SourceOptions(root="rich"))
    mixture, source = Mixture(sources, tmp_path), generator()
    tally: Counter[str] = Counter()
    for _ in range(150):
        drawn = mixture.draw(4, 2, source)
        assert len(drawn) == 4
        assert len({sequence.size_hw for sequence in drawn}) == 1
        batch_of([sequence.read([0, 1]) for sequence in drawn])
        for sequence in drawn:
            name = next(name for name in ("plain", "rich") if f"/{name}/" in sequence.name)
            tally[f"{name} {sequence.size_hw[0]}"] += 1
    free = Mixture(sources, tmp_path, ViewOptions(width=42))
    counts = {len({one.size_hw for one in free.draw(4, 2, source)}) for _ in range(30)}
    assert counts == {1, 2}  # what is cut to one aspect may be of any size
    assert tally["plain 42"] > 60  # what only one of them has is seen all the same
    assert tally["rich 28"] / tally.total() == pytest.approx(0.4, abs=0.15)


def test_pictures_of_several_widths_keep_their_aspect_in_one_batch(tmp_path: Path) -> None:
    clips = {"small": (28, 42), "large": (56, 84)}
    for name, size in clips.items():
        K = np.tile(pinhole(40.0, size[1] / 2 - 0.5, size[0] / 2 - 0.5), (4, 1, 1))
        made = [dataclasses.replace(make_clip(i, size=size), K=K) for i in range(6)]
        write_shard(tmp_path / name / "train-00000.tar", made)
    views = ViewOptions(width=42, own_aspect=True)
    sources = (SourceOptions(root="small"), SourceOptions(root="large"))
    mixture, source = Mixture(sources, tmp_path, views), generator()
    focal = set()
    for _ in range(10):
        batch = draw_batch(mixture, 4, 2, source, None, views)
        assert batch.grid == (28, 42)
        assert len(batch.scenes) == 4
        focal |= {round(float(f), 2) for f in batch.K_BN33[:, :, 0, 0].flatten()}
    assert max(focal) == pytest.approx(40.0)  # small ones stay as they are
    assert min(focal) < 25  # half of it, but for the zoom
    assert ViewOptions(width=112, own_aspect=True).size_of((168, 126)) == (154, 112)
    assert ViewOptions(width=112, own_aspect=True).size_of((126, 168)) == (84, 112)
    with pytest.raises(ValueError, match="width is None"):
        ViewOptions(own_aspect=True)


def test_the_rim_of_a_lens_is_black_and_known_to_be_nothing() -> None:
    clip = dataclasses.replace(make_clip(1, size=(60, 80)), complete=True)
    seen = round_lens(clip, generator(5))
    outside = seen.depth == 0
    assert (outside == outside[:1]).all()
    assert 0.02 < outside.mean() < 0.5
    assert seen.rgb[outside].max() <= 12
    assert seen.rgb.dtype == np.uint8
    np.testing.assert_array_equal(seen.rgb[~outside], clip.rgb[~outside])
    np.testing.assert_array_equal(seen.depth[~outside], clip.depth[~outside])
    assert not outside[:, 25:35, 35:45].any()  # the middle stays
    batch = batch_of([seen])
    np.testing.assert_array_equal(batch.invalid_BNHW[0].numpy(), outside)


def test_mirrored_windows_ask_no_questions(roots: Path) -> None:
    pool = ClipPool(roots / "rooms", "train")
    plain = draw_batch(pool, 3, 2, generator(), None, ViewOptions(width=28))
    flipped = draw_batch(pool, 3, 2, generator(), None, ViewOptions(width=28, flip=1.0))
    assert all(scene is not None for scene in plain.scenes)
    assert flipped.scenes == (None,) * 3


def test_bad_frames_are_refused_counted_and_the_rest_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_7scenes(tmp_path / "good")
    write_7scenes(tmp_path / "bad")
    for path in (tmp_path / "bad").rglob("*.color.png"):
        path.write_bytes(path.read_bytes()[:200])
    pool = FolderPool("7scenes", tmp_path)
    with caplog.at_level(logging.WARNING):
        batch = draw_batch(pool, 8, 2, generator(), None)
    assert len(batch.scenes) == 8
    assert pool.refusals.count >= 5
    assert pool.refusals.count % 5 == 0
    assert "cannot be read" in caplog.text
    for path in (tmp_path / "good").rglob("*.depth.png"):
        path.unlink()
    with pytest.raises(DataError, match="were refused, none read"):
        draw_batch(pool, 2, 2, generator(), None)


def test_frames_without_known_depth_are_refused(tmp_path: Path) -> None:
    depth = make_clip().depth
    depth[:, 1:] = 0.0  # a row is known: of a frame without any the camera is taught all the same
    dark = dataclasses.replace(make_clip(), depth=depth)
    write_shard(tmp_path / "train-00000.tar", [make_clip(1), dark])
    pool = ClipPool(tmp_path, "train")
    batch = draw_batch(pool, 2, 2, generator(), None)
    assert len(batch.scenes) == 2
    assert (batch.depth_BNHW > 0).all()
    assert pool.refusals.count == 5
    lenient = ViewOptions(min_known=0.0)
    assert len(draw_batch(pool, 2, 2, generator(), None, lenient).scenes) == 2


def test_sources_that_cannot_be_are_refused(roots: Path) -> None:
    with pytest.raises(ValueError, match="layout is 'kitti'"):
        SourceOptions("kitti")
    with pytest.raises(ValueError, match="weight is 0"):
        SourceOptions(weight=0)
    with pytest.raises(ValueError, match="sources is empty"):
        Mixture((), roots)
    with pytest.raises(FileNotFoundError, match="no val shards"):
        Mixture((SourceOptions(root="rooms", split="val"),), roots)
    with pytest.raises(ValueError, match=r"windows of 9 frames, but .* has at most 3"):
        FolderPool("7scenes", roots / "real").draw(1, 9, generator())
    with pytest.raises(ValueError, match="multiple of 14"):
        ViewOptions(width=100)
    with pytest.raises(ValueError, match="aspect"):
        ViewOptions(aspect=(1.0, 0.5))
    with pytest.raises(ValueError, match="twice"):
        Mixture((SOURCES[0], SOURCES[0]), roots)


def test_a_pinned_mixture_keeps_its_shards(roots: Path, tmp_path: Path) -> None:
    shutil.copytree(roots / "rooms", tmp_path / "one")
    shutil.copytree(roots / "rooms", tmp_path / "two")
    mixture = Mixture((SourceOptions(root="one"), SourceOptions(root="two")), tmp_path)
    before = mixture.names
    assert before[0] == "one/train/train-00000.tar"
    write_shard(tmp_path / "two" / "train-00005.tar", [make_clip(50)])
    assert mixture.refresh() == len(mixture.shards) == 5
    mixture.pin(before)
    assert mixture.names == before
    mixture.pin(["train-00001.tar"])
    assert mixture.names == ["one/train/train-00001.tar", "two/train/train-00001.tar"]
    with pytest.raises(ValueError, match=r"no shard of .*two is named"):
        mixture.pin(["one/train/train-00001.tar"])


def test_the_documented_config_names_its_sources(tmp_path: Path) -> None:
    text = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("sources:\n")[1:]]
    path = tmp_path / "run.yaml"
    documented = []
    for block in blocks:
        path.write_text("preset: nano\nsources:\n" + block)
        documented.append(load_config(str(path)))
    rooms, config = documented
    assert [source.weight for source in rooms.sources] == [0.5, 0.5]
    assert rooms.views.width == 112
    assert [source.layout for source in config.sources] == ["synthetic", "scannet", "dl3dv"]
    assert [source.weight for source in config.sources] == [3.0, 2.0, 1.0]
    assert config.views.width == 224
    assert load_config("nano").sources == (SourceOptions(),)
    path.write_text("sources: [{root: rooms, wait: 3}]")
    with pytest.raises(ValueError, match=r"unknown key sources\.0\.wait"):
        load_config(str(path))
    path.write_text("sources: [{layout: kitti}]")
    with pytest.raises(ValueError, match="layout is 'kitti'"):
        load_config(str(path))
