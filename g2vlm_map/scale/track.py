# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What one kind of source says over time: a believed scale, and who contradicts it.

The first readings start from their median. Later ones pass a chi-square gate; what it turns away
is remembered, and where that agrees with itself a rival is believed beside the incumbent: while
the two contend, the difference is part of the uncertainty, so nothing is called metric. A rival
that holds for `SPAN` keyframes takes over; one that nobody supports any more goes. So a stretch
of slipping wheels does not win, and a wrong start cannot lock the truth out.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from .bank import BiasBank
from .estimate import ScaleReading
from .kinds import Kind
from .steadiness import STRETCH, spread_of_stretches, stretches

__all__ = ["MOST_REJECTED", "SPAN", "SourceTrack"]

SPAN = STRETCH  # keyframes between two readings that vouch for each other
GATE = 16.0  # squared standard deviations: a map's own lengths have long tails
START = 5  # readings whose median is where the search begins
_RECENT = 8  # readings that decide between the incumbent and a rival
_REVOLT = 5  # of them turned away make a rival
_KEPT = 400  # readings whose keyframes are remembered
_PATH, _SHARED = 1.5, 0.6  # of the path's own sigma and the bank's; chosen on the tuning drives
MOST_REJECTED = 0.5  # share of the readings; who errs so often may err in those that pass
_LEAST_SPREAD = 0.1  # of readings at the start, that one may differ by three times


@dataclass
class _Belief:
    """A bank and the readings that it took in."""

    bank: BiasBank
    first: int
    last: int
    total: float = 0.0
    count: int = 0
    keyframes: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT))

    @property
    def mean(self) -> float:
        """Of the readings: the scale of what was seen so far."""
        return self.total / max(1, self.count)

    @classmethod
    def of(cls, kind: Kind, readings: list[ScaleReading]) -> _Belief:
        """Begin at the median of some readings, without those far from it."""
        values = np.array([item.log_scale for item in readings])
        centre = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - centre))), _LEAST_SPREAD)
        near = [
            item
            for item in readings
            if abs(item.log_scale - centre) <= 3 * math.hypot(spread, item.sigma)
        ]
        first = near[0].keyframe
        made = cls(BiasBank(kind.bias_sigma, kind.drift, centre, first), first, first)
        for item in near:
            made.take(item)
        return made

    def accepts(self, item: ScaleReading) -> bool:
        self.bank.advance(item.keyframe)
        mean, variance = self.bank.expected(item.sigma)
        return (item.log_scale - mean) ** 2 <= GATE * variance

    def take(self, item: ScaleReading) -> None:
        self.bank.advance(item.keyframe)
        self.bank.update(item.log_scale, item.sigma)
        self.last = item.keyframe
        self.total += item.log_scale
        self.count += 1
        self.keyframes.append(item.keyframe)


@dataclass
class SourceTrack:
    """The scale as one kind of source knows it.

    Args:
        kind: Of the source.
    """

    kind: Kind
    count: int = 0  # readings so far, those turned away included
    rejected: int = 0
    replaced: int = 0  # how often a rival took over
    _starting: list[ScaleReading] = field(default_factory=list)
    _belief: _Belief | None = None
    _rival: _Belief | None = None
    _recent: deque[tuple[ScaleReading, str]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _heard: deque[ScaleReading] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _stretches: tuple[int, list[tuple[float, float]]] = (0, [])  # of so many readings

    @property
    def known(self) -> bool:
        """Whether it has said anything."""
        return self._belief is not None

    @property
    def contested(self) -> float:
        """Log of the rival's scale over the incumbent's; 0 where there is no rival."""
        if self._belief is None or self._rival is None:
            return 0.0
        return self._rival.bank.moments[0] - self._belief.bank.moments[0]

    def drift(self, most: float) -> str:
        """How the map's scale drifts by this source, in words; "" where it does not.

        Args:
            most: Standard deviation from stretch to stretch that is none.
        """
        if self._belief is None:
            return ""
        until = math.exp(self._belief.mean)
        if self.contested:
            times = math.exp(self.contested)
            return f"said {until:.3g} m a unit until lately, and says {times:.2f} times that now"
        if self.unsteady <= most:
            return ""
        scales = [math.exp(log_scale) for log_scale, _ in self.stretches]
        return (
            f"says {scales[0]:.3g} m a unit over the last {STRETCH} keyframes, and from "
            f"{min(scales):.3g} to {max(scales):.3g} over all stretches of as many"
        )

    @property
    def span(self) -> int:
        """Keyframes between the first and the last reading that was taken in."""
        return 0 if self._belief is None else self._belief.last - self._belief.first

    @property
    def last(self) -> int:
        """Keyframe of the last reading that was taken in; 0 where there is none."""
        return 0 if self._belief is None else self._belief.last

    @property
    def believed(self) -> frozenset[int]:
        """Keyframes of the readings that were taken in, as far as they are remembered."""
        return frozenset() if self._belief is None else frozenset(self._belief.keyframes)

    @property
    def stretches(self) -> list[tuple[float, float]]:
        """Log-scale of each 20 keyframes and its standard error, the newest first."""
        if self._stretches[0] != self.count:
            self._stretches = self.count, stretches(self._heard)
        return self._stretches[1]

    @property
    def unsteady(self) -> float:
        """Standard deviation of the log-scale from stretch to stretch of the map."""
        return spread_of_stretches(self.stretches)

    def estimate(
        self, keyframe: int, path: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """Log-scale of the map so far, and its standard deviation as that of the map to come.

        Args:
            keyframe: The newest.
            path: The log-scale of all lengths that were taken in at once, and its standard
                deviation, where they are known: better than the mean of the readings.

        Returns:
            (0, inf) where nothing is known.
        """
        if self._belief is None:
            return 0.0, math.inf
        self._belief.bank.advance(keyframe)
        mean, sigma = self._belief.mean, math.sqrt(self._belief.bank.moments[1])
        if path is not None:
            mean = path[0]
            if math.isfinite(path[1]):
                sigma = math.hypot(_PATH * path[1], _SHARED * sigma)
        sigma /= 1 - min(self.rejected / max(1, self.count), MOST_REJECTED)
        return mean, math.hypot(sigma, self.kind.floor, self.contested, self.unsteady)

    def add(self, item: ScaleReading) -> None:
        """Take in a reading of the newest keyframe, or turn it away."""
        self.count += 1
        self._heard.append(item)
        if len(self._starting) < START:
            self._starting.append(item)
            self._belief = _Belief.of(self.kind, self._starting)
            self.rejected = len(self._starting) - self._belief.count
            return
        assert self._belief is not None
        if self._belief.accepts(item):
            self._belief.take(item)
            verdict = "incumbent"
        elif self._rival is not None and self._rival.accepts(item):
            self._rival.take(item)
            verdict = "rival"
        else:
            verdict = "nobody"
        self.rejected += verdict != "incumbent"
        self._recent.append((item, verdict))
        self._contend()

    def _contend(self) -> None:
        """Let a rival rise, take over, or go."""
        against = [item for item, verdict in self._recent if verdict != "incumbent"]
        if self._rival is None:
            if len(against) >= _REVOLT and _agree(against):
                self._rival = _Belief.of(self.kind, against)
            return
        held = sum(verdict == "rival" for _, verdict in self._recent)
        if held >= _REVOLT and self._rival.last - self._rival.first > SPAN:
            self._belief, self._rival = self._rival, None
            self.replaced += 1
            self._recent.clear()
        elif len(against) < _RECENT - _REVOLT:
            self._rival = None


def _agree(readings: list[ScaleReading]) -> bool:
    """Whether readings lie no further apart than one slow bias and their noise allow."""
    values = np.array([item.log_scale for item in readings])
    noise = float(np.median([item.sigma for item in readings]))
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return spread <= 2 * math.hypot(noise, _LEAST_SPREAD)
