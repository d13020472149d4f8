# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The training loop: AdamW, warm-up and cosine, clipping, averaged weights, resume.

A step's batch follows from the seed and its own number (`loading.py`), so a resumed run continues
with the loss that the uninterrupted one would have had, and any number of processes with the same
one.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from g2vlm_model.interface.command_line import reason

from ..config import TrainConfig
from ..stages.stage import StageLoss
from .checkpoints import (
    RunState,
    checkpoint_path,
    flat,
    git_hash,
    latest_checkpoint,
    load_into,
    prune,
    save_state,
    stored_meta,
    stored_shapes,
    unflat,
)
from .distribution import Processes, mean_over_processes, of_the_first, total_of
from .runlog import RunLog, Table
from .throughput import most_memory, peak_tflops

__all__ = ["PAUSE", "LossOfStep", "Trainer", "learning_rate"]

_LOG = logging.getLogger(__name__)
PAUSE = "pause"
_KEPT = 2
_LOOK_S = 1.0
_GIB = 2**30
_WEIGHTS, _AVERAGE, _OPTIMISER = "weights", "average", "optimiser"


class LossOfStep(Protocol):
    """Draws the batch of a step and gives its loss, in one part or several."""

    def __call__(self, step: int) -> Iterable[StageLoss]:
        """The parts of a step's loss, whose sum is minimised; each after the one before is done."""
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
        module: Holds the model and the heads that only training needs; sharded or not.
        config: Of the run.
        folder: Checkpoints and logs go here.
        loss_of_step: See `LossOfStep`; with several processes the loss of this one's share,
            made of `shared_mean`s.
        extra_state: Named JSON values that go into checkpoints, e.g. the shards in use.
        processes: Of the run.
        rate_of: Learning rate of a parameter over that of the run, by name; None is 1 for all.
    """

    def __init__(
        self,
        module: nn.Module,
        config: TrainConfig,
        folder: Path,
        loss_of_step: LossOfStep,
        extra_state: Callable[[], dict[str, object]] | None = None,
        processes: Processes | None = None,
        rate_of: Callable[[str], float] | None = None,
    ) -> None:
        self.module, self.config, self.folder = module, config, folder
        self.loss_of_step = loss_of_step
        self.extra_state = extra_state or dict
        self.processes = processes or Processes()
        place = self.processes.device
        self.peak_tflops = peak_tflops(config.peak_tflops, place, config.precision)
        self.step = 0
        self.frames_seen = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._between_steps = True
        self.trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.trained:
            raise ValueError("no parameter requires a gradient; apply a stage's freezing first")
        groups = _groups(self.trained, config.weight_decay, rate_of)
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
        self.average: dict[str, Tensor] = dict(self.trained)
        if config.ema > 0:
            self.average = {name: p.detach().clone() for name, p in self.trained.items()}

    def resume(self) -> dict[str, Any]:
        """Continue from the newest checkpoint of the folder, where there is one.

        Returns:
            The checkpoint's metadata, empty where the run is new.

        Raises:
            ValueError: The checkpoint is of a model of another shape, or damaged.
        """
        path = latest_checkpoint(self.folder)
        if path is None:
            return {}
        meta = stored_meta(path)
        load_into(path, self._targets(path))
        self.step = int(meta["step"])
        self.frames_seen = int(meta["frames_seen"])
        self.skipped = int(meta.get("skipped", 0))
        _LOG.info("resumed %s at step %d", path, self.step)
        return meta

    def run(
        self,
        on_step: Callable[[int, dict[str, float]], Sequence[Table]] | None = None,
        until: int | None = None,
    ) -> None:
        """Train up to the last step (or `until`), saving as configured and where it is interrupted.

        Args:
            on_step: Called after each step in every process; what it returns in the first one is
                logged.
            until: Step to stop at.

        Raises:
            FloatingPointError: `TrainConfig.bad_steps` steps in a row were left out.
            OSError: The last checkpoint could not be written.
        """
        config = self.config
        end = config.steps if until is None else min(until, config.steps)
        log = RunLog(self.folder, self.step) if self.processes.first else None
        recent: dict[str, list[float]] = {}
        started, frames_before = time.monotonic(), self.frames_seen
        saved = started
        while self.step < end:
            self._wait_while_paused()
            try:
                report = self.train_step()
            except KeyboardInterrupt:  # several processes are not at the same step
                if self._between_steps and self.step and self.processes.world == 1:
                    self._save_or_go_on(last=True)
                raise
            for key, value in report.items():
                recent.setdefault(key, []).append(value)
            if self.step % config.log_steps == 0 or self.step == end:
                seconds = time.monotonic() - started
                rate = (self.frames_seen - frames_before) / seconds
                self._report(log, recent, rate)
                recent = {}
            if on_step is not None:
                tables = on_step(self.step, report)
                if log is not None and tables:
                    values = {key: one for table in tables for key, one in table.values.items()}
                    log.write(self.step, values, tables)
            minutes = (time.monotonic() - saved) / 60
            if self.step == end or _is_due(config, self.step, minutes):
                self._save_or_go_on(last=self.step == end)
                saved = time.monotonic()
        if log is not None:
            log.close()

    def train_step(self) -> dict[str, float]:
        """One update; returns the stage's report, the gradient's norm and the seconds it took.

        A step whose loss or gradient is no number, or that had nothing to learn from, changes no
        weight and is counted in `skipped`.
        """
        started = time.monotonic()
        self.optimiser.zero_grad(set_to_none=True)
        parts = []
        for part in self.loss_of_step(self.step):
            if part.total.requires_grad:
                part.total.backward()
            parts.append(part._replace(total=part.total.detach()))
        loss = _together(parts)
        total = float(mean_over_processes(loss.total))
        norm = math.nan
        if not loss.empty and math.isfinite(total):
            norm = self._clip_gradient()
        self._between_steps = False
        if math.isfinite(norm):
            self._update()
            self._skipped_in_a_row = 0
        else:
            self._skip(total, norm, loss)
        self.step += 1
        self.frames_seen += total_of(loss.frames, self.processes.device)
        self._between_steps = True
        if not math.isfinite(norm):
            return {}
        return {**loss.report, "gradient": norm, **self._spent(loss, time.monotonic() - started)}

    def _spent(self, loss: StageLoss, step_s: float) -> dict[str, float]:
        """Time of a step, of it without its data, and how much of the device it used."""
        spent = {"step_s": step_s, "update_s": step_s - loss.report.get("data_s", 0.0)}
        if self.peak_tflops and "tflop" in loss.report:
            spent["mfu"] = loss.report["tflop"] / (step_s * self.peak_tflops)
        return spent

    def save(self) -> Path:
        """Write a checkpoint; the newest two are kept.

        Raises:
            OSError: It could not be written; the one before is untouched.
        """
        meta: dict[str, object] = {
            "step": self.step,
            "frames_seen": self.frames_seen,
            "skipped": self.skipped,
            "git": git_hash(),
            "config": dataclasses.asdict(self.config),
            **self.extra_state(),
        }
        tensors = self._weights()
        for name, parameter in self.trained.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{_OPTIMISER}/{name}.{key}"] = value
        path = checkpoint_path(self.folder, self.step)
        save_state(path, RunState(tensors, meta))
        if self.processes.first:
            prune(self.folder, _KEPT)
        return path

    def whole_average(self) -> dict[str, Tensor]:
        """Averaged weights by name on the CPU, all of them in the first process.

        Sharded ones are put together one at a time; all processes call this.
        """
        whole = {}
        for name, value in self.average.items():
            tensor = value.full_tensor() if isinstance(value, DTensor) else value
            if self.processes.first:
                whole[name] = tensor.cpu()
        return whole

    def _weights(self) -> dict[str, Tensor]:
        """Weights and averages under their names on disk."""
        averages = flat(_AVERAGE, self.average) if self.config.ema > 0 else {}
        return flat(_WEIGHTS, self.trained) | averages

    def _targets(self, path: Path) -> dict[str, Tensor]:
        """The tensors of this run under the names of a checkpoint, checked against it."""
        stored = stored_shapes(path)
        moments = {name.rpartition(".")[0] for name in unflat(_OPTIMISER, stored)}
        wrong = sorted(
            (set(unflat(_WEIGHTS, stored)) ^ set(self.trained)) | moments - set(self.trained)
        )
        if wrong:
            raise ValueError(
                f"checkpoint {path} does not fit this run, e.g. {wrong[:3]}; give the config and "
                "stage that it was made with, or another --out"
            )
        targets = self._weights()
        for name, shape in unflat(_OPTIMISER, stored).items():
            of, _, key = name.rpartition(".")
            parameter = self.trained[of]
            value = torch.zeros_like(parameter) if shape else torch.zeros(())
            self.optimiser.state[parameter][key] = targets[f"{_OPTIMISER}/{name}"] = value
        for name, target in targets.items():
            if tuple(target.shape) != stored[name]:
                raise ValueError(
                    f"checkpoint {path}: {name} is {stored[name]}, expected {tuple(target.shape)}"
                )
        return targets

    def _clip_gradient(self) -> float:
        norm = nn.utils.clip_grad_norm_(self.trained.values(), self.config.clip_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _update(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step) * group["rate"]
        self.optimiser.step()
        if self.config.ema == 0:
            return
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.average[name].lerp_(parameter, 1 - decay)

    def _skip(self, total: float, norm: float, loss: StageLoss) -> None:
        """Count a step that must not change the weights; end a run that only has such steps."""
        self.skipped += 1
        self._skipped_in_a_row += 1
        why = loss.empty or f"loss {total:g}, gradient {norm:g}, parts {loss.report}"
        what = f"step {self.step}: {why}"
        _LOG.warning("left out %s (%d so far)", what, self.skipped)
        if self._skipped_in_a_row >= self.config.bad_steps:
            raise FloatingPointError(
                f"{self._skipped_in_a_row} steps in a row had nothing to learn from or no finite "
                f"loss, the last was {what}; its batch follows from seed {self.config.seed} and "
                "the step. Look at the data, lower lr or raise loss.clip"
            )

    def _wait_while_paused(self) -> None:
        """Do nothing as long as the folder holds a file `pause`; all processes see the same."""
        if not (self.folder / PAUSE).exists():
            return
        _LOG.info("step %d: paused by %s; delete it to go on", self.step, self.folder / PAUSE)
        while (self.folder / PAUSE).exists():
            time.sleep(_LOOK_S)

    def _save_or_go_on(self, last: bool) -> None:
        try:
            self.save()
        except OSError as error:
            newest = latest_checkpoint(self.folder)
            if last:
                raise OSError(
                    f"{reason(error)}; then give the same command again, it goes on from "
                    f"{newest or 'the start'}"
                ) from error
            said = reason(error)
            _LOG.error("%s; training goes on, the newest checkpoint is %s", said, newest)

    def _report(self, log: RunLog | None, recent: Mapping[str, list[float]], rate: float) -> None:
        """Means since the last report over all processes, to the terminal and the logs."""
        means = {key: sum(values) / len(values) for key, values in recent.items()}
        if self.processes.world > 1:
            everyone: list[Any] = [None] * self.processes.world
            dist.all_gather_object(everyone, means)
            keys = {key for one in everyone for key in one}
            means = {key: _mean([one[key] for one in everyone if key in one]) for key in keys}
        if log is None:
            return
        shown = "  ".join(f"{key} {value:.4f}" for key, value in sorted(means.items()))
        skipped = f"  {self.skipped} left out" if self.skipped else ""
        _LOG.info(
            "step %d/%d  %s%s  %.1f frames/s",
            self.step, self.config.steps, shown, skipped, rate,
        )  # fmt: skip
        means["memory_gib"] = most_memory(self.processes.device) / _GIB
        rates = {"lr": learning_rate(self.config, self.step - 1), "rate": rate}
        counts = {"frames": float(self.frames_seen), "skipped": float(self.skipped)}
        log.write(self.step, {**counts, **rates, **means})


def _is_due(config: TrainConfig, step: int, minutes: float) -> bool:
    """Whether a checkpoint is to be written after a step; clocks differ, one process decides."""
    if step % config.save_steps == 0:
        return True
    return config.save_minutes > 0 and of_the_first(minutes >= config.save_minutes)


def _groups(
    trained: Mapping[str, nn.Parameter], decay: float, rate_of: Callable[[str], float] | None
) -> list[dict[str, Any]]:
    """Groups of the optimiser: matrices and others, per learning rate."""
    rates = {name: 1.0 if rate_of is None else rate_of(name) for name in trained}
    groups: list[dict[str, Any]] = []
    for rate in sorted({1.0, *rates.values()}):
        mine = [parameter for name, parameter in trained.items() if rates[name] == rate]
        matrices, others = [p for p in mine if p.dim() > 1], [p for p in mine if p.dim() <= 1]
        groups.append({"params": matrices, "weight_decay": decay, "rate": rate})
        groups.append({"params": others, "weight_decay": 0.0, "rate": rate})
    return groups


def _together(parts: Sequence[StageLoss]) -> StageLoss:
    """The parts of a step as one loss; numbers of their reports are means."""
    reports = [part.report for part in parts]
    names = dict.fromkeys(name for report in reports for name in report)
    means = {name: _mean([one[name] for one in reports if name in one]) for name in names}
    empty = parts[0].empty if all(part.empty for part in parts) else ""
    total = torch.stack([part.total for part in parts]).sum()
    return StageLoss(total, sum(part.frames for part in parts), means, empty)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
