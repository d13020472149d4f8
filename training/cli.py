"""`g2vlm train --config nano --data DIR --out DIR`: train a stage, or continue it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.model import G2VLM

from .batch import ClipPool, draw_batch
from .config import TrainConfig, load_config
from .evaluate.geometry import evaluate_geometry, mean_log_depth, windows_of
from .freeze import apply_freezing, freezing_table
from .geometry_stage import GeometryStage, StageLoss
from .initialise import initialise
from .trainer import Trainer

__all__ = ["build_model", "main"]

_LOG = logging.getLogger(__name__)


def build_model(config: TrainConfig) -> G2VLM:
    """A fresh model of the preset."""
    presets = {"nano": ModelConfig.nano}
    if config.preset not in presets:
        raise ValueError(f"preset is {config.preset!r}, expected one of {sorted(presets)}")
    model_config = presets[config.preset]()
    model = G2VLM(model_config, SpecialIds(1, 2, 3, 4, 5))
    initialise(model, config.seed)
    return model


def main(argv: list[str]) -> int:
    """Run `g2vlm train`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="g2vlm train", description=__doc__)
    parser.add_argument("--config", default="nano", help="name of a shipped config, or a file")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, help="override the length of the run")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    if args.steps:
        config = dataclasses.replace(config, steps=args.steps)
    if config.stage != "geometry":
        from .semantic_stage import train_semantic

        return train_semantic(config, args.data, args.out)
    return _train_geometry(config, args.data, args.out)


def _train_geometry(config: TrainConfig, data: Path, out: Path) -> int:
    model = build_model(config)
    apply_freezing(model, config.stage)
    stage = GeometryStage(model, config)
    pool = ClipPool(data, "train")
    _LOG.info("%s\n%d shards", freezing_table(model), len(pool.paths))

    def loss_of_step(step: int, generator: torch.Generator) -> StageLoss:
        if step % config.refresh_steps == 0:
            pool.refresh()
        index = int(torch.randint(len(config.windows), (), generator=generator))
        clips, frames = config.windows[index]
        batch = draw_batch(pool, clips, frames, generator, config.augment)
        loss: StageLoss = stage(batch, step)
        return loss

    trainer = Trainer(
        stage, config, out, loss_of_step, lambda: {"shards": [path.name for path in pool.paths]}
    )
    meta = trainer.resume()
    if "shards" in meta and trainer.step % config.refresh_steps:
        pool.pin(list(meta["shards"]))  # type: ignore[call-overload]
    validation = ClipPool(data, "val")
    mean_map = mean_log_depth(pool, 4, (84, 112))

    def on_step(step: int, report: dict[str, float]) -> None:
        if step % config.eval_steps == 0 or step == config.steps:
            averaged = model_with_average(config, trainer)
            windows = windows_of(validation, config.eval_windows, 4, seed=1)
            _LOG.info("step %d\n%s", step, evaluate_geometry(averaged, windows, mean_map).table())

    trainer.run(on_step)
    return 0


def model_with_average(config: TrainConfig, trainer: Trainer) -> G2VLM:
    """A copy of the model under training with the averaged weights."""
    model = build_model(config)
    prefix = "model."
    weights = {
        name[len(prefix) :]: tensor
        for name, tensor in trainer.averaged().items()
        if name.startswith(prefix)
    }
    model.load_state_dict(weights, strict=False)
    return model.eval()


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
