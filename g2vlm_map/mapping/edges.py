# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges between keyframes: verified two-view geometry, its length by the model's depth.

    edge = verified_edge(keyframe_i, keyframe_j, features, edges)

gives rotation and direction from matches, and a first length from the depths of both keyframes,
for any two keyframes: neighbours, loops, a moment that looks for its place in the map. Tracks and
the depths of other keyframes improve the lengths later (`lengths.py`).

How far camera j moved follows for each match from z a = s t + w b (a, b: rays, the latter turned
to i's axes; t: unit direction): z (a x b) = s (t x b) gives the depth z at s = 1, and the model's
depth over it is s.

Shape letters: H W pixels, F features, K matches that agree.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..keyframes import PictureTracks
from ..rig import SeenStep, edge_of_rigs, seen_step
from ..scale.estimate import ScaleEstimate
from .expected import depth_at, followed, foreseen
from .features import features_of, matched_by_graph, pixel_size
from .keyframe import Edge, Keyframe, Tracks, View
from .options import EdgeOptions, FeatureOptions
from .pair_geometry import unit_depths
from .planes import flatness, off_plane
from .rotations import log_rotations
from .two_view import PairGeometry, Prior, rays, tracked_pose, two_view

__all__ = ["pair_seed", "verified_edge", "weighted_median"]

Floats = NDArray[np.float64]

# What the scatter of a pair's matches does not show: lens, rolling shutter, K, matches that are
# wrong together; neighbouring edges share all of it. Measured on a drive through a synthetic room:
# turns off by 0.5 to 1.4 deg, directions by 6 to 19 deg (medians).
_ROTATION_FLOOR = 0.01  # rad
_DIRECTION_FLOOR = 0.06  # rad
_DEPTH_BIAS = 0.15  # of the log of one keyframe's depth
_MEASURED_BIAS = 0.02  # of the same where a sensor measured it
_DEPTH_SCATTER_FLOOR = 0.03
_TRACK_PARALLAX_DEG = 0.3  # of a single match, for a depth
_LEAST_DEPTHS = 6
_PLENTY = 2  # times the matches that suffice: then where they were expected is where they are
_LIKE_CHAIN = math.radians(6.0)  # rotation that the neighbours' edges may be off by
_CLEARLY = 0.7  # of the second best spread of depths: then the best is believed
_TRACK_PX = 1 / 160  # of the picture's longer side: a track is as good as its small picture
_SAME_WAY = 0.5  # cosine of directions that say the same
_UNKNOWN = ScaleEstimate()


def verified_edge(
    i: Keyframe,
    j: Keyframe,
    features: FeatureOptions,
    options: EdgeOptions,
    *,
    kind: str = "visual",
    log_depth_scales: tuple[float, float] = (0.0, 0.0),
    guided: bool = False,
    guess: Floats | None = None,
    scale: ScaleEstimate = _UNKNOWN,
    tracks: Sequence[PictureTracks] = (),
) -> Edge | None:
    """How keyframe j lies to keyframe i, as the matches of the views of one camera say.

    The cameras are tried in the order of i's views; the first whose matches suffice is taken. One
    that exposed at other times than the keyframes tells of their step by `seen_step`, if at all.

    Args:
        i, j: The keyframes.
        features: How features were searched for.
        options: What counts.
        kind: Of the edge: "visual" or "loop".
        log_depth_scales: `PlacedKeyframe.log_depth_scale` of i and j, which give the length.
        guided: The keyframes are neighbours in time: features are looked for first where the
            optical flow between their small pictures leads to (see `expected.py`).
        guess: (4, 4) pose of j in i that the edges of neighbours lead to, map units.
        scale: Metres in a map unit: a camera beside the reference one sits on a lever in metres.
        tracks: Of the reference camera from i's picture to j's, by way of the keyframes between.

    Returns:
        None where no camera has `options.min_inliers` matches that agree. Where they show no
        parallax the edge knows its rotation only (`sigma_direction` is infinite).
    """
    units = math.exp(log_depth_scales[0])
    for index, view in enumerate(i.views):
        other = next((one for one in j.views if one.camera == view.camera), None)
        step = seen_step((i, view), (j, other)) if other and index else SeenStep()
        if other is None or step is None:
            continue
        known, ways = (None, ()) if index else (guess, tracks)  # both of the reference camera
        expected = _expected(view, other, known, units, ways, guided)
        prior = _prior(view, other, known, units, ways)
        stamps = (i.stamp_ns, j.stamp_ns)
        pair = _pair(view, other, stamps, features, options, expected, prior)
        if pair is not None and len(pair.inliers) >= options.min_inliers:
            if pair.rivals:
                pair = _likeliest(pair, view, other, None if known is None else known[:3, :3])
            edge = _edge(i.number, j.number, view, other, pair, features, options)
            matched = None if edge.tracks is None else replace(edge.tracks, view=index)
            biases = [_MEASURED_BIAS if one.metres else _DEPTH_BIAS for one in (view, other)]
            edge = _with_length(replace(edge, kind=kind, tracks=matched), log_depth_scales, biases)
            if kind == "loop":
                edge = replace(edge, off_plane=_off_plane(view, pair))
            return edge if index == 0 else edge_of_rigs(edge, view, step, scale)
    return None


def _expected(
    view_i: View,
    view_j: View,
    guess: Floats | None,
    units: float,
    tracks: Sequence[PictureTracks],
    guided: bool,
) -> NDArray[np.float32] | None:
    """Where i's features should be found in j, pixels; None: anywhere. See `_prior`."""
    if tracks:
        return followed(view_i, view_j, tracks)
    if guess is not None:
        return foreseen(view_i, view_j, guess, units)
    return followed(view_i, view_j) if guided else None


def _pair(
    view_i: View,
    view_j: View,
    stamps_ns: tuple[int, int],
    features: FeatureOptions,
    options: EdgeOptions,
    expected_F2: NDArray[np.float32] | None,
    prior: Prior | None,
) -> PairGeometry | None:
    """What matches say: of those that are where they should be, else of all.

    Where a prior leads one way and all matches together another one, they are a period off.
    """
    i, j = features_of(view_i, features), features_of(view_j, features)
    K_i, K_j = view_i.K_image, view_j.K_image
    seed = pair_seed(options.seed, *stamps_ns)
    graph_pairs = matched_by_graph(view_i, view_j, features)
    enough = options.min_inliers * (_PLENTY if prior is None else 1)
    led = None
    if expected_F2 is not None:
        led = two_view(i, j, K_i, K_j, features, seed, expected_F2, graph_pairs, prior)
        if led is not None and len(led.inliers) >= enough:
            return led
    free = two_view(i, j, K_i, K_j, features, seed, pairs=graph_pairs)
    if free is not None and prior is not None and _contradicts(free, prior):
        free = None
    found = [pair for pair in (led, free) if pair is not None]
    return max(found, key=lambda pair: len(pair.inliers), default=None)


def _prior(
    view_i: View,
    view_j: View,
    guess: Floats | None,
    units: float,
    tracks: Sequence[PictureTracks],
) -> Prior | None:
    """The pose that the edges of neighbours lead to, else tracks; None where neither says.

    Args:
        view_i, view_j: Of two keyframes.
        guess: (4, 4) pose of j in i, map units.
        units: Map units per unit of i's depth.
        tracks: Of one step: those of several were lost on the way too often.
    """
    depth = depth_at(view_i, view_i.feature_F2)
    if guess is not None:
        known = float(np.linalg.norm(guess[:3, 3])) > 0
        return Prior(guess[:3, :3], guess[:3, 3], depth * units) if known else None
    if len(tracks) != 1:
        return None
    size = np.array(view_i.image_hw[::-1], np.float64)
    start, end = (place * size - 0.5 for place in (tracks[0].start_M2, tracks[0].end_M2))
    px = _TRACK_PX * max(view_i.image_hw)
    found = tracked_pose(start, end, view_i.K_image, view_j.K_image, px)
    if found is None:
        return None
    kept = found.inliers[:, 0]
    ray_i, ray_j = rays(start[kept], view_i.K_image), rays(end[kept], view_j.K_image)
    unit, sine = unit_depths(found.R_i_j, found.direction_3, ray_i, ray_j)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_ratio = np.log(depth_at(view_i, start[kept]) / unit[:, 0])
    length, _ = _summed(log_ratio, sine)
    if not math.isfinite(length):
        depth = np.full_like(depth, np.nan)
    return Prior(found.R_i_j, found.direction_3 * math.exp(np.nan_to_num(length)), depth)


def _contradicts(pair: PairGeometry, prior: Prior) -> bool:
    """Whether all poses that a pair with parallax allows lead another way than a prior does."""
    ahead = prior.t_3 / np.linalg.norm(prior.t_3)
    poses = (pair, *pair.rivals)
    return math.isfinite(pair.sigma_direction) and all(
        float(one.direction_3 @ ahead) < _SAME_WAY for one in poses
    )


def _likeliest(
    pair: PairGeometry, view_i: View, view_j: View, turn_i_j: Floats | None
) -> PairGeometry:
    """The one of the poses that the matches of a plane allow which other knowledge supports.

    Args:
        pair: With its rivals.
        view_i, view_j: Whose depths say how the plane lies.
        turn_i_j: (3, 3) rotation that the edges of neighbours lead to; None where unknown.

    Returns:
        The pose; where neither the neighbours nor the depths tell which is right, one with a
        rotation and a direction as uncertain as the poses differ.
    """
    poses = [pair, *pair.rivals]
    if turn_i_j is not None:
        turns = np.array([turn_i_j.T @ one.R_i_j for one in poses])
        off = np.linalg.norm(log_rotations(turns), axis=1)
        order = np.argsort(off)
        if off[order[0]] < _LIKE_CHAIN and off[order[1]] > 2 * off[order[0]]:
            return poses[int(order[0])]
    spread = np.array([_flatness(one, view_i, view_j) for one in poses])
    order = np.argsort(spread, kind="stable")
    best, second = poses[int(order[0])], poses[int(order[1])]
    if spread[order[0]] < _CLEARLY * spread[order[1]]:
        return best
    turn = log_rotations((best.R_i_j.T @ second.R_i_j)[None])[0]
    apart = float(np.linalg.norm(turn))
    return replace(
        best, sigma_rotation=max(best.sigma_rotation, apart), sigma_direction=max(1.0, apart)
    )


def _flatness(pair: PairGeometry, view_i: View, view_j: View) -> float:
    pixel_i = view_i.feature_F2[pair.inliers[:, 0]]
    pixel_j = view_j.feature_F2[pair.inliers[:, 1]]
    depth = np.stack((depth_at(view_i, pixel_i), depth_at(view_j, pixel_j)), axis=1)
    return flatness(pair, rays(pixel_i, view_i.K_image), rays(pixel_j, view_j.K_image), depth)


def pair_seed(seed: int, *stamps_ns: int) -> int:
    """A seed that is the same for the same keyframes in every run and on every machine."""
    return zlib.crc32(repr((seed, *stamps_ns)).encode()) & 0x7FFFFFFF


def weighted_median(value_K: Floats, weight_K: Floats) -> float:
    """The value below which lies half of the weight."""
    order = value_K.argsort()
    middle = np.searchsorted(weight_K[order].cumsum(), 0.5 * weight_K.sum())
    return float(value_K[order][min(int(middle), len(order) - 1)])


def _off_plane(view: View, pair: PairGeometry) -> int:
    """How many matches lie off the plane that holds most of them, as the model's depth says."""
    pixel = view.feature_F2[pair.inliers[:, 0]]
    return off_plane(rays(pixel, view.K_image), depth_at(view, pixel))


def _edge(
    i: int,
    j: int,
    view_i: View,
    view_j: View,
    pair: PairGeometry,
    features: FeatureOptions,
    options: EdgeOptions,
) -> Edge:
    """The edge between two cameras, its translation of length 1 or 0."""
    T = np.eye(4)
    T[:3, :3] = pair.R_i_j
    sigma_rotation = math.hypot(pair.sigma_rotation, _ROTATION_FLOOR)
    count, parallax = len(pair.inliers), pair.parallax_deg
    if parallax < options.min_parallax_deg:
        return Edge(i, j, "visual", T, sigma_rotation, math.inf, math.inf, count, parallax)
    T[:3, 3] = pair.direction_3
    tracks = _tracks(view_i, view_j, pair, features)
    sigma_direction = math.hypot(pair.sigma_direction, _DIRECTION_FLOOR)
    return Edge(
        *(i, j, "visual", T, sigma_rotation, sigma_direction, math.inf, count, parallax),
        tracks=tracks,
    )


def _tracks(view_i: View, view_j: View, pair: PairGeometry, features: FeatureOptions) -> Tracks:
    pixel_i = view_i.feature_F2[pair.inliers[:, 0]]
    pixel_j = view_j.feature_F2[pair.inliers[:, 1]]
    ray_i, ray_j = rays(pixel_i, view_i.K_image), rays(pixel_j, view_j.K_image)
    unit, sine = unit_depths(pair.R_i_j, pair.direction_3, ray_i, ray_j)
    good = (unit > 0).all(axis=1) & (sine > math.radians(_TRACK_PARALLAX_DEG))
    unit = np.where(good[:, None], unit, np.nan)
    pixel = features.inlier_px * pixel_size(view_i.image_hw, features) / view_i.K_image[0, 0]
    model = np.stack((depth_at(view_i, pixel_i), depth_at(view_j, pixel_j)), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_ratio = np.log(model / unit)
        log_unit = np.log(unit)
    summed = [_summed(log_ratio[:, side], sine) for side in (0, 1)]
    return Tracks(
        pair.inliers.astype(np.uint16),
        log_unit.astype(np.float32),
        (0.5 * pixel / sine).astype(np.float32),
        (summed[0][0], summed[1][0]),
        (summed[0][1], summed[1][1]),
    )


def _summed(log_ratio_K: Floats, sine_K: Floats) -> tuple[float, float]:
    """Weighted median of log ratios and its standard deviation; each counts as its parallax."""
    good = np.isfinite(log_ratio_K)
    if good.sum() < _LEAST_DEPTHS:
        return math.nan, math.inf
    value, weight = log_ratio_K[good], sine_K[good]
    middle = weighted_median(value, weight)
    spread = 1.4826 * weighted_median(np.abs(value - middle), weight)
    return middle, math.hypot(spread / math.sqrt(good.sum() / 4), _DEPTH_SCATTER_FLOOR)


def _with_length(
    edge: Edge, log_depth_scales: tuple[float, float], biases: Sequence[float]
) -> Edge:
    """The edge with the length that the depths of both keyframes give."""
    if edge.tracks is None:
        return edge
    logs = np.array(edge.tracks.log_ratio_2) + np.array(log_depth_scales)
    sigma = np.hypot(np.array(edge.tracks.ratio_sigma_2), np.array(biases))
    weight = np.where(np.isfinite(logs), 1 / sigma**2, 0.0)
    if not weight.any():
        return edge
    log_length = float(np.sum(weight * np.nan_to_num(logs)) / weight.sum())
    T: Floats = edge.T_i_j.copy()
    T[:3, 3] *= math.exp(log_length) / np.linalg.norm(T[:3, 3])
    return replace(edge, T_i_j=T, sigma_log_length=float(weight.sum() ** -0.5))
