"""The training loop: AdamW, warm-up and cosine, clipping, averaged weights, resume.

A step draws its batch from the seed and its own number, so a resumed run continues with the
loss that the uninterrupted one would have had.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from .checkpoints import (
    RunState,
    flat,
    git_hash,
    latest_checkpoint,
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
    unflat,
)
from .config import TrainConfig
from .geometry_stage import StageLoss

__all__ = ["LossOfStep", "Trainer", "learning_rate"]

_LOG = logging.getLogger(__name__)
_KEPT = 2


class LossOfStep(Protocol):
    """Draws the batch of a step and returns its loss."""

    def __call__(self, step: int, generator: torch.Generator) -> StageLoss:
        """Return the loss of a step; every random choice comes from the generator."""
        ...


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Trainer:
    """Trains the parameters of a module that require a gradient.

    Args:
        module: Holds the model and the heads that only training needs.
        config: Of the run.
        folder: Checkpoints and `log.jsonl` go here.
        loss_of_step: See `LossOfStep`.
        extra_state: Named JSON values that go into checkpoints, e.g. the shards in use.
    """

    def __init__(
        self,
        module: nn.Module,
        config: TrainConfig,
        folder: Path,
        loss_of_step: LossOfStep,
        extra_state: Callable[[], dict[str, object]] | None = None,
    ) -> None:
        self.module, self.config, self.folder = module, config, folder
        self.loss_of_step = loss_of_step
        self.extra_state = extra_state or dict
        self.step = 0
        self.frames_seen = 0
        self.trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.trained:
            raise ValueError("no parameter requires a gradient; apply a stage's freezing first")
        matrices = [p for p in self.trained.values() if p.dim() > 1]
        others = [p for p in self.trained.values() if p.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}

    def resume(self) -> dict[str, object]:
        """Continue from the newest checkpoint of the folder, where there is one.

        Returns:
            The checkpoint's metadata, empty where the run is new.

        Raises:
            ValueError: The checkpoint is of a model of another shape.
        """
        path = latest_checkpoint(self.folder)
        if path is None:
            return {}
        state = load_state(path)
        weights, average = unflat("weights", state.tensors), unflat("average", state.tensors)
        wrong = sorted(set(weights) ^ set(self.trained))
        if wrong:
            raise ValueError(f"checkpoint {path} does not fit this run, e.g. {wrong[:3]}")
        with torch.no_grad():
            for name, parameter in self.trained.items():
                if parameter.shape != weights[name].shape:
                    raise ValueError(
                        f"checkpoint {path}: {name} is {tuple(weights[name].shape)}, "
                        f"expected {tuple(parameter.shape)}"
                    )
                parameter.copy_(weights[name])
                self.average[name].copy_(average[name])
        restore_optimiser(self.optimiser, unflat("optimiser", state.tensors))
        self.step = int(state.meta["step"])
        self.frames_seen = int(state.meta["frames_seen"])
        _LOG.info("resumed %s at step %d", path, self.step)
        return dict(state.meta)

    def run(
        self,
        on_step: Callable[[int, dict[str, float]], None] | None = None,
        until: int | None = None,
    ) -> None:
        """Train up to the last step (or `until`), saving as configured."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.config
        end = config.steps if until is None else min(until, config.steps)
        recent: dict[str, list[float]] = {}
        started, frames_before, step_before = time.monotonic(), self.frames_seen, self.step
        while self.step < end:
            report = self.train_step()
            for key, value in report.items():
                recent.setdefault(key, []).append(value)
            if self.step % config.log_steps == 0 or self.step == end:
                seconds = time.monotonic() - started
                rate = (self.frames_seen - frames_before) / seconds
                left = (config.steps - self.step) * seconds / (self.step - step_before)
                self._log(recent, rate, left)
                recent = {}
            if on_step is not None:
                on_step(self.step, report)
            if self.step % config.save_steps == 0 or self.step == end:
                self.save()

    def train_step(self) -> dict[str, float]:
        """One update; returns the stage's report and the gradient's norm."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        loss = self.loss_of_step(self.step, generator)
        if not bool(torch.isfinite(loss.total)):
            raise FloatingPointError(f"loss is {float(loss.total)} at step {self.step}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.values(), config.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimiser.step()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.average[name].lerp_(parameter, 1 - decay)
        self.step += 1
        self.frames_seen += loss.frames
        return {**loss.report, "gradient": float(norm)}

    def averaged(self) -> dict[str, Tensor]:
        """Averaged weights of the trained parameters, by name in the module."""
        return self.average

    def save(self) -> Path:
        """Write a checkpoint; the newest two are kept."""
        meta: dict[str, object] = {
            "step": self.step,
            "frames_seen": self.frames_seen,
            "git": git_hash(),
            "config": dataclasses.asdict(self.config),
            **self.extra_state(),
        }
        weights = {name: parameter.detach() for name, parameter in self.trained.items()}
        tensors = flat("weights", weights) | flat("average", self.average)
        tensors |= flat("optimiser", optimiser_tensors(self.optimiser))
        path = self.folder / f"step-{self.step:07d}.safetensors"
        save_state(path, RunState(tensors, meta))
        for old in sorted(self.folder.glob("step-*.safetensors"))[:-_KEPT]:
            old.unlink()
        return path

    def _log(self, recent: dict[str, list[float]], rate: float, left_s: float) -> None:
        means = {key: sum(values) / len(values) for key, values in recent.items()}
        shown = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
        _LOG.info(
            "step %d/%d  %s  %.1f frames/s  %.0f min left",
            self.step, self.config.steps, shown, rate, left_s / 60,
        )  # fmt: skip
        entry = {"step": self.step, "frames": self.frames_seen, "rate": rate, **means}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
