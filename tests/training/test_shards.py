# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Shards give back what was written, refuse what is damaged, and batches repeat exactly."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from g2vlm_training.datasets.base import Clip, DataError, SceneInfo, known_depth
from g2vlm_training.datasets.batch import batch_of, draw_batch, world_points
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.datasets.shards import (
    Shard,
    decode_depth,
    encode_depth,
    mapped,
    shard_paths,
    write_shard,
)
from g2vlm_training.synthetic import SceneObject

from tests.training.tiny import write_tiny_shards

FRAMES, SIZE = 4, (28, 42)
SCENE = SceneInfo(
    (SceneObject(3, "chair", "red", (1.0, -0.5, 0.4), (0.5, 0.5, 0.8), 0.3),),
    room_size=(4.0, 3.5, 2.5),
    floor_area=14.0,
    seed=110_000_007,
    split="test",
)


def make_clip(seed: int = 0, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Clip:
    """A clip of noise with real poses."""
    rng = np.random.default_rng(seed)
    T_world_cam = np.tile(np.eye(4), (frames, 1, 1))
    for pose in T_world_cam:
        pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose[:3, 0] *= np.sign(np.linalg.det(pose[:3, :3]))
        pose[:3, 3] = rng.normal(size=3)
    normals = rng.normal(size=(frames, *size, 3))
    K = np.array([[40.0, 0, 20.5], [0, 40.0, 13.5], [0, 0, 1]])
    return Clip(
        rgb=rng.integers(0, 256, (frames, *size, 3), dtype=np.uint8),
        depth=rng.uniform(0.3, 9.0, (frames, *size)).astype(np.float32),
        T_world_cam=T_world_cam,
        K=np.tile(K, (frames, 1, 1)),
        object_id=rng.integers(0, 4, (frames, *size), dtype=np.uint8),
        normals=(normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32),
        scene=SCENE,
        name=f"clip {seed}",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of three clips, one of them of another size."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        size = SIZE if shard < 2 else (42, 42)
        clips = [make_clip(10 * shard + number, size=size) for number in range(3)]
        write_shard(folder / f"train-{shard:05d}.tar", clips)
    return folder


def test_a_shard_gives_back_its_clips(folder: Path) -> None:
    shard = Shard(folder / "train-00001.tar")
    assert len(shard) == 3
    for number, stored in enumerate(shard.clips):
        truth, order = make_clip(10 + number), [2, 0]
        clip = stored.read(order)
        for name in ("rgb", "object_id", "T_world_cam", "K"):
            np.testing.assert_array_equal(getattr(clip, name), getattr(truth, name)[order])
        assert clip.normals is not None
        assert truth.normals is not None
        assert np.abs(clip.depth / truth.depth[order] - 1).max() < 7.2e-5
        length = np.linalg.norm(clip.normals, axis=-1)
        cosine = (clip.normals * truth.normals[order]).sum(-1) / length
        assert np.abs(length - 1).max() < 0.01
        assert cosine.min() > np.cos(np.radians(0.5))
        assert clip.scene == SCENE
        assert not clip.complete


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the library's own reader
def test_other_readers_of_webdataset_understand_a_shard(folder: Path) -> None:
    reader = webdataset.WebDataset(str(folder / "train-00000.tar"), shardshuffle=False).decode()
    samples = list(reader)
    assert len(samples) == 3
    np.testing.assert_array_equal(samples[1]["rgb.npy"], make_clip(1).rgb)
    assert samples[1]["meta.json"]["scene"]["seed"] == SCENE.seed


def test_depth_codes_are_exact_to_seven_thousandths_of_a_percent() -> None:
    depth = np.geomspace(0.02, 200.0, 100_001).astype(np.float32)
    error = np.abs(decode_depth(encode_depth(depth)) / depth - 1)
    assert error.max() < 7.2e-5, error.max()
    unusable = np.array([0.0, -1.0, np.nan, np.inf, 201.0, 0.01], np.float32)
    np.testing.assert_array_equal(decode_depth(encode_depth(unusable)), 0)


def test_the_same_clips_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "train-00000.tar"
    write_shard(again, [make_clip(number) for number in range(3)])
    assert again.read_bytes() == (folder / "train-00000.tar").read_bytes()


def test_a_shard_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def clips() -> object:
        yield make_clip()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path / "train-00000.tar", clips())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.5, 0.9])
def test_a_cut_off_shard_is_refused_and_the_rest_used(
    folder: Path, tmp_path: Path, part: float
) -> None:
    for path in shard_paths(folder, "train"):
        shutil.copy(path, tmp_path)
    cut = tmp_path / "train-00001.tar"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match=r"train-00001.*delete it and render it again"):
        Shard(cut)
    pool = ClipPool(tmp_path, "train")
    assert [path.name for path in pool.paths] == ["train-00000.tar", "train-00002.tar"]
    assert list(pool.refused) == [cut]
    assert len(pool.clips) == 6
    draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


@pytest.mark.parametrize("extra", [0, 100])
def test_a_shard_cut_off_between_two_members_is_refused(
    folder: Path, tmp_path: Path, extra: int
) -> None:
    """Python's tarfile takes a file that ends inside a header for whole."""
    whole = (folder / "train-00000.tar").read_bytes()
    cut = tmp_path / "train-00000.tar"
    cut.write_bytes(whole[: whole.index(b"000001.depth.npy") + extra])
    with pytest.raises(DataError, match=r"train-00000.tar cannot be read"):
        Shard(cut)
    with pytest.raises(DataError, match="none of 1 shards"):
        ClipPool(tmp_path, "train")


def test_a_description_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "train-00000.tar").read_bytes()
    for old, new, message in (
        (b'"format": 1', b'"format": 7', "format is 7, expected 1"),
        (b'"T_world_cam": [[[', b'"T_world_cat": [[[', r"meta.json cannot be read .*T_world_cam"),
        (b'"colour"', b'"kolour"', "scene description cannot be read"),
    ):
        path = tmp_path / f"train-{len(message):05d}.tar"
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(DataError, match=message):
            Shard(path).clips[0].read([0])


def test_many_shards_need_few_open_files_and_changed_ones_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "train-00000.tar"
    shutil.copy(folder / "train-00000.tar", path)
    clip = Shard(path).clips[0]
    mapped.cache_clear()
    np.testing.assert_array_equal(clip.read([1]).rgb[0], make_clip(0).rgb[1])
    again = pickle.loads(pickle.dumps(clip))  # as worker processes get it
    np.testing.assert_array_equal(again.read([3]).depth, clip.read([3]).depth)
    mapped.cache_clear()
    write_shard(path, [make_clip(5)])
    with pytest.raises(DataError, match="has changed since it was opened"):
        clip.read([1])


def test_a_batch_is_a_function_of_the_seed_and_spans_shards(folder: Path) -> None:
    pool, names = ClipPool(folder, "train"), set()
    for seed in range(8):
        first = draw_batch(pool, 4, 3, torch.Generator().manual_seed(seed), None)
        again = draw_batch(
            ClipPool(folder, "train"), 4, 3, torch.Generator().manual_seed(seed), None
        )
        assert torch.equal(first.rgb_BN3HW, again.rgb_BN3HW)
        assert torch.equal(first.T_world_cam_BN44, again.T_world_cam_BN44)
        assert first.scenes == (SCENE,) * len(first.scenes)
        drawn = pool.draw(4, 3, torch.Generator().manual_seed(seed))
        assert len({clip.size_hw for clip in drawn}) == 1
        names |= {Path(clip.name.split(":")[0]).name for clip in drawn}
    assert len(names) == 3


def test_pinned_shards_stay_while_new_ones_come(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "train-00000.tar", tmp_path)
    pool = ClipPool(tmp_path, "train")
    shutil.copy(folder / "train-00001.tar", tmp_path)
    assert len(pool.paths) == 1
    assert pool.refresh() == 2
    pool.pin(["train-00000.tar"])
    assert len(pool.clips) == 3
    with pytest.raises(ValueError, match="train-00009"):
        pool.pin(["train-00009.tar"])


def test_depth_zero_is_sky_only_where_a_renderer_said_so(tmp_path: Path) -> None:
    clip = make_clip(3)
    clip.depth[:, 0] = 0
    for complete in (True, False):
        path = tmp_path / f"train-{int(complete):05d}.tar"
        write_shard(path, [dataclasses.replace(clip, complete=complete)])
        read = Shard(path).clips[0].read(range(FRAMES))
        assert read.complete == complete
        invalid = batch_of([read]).invalid_BNHW
        assert bool(invalid[0, :, 0].all()) == complete
        assert not bool(invalid[0, :, 1:].any())


def test_world_points_use_the_intrinsics_of_each_frame() -> None:
    batch = batch_of([make_clip()])
    K_BN33 = batch.K_BN33.clone()
    K_BN33[0, 2, 0, 2] -= 5.0
    points = world_points(batch.depth_BNHW, batch.T_world_cam_BN44, K_BN33)
    T_cam_world = torch.linalg.inv(batch.T_world_cam_BN44[0, 2])
    local = T_cam_world[:3, :3] @ points[0, 2, 7, 11] + T_cam_world[:3, 3]
    uv = K_BN33[0, 2] @ local
    torch.testing.assert_close(uv[:2] / uv[2], torch.tensor([11.0, 7.0]), rtol=1e-4, atol=1e-3)


def _changed(name: str, value: object) -> dict[str, object]:
    clip = make_clip()
    content = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    return {**content, name: value}


def _poses(value: float) -> np.ndarray:
    poses: np.ndarray = make_clip().T_world_cam.copy()
    poses[1, 0, 3] = value
    return poses


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("depth", np.full((4, 28, 42), np.nan, np.float32), "frame 0 has 1176 depths"),
        ("depth", np.zeros((4, 28, 40), np.float32), r"depth is float32 \(4, 28, 40\)"),
        ("depth", np.zeros((4, 28, 42)), "depth is float64"),
        ("rgb", np.zeros((0, 28, 42, 3), np.uint8), r"expected \(N, H, W, 3\)"),
        ("T_world_cam", np.zeros((3, 4, 4)), r"T_world_cam is float64 \(3, 4, 4\)"),
        ("T_world_cam", _poses(-np.inf), "pose of frame 1"),
        ("T_world_cam", np.zeros((4, 4, 4)), "pose of frame 0 is no rigid"),
        ("T_world_cam", np.tile(np.diag([1.0, 1, -1, 1]), (4, 1, 1)), "no rigid"),
        ("K", np.zeros((4, 3, 3)), "focal lengths"),
        ("object_id", np.zeros((4, 28, 42), np.int64), "object_id is int64"),
    ],
)
def test_a_clip_refuses_what_cannot_be(name: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clip(**_changed(name, value))  # type: ignore[arg-type]


def test_known_depth_is_zero_where_there_is_none() -> None:
    raw = np.array([1.5, 0, -2, np.nan, np.inf, 90.0])
    np.testing.assert_array_equal(known_depth(raw, far=80.0), [1.5, 0, 0, 0, 0, 0])


def test_clips_of_unequal_sizes_make_no_batch() -> None:
    with pytest.raises(DataError, match="unequal"):
        batch_of([make_clip(0), make_clip(1, size=(42, 42))])


def test_what_a_killed_run_left_goes_though_its_shard_is_there(tmp_path: Path) -> None:
    """The kill came between the shard's name and the end of the work."""
    write_tiny_shards(tmp_path)
    before = (tmp_path / "train-00000.tar").stat().st_mtime_ns
    (tmp_path / ".train-00000.tar.0123abcd.partial").mkdir()
    write_tiny_shards(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.tar"]
    assert (tmp_path / "train-00000.tar").stat().st_mtime_ns == before
