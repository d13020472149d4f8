# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The windows of each step, read by worker processes ahead of it.

Everything follows from the seed, the step and the number of the window: each process of a run
reads its own windows only, and the same ones come whatever the number of processes and workers.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import multiprocessing
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from g2vlm_model.processes import end_with_spawner

from ..config import TrainConfig
from ..run.distribution import Processes, of_the_first
from ..stages.stage import Converses, Preparer, prepared
from .base import DataError
from .batch import (
    WindowBatch,
    WindowPlan,
    augmented,
    batch_of,
    draw_seeds,
    plan_windows,
    read_window,
    squeezed,
)
from .mixture import Mixture

__all__ = ["Batches", "plan_step", "step_generator"]

_AHEAD = 2  # batches that a worker holds ready
_KEPT = 8  # lists of shards of past steps that are remembered


def step_generator(config: TrainConfig, step: int) -> torch.Generator:
    """The source of every random choice of a step."""
    return torch.Generator().manual_seed(config.seed * 1_000_003 + step)


class StepPlan(NamedTuple):
    """What a step shows.

    Attributes:
        seeds: Of its windows.
        scenes: What they have in common; None where they are conversations.
    """

    seeds: list[int]
    scenes: WindowPlan | None


def plan_step(config: TrainConfig, pool: Mixture, step: int) -> StepPlan:
    """What a step shows; nothing is read yet."""
    generator = step_generator(config, step)
    if config.window_shares:
        chances = torch.tensor(config.window_shares, dtype=torch.float64)
        kind = int(torch.multinomial(chances, 1, generator=generator))
    else:
        kind = int(torch.randint(len(config.windows), (), generator=generator))
    clips, frames = config.windows[kind]
    plan = None
    if not pool.talks(generator):
        plan = plan_windows(pool, clips, frames, generator, config.views)
        clips = len(plan.sequences)
    return StepPlan(draw_seeds(clips, generator), plan)


class _Place(NamedTuple):
    """One of the parts of a step: windows, and the shards that the step draws from.

    One that is `idle` stands for windows that other processes have and this one lacks: of a
    conversation, which is a part of its own.
    """

    step: int
    parts: int
    windows: tuple[int, ...]
    shards: tuple[str, ...]
    idle: bool = False


@dataclass(frozen=True)
class _Read:
    """What became of a place: a batch, or why there is none; and the windows that were refused."""

    parts: int
    batch: WindowBatch | None
    refused: int
    said: str


class _Windows(Dataset[_Read]):
    """Reads places, in whatever process."""

    def __init__(self, config: TrainConfig, pool: Mixture, preparer: Preparer | None) -> None:
        self.config, self.pool, self.preparer = config, pool, preparer
        self._shards: tuple[str, ...] = ()
        # A preparer looks at the pictures as the model will see them. All else is augmented where
        # the model is, which on a GPU takes the workers most of their work.
        self.augments = preparer is not None

    def __getitem__(self, place: _Place) -> _Read:
        if self._shards != place.shards:
            self.pool.pin(place.shards)
            self._shards = place.shards
        refusals = self.pool.refusals
        before = refusals.count
        batch, said = None, ""
        try:
            batch = self._batch(place)
        except DataError as error:  # raised again where it ends the run, without a second trace
            said = str(error)
        return _Read(place.parts, batch, refusals.count - before, said or refusals.last)

    def _batch(self, place: _Place) -> WindowBatch:
        config = self.config
        seeds, plan = plan_step(config, self.pool, place.step)
        clips = []
        for window in place.windows:
            own = torch.Generator().manual_seed(seeds[window])
            if plan is None:
                assert isinstance(self.preparer, Converses), type(self.preparer)
                made = partial(self.preparer.of_conversation, counts=not place.idle)
                return self.pool.draw_conversation(own, made)
            clips.append(read_window(plan, window, self.pool, own, config.views))
        batch = batch_of(clips)
        batch = dataclasses.replace(batch, seeds=tuple(seeds[window] for window in place.windows))
        if self.augments:
            batch = augmented(batch, config.augment)
        rngs = [np.random.default_rng([config.seed, place.step, one]) for one in place.windows]
        batch = prepared(batch, self.preparer, rngs)
        return batch if config.views.crop else squeezed(batch, config.views)


class Batches:
    """This process's share of the windows of each step.

    Args:
        config: Of the run; `workers` processes read ahead, 0 reads in this one.
        pool: Where from; it may grow while the run goes on.
        processes: Of the run.
        preparer: Of the stage.

    Raises:
        ValueError: Conversations for a stage that asks nothing.
    """

    def __init__(
        self,
        config: TrainConfig,
        pool: Mixture,
        processes: Processes,
        preparer: Preparer | None = None,
    ) -> None:
        asks = isinstance(preparer, Converses) and config.stage != "gasp"
        if pool.language and not asks:
            raise ValueError(
                f"sources has conversations, and the stage {config.stage} takes none; take them "
                "out, or train semantic, spatial or joint"
            )
        self.config, self.pool, self.processes = config, pool, processes
        self._windows = _Windows(config, pool, preparer)
        self._shards: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._reading: Iterator[_Read] | None = None
        self._next = -1

    def shards_of(self, step: int) -> list[str]:
        """The shards that a step draws from, which is where a run that is resumed there goes on."""
        known = [names for first, names in self._shards.items() if first <= step]
        return list(known[-1] if known else self.pool.names)

    def of_step(self, step: int) -> list[WindowBatch]:
        """The share, on this process's device, in `accumulate` parts at most.

        Raises:
            DataError: No window can be read.
            ValueError: Fewer windows than processes, or more frames than the sequences have.
        """
        if self._reading is None or step != self._next:
            self._reading = self._read_from(step)
        self._next = step + 1
        first = next(self._reading)
        more = [next(self._reading) for _ in range(first.parts - 1)]
        return [self._taken(read) for read in (first, *more)]

    def _taken(self, read: _Read) -> WindowBatch:
        if read.refused and self.config.workers:  # else they were counted where they were refused
            self.pool.refusals.add(read.said, read.refused)
        if read.batch is None:
            raise DataError(read.said)
        batch = read.batch.to(self.processes.device)
        return augmented(batch, self.config.augment) if batch.seeds else batch

    def _read_from(self, step: int) -> Iterator[_Read]:
        workers = self.config.workers
        options: dict[str, Any] = {"num_workers": workers}
        if workers:
            options |= {"prefetch_factor": _AHEAD, "worker_init_fn": _begin_worker}
            # Threads and GPUs outlive no fork; the server, which has neither, is forked instead.
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__])
            options["multiprocessing_context"] = context
        pinned = self.processes.device.type == "cuda"
        loader: DataLoader[_Read] = DataLoader(
            self._windows, batch_size=None, sampler=self._places(step), pin_memory=pinned, **options
        )
        return iter(loader)

    def _places(self, first: int) -> Iterator[_Place]:
        """What is read, in order, from a step on; runs ahead of the training."""
        for step in itertools.count(first):
            shards = self._shards_from(step, look=step % self.config.refresh_steps == 0)
            shares = self._shares_of(step)
            for windows, idle in shares:
                yield _Place(step, len(shares), windows, shards, idle)

    def _shards_from(self, step: int, look: bool) -> tuple[str, ...]:
        """The shards of a step; the first process looks for new ones."""
        if look:
            if self.processes.first:
                self.pool.refresh()
            names = of_the_first(tuple(self.pool.names))
            self.pool.pin(names)
        elif self._shards and next(reversed(self._shards)) <= step:
            return next(reversed(self._shards.values()))
        else:
            names = tuple(self.pool.names)
        self._shards[step] = names
        while len(self._shards) > _KEPT:
            self._shards.popitem(last=False)
        return names

    def _shares_of(self, step: int) -> list[tuple[tuple[int, ...], bool]]:
        """This process's windows of a step, in equally many parts in every process.

        Conversations differ in their pictures, so each is a part; a process that has one less goes
        through its last one again, which does not count.
        """
        seeds, plan = plan_step(self.config, self.pool, step)
        windows = self.processes.windows(len(seeds))
        if plan is None:
            own: list[tuple[tuple[int, ...], bool]] = [((window,), False) for window in windows]
            most = -(-len(seeds) // self.processes.world)
            return own + [((windows[-1],), True)] * (most - len(own))
        parts = min(self.config.accumulate, len(seeds) // self.processes.world)
        return [(tuple(windows[part::parts]), False) for part in range(parts)]


def _begin_worker(number: int) -> None:
    """A worker ends with its process, takes one thread, and leaves the counting to it."""
    end_with_spawner()
    torch.set_num_threads(1)
    logging.getLogger("g2vlm_training").setLevel(logging.ERROR)
