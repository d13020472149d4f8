# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A mark on a live picture, carried to a keyframe: what a person touches is rarely a keyframe.

The small grey pictures that the choice of keyframes looked at are kept for some seconds. From the
marked picture to the keyframe the motion is followed in two ways: step by step through the pictures
between, which tells roughly where, then once directly from the one to the other, which tells
exactly (pyramidal Lucas-Kanade; Bouguet, 2000). A place counts when the way back leads to where it
came from (forward-backward error; Kalal, Mikolajczyk and Matas, 2010).

Where the mark's own surroundings show too little to be followed, the affine motion of features
around it carries it, where they agree on one. Pixels are those of the picture as it was delivered.
Shape letters: H W pixels, M features.
"""

from __future__ import annotations

import bisect
import itertools
import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Carried", "LivePictures", "MarkLostError"]

Floats = NDArray[np.float64]
Gray = NDArray[np.uint8]

_KEPT = 256  # pictures of a camera: 5 MB, half a minute at 10 Hz
_STEPS = 48  # pictures between mark and keyframe at most; a chain of them takes 10 ms
_ROUND_TRIP_PX = 0.5
_TEXTURE = 2e-3  # least eigenvalue of the gradients about a place, grey levels of 1 per pixel
_REACH = 0.22  # picture widths around the mark, in which features carry it
_AROUND = 60  # features
_AGREEING = 6  # features that must agree on one motion
_FIT_PX = 0.5  # residual up to which a feature agrees
_GAP_S = 0.35  # between kept pictures, up to which the motion is taken as even
_ITERATIONS = 4
_NS = 1_000_000_000


class MarkLostError(ValueError):
    """A mark on a live picture cannot be carried; the text says which stamps would do."""


@dataclass(frozen=True)
class Carried:
    """Where a mark is in a keyframe.

    Args:
        stamp_ns: Of the keyframe.
        u, v: Pixels of the picture as it was delivered.
        steps: Pictures from the mark's to the keyframe's.
    """

    stamp_ns: int
    u: float
    v: float
    steps: int


class LivePictures:
    """The newest small grey pictures of each camera; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, deque[tuple[int, Gray]]] = {}

    def add(self, camera: str, stamp_ns: int, gray_HW: Gray) -> None:
        """Keep a picture; its camera's stamps rise."""
        with self._lock:
            self._kept.setdefault(camera, deque(maxlen=_KEPT)).append((stamp_ns, gray_HW))

    def clear(self) -> None:
        """Forget all: another stretch of time begins."""
        with self._lock:
            self._kept.clear()

    def carry(
        self,
        camera: str,
        stamp_ns: int,
        place: tuple[float, float],
        size_hw: tuple[int, int],
        keyframes_ns: Sequence[int],
    ) -> Carried:
        """Where a place of a live picture is in the nearest keyframe that shows it.

        Args:
            camera: Name.
            stamp_ns: Of the live picture.
            place: (u, v) in it, pixels as delivered.
            size_hw: (H, W) of the picture as delivered.
            keyframes_ns: Stamps that it may be carried to, of this camera.

        Raises:
            MarkLostError: The picture is not kept, or no keyframe shows the place.
        """
        with self._lock:
            kept = list(self._kept.get(camera, ()))
        stamps = [stamp for stamp, _ in kept]
        pictures = [gray for _, gray in kept]
        at = bisect.bisect_right(stamps, stamp_ns) - 1
        if not stamps or not stamps[0] <= stamp_ns <= stamps[-1] or _gap_s(stamps, at) > _GAP_S:
            raise MarkLostError(_not_kept(camera, stamp_ns, stamps, keyframes_ns))
        scale = np.array(pictures[at].shape[::-1]) / size_hw[::-1]
        start_2 = (np.array(place) + 0.5) * scale - 0.5
        if stamps[at] != stamp_ns:
            share = (stamp_ns - stamps[at]) / (stamps[at + 1] - stamps[at])
            earlier_2 = _earlier(pictures[at], pictures[at + 1], start_2, share)
            if earlier_2 is None:
                why = "nothing at its place could be followed to the picture before"
                raise MarkLostError(_lost(camera, stamp_ns, why, keyframes_ns))
            start_2 = earlier_2
        ends = [stamps.index(stamp) for stamp in keyframes_ns if stamp in stamps]
        ends.sort(key=lambda end: (abs(end - at), -end))
        why = "no keyframe of the scene is kept any more"
        for end in ends[:2]:
            if abs(end - at) > _STEPS:
                why = f"{abs(end - at)} pictures lie between, at most {_STEPS} are followed"
                continue
            step = 1 if end >= at else -1
            way = [pictures[index] for index in range(at, end + step, step)]
            found_2, why = _follow(way, start_2)
            if found_2 is not None:
                u, v = ((found_2 + 0.5) / scale - 0.5).tolist()
                return Carried(stamps[end], u, v, abs(end - at))
        raise MarkLostError(_lost(camera, stamp_ns, why, keyframes_ns))


def _gap_s(stamps: Sequence[int], at: int) -> float:
    """Seconds between a kept picture and the next one."""
    return (stamps[at + 1] - stamps[at]) / _NS if at + 1 < len(stamps) else 0.0


def _earlier(before: Gray, after: Gray, place_2: Floats, share: float) -> Floats | None:
    """Where a place of a picture between two kept ones was in the first of them.

    Pictures right behind a keyframe are not looked at, so that a fast camera costs nothing. What
    moves at x + share * flow(x) is found by iteration; the motion is taken as even in between.

    Args:
        before, after: The kept pictures.
        place_2: (u, v) in the one between.
        share: Of the time from the first to the second.

    Returns:
        None where the place cannot be followed.
    """
    if before.shape != after.shape:
        return None
    there_2 = place_2
    for _ in range(_ITERATIONS):
        moved_M2, found_M = _flow(before, after, there_2[None], there_2[None])
        if not found_M[0]:
            return None
        there_2 = place_2 - share * (moved_M2[0] - there_2)
    return there_2


def _follow(way: Sequence[Gray], start_2: Floats) -> tuple[Floats | None, str]:
    """Where a place of the first picture is in the last one; else why nobody knows.

    Args:
        way: Pictures in the order in which they are followed.
        start_2: (u, v) in the first.
    """
    first, last = way[0], way[-1]
    if any(gray.shape != first.shape for gray in way):
        return None, "the camera's pictures have changed their size"
    features_M2 = _features(first, start_2)
    points_M2 = np.vstack([start_2[None], features_M2])
    guess_M2, followed_M = points_M2, np.ones(len(points_M2), bool)
    for before, after in itertools.pairwise(way):
        guess_M2, found_M = _flow(before, after, guess_M2, guess_M2)
        followed_M &= found_M
    end_M2, there_M = _flow(first, last, points_M2, guess_M2)
    back_M2, back_M = _flow(last, first, end_M2, points_M2)
    error_M = np.abs(back_M2 - points_M2).max(axis=1)
    good_M = followed_M & there_M & back_M & (error_M < _ROUND_TRIP_PX)
    plain = _texture(first, start_2) < _TEXTURE
    found_2 = None if plain or not good_M[0] else end_M2[0]
    if found_2 is None:
        found_2 = _carried_by(points_M2[1:][good_M[1:]], end_M2[1:][good_M[1:]], start_2)
    if found_2 is None:
        looks = "shows nothing that could be followed" if plain else "is lost on the way"
        return None, (
            f"its place {looks}, and {int(good_M[1:].sum())} of {len(features_M2)} features "
            "around it were found again"
        )
    height, width = last.shape
    if not ((found_2 > -0.5) & (found_2 < (width - 0.5, height - 0.5))).all():
        return None, "its place has left the picture"
    return found_2, ""


def _carried_by(start_M2: Floats, end_M2: Floats, place_2: Floats) -> Floats | None:
    """A place moved as the features around it were; None where they do not agree on it."""
    if len(start_M2) < _AGREEING:
        return None
    affine, inliers = cv2.estimateAffine2D(
        start_M2, end_M2, method=cv2.RANSAC, ransacReprojThreshold=_FIT_PX
    )
    if affine is None or int(inliers.sum()) < max(_AGREEING, math.ceil(0.7 * len(start_M2))):
        return None
    # Between the features, not beyond them: an affine map is no more than a guess out there.
    agreed_M2 = start_M2[inliers[:, 0] == 1].astype(np.float32)
    hull = cv2.convexHull(agreed_M2)
    if cv2.pointPolygonTest(hull, (float(place_2[0]), float(place_2[1])), False) < 0:
        return None
    found: Floats = affine @ np.append(place_2, 1.0)
    return found


def _features(gray_HW: Gray, place_2: Floats) -> Floats:
    """(M, 2) corners around a place."""
    mask = np.zeros_like(gray_HW)
    radius = round(_REACH * gray_HW.shape[1])
    cv2.circle(mask, (round(float(place_2[0])), round(float(place_2[1]))), radius, 255, -1)
    found = cv2.goodFeaturesToTrack(gray_HW, _AROUND, qualityLevel=0.02, minDistance=4, mask=mask)
    return np.zeros((0, 2)) if found is None else np.asarray(found, np.float64)[:, 0]


def _texture(gray_HW: Gray, place_2: Floats) -> float:
    """Least eigenvalue of the mean gradients of the window that is followed about a place."""
    window = cv2.getRectSubPix(gray_HW, (15, 15), (float(place_2[0]), float(place_2[1])))
    v_HW, u_HW = np.gradient(window.astype(np.float64) / 255.0)
    both = float((u_HW * v_HW).mean())
    matrix = np.array([[(u_HW**2).mean(), both], [both, (v_HW**2).mean()]])
    return float(np.linalg.eigvalsh(matrix)[0])


def _flow(
    old: Gray, new: Gray, points_M2: Floats, first_M2: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Where points are in the new picture, and whether they were found."""
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        old,
        new,
        points_M2.astype(np.float32)[:, None],
        first_M2.astype(np.float32)[:, None].copy(),
        winSize=(13, 13),
        maxLevel=2,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(moved, np.float64)[:, 0], np.asarray(status).reshape(-1) == 1


def _not_kept(
    camera: str, stamp_ns: int, stamps: Sequence[int], keyframes_ns: Sequence[int]
) -> str:
    """Why a stamp is no live picture's."""
    if not stamps:
        return (
            f"mark's stamp is {stamp_ns} ns, of no keyframe of {camera}, and no live pictures of "
            f"it are kept; {_would_do(camera, stamp_ns, keyframes_ns)}"
        )
    if stamps[0] <= stamp_ns <= stamps[-1]:
        nearest = sorted(stamps, key=lambda stamp: abs(stamp - stamp_ns))[:2]
        return (
            f"mark's stamp is {stamp_ns} ns, no picture of {camera} with it was looked at; the "
            f"nearest are {sorted(nearest)}; {_would_do(camera, stamp_ns, keyframes_ns)}"
        )
    late = stamp_ns > stamps[-1]
    apart_s = (stamp_ns - stamps[-1] if late else stamps[0] - stamp_ns) / _NS
    side = "after the newest" if late else "before the oldest"
    return (
        f"mark's stamp is {stamp_ns} ns, {apart_s:.2f} s {side} picture of {camera} that is kept "
        f"({stamps[0]} to {stamps[-1]}); {_would_do(camera, stamp_ns, keyframes_ns)}"
    )


def _lost(camera: str, stamp_ns: int, why: str, keyframes_ns: Sequence[int]) -> str:
    return (
        f"the mark on the picture of {stamp_ns} ns cannot be carried to a keyframe: {why}; "
        f"{_would_do(camera, stamp_ns, keyframes_ns)}"
    )


def _would_do(camera: str, stamp_ns: int, keyframes_ns: Sequence[int]) -> str:
    nearest = sorted(keyframes_ns, key=lambda stamp: abs(stamp - stamp_ns))[:3]
    return f"the scene's nearest frames of {camera} have {sorted(nearest)}"
