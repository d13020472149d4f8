# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How far a TensorRT build is: its phases as one fraction, shown and cancellable.

TensorRT reports a tree of phases, each with a number of steps that is known beforehand. The
fraction of a phase is (steps done + fractions of the phases inside it, as parts of the step
under way) / steps; that of the outermost one is the build's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["PhaseTree", "make_monitor"]

# Seconds left are told of a build whose steps have come at a pace for so long. TensorRT-RTX does
# nearly all of its work in one step without a sign of life: there they stay unknown.
PACE_S = 3.0


@dataclass
class _Phase:
    name: str
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """Phases that TensorRT is in; thread-safe, as it calls from several threads.

    Args:
        cancelled: Asked after each step; true ends the build at that step.
    """

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._started = self._last = time.monotonic()
        self._stage = "starting"
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase has begun."""
        with self._lock:
            self._phases[name] = _Phase(name, parent, max(1, steps))
            self._stage = name

    def step(self, name: str, index: int) -> bool:
        """A step of a phase is done; False asks TensorRT to end the build."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = max(phase.done, index + 1)
                self._advance(self._total())
        return not self._cancelled()

    def finish(self, name: str) -> None:
        """A phase has ended."""
        with self._lock:
            ended = self._phases.pop(name, None)
            if ended is not None and ended.parent is None:
                self._advance(1.0)

    def state(self) -> tuple[str, float, float | None]:
        """What is being done, the fraction that is done, and seconds left where known."""
        with self._lock:
            return self._stage, self._fraction, self._seconds_left()

    def _advance(self, fraction: float) -> None:
        if fraction > self._fraction:
            self._fraction, self._last = fraction, time.monotonic()

    def _seconds_left(self) -> float | None:
        """At the pace so far; None where that says nothing about the rest."""
        pace_s, silent_s = self._last - self._started, time.monotonic() - self._last
        if self._fraction >= 1.0:
            return 0.0
        if pace_s < PACE_S or silent_s > pace_s:
            return None
        return max(0.0, pace_s * (1 - self._fraction) / self._fraction - silent_s)

    def _total(self) -> float:
        roots = [phase for phase in self._phases.values() if phase.parent not in self._phases]
        return max((self._fraction_of(phase) for phase in roots), default=0.0)

    def _fraction_of(self, phase: _Phase) -> float:
        inner = [child for child in self._phases.values() if child.parent == phase.name]
        under_way = max((self._fraction_of(child) for child in inner), default=0.0)
        return min(1.0, (phase.done + min(1.0, under_way)) / phase.steps)


def make_monitor(api: Any, tree: PhaseTree) -> Any:
    """Return TensorRT's view of a tree; None where this TensorRT reports no progress (8.x).

    Args:
        api: The Python module of the TensorRT.
        tree: Where the phases go.
    """
    if not hasattr(api, "IProgressMonitor"):
        return None

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        """Named as TensorRT calls them; an exception must not reach its C++."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tree.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return tree.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            tree.finish(phase_name)

    return Monitor()
