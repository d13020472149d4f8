"""One run of a stage: weights, data, processes, training, evaluation, and the model at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer

from .batch import ClipPool, WindowBatch, draw_batch
from .checkpoints import stored_meta
from .config import TrainConfig
from .datasets.mixture import Mixture
from .distribution import Processes
from .evaluate.geometry import evaluate_geometry, mean_log_depth, windows_of
from .evaluate.spatial_qa import evaluate_questions
from .export import export_model, put_averaged
from .freeze import apply_freezing, freezing_table
from .gasp import GaspStage, GaspSupervision
from .geometry_stage import GeometryStage, StageLoss
from .joint_stage import JointStage
from .lora import adapt_stage
from .parallel import parallel_stage
from .precision import recompute_layers
from .semantic_stage import SemanticStage
from .start import Start, runs_of, start_model
from .synthetic.questions import TASKS
from .trainer import LossOfStep, Trainer, step_generator

__all__ = ["RunOptions", "build_stage", "train"]

_LOG = logging.getLogger(__name__)
_EVAL_SIZE = (84, 112)
_EVAL_SEED = 1
_MEAN_SHARDS = 4


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes.

    Args:
        data: Folder of shards.
        out: Folder of the run, which is continued.
        start: Weights to begin with.
        export: Model folder to write at the end.
        until: Step to stop at, before the end of the schedule.
        blind: Ask questions without pictures: the question-only baseline.
    """

    data: Path
    out: Path
    start: Start
    export: Path | None = None
    until: int | None = None
    blind: bool = False


def build_stage(
    config: TrainConfig, model: G2VLM, tokenizer: Tokenizer, blind: bool = False
) -> nn.Module:
    """The module whose call gives the loss of a stage; freezes what the stage does not train.

    The stage gasp puts its adapters on the model.

    Raises:
        ValueError: Options of the stage that do not fit the model.
    """
    apply_freezing(model, config.stage)
    torch.manual_seed(config.seed)  # of the heads that only training has
    if config.stage == "geometry":
        return GeometryStage(model, config)
    semantic = semantic_stage(config, model, tokenizer, blind)
    if config.stage == "gasp":
        if blind:
            raise ValueError("--blind leaves out the pictures, and the stage gasp matches them")
        layers = GaspStage.heads_of(model, config.gasp)
        supervision = GaspSupervision(layers, config.gasp)
        adapt_stage(model, config.lora, config.gasp.geometric_tokens)
        return GaspStage(semantic, layers, supervision, config)
    if config.stage == "joint":
        return JointStage(GeometryStage(model, config), semantic)
    return semantic


def semantic_stage(
    config: TrainConfig, model: G2VLM, tokenizer: Tokenizer, blind: bool
) -> SemanticStage:
    """The semantic half of a stage's loss."""
    return SemanticStage(
        model, tokenizer, config.questions, blind, config.grounding, config.probing,
        geometry_gradients=config.stage in ("spatial", "joint"), precision=config.precision,
        tasks=config.tasks or TASKS,
    )  # fmt: skip


class Batches:
    """This process's share of the batch of each step; on a GPU the next one is drawn meanwhile."""

    def __init__(self, config: TrainConfig, pool: Mixture, processes: Processes) -> None:
        self.config, self.pool, self.processes = config, pool, processes
        self._next: tuple[int, Future[WindowBatch]] | None = None
        ahead = processes.device.type == "cuda"
        self._thread = ThreadPoolExecutor(1) if ahead else None

    def of_step(self, step: int, generator: torch.Generator) -> tuple[WindowBatch, range]:
        """The share, and the numbers of its windows in the whole batch."""
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            batch = self._draw(step, generator)
        if self._thread is not None:
            later = step_generator(self.config, step + 1)
            self._next = (step + 1, self._thread.submit(self._draw, step + 1, later))
        return self.processes.share(batch), self.processes.windows(len(batch.scenes))

    def _draw(self, step: int, generator: torch.Generator) -> WindowBatch:
        config = self.config
        if step % config.refresh_steps == 0:
            self.pool.refresh()
        clips, frames = config.windows[
            int(torch.randint(len(config.windows), (), generator=generator))
        ]
        return draw_batch(self.pool, clips, frames, generator, config.augment, config.views)


def train(config: TrainConfig, options: RunOptions, processes: Processes) -> None:
    """Train a stage, or go on with it.

    Raises:
        FileNotFoundError: No data, or no run to start from.
        ValueError: Weights or a checkpoint that do not fit.
        FloatingPointError, OSError: See `Trainer.run`.
    """
    model, tokenizer = start_model(config.model, options.start, on_meta=not processes.first)
    stage = build_stage(config, model, tokenizer, options.blind)
    pool = Mixture(config.sources, options.data)
    if processes.first:
        _LOG.info("%s\n%d shards", freezing_table(model), len(pool.shards))
    if config.recompute:
        recompute_layers(stage)
    trainer = Trainer(
        stage, config, options.out, _losses(config, stage, Batches(config, pool, processes)),
        lambda: {"shards": pool.names, **_origin(options.start)},
        processes,
        stage.rate_of if isinstance(stage, GaspStage) else None,
    )  # fmt: skip
    _resume(trainer, pool, options.start)
    trainer.run(_examiner(trainer, pool, options), options.until)
    if options.export is not None:
        _export(trainer, options)


def _losses(config: TrainConfig, stage: nn.Module, batches: Batches) -> LossOfStep:
    called = parallel_stage(stage, batches.processes, config.parallel)

    def loss_of_step(step: int, generator: torch.Generator) -> StageLoss:
        batch, windows = batches.of_step(step, generator)
        rngs = [np.random.default_rng([config.seed, step, window]) for window in windows]
        inputs: dict[str, tuple[Any, ...]] = {"geometry": (step,), "semantic": (rngs,)}
        inputs["spatial"] = inputs["semantic"]
        loss: StageLoss = called(batch, *inputs.get(config.stage, (step, rngs)))
        return loss

    return loss_of_step


def _origin(start: Start) -> dict[str, object]:
    return {} if start.checkpoint is None else {"geometry_from": start.checkpoint.name}


def _resume(trainer: Trainer, pool: Mixture, start: Start) -> None:
    meta = trainer.resume()
    began, now = meta.get("geometry_from"), _origin(start).get("geometry_from")
    if began is not None and now is not None and began != now:
        raise ValueError(
            f"{trainer.folder} began with {began} of {start.geometry}, whose newest checkpoint "
            f"is {now}; give a folder that still holds {began}, or another --out"
        )
    shards = meta.get("shards")
    if isinstance(shards, list) and trainer.step % trainer.config.refresh_steps:
        pool.pin([str(name) for name in shards])


def _averaged(trainer: Trainer, options: RunOptions) -> tuple[G2VLM, Tokenizer] | None:
    """The model with the averaged weights, in the first process."""
    average = trainer.whole_average()
    if not trainer.processes.first:
        return None
    config = trainer.config
    model, tokenizer = start_model(config.model, options.start)
    adapters = None
    if config.stage == "gasp":
        adapters = adapt_stage(model, config.lora, config.gasp.geometric_tokens)
    put_averaged(model, average, "the running average")
    if adapters is not None:
        adapters.merge()
    return model.eval(), tokenizer


def _examiner(
    trainer: Trainer, pool: Mixture, options: RunOptions
) -> Callable[[int, dict[str, float]], None] | None:
    """Evaluates the averaged weights on validation windows every so often; None never does."""
    config = trainer.config
    if config.eval_windows == 0:
        return None
    if trainer.processes.first:
        validation = ClipPool(options.data, "val")
        mean_map = mean_log_depth(pool, _MEAN_SHARDS, _EVAL_SIZE)

    def on_step(step: int, report: dict[str, float]) -> None:
        if step % config.eval_steps and step != config.steps:
            return
        examinee = _averaged(trainer, options)
        if examinee is None:
            return
        model, tokenizer = examinee
        if config.stage != "semantic":
            windows = windows_of(validation, config.eval_windows, 4, _EVAL_SEED)
            _LOG.info("step %d\n%s", step, evaluate_geometry(model, windows, mean_map).table())
        if config.stage != "geometry":
            stage = semantic_stage(config, model, tokenizer, options.blind)
            result = evaluate_questions(stage, validation, config.eval_windows, 3, _EVAL_SEED)
            _LOG.info("step %d\n%s", step, result.table())

    return on_step


def _export(trainer: Trainer, options: RunOptions) -> None:
    """Write the model folder: averages of this run, and the start's weights elsewhere."""
    assert options.export is not None
    averaged = _averaged(trainer, options)
    newest = trainer.save()
    if averaged is None:
        return
    runs: dict[str, dict[str, Any]] = {trainer.config.stage: stored_meta(newest)}
    if options.start.checkpoint is not None:
        runs["geometry"] = stored_meta(options.start.checkpoint)
    before: dict[str, str] = {}
    for folder in options.start.folders:
        before |= runs_of(folder)
    export_model(options.export, *averaged, runs, before)
    _LOG.info("wrote %s", options.export)
