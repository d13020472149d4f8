# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Started by `torchrun` in tests: trains the tiny model in each way and writes the losses.

    torchrun --nproc-per-node 2 -m tests.training.tiny_run SHARDS OUT WAY:STAGE ...

For each way it makes a step, saves, makes another one, then starts anew, resumes, and makes the
second step again. OUT/2-WAY-STAGE.json holds both, OUT/2-WAY-STAGE the checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.mixture import SourceOptions
from g2vlm_training.gasp.gasp_options import GaspOptions, LoraOptions
from g2vlm_training.run.distribution import Processes, joined_processes
from g2vlm_training.run.run import RunOptions, prepared_run
from g2vlm_training.run.start import Start
from g2vlm_training.run.trainer import Trainer
from g2vlm_training.stages.losses import LossOptions

from tests.training.tiny import tiny_config

CONFIG = TrainConfig(
    model=tiny_config(),
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
BEFORE, AFTER = 1, 1
# Several processes read by workers and go through a step in parts, where one does neither.
ALONE: dict[str, dict[str, Any]] = {
    "geometry": {"windows": ((4, 2),)},
    "semantic": {"sources": (SourceOptions("jsonl", "talk"),)},
}
TOGETHER: dict[str, dict[str, Any]] = {"geometry": {"accumulate": 2, "workers": 1}}


def tiny_trainer(
    shards: Path,
    folder: Path,
    processes: Processes,
    way: str = "ddp",
    kind: str = "geometry",
    **changes: Any,
) -> Trainer:
    """The trainer of a run of the tiny model, three windows a step, at its newest checkpoint."""
    config = dataclasses.replace(CONFIG, stage=kind, parallel=way, **changes)  # type: ignore[arg-type]
    return prepared_run(config, RunOptions(shards, folder, Start(config.seed)), processes).trainer


def losses_of(shards: Path, out: Path, processes: Processes, way: str, kind: str) -> None:
    """Train, resume, and write what came out."""
    folder = out / f"{processes.world}-{way}-{kind}"
    changes = {**ALONE.get(kind, {}), **(TOGETHER.get(kind, {}) if processes.world > 1 else {})}
    first = tiny_trainer(shards, folder, processes, way, kind, **changes)
    before = [first.train_step() for _ in range(BEFORE)]
    first.save()
    after = [first.train_step() for _ in range(AFTER)]
    again = tiny_trainer(shards, folder, processes, way, kind, **changes)
    resumed = [again.train_step() for _ in range(AFTER)]
    for report in (*before, *after, *resumed):
        for name in ("data_s", "step_s", "update_s", "tflop"):
            report.pop(name, None)
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
        for way in ways:
            losses_of(Path(shards), Path(out), processes, *way.split(":"))


if __name__ == "__main__":
    main(sys.argv[1:])
