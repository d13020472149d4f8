# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a process holds, seen from outside, and whether that grows."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import ArrayLike

__all__ = ["Growth", "Held", "Resident", "growth", "held_by", "shared_memory"]

SHARED_MEMORY = Path("/dev/shm")
_FLAT_FROM = 0.5  # of a run: before, caches and the map fill up to their bounds


@dataclass(frozen=True)
class Held:
    """What a process has now.

    Args:
        rss_kb: Resident memory.
        fds: Open descriptors.
        threads: Of the process.
        children: Processes below it.
        shm: Names of the files of shared memory that it has mapped.
    """

    rss_kb: int
    fds: int
    threads: int
    children: int
    shm: frozenset[str]

    def as_json(self) -> dict[str, int]:
        """Numbers by name."""
        numbers = asdict(self)
        numbers["shm_files"] = len(numbers.pop("shm"))
        return numbers


def held_by(process: psutil.Process) -> Held:
    """What a process holds.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    with process.oneshot():
        mapped = [Path(entry.path) for entry in process.memory_maps()]
        return Held(
            rss_kb=process.memory_info().rss // 1024,
            fds=process.num_fds(),
            threads=process.num_threads(),
            children=len(process.children(recursive=True)),
            shm=frozenset(path.name for path in mapped if path.parent == SHARED_MEMORY),
        )


class Resident:
    """The least memory that a process had resident within the last seconds.

    Args:
        process: Which.
        span_s: How far back.
    """

    def __init__(self, process: psutil.Process, span_s: float) -> None:
        self._process, self._span_s = process, span_s
        self._seen: deque[tuple[float, int]] = deque()

    def look(self) -> None:
        """Take a sample, unless the process has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            now = time.monotonic()
            self._seen.append((now, self._process.memory_info().rss // 1024))
            while self._seen[0][0] < now - self._span_s:
                self._seen.popleft()

    @property
    def low_kb(self) -> int:
        """The least of the samples."""
        return min(kb for _, kb in self._seen)


def shared_memory() -> set[str]:
    """Names in the folder of shared memory; of all processes."""
    return set(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else set()


@dataclass(frozen=True)
class Growth:
    """How a value rises with a count.

    Args:
        slope: Per count: the median of the slopes of all pairs of samples (Theil 1950, Sen 1968),
            which a few leaps do not move.
        low, high: Bounds that hold the slope in 95 of 100 runs (Sen 1968, the ranks of the
            sorted slopes); with samples that depend on each other they are too narrow.
        samples: That it is taken from.
    """

    slope: float
    low: float
    high: float
    samples: int


def growth(count: ArrayLike, value: ArrayLike, first: float = _FLAT_FROM) -> Growth:
    """The slope of the later part of a run.

    Args:
        count: Rises.
        value: At each count.
        first: Share of the last count before which samples are left out.

    Raises:
        ValueError: Fewer than eight samples are left.
    """
    x, y = np.asarray(count, float), np.asarray(value, float)
    kept = x >= first * x[-1] if len(x) else np.zeros(0, bool)
    x, y = x[kept], y[kept]
    if len(x) < 8:
        raise ValueError(f"{len(x)} samples of a run's later part, needs at least 8; run longer")
    if len(x) > 400:  # 80,000 pairs say enough
        thin = np.linspace(0, len(x) - 1, 400).astype(int)
        x, y = x[thin], y[thin]
    a, b = np.triu_indices(len(x), 1)
    rises = x[b] > x[a]
    slopes = np.sort((y[b] - y[a])[rises] / (x[b] - x[a])[rises])
    n = len(x)
    spread = 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    ends = (len(slopes) + np.array([-spread, spread])) / 2
    low, high = slopes[np.clip(ends.astype(int), 0, len(slopes) - 1)]
    return Growth(float(np.median(slopes)), float(low), float(high), n)
