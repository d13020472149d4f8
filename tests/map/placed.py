# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes and worlds out of poses, for tests of what is made of a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View

Floats = NDArray[np.float64]
Triple = Sequence[float] | Floats
NS = 1_000_000_000
# Optical axes in a base's: z of the camera is x of the base, x of it is -y.
R_BASE_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
K = np.array([[40.0, 0.0, 31.5], [0.0, 40.0, 23.5], [0.0, 0.0, 1.0]])


def pose(turn: Triple = (0.0, 0.0, 0.0), shift: Triple = (0.0, 0.0, 0.0)) -> Floats:
    """(4, 4) of a rotation vector in rad and a translation."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    T[:3, 3] = shift
    return T


def mounted(shift: Sequence[float] = (0.2, 0.05, 0.6), tilt: float = 0.0) -> Floats:
    """T_base_cam of a camera that looks forward, `tilt` rad downwards."""
    T = pose((0.0, tilt, 0.0), shift)
    T[:3, :3] = T[:3, :3] @ R_BASE_CAM
    return T


def placed(
    number: int,
    T_map_body: Floats,
    *,
    stamp_ns: int | None = None,
    segment: int = 1,
    depth_HW: NDArray[np.float16] | None = None,
    covariance: Floats | None = None,
) -> PlacedKeyframe:
    """A keyframe at a pose; its pictures are empty unless a depth is given."""
    depth = np.zeros((48, 64), np.float16) if depth_HW is None else depth_HW
    view = View(
        camera="camera",
        frame_id="camera_optical",
        stamp_ns=number * NS if stamp_ns is None else stamp_ns,
        T_body_cam=np.eye(4),
        K=K,
        image_hw=depth.shape,
        depth_HW=depth,
        confidence_HW=np.full(depth.shape, 255, np.uint8),
        color_HW3=np.zeros((*depth.shape, 3), np.uint8),
        feature_F2=np.zeros((0, 2), np.float32),
        descriptor_FE=np.zeros((0, 32), np.uint8),
    )
    keyframe = Keyframe(number, view.stamp_ns, f"k{number}", (view,), {})
    covariance = np.zeros((6, 6)) if covariance is None else covariance
    return PlacedKeyframe(keyframe, T_map_body, 0.0, covariance, segment)


def floor_depth(height: float, tilt: float, limit: float = 8.0) -> NDArray[np.float16]:
    """Depth of a level floor below a camera that is pitched down by `tilt` rad; 0: too far."""
    v, u = np.mgrid[0:48, 0:64]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u, float)], -1)
    up = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
    with np.errstate(divide="ignore"):
        z = -height / (rays @ up)
    return np.where((z > 0) & (z < limit), z, 0.0).astype(np.float16)
