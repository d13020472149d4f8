# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Segments that turn out to be one: how they lie to each other, and in which units.

Two segments have axes and units of their own, so a verified pair between them (`loops.Hit`) is
worth a similarity: rotation and direction come from the matches, the length of the pair's baseline
in the units of either side from that side's depth, and their ratio is the ratio of the units:

    x_place = s R x_query + t,    s = length by the place's depth / length by the query's depth.

Where odometry measured ways in both segments it knows s.

One pair is never enough. Pairs of different keyframes must agree (those with few inliers count
half: they err together), and no second group of pairs may say as well that the place is another
one: what looks like two places is neither.

Shape letters: N pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .keyframe import PlacedKeyframe
from .loops import Hit, turn_deg, view_depth
from .place_options import LoopOptions
from .rotations import orthonormal

__all__ = ["Agreement", "Similarity", "agreed", "similarity_of"]

Floats = NDArray[np.float64]

_TURN_DEG = 6.0  # by which two pairs may differ
_LOG_SCALE = 0.6  # and in the log of the ratio of units
_LENGTH_SHARE, _DEPTH_SHARE = 0.35, 0.2  # of the baseline, of the view's depth: and in place
_DEPTH_SIGMA = 0.2  # of the log of a ratio by one pair's depths
_STILL_SIGMA = 0.4  # of one by the depths of two views from one spot
_SENSED_SIGMA = 0.03  # of one by odometry
_SPREAD_SIGMA = 0.1  # of a ratio by lengths of the path, where the places are exact


@dataclass(frozen=True, eq=False)
class Similarity:
    """x_a = exp(log_scale) R x_b + t.

    Args:
        log_scale: Natural log of units of a in one unit of b.
        R: (3, 3).
        t: (3,) in units of a.
        sigma: Standard deviation of `log_scale`.
    """

    log_scale: float
    R: Floats
    t: Floats
    sigma: float

    def pose(self, T_b_body: Floats) -> Floats:
        """T_a_body."""
        T = np.eye(4)
        T[:3, :3] = orthonormal(self.R @ T_b_body[:3, :3])
        T[:3, 3] = math.exp(self.log_scale) * self.R @ T_b_body[:3, 3] + self.t
        return T

    def inverse(self) -> Similarity:
        """From a to b."""
        scale = math.exp(-self.log_scale)
        return Similarity(-self.log_scale, self.R.T, -scale * self.R.T @ self.t, self.sigma)


@dataclass(frozen=True, eq=False)
class Agreement:
    """What several pairs say together.

    Args:
        hits: That agree; the best of each query.
        similarity: From the queries' segment to the places'; None where they are too few or
            contradict each other.
        text: What was found, or why it is not believed, with the numbers.
        alike: There are two places that look the same.
    """

    hits: tuple[Hit, ...]
    similarity: Similarity | None
    text: str
    alike: bool = False


def similarity_of(
    hit: Hit, place: PlacedKeyframe, query: PlacedKeyframe, log_ratio: float | None = None
) -> Similarity:
    """How the two segments lie to each other if this pair is right.

    Args:
        hit: The pair.
        place, query: Its keyframes.
        log_ratio: Natural log of units of the place's segment in one unit of the query's, where it
            is known without them.
    """
    T, tracks = hit.edge.T_i_j, hit.edge.tracks
    log_scale, sigma, log_length = math.nan, math.inf, -math.inf
    if tracks is not None:
        by_place = tracks.log_ratio_2[0] + place.log_depth_scale
        log_scale = by_place - tracks.log_ratio_2[1] - query.log_depth_scale
        sigma, log_length = math.hypot(_DEPTH_SIGMA, *tracks.ratio_sigma_2), by_place
    if not math.isfinite(log_scale):
        depths = (view_depth(place), view_depth(query))
        log_scale = math.log(depths[0] / depths[1]) if min(depths) > 0 else 0.0
        sigma = _STILL_SIGMA
        length = float(np.linalg.norm(T[:3, 3]))
        log_length = math.log(length) if length > 0 else -math.inf
    if log_ratio is not None:
        log_scale, sigma = log_ratio, _SENSED_SIGMA
    size = float(np.linalg.norm(T[:3, 3]))
    step = T[:3, 3] * (math.exp(log_length) / size if size > 0 else 0.0)
    R_place, R_query = place.T_map_body[:3, :3], query.T_map_body[:3, :3]
    R = orthonormal(R_place @ T[:3, :3] @ R_query.T)
    centre = place.T_map_body[:3, 3] + R_place @ step
    return Similarity(
        log_scale, R, centre - math.exp(log_scale) * R @ query.T_map_body[:3, 3], sigma
    )


def agreed(
    hits: Sequence[Hit],
    get: Callable[[int], PlacedKeyframe | None],
    options: LoopOptions,
    log_ratio: float | None = None,
) -> Agreement:
    """Find the largest group of pairs that agree, one pair a query.

    Args:
        hits: Places of one segment, queries of another.
        get: Keyframes by number; pairs with one that is gone are left out.
        options: How many queries must agree, and with how many inliers one counts whole.
        log_ratio: Of the units, where it is known; see `similarity_of`.
    """
    known = []
    for hit in hits:
        place, query = get(hit.place), get(hit.query)
        if place is not None and query is not None:
            said = similarity_of(hit, place, query, log_ratio)
            weight = 1.0 if hit.edge.inliers >= options.min_inliers else 0.5
            known.append(_Seen(hit, place, query, said, weight))
    groups = [[other for other in known if _agree(one, other)] for one in known]
    group = max(groups, key=_support, default=[])
    best, inliers = _support(group)
    rest = [one for one in known if one not in group]
    rival = max((_support([o for o in rest if _agree(one, o)])[0] for one in rest), default=0.0)
    chosen = _best_of_each_query(group)
    agreeing = tuple(one.hit for one in chosen)
    if best < options.hits:
        text = f"{best:g} keyframes agree on a place, {options.hits} must"
        return Agreement(agreeing, None, text)
    if best < 2 * rival:
        text = f"two places look alike: {best:g} keyframes say the one, {rival:g} another"
        return Agreement(agreeing, None, text, alike=True)
    similarity = _together(chosen)
    text = (
        f"{best:g} keyframes with {inliers} inliers agree, one unit is "
        f"{math.exp(similarity.log_scale):.2f} (+- {100 * similarity.sigma:.0f} %) of the other's"
    )
    return Agreement(agreeing, similarity, text)


@dataclass(frozen=True, eq=False)
class _Seen:
    hit: Hit
    place: PlacedKeyframe
    query: PlacedKeyframe
    similarity: Similarity
    weight: float

    @property
    def centre(self) -> Floats:
        """(3,) where the query stands in the places' segment, by this pair."""
        return self.similarity.pose(self.query.T_map_body)[:3, 3]


def _agree(one: _Seen, other: _Seen) -> bool:
    if one is other:
        return True
    a, b = one.similarity, other.similarity
    if turn_deg(a.R.T @ b.R) > _TURN_DEG or abs(a.log_scale - b.log_scale) > _LOG_SCALE:
        return False
    lengths = [
        float(np.linalg.norm(seen.centre - seen.place.T_map_body[:3, 3])) for seen in (one, other)
    ]
    depth = max(view_depth(one.place), view_depth(other.place))
    slack = math.hypot(_LENGTH_SHARE * max(lengths), _DEPTH_SHARE * depth)
    # Each where it is surest: at its own query, with the ratio of the units of both.
    middle = 0.5 * (a.log_scale + b.log_scale)
    a_R = orthonormal(a.R + b.R)
    apart = one.centre - other.centre
    moved = one.query.T_map_body[:3, 3] - other.query.T_map_body[:3, 3]
    return bool(np.linalg.norm(apart - math.exp(middle) * a_R @ moved) < slack)


def _support(group: Sequence[_Seen]) -> tuple[float, int]:
    """Weight of the different queries, and their inliers."""
    best = _best_of_each_query(group)
    return sum(one.weight for one in best), sum(one.hit.edge.inliers for one in best)


def _best_of_each_query(group: Sequence[_Seen]) -> list[_Seen]:
    best: dict[int, _Seen] = {}
    for one in group:
        held = best.get(one.hit.query)
        if held is None or one.hit.edge.inliers > held.hit.edge.inliers:
            best[one.hit.query] = one
    return list(best.values())


def _together(seen: Sequence[_Seen]) -> Similarity:
    """Weighted mean of what the pairs say, their lengths beside their depths."""
    weight = np.array([1 / one.similarity.sigma**2 for one in seen])
    logs = np.array([one.similarity.log_scale for one in seen])
    log_scale = float((weight * logs).sum() / weight.sum())
    # The depths of neighbours err together: as many again are no better than one.
    sigma = float(1 / math.sqrt(weight.max()))
    R = orthonormal(np.sum([one.similarity.R * one.hit.edge.inliers for one in seen], axis=0))
    there = np.array([one.centre for one in seen])
    here = np.array([one.query.T_map_body[:3, 3] for one in seen])
    spreads = [float(np.linalg.norm(x - x.mean(axis=0), axis=1).mean()) for x in (there, here)]
    if min(spreads) > 0:
        slack = _DEPTH_SHARE * float(np.mean([view_depth(one.place) for one in seen]))
        by_length = math.hypot(_SPREAD_SIGMA, slack / spreads[0])
        total = 1 / sigma**2 + 1 / by_length**2
        ratio = math.log(spreads[0] / spreads[1])
        log_scale = (log_scale / sigma**2 + ratio / by_length**2) / total
        sigma = total**-0.5
    t = (there - math.exp(log_scale) * here @ R.T).mean(axis=0)
    return Similarity(log_scale, R, t, sigma)
