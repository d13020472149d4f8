# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges as members of a map file; what their matches say of lengths goes with them.

Shape letters: E edges, K matches of an edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .array_file import ArrayReader, ArrayWriter
from .keyframe import Edge, Floats, Tracks

__all__ = ["read_edges", "rigid_poses", "write_edges"]

KINDS = ("visual", "model", "odometry", "loop", "merged", "prior")
_ORTHONORMAL = 1e-4
_MAX_MATCHES = 1 << 16
_NO_TRACKS = -1

# Member, type, field of `Tracks`, shape of an edge's share in it by its matches.
_RAGGED: tuple[tuple[str, str, str, Callable[[int], tuple[int, ...]]], ...] = (
    ("track_feature", "<u2", "feature_K2", lambda count: (count, 2)),
    ("track_log_depth", "<f4", "log_depth_K2", lambda count: (count, 2)),
    ("track_sigma", "<f4", "sigma_K", lambda count: (count,)),
)


def write_edges(file: ArrayWriter, edges: Sequence[Edge]) -> None:
    """Write all edges."""
    integers = []
    for one in edges:
        tracks = one.tracks
        held = (_NO_TRACKS, 0) if tracks is None else (len(tracks.feature_K2), tracks.view)
        integers.append((one.i, one.j, KINDS.index(one.kind), one.inliers, *held))
    file.array("edge_integers", np.array(integers, np.int64).reshape(-1, 6))
    poses = np.array([one.T_i_j for one in edges], np.float64).reshape(-1, 4, 4)
    file.array("edge_T_i_j", poses)
    sigmas = [
        (
            *(one.sigma_rotation, one.sigma_direction, one.sigma_log_length, one.sigma_still),
            one.parallax_deg,
        )
        for one in edges
    ]
    file.array("edge_sigmas", np.array(sigmas, np.float64).reshape(-1, 5))
    tracked = [one.tracks for one in edges if one.tracks is not None]
    ratios = [(*one.log_ratio_2, *one.ratio_sigma_2) for one in tracked]
    file.array("track_ratios", np.array(ratios, np.float64).reshape(-1, 4))
    for member, dtype, source, shape in _RAGGED:
        total = sum(int(np.prod(shape(len(one.feature_K2)))) for one in tracked)
        pieces: Iterator[NDArray[Any]] = (getattr(one, source) for one in tracked)
        file.pieces(member, np.dtype(dtype), (total,), pieces)


def read_edges(file: ArrayReader, count: int, numbers: set[int]) -> tuple[Edge, ...]:
    """Read what `write_edges` has written.

    Args:
        file: To read from.
        count: E.
        numbers: Of the keyframes that there are.

    Raises:
        ArrayFileError: A member is missing or of another size.
        ValueError: Impossible numbers.
    """
    integers = file.array("edge_integers", "<i8", (count, 6))
    poses = rigid_poses("T_i_j", file.array("edge_T_i_j", "<f8", (count, 4, 4)))
    sigmas = file.array("edge_sigmas", "<f8", (count, 5))
    if count and (np.isnan(sigmas).any() or (sigmas < 0).any()):
        raise ValueError("sigmas of edges that are negative or no numbers")
    if not set(integers[:, :2].ravel().tolist()) <= numbers:
        raise ValueError("edges of keyframes that are not there")
    if count and not ((integers[:, 2] >= 0) & (integers[:, 2] < len(KINDS))).all():
        raise ValueError("edges of a kind that nobody knows")
    tracks = _read_tracks(file, integers)
    return tuple(
        Edge(i, j, KINDS[kind], T_i_j, *_first_three(sigma), inliers, sigma[4], sigma[3], track)
        for (i, j, kind, inliers, _, _), T_i_j, sigma, track in zip(
            integers.tolist(), poses, sigmas.tolist(), tracks, strict=True
        )
    )


def rigid_poses(name: str, T_N44: Floats) -> Floats:
    """The same poses, writable; checked to be rigid.

    Raises:
        ValueError: Not finite, or no rotations.
    """
    if T_N44.shape[1:] != (4, 4) or not np.isfinite(T_N44).all():
        raise ValueError(f"{name} of shape {T_N44.shape}, or not finite")
    R_N33 = T_N44[:, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(R_N33 @ R_N33.transpose(0, 2, 1) - np.eye(3)).max(initial=0.0)
    # Not `off > ...`: of numbers that overflow it is NaN.
    if not off <= _ORTHONORMAL or (np.linalg.det(R_N33) < 0).any():
        raise ValueError(f"{name} holds what is no rotation (off by {off:.2g})")
    if (T_N44[:, 3] != (0.0, 0.0, 0.0, 1.0)).any():
        raise ValueError(f"{name} holds what is no rigid motion")
    return np.array(T_N44, np.float64)


def _first_three(sigma: Sequence[float]) -> tuple[float, float, float]:
    return sigma[0], sigma[1], sigma[2]


def _read_tracks(file: ArrayReader, integers: NDArray[np.int64]) -> list[Tracks | None]:
    """Tracks of each edge; None where it has none."""
    held, views = integers[:, 4], integers[:, 5]
    if ((held < _NO_TRACKS) | (held > _MAX_MATCHES) | (views < 0)).any():
        raise ValueError(f"edges with {held.min(initial=0)} to {held.max(initial=0)} matches")
    counts = held[held >= 0].tolist()
    ratios = file.array("track_ratios", "<f8", (len(counts), 4)).tolist()
    columns: dict[str, list[NDArray[Any]]] = {}
    for member, dtype, source, shape in _RAGGED:
        shapes = [shape(count) for count in counts]
        total = sum(int(np.prod(each)) for each in shapes)
        columns[source] = list(file.pieces(member, dtype, (total,), shapes))
    made: list[Tracks | None] = []
    row = 0
    for count, view in zip(held.tolist(), views.tolist(), strict=True):
        if count == _NO_TRACKS:
            made.append(None)
            continue
        one, two, sigma_one, sigma_two = ratios[row]
        own = {source: column[row] for source, column in columns.items()}
        made.append(
            Tracks(log_ratio_2=(one, two), ratio_sigma_2=(sigma_one, sigma_two), view=view, **own)
        )
        row += 1
    return made
