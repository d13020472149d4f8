# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Poses that hold: feature matches refine the head's poses, predicted depth fixes the lengths.

A hybrid, and not a learned result: SIFT or ORB with the essential matrix (`two_view`) says how
each pair of pictures turned and in which direction it moved, the predicted depth says how far,
and `align` makes all pairs of a window agree. A pair with too few inliers keeps what the camera
head said, and the outcome says so. Any source of poses and depth will do.

Axes are OpenCV optical axes; `T_i_j` maps coordinates of camera j to camera i. Lengths are in
the unit of the predicted depth.

Shape letters: N frames, H W pixels of the depth map, M matches, P pairs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.mapping.features import Features, find_features
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.mapping.two_view import PairGeometry, rays, two_view

from .align import AlignOptions, Link, align_poses

__all__ = ["PairOutcome", "PairSource", "RefineOptions", "RefinedPoses", "refine_poses"]

Floats = NDArray[np.float64]


class PairSource(enum.Enum):
    """What the relative pose of a pair rests on."""

    MATCHES = "matches"
    """Essential matrix: rotation and direction; depth: length."""
    ROTATION = "rotation"
    """Too little parallax for a direction: rotation by matches, place by depth."""
    HEAD = "head"
    """Too few inliers: as the camera head said."""


@dataclass(frozen=True)
class RefineOptions:
    """How poses are refined.

    Args:
        features: The search and the matches.
        align: How the pairs are made to agree.
        min_inliers: A pair with fewer keeps the head's pose.
        min_parallax_deg: Below this median parallax the essential matrix's direction is noise.
        max_pairs: Upper bound of matched pairs per window, those that turned least (by the
            head) first; bounds the time.

    Raises:
        ValueError: A number out of range.
    """

    features: FeatureOptions = field(default_factory=lambda: FeatureOptions(count=2000))
    align: AlignOptions = field(default_factory=AlignOptions)
    min_inliers: int = 20
    min_parallax_deg: float = 0.4
    max_pairs: int = 64

    def __post_init__(self) -> None:
        if self.min_inliers < 8:
            raise ValueError(f"min_inliers is {self.min_inliers}, expected at least 8")
        if self.max_pairs < 1:
            raise ValueError(f"max_pairs is {self.max_pairs}, expected at least 1")
        if not self.min_parallax_deg >= 0:
            raise ValueError(f"min_parallax_deg is {self.min_parallax_deg}, expected at least 0")


@dataclass(frozen=True)
class PairOutcome:
    """What became of one pair of frames.

    Args:
        i, j: Frames, i < j.
        source: What the pair rests on.
        inliers: Matches that agree with one essential matrix.
        parallax_deg: Their median parallax.
        geometry: What the matches alone say of the pair; None where they say nothing.
    """

    i: int
    j: int
    source: PairSource
    inliers: int
    parallax_deg: float
    geometry: PairGeometry | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RefinedPoses:
    """Poses of a window after refinement.

    Args:
        T_world_cam_N44: float64; the first frame keeps the pose that it came with.
        pairs: Every pair i < j that was tried.
        held_by_head: Frames that no chain of matches ties to the first frame; their pose
            relative to it is the head's.
    """

    T_world_cam_N44: Floats
    pairs: tuple[PairOutcome, ...]
    held_by_head: tuple[int, ...]

    @property
    def summary(self) -> str:
        """One line for a log: how many pairs rest on what."""
        counts = {kind: sum(pair.source is kind for pair in self.pairs) for kind in PairSource}
        words = ", ".join(f"{count} by {kind.value}" for kind, count in counts.items())
        return f"{len(self.pairs)} pairs: {words}; frames held by the head: {self.held_by_head}"


def refine_poses(
    pictures: Sequence[NDArray[np.uint8]] | Sequence[Features],
    K_N33: Floats,
    T_world_cam_N44: NDArray[np.floating],
    depth_NHW: NDArray[np.floating],
    options: RefineOptions | None = None,
) -> RefinedPoses:
    """Refine the poses of a window with feature matches.

    Args:
        pictures: uint8 RGB (H0, W0, 3) as the camera gave them, the larger the better; or
            what `find_features` found in them, where windows share frames.
        K_N33: Intrinsics in pixels of those pictures.
        T_world_cam_N44: The head's camera-to-world poses.
        depth_NHW: Predicted z-depth of the whole picture, any size; pixels that are not
            finite or not above 0 are left out.
        options: None is the default.

    Raises:
        ValueError: Shapes that do not fit, no picture, or numbers that are not finite.
    """
    options = options or RefineOptions()
    head = np.asarray(T_world_cam_N44, np.float64)
    K = np.asarray(K_N33, np.float64)
    _check(len(pictures), K, head, np.asarray(depth_NHW))
    features = [
        item if isinstance(item, Features) else find_features(item, options.features)
        for item in pictures
    ]
    outcomes: list[PairOutcome] = []
    links: list[Link] = []
    for i, j in _chosen_pairs(head, options.max_pairs):
        found = two_view(features[i], features[j], K[i], K[j], options.features)
        outcome = _outcome(i, j, found, options)
        outcomes.append(outcome)
        if found is not None and outcome.source is not PairSource.HEAD:
            known_direction = outcome.source is PairSource.MATCHES
            links.append(_link(i, j, found, features, K, depth_NHW, head, known_direction))
    start, loose = _spanned(head, links)
    poses = align_poses(start, links, (0, *loose), options.align)
    return RefinedPoses(poses, tuple(outcomes), loose)


def _check(count: int, K: Floats, head: Floats, depth: NDArray[np.generic]) -> None:
    if count < 1:
        raise ValueError("got 0 pictures, expected at least 1")
    for name, value, shape in (("K", K, (count, 3, 3)), ("T_world_cam", head, (count, 4, 4))):
        if value.shape != shape:
            raise ValueError(f"{name} is {value.shape}, expected {shape} for {count} pictures")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    if depth.ndim != 3 or len(depth) != count or min(depth.shape[1:]) < 1:
        raise ValueError(f"depth is {depth.shape}, expected ({count}, H, W)")
    if not (K[:, [0, 1], [0, 1]] > 0).all():
        raise ValueError("K has a focal length that is not above 0")


def _chosen_pairs(head: Floats, most: int) -> list[tuple[int, int]]:
    """Pairs i < j, those that turned least first, at most `most`."""
    first, second = np.triu_indices(len(head), 1)
    trace = np.einsum("pab,pab->p", head[first, :3, :3], head[second, :3, :3])
    order = np.argsort(-trace, kind="stable")[:most]
    return [(int(first[k]), int(second[k])) for k in order]


def _outcome(i: int, j: int, found: PairGeometry | None, options: RefineOptions) -> PairOutcome:
    count = 0 if found is None else len(found.inliers)
    parallax = 0.0 if found is None else found.parallax_deg
    source = PairSource.MATCHES
    if count < options.min_inliers:
        source = PairSource.HEAD
    elif parallax < options.min_parallax_deg:
        source = PairSource.ROTATION
    return PairOutcome(i, j, source, count, parallax, found)


def _link(
    i: int,
    j: int,
    found: PairGeometry,
    features: Sequence[Features],
    K: Floats,
    depth_NHW: NDArray[np.floating],
    head: Floats,
    known_direction: bool,
) -> Link:
    """The matches of a pair with their depths, and a first relative pose."""
    pixel_i = features[i].pixel_F2[found.inliers[:, 0]]
    pixel_j = features[j].pixel_F2[found.inliers[:, 1]]
    ray_i, ray_j = rays(pixel_i, K[i]), rays(pixel_j, K[j])
    depth_i = _depth_at(depth_NHW[i], pixel_i, features[i].size_hw)
    depth_j = _depth_at(depth_NHW[j], pixel_j, features[j].size_hw)
    T_i_j = np.linalg.inv(head[i]) @ head[j]
    T_i_j[:3, :3] = found.R_i_j
    if known_direction:
        length = _length(ray_i, ray_j @ found.R_i_j.T, found.direction_3, depth_i)
        if length is None:
            length = float(np.linalg.norm(T_i_j[:3, 3]))
        T_i_j[:3, 3] = length * found.direction_3
    elif np.isfinite(depth_i).any() or np.isfinite(depth_j).any():
        T_i_j[:3, 3] = 0.0  # the alignment finds the place from the depth
    px = (features[i].px / K[i, 0, 0], features[j].px / K[j, 0, 0])
    return Link(i, j, ray_i, ray_j, depth_i, depth_j, px, T_i_j, not known_direction)


def _depth_at(
    depth_HW: NDArray[np.floating], pixel_M2: NDArray[np.floating], picture_hw: tuple[int, int]
) -> Floats:
    """Depth of the nearest pixel of a map that covers the whole picture; NaN where none."""
    size = np.array(depth_HW.shape[::-1], np.float64)
    scale = size / np.array(picture_hw[::-1], np.float64)
    place = np.clip(np.floor((pixel_M2 + 0.5) * scale), 0, size - 1).astype(np.int64)
    found = np.asarray(depth_HW, np.float64)[place[:, 1], place[:, 0]]
    return np.where(np.isfinite(found) & (found > 0), found, np.nan)


def _length(
    ray_M3: Floats, turned_M3: Floats, direction_3: Floats, depth_M: Floats
) -> float | None:
    """How far camera j moved: the weighted median of depth over depth at unit length.

    From z a = s t + w b follows z (a x b) = s (t x b); each match weighs as much as it has
    parallax.
    """
    across = np.cross(ray_M3, turned_M3)
    square = (across**2).sum(axis=1)
    unit_depth = (np.cross(direction_3, turned_M3) * across).sum(axis=1) / np.maximum(square, 1e-18)
    good = (unit_depth > 1e-9) & np.isfinite(depth_M)
    if not good.any():
        return None
    ratio, weight = depth_M[good] / unit_depth[good], np.sqrt(square[good])
    order = ratio.argsort()
    middle = np.searchsorted(weight[order].cumsum(), 0.5 * weight.sum())
    return float(ratio[order][min(int(middle), len(order) - 1)])


def _spanned(head: Floats, links: Sequence[Link]) -> tuple[Floats, tuple[int, ...]]:
    """First poses along the strongest links from frame 0; frames without one by the head.

    Groups of frames that are linked with each other but not with frame 0 stay together: their
    first frame is placed by the head.
    """
    poses = head.copy()
    placed = {0}
    loose: list[int] = []
    while len(placed) < len(head):
        edges = [link for link in links if (link.i in placed) != (link.j in placed)]
        if not edges:
            frame = min(set(range(len(head))) - placed)
            loose.append(frame)
            placed.add(frame)
            continue
        best = max(edges, key=lambda link: len(link.ray_i_M3))
        if best.i in placed:
            poses[best.j] = poses[best.i] @ best.T_i_j
            placed.add(best.j)
        else:
            poses[best.i] = poses[best.j] @ np.linalg.inv(best.T_i_j)
            placed.add(best.i)
    return poses, tuple(loose)
