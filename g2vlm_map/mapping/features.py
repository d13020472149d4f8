# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features of a picture as they are kept: places as float32, descriptors as bytes; and matches.

SIFT is kept as RootSIFT (Arandjelovic and Zisserman 2012) in one byte a component, a quarter of
what its floats take; ORB's bits are kept as they are; a learned descriptor as int8, its largest
component as 127. Which of them it is follows from the type and the bytes of a descriptor.

Shape letters: H W pixels, F features, E bytes of a descriptor, M matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .keyframe import View
from .learned import LearnedMatcher, learned_matcher
from .options import FeatureOptions

__all__ = [
    "Features",
    "features_of",
    "find_features",
    "match",
    "matched_by_graph",
    "near_expected",
    "pixel_size",
    "searched_picture",
    "unit_vectors",
]

REACH = 0.06  # of a picture's longer side, from where a feature is expected
_ORB_BYTES = 32
_MOST = 65535  # features of a picture that indices of two bytes reach
_ROOT_SIFT = 512.0  # a component of a unit vector is stored as this many steps


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one picture.

    Args:
        pixel_F2: float32 (u, v) in pixels of the picture as given (centre of the first: 0, 0).
        descriptor_FE: uint8, of which 32 bytes are bits and anything else are lengths; int8 where
            it was learned.
        px: Size of a pixel of the searched picture in pixels of the given one.
        size_hw: Of the picture as given.
    """

    pixel_F2: NDArray[np.float32]
    descriptor_FE: NDArray[np.uint8 | np.int8]
    px: float
    size_hw: tuple[int, int]


def find_features(picture_HW3: NDArray[np.uint8], options: FeatureOptions) -> Features:
    """Find features in a picture.

    Args:
        picture_HW3: uint8 RGB.
        options: See `FeatureOptions`.

    Raises:
        ValueError: A picture of another type or shape.
    """
    if picture_HW3.dtype != np.uint8 or picture_HW3.ndim != 3 or picture_HW3.shape[2] != 3:
        raise ValueError(
            f"picture is {picture_HW3.dtype} {picture_HW3.shape}, expected uint8 (H, W, 3) RGB"
        )
    height, width = picture_HW3.shape[:2]
    px = pixel_size((height, width), options)
    graph = learned_matcher(options.detector)
    if graph is not None:
        return _learned(graph, picture_HW3, px, options)
    grey = cv2.cvtColor(np.ascontiguousarray(picture_HW3), cv2.COLOR_RGB2GRAY)
    if px != 1.0:
        size = (max(1, round(width / px)), max(1, round(height / px)))
        how = cv2.INTER_AREA if px > 1.0 else cv2.INTER_CUBIC
        grey = cv2.resize(grey, size, interpolation=how)
    points, raw = _detector(options).detectAndCompute(grey, None)
    if raw is None or not len(points):
        empty = np.zeros((0, _ORB_BYTES if options.detector == "orb" else 128), np.uint8)
        return Features(np.zeros((0, 2), np.float32), empty, px, (height, width))
    # SIFT gives some places twice and at times a few more than asked for: the strongest stay.
    order = np.argsort([-point.response for point in points], kind="stable")[: options.count]
    found = np.array([points[k].pt for k in order], np.float64)
    stretch = np.array([width / grey.shape[1], height / grey.shape[0]])
    pixel = ((found + 0.5) * stretch - 0.5).astype(np.float32)
    return Features(pixel, _as_bytes(np.asarray(raw)[order]), px, (height, width))


def matched_by_graph(
    view_i: View, view_j: View, options: FeatureOptions
) -> NDArray[np.int64] | None:
    """(M, 2) indices of matches of two views by a graph that matches; None where none does."""
    graph = learned_matcher(options.detector)
    if graph is None or not graph.matches_itself:
        return None
    px = pixel_size(view_i.color_HW3.shape[:2], options)
    places = graph.pair(view_i.color_HW3, view_j.color_HW3, px)
    columns = []
    for view, place_M2 in zip((view_i, view_j), places, strict=True):
        height, width = view.color_HW3.shape[:2]
        stretch = np.array([view.image_hw[1] / width, view.image_hw[0] / height])
        columns.append(_indices_of(view, ((place_M2 + 0.5) * stretch - 0.5), stretch.max()))
    pairs = np.stack(columns, axis=1)
    return pairs[(pairs >= 0).all(axis=1)]


def searched_picture(
    frame_HW3: NDArray[np.uint8], model_HW3: NDArray[np.uint8], options: FeatureOptions
) -> NDArray[np.uint8]:
    """The picture that features are found in: the frame, or what is kept of it for a graph."""
    graph = learned_matcher(options.detector)
    return model_HW3 if graph is not None and graph.matches_itself else frame_HW3


def features_of(view: View, options: FeatureOptions) -> Features:
    """The features that a view of a keyframe keeps."""
    px = pixel_size(view.image_hw, options)
    graph = learned_matcher(options.detector)
    if graph is not None and graph.matches_itself:  # it saw the model's picture
        size = view.color_HW3.shape[:2]
        px = pixel_size((size[0], size[1]), options) * max(view.image_hw) / max(size)
    return Features(view.feature_F2, view.descriptor_FE, px, view.image_hw)


def pixel_size(image_hw: tuple[int, int], options: FeatureOptions) -> float:
    """Size of a pixel of the searched picture in pixels of a frame of that size."""
    side = max(image_hw)
    return float(side / min(max(side, options.min_side), options.max_side))


def match(
    i: Features,
    j: Features,
    ratio: float,
    expected_F2: NDArray[np.float32] | None = None,
    reach: float = REACH,
) -> NDArray[np.int64]:
    """(M, 2) indices of mutual best matches that pass the ratio test (Lowe) on both sides.

    Args:
        i, j: The features of two pictures.
        ratio: Best distance over second best above which a match is ambiguous.
        expected_F2: Where i's features should be found in j, pixels; None: anywhere.
        reach: How far from there at most, as a share of the picture's longer side.

    Raises:
        ValueError: Descriptors of two kinds.
    """
    kinds = [(one.descriptor_FE.dtype, one.descriptor_FE.shape[1]) for one in (i, j)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"descriptors have {i.descriptor_FE.shape[1]} and {j.descriptor_FE.shape[1]} bytes: "
            "they come from different detectors (features.detector)"
        )
    if min(len(i.pixel_F2), len(j.pixel_F2)) < 2:
        return np.zeros((0, 2), np.int64)
    nearness = unit_vectors(i.descriptor_FE) @ unit_vectors(j.descriptor_FE).T
    if expected_F2 is not None:
        square_i, square_j = ((place**2).sum(axis=1) for place in (expected_F2, j.pixel_F2))
        square = square_i[:, None] + square_j - 2 * (expected_F2 @ j.pixel_F2.T)
        nearness[square > (reach * max(j.size_hw)) ** 2] = -1.0
    best, back = nearness.argmax(axis=1), nearness.argmax(axis=0)
    rows = np.arange(len(best))
    mutual = back[best] == rows
    rows, best = rows[mutual], best[mutual]
    first = 1.0 - nearness[rows, best]
    nearness[rows, best] = -np.inf
    # Mutual matches share no row and no column: one removal serves both sides.
    second = 1.0 - np.maximum(nearness[rows].max(axis=1), nearness[:, best].max(axis=0))
    keep = np.maximum(first, 0.0) < ratio**2 * second
    return np.stack((rows[keep], best[keep]), axis=1).astype(np.int64)


def near_expected(
    pairs_M2: NDArray[np.int64], j: Features, expected_F2: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """(M,) which matches lie in j where i's features should be found; see `match`."""
    away_M2 = j.pixel_F2[pairs_M2[:, 1]] - expected_F2[pairs_M2[:, 0]]
    return np.asarray((away_M2**2).sum(axis=1) <= (REACH * max(j.size_hw)) ** 2)


def _learned(
    graph: LearnedMatcher, picture_HW3: NDArray[np.uint8], px: float, options: FeatureOptions
) -> Features:
    found = graph.find(picture_HW3, px)
    size_hw = (picture_HW3.shape[0], picture_HW3.shape[1])
    order = np.argsort(-found.score_F, kind="stable")
    if not graph.matches_itself:  # which of its keypoints it will match, such a graph does not say
        order = order[: options.count]
    order = order[:_MOST]
    vectors = found.descriptor_FD[order]
    if not vectors.shape[1]:
        vectors = np.zeros((len(order), 1), np.float32)
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True, initial=0.0), 1e-12)
    kept = np.rint(vectors / largest * 127).astype(np.int8)
    return Features(found.pixel_F2[order], kept, px, size_hw)


def _indices_of(view: View, pixel_M2: NDArray[np.floating], reach: float) -> NDArray[np.int64]:
    """(M,) which of a view's features lies at a place; -1: none within `reach` pixels."""
    if not len(view.feature_F2) or not len(pixel_M2):
        return np.full(len(pixel_M2), -1, np.int64)
    away_M, index_M = cKDTree(view.feature_F2).query(pixel_M2)
    return np.where(away_M < reach, index_M, -1).astype(np.int64)


def _detector(options: FeatureOptions) -> cv2.Feature2D:
    if options.detector == "orb":
        return cv2.ORB.create(nfeatures=options.count)
    return cv2.SIFT.create(nfeatures=options.count, contrastThreshold=options.contrast)


def _as_bytes(raw: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Descriptors in the form that is kept."""
    if raw.dtype == np.uint8:
        return np.asarray(raw, np.uint8)
    values = np.maximum(np.asarray(raw, np.float32), 0.0)
    root = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12))
    return np.asarray(np.minimum(np.rint(root * _ROOT_SIFT), 255.0), np.uint8)


def unit_vectors(kept: NDArray[np.uint8 | np.int8]) -> NDArray[np.float32]:
    """Vectors of unit length whose dot product orders as the descriptors' own distance does."""
    if kept.dtype == np.uint8 and kept.shape[1] == _ORB_BYTES:
        bits = np.unpackbits(kept.astype(np.uint8, copy=False), axis=1).astype(np.float32)
        return np.asarray((bits * 2 - 1) / bits.shape[1] ** 0.5, np.float32)
    values = kept.astype(np.float32)
    length = np.maximum(np.sqrt(np.einsum("fe,fe->f", values, values)), 1e-12)
    return np.asarray(values / length[:, None], np.float32)
