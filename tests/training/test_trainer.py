# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training at a tiny size: it learns, it resumes exactly, its files are whole."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.batch import draw_batch
from g2vlm_training.datasets.loading import Batches, step_generator
from g2vlm_training.datasets.mixture import ClipPool, Mixture, SourceOptions
from g2vlm_training.datasets.shards import Shard, shard_paths
from g2vlm_training.run.checkpoints import latest_checkpoint, load_state
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.run import RunOptions, train
from g2vlm_training.run.start import Start
from g2vlm_training.run.trainer import PAUSE, Trainer, learning_rate
from g2vlm_training.run.validation import learned_beside, validation_sources
from g2vlm_training.stages.freeze import apply_freezing, freezing_table, is_geometric
from g2vlm_training.stages.geometry_stage import GeometryStage, picked_pixels
from g2vlm_training.stages.losses import LossOptions
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.stages.stage import StageLoss
from g2vlm_training.stages.tokens import nano_tokenizer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training import tiny_run
from tests.training.layout_folders import save_depth, write_7scenes
from tests.training.tiny import tiny_model, with_questions

CONFIG = TrainConfig(
    steps=6,
    windows=((2, 3),),
    warmup=2,
    lr=3e-3,
    log_steps=2,
    save_steps=3,
    seed=5,
    loss=LossOptions(camera_weight=1.0, translation_weight=20.0, normal_weight=0.1),
)


def _trainer(pool: ClipPool, folder: Path, config: TrainConfig = CONFIG) -> Trainer:
    model = tiny_model(seed=config.seed)
    apply_freezing(model, "geometry")
    torch.manual_seed(0)
    stage = GeometryStage(model, config)

    def loss_of_step(step: int) -> list[StageLoss]:
        generator = step_generator(config, step)
        return [stage(draw_batch(pool, 2, 3, generator, config.augment), step)]

    return Trainer(stage, config, folder, loss_of_step)


def test_resumed_run_has_the_same_next_losses(pool: ClipPool, tmp_path: Path) -> None:
    whole = _trainer(pool, tmp_path / "whole")
    losses = [whole.train_step()["loss"] for _ in range(6)]
    first = _trainer(pool, tmp_path / "cut")
    first.run(until=3)
    second = _trainer(pool, tmp_path / "cut")
    assert second.resume()["step"] == 3
    assert [second.train_step()["loss"] for _ in range(3)] == losses[3:]
    for name, average in whole.average.items():
        assert torch.equal(second.average[name], average), name


def test_an_interrupted_run_loses_the_step_that_it_was_at_and_no_other(
    pool: ClipPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _trainer(pool, tmp_path / "whole")
    losses = [whole.train_step()["loss"] for _ in range(3)]
    first = _trainer(pool, tmp_path / "cut", dataclasses.replace(CONFIG, save_steps=100))
    of_step = first.loss_of_step

    def interrupted(step: int) -> Iterable[StageLoss]:
        if step == 2:
            raise KeyboardInterrupt
        return of_step(step)

    first.loss_of_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = _trainer(pool, tmp_path / "cut")
    assert second.resume()["step"] == 2
    assert second.train_step()["loss"] == losses[2]

    def half_an_update() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(second, "_update", half_an_update)  # its weights are of no step
    with pytest.raises(KeyboardInterrupt):
        second.run()
    newest = latest_checkpoint(tmp_path / "cut")
    assert newest is not None
    assert newest.stem == "step-0000002"


def test_one_batch_is_learned(pool: ClipPool, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=60, warmup=5)
    model = tiny_model()
    apply_freezing(model, "geometry")
    stage = GeometryStage(model, config)
    batch = draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)
    trainer = Trainer(stage, config, tmp_path, lambda step: [stage(batch, step)])
    reports = [trainer.train_step() for _ in range(60)]

    def mean(key: str, part: slice) -> float:
        return float(np.mean([report[key] for report in reports[part] if key in report]))

    for key in ("loss", "points", "coarse", "fine"):
        early, late = mean(key, slice(0, 8)), mean(key, slice(-8, None))
        assert late < 0.8 * early, f"{key}: {early:.3f} -> {late:.3f}"


def test_geometry_stage_leaves_the_semantic_half_alone(pool: ClipPool, tmp_path: Path) -> None:
    trainer = _trainer(pool, tmp_path)
    model = trainer.module.get_submodule("model")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(4):
        trainer.train_step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all(is_geometric(name) for name in moved)
    unmoved = {n for n in before if is_geometric(n)} - moved
    assert unmoved <= {"dino.mask_token"}, unmoved


def test_semantic_stage_learns_and_leaves_the_geometry_alone(
    pool: ClipPool, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, stage="semantic", steps=30, lr=5e-3)
    model = tiny_model()
    apply_freezing(model, "semantic")
    stage = SemanticStage(model, nano_tokenizer(700), questions=4)
    batch = draw_batch(pool, 2, 2, torch.Generator().manual_seed(0), None)
    batch = with_questions(stage, batch)
    trainer = Trainer(
        stage,
        config,
        tmp_path,
        lambda step: [stage(batch, step)],
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pixels = torch.randn(1, 2, 3, 42, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = model.geometry_pass(model.encode_geometry(pixels), (3, 4)).hidden_BNPD
    losses = [trainer.train_step()["loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0], losses
    for name, parameter in model.named_parameters():
        if is_geometric(name):
            assert torch.equal(parameter, before[name]), name
    with torch.no_grad():
        again = model.geometry_pass(model.encode_geometry(pixels), (3, 4)).hidden_BNPD
    assert torch.equal(hidden, again)


def test_checkpoints_are_whole_and_few(pool: ClipPool, tmp_path: Path) -> None:
    trainer = _trainer(pool, tmp_path)
    trainer.run()
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "step-0000003.safetensors",
        "step-0000006.safetensors",
    ]
    assert not list(tmp_path.glob(".*partial"))
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    meta = load_state(newest).meta
    assert meta["step"] == 6
    assert meta["frames_seen"] == 6 * 2 * 3
    assert meta["config"]["seed"] == 5
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_state(newest)


def test_a_run_waits_while_it_is_paused_and_saves_by_the_clock(
    pool: ClipPool, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, save_steps=1000, save_minutes=1e-6)
    trainer = _trainer(pool, tmp_path, config)
    (tmp_path / PAUSE).touch()
    seen: list[int] = []
    running = threading.Thread(target=trainer.run, args=(lambda step, report: seen.append(step),))
    running.start()
    time.sleep(0.5)
    assert not seen
    (tmp_path / PAUSE).unlink()
    running.join(timeout=60)
    assert seen == list(range(1, config.steps + 1))
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["step-0000005.safetensors", "step-0000006.safetensors"]


def test_checkpoint_of_another_model_is_refused(pool: ClipPool, tmp_path: Path) -> None:
    _trainer(pool, tmp_path).run(until=3)
    model = tiny_model(match_width=0)
    stage = GeometryStage(model, CONFIG)
    other = Trainer(stage, CONFIG, tmp_path, lambda step: pytest.fail("not run"))
    with pytest.raises(ValueError, match="does not fit"):
        other.resume()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_losses_change_nothing_are_counted_and_end_the_run(
    pool: ClipPool, tmp_path: Path, value: float
) -> None:
    trainer = _trainer(pool, tmp_path, dataclasses.replace(CONFIG, bad_steps=3))
    usual = trainer.loss_of_step
    trainer.train_step()
    before = {name: p.detach().clone() for name, p in trainer.trained.items()}
    trainer.loss_of_step = lambda step: [
        StageLoss(0.0 * next(iter(trainer.trained.values())).sum() + value, 1, {"points": value})
    ]
    assert trainer.train_step() == trainer.train_step() == {}
    for name, parameter in trainer.trained.items():
        assert torch.equal(parameter, before[name]), name
    trainer.loss_of_step = usual
    assert trainer.train_step()["loss"] > 0
    assert trainer.skipped == 2
    trainer.loss_of_step = lambda step: [StageLoss(torch.tensor(value), 1, {})]
    with pytest.raises(FloatingPointError, match=r"3 steps in a row.* step 6: loss"):
        for _ in range(3):
            trainer.train_step()


def test_kinds_of_windows_have_their_shares(pool: ClipPool, tmp_path: Path) -> None:
    config = TrainConfig(windows=((3, 1), (1, 2), (1, 3)), window_shares=(0.5, 0.0, 1.5))
    batches = Batches(config, Mixture((SourceOptions(),), pool.folder), Processes())
    frames = [batches.of_step(step)[0].depth_BNHW.shape[1] for step in range(120)]
    assert set(frames) == {1, 3}
    assert frames.count(1) / len(frames) == pytest.approx(0.25, abs=0.1)


def logged(run: Path) -> set[str]:
    """Names of the numbers in the log of a run; those of TensorBoard are the same, with a table."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    names = {name for line in lines for name in json.loads(line)} - {"step"}
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == names
    (text,) = board.Tags()["tensors"]
    (shown,) = board.Tensors(text)
    assert b"rot. med." in shown.tensor_proto.string_val[0]
    return names


def test_a_run_is_validated_on_any_source(
    tiny_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On rooms beside its own, on a folder that its config names, with what truth that has."""
    alone = TrainConfig(sources=(SourceOptions("7scenes", "real"), SourceOptions(root="rooms")))
    assert validation_sources(alone) == (SourceOptions(root="rooms", split="val"),)
    real = dataclasses.replace(alone, sources=alone.sources[:1])
    with pytest.raises(ValueError, match=r"set validation=\[{layout: .*, or eval_windows=0"):
        validation_sources(real)
    truth = write_7scenes(tmp_path / "scenes")
    for path in (tmp_path / "scenes").rglob("*.depth.png"):
        save_depth(path, 0 * truth.depth[0], 1000)
    sources = (SourceOptions("7scenes", str(tmp_path / "scenes")),)
    caplog.set_level(logging.INFO, "g2vlm_training")
    for validation, said in (((), ("AbsRel", "head - mean-depth map")), (sources, ("no depth:",))):
        run = dataclasses.replace(
            tiny_run.CONFIG, steps=1, windows=((2, 2),), eval_windows=2, validation=validation
        )
        folder = tmp_path / f"run{len(validation)}"
        train(run, RunOptions(tiny_shards, folder, Start(run.seed)), Processes())
        for words in said:
            assert words in caplog.text
        told = logged(folder)
        assert ("val/head/abs_rel" in told, "val/identity motion/rra5" in told) == (
            not validation, True,
        )  # fmt: skip
    assert "matched, still" in caplog.text


def test_the_mean_map_is_of_the_place_that_a_run_is_validated_on(tiny_shards: Path) -> None:
    own, other = SourceOptions(), SourceOptions(root=str(tiny_shards), split="val")
    config = TrainConfig(sources=(own, other), validation=(SourceOptions(split="val"),))
    pool = Mixture(config.sources, tiny_shards)
    assert learned_beside(config, pool) == pool.sources[:1]
    elsewhere = dataclasses.replace(config, validation=(SourceOptions(root="elsewhere"),))
    assert learned_beside(elsewhere, pool) == pool.sources


def test_learning_rate_warms_up_and_falls() -> None:
    config = TrainConfig(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.03


def test_freezing_table_counts_every_parameter() -> None:
    model = tiny_model()
    apply_freezing(model, "semantic")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    last = freezing_table(model).splitlines()[-1].replace(",", "").split()
    assert last == [
        "total",
        str(trained),
        str(sum(p.numel() for p in model.parameters()) - trained),
    ]


def test_damaged_and_missing_shards_are_named(pool: ClipPool, tmp_path: Path) -> None:
    path = tmp_path / "train-00000.tar"
    path.write_bytes(pool.paths[0].read_bytes()[:5000])
    with pytest.raises(ValueError, match="train-00000"):
        Shard(path)
    with pytest.raises(FileNotFoundError, match="no val shards"):
        shard_paths(tmp_path, "val")
    with pytest.raises(ValueError, match="windows of 9 frames"):
        draw_batch(pool, 1, 9, torch.Generator(), None)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_pixel_is_looked_at_in_turn(stride: int) -> None:
    seen = torch.zeros(1, 1, 12, 12, dtype=torch.int64)
    for step in range(stride**2):
        seen[picked_pixels(stride, step)] += 1
    assert bool((seen == 1).all())
