# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Points that other views contradict: left out of the map, and counted.

A point is asked of witnesses: the keyframes before and after its own, and the newest of those
that saw the place at another time. Each either sees a surface where the point is (it agrees),
sees further along that ray (it looks through the point: the thing has moved, or never was),
or says nothing (something is in front, the point lies outside of its picture, it has no depth
there).

Shape letters: H W pixels, P points, V views, S sample points of a view, C candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metric import MetricView
from .options import DenseOptions

__all__ = ["Verdict", "agreement", "judge", "usable", "witnesses"]

Floats = NDArray[np.float64]
_SAMPLES = (4, 6)  # rows and columns of the sample points that tell who sees a place
_REVISITS = 4  # witnesses from other times, the newest first
_REVISIT_SHARE = 0.3  # of the samples that such a witness has in its picture
_REVISIT_RANGES = 2.0  # between the two cameras at most
_THROUGH = 2.0  # tolerances behind a point from which a view looks through it


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which pixels of a view are part of the map.

    Args:
        keep_HW: bool.
        usable: Pixels with depth, confidence and range.
        unconfirmed: Of these, left out because too few views agree.
        seen_through: Of these, left out because views look through them.
    """

    keep_HW: NDArray[np.bool_]
    usable: int
    unconfirmed: int
    seen_through: int


def usable(
    view: MetricView, depth_HW: NDArray[np.float32], rules: DenseOptions
) -> NDArray[np.bool_]:
    """(H, W) bool: pixels with a depth in range and enough confidence."""
    least = int(np.ceil(255 * rules.min_confidence))
    ok: NDArray[np.bool_] = (depth_HW > 0) & (depth_HW <= rules.max_range)
    ok &= view.confidence_HW >= least
    return ok


def judge(
    view: MetricView, asked: Sequence[tuple[MetricView, NDArray[np.float32]]], rules: DenseOptions
) -> Verdict:
    """Ask witnesses about every point of a view.

    Where there are fewer witnesses than have to agree, all of them have to.

    Args:
        view: Whose points.
        asked: The witnesses, each with its depth (H', W') in metres.
        rules: How many, and how well, they have to agree.
    """
    ok_HW = usable(view, view.depth_HW, rules)
    agree_P, through_P = agreement(view, ok_HW, asked, rules.tolerance)
    moved_P = (through_P >= rules.seen_through) & (through_P > agree_P)
    few_P = (agree_P < min(rules.agreeing, len(asked))) & ~moved_P
    keep_HW = ok_HW.copy()
    keep_HW[ok_HW] = ~(moved_P | few_P)
    return Verdict(keep_HW, len(agree_P), int(few_P.sum()), int(moved_P.sum()))


def agreement(
    view: MetricView,
    keep_HW: NDArray[np.bool_],
    asked: Sequence[tuple[MetricView, NDArray[np.float32]]],
    tolerance: float,
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """(P,) how many witnesses agree with points of a view, and how many look through them.

    Args:
        view: Whose points.
        keep_HW: Which pixels of it are asked about.
        asked: The witnesses, each with its depth (H', W') in the view's unit.
        tolerance: Share of a depth within which two surfaces are one.
    """
    points_P3 = view.points(keep_HW, view.depth_HW)
    agree_P = np.zeros(len(points_P3), np.int16)
    through_P = np.zeros(len(points_P3), np.int16)
    for witness, seen_HW in asked:
        T = np.linalg.solve(witness.T_level_cam, view.T_level_cam)
        z_P, seen_P = _looked_up(points_P3 @ T[:3, :3].T + T[:3, 3], witness.K, seen_HW)
        speaks_P = seen_P > 0
        gap_P = seen_P - z_P
        slack_P = tolerance * np.maximum(seen_P, z_P)
        agree_P += speaks_P & (np.abs(gap_P) <= slack_P)
        through_P += speaks_P & (gap_P > _THROUGH * slack_P)
    return agree_P, through_P


def _looked_up(
    points_P3: Floats, K: Floats, depth_HW: NDArray[np.float32]
) -> tuple[Floats, NDArray[np.float32]]:
    """(P,) depth of points in a camera, and what it sees there; 0 where it sees nothing."""
    height, width = depth_HW.shape
    z_P = points_P3[:, 2]
    in_front_P = z_P > 1e-3
    safe_P = np.where(in_front_P, z_P, 1.0)
    u_P = points_P3[:, 0] / safe_P * K[0, 0] + K[0, 2]
    v_P = points_P3[:, 1] / safe_P * K[1, 1] + K[1, 2]
    inside_P = in_front_P & (u_P > -0.5) & (u_P < width - 0.5)
    inside_P &= (v_P > -0.5) & (v_P < height - 0.5)
    seen_P = np.zeros(len(points_P3), np.float32)
    column = np.rint(u_P[inside_P]).astype(np.intp)
    row = np.rint(v_P[inside_P]).astype(np.intp)
    seen_P[inside_P] = depth_HW[row, column]
    return z_P, seen_P


def witnesses(
    views: Sequence[MetricView], rules: DenseOptions, wanted: Collection[int] | None = None
) -> list[tuple[int, ...]]:
    """Whom to ask about each view: indices of other views, in rising order.

    The half of `rules.neighbours` keyframes before and after it, each by the view that sees
    most of it, and up to four views of other times that see at least 0.3 of it. Depends on the
    views alone, so that a map that grew is the map that is built at once.

    Args:
        views: All.
        rules: How many.
        wanted: Keyframes of whose views it is asked; the others have none. None: of all.
    """
    if not views or rules.neighbours == 0:
        return [()] * len(views)
    cameras = _Cameras(views)
    order = {number: rank for rank, number in enumerate(sorted({v.number for v in views}))}
    rank_V = np.array([order[view.number] for view in views])
    half = -(-rules.neighbours // 2)
    reach = _REVISIT_RANGES * rules.max_range
    found: list[tuple[int, ...]] = []
    for index, view in enumerate(views):
        if wanted is not None and view.number not in wanted:
            found.append(())
            continue
        away_V = np.abs(rank_V - rank_V[index])
        apart_V = np.linalg.norm(cameras.centre_V3 - cameras.centre_V3[index], axis=1)
        candidates = np.flatnonzero((away_V > 0) & ((away_V <= half) | (apart_V < reach)))
        share_C = cameras.shares(candidates, _samples(view))
        near = away_V[candidates] <= half
        chosen = _best_of_each(candidates[near], share_C[near], rank_V)
        again = candidates[~near][share_C[~near] >= _REVISIT_SHARE]
        found.append(tuple(sorted([*chosen, *again[-_REVISITS:].tolist()])))
    return found


def _best_of_each(
    candidates: NDArray[np.intp], share_C: Floats, rank_V: NDArray[np.int_]
) -> list[int]:
    """Of each keyframe the view that sees most; a rig's others look elsewhere."""
    best: dict[int, tuple[float, int]] = {}
    for index, share in zip(candidates.tolist(), share_C.tolist(), strict=True):
        rank = int(rank_V[index])
        if share > best.get(rank, (-1.0, -1))[0]:
            best[rank] = (share, index)
    return [index for _, index in best.values()]


def _samples(view: MetricView) -> Floats:
    """(S, 3) points spread over a view, level axes; NaN where it has no depth."""
    size_hw = view.placed.keyframe.views[view.view].depth_HW.shape
    rows, columns = (
        ((np.arange(count) + 0.5) / count * side).astype(np.intp)
        for count, side in zip(_SAMPLES, size_hw, strict=True)
    )
    depth_S = view.depth_at(np.ix_(rows, columns)).ravel().astype(np.float64)
    v_S, u_S = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    rays_S2 = (np.column_stack([u_S, v_S]) - view.K[:2, 2]) / view.K[[0, 1], [0, 1]]
    points_S3 = np.column_stack([rays_S2, np.ones(len(rays_S2))]) * depth_S[:, None]
    points_S3[depth_S <= 0] = np.nan
    level_S3: Floats = points_S3 @ view.T_level_cam[:3, :3].T + view.T_level_cam[:3, 3]
    return level_S3


class _Cameras:
    """All views' cameras as arrays.

    Args:
        views: V of them.
    """

    def __init__(self, views: Sequence[MetricView]) -> None:
        T_V44 = np.stack([view.T_level_cam for view in views])
        self.R_V33, self.centre_V3 = T_V44[:, :3, :3], T_V44[:, :3, 3]
        self.K_V33 = np.stack([view.K for view in views])
        sizes = [view.placed.keyframe.views[view.view].depth_HW.shape for view in views]
        self.hw_V2 = np.array(sizes, np.float64)

    def shares(self, candidates: NDArray[np.intp], points_S3: Floats) -> Floats:
        """(C,) share of points that lie in the candidates' pictures."""
        offset_CS3 = points_S3 - self.centre_V3[candidates, None]
        local_CS3 = offset_CS3 @ self.R_V33[candidates]
        uvw_CS3 = local_CS3 @ self.K_V33[candidates].transpose(0, 2, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            u_CS, v_CS = uvw_CS3[..., 0] / uvw_CS3[..., 2], uvw_CS3[..., 1] / uvw_CS3[..., 2]
            inside_CS = (uvw_CS3[..., 2] > 0.05) & (u_CS > -0.5) & (v_CS > -0.5)
            inside_CS &= u_CS < self.hw_V2[candidates, 1, None] - 0.5
            inside_CS &= v_CS < self.hw_V2[candidates, 0, None] - 0.5
        share_C: Floats = inside_CS.mean(axis=1)
        return share_C
