"""Milliseconds of the stages of a pass, without stopping a CUDA device between them."""

from __future__ import annotations

import time

import torch

__all__ = ["StageClock"]


class StageClock:
    """Times consecutive stages: `lap(name)` ends a stage.

    On a CUDA device the laps are events in its queue; `read` waits for the last one.

    Args:
        device: Where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._started = time.perf_counter()
        self._names: list[str] = []
        self._times: list[float] = [self._started]
        self._events: list[torch.cuda.Event] = []
        self._mark()

    def lap(self, name: str) -> None:
        """End a stage."""
        self._names.append(name)
        self._mark()

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, and "total" since the construction."""
        if self._cuda:
            torch.cuda.synchronize(self._device)
            spans = [
                max(host, first.elapsed_time(second))
                for host, first, second in zip(
                    self._host_ms(), self._events[:-1], self._events[1:], strict=True
                )
            ]
        else:
            spans = self._host_ms()
        laps = dict(zip(self._names, spans, strict=True))
        return {**laps, "total": (time.perf_counter() - self._started) * 1e3}

    def _host_ms(self) -> list[float]:
        pairs = zip(self._times[:-1], self._times[1:], strict=True)
        return [(second - first) * 1e3 for first, second in pairs]

    def _mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._events.append(event)
        if self._names:
            self._times.append(time.perf_counter())
