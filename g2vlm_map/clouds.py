# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry to the bytes of clouds and depth pictures: one pass, no loop over pixels.

A cloud's record is x y z rgb confidence, five float32 of 20 bytes; `rgb` holds the colour's
three bytes as 0x00RRGGBB in a float, as RViz and the point cloud library read it.

Shape letters: N frames, H W pixels of the model's picture, M points.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import GeometryPrediction

from .camera_model import scaled_K
from .depth_grid import guided_depth
from .options import CloudOptions, DepthOptions
from .scenes import SceneRecord

__all__ = ["POINT_DTYPE", "DepthPair", "cloud", "depth_image", "depth_pair", "scene_cloud"]

POINT_DTYPE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4"), ("confidence", "<f4")]
)


def scene_cloud(record: SceneRecord, rules: CloudOptions) -> NDArray[np.void]:
    """Points of a scene in the axes of its newest frame's camera; see `cloud`."""
    geometry, newest = record.geometry, record.newest
    frames: slice | list[int] = slice(None)
    if rules.source == "newest":
        frames = [newest] if rules.organized else list(record.moment)
    if frames == [newest]:  # a view; a list would copy
        return cloud(geometry, slice(newest, newest + 1), None, record.scale, rules)
    T_cam_world = np.linalg.inv(geometry.T_world_cam[newest].astype(np.float64))
    return cloud(geometry, frames, T_cam_world, record.scale, rules)


@dataclass(frozen=True, eq=False)
class DepthPair:
    """Depth and colours of one frame, pixel by pixel.

    Args:
        depth_HW: float32 z-depth in the unit that `record.scale` leads to, NaN where there is none.
        image_HW3: uint8 RGB.
        K: (3, 3) of both: depth times the rays of K are the points of the cloud.
    """

    depth_HW: NDArray[np.float32]
    image_HW3: NDArray[np.uint8]
    K: NDArray[np.float64]


def depth_pair(record: SceneRecord, index: int, rules: DepthOptions) -> DepthPair:
    """Depth of a frame of a scene with the picture that it belongs to.

    Args:
        record: The scene.
        index: Of the frame in its window; those of all cameras are in `record.moment`.
        rules: What is left out, and on which grid it is given.
    """
    geometry, frame = record.geometry, record.frames[index]
    depth = depth_image(geometry, index, record.scale, rules.min_confidence)
    colors, K = geometry.colors[index], geometry.K[index].astype(np.float64)
    if rules.grid == "model":
        return DepthPair(depth, colors, K)
    frame_hw = (frame.image.shape[0], frame.image.shape[1])
    K_frame = scaled_K(K, geometry.image_size, frame_hw) if frame.K is None else frame.K
    fine = guided_depth(depth, colors, frame.image)
    if geometry.invalid is not None:  # the strips that are filled along edges reach into the sky
        invalid = geometry.invalid[index].astype(np.uint8)
        fine[cv2.resize(invalid, frame_hw[::-1], interpolation=cv2.INTER_NEAREST) > 0] = np.nan
    return DepthPair(fine, frame.image, K_frame)


def cloud(
    geometry: GeometryPrediction,
    frames: slice | list[int],
    T_out_world: NDArray[np.floating] | None,
    scale: float,
    rules: CloudOptions,
) -> NDArray[np.void]:
    """Points of some frames in one camera's axes, in the unit of the output.

    Args:
        geometry: The window's prediction.
        frames: Which frames.
        T_out_world: (4, 4) from the window's axes to those of the output, scene units;
            None: the frame's own camera axes (one frame).
        scale: Units of the output (map units, or metres) per scene unit.
        rules: What is left out.

    Returns:
        (M,) records of POINT_DTYPE; (H', W') when organised.
    """
    every = (frames, slice(None, None, rules.decimation), slice(None, None, rules.decimation))
    local = geometry.local_points[every]
    confidence = geometry.confidence[every]
    keep = geometry.valid[every] & (confidence >= rules.min_confidence)
    if rules.min_range > 0 or rules.max_range > 0:
        keep &= _in_range(local, scale, rules)
    records: NDArray[np.void] = np.empty(keep.shape, POINT_DTYPE)
    # Channel by channel: NumPy's inner loops then run over the picture and not over 3 numbers.
    if T_out_world is None:
        for axis, name in enumerate("xyz"):
            np.multiply(local[..., axis], np.float32(scale), out=records[name])
    else:
        world = geometry.world_points[every]
        T = (np.asarray(T_out_world) * scale).astype(np.float32)
        for row, name in enumerate("xyz"):
            out = np.multiply(world[..., 0], T[row, 0], out=records[name])
            out += world[..., 1] * T[row, 1]
            out += world[..., 2] * T[row, 2]
            out += T[row, 3]
    records["rgb"] = _pack_rgb(geometry.colors[every])
    records["confidence"] = confidence
    if rules.organized:
        records.view(np.float32).reshape(*keep.shape, 5)[~keep] = np.nan
        return records.reshape(keep.shape[1:])
    flat, kept = records.reshape(-1), keep.reshape(-1)
    return flat if kept.all() else flat.take(np.flatnonzero(kept))


def _in_range(local: NDArray[np.float32], scale: float, rules: CloudOptions) -> NDArray[np.bool_]:
    """Where a point's distance from its camera lies within the range."""
    nearest = rules.min_range / scale
    furthest = rules.max_range / scale if rules.max_range > 0 else np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        squared = local[..., 0] ** 2
        squared += local[..., 1] ** 2
        squared += local[..., 2] ** 2
        inside: NDArray[np.bool_] = (squared >= nearest**2) & (squared <= furthest**2)
    return inside


def depth_image(
    geometry: GeometryPrediction, frame: int, scale: float, min_confidence: float
) -> NDArray[np.float32]:
    """(H, W) float32 z-depth of one frame times `scale`; NaN where there is none (REP 118)."""
    keep = geometry.valid[frame] & (geometry.confidence[frame] >= min_confidence)
    depth: NDArray[np.float32] = geometry.local_points[frame, ..., 2] * np.float32(scale)
    depth[~(keep & np.isfinite(depth))] = np.nan
    return depth


def _pack_rgb(colors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 to (N, H, W) float32 whose bits are 0x00RRGGBB.

    The upper byte is 0: with an opaque alpha there, half of the colours would be NaN, and
    readers that skip NaN would lose their points.
    """
    frames, height, width, _ = colors.shape
    rows = np.ascontiguousarray(colors).reshape(frames * height, width, 3)
    packed = cv2.cvtColor(rows, cv2.COLOR_RGB2BGRA).view(np.uint32)
    packed &= np.uint32(0x00FFFFFF)
    return packed.view(np.float32).reshape(frames, height, width)
