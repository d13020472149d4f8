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
longer: then those around it are the nearest that the gate let pass. A map that takes the wheels
in slips with them, so where the length of a step is known by the pictures alone
(`sources.seen_steps`), it is that which wheels are held against. How far the scale moves by all
this, and by as many such steps at random, is part of what is not known, and who slips often is
believed less.

Of the map's extent, the denominator over all keyframes, the pieces hold a share; the rest lies
between them and nobody measured it.

How sure the scale is: the path is cut into blocks of neighbours, which err together, and each is
left out in turn (the jackknife: Quenouille 1956, Tukey 1958).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..mapping.edges import weighted_median
from ..mapping.keyframe import PlacedKeyframe
from ..poses import Floats
from .readings import Measured
from .steadiness import spread_of_lengths

__all__ = ["PathScale", "path_scale"]

Pieces = list[tuple[Floats, Floats]]


class Spot(NamedTuple):
    """A keyframe of a path.

    Args:
        keyframe: Its number.
        place_3: Where the sensor saw it, metres.
        believed: Whether the way there is believed.
        seen: Log of its length by the pictures alone; NaN unknown.
    """

    keyframe: int
    place_3: Floats
    believed: bool
    seen: float


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
        apart: How far that with the steps does that are like none around them, and how far as
            many such steps would move it by chance.
        unlike: Share that such steps are of the way, as the map has it, that was held against
            pictures.
        uncovered: Standard deviation by the share of the map that lies between the pieces.
        reach: Keyframes from the first to the last of the piece that holds the most.
    """

    log_scale: float
    sigma: float
    spread: float
    apart: float
    unlike: float
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
    pieces, unlike = _mended(raw, [spot for piece in joined for spot in piece[1:]])
    log_scale = _log_scale(pieces)
    if log_scale is None:
        return None
    of_all = _log_scale(raw)
    apart = 0.0 if of_all is None else abs(of_all - log_scale)
    apart = math.hypot(apart, _by_chance(raw, pieces))
    ends = [_both(piece, placed) for piece in _pieces(chords, believed, placed, True)]
    spread = spread_of_lengths(ends, log_scale)
    segment = placed[joined[-1][-1].keyframe].segment
    kept = [placed[number] for number in placed if number >= since]
    ours_N3 = np.array([item.T_map_body[:3, 3] for item in kept if item.segment == segment])
    share = sum(_extent(points) for points, _ in pieces) / _extent(ours_N3)
    uncovered = _BETWEEN * max(0.0, 1 - share)
    reach = max(piece[-1].keyframe - piece[0].keyframe for piece in joined)
    return PathScale(log_scale, _jackknife(pieces), spread, apart, unlike, uncovered, reach)


def _extent(points_N3: Floats) -> float:
    """Sum of squares about the middle."""
    return float(((points_N3 - points_N3.mean(axis=0)) ** 2).sum())


def _mended(pieces: Pieces, ends: Sequence[Spot]) -> tuple[Pieces, float]:
    """The pieces with each step of the sensor that is like none around it as long as those say.

    Args:
        pieces: Of the path.
        ends: Of each of their steps.

    Returns:
        Them, and the share of the way that was unlike, of what was held against pictures alone; 0
        where nothing was.
    """
    if not pieces:
        return [], 0.0
    ours = [np.diff(points, axis=0) for points, _ in pieces]
    theirs = [np.diff(points, axis=0) for _, points in pieces]
    units_K, metres_K = (
        np.maximum(np.linalg.norm(np.concatenate(steps), axis=1), 1e-9) for steps in (ours, theirs)
    )
    off_K = _unlike(units_K, metres_K, ends)
    factor_K = np.exp(-off_K)
    shown_K = np.isfinite([spot.seen for spot in ends])
    share = 0.0
    if shown_K.sum() >= _LEAST_SURE:
        share = float(units_K[shown_K & (off_K != 0)].sum() / units_K[shown_K].sum())
    mended, begin = [], 0
    for (points, where), steps in zip(pieces, theirs, strict=True):
        factor = factor_K[begin : begin + len(steps), None]
        begin += len(steps)
        way = np.concatenate((np.zeros((1, 3)), np.cumsum(steps * factor, axis=0)))
        mended.append((points, where[:1] + way))
    return mended, share


def _unlike(units_K: Floats, metres_K: Floats, ends: Sequence[Spot]) -> Floats:
    """(K,) log of how much longer the sensor has a step than those around it say; 0 if it agrees.

    Args:
        units_K: Its length in the map.
        metres_K: By the sensor.
        ends: Of the steps.
    """
    believed_K = np.array([spot.believed for spot in ends])
    seen_K = np.array([spot.seen for spot in ends])
    log_units_K, log_metres_K = np.log(units_K), np.log(metres_K)
    off_K, units_off_K, metres_off_K = (
        value_K - _of_those_around(value_K, units_K, believed_K)
        for value_K in (log_metres_K - log_units_K, log_units_K, log_metres_K)
    )
    leapt_K = np.abs(metres_off_K) > np.abs(units_off_K)  # the sensor, and not the map
    unlike_K = _outlying(off_K, units_K) & leapt_K
    shown_K = np.isfinite(seen_K)
    if shown_K.sum() >= _LEAST_SURE:
        metres, weight = log_metres_K[shown_K] - seen_K[shown_K], units_K[shown_K]
        off = metres - _of_those_around(metres, weight, believed_K[shown_K], _shortest_half)
        off_K[shown_K], unlike_K[shown_K] = off, np.abs(off) > _LEAST_DEVIATION
    return np.where(unlike_K, off_K, 0.0)


def _half_way(value_KW: Floats, weight_KW: Floats) -> Floats:
    """(K,) weighted median of values in their order."""
    total_KW = weight_KW.cumsum(axis=1)
    middle = (total_KW < 0.5 * total_KW[:, -1:]).sum(axis=1)
    return np.asarray(value_KW[np.arange(len(value_KW)), middle])


def _shortest_half(value_KW: Floats, weight_KW: Floats) -> Floats:
    """(K,) mean of the shortest interval with half of the weight, of values in their order.

    Slips lengthen a step more often than they shorten it, and can be the half of all: a median
    goes with them, the closest half far less (the shorth of Andrews et al., "Robust estimates of
    location", 1972).
    """
    until_KW = weight_KW.cumsum(axis=1)
    before_KW = until_KW - weight_KW
    held_KFW = until_KW[:, None, :] - before_KW[:, :, None]  # from the first to the last
    enough_KFW = held_KFW >= 0.5 * until_KW[:, None, -1:] * (1 - 1e-9)
    size_KFW = np.where(enough_KFW, value_KW[:, None, :] - value_KW[:, :, None], np.inf)
    row, window = np.arange(len(value_KW)), value_KW.shape[1]
    first, last = np.divmod(size_KFW.reshape(len(row), -1).argmin(axis=1), window)
    sum_KW = np.pad((weight_KW * value_KW).cumsum(axis=1), ((0, 0), (1, 0)))
    weight = until_KW[row, last] - before_KW[row, first]
    return np.asarray((sum_KW[row, last + 1] - sum_KW[row, first]) / np.maximum(weight, 1e-12))


def _around(
    value_K: Floats, weight_K: Floats, middle: Callable[[Floats, Floats], Floats]
) -> Floats:
    """(K,) weighted middle of each value and those up to eight before and after it."""
    padded = [
        sliding_window_view(np.pad(one_K, _AROUND), 2 * _AROUND + 1)
        for one_K in (value_K, weight_K)
    ]
    order = padded[0].argsort(axis=1)
    return middle(*(np.take_along_axis(one, order, axis=1) for one in padded))


def _of_those_around(
    value_K: Floats,
    weight_K: Floats,
    believed_K: NDArray[np.bool_],
    middle: Callable[[Floats, Floats], Floats] = _half_way,
) -> Floats:
    """(K,) what the believed steps around each one say of it."""
    sure = np.flatnonzero(believed_K)
    if len(sure) < _LEAST_SURE:
        sure = np.arange(len(value_K))
    return np.interp(np.arange(len(value_K)), sure, _around(value_K[sure], weight_K[sure], middle))


def _outlying(off_K: Floats, weight_K: Floats) -> NDArray[np.bool_]:
    """Which of some logs are beyond three median deviations, and by more than a quarter."""
    deviation = 1.4826 * weighted_median(np.abs(off_K), weight_K)
    return np.asarray(np.abs(off_K) > max(_DEVIATIONS * deviation, _LEAST_DEVIATION))


def _by_chance(raw: Pieces, mended: Pieces) -> float:
    """Standard deviation of the log-scale by steps like those that were mended.

    Slips come by chance and each moves the scale to where it happens to lead, so what those that
    were found did may cancel, and those that were not found do as much. Their effects, linearised,
    are independent: the variances add up.
    """
    square, covariance = 0.0, 0.0
    for (ours_N3, before_N3), (_, after_N3) in zip(raw, mended, strict=True):
        if len(ours_N3) < 3:
            continue
        from_middle_N3 = ours_N3 - ours_N3.mean(axis=0)
        R, singular = _turn(from_middle_N3, after_N3 - after_N3.mean(axis=0))
        change_K3 = np.diff(after_N3 - before_N3, axis=0)  # moves all that comes after it
        moved_K3 = (from_middle_N3[::-1].cumsum(axis=0)[::-1] @ R.T)[1:]
        square += float(((moved_K3 * change_K3).sum(axis=1) ** 2).sum())
        covariance += float(singular.sum())
    return math.sqrt(square) / covariance if covariance > 0 else 0.0


def _log_scale(pieces: Pieces) -> float | None:
    """Of the similarity with one scale for all pieces; None where nothing hangs together."""
    covariance, square = 0.0, 0.0
    for piece in pieces:
        if len(piece[0]) < 3:
            continue
        ours, theirs = (points - points.mean(axis=0) for points in piece)
        covariance += float(_turn(ours, theirs)[1].sum())
        square += float((ours**2).sum())
    return math.log(covariance / square) if covariance > 0 and square > 0 else None


def _turn(ours_N3: Floats, theirs_N3: Floats) -> tuple[Floats, Floats]:
    """(3, 3) rotation that lays points about 0 on others, and (3,) their covariance along it."""
    U, singular, Vt = np.linalg.svd(theirs_N3.T @ ours_N3)
    flip = np.sign(np.linalg.det(U @ Vt))
    U[:, -1] *= flip
    singular[-1] *= flip
    return U @ Vt, singular


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
        goes_on = bool(last) and last[-1].keyframe == chord.start and len(last) <= _LONGEST
        if not goes_on or float(np.abs(last[-1].place_3 - begin).max()) > _SAME_PLACE:
            pieces.append([Spot(chord.start, begin, True, math.nan)])
        sure = chord.keyframe in believed
        way = [*chord.between, (chord.keyframe, end)]
        seen = chord.seen or (math.nan,) * len(way)
        whole = True  # since the last spot: a keyframe that was culled leaves a longer step
        for (number, at), length in zip(way, seen, strict=True):
            if number in placed and (number == chord.keyframe or not ends_only):
                pieces[-1].append(Spot(number, at, sure, length if whole else math.nan))
                whole = True
            else:
                whole = False
    return pieces


def _both(piece: list[Spot], placed: Mapping[int, PlacedKeyframe]) -> tuple[Floats, Floats]:
    """(N, 3) of the map and (N, 3) of the sensor."""
    ours = np.array([placed[spot.keyframe].T_map_body[:3, 3] for spot in piece])
    return ours, np.array([spot.place_3 for spot in piece])
