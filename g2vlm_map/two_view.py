"""Classic two-view geometry: features, mutual matches, essential matrix. Nothing is learned.

Needs OpenCV, so nothing of the package imports this file at start-up.

Axes are OpenCV optical axes; `T_i_j` maps coordinates of camera j to camera i.

Shape letters: H W pixels of the original picture, F features, E descriptor width, M matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureOptions", "Features", "PairGeometry", "find_features", "match", "two_view"]

Floats = NDArray[np.float64]

_MIN_MATCHES = 8
_CONFIDENCE = 0.999


@dataclass(frozen=True)
class FeatureOptions:
    """What is searched for in a picture and what counts as a match.

    Args:
        detector: "sift" or "orb" (faster, coarser).
        count: Upper bound of features per picture.
        contrast: SIFT's contrast threshold; OpenCV's own 0.04 finds little on plain walls.
        min_width: Narrower pictures are enlarged to this width before the search.
        ratio: Best distance over second best; above it a match is ambiguous.
        inlier_px: Distance from the epipolar line, in pixels of the searched picture.

    Raises:
        ValueError: A number out of range or an unknown detector.
    """

    detector: str = "sift"
    count: int = 2000
    contrast: float = 0.01
    min_width: int = 224
    ratio: float = 0.8
    inlier_px: float = 1.0

    def __post_init__(self) -> None:
        if self.detector not in ("sift", "orb"):
            raise ValueError(f"detector is {self.detector!r}, expected 'sift' or 'orb'")
        if self.count < _MIN_MATCHES:
            raise ValueError(f"count is {self.count}, expected at least {_MIN_MATCHES}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio is {self.ratio}, expected above 0 and at most 1")
        if not self.inlier_px > 0 or not self.contrast >= 0 or self.min_width < 1:
            raise ValueError(
                f"inlier_px {self.inlier_px}, contrast {self.contrast} and min_width "
                f"{self.min_width}: expected above 0, at least 0, at least 1"
            )


@dataclass(frozen=True)
class Features:
    """Features of one picture.

    Args:
        pixel_F2: (u, v) in pixels of the picture as given (centre of the first pixel: 0, 0).
        descriptor_FE: float32 of unit length.
        px: Size of a pixel of the searched picture in pixels of the given one.
        size_hw: Of the picture as given.
    """

    pixel_F2: Floats
    descriptor_FE: NDArray[np.float32]
    px: float
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class PairGeometry:
    """Relative pose of two calibrated pictures.

    Args:
        R_i_j: Rotation of camera j in camera i.
        direction_3: Unit vector from camera i to camera j in camera i's axes.
        inliers: Indices (K, 2) into the features of i and of j.
        parallax_deg: Median angle between the inliers' rays once the rotation is taken out;
            close to 0 the direction means nothing.
    """

    R_i_j: Floats
    direction_3: Floats
    inliers: NDArray[np.int64]
    parallax_deg: float


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
    grey = cv2.cvtColor(np.ascontiguousarray(picture_HW3), cv2.COLOR_RGB2GRAY)
    scale = max(1.0, options.min_width / width)
    if scale > 1:
        size = (round(width * scale), round(height * scale))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    points, raw = _detector(options).detectAndCompute(grey, None)
    if raw is None or not len(points):
        empty = np.zeros((0, 1), np.float32)
        return Features(np.zeros((0, 2)), empty, 1.0 / scale, (height, width))
    found = np.array([point.pt for point in points], np.float64)
    stretch = np.array([width / grey.shape[1], height / grey.shape[0]])
    pixel = (found + 0.5) * stretch - 0.5
    return Features(pixel, _unit(raw), 1.0 / scale, (height, width))


def match(i: Features, j: Features, ratio: float) -> NDArray[np.int64]:
    """(M, 2) indices of mutual best matches that pass the ratio test (Lowe) on both sides."""
    if min(len(i.pixel_F2), len(j.pixel_F2)) < 2:
        return np.zeros((0, 2), np.int64)
    distance = np.maximum(1.0 - i.descriptor_FE @ j.descriptor_FE.T, 0.0)
    best = distance.argmin(axis=1)
    rows = np.arange(len(best))
    mutual = distance.argmin(axis=0)[best] == rows
    rows, best = rows[mutual], best[mutual]
    first = distance[rows, best].copy()
    distance[rows, best] = np.inf
    second = np.minimum(distance[rows].min(axis=1), distance.min(axis=0)[best])
    keep = first < ratio**2 * second
    return np.stack((rows[keep], best[keep]), axis=1).astype(np.int64)


def two_view(
    i: Features, j: Features, K_i33: Floats, K_j33: Floats, options: FeatureOptions
) -> PairGeometry | None:
    """Essential matrix of two pictures by MAGSAC, taken apart into rotation and direction.

    Returns:
        None where fewer than 8 matches agree.
    """
    pairs = match(i, j, options.ratio)
    if len(pairs) < _MIN_MATCHES:
        return None
    ray_i, ray_j = rays(i.pixel_F2[pairs[:, 0]], K_i33), rays(j.pixel_F2[pairs[:, 1]], K_j33)
    focal = 0.5 * (K_i33[0, 0] / i.px + K_j33[0, 0] / j.px)
    E, mask = cv2.findEssentialMat(
        ray_i[:, :2], ray_j[:, :2], np.eye(3),
        method=cv2.USAC_MAGSAC, prob=_CONFIDENCE, threshold=options.inlier_px / focal,
    )  # fmt: skip
    if E is None or E.shape != (3, 3) or int(mask.sum()) < _MIN_MATCHES:
        return None
    kept = mask[:, 0] > 0
    return _taken_apart(np.asarray(E, np.float64), ray_i[kept], ray_j[kept], pairs[kept])


def _taken_apart(
    E: Floats, ray_i_M3: Floats, ray_j_M3: Floats, pairs_M2: NDArray[np.int64]
) -> PairGeometry:
    """Rotation and direction of an essential matrix, also where nothing moved.

    OpenCV's own `recoverPose` asks for points ahead of both cameras at a bounded distance, of
    which a pure rotation has none. The rotation is here the one that lays the rays upon each
    other, the other one being half a turn away; the sign of the direction puts most points
    ahead, each with the weight of its parallax.
    """
    R_a, R_b, t = cv2.decomposeEssentialMat(E)
    options = []
    for R_j_i in (R_a, R_b):
        turned = ray_j_M3 @ R_j_i
        options.append((_median_angle_deg(ray_i_M3, turned), R_j_i, turned))
    parallax_deg, R_j_i, turned = min(options, key=lambda option: option[0])
    direction = -R_j_i.T @ t[:, 0]
    across = np.cross(ray_i_M3, turned)
    votes = (np.cross(direction, turned) * across).sum(axis=1)
    square = (across**2).sum(axis=1)
    if (votes / np.sqrt(np.maximum(square, 1e-24))).sum() < 0:
        direction = -direction
    return PairGeometry(R_j_i.T, direction, pairs_M2, parallax_deg)


def rays(pixel_M2: Floats, K_33: Floats) -> Floats:
    """(M, 3) rays with z = 1 of pixels."""
    homogeneous = np.concatenate((pixel_M2, np.ones((len(pixel_M2), 1))), axis=1)
    return np.asarray(homogeneous @ np.linalg.inv(K_33).T, np.float64)


def _median_angle_deg(a_M3: Floats, b_M3: Floats) -> float:
    sine = np.linalg.norm(np.cross(a_M3, b_M3), axis=1)
    return float(np.median(np.degrees(np.arctan2(sine, (a_M3 * b_M3).sum(axis=1)))))


def _detector(options: FeatureOptions) -> cv2.Feature2D:
    if options.detector == "orb":
        return cv2.ORB.create(nfeatures=options.count)
    return cv2.SIFT.create(nfeatures=options.count, contrastThreshold=options.contrast)


def _unit(raw: NDArray[np.generic]) -> NDArray[np.float32]:
    """Descriptors whose dot product orders as their own distance does.

    SIFT as RootSIFT (Arandjelovic and Zisserman 2012); ORB's bits as plus and minus one.
    """
    if raw.dtype == np.uint8:
        bits = np.unpackbits(np.asarray(raw, np.uint8), axis=1).astype(np.float32)
        return np.asarray((bits * 2 - 1) / bits.shape[1] ** 0.5, np.float32)
    values = np.sqrt(np.maximum(np.asarray(raw, np.float32), 0.0))
    length = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return np.asarray(values / length, np.float32)
