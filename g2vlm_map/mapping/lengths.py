# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How long edges are: tracks that several edges share, and the model's depth, weighed.

Two-view geometry knows no length. Two things do: the depth that the model predicts, which is
right up to a slow bias of each keyframe, and a feature that two edges saw from the same
keyframe, whose depth is the same in both. With l the log of an edge's length and d the
`log_depth_scale` of a keyframe all of it is linear:

    depth    l_e - d_k = r          the model's depth over that at length 1, either end of e
    tie      l_e - l_f = r          depths of shared features at length 1, two edges at k
    prior    b_k - rho b_(k-1) = 0  the bias of the depth is slow (autoregressive), and bounded
    measured b_k - b_(k-1) = 0      both depths are a sensor's, in the same unit
    known    l_e = r                what an odometry says, where the scale is known

where b_k = d_k - c_k is the bias and c_k the centre: 0 in the units that a segment began in, and
wherever the segment was laid upon another one, the log of the ratio of the units. A tie carries the
scale from keyframe to keyframe, the prior keeps it from walking away. Solved by reweighted least
squares with a Cauchy kernel.

Shape letters: X unknowns, M rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from .keyframe import Edge, Tracks
from .options import LengthOptions

__all__ = ["LengthProblem", "Lengths", "Tie", "find_ties"]

Floats = NDArray[np.float64]

_DENSE = 400  # unknowns up to which the normal equations are solved as a dense matrix
_ROUNDS = 4
_KERNEL = 2.0
_LEAST_SHARED = 5
_MEASURED_STEP = 0.002  # of the log of a depth sensor's factor, from keyframe to keyframe
_MEASURED_NOISE = 0.02  # what its depth says of one edge beside that
_TIE_FLOOR = 0.02  # of a tie, however many features it rests on


@dataclass(frozen=True)
class Tie:
    """Two edges that share features of a keyframe: l_first - l_second = log_ratio."""

    first: tuple[int, int]
    second: tuple[int, int]
    log_ratio: float
    sigma: float


def find_ties(edge: Edge, others: Iterable[Edge]) -> list[Tie]:
    """What an edge's tracks say of its length beside those of other edges.

    Args:
        edge: With tracks.
        others: Edges with tracks; those that share no keyframe and camera with it are skipped.
    """
    if edge.tracks is None:
        return []
    ties = []
    for other in others:
        if other is edge or other.tracks is None or other.tracks.view != edge.tracks.view:
            continue
        for number in {edge.i, edge.j} & {other.i, other.j}:
            found = _tie(edge, other, number)
            if found is not None:
                ties.append(found)
    return ties


@dataclass(frozen=True, eq=False)
class Lengths:
    """What a solve found.

    Args:
        log_length: By edge (i, j), with its standard deviation.
        log_depth_scale: By keyframe number, with its standard deviation.
    """

    log_length: dict[tuple[int, int], tuple[float, float]]
    log_depth_scale: dict[int, tuple[float, float]]


@dataclass(eq=False)
class LengthProblem:
    """Some keyframes with their edges, as rows of a linear system.

    Args:
        options: How the sources are weighed.
        numbers: Keyframes whose depth scale is unknown, in their order in time.
        before: Number and log_depth_scale of the keyframe ahead of the first of them.
        measured: Keyframes whose depth a sensor measured.
        centres: `PlacedKeyframe.log_depth_centre` of all of these where it is not 0.
    """

    options: LengthOptions
    numbers: Sequence[int]
    before: tuple[int, float] | None = None
    measured: Set[int] = frozenset()
    centres: Mapping[int, float] = field(default_factory=dict)
    _edges: dict[tuple[int, int], int] = field(default_factory=dict)
    _rows: list[tuple[int, float, int, float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._place = {number: k for k, number in enumerate(self.numbers)}
        self._add_priors()

    def add_edges(self, edges: Iterable[Edge], fixed: Mapping[int, float]) -> None:
        """Unknown lengths, with what the depths at both ends say.

        Args:
            edges: With tracks.
            fixed: `log_depth_scale` of keyframes that are not unknowns.
        """
        for edge in edges:
            if edge.tracks is None:
                continue
            place = self._edges.setdefault((edge.i, edge.j), len(self.numbers) + len(self._edges))
            self._add_depths(edge, edge.tracks, place, fixed)

    def add_ties(self, ties: Iterable[Tie], fixed: Mapping[tuple[int, int], float]) -> None:
        """Ties between lengths; `fixed` has the log lengths of edges that are not unknowns."""
        for tie in ties:
            first, second = self._edges.get(tie.first), self._edges.get(tie.second)
            value, sigma = tie.log_ratio, tie.sigma
            if first is not None and second is not None:
                self._rows.append((first, 1.0, second, -1.0, value, sigma))
            elif first is not None and tie.second in fixed:
                self._rows.append((first, 1.0, first, 0.0, value + fixed[tie.second], sigma))
            elif second is not None and tie.first in fixed:
                self._rows.append((second, 1.0, second, 0.0, fixed[tie.first] - value, sigma))

    def add_known(self, edge: tuple[int, int], log_length: float, sigma: float) -> None:
        """A length that another source knows; nothing happens where it is no unknown."""
        place = self._edges.get(edge)
        if place is not None:
            self._rows.append((place, 1.0, place, 0.0, log_length, sigma))

    def solve(self) -> Lengths:
        """The most likely lengths and depth scales with their sigmas."""
        count = len(self.numbers) + len(self._edges)
        if not count:
            return Lengths({}, {})
        rows = np.array(self._rows, np.float64).reshape(-1, 6)
        first, second = rows[:, 0].astype(np.int64), rows[:, 2].astype(np.int64)
        value, weight = rows[:, 4], 1.0 / rows[:, 5] ** 2
        robust = np.ones(len(rows))
        found, variance = np.zeros(count), np.ones(count)
        for _ in range(_ROUNDS):
            found, variance = _least_squares(
                (first, rows[:, 1], second, rows[:, 3]), value, weight * robust, count
            )
            residual = rows[:, 1] * found[first] + rows[:, 3] * found[second] - value
            robust = 1.0 / (1.0 + residual**2 * weight / _KERNEL**2)
        sigma = np.sqrt(np.maximum(variance, 1e-12))
        return Lengths(
            {e: (float(found[k]), float(sigma[k])) for e, k in self._edges.items()},
            {n: (float(found[k]), float(sigma[k])) for n, k in self._place.items()},
        )

    def _add_priors(self) -> None:
        options = self.options
        step = options.depth_bias * math.sqrt(1 - options.bias_memory**2)
        ahead = None if self.before is None else self.before[0]
        for place, number in enumerate(self.numbers):
            last = self.numbers[place - 1] if place else ahead
            centre = self.centres.get(number, 0.0)
            if last is None:
                self._rows.append((0, 1.0, 0, 0.0, centre, options.depth_bias))
                continue
            centre_of_last = self.centres.get(last, 0.0)
            steady = {number, last} <= self.measured and centre == centre_of_last
            memory, sigma = (1.0, _MEASURED_STEP) if steady else (options.bias_memory, step)
            value = centre - memory * centre_of_last
            if place:
                self._rows.append((place, 1.0, place - 1, -memory, value, sigma))
            elif self.before is not None:
                self._rows.append((0, 1.0, 0, 0.0, value + memory * self.before[1], sigma))

    def _add_depths(
        self, edge: Edge, tracks: Tracks, place: int, fixed: Mapping[int, float]
    ) -> None:
        for side, number in enumerate((edge.i, edge.j)):
            ratio = tracks.log_ratio_2[side]
            if not math.isfinite(ratio):
                continue
            noise = _MEASURED_NOISE if number in self.measured else self.options.depth_noise
            sigma = math.hypot(tracks.ratio_sigma_2[side], noise)
            at = self._place.get(number)
            if at is not None:
                self._rows.append((place, 1.0, at, -1.0, ratio, sigma))
            elif number in fixed:
                self._rows.append((place, 1.0, place, 0.0, ratio + fixed[number], sigma))


def _tie(edge: Edge, other: Edge, number: int) -> Tie | None:
    assert edge.tracks is not None
    assert other.tracks is not None
    mine, theirs = int(number == edge.j), int(number == other.j)
    _, at, there = np.intersect1d(
        edge.tracks.feature_K2[:, mine], other.tracks.feature_K2[:, theirs], return_indices=True
    )
    a = edge.tracks.log_depth_K2[at, mine].astype(np.float64)
    b = other.tracks.log_depth_K2[there, theirs].astype(np.float64)
    sigma = np.hypot(edge.tracks.sigma_K[at], other.tracks.sigma_K[there]).astype(np.float64)
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < _LEAST_SHARED:
        return None
    # exp(a) l_first is the same depth as exp(b) l_second.
    value, weight = (b - a)[good], 1 / np.maximum(sigma[good], 1e-3)
    order = value.argsort()
    half = np.searchsorted(weight[order].cumsum(), 0.5 * weight.sum())
    middle = float(value[order][min(int(half), len(order) - 1)])
    spread = 1.4826 * float(np.median(np.abs(value - middle)))
    error = math.hypot(1.25 * spread / math.sqrt(len(value)), _TIE_FLOOR)
    return Tie((edge.i, edge.j), (other.i, other.j), middle, error)


def _least_squares(
    rows: tuple[NDArray[np.int64], Floats, NDArray[np.int64], Floats],
    value_M: Floats,
    weight_M: Floats,
    count: int,
) -> tuple[Floats, Floats]:
    """Solution and variances of rows with two coefficients each."""
    first, a, second, b = rows
    right = np.zeros(count)
    np.add.at(right, first, a * weight_M * value_M)
    np.add.at(right, second, b * weight_M * value_M)
    at_row = np.concatenate((first, second, first, second, np.arange(count)))
    at_col = np.concatenate((first, second, second, first, np.arange(count)))
    cross = a * b * weight_M
    data = np.concatenate((a * a * weight_M, b * b * weight_M, cross, cross, np.full(count, 1e-9)))
    if count <= _DENSE:
        normal = np.zeros((count, count))
        np.add.at(normal, (at_row, at_col), data)
        inverse = linalg.inv(normal, check_finite=False)
        return inverse @ right, inverse.diagonal().copy()
    thin = sparse.coo_matrix((data, (at_row, at_col)), shape=(count, count)).tocsc()
    # Exact variances would take the inverse; that of a row's neighbours held fixed, doubled, does.
    how = {"SymmetricMode": True}
    factor = splu(thin, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=how)
    return factor.solve(right), 2.0 / thin.diagonal()
