"""Milliseconds of the stages of a pass, without stopping a CUDA device between them."""

from __future__ import annotations

import torch

from ..clock import HostClock

__all__ = ["StageClock"]


class StageClock(HostClock):
    """Times consecutive stages: `lap(name)` ends a stage.

    On a CUDA device the laps are events in its queue; `read` waits for the last one.

    Args:
        device: Where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._cuda = device.type == "cuda"
        self._device = device
        self._events: list[torch.cuda.Event] = []
        self._mark()

    def lap(self, name: str) -> None:
        """End a stage."""
        self._mark()
        super().lap(name)

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, and "total" since the construction."""
        if not self._cuda:
            return super().read()
        torch.cuda.synchronize(self._device)
        spans = [
            max(host, first.elapsed_time(second))
            for host, first, second in zip(
                self._host_ms(), self._events[:-1], self._events[1:], strict=True
            )
        ]
        return self._read(spans)

    def _mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._events.append(event)
