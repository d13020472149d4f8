# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The same windows whatever the number of processes, workers and parts; and the same mean."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.augment import AugmentOptions
from g2vlm_training.datasets.base import DataError
from g2vlm_training.datasets.batch import WindowBatch
from g2vlm_training.datasets.loading import Batches
from g2vlm_training.datasets.mixture import Mixture, SourceOptions
from g2vlm_training.datasets.shards import write_shard
from g2vlm_training.datasets.views import ViewOptions
from g2vlm_training.run.distribution import Processes
from g2vlm_training.stages.question_batch import QuestionMaker
from g2vlm_training.stages.tokens import nano_tokenizer

from tests.training.layout_folders import write_7scenes
from tests.training.test_shards import make_clip
from tests.training.tiny import tiny_config
from tests.training.tiny_run import CONFIG, tiny_trainer

LOADED = dataclasses.replace(CONFIG, windows=((3, 2), (2, 3)), augment=AugmentOptions(jpeg=0.0))
QUESTIONS = QuestionMaker(tiny_config(), nano_tokenizer(700), 2, ("depth_prediction_oo",), False)


def batches_of(
    shards: Path, world: int = 1, rank: int = 0, asks: bool = False, **changes: Any
) -> Batches:
    config = dataclasses.replace(LOADED, **changes)
    pool = Mixture(config.sources, shards, config.views)
    return Batches(config, pool, Processes(rank, world), QUESTIONS if asks else None)


def same(one: WindowBatch, other: WindowBatch) -> None:
    for name, value in vars(one).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, getattr(other, name), atol=1e-6, rtol=0)
    assert one.scenes == other.scenes
    for mine, theirs in zip(one.prepared, other.prepared, strict=True):
        assert mine.questions == theirs.questions
        assert mine.rows == theirs.rows
        torch.testing.assert_close(mine.pictures.rows_NRC, theirs.pictures.rows_NRC)


@pytest.fixture(scope="module")
def alone(tiny_shards: Path) -> list[WindowBatch]:
    batches = batches_of(tiny_shards, asks=True)
    return [batches.of_step(step)[0] for step in range(4)]


@pytest.mark.parametrize("asks", [True, False])
def test_workers_read_the_same_windows(
    tiny_shards: Path, alone: list[WindowBatch], asks: bool
) -> None:
    batches = batches_of(tiny_shards, asks=asks, workers=2)
    for step, whole in enumerate(alone):
        (read,) = batches.of_step(step)
        same(dataclasses.replace(whole, prepared=whole.prepared if asks else ()), read)


def test_workers_read_folders_too(tmp_path: Path) -> None:
    write_7scenes(tmp_path / "scenes")
    source = (SourceOptions("7scenes", "scenes"),)
    one, two = (
        batches_of(tmp_path, sources=source, workers=workers).of_step(0)[0] for workers in (0, 1)
    )
    same(one, two)


def test_processes_and_parts_share_the_windows(tiny_shards: Path, alone: list[WindowBatch]) -> None:
    shares = [batches_of(tiny_shards, 2, rank, asks=True) for rank in range(2)]
    parts = batches_of(tiny_shards, asks=True, accumulate=2)
    for step, whole in enumerate(alone):
        count = len(whole.scenes)
        for rank, share in enumerate(shares):
            (mine,) = share.of_step(step)
            for place, window in enumerate(range(rank, count, 2)):
                same(whole.window(window), mine.window(place))
        pieces = parts.of_step(step)
        assert [len(piece.scenes) for piece in pieces] == ([2, 1] if count == 3 else [1, 1])
        for number, piece in enumerate(pieces):
            for place, window in enumerate(range(number, count, 2)):
                same(whole.window(window), piece.window(place))


def test_a_step_may_be_asked_for_at_any_time(tiny_shards: Path, alone: list[WindowBatch]) -> None:
    batches = batches_of(tiny_shards, asks=True)
    for step in (3, 1, 2):
        same(alone[step], batches.of_step(step)[0])


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_shards_that_come_meanwhile_join_and_are_told(
    tiny_shards: Path, tmp_path: Path, workers: int
) -> None:
    """The list that a step draws from is its own, though workers read ahead of it."""
    first = tmp_path / "train-00000.tar"
    shutil.copy(tiny_shards / first.name, first)
    batches = batches_of(tmp_path, workers=workers, refresh_steps=6)
    batches.of_step(0)
    assert batches.shards_of(1) == ["./train/train-00000.tar"]
    shutil.copy(first, tmp_path / "train-00001.tar")
    for step in range(1, 6):
        batches.of_step(step)
        assert len(batches.shards_of(step)) == 1
    batches.of_step(6)
    assert len(batches.shards_of(6)) == 2
    again = batches_of(tmp_path, refresh_steps=6)
    same(batches.of_step(7)[0], again.of_step(7)[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_refused_windows_are_counted_here_and_errors_are_short(
    tmp_path: Path, workers: int
) -> None:
    clip = make_clip()
    nothing = {"depth": np.zeros_like(clip.depth), "posed": np.zeros(len(clip), np.bool_)}
    dark = dataclasses.replace(clip, **nothing)  # type: ignore[arg-type]
    write_shard(tmp_path / "train-00000.tar", [dark])
    batches = batches_of(tmp_path, workers=workers)
    with pytest.raises(DataError, match="were refused, none read") as raised:
        batches.of_step(0)
    assert "Traceback" not in str(raised.value)
    assert batches.pool.refusals.count > 5


def test_a_step_has_its_windows_however_few_clips_there_are(tmp_path: Path) -> None:
    """One clip serves two processes: other frames of it are another window."""
    write_shard(tmp_path / "train-00000.tar", [make_clip(frames=6)])
    shares = [batches_of(tmp_path, 2, rank, windows=((4, 2),)).of_step(0)[0] for rank in range(2)]
    assert [len(share.scenes) for share in shares] == [2, 2]


def test_pictures_that_no_model_takes_are_refused_before_the_first_step(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-00000.tar", [make_clip()])
    write_7scenes(tmp_path / "scenes")
    for source in (SourceOptions(), SourceOptions("7scenes", "scenes")):
        pool = Mixture((source,), tmp_path, ViewOptions())
        with pytest.raises(
            ValueError, match=r"and the model takes multiples of 13.* views.width=26"
        ):
            pool.check_sizes(13, 26)
        Mixture((source,), tmp_path, ViewOptions(width=28)).check_sizes(13, 26)


def test_a_share_needs_a_window(tiny_shards: Path) -> None:
    with pytest.raises(ValueError, match="windows for 4 processes"):
        batches_of(tiny_shards, 4, 1).of_step(0)


@pytest.mark.parametrize("kind", ["geometry", "joint", "gasp"])
def test_a_step_in_parts_is_the_step(tiny_shards: Path, tmp_path: Path, kind: str) -> None:
    """Parts hold unequal numbers of pixels, pairs and tokens; the mean is over all of them."""
    ends = []
    for accumulate in (1, 3):
        folder = tmp_path / str(accumulate)
        trainer = tiny_trainer(tiny_shards, folder, Processes(), kind=kind, accumulate=accumulate)
        reports = [trainer.train_step() for _ in range(2)]
        ends.append((reports, trainer.frames_seen))
    (whole, frames), (parts, same_frames) = ends
    assert frames == same_frames
    for one, other in zip(whole, parts, strict=True):
        for name in ("loss", "gradient"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), name


def test_without_an_average_the_weights_are_what_is_saved(
    tiny_shards: Path, tmp_path: Path
) -> None:
    trainer = tiny_trainer(tiny_shards, tmp_path, Processes(), ema=0.0)
    trainer.train_step()
    trainer.save()
    average = trainer.whole_average()
    for name, parameter in trainer.trained.items():
        assert torch.equal(average[name], parameter), name
    again = tiny_trainer(tiny_shards, tmp_path, Processes(), ema=0.0)
    assert again.step == 1
    assert again.train_step()["loss"] == trainer.train_step()["loss"]


def test_a_run_says_how_long_it_waited(tiny_shards: Path, tmp_path: Path) -> None:
    report = tiny_trainer(tiny_shards, tmp_path, Processes()).train_step()
    assert 0 < report["data_s"] < report["step_s"]
    assert report["update_s"] == report["step_s"] - report["data_s"]
