# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The matches of one model on many sequences, pooled: what a correspondence analysis says.

Shape letters: N later frames, Q points, W sequences, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .correspondence import Floats, SequenceMatches

__all__ = ["Analysis", "Spread", "summarised"]


@dataclass(frozen=True)
class Spread:
    """Mean over all points, and standard deviation over sequences; NaN where nothing is known."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Analysis:
    """One model on all sequences.

    Args:
        name: Of the model.
        gaps: Frames between the first frame and each later one.
        pck: Per layer.
        moved_pck: Per layer, of the points that moved by more than two patches.
        correlation: Per layer, of the highest attention; the mean is over sequences.
        nearby_correlation: The same of the attention within two patches of the match.
        robustness: Per gap, of the best layer: PCK over that of the smallest gap.
        gap_pck: Per gap, of the best layer.
        gap_still: Per gap, of the same patch.
        best_layer: With the highest PCK.
        chance, still: PCK of a random patch, and of the same patch.
        sequences, points, moved: How many were counted.
        grid_hw: Rows and columns of patches.
    """

    name: str
    gaps: tuple[int, ...]
    pck: tuple[Spread, ...]
    moved_pck: tuple[Spread, ...]
    correlation: tuple[Spread, ...]
    nearby_correlation: tuple[Spread, ...]
    robustness: tuple[Spread, ...]
    gap_pck: tuple[Spread, ...]
    gap_still: tuple[float, ...]
    best_layer: int
    chance: float
    still: float
    sequences: int
    points: int
    moved: int
    grid_hw: tuple[int, int]


def summarised(name: str, gaps: Sequence[int], found: Sequence[SequenceMatches]) -> Analysis:
    """Pool the sequences of one model.

    Args:
        name: Of the model.
        gaps: Of the later frames, rising.
        found: At least one sequence.
    """
    pck = _pooled(found, [one.visible_NQ for one in found])
    highest_WL = np.stack([one.correlation_L(one.confidence_LNQ) for one in found])
    nearby_WL = np.stack([one.correlation_L(one.nearby_LNQ) for one in found])
    alike_W = np.ones(len(found))
    best = int(np.nanargmax([one.mean for one in pck]))
    gap_points = [[one.at_gap(frame) for one in found] for frame in range(len(gaps))]
    by_gap = [_pooled(found, counted)[best] for counted in gap_points]
    nearest = by_gap[0].mean if by_gap[0].mean > 0 else math.nan
    return Analysis(
        name=name,
        gaps=tuple(gaps),
        pck=pck,
        moved_pck=_pooled(found, [one.moved_NQ for one in found]),
        correlation=tuple(_spread(rho_W, alike_W) for rho_W in highest_WL.T),
        nearby_correlation=tuple(_spread(rho_W, alike_W) for rho_W in nearby_WL.T),
        robustness=tuple(Spread(one.mean / nearest, one.deviation / nearest) for one in by_gap),
        gap_pck=tuple(by_gap),
        gap_still=tuple(
            _share([one.still_NQ[seen] for one, seen in zip(found, counted, strict=True)])
            for counted in gap_points
        ),
        best_layer=best,
        chance=_share([one.chance_NQ[one.visible_NQ] for one in found]),
        still=_share([one.still_NQ[one.visible_NQ] for one in found]),
        sequences=len(found),
        points=sum(int(one.visible_NQ.sum()) for one in found),
        moved=sum(int(one.moved_NQ.sum()) for one in found),
        grid_hw=found[0].grid_hw,
    )


def _pooled(
    found: Sequence[SequenceMatches], counted: Sequence[NDArray[np.bool_]]
) -> tuple[Spread, ...]:
    """PCK per layer over the points that count."""
    weight_W = np.array([points.sum() for points in counted], np.float64)
    pck_WL = np.stack([one.pck_L(points) for one, points in zip(found, counted, strict=True)])
    return tuple(_spread(pck_W, weight_W) for pck_W in pck_WL.T)


def _share(parts: Sequence[NDArray[np.generic]]) -> float:
    """Mean over all points; NaN where there is none."""
    values = np.concatenate(parts)
    return float(values.astype(np.float64).mean()) if len(values) else math.nan


def _spread(values_W: Floats, weight_W: Floats) -> Spread:
    known = np.isfinite(values_W)
    if not known.any():
        return Spread(math.nan, math.nan)
    mean = float(np.average(values_W[known], weights=weight_W[known]))
    return Spread(mean, float(values_W[known].std()))
