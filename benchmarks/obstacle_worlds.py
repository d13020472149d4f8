# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Worlds of drives: through the pipeline, of the model's depth at true poses, or of exact depth.

With true poses the dense map is measured alone; the depth of a keyframe is that of the pass in
which it is the newest, and its scale is off by a slow error as a pose graph leaves it. Through the
pipeline everything is the model's, the pose graph's and the wheels'.

Shape letters: N keyframes, H W pixels of the model's picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.cameras import InputFrame
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View
from g2vlm_map.optics import Optics
from g2vlm_map.options import KeyframeOptions, PipelineOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import inverse, metric
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_map.world import World
from g2vlm_model.interface import Frame, FrameWindow, SpatialRuntime

__all__ = ["Posed", "ScaleError", "model_world", "pipeline_world", "true_world"]

Floats = NDArray[np.float64]
_NS = 1_000_000_000
_WINDOW = 8
_WHEELS = 0.02  # standard deviation of the wheels' circumference
_KEPT = 0.9  # share of the scale's error that a keyframe takes over from the one before


@dataclass(frozen=True, eq=False)
class Posed:
    """Pictures whose poses and depth are known.

    Args:
        rgb_NHW3: uint8 pictures, of any size.
        depth_NHW: float32 true z-depth of them, metres; 0: not known.
        T_world_cam_N44: True poses, metres.
        K: (3, 3) in pixels of the pictures.
        T_base_cam: Mount of the camera; None where there is no robot.
    """

    rgb_NHW3: NDArray[np.uint8]
    depth_NHW: NDArray[np.float32]
    T_world_cam_N44: Floats
    K: Floats
    T_base_cam: Floats | None = None


@dataclass(frozen=True)
class ScaleError:
    """Error of the depths' scales: log-normal, first order autoregressive.

    Args:
        sigma: Standard deviation of the log.
        seed: Of the draw.
    """

    sigma: float = 0.05
    seed: int = 0

    def draw(self, count: int) -> Floats:
        """(count,) logs of the error."""
        rng = np.random.default_rng(self.seed)
        errors, error = np.zeros(count), rng.normal(0, self.sigma)
        for index in range(count):
            errors[index] = error
            error = _KEPT * error + np.sqrt(1 - _KEPT**2) * rng.normal(0, self.sigma)
        return errors


def model_world(
    runtime: SpatialRuntime, posed: Posed, error: ScaleError, name: str = "drive"
) -> World:
    """The world of a model's depth at true poses.

    Args:
        runtime: The model.
        posed: What was seen.
        error: Of each keyframe's depth scale, about that which fits its true depth.
        name: Tells the frames' keys of one place from those of another.
    """
    views, scales = [], []
    errors = error.draw(len(posed.rgb_NHW3))
    for newest in range(len(posed.rgb_NHW3)):
        first = max(0, newest - _WINDOW + 1)
        frames = tuple(_frame(posed, index, name) for index in range(first, newest + 1))
        scene = runtime.observe(FrameWindow(frames))
        geometry = Optics("camera").corrected(scene.geometry, scene.window)
        valid_HW = geometry.valid[-1] & (geometry.local_points[-1, ..., 2] > 0)
        depth_HW = np.where(valid_HW, geometry.local_points[-1, ..., 2], 0).astype(np.float32)
        sure_HW = np.clip(np.rint(geometry.confidence[-1] * 255), 0, 255).astype(np.uint8)
        view = _view(posed, newest, depth_HW, sure_HW, geometry.colors[-1])
        scene.close()
        true_HW = cv2.resize(
            posed.depth_NHW[newest], depth_HW.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        known_HW = (depth_HW > 0) & (true_HW > 0)
        scale = 0.0
        if known_HW.any():
            scale = float(np.median(np.log(true_HW[known_HW] / depth_HW[known_HW])))
        scales.append(scale + float(errors[newest]))
        views.append(view)
    return _world(posed, views, scales)


def pipeline_world(runtime: SpatialRuntime, posed: Posed, seed: int) -> World:
    """The world that a pipeline makes of pictures, K, the mount and wheels that are 2 % wrong.

    Args:
        runtime: The model.
        posed: What was seen, of a camera with a mount.
        seed: Of the wheels' error, one factor for the whole drive.
    """
    assert posed.T_base_cam is not None
    wheels = float(np.random.default_rng(seed).normal(1.0, _WHEELS))
    T_base_cam = posed.T_base_cam
    T_first_world = inverse(posed.T_world_cam_N44[0] @ inverse(T_base_cam))
    every = KeyframeOptions(min_motion=0.0, min_interval_s=0.0, max_interval_s=0.0)
    with Pipeline(runtime, PipelineOptions(keyframe=every)) as pipeline:
        pipeline.sense(Extrinsics("camera", T_base_cam))
        for index, rgb in enumerate(posed.rgb_NHW3):
            T_odom_base = T_first_world @ posed.T_world_cam_N44[index] @ inverse(T_base_cam)
            pipeline.sense(OdometrySample(_stamp(index), metric(T_odom_base, wheels)))
            pipeline.add(InputFrame(np.ascontiguousarray(rgb), _stamp(index), K=posed.K))
            pipeline.wait()
        return pipeline.world


def true_world(posed: Posed, size_hw: tuple[int, int]) -> World:
    """The world of exact depth, on a grid of `size_hw`."""
    views = []
    for index in range(len(posed.rgb_NHW3)):
        depth_HW = cv2.resize(
            posed.depth_NHW[index], size_hw[::-1], interpolation=cv2.INTER_NEAREST
        )
        color_HW3 = cv2.resize(
            posed.rgb_NHW3[index], size_hw[::-1], interpolation=cv2.INTER_AREA
        ).astype(np.uint8)
        views.append(_view(posed, index, depth_HW, np.full(size_hw, 255, np.uint8), color_HW3))
    return _world(posed, views, [0.0] * len(views))


def _frame(posed: Posed, index: int, name: str) -> Frame:
    return Frame(
        image=np.ascontiguousarray(posed.rgb_NHW3[index]),
        stamp_ns=_stamp(index),
        frame_id="camera_optical_frame",
        camera="camera",
        key=f"{name} {index}",
        K=posed.K,
    )


def _stamp(index: int) -> int:
    return (index + 1) * _NS // 2


def _view(
    posed: Posed,
    index: int,
    depth_HW: NDArray[np.float32],
    confidence_HW: NDArray[np.uint8],
    color_HW3: NDArray[np.uint8],
) -> View:
    height, width = posed.rgb_NHW3.shape[1:3]
    shrink = np.array([depth_HW.shape[1] / width, depth_HW.shape[0] / height])
    K = posed.K.copy()
    K[:2, :2] *= shrink[:, None]
    K[:2, 2] = (K[:2, 2] + 0.5) * shrink - 0.5
    return View(
        camera="camera", frame_id="camera_optical_frame", stamp_ns=_stamp(index),
        T_body_cam=np.eye(4), K=K, image_hw=(height, width), depth_HW=depth_HW.astype(np.float16),
        confidence_HW=confidence_HW, color_HW3=color_HW3,
        feature_F2=np.zeros((0, 2), np.float32), descriptor_FE=np.zeros((0, 32), np.uint8),
    )  # fmt: skip


def _world(posed: Posed, views: list[View], log_scales: list[float]) -> World:
    """A map unit is a metre; the map's axes are those of the first camera."""
    T_map_world = inverse(posed.T_world_cam_N44[0])
    placed = tuple(
        PlacedKeyframe(
            keyframe=Keyframe(index + 1, view.stamp_ns, str(index), (view,), {}),
            T_map_body=T_map_world @ posed.T_world_cam_N44[index],
            log_depth_scale=log_scales[index],
            covariance=np.zeros((6, 6)),
            segment=1,
        )
        for index, view in enumerate(views)
    )
    mount = posed.T_base_cam
    return World(
        version=1,
        segment=1,
        keyframes=placed,
        scale=ScaleEstimate(metric=True, sigma=0.03, sources=("fixed",), reason=""),
        T_level_map=np.eye(4) if mount is None else mount,
        up_source="" if mount is None else "base",
        T_base_body=mount,
    )
