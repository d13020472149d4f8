"""The stages of a pass: what each takes, and whether anybody still wants the pass.

On a CUDA device the laps are events in its queue, so that no stage waits for the one before; torch
is imported for such a device only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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
        self._times = [time.perf_counter()]
        self._events: list[Any] = []
        self._mark()

    def check(self) -> None:
        """End the pass where nobody wants it any more.

        Raises:
            ObservationCancelledError: `cancelled` said so.
        """
        if self.cancelled is not None and self.cancelled():
            raise ObservationCancelledError("the observation was cancelled")

    def lap(self, name: str) -> None:
        """End a stage.

        Raises:
            ObservationCancelledError: `cancelled` said so.
        """
        self._names.append(name)
        self._mark()
        self._times.append(time.perf_counter())
        self.check()

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, and "total" since the construction."""
        spans_ms = [
            (second - first) * 1e3
            for first, second in zip(self._times[:-1], self._times[1:], strict=True)
        ]
        if self._cuda is not None:
            self._events[-1].synchronize()
            pairs = zip(spans_ms, self._events[:-1], self._events[1:], strict=True)
            spans_ms = [max(host, first.elapsed_time(second)) for host, first, second in pairs]
        total_ms = (time.perf_counter() - self._times[0]) * 1e3
        return {**dict(zip(self._names, spans_ms, strict=True)), "total": total_ms}

    def _mark(self) -> None:
        if self._cuda is None:
            return
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._cuda))
        self._events.append(event)
