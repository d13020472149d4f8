# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The stages of a pass: what each takes, and whether anybody still wants the pass.

On a CUDA device the laps are events in its queue, so that no stage waits for the one before; torch
is imported for such a device only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ..interface import ObservationCancelledError

__all__ = ["PassClock"]


class PassClock:
    """Times consecutive stages; asked between them, and between the layers, for a cancellation.

    Args:
        cancelled: Says whether the pass is to end; may be asked from another thread.
        cuda: The torch device, where it is a CUDA one.
    """

    def __init__(self, cancelled: Callable[[], bool] | None = None, cuda: Any = None) -> None:
        self.cancelled = cancelled
        self._cuda = cuda
        self._names: list[str] = []
        self._times: list[float] = []
        self._events: list[Any] = []
        self._mark()

    def check(self) -> None:
        """End the pass where nobody wants it any more.

        Raises:
            ObservationCancelledError: `cancelled` said so.
        """
        if self.cancelled is not None and self.cancelled():
            raise ObservationCancelledError()

    def lap(self, name: str) -> None:
        """End a stage.

        Raises:
            ObservationCancelledError: `cancelled` said so.
        """
        self._names.append(name)
        self._mark()
        self.check()

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, and "total" since the construction."""
        spans_ms = [(second - first) * 1e3 for first, second in pairwise(self._times)]
        if self._cuda is not None:
            self._events[-1].synchronize()
            cuda_ms = [first.elapsed_time(second) for first, second in pairwise(self._events)]
            spans_ms = list(map(max, spans_ms, cuda_ms))
        total_ms = (time.perf_counter() - self._times[0]) * 1e3
        return {**dict(zip(self._names, spans_ms, strict=True)), "total": total_ms}

    def _mark(self) -> None:
        if self._cuda is not None:
            import torch

            self._events.append(torch.cuda.Event(enable_timing=True))
            self._events[-1].record(torch.cuda.current_stream(self._cuda))
        self._times.append(time.perf_counter())
