# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One line of a comparison with one seed: train its phases, then measure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

from ..config import TrainConfig
from ..datasets.batch import WindowBatch, draw_batch
from ..datasets.loading import step_generator
from ..evaluate.examine import Examiner
from ..evaluate.geometry_run import GeometryOptions, run_geometry
from ..run.checkpoints import latest_checkpoint, stored_meta
from ..run.export import export_model
from ..run.precision import recompute_layers
from ..run.resume import check_same_run
from ..run.run import build_stage
from ..run.start import Start, Started, base_of, runs_of, start_model
from ..run.trainer import Trainer
from ..run.weights import load_averaged
from ..stages.freeze import trained_in
from ..stages.lora import load_adapted
from ..stages.semantic_stage import SemanticStage
from ..stages.stage import StageLoss, prepared
from .clips import SmallClips
from .matching import measured_categories, measured_matches
from .single_encoder import share_encoder
from .study import Variant

__all__ = ["Data", "run_variant"]

_LOG = logging.getLogger(__name__)
_EVAL_SEED = 7
_LAST = 0.1


@dataclasses.dataclass(frozen=True)
class Data:
    """Clips of a comparison.

    Args:
        train, val: Clips of different rooms.
        windows: Validation windows of each measurement.
        frames: Of a validation window.
    """

    train: SmallClips
    val: SmallClips
    windows: int = 100
    frames: int = 3

    def batches(self, config: TrainConfig, step: int, generator: torch.Generator) -> WindowBatch:
        """The batch of a step, which hangs on the seed and the step alone."""
        index = int(torch.randint(len(config.windows), (), generator=generator))
        clips, frames = config.windows[index]
        return draw_batch(self.train, clips, frames, generator, config.augment, config.views)

    def held_out(self) -> Iterator[WindowBatch]:
        """Windows of one clip each, the same ones for every line."""
        generator = torch.Generator().manual_seed(_EVAL_SEED)
        for _ in range(self.windows):
            yield draw_batch(self.val, 1, self.frames, generator, None)


def run_variant(
    variant: Variant, seed: int, data: Data, folder: Path, export: Path | None = None
) -> dict[str, float]:
    """Train and measure; a run that was broken off goes on from its newest checkpoint.

    Args:
        variant: The line.
        seed: Of start values and batches.
        data: Of the comparison.
        folder: Checkpoints and logs. A phase that another line has had too, with the same
            seed behind the same phases, is not trained again.
        export: Model folder to write at the end.

    Returns:
        Numbers by name: the end of each training (`phase.train_...`), geometry and questions
        on validation windows, frames and seconds of training.
    """
    measured: dict[str, float] = {}
    phases: list[_Phase] = []
    done = ""
    started = time.monotonic()
    for phase, template in variant.phases:
        config = dataclasses.replace(template, seed=seed)
        begun = _begun(config, variant, phases)
        done = f"{done} {variant.shared_encoder}{variant.start} {dataclasses.asdict(config)}"
        run = folder / hashlib.sha256(done.encode()).hexdigest()[:12]
        trainer = _trainer(begun, config, data, run, variant)
        trainer.run()
        measured |= {f"{phase}.train_{name}": end for name, end in _last_reports(run).items()}
        newest = latest_checkpoint(run)
        assert newest is not None, run
        phases.append(_Phase(phase, config, newest))
    final = _begun(config, variant, phases)
    model, tokenizer = final.model.eval(), final.tokenizer
    seconds = time.monotonic() - started
    if export is not None:
        runs: dict[str, dict[str, Any]] = {
            one.config.stage: stored_meta(one.checkpoint) for one in phases
        }
        before = runs_of(Path(variant.start)) if variant.start else {}
        export_model(export, model, tokenizer, runs, before)
    measured |= _geometry(model, tokenizer, data)
    if config.stage != "geometry":
        measured |= _questions(model, tokenizer, config, data)
    if config.stage == "gasp":
        measured |= measured_matches(model, tokenizer, data.val.clips, config.gasp.side)
        if config.gasp.side:
            own = measured_matches(model, tokenizer, data.val.clips)
            measured |= {f"own_side_{name}": value for name, value in own.items()}
        measured |= measured_categories(model, tokenizer, data.val, data.windows, data.frames)
    return measured | {"seconds": seconds, "parameters": float(_count(model))}


@dataclasses.dataclass(frozen=True)
class _Phase:
    """A training that is done."""

    name: str
    config: TrainConfig
    checkpoint: Path


def _begun(config: TrainConfig, variant: Variant, phases: Sequence[_Phase]) -> Started:
    """A fresh model with what each phase has trained so far, in their order."""
    folders = (resolve_folder(variant.start),) if variant.start else ()
    start = Start(config.seed, folders)
    model, tokenizer, base, sources = start_model(config.model, start)
    assert base is not None
    if variant.shared_encoder:
        share_encoder(model)
        encoder = sources["vit.patch_embed.weight"]
        sources = {name: sources.get(name, encoder) for name, _ in model.named_parameters()}
    for phase in phases:
        before = phase.config
        if before.stage == "gasp":
            tokens = before.gasp.geometric_tokens
            load_adapted(model, phase.checkpoint, before.lora, base, tokens)
            trained = set(sources)
        else:
            trained = _trained(model, before, variant)
            load_averaged(model, phase.checkpoint, trained)
        sources |= dict.fromkeys(trained, f"of the phase {phase.name}")
        base = base_of(model, tokenizer, sources, start)
    return Started(model, tokenizer, base, sources)


def _trained(model: G2VLM, config: TrainConfig, variant: Variant) -> set[str]:
    """Names of the weights that a phase trains."""
    trained = trained_in(model, config.stage)
    if variant.shared_encoder and config.stage not in ("geometry", "gasp"):
        # Its blocks belong to the geometry; what joins their patches for words does not.
        mine = {id(parameter) for parameter in model.vit.merger.parameters()}
        trained |= {name for name, p in model.named_parameters() if id(p) in mine}
    return trained


def _trainer(
    begun: Started, config: TrainConfig, data: Data, folder: Path, variant: Variant
) -> Trainer:
    """The trainer of a phase, at the step of its newest checkpoint."""
    model = begun.model
    trained = _trained(model, config, variant)
    with torch.random.fork_rng():
        stage = build_stage(config, model, begun.tokenizer)
    if config.stage != "gasp":  # which trains adapters
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
    if config.recompute:
        recompute_layers(stage)

    def loss_of_step(step: int) -> list[StageLoss]:
        batch = data.batches(config, step, step_generator(config, step))
        rngs = [np.random.default_rng([config.seed, step, row]) for row in range(len(batch.scenes))]
        return [stage(prepared(batch, stage.preparer, rngs), step)]

    assert begun.base is not None
    state: dict[str, object] = {"base": dataclasses.asdict(begun.base)}
    trainer = Trainer(stage, config, folder, loss_of_step, lambda: state, None, stage.rate_of)
    newest = latest_checkpoint(folder)
    if newest is not None:
        plain = json.loads(json.dumps(dataclasses.asdict(config)))
        meta = stored_meta(newest)
        was = {**meta["config"], "base": meta.get("base")}
        check_same_run(newest, was, {**plain, **state})
        trainer.resume()
    return trainer


def _last_reports(run: Path) -> dict[str, float]:
    """Means over the last log entries of a run: the last tenth, at least one."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    last = [json.loads(line) for line in lines[-max(1, round(_LAST * len(lines))) :]]
    names = set.intersection(*(set(entry) for entry in last))
    return {name: float(np.mean([entry[name] for entry in last])) for name in sorted(names)}


def _geometry(model: G2VLM, tokenizer: Tokenizer, data: Data) -> dict[str, float]:
    """Metrics of `g2vlm evaluate geometry`, on windows that span their clips."""
    prompts = prompt_ids(tokenizer, model.config.tokens)
    mean_map = data.train.mean_depth_map()
    examiner = Examiner(model, prompts, mean_map, mean_map)
    shortest = min(len(clip) for clip in data.val.clips)
    options = GeometryOptions(
        frames=(data.frames,), stride=max(1, (shortest - 1) // max(1, data.frames - 1)),
        windows=data.windows, refined=0, seed=_EVAL_SEED, shown=0,
    )  # fmt: skip
    (table,) = run_geometry(examiner, data.val.clips, options)
    rows = {row["row"]: row["metrics"] for row in table.summary()}
    wanted = {
        "abs_rel": ("head", "abs_rel"),
        "abs_rel_mean_map": ("mean-depth map", "abs_rel"),
        "delta_125": ("head", "delta_125"),
        "rotation_deg": ("head", "rotation_median_deg"),
        "rotation_deg_identity": ("identity motion", "rotation_median_deg"),
        "rra5": ("head", "rra5"),
        "rra5_identity": ("identity motion", "rra5"),
        "rta30": ("head", "rta30"),
        "auc30": ("head", "auc30"),
        "matched": ("head", "matched"),
        "matched_standing_still": ("head", "matched_still"),
    }
    found = {name: rows[row].get(key) for name, (row, key) in wanted.items()}
    return {name: math.nan if one is None else one["value"] for name, one in found.items()}


def _questions(
    model: G2VLM, tokenizer: Tokenizer, config: TrainConfig, data: Data
) -> dict[str, float]:
    """Cross-entropy and share of right answers, teacher-forced, on the same questions for all.

    Of all types and in fp32, whatever a line trains with: lines are compared by them.
    """
    stage = SemanticStage(model, tokenizer, config.questions)
    reports = []
    for index, batch in enumerate(data.held_out()):
        rngs = [np.random.default_rng([_EVAL_SEED, index])]
        reports.append(stage(prepared(batch, stage.preparer, rngs)).report)
    return {
        "answer_loss": float(np.mean([report["loss"] for report in reports])),
        "answers_right": float(np.mean([report["right"] for report in reports])),
    }


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
