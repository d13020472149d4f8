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

import cv2
import numpy as np
from numpy.typing import NDArray

from .features import features_of, matched_by_graph, pixel_size
from .keyframe import Edge, Keyframe, Tracks, View
from .options import EdgeOptions, FeatureOptions
from .planes import flatness
from .rotations import log_rotations
from .two_view import PairGeometry, rays, two_view

__all__ = ["depth_at", "followed", "foreseen", "pair_seed", "verified_edge", "weighted_median"]

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
_LEAST_FLOW_PX = 32  # of a picture that flow is measured in


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
) -> Edge | None:
    """How keyframe j lies to keyframe i, as the matches of the views of one camera say.

    The cameras are tried in the order of i's views; the first whose matches suffice is taken.

    Args:
        i, j: The keyframes.
        features: How features were searched for.
        options: What counts.
        kind: Of the edge: "visual" or "loop".
        log_depth_scales: `PlacedKeyframe.log_depth_scale` of i and j, which give the length.
        guided: The keyframes are neighbours in time: features are looked for first where the
            optical flow between their small pictures leads to. Patterns that repeat (facades,
            fences, road markings) else match a period off, along the epipolar line of a camera
            that drives forward, and nothing tells.

    Returns:
        None where no camera has `options.min_inliers` matches that agree. Where they show no
        parallax the edge knows its rotation only (`sigma_direction` is infinite).
    """
    for index, view in enumerate(i.views):
        others = [other for other in j.views if other.camera == view.camera]
        if not others:
            continue
        expected = None
        if guess is not None and index == 0:
            expected = foreseen(view, others[0], guess, math.exp(log_depth_scales[0]))
        elif guided:
            expected = followed(view, others[0])
        stamps = (i.stamp_ns, j.stamp_ns)
        pair = _pair(view, others[0], stamps, features, options, expected)
        if pair is not None and len(pair.inliers) >= options.min_inliers:
            if pair.rivals:
                turn = guess[:3, :3] if guess is not None and index == 0 else None
                pair = _likeliest(pair, view, others[0], turn)
            edge = _edge(i.number, j.number, view, others[0], pair, features, options)
            tracks = None if edge.tracks is None else replace(edge.tracks, view=index)
            biases = [_MEASURED_BIAS if one.metres else _DEPTH_BIAS for one in (view, others[0])]
            edge = _with_length(replace(edge, kind=kind, tracks=tracks), log_depth_scales, biases)
            return edge if index == 0 else _of_body(edge, view)
    return None


def _pair(
    view_i: View,
    view_j: View,
    stamps_ns: tuple[int, int],
    features: FeatureOptions,
    options: EdgeOptions,
    expected_F2: NDArray[np.float32] | None,
) -> PairGeometry | None:
    i, j = features_of(view_i, features), features_of(view_j, features)
    K_i, K_j = view_i.K_image, view_j.K_image
    seed = pair_seed(options.seed, *stamps_ns)
    graph_pairs = matched_by_graph(view_i, view_j, features)
    led = None
    if expected_F2 is not None:
        led = two_view(i, j, K_i, K_j, features, seed, expected_F2, graph_pairs)
        if led is not None and len(led.inliers) >= _PLENTY * options.min_inliers:
            return led
    free = two_view(i, j, K_i, K_j, features, seed, pairs=graph_pairs)
    found = [pair for pair in (led, free) if pair is not None]
    return max(found, key=lambda pair: len(pair.inliers), default=None)


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


def followed(view_i: View, view_j: View) -> NDArray[np.float32]:
    """(F, 2) where i's features lead to in j by dense flow (DIS, Kroeger et al. 2016), pixels."""
    pictures = [cv2.cvtColor(view.color_HW3, cv2.COLOR_RGB2GRAY) for view in (view_i, view_j)]
    if pictures[0].shape != pictures[1].shape or min(pictures[0].shape) < _LEAST_FLOW_PX:
        return view_i.feature_F2
    flower = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flower.setFinestScale(0)
    height, width = pictures[0].shape
    start = np.zeros((height, width, 2), np.float32)
    flow = np.asarray(flower.calc(pictures[0], pictures[1], start), np.float32)
    stretch = np.array([view_i.image_hw[1] / width, view_i.image_hw[0] / height], np.float32)
    place = np.floor((view_i.feature_F2 + 0.5) / stretch).astype(np.int64)
    column, row = np.clip(place, 0, (width - 1, height - 1)).T
    led: NDArray[np.float32] = view_i.feature_F2 + flow[row, column] * stretch
    return led


def foreseen(view_i: View, view_j: View, T_i_j: Floats, units: float) -> NDArray[np.float32]:
    """(F, 2) where i's features should be in j, pixels; far away where that is not known.

    Args:
        view_i, view_j: Of two keyframes.
        T_i_j: (4, 4) pose of j in i, map units.
        units: Map units per unit of i's depth.
    """
    depth = depth_at(view_i, view_i.feature_F2) * units
    point = rays(view_i.feature_F2, view_i.K_image) * depth[:, None]
    there = (point - T_i_j[:3, 3]) @ T_i_j[:3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pixel = (there @ view_j.K_image.T)[:, :2] / there[:, 2:]
        good = np.isfinite(pixel).all(axis=1) & (there[:, 2] > 0)
    return np.where(good[:, None], pixel, -1e6).astype(np.float32)


def pair_seed(seed: int, *stamps_ns: int) -> int:
    """A seed that is the same for the same keyframes in every run and on every machine."""
    return zlib.crc32(repr((seed, *stamps_ns)).encode()) & 0x7FFFFFFF


def depth_at(view: View, pixel_K2: NDArray[np.floating]) -> Floats:
    """(K,) z-depth of the nearest pixel, units of its pass; NaN where there is none.

    Args:
        view: Whose depth covers its whole picture.
        pixel_K2: (u, v) in pixels of the matched frame.
    """
    size = np.array(view.depth_HW.shape[::-1], np.float64)
    scale = size / np.array(view.image_hw[::-1], np.float64)
    place = np.clip(np.floor((pixel_K2 + 0.5) * scale), 0, size - 1).astype(np.int64)
    found = np.asarray(view.depth_HW[place[:, 1], place[:, 0]], np.float64)
    return np.where(np.isfinite(found) & (found > 0), found, np.nan)


def weighted_median(value_K: Floats, weight_K: Floats) -> float:
    """The value below which lies half of the weight."""
    order = value_K.argsort()
    middle = np.searchsorted(weight_K[order].cumsum(), 0.5 * weight_K.sum())
    return float(value_K[order][min(int(middle), len(order) - 1)])


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
    turned = ray_j @ pair.R_i_j.T
    across = np.cross(ray_i, turned)
    square = np.maximum((across**2).sum(axis=1), 1e-18)
    unit_i = (np.cross(pair.direction_3, turned) * across).sum(axis=1) / square
    unit_j = (np.cross(pair.direction_3, ray_i) * across).sum(axis=1) / square
    sine = np.sqrt(square / ((ray_i**2).sum(axis=1) * (turned**2).sum(axis=1)))
    good = (unit_i > 0) & (unit_j > 0) & (sine > math.radians(_TRACK_PARALLAX_DEG))
    unit = np.where(good[:, None], np.stack((unit_i, unit_j), axis=1), np.nan)
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


def _of_body(edge: Edge, view: View) -> Edge:
    """An edge between two cameras as one between their rigs.

    What a turn of the rig moves its camera by is in metres, and left out here: an edge of a
    camera beside the reference one is a rotation, unless it sits in the same place.
    """
    R_body_cam = view.T_body_cam[:3, :3]
    T = np.eye(4)
    T[:3, :3] = R_body_cam @ edge.T_i_j[:3, :3] @ R_body_cam.T
    T[:3, 3] = R_body_cam @ edge.T_i_j[:3, 3]
    if np.linalg.norm(view.T_body_cam[:3, 3]) < 1e-6:
        return replace(edge, T_i_j=T)
    T[:3, 3] = 0.0
    return replace(edge, T_i_j=T, sigma_direction=math.inf, sigma_log_length=math.inf, tracks=None)
