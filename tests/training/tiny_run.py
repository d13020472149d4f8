"""Started by `torchrun` in tests: trains the tiny model in each way and writes the losses.

    torchrun --nproc-per-node 2 -m tests.training.tiny_run SHARDS OUT WAY:STAGE ...

For each way it makes three steps, saves, makes two more, then starts anew, resumes, and makes
the same two steps again. OUT/2-WAY-STAGE.json holds both, OUT/2-WAY-STAGE the checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from g2vlm_training.batch import ClipPool, draw_batch
from g2vlm_training.config import TrainConfig
from g2vlm_training.distribution import Processes, joined_processes
from g2vlm_training.gasp import GaspOptions, GaspStage, LoraOptions
from g2vlm_training.geometry_stage import StageLoss
from g2vlm_training.losses import LossOptions
from g2vlm_training.parallel import parallel_stage
from g2vlm_training.run import build_stage
from g2vlm_training.tokens import nano_tokenizer
from g2vlm_training.trainer import Trainer

from tests.training.tiny import tiny_model

CONFIG = TrainConfig(
    steps=6,
    windows=((3, 3),),
    warmup=2,
    lr=3e-3,
    log_steps=2,
    save_steps=3,
    seed=5,
    questions=2,
    gasp=GaspOptions(descriptor_width=16, grids=(8,), language=0.4, queries=1.0),
    lora=LoraOptions(rank=4),
    loss=LossOptions(camera_weight=1.0, translation_weight=20.0, normal_weight=0.1),
)
BEFORE, AFTER = 3, 2


def tiny_trainer(
    pool: ClipPool, folder: Path, processes: Processes, way: str = "ddp", kind: str = "geometry"
) -> Trainer:
    """A trainer of the tiny model, three windows a step; only the first process has weights."""
    config = dataclasses.replace(CONFIG, stage=kind, parallel=way)  # type: ignore[arg-type]
    model = tiny_model(seed=config.seed)
    if not processes.first:
        model.to("meta")
    stage = build_stage(config, model, nano_tokenizer(700))
    called = parallel_stage(stage, processes, config.parallel)

    def loss_of_step(step: int, generator: torch.Generator) -> StageLoss:
        batch = processes.share(draw_batch(pool, 3, 3, generator, config.augment))
        rngs = [np.random.default_rng([step, window]) for window in processes.windows(3)]
        inputs: dict[str, tuple[Any, ...]] = {"geometry": (step,), "semantic": (rngs,)}
        loss: StageLoss = called(batch, *inputs.get(kind, (step, rngs)))
        return loss

    rates = stage.rate_of if isinstance(stage, GaspStage) else None
    return Trainer(stage, config, folder, loss_of_step, processes=processes, rate_of=rates)


def losses_of(pool: ClipPool, out: Path, processes: Processes, way: str, kind: str) -> None:
    """Train, resume, and write what came out."""
    folder = out / f"{processes.world}-{way}-{kind}"
    first = tiny_trainer(pool, folder, processes, way, kind)
    before = [first.train_step() for _ in range(BEFORE)]
    first.save()
    after = [first.train_step() for _ in range(AFTER)]
    again = tiny_trainer(pool, folder, processes, way, kind)
    again.resume()
    resumed = [again.train_step() for _ in range(AFTER)]
    mine = {"losses": before + after, "resumed": resumed, "frames": first.frames_seen}
    everyone: list[object] = [mine]
    if processes.world > 1:
        everyone *= processes.world
        torch.distributed.all_gather_object(everyone, mine)
    if processes.first:
        folder.with_suffix(".json").write_text(json.dumps(everyone), encoding="utf-8")


def main(argv: list[str]) -> None:
    """See the module."""
    torch.set_num_threads(1)
    shards, out, *ways = argv
    with joined_processes("cpu") as processes:
        pool = ClipPool(Path(shards), "train")
        for way in ways:
            losses_of(pool, Path(out), processes, *way.split(":"))


if __name__ == "__main__":
    main(sys.argv[1:])
