# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scale of a path: the similarity that lays the map's keyframes on where a sensor saw them.

The ratio of single chords scatters as much as the map's local scale does; the similarity over all
of them is the scale of the map as a whole (Umeyama, "Least-squares estimation of transformation
parameters between two point patterns", 1991). A path falls into pieces where odometry leapt or
ranges followed nothing: each piece is laid by itself, all with one scale,

    s = sum_p tr(D_p S_p) / sum_p |map points of p about their middle|^2.

Where a map bends, each part that is left out moves the scale, so none is for being unlike the
others. What a map does not do is to change its scale for a step or two: such a step (a slip, a
skipped count) is given the length that the steps around it say (Hampel 1974: beyond three median
deviations), where it is the sensor's steps that leap and not the map's. Wheels can slip for
longer: then those around it are the nearest that the gate let pass. How far the scale moves by
that is part of what is not known.

Of the map's extent, the denominator over all keyframes, the pieces hold a share; the rest lies
between them and nobody measured it.

How sure the scale is: the path is cut into blocks of neighbours, which err together, and each is
left out in turn (the jackknife: Quenouille 1956, Tukey 1958).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..mapping.edges import weighted_median
from ..mapping.keyframe import PlacedKeyframe
from ..poses import Floats
from .readings import Measured
from .steadiness import spread_of_lengths

__all__ = ["PathScale", "path_scale"]

Pieces = list[tuple[Floats, Floats]]
Spot = tuple[int, Floats, bool]  # keyframe, where it was, whether the way there is believed

_LONGEST = 240  # keyframes of a piece: beyond it the odometry's heading has drifted away
_SAME_PLACE = 1e-9  # metres
_BLOCKS, _LEAST_BLOCKS = 6, 3
_AROUND = 8  # steps to either side that a step is held against
_LEAST_SURE = 6  # steps; of fewer nothing is held against others
_DEVIATIONS, _LEAST_DEVIATION = 3.0, 0.25  # of the log of a step's scale that is none
_BETWEEN = 0.2  # std of the log-scale between pieces about that within; on the tuning drives


class PathScale(NamedTuple):
    """The scale of the path.

    Args:
        log_scale: Log of metres per map unit, by all of it.
        sigma: Standard deviation of that by what its parts differ by; infinite where there are
            too few of them.
        spread: How far the scale by short and by long lengths stands from it, rms of the log.
        apart: How far that with the steps does that are like none around them.
        uncovered: Standard deviation by the share of the map that lies between the pieces.
        reach: Keyframes from the first to the last of the piece that holds the most.
    """

    log_scale: float
    sigma: float
    spread: float
    apart: float
    uncovered: float
    reach: int


def path_scale(
    chords: Sequence[Measured],
    believed: Container[int],
    placed: Mapping[int, PlacedKeyframe],
    since: int = 0,
) -> PathScale | None:
    """Metres per map unit by all lengths together.

    Args:
        chords: In the order of time, with their ends.
        believed: Keyframes at which those end that other steps are held against.
        placed: Keyframes by number, with their poses of now.
        since: Number of the first keyframe that the chords could know of.

    Returns:
        None where fewer than three keyframes hang together, or nothing moved.
    """
    joined = _pieces(chords, believed, placed)
    raw = [_both(piece, placed) for piece in joined]
    pieces = _mended(raw, [sure for piece in joined for _, _, sure in piece[1:]])
    log_scale = _log_scale(pieces)
    if log_scale is None:
        return None
    of_all = _log_scale(raw)
    apart = 0.0 if of_all is None else abs(of_all - log_scale)
    ends = [_both(piece, placed) for piece in _pieces(chords, believed, placed, True)]
    spread = spread_of_lengths(ends, log_scale)
    segment = placed[joined[-1][-1][0]].segment
    kept = [placed[number] for number in placed if number >= since]
    ours_N3 = np.array([item.T_map_body[:3, 3] for item in kept if item.segment == segment])
    share = sum(_extent(points) for points, _ in pieces) / _extent(ours_N3)
    uncovered = _BETWEEN * max(0.0, 1 - share)
    reach = max(piece[-1][0] - piece[0][0] for piece in joined)
    return PathScale(log_scale, _jackknife(pieces), spread, apart, uncovered, reach)


def _extent(points_N3: Floats) -> float:
    """Sum of squares about the middle."""
    return float(((points_N3 - points_N3.mean(axis=0)) ** 2).sum())


def _mended(pieces: Pieces, believed: Sequence[bool]) -> Pieces:
    """The pieces with each step of the sensor that is like none around it as long as those say.

    Args:
        pieces: Of the path.
        believed: Whether each of their steps is one that others are held against.
    """
    if not pieces:
        return []
    ours = [np.diff(points, axis=0) for points, _ in pieces]
    theirs = [np.diff(points, axis=0) for _, points in pieces]
    units_K, metres_K = (
        np.maximum(np.linalg.norm(np.concatenate(steps), axis=1), 1e-9) for steps in (ours, theirs)
    )
    log_K = np.log(metres_K / units_K)
    sure = np.flatnonzero(believed)
    if len(sure) < _LEAST_SURE:
        sure = np.arange(len(log_K))
    off_K, units_off_K, metres_off_K = (
        value_K - np.interp(np.arange(len(log_K)), sure, _around(value_K[sure], units_K[sure]))
        for value_K in (log_K, np.log(units_K), np.log(metres_K))
    )
    deviation = 1.4826 * weighted_median(np.abs(off_K), units_K)
    unlike_K = np.abs(off_K) > max(_DEVIATIONS * deviation, _LEAST_DEVIATION)
    unlike_K &= np.abs(metres_off_K) > np.abs(units_off_K)  # the sensor leapt, and not the map
    factor_K = np.where(unlike_K, np.exp(-off_K), 1.0)
    mended, begin = [], 0
    for (points, where), steps in zip(pieces, theirs, strict=True):
        factor = factor_K[begin : begin + len(steps), None]
        begin += len(steps)
        way = np.concatenate((np.zeros((1, 3)), np.cumsum(steps * factor, axis=0)))
        mended.append((points, where[:1] + way))
    return mended


def _around(value_K: Floats, weight_K: Floats) -> Floats:
    """(K,) weighted median of each value and those up to eight before and after it."""
    padded = [
        sliding_window_view(np.pad(one_K, _AROUND), 2 * _AROUND + 1)
        for one_K in (value_K, weight_K)
    ]
    order = padded[0].argsort(axis=1)
    value_KW, weight_KW = (np.take_along_axis(one, order, axis=1) for one in padded)
    total_KW = weight_KW.cumsum(axis=1)
    middle = (total_KW < 0.5 * total_KW[:, -1:]).sum(axis=1)
    return np.asarray(value_KW[np.arange(len(value_K)), middle])


def _log_scale(pieces: Pieces) -> float | None:
    """Of the similarity with one scale for all pieces; None where nothing hangs together."""
    covariance, square = 0.0, 0.0
    for piece in pieces:
        if len(piece[0]) < 3:
            continue
        ours, theirs = (points - points.mean(axis=0) for points in piece)
        U, singular, Vt = np.linalg.svd(theirs.T @ ours)
        singular[-1] *= np.sign(np.linalg.det(U @ Vt))
        covariance += float(singular.sum())
        square += float((ours**2).sum())
    return math.log(covariance / square) if covariance > 0 and square > 0 else None


def _jackknife(pieces: Pieces) -> float:
    """Standard deviation of the log-scale, by leaving out each block of the path in turn."""
    count = sum(len(ours) for ours, _ in pieces)
    blocks = min(_BLOCKS, count // 2)
    if blocks < _LEAST_BLOCKS:
        return math.inf
    block = np.arange(count) * blocks // count
    cuts = np.cumsum([len(ours) for ours, _ in pieces])[:-1]
    found = []
    for left_out in range(blocks):
        kept = np.split(block != left_out, cuts)
        rest = [
            (ours[mask], theirs[mask]) for (ours, theirs), mask in zip(pieces, kept, strict=True)
        ]
        log_scale = _log_scale(rest)
        if log_scale is None:
            return math.inf
        found.append(log_scale)
    return math.sqrt((blocks - 1) * float(np.var(found)))


def _pieces(
    chords: Iterable[Measured],
    believed: Container[int],
    placed: Mapping[int, PlacedKeyframe],
    ends_only: bool = False,
) -> list[list[Spot]]:
    """Keyframes and their places by the sensor, as far as they hang together."""
    pieces: list[list[Spot]] = []
    for chord in chords:
        if chord.ends_23 is None or chord.start not in placed or chord.keyframe not in placed:
            continue
        begin, end = chord.ends_23
        last = pieces[-1] if pieces else []
        goes_on = bool(last) and last[-1][0] == chord.start and len(last) <= _LONGEST
        if not goes_on or float(np.abs(last[-1][1] - begin).max()) > _SAME_PLACE:
            pieces.append([(chord.start, begin, True)])
        sure = chord.keyframe in believed
        if not ends_only:
            pieces[-1] += [(number, at, sure) for number, at in chord.between if number in placed]
        pieces[-1].append((chord.keyframe, end, sure))
    return pieces


def _both(piece: list[Spot], placed: Mapping[int, PlacedKeyframe]) -> tuple[Floats, Floats]:
    """(N, 3) of the map and (N, 3) of the sensor."""
    ours = np.array([placed[number].T_map_body[:3, 3] for number, _, _ in piece])
    return ours, np.array([place for _, place, _ in piece])
