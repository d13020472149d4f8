"""Milliseconds of the stages of a pass, on the CPU's clock."""

from __future__ import annotations

import time

__all__ = ["HostClock"]


class HostClock:
    """Times consecutive stages: `lap(name)` ends a stage."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._names: list[str] = []
        self._times: list[float] = [self._started]

    def lap(self, name: str) -> None:
        """End a stage."""
        self._names.append(name)
        self._times.append(time.perf_counter())

    def read(self) -> dict[str, float]:
        """Milliseconds of each stage, and "total" since the construction."""
        return self._read(self._host_ms())

    def _read(self, spans_ms: list[float]) -> dict[str, float]:
        laps = dict(zip(self._names, spans_ms, strict=True))
        return {**laps, "total": (time.perf_counter() - self._started) * 1e3}

    def _host_ms(self) -> list[float]:
        pairs = zip(self._times[:-1], self._times[1:], strict=True)
        return [(second - first) * 1e3 for first, second in pairs]
