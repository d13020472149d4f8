# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two cameras side by side whose distance is known: dense stereo against the model's depth.

Semi-global matching (Hirschmueller 2008, in OpenCV) on the pair rectified to a common plane, at
a quarter of the usual size: the model's errors are as wide as patches, not as pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...mapping.keyframe import View
from ...poses import Floats, inverse
from ...rig import at_one_instant
from ..readings import Measured
from ..samples import Samples
from .depth_ratio import DepthRatio, compare
from .ranged_path import RangedPath
from .sight import Sight

__all__ = ["Eye", "StereoSource", "dense_points", "dense_ratio"]

_WIDTH = 320  # pixels of the pictures that are matched
_BLOCK = 5
_LEAST_DISPARITY = 1.5  # pixels; less says little of the depth
_MOST_TURN_DEG = 20.0  # between the two cameras
_MOST_ASLANT = 0.5  # of the baseline along the optical axis or across the rows
_LEAST_BASELINE = 0.005  # metres
_GRID = 3  # every n-th row and column
_DISPARITY_PX = 0.25  # of the whole picture: rectification and calibration


@dataclass(frozen=True, eq=False)
class Eye:
    """One camera of the pair, as its picture was matched.

    Args:
        picture_HW3: uint8 RGB.
        K: (3, 3) in pixels of it.
        T_body_cam: (4, 4), metres.
    """

    picture_HW3: NDArray[np.uint8]
    K: Floats
    T_body_cam: Floats


class StereoSource:
    """Depth of the reference camera from it and the camera beside it."""

    def __init__(self) -> None:
        self._path = RangedPath("stereo")

    def forget(self) -> None:
        """The path begins anew."""
        self._path.forget()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """At most one measurement of depth, by the first camera beside it, and one of the path."""
        views = sight.placed.keyframe.views
        eyes = [_eye(view, sight) for view in views]
        for view, eye in zip(views[1:], eyes[1:], strict=True):
            if at_one_instant(views[0], view) and beside(eyes[0], eye):
                points = dense_points(views[0], eyes[0], eye)
                chords = self._path.add(sight, points)
                found = dense_ratio(views[0], eyes[0], eye, points)
                if found is None:
                    return chords
                number = sight.placed.keyframe.number
                return [Measured("stereo", number, number, found.log_metric, found.sigma), *chords]
        return self._path.add(sight, None)


def beside(left: Eye, right: Eye) -> bool:
    """Whether two cameras look the same way from places side by side."""
    T = inverse(left.T_body_cam) @ right.T_body_cam
    baseline = float(np.linalg.norm(T[:3, 3]))
    if baseline < _LEAST_BASELINE:
        return False
    turn = np.degrees(np.arccos(np.clip((np.trace(T[:3, :3]) - 1) / 2, -1, 1)))
    return bool(turn < _MOST_TURN_DEG and np.abs(T[1:3, 3]).max() < _MOST_ASLANT * baseline)


def dense_points(view: View, eye: Eye, other: Eye) -> tuple[Floats, Floats]:
    """(M, 2) pixels of a view and (M,) metres of z-depth there by dense stereo.

    Args:
        view: Of the keyframe.
        eye: The same camera's picture.
        other: The picture of the camera beside it.
    """
    depth_M, ray_M3 = _stereo_depth(eye, other)
    return ray_M3 @ view.K[:2].T, depth_M


def dense_ratio(
    view: View, eye: Eye, other: Eye, points: tuple[Floats, Floats] | None = None
) -> DepthRatio | None:
    """Metres per unit of a view's depth by dense stereo with another camera.

    Args:
        view, eye, other: See `dense_points`.
        points: What that says; None: it is asked.

    Returns:
        None where the two pictures say too little.
    """
    pixel_M2, depth_M = dense_points(view, eye, other) if points is None else points
    if not len(depth_M):
        return None
    found = compare(view, pixel_M2, depth_M)
    if found is None:
        return None
    baseline = np.linalg.norm((inverse(eye.T_body_cam) @ other.T_body_cam)[:3, 3])
    focal = eye.K[0, 0] * _WIDTH / eye.picture_HW3.shape[1]
    disparity = focal * float(baseline) / float(np.median(depth_M))
    sigma = float(np.hypot(found.sigma, _DISPARITY_PX / disparity))
    return DepthRatio(found.log_metric, sigma, found.pixels, found.spread)


def _eye(view: View, sight: Sight) -> Eye:
    """With the frame as it was matched, where it is at hand, else the model's picture."""
    picture = sight.pictures.get(view.camera)
    if picture is not None and picture.shape[:2] == view.image_hw:
        return Eye(picture, view.K_image, view.T_body_cam)
    return Eye(view.color_HW3, view.K, view.T_body_cam)


def _stereo_depth(eye: Eye, other: Eye) -> tuple[Floats, Floats]:
    """Depths (M,) in metres along the eye's axis, and its rays (M, 3) with z = 1."""
    size = (_WIDTH, round(_WIDTH * eye.picture_HW3.shape[0] / eye.picture_HW3.shape[1]))
    T_other_eye = inverse(other.T_body_cam) @ eye.T_body_cam
    swapped = T_other_eye[0, 3] > 0  # the other one stands to the left
    left, right = (other, eye) if swapped else (eye, other)
    T_right_left = inverse(T_other_eye) if swapped else T_other_eye
    K_left, K_right = _resized_K(left, size), _resized_K(right, size)
    none = np.zeros(5)
    R_left, R_right, P_left, P_right = (
        np.asarray(made, np.float64)
        for made in cv2.stereoRectify(
            K_left, none, K_right, none, size, T_right_left[:3, :3], T_right_left[:3, 3], alpha=0
        )[:4]
    )
    grey_left = _rectified(left, K_left, R_left, P_left, size)
    grey_right = _rectified(right, K_right, R_right, P_right, size)
    if swapped:  # mirrored, the right picture is the left one of its pair
        disparity = _match(grey_right[:, ::-1], grey_left[:, ::-1])[:, ::-1]
        K_rect, R_rect = P_right[:, :3], R_right
    else:
        disparity = _match(grey_left, grey_right)
        K_rect, R_rect = P_left[:, :3], R_left
    rows, columns = disparity.shape
    row, column = np.mgrid[0:rows:_GRID, 0:columns:_GRID].reshape(2, -1)
    shift = disparity[row, column]
    good = shift > _LEAST_DISPARITY
    depth = np.abs(P_right[0, 3]) / shift[good]
    pixel = np.stack((column[good], row[good], np.ones(int(good.sum()))), axis=1)
    point_M3 = (pixel @ np.linalg.inv(K_rect).T * depth[:, None]) @ R_rect  # rows: R^T p
    ahead = point_M3[:, 2] > 1e-6
    point_M3 = point_M3[ahead]
    return point_M3[:, 2], point_M3 / point_M3[:, 2:]


def _resized_K(eye: Eye, size: tuple[int, int]) -> Floats:
    """K of the picture as it is matched (pixel centres at whole numbers)."""
    height, width = eye.picture_HW3.shape[:2]
    stretch = np.array([size[0] / width, size[1] / height])
    K: Floats = eye.K.copy()
    K[:2, :2] *= stretch[:, None]
    K[:2, 2] = (K[:2, 2] + 0.5) * stretch - 0.5
    return K


def _rectified(
    eye: Eye, K: Floats, R: Floats, P: Floats, size: tuple[int, int]
) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(np.ascontiguousarray(eye.picture_HW3), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    x, y = cv2.initUndistortRectifyMap(K, np.zeros(5), R, P, size, cv2.CV_16SC2)
    return np.asarray(cv2.remap(grey, x, y, cv2.INTER_LINEAR), np.uint8)


def _match(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Floats:
    """(H, W) disparity in pixels of the left picture; below 0 where there is none."""
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=80,
        blockSize=_BLOCK,
        P1=8 * _BLOCK**2,
        P2=32 * _BLOCK**2,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=60,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    pair = np.ascontiguousarray(left), np.ascontiguousarray(right)
    return np.asarray(matcher.compute(*pair), np.float64) / 16
