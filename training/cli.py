"""`g2vlm train --config nano --data DIR --out RUN`: train a stage, or continue it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from g2vlm_model.model import G2VLM

from .batch import ClipPool, WindowBatch, draw_batch
from .checkpoints import latest_checkpoint, load_state
from .config import TrainConfig, load_config
from .evaluate.geometry import evaluate_geometry, mean_log_depth, windows_of
from .evaluate.spatial_qa import evaluate_questions
from .export import export_model, fresh_model, load_averaged, put_averaged
from .freeze import apply_freezing, freezing_table
from .geometry_stage import GeometryStage, StageLoss
from .semantic_stage import SemanticStage
from .trainer import Trainer

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_EVAL_SIZE = (84, 112)
_EVAL_SEED = 1

Batcher = Callable[[int, torch.Generator], WindowBatch]


def main(argv: list[str]) -> int:
    """Run `g2vlm train`; returns the exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    if args.steps:
        config = dataclasses.replace(config, steps=args.steps)
    if config.stage == "semantic" and args.geometry is None:
        raise SystemExit("the semantic stage needs --geometry RUN, the folder of a geometry run")
    trainer = _geometry(config, args) if config.stage == "geometry" else _semantic(config, args)
    if args.export:
        _export(config, args, trainer)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="g2vlm train", description=__doc__)
    parser.add_argument("--config", default="nano", help="name of a shipped config, or a file")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; continued")
    parser.add_argument("--geometry", type=Path, help="geometry run whose weights are frozen")
    parser.add_argument("--export", type=Path, help="write a model folder at the end")
    parser.add_argument("--steps", type=int, help="override the length of the run")
    parser.add_argument("--until", type=int, help="stop early, at this step of the schedule")
    parser.add_argument("--blind", action="store_true", help="semantic: train without pictures")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    return parser


def _batcher(config: TrainConfig, pool: ClipPool) -> Batcher:
    def batch_of_step(step: int, generator: torch.Generator) -> WindowBatch:
        if step % config.refresh_steps == 0:
            pool.refresh()
        index = int(torch.randint(len(config.windows), (), generator=generator))
        clips, frames = config.windows[index]
        return draw_batch(pool, clips, frames, generator, config.augment)

    return batch_of_step


def _resume(trainer: Trainer, pool: ClipPool, config: TrainConfig) -> None:
    meta = trainer.resume()
    shards = meta.get("shards")
    if isinstance(shards, list) and trainer.step % config.refresh_steps:
        pool.pin([str(name) for name in shards])


def _geometry(config: TrainConfig, args: argparse.Namespace) -> Trainer:
    model, _ = fresh_model(config.model, config.seed)
    apply_freezing(model, config.stage)
    stage = GeometryStage(model, config)
    pool, validation = ClipPool(args.data, "train"), ClipPool(args.data, "val")
    _LOG.info("%s\n%d shards", freezing_table(model), len(pool.paths))
    batch_of_step = _batcher(config, pool)

    def loss_of_step(step: int, generator: torch.Generator) -> StageLoss:
        loss: StageLoss = stage(batch_of_step(step, generator), step)
        return loss

    trainer = Trainer(
        stage, config, args.out, loss_of_step, lambda: {"shards": [p.name for p in pool.paths]}
    )
    _resume(trainer, pool, config)
    mean_map = mean_log_depth(pool, 4, _EVAL_SIZE)

    def on_step(step: int, report: dict[str, float]) -> None:
        if step % config.eval_steps == 0 or step == config.steps:
            averaged, _ = fresh_model(config.model, config.seed)
            put_averaged(averaged, trainer.average, "the running average")
            windows = windows_of(validation, config.eval_windows, 4, _EVAL_SEED)
            report_now = evaluate_geometry(averaged.eval(), windows, mean_map)
            _LOG.info("step %d\n%s", step, report_now.table())

    trainer.run(on_step, args.until)
    return trainer


def _frozen_geometry(model: G2VLM, run: Path) -> Path:
    newest = latest_checkpoint(run)
    if newest is None:
        raise FileNotFoundError(f"{run} holds no checkpoint of a geometry run")
    load_averaged(model, newest)
    return newest


def _semantic(config: TrainConfig, args: argparse.Namespace) -> Trainer:
    model, tokenizer = fresh_model(config.model, config.seed)
    _LOG.info("geometry of %s", _frozen_geometry(model, args.geometry))
    apply_freezing(model, config.stage)
    stage = SemanticStage(model, tokenizer, config.questions, args.blind, config.grounding)
    pool, validation = ClipPool(args.data, "train"), ClipPool(args.data, "val")
    _LOG.info("%s\n%d shards", freezing_table(model), len(pool.paths))
    batch_of_step = _batcher(config, pool)

    def loss_of_step(step: int, generator: torch.Generator) -> StageLoss:
        batch = batch_of_step(step, generator)
        rngs = [np.random.default_rng([config.seed, step, row]) for row in range(len(batch.scenes))]
        loss: StageLoss = stage(batch, rngs)
        return loss

    trainer = Trainer(
        stage, config, args.out, loss_of_step, lambda: {"shards": [p.name for p in pool.paths]}
    )
    _resume(trainer, pool, config)

    def on_step(step: int, report: dict[str, float]) -> None:
        if step % config.eval_steps == 0 or step == config.steps:
            averaged, _ = fresh_model(config.model, config.seed)
            _frozen_geometry(averaged, args.geometry)
            put_averaged(averaged, trainer.average, "the running average")
            examinee = SemanticStage(averaged.eval(), tokenizer, config.questions, args.blind)
            result = evaluate_questions(examinee, validation, config.eval_windows, 3, _EVAL_SEED)
            _LOG.info("step %d\n%s", step, result.table())

    trainer.run(on_step, args.until)
    return trainer


def _export(config: TrainConfig, args: argparse.Namespace, trainer: Trainer) -> None:
    """Write the model folder: this run's averages, and the frozen half's."""
    model, tokenizer = fresh_model(config.model, config.seed)
    runs = {}
    if args.geometry is not None:
        newest = _frozen_geometry(model, args.geometry)
        runs["geometry"] = load_state(newest).meta
    put_averaged(model, trainer.average, str(args.out))
    runs[config.stage] = load_state(trainer.save()).meta
    export_model(args.export, model, tokenizer, runs)
    _LOG.info("wrote %s", args.export)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
