# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scale of a path: the similarity that lays the map's keyframes on where odometry saw them.

The ratio of single chords scatters as much as the map's local scale does; the similarity over all
of them is the scale of the map as a whole (Umeyama, "Least-squares estimation of transformation
parameters between two point patterns", 1991). A path falls into pieces where odometry leapt or
was turned away by the gate: each piece is laid by itself, all with one scale,

    s = sum_p tr(D_p S_p) / sum_p |map points of p about their middle|^2.

How sure that is: the path is cut into blocks of neighbours, which err together, and each is left
out in turn (the jackknife: Quenouille 1956, Tukey 1958).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..mapping.keyframe import PlacedKeyframe
from ..poses import Floats
from .readings import Measured
from .steadiness import spread_of_lengths

__all__ = ["PathScale", "path_scale"]

_LONGEST = 240  # keyframes of a piece: beyond it the odometry's heading has drifted away
_SAME_PLACE = 1e-9  # metres
_BLOCKS, _LEAST_BLOCKS = 6, 3


class PathScale(NamedTuple):
    """The scale of the path.

    Args:
        log_scale: Log of metres per map unit, by all that is believed.
        sigma: Standard deviation of that by what its parts differ by; infinite where there are
            too few of them.
        spread: How far the scale by short and by long lengths stands from it, rms of the log.
        apart: How far that by all lengths does, those included that nobody believes: outliers
            or, as likely, a map whose scale has changed.
    """

    log_scale: float
    sigma: float
    spread: float
    apart: float


def path_scale(
    chords: Sequence[Measured], believed: frozenset[int], placed: Mapping[int, PlacedKeyframe]
) -> PathScale | None:
    """Metres per map unit by all lengths together.

    Args:
        chords: In the order of time, with their ends.
        believed: Keyframes at which those end that the scale is made of; the spread is of all.
        placed: Keyframes by number, with their poses of now.

    Returns:
        None where fewer than three keyframes hang together, or nothing moved.
    """
    pieces = [
        _both(piece, placed)
        for piece in _pieces((item for item in chords if item.keyframe in believed), placed)
    ]
    log_scale = _log_scale(pieces)
    if log_scale is None:
        return None
    whole = [_both(piece, placed) for piece in _pieces(chords, placed)]
    of_all = _log_scale(whole)
    apart = 0.0 if of_all is None else abs(of_all - log_scale)
    ends = [_both(piece, placed) for piece in _pieces(chords, placed, ends_only=True)]
    spread = spread_of_lengths(ends, log_scale)
    return PathScale(log_scale, _jackknife(pieces), spread, apart)


def _log_scale(pieces: Sequence[tuple[Floats, Floats]]) -> float | None:
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


def _jackknife(pieces: Sequence[tuple[Floats, Floats]]) -> float:
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
    chords: Iterable[Measured], placed: Mapping[int, PlacedKeyframe], *, ends_only: bool = False
) -> list[list[tuple[int, Floats]]]:
    """Keyframes and their places by odometry, as far as they hang together."""
    pieces: list[list[tuple[int, Floats]]] = []
    for chord in chords:
        if chord.ends_23 is None or chord.start not in placed or chord.keyframe not in placed:
            continue
        begin, end = chord.ends_23
        last = pieces[-1] if pieces else []
        goes_on = bool(last) and last[-1][0] == chord.start and len(last) <= _LONGEST
        if not goes_on or float(np.abs(last[-1][1] - begin).max()) > _SAME_PLACE:
            pieces.append([(chord.start, begin)])
        if not ends_only:
            pieces[-1] += [item for item in chord.between if item[0] in placed]
        pieces[-1].append((chord.keyframe, end))
    return pieces


def _both(
    piece: list[tuple[int, Floats]], placed: Mapping[int, PlacedKeyframe]
) -> tuple[Floats, Floats]:
    """(N, 3) of the map and (N, 3) of the odometry."""
    ours = np.array([placed[number].T_map_body[:3, 3] for number, _ in piece])
    return ours, np.array([place for _, place in piece])
