# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Samples of many windows to numbers with 95 % intervals, and to tables.

An interval resamples sequences (rooms) where there are ten or more, else runs of neighbouring
windows, ten in all: windows of one sequence overlap and show the same things, so they are no
independent evidence (moving blocks: Kuensch 1989).

Shape letters: S samples, G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .confidence import quartile_ratio, sparsification_error

__all__ = [
    "GAINS",
    "METRICS",
    "Estimate",
    "Metric",
    "difference",
    "drawn_groups",
    "estimate",
    "groups_of",
    "interval_of",
    "value_of",
]

Floats = NDArray[np.float64]
Samples = Mapping[str, Floats]

_RESAMPLES = 1000
_POOLED_RESAMPLES = 200
_LEAST_GROUPS = 10
_THRESHOLDS_DEG = np.arange(1, 31)
GAINS = (  # title, row, baseline, samples
    ("AbsRel: head - mean-depth map", "head", "mean-depth map", "abs_rel"),
    ("rotation, mean deg: head - identity", "head", "identity motion", "rotation_deg"),
    ("rotation, mean deg: refined - head", "refined", "head", "rotation_deg"),
)


@dataclass(frozen=True)
class Metric:
    """One column.

    Args:
        key: Name in files.
        title: Name in tables.
        samples: Key of the samples that it pools.
        kind: "mean", "below" (share below `limit`), "auc" (mean over the thresholds 1..30 degrees
            of the share below), or one of `_POOLED`, which look at all samples together.
        limit: For "below".
        digits: After the point.
        lower_is_better: Direction.
    """

    key: str
    title: str
    samples: str
    kind: str = "mean"
    limit: float = 0.0
    digits: int = 3
    lower_is_better: bool = True

    def transformed(self, values: Floats) -> Floats:
        """Numbers whose mean is the metric (for `_POOLED` the samples themselves)."""
        if self.kind == "below":
            return (values < self.limit).astype(np.float64)
        if self.kind == "auc":
            return np.asarray((values[:, None] < _THRESHOLDS_DEG).mean(axis=1), np.float64)
        return values


_POOLED: dict[str, Callable[[Floats], float]] = {
    "median": lambda values: float(np.median(values)),
    "quartiles": quartile_ratio,
    "sparsification": sparsification_error,
    "ratio": lambda values: float(values[:, 0].sum() / max(values[:, 1].sum(), 1e-12)),
}


def _share(key: str, title: str, samples: str, limit: float) -> Metric:
    return Metric(key, title, samples, "below", limit, lower_is_better=False)


METRICS: tuple[Metric, ...] = (
    Metric("abs_rel", "AbsRel", "abs_rel"),
    Metric("delta_125", "d<1.25", "delta_125", lower_is_better=False),
    Metric("accuracy_mean", "acc. mean", "accuracy_mean"),
    Metric("accuracy_median", "acc. med.", "accuracy_median"),
    Metric("completeness_mean", "comp. mean", "completeness_mean"),
    Metric("completeness_median", "comp. med.", "completeness_median"),
    Metric("normal_mean_deg", "normals mean", "normal_mean_deg", digits=1),
    Metric("normal_median_deg", "normals med.", "normal_median_deg", digits=1),
    Metric("seams", "seams", "seam_steps", "ratio", digits=2),
    Metric("rotation_median_deg", "rot. med.", "rotation_deg", "median", digits=2),
    _share("rra5", "RRA5", "rotation_deg", 5),
    _share("rra15", "RRA15", "rotation_deg", 15),
    _share("rra30", "RRA30", "rotation_deg", 30),
    _share("rta5", "RTA5 signed", "direction_deg", 5),
    _share("rta15", "RTA15 signed", "direction_deg", 15),
    _share("rta30", "RTA30 signed", "direction_deg", 30),
    Metric("auc30", "AUC30 signed", "worst_deg", "auc", lower_is_better=False),
    _share("rta5_folded", "RTA5 folded", "folded_deg", 5),
    _share("rta15_folded", "RTA15 folded", "folded_deg", 15),
    _share("rta30_folded", "RTA30 folded", "folded_deg", 30),
    Metric("auc30_folded", "AUC30 folded", "worst_folded_deg", "auc", lower_is_better=False),
    Metric("near_rotation_median_deg", "near rot. med.", "near_rotation_deg", "median", digits=2),
    Metric("near_auc30", "near AUC30", "near_worst_deg", "auc", lower_is_better=False),
    Metric("matched", "matched", "matched", lower_is_better=False),
    Metric("matched_still", "matched, still", "matched_still", lower_is_better=False),
    Metric("confidence_ratio", "conf. quartiles", "confidence", "quartiles"),
    Metric("confidence_area", "conf. area", "confidence", "sparsification"),
    Metric("invalid_found", "sky found", "invalid_found", lower_is_better=False),
    Metric("invalid_wrong", "taken for sky", "invalid_wrong", digits=4),
)


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def groups_of(sequences: Sequence[str], firsts: Sequence[int]) -> tuple[NDArray[np.int64], str]:
    """Group number of each window, and what the groups are: "sequences" or "runs of windows".

    Args:
        sequences: Name of the sequence of each window.
        firsts: Number of each window's first frame there.
    """
    names, index = np.unique(np.asarray(sequences), return_inverse=True)
    if len(names) >= _LEAST_GROUPS:
        return index.astype(np.int64), "sequences"
    runs = -(-_LEAST_GROUPS // max(1, len(names)))  # of each sequence, rounded up
    groups = np.zeros(len(index), np.int64)
    count = 0
    for sequence in range(len(names)):
        mine = np.flatnonzero(index == sequence)
        in_order = mine[np.argsort(np.asarray(firsts)[mine], kind="stable")]
        for run in np.array_split(in_order, min(runs, len(in_order))):
            groups[run] = count
            count += 1
    return groups, "runs of windows"


def drawn_groups(count: int, draws: int = _RESAMPLES, seed: int = 0) -> NDArray[np.int64]:
    """(draws, count) numbers of groups, each row drawn with replacement (Efron 1979)."""
    return np.random.default_rng(seed).integers(0, count, (draws, count))


def interval_of(spread: Floats) -> tuple[float, float]:
    """The middle 95 % of what the draws say; those that say nothing (NaN) are left out."""
    low, high = np.nanpercentile(spread, [2.5, 97.5])
    return float(low), float(high)


def value_of(metric: Metric, samples: Samples) -> float | None:
    """The metric of one window; None where the window has no sample of it."""
    values = samples.get(metric.samples)
    if values is None or not len(values):
        return None
    changed = metric.transformed(values)
    pooled = _POOLED.get(metric.kind)
    return float(changed.mean()) if pooled is None else pooled(changed)


def estimate(
    metric: Metric, windows: Sequence[Samples], groups: NDArray[np.int64], seed: int = 0
) -> Estimate | None:
    """Pool a metric over windows; None where no window has a sample of it.

    Args:
        metric: Which.
        windows: Samples of each window.
        groups: Group number of each window, from `groups_of`.
        seed: Of the resampling.
    """
    parts = [(group, w[metric.samples]) for group, w in zip(groups, windows, strict=True)
             if len(w.get(metric.samples, ()))]  # fmt: skip
    if not parts:
        return None
    names, index = np.unique([group for group, _ in parts], return_inverse=True)
    per_group: list[list[Floats]] = [[] for _ in names]
    for group, (_, values) in zip(index, parts, strict=True):
        per_group[group].append(metric.transformed(values))
    pooled = [np.concatenate(items) for items in per_group]
    if metric.kind in _POOLED:
        of = _POOLED[metric.kind]
        value = of(np.concatenate(pooled))
        picks = drawn_groups(len(pooled), _POOLED_RESAMPLES, seed)
        spread = np.array([of(np.concatenate([pooled[k] for k in pick])) for pick in picks])
    else:
        sums = np.array([items.sum() for items in pooled])
        counts = np.array([len(items) for items in pooled])
        value = float(sums.sum() / counts.sum())
        picks = drawn_groups(len(pooled), seed=seed)
        spread = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return Estimate(value, *interval_of(spread))


def difference(
    key: str,
    mine: Sequence[Samples],
    theirs: Sequence[Samples],
    groups: NDArray[np.int64],
    seed: int = 0,
) -> Estimate | None:
    """Mean of one kind of samples minus that of another row on the same windows.

    Args:
        key: Of the samples.
        mine, theirs: Samples of the same windows.
        groups: See `estimate`.
        seed: Of the resampling.
    """
    both = [
        {"d": np.atleast_1d(a[key].mean() - b[key].mean())} if len(a.get(key, ())) else {}
        for a, b in zip(mine, theirs, strict=True)
    ]
    return estimate(Metric("d", "d", "d"), both, groups, seed)
