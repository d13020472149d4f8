# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One run of a stage: weights, data, processes, training, evaluation, and the model at the end."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g2vlm_model.interface.command_line import reason
from g2vlm_model.interface.progress import Progress, progress
from g2vlm_model.interface.whole_files import check_writable, only_writer
from g2vlm_model.model import G2VLM
from g2vlm_model.model_folder import WEIGHTS_FILE
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

from ..config import TrainConfig
from ..config_file import merged, without_constants
from ..datasets.batch import WindowBatch
from ..datasets.loading import Batches
from ..datasets.mixture import Mixture
from ..gasp.gasp import GaspStage, GaspSupervision
from ..stages.freeze import apply_freezing, freezing_table
from ..stages.geometry_stage import GeometryStage
from ..stages.joint_stage import JointStage
from ..stages.lora import put_adapters
from ..stages.semantic_stage import SemanticStage
from ..stages.stage import Stage, StageLoss
from ..synthetic.questions import TASKS
from .checkpoints import checkpoint_path, latest_checkpoint, stored_meta
from .distribution import Processes, counting, divided_by, of_the_first
from .export import export_model, put_averaged
from .parallel import parallel_stage, send_gradients
from .precision import compile_layers, recompute_layers
from .resume import check_same_run
from .runlog import Table
from .start import Base, Start, runs_of, source_of, start_model
from .throughput import Operations
from .trainer import LossOfStep, Trainer
from .validation import Validation

__all__ = [
    "Run",
    "RunOptions",
    "averaged_model",
    "build_stage",
    "prepared_run",
    "train",
]

_LOG = logging.getLogger(__name__)


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
        allow_change: Keys of the config in which a run that is continued may differ from what it
            began with; "base" is its first weights (`resume.check_same_run`).
    """

    data: Path
    out: Path
    start: Start
    export: Path | None = None
    until: int | None = None
    blind: bool = False
    allow_change: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run that is ready for its next step.

    Args:
        trainer: At the step of the newest checkpoint.
        pool: Its data.
        base: What it began with.
    """

    trainer: Trainer
    pool: Mixture
    base: Base


def build_stage(
    config: TrainConfig, model: G2VLM, tokenizer: Tokenizer, blind: bool = False
) -> Stage:
    """The module whose call gives the loss of a stage; freezes what the stage does not train.

    A run of adapters puts them on the model.

    Raises:
        ValueError: Options of the stage that do not fit the model.
    """
    apply_freezing(model, config.stage)
    torch.manual_seed(config.seed)  # of the heads that only training has
    prompts = prompt_ids(tokenizer, model.config.tokens)
    if blind and config.stage == "gasp":
        raise ValueError("--blind leaves out the pictures, and the stage gasp matches them")
    layers = GaspStage.heads_of(model, config.gasp) if config.stage == "gasp" else []
    supervision = GaspSupervision(layers, config.gasp) if layers else None
    put_adapters(model, config)
    if config.stage == "geometry":
        return GeometryStage(model, config, prompts)
    semantic = semantic_stage(config, model, tokenizer, blind)
    if supervision is not None:
        return GaspStage(semantic, layers, supervision, config)
    if config.stage == "joint":
        return JointStage(GeometryStage(model, config, prompts), semantic)
    return semantic


def semantic_stage(
    config: TrainConfig, model: G2VLM, tokenizer: Tokenizer, blind: bool
) -> SemanticStage:
    """The semantic half of a stage's loss."""
    return SemanticStage(
        model, tokenizer, config.questions, blind, config.grounding, config.probing,
        geometry_gradients=config.stage in ("spatial", "joint"), precision=config.precision,
        tasks=config.tasks or TASKS, context=config.context, reason=config.reason,
    )  # fmt: skip


def train(config: TrainConfig, options: RunOptions, processes: Processes) -> None:
    """Train a stage, or go on with it.

    Raises:
        FileNotFoundError: No data, or no run to start from.
        ValueError: Weights or a checkpoint that do not fit.
        BlockingIOError: Another run writes to the folder.
        NotADirectoryError: A file is where the model folder is to be written.
        FloatingPointError, OSError: See `Trainer.run`.
    """
    with ExitStack() as held:
        if processes.first:
            options.out.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(options.out))
            if options.export is not None:
                check_writable(options.export / WEIGHTS_FILE)
        run = prepared_run(config, options, processes)
        if processes.first:
            shown = held.enter_context(_shown(run.trainer, options.until))
        examine = _examiner(run, options)

        def on_step(step: int, report: dict[str, float]) -> list[Table]:
            if processes.first:
                shown.at(step)
            return [] if examine is None else examine(step, report)

        run.trainer.run(on_step, options.until)
        if options.export is not None:
            _export(run, options)


def _shown(trainer: Trainer, until: int | None) -> AbstractContextManager[Progress]:
    end = trainer.config.steps if until is None else min(until, trainer.config.steps)
    return progress(end, "training", "steps", trainer.step)


def prepared_run(config: TrainConfig, options: RunOptions, processes: Processes) -> Run:
    """Everything ahead of the first step: weights, stage, data, and what the folder holds already.

    Raises:
        FileNotFoundError: No data, or no run to start from.
        ValueError: Weights or a checkpoint that do not fit.
    """
    begun = start_model(config.model, options.start, on_meta=not processes.first)
    base = of_the_first(begun.base)
    assert base is not None
    stage = build_stage(config, begun.model, begun.tokenizer, options.blind)
    pool = Mixture(config.sources, options.data, config.views)
    pool.check_sizes(config.model.patch_size, config.model.dino_width)
    if processes.first:
        _LOG.info("%s\n%d shards", freezing_table(begun.model), len(pool.shards))
        for language in pool.language:
            _LOG.info("%d conversations of %s", len(language), language.name)
    if config.frozen == "bf16":
        for parameter in stage.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    if config.compile:
        compile_layers(stage)
    if config.recompute:
        recompute_layers(stage)
    state: dict[str, Any] = {"base": dataclasses.asdict(base), "blind": options.blind}
    if pool.language:
        state["conversations"] = pool.conversations
    batches = Batches(config, pool, processes, stage.preparer)
    trainer = Trainer(
        stage, config, options.out, _losses(config, stage, batches),
        lambda: {"shards": batches.shards_of(trainer.step), **state},
        processes, stage.rate_of,
    )  # fmt: skip
    state["changes"] = _resume(trainer, pool, state, options.allow_change)
    return Run(trainer, pool, base)


def _losses(config: TrainConfig, stage: Stage, batches: Batches) -> LossOfStep:
    """The losses of steps, a part after the other where `accumulate` says so."""
    called = parallel_stage(stage, batches.processes, config.parallel)
    operations = Operations()

    def loss_of_step(step: int) -> Iterator[StageLoss]:
        started = time.monotonic()
        parts = batches.of_step(step)
        waited = time.monotonic() - started
        kinds = [(stage.kind_of(step), tuple(part.rgb_BN3HW.shape)) for part in parts]
        known = [operations.of(kind) for kind in kinds]
        spent = {"data_s": waited}
        if None not in known:
            spent["tflop"] = sum(filter(None, known)) / 1e12
        with ExitStack() as held:
            begin: Callable[[], object] = bool
            if len(parts) > 1:
                counts = [_counts(stage, part, step) for part in parts]
                begin = held.enter_context(divided_by(counts))
            for number, part in enumerate(parts, start=1):
                send_gradients(called, number == len(parts))
                begin()
                with operations.counted(kinds[number - 1]):
                    loss: StageLoss = called(part, step)
                    report = {**loss.report, **spent}
                    yield loss._replace(total=loss.total / len(parts), report=report)

    return loss_of_step


@torch.no_grad()
def _counts(stage: Stage, batch: WindowBatch, step: int) -> list[Tensor]:
    """What the means of a part's loss are to be divided by; costs a forward pass."""
    with counting() as counts:
        stage(batch, step)
    return counts


def _resume(
    trainer: Trainer, pool: Mixture, state: Mapping[str, Any], allowed: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Go on from the newest checkpoint; returns what was changed since the run began, by step."""
    newest = latest_checkpoint(trainer.folder)
    if newest is None:
        return []
    meta = stored_meta(newest)
    config = json.loads(json.dumps(dataclasses.asdict(trainer.config)))
    # What its config lacks came later; its default is what the run did.
    defaults = json.loads(json.dumps(dataclasses.asdict(TrainConfig(model=trainer.config.model))))
    stored = merged(defaults, without_constants(meta["config"]))
    was = {"blind": False, **stored, **{k: meta[k] for k in state if k in meta}}
    changed = check_same_run(newest, was, {**config, **state}, allowed)
    trainer.resume()
    shards = meta.get("shards")
    same = "sources" not in changed  # else new ones have no shard that the checkpoint names
    if same and isinstance(shards, list) and trainer.step % trainer.config.refresh_steps:
        pool.pin([str(name) for name in shards])
    changes: list[dict[str, Any]] = meta.get("changes", [])
    if changed:
        _LOG.warning("goes on from step %d with changes: %s", trainer.step, changed)
        changes = [*changes, {"step": trainer.step, "changed": changed}]
    return changes


def averaged_model(run: Run, options: RunOptions) -> tuple[G2VLM, Tokenizer] | None:
    """The model with the averaged weights, in the first process.

    Raises:
        ValueError: What the run began with was changed since.
    """
    trainer, config = run.trainer, run.trainer.config
    average = trainer.whole_average()
    if not trainer.processes.first:
        return None
    model, tokenizer, base, _ = start_model(config.model, options.start)
    if base is None or base.digest != run.base.digest:
        raise ValueError(
            f"the weights that {trainer.folder} began with were changed since: they were "
            f"{run.base}, they are {base}; put back what was there"
        )
    apply_freezing(model, config.stage)
    adapters = put_adapters(model, config)
    put_averaged(model, average, "the running average")
    if adapters is not None:
        adapters.merge()
    return model.eval(), tokenizer


def _examiner(
    run: Run, options: RunOptions
) -> Callable[[int, dict[str, float]], list[Table]] | None:
    """Evaluates the averaged weights on validation windows every so often; None never does."""
    config, processes = run.trainer.config, run.trainer.processes
    if config.eval_windows == 0:
        return None
    if processes.first:
        validation = Validation(config, options.data, run.pool)

    def on_step(step: int, report: dict[str, float]) -> list[Table]:
        if step % config.eval_steps and step != config.steps:
            return []
        examinee = averaged_model(run, options)
        if examinee is None:
            return []
        model, tokenizer = examinee
        model.to(processes.device)
        tables: list[Table | None] = []
        if config.stage != "semantic":
            prompts = prompt_ids(tokenizer, model.config.tokens)
            tables.append(validation.geometry(model, prompts))
        if config.stage != "geometry":
            stage = semantic_stage(config, model, tokenizer, options.blind)
            tables.append(validation.questions(stage))
        said = [table for table in tables if table is not None]
        for table in said:
            _LOG.info("step %d, %s\n%s", step, table.title, table.text)
        return said

    return on_step


def _export(run: Run, options: RunOptions) -> None:
    """Write the model folder: averages of this run, and the start's weights elsewhere."""
    assert options.export is not None
    averaged = averaged_model(run, options)
    newest = checkpoint_path(options.out, run.trainer.step)
    if not newest.exists():
        newest = run.trainer.save()
    if averaged is None:
        return
    runs: dict[str, dict[str, Any]] = {run.trainer.config.stage: stored_meta(newest)}
    if options.start.checkpoint is not None:
        runs["geometry"] = stored_meta(options.start.checkpoint)
    before: dict[str, str] = {}
    for folder in options.start.folders:
        if source_of(folder) in run.base.sources:  # else others replaced all of its weights
            before |= runs_of(folder)
    try:
        export_model(options.export, *averaged, runs, before)
    except OSError as error:
        raise OSError(
            f"{reason(error)}; the run is whole in {newest}: the same command, with this --export "
            "or another, trains nothing again and writes the model"
        ) from error
    _LOG.info("wrote %s", options.export)
