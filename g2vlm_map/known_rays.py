# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rays that are known: a pass's geometry on the rays of the camera, not on the model's guess.

The model predicts depth and rays; of a calibrated camera the rays are known. Its points become
z-depth times the rays of K, so that cloud, depth and K say the same. Where no K is known, the
model's own focal lengths, which differ from pass to pass, are averaged over the run.

Shape letters: N frames, H W pixels of the model's picture.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import Frame, GeometryPrediction

from .camera_model import scaled_K
from .frame_optics import CameraFrame

__all__ = ["FocalEstimate", "FocalHistory", "model_K", "on_rays", "seen_by"]

Floats = NDArray[np.float64]

_KEPT = 256  # passes
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class FocalEstimate:
    """What the model says of a camera's focal length, pass by pass, and what is used.

    Args:
        camera: Its name.
        source: "camera_info" where K is given, "model" where the average of the passes is used.
        focal_px: Horizontal focal length that is used, pixels of the frame.
        model_focal_px: Median of the model's own, pixels of the frame.
        spread: Robust standard deviation of the log of the model's own over the passes; infinite
            before the second.
        passes: That it is of.
        log_ratio: Median log of the model's own focal length over the given one, 0 where none is
            given. A camera's K that is wrong by a factor shows as a step from what the same model
            says of other cameras.
    """

    camera: str
    source: str
    focal_px: float
    model_focal_px: float
    spread: float
    passes: int
    log_ratio: float = 0.0


class FocalHistory:
    """The model's focal lengths of one camera over a run, robustly averaged.

    All is kept as shares of the picture's sides, so that the size of the model's picture does not
    matter.

    Args:
        camera: Its name.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._logs: deque[tuple[float, float, float, float, float]] = deque(maxlen=_KEPT)

    def add(
        self, K: NDArray[np.floating], size_hw: tuple[int, int], K_given: Floats | None
    ) -> None:
        """Take over one pass.

        Args:
            K: (3, 3) of the model, pixels of its picture.
            size_hw: (H, W) of that picture.
            K_given: (3, 3) of the camera in the same pixels; None where unknown.
        """
        fx, fy = float(K[0, 0]), float(K[1, 1])
        if fx > 0 and fy > 0 and math.isfinite(fx + fy):
            ratio = 0.0 if K_given is None else math.log(fx / K_given[0, 0])
            height, width = size_hw
            centre = (float(K[0, 2] + 0.5) / width, float(K[1, 2] + 0.5) / height)
            self._logs.append((math.log(fx / width), math.log(fy / height), ratio, *centre))

    def K(self, size_hw: tuple[int, int]) -> Floats | None:
        """(3, 3) average in pixels of a picture; None before a pass."""
        if not self._logs:
            return None
        log_fx, log_fy, _, cx, cy = np.median(np.array(self._logs), axis=0)
        height, width = size_hw
        fx, fy = math.exp(log_fx) * width, math.exp(log_fy) * height
        return np.array([[fx, 0, cx * width - 0.5], [0, fy, cy * height - 0.5], [0, 0, 1]])

    def estimate(self, frame_width: int, K_given: Floats | None) -> FocalEstimate | None:
        """What is known by now; None before the first pass.

        Args:
            frame_width: Of the camera's frames, pixels.
            K_given: (3, 3) in pixels of them; None where unknown.
        """
        if not self._logs:
            return None
        logs = np.array(self._logs)
        median = np.median(logs, axis=0)
        spread = math.inf
        if len(logs) > 1:
            spread = _MAD_TO_SIGMA * float(np.median(np.abs(logs[:, 0] - median[0])))
        own_px = math.exp(median[0]) * frame_width
        return FocalEstimate(
            camera=self._camera,
            source="model" if K_given is None else "camera_info",
            focal_px=own_px if K_given is None else float(K_given[0, 0]),
            model_focal_px=own_px,
            spread=spread,
            passes=len(logs),
            log_ratio=0.0 if K_given is None else float(median[2]),
        )


def on_rays(
    geometry: GeometryPrediction, K_N33: Floats, T_world_cam_N44: NDArray[np.floating]
) -> GeometryPrediction:
    """The geometry with every point on the ray of its pixel: x = z (u - cx) / fx.

    Args:
        geometry: Of a window.
        K_N33: (N, 3, 3) in pixels of the model's picture.
        T_world_cam_N44: (N, 4, 4) that lead to its world points.

    Returns:
        The same z-depths; K is rounded to float32, and the points are on the rays of that.
    """
    height, width = geometry.image_size
    rounded_N33: NDArray[np.float32] = K_N33.astype(np.float32)
    focal = rounded_N33[:, [0, 1], [0, 1]].astype(np.float64)
    centre = rounded_N33[:, :2, 2].astype(np.float64)
    x_NW = ((np.arange(width) - centre[:, :1]) / focal[:, :1])[:, None, :]
    y_NH = ((np.arange(height) - centre[:, 1:]) / focal[:, 1:])[:, :, None]
    local = np.empty(geometry.local_points.shape, np.float32)
    z_NHW = local[..., 2] = geometry.local_points[..., 2]
    with np.errstate(invalid="ignore", over="ignore"):  # a wild point of the model stays one
        local[..., 0] = z_NHW * x_NW
        local[..., 1] = z_NHW * y_NH
        turn_N33 = T_world_cam_N44[:, :3, :3].astype(np.float32)
        shift_N13 = T_world_cam_N44[:, None, :3, 3].astype(np.float32)
        flat_NM3 = local.reshape(len(local), -1, 3)
        world = (flat_NM3 @ turn_N33.transpose(0, 2, 1) + shift_N13).reshape(local.shape)
    return replace(
        geometry,
        local_points=local,
        world_points=world,
        T_world_cam=T_world_cam_N44.astype(np.float32),
        K=rounded_N33,
    )


def model_K(frame: Frame, size_hw: tuple[int, int]) -> Floats | None:
    """(3, 3) intrinsics of a frame in pixels of the model's picture; None where unknown."""
    if frame.K is None:
        return None
    return scaled_K(frame.K, (frame.image.shape[0], frame.image.shape[1]), size_hw)


def seen_by(frames: Sequence[Frame], size_hw: tuple[int, int]) -> list[NDArray[np.bool_] | None]:
    """Which pixels of the model's picture show anything, frame by frame; None where all do."""
    return [
        frame.optics.seen((frame.image.shape[0], frame.image.shape[1]), size_hw)
        if isinstance(frame, CameraFrame)
        else None
        for frame in frames
    ]
