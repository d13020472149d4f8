# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What many runs say together: is the truth where the sigma says, and how large are the errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .scale_runs import Said, Stretch

__all__ = ["HEADER", "Row", "row_of"]

_SETTLED = 24  # keyframes from which errors count


@dataclass(frozen=True)
class Row:
    """One set of sensors over many drives; shares are of keyframes, errors are relative.

    Args:
        name: Of the sensors.
        drives, stretches, keyframes: How many; a stretch is a segment of a drive.
        inside: Share with the truth of the whole stretch inside two sigma.
        inside_so_far: The same with the truth of the map until then.
        inside_depth: The same of the depth's scale.
        median, p95: Error from 24 keyframes on, of the scale of the whole stretch.
        median_so_far, p95_so_far: The same of the map until then.
        depth_median: The same of the depth's scale.
        metric, metric_settled: Share that was called metric; the same from 24 keyframes on.
        metric_wrong: Share of those with the truth of the map until then outside of two sigma.
        sigma: Median standard deviation from 24 keyframes on.
        conflicts: Share of the stretches that raised SCALE_CONFLICT.
    """

    name: str
    drives: int
    stretches: int
    keyframes: int
    inside: float
    inside_so_far: float
    inside_depth: float
    median: float
    p95: float
    median_so_far: float
    p95_so_far: float
    depth_median: float
    metric: float
    metric_settled: float
    metric_wrong: float
    sigma: float
    conflicts: float

    def cells(self) -> list[str]:
        """Of a table."""
        return [
            value
            if isinstance(value, str)
            else f"{value:.3f}"
            if isinstance(value, float)
            else str(value)
            for value in asdict(self).values()
        ]


HEADER = tuple(Row.__dataclass_fields__)


def row_of(name: str, stretches: Sequence[Stretch]) -> Row:
    """The row of all runs with one set of sensors."""
    known = [(stretch, said) for stretch in stretches for said in stretch.said]
    known = [(stretch, said) for stretch, said in known if np.isfinite(said.estimate.sigma)]
    settled = [(stretch, said) for stretch, said in known if said.number >= _SETTLED]
    errors = [_error(stretch, said) for stretch, said in settled]
    so_far = [
        abs(said.estimate.log_scale - float(stretch.log_so_far[said.number - 1]))
        for stretch, said in settled
    ]
    depths = [
        abs(said.estimate.log_depth_scale - stretch.log_depth)
        for stretch, said in settled
        if np.isfinite(said.estimate.depth_sigma)
    ]
    metric = [(stretch, said) for stretch, said in known if said.estimate.metric]
    return Row(
        name,
        len({(stretch.drive, stretch.seed) for stretch in stretches}),
        len(stretches),
        sum(len(stretch.said) for stretch in stretches),
        _mean(_inside(stretch, said, lambda s, n: s.log_trajectory) for stretch, said in known),
        _mean(
            _inside(stretch, said, lambda s, n: float(s.log_so_far[n - 1]))
            for stretch, said in known
            if np.isfinite(stretch.log_so_far[said.number - 1])
        ),
        _mean(
            abs(said.estimate.log_depth_scale - stretch.log_depth) <= 2 * said.estimate.depth_sigma
            for stretch, said in known
            if np.isfinite(said.estimate.depth_sigma)
        ),
        _percentile(errors, 50),
        _percentile(errors, 95),
        _percentile(so_far, 50),
        _percentile(so_far, 95),
        _percentile(depths, 50),
        len(metric) / max(1, sum(len(stretch.said) for stretch in stretches)),
        _mean(
            said.estimate.metric
            for stretch in stretches
            for said in stretch.said
            if said.number >= _SETTLED
        ),
        _mean(not _inside(s, said, lambda s, n: float(s.log_so_far[n - 1])) for s, said in metric),
        _percentile([said.estimate.sigma for _, said in settled], 50),
        _mean(any(said.conflict for said in stretch.said) for stretch in stretches),
    )


def _error(stretch: Stretch, said: Said) -> float:
    return abs(said.estimate.log_scale - stretch.log_trajectory)


def _inside(stretch: Stretch, said: Said, truth: Callable[[Stretch, int], float]) -> bool:
    off = abs(said.estimate.log_scale - truth(stretch, said.number))
    return off <= 2 * said.estimate.sigma


def _mean(values: object) -> float:
    listed = list(values)  # type: ignore[call-overload]
    return float(np.mean(listed)) if listed else float("nan")


def _percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else float("nan")
