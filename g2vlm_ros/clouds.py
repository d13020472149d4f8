"""Geometry to the bytes of clouds and depth pictures: NumPy only, one pass, no loops.

A cloud's record is x y z rgb confidence, five float32 of 20 bytes; `rgb` holds the colour's
three bytes as 0x00RRGGBB in a float, as RViz and the point cloud library read it.

Shape letters: N frames, H W pixels of the model's picture, M points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import GeometryPrediction

__all__ = ["POINT_DTYPE", "CloudRules", "cloud", "depth_image"]

POINT_DTYPE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<f4"), ("confidence", "<f4")]
)


@dataclass(frozen=True)
class CloudRules:
    """What of the geometry is published; see the parameters `points.*`.

    Args:
        organized: Rows and columns are kept, what is left out becomes NaN.
        decimation: Every n-th row and column.
        min_confidence: Points below are left out.
        min_range, max_range: Distance from the point's own camera in segment units;
            a `max_range` of 0 is no limit.
    """

    organized: bool = False
    decimation: int = 1
    min_confidence: float = 0.1
    min_range: float = 0.0
    max_range: float = 0.0


def cloud(
    geometry: GeometryPrediction,
    frames: slice | list[int],
    T_out_world: NDArray[np.floating] | None,
    scale: float,
    rules: CloudRules,
) -> NDArray[np.void]:
    """Points of some frames in one camera's axes, in segment units.

    Args:
        geometry: The window's prediction.
        frames: Which frames.
        T_out_world: (4, 4) from the window's axes to those of the output, scene units;
            None: the frame's own camera axes (one frame).
        scale: Segment units per scene unit.
        rules: What is left out.

    Returns:
        (M,) records of POINT_DTYPE; (H', W') when organised.
    """
    every = (frames, slice(None, None, rules.decimation), slice(None, None, rules.decimation))
    local = geometry.local_points[every]
    confidence = geometry.confidence[every]
    keep = geometry.valid[every] & (confidence >= rules.min_confidence)
    keep &= np.isfinite(local).all(-1)
    if rules.min_range > 0 or rules.max_range > 0:
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.sqrt(np.einsum("...i,...i->...", local, local)) * scale
            keep &= distance >= rules.min_range
            if rules.max_range > 0:
                keep &= distance <= rules.max_range
    if T_out_world is None:
        points = local
    else:
        R = np.asarray(T_out_world[:3, :3], np.float32)
        t = np.asarray(T_out_world[:3, 3], np.float32)
        points = geometry.world_points[every]
        if not rules.organized:
            points = points[keep]
        points = points @ R.T + t
    colors = geometry.colors[every]
    if rules.organized:
        records: NDArray[np.void] = np.empty(local.shape[1:3], POINT_DTYPE)
        points, colors, confidence, keep = points[0], colors[0], confidence[0], keep[0]
    else:
        points = points[keep] if T_out_world is None else points
        colors, confidence = colors[keep], confidence[keep]
        records = np.empty(len(points), POINT_DTYPE)
    packed = records.view("<f4").reshape(*records.shape, 5)
    np.multiply(points, np.float32(scale), out=packed[..., :3])
    packed[..., 3] = _pack_rgb(colors)
    packed[..., 4] = confidence
    if rules.organized:
        packed[~keep] = np.nan
    return records


def depth_image(
    geometry: GeometryPrediction, frame: int, scale: float, min_confidence: float
) -> NDArray[np.float32]:
    """(H, W) float32 z-depth of one frame in segment units; NaN where there is none (REP 118)."""
    keep = geometry.valid[frame] & (geometry.confidence[frame] >= min_confidence)
    depth: NDArray[np.float32] = geometry.local_points[frame, ..., 2] * np.float32(scale)
    depth[~(keep & np.isfinite(depth))] = np.nan
    return depth


def _pack_rgb(colors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(..., 3) uint8 to float32 whose bits are 0x00RRGGBB."""
    bytes_bgr0 = np.zeros((*colors.shape[:-1], 4), np.uint8)
    bytes_bgr0[..., :3] = colors[..., ::-1]
    return bytes_bgr0.view(np.float32)[..., 0]
