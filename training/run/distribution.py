# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Several processes, one run: who this process is, which windows are its own, and shared means.

`torchrun` starts the processes, one per device. A step's batch is the same whatever their
number: process r of w takes the windows r, r + w, r + 2w, ... of it. Every loss is a mean over
pixels, pairs or tokens, of which the shares hold unequal numbers; `shared_mean` divides by the
number in all of them, so that the mean over the processes, which is what the gradients of DDP
and FSDP are averaged to, is exactly the mean over the whole batch. Where a step is made in parts
(gradient accumulation), the numbers in all parts are counted first (`counting`), and each part's
sums are divided by them (`divided_by`).
"""

from __future__ import annotations

import dataclasses
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from g2vlm_model.runtimes.torch.placement import choose_placement

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

__all__ = [
    "Processes",
    "counting",
    "divided_by",
    "fresh_store",
    "joined_processes",
    "mean_over_processes",
    "of_the_first",
    "several_processes",
    "shared_mean",
    "total_of",
]

_TIMEOUT = timedelta(minutes=30)  # rank 0 evaluates while the others wait
_LOOK_S = 0.02
Value = TypeVar("Value")
_COUNTED: ContextVar[list[Tensor] | None] = ContextVar("counted", default=None)
_KNOWN: ContextVar[Iterator[tuple[Tensor, int]] | None] = ContextVar("known", default=None)


@dataclass(frozen=True)
class Processes:
    """The processes of a run as one of them sees them.

    Args:
        rank: Of this process, from 0.
        world: How many there are.
        device: Of this process.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes logs and evaluates."""
        return self.rank == 0

    def windows(self, count: int) -> range:
        """This process's share of a step's windows.

        Raises:
            ValueError: Fewer windows than processes.
        """
        if count < self.world:
            raise ValueError(
                f"a step has {count} windows for {self.world} processes; raise the clips in "
                "`windows` of the config, or start fewer processes"
            )
        return range(self.rank, count, self.world)


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; without it there is this one only.

    Args:
        device: "cpu" or "cuda"; None takes CUDA where there is some.

    Raises:
        ValueError: CUDA, which this machine has not.
        RuntimeError: More processes on this machine than it has GPUs.
    """
    kind = choose_placement(device or "auto").device.type
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise RuntimeError(
                f"process {local} of this machine has no GPU: there are "
                f"{torch.cuda.device_count()}; start torchrun with --nproc-per-node of that number"
            )
        torch.cuda.set_device(local)
    place = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=place)
        return
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    store, rank, world = next(rendezvous("env://", timeout=_TIMEOUT))
    store = fresh_store(store, rank, world)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_TIMEOUT)
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()


def fresh_store(store: Store, rank: int, world: int) -> Store:
    """A part of a store that no processes before these have written to.

    torchrun keeps one store for all of its restarts, so it holds the addresses of processes that
    are dead. A new one that reads such an address, ahead of the new owner of that rank, is refused
    a connection, and its run with it. So the first process draws a name, and tells it to whoever
    asks with a name of his own, until all have said that they know it.

    Args:
        store: What torchrun gives.
        rank, world: Of this process, and how many there are.

    Raises:
        RuntimeError: Not all came in time.
    """
    mine = uuid.uuid4().hex
    if rank > 0:
        store.set(f"asks/{rank}", mine)
        try:
            store.wait([f"told/{mine}"], _TIMEOUT)
        except dist.DistStoreError as error:
            raise RuntimeError(f"the first of {world} processes did not come: {error}") from None
        name = store.get(f"told/{mine}").decode()
        store.set(f"knows/{name}/{rank}", "")
        return _part(store, name)
    waiting, begun = set(range(1, world)), time.monotonic()
    while waiting := {one for one in waiting if not store.check([f"knows/{mine}/{one}"])}:
        for one in waiting:
            if store.check([f"asks/{one}"]):  # who asks may be dead: he is told and asked for again
                store.set(f"told/{store.get(f'asks/{one}').decode()}", mine)
        if time.monotonic() - begun > _TIMEOUT.total_seconds():
            raise RuntimeError(f"of {world} processes {sorted(waiting)} did not come")
        time.sleep(_LOOK_S)
    return _part(store, mine)


def _part(store: Store, name: str) -> Store:
    part: Store = dist.PrefixStore(name, store)  # type: ignore[attr-defined]
    return part


def shared_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """This process's part of a mean over all processes.

    All processes have to call it equally often, also with nothing to count.

    Args:
        total: Sum over the items of this process.
        count: How many items that are.

    Returns:
        A number whose mean over the processes, and over the parts of a step, is the mean over all
        items; 0 where there are none. In a single process and part simply total / count.
    """
    items = torch.as_tensor(count, dtype=torch.float64, device=total.device)
    counted, known = _COUNTED.get(), _KNOWN.get()
    if counted is not None:
        counted.append(items)
        return 0.0 * total
    if known is not None:
        whole, parts = next(known)
        scale = parts * _world()
    else:
        whole, scale = items.clone(), _world()
        if several_processes():
            dist.all_reduce(whole)
    return total * (scale / whole.clamp(min=1)).to(total.dtype)


@contextmanager
def counting() -> Iterator[list[Tensor]]:
    """Have `shared_mean` only note what it is to divide by, in the order of its calls."""
    noted: list[Tensor] = []
    before = _COUNTED.set(noted)
    try:
        yield noted
    finally:
        _COUNTED.reset(before)


@contextmanager
def divided_by(counts: Sequence[Sequence[Tensor]]) -> Iterator[Callable[[], None]]:
    """Have `shared_mean` divide by the sums over all parts and processes.

    Args:
        counts: Of each part, from `counting`.

    Yields:
        What is to be called ahead of each part.
    """
    sums = [torch.stack(list(calls)).sum(dim=0) for calls in zip(*counts, strict=True)]
    if several_processes():
        for whole in sums:
            dist.all_reduce(whole)
    parts = len(counts)

    def begin() -> None:
        _KNOWN.set(iter([(whole, parts) for whole in sums]))

    before = _KNOWN.set(None)
    try:
        yield begin
    finally:
        _KNOWN.reset(before)


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a tensor over the processes, without a gradient."""
    value = value.detach().clone()
    if several_processes():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value


def total_of(count: int, device: torch.device) -> int:
    """Sum of a number over the processes."""
    if not several_processes():
        return count
    total = torch.tensor(count, device=device)
    dist.all_reduce(total)
    return int(total)


def of_the_first(value: Value) -> Value:
    """The first process's value, in all of them."""
    if not several_processes():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def _world() -> int:
    return dist.get_world_size() if several_processes() else 1


def several_processes() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
