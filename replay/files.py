# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes what others read: cloud.ply, trajectory.tum, metrics.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.mapping.keyframe import PlacedKeyframe
from g2vlm_map.poses import metric, quaternion_xyzw
from g2vlm_map.recordings import NS
from g2vlm_map.world import World
from g2vlm_model.interface.whole_files import whole_file

from .pose_metrics import PoseSegment

PLY_DTYPE = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("confidence", "<f4")])
MAX_POINTS = 1_500_000
VOXELS_PER_EXTENT = 400


def map_cloud(world: World, min_confidence: float, *, in_metres: bool) -> NDArray[np.void]:
    """The depth of all keyframes of the map's largest part as one cloud.

    Points below the confidence are left out. Of the points within one voxel (1/400 of the
    cloud's extent) the most confident one stays.

    Args:
        world: the map.
        min_confidence: in [0, 1].
        in_metres: whether the scale is one of that part, see `FinalMap.unit`.

    Returns:
        (M,) records of PLY_DTYPE in the map's axes, those of its first camera; metres or map units.
    """
    numbers = Counter(placed.segment for placed in world.keyframes)
    largest = max(numbers, key=lambda number: numbers[number], default=0)
    metres = world.scale.metres_per_unit if in_metres else None
    parts = [
        _view_points(placed, index, metres, min_confidence)
        for placed in world.keyframes
        if placed.segment == largest
        for index in range(len(placed.keyframe.views))
    ]
    return _thin(np.concatenate(parts) if parts else np.empty(0, PLY_DTYPE))


def _view_points(
    placed: PlacedKeyframe, index: int, metres_per_unit: float | None, min_confidence: float
) -> NDArray[np.void]:
    view = placed.keyframe.views[index]
    unit = 1.0 if metres_per_unit is None else metres_per_unit
    lever = metric(view.T_body_cam, 0.0) if metres_per_unit is None else view.T_body_cam
    T_map_cam = metric(placed.T_map_body, unit) @ lever
    depth_HW = placed.depth(index) * unit
    keep = (depth_HW > 0) & (view.confidence_HW >= 255 * min_confidence)
    v, u = np.nonzero(keep)
    rays = np.stack([u, v, np.ones(len(u))], axis=1) @ np.linalg.inv(view.K).T
    points = np.empty(len(u), PLY_DTYPE)
    points["xyz"] = rays * depth_HW[keep, None] @ T_map_cam[:3, :3].T + T_map_cam[:3, 3]
    points["rgb"] = view.color_HW3[keep]
    points["confidence"] = view.confidence_HW[keep] / np.float32(255)
    return points


def write_ply(path: Path, points: NDArray[np.void], comment: str) -> None:
    """Write a binary little-endian PLY with colours and confidence.

    Args:
        path: the file.
        points: (M,) records of PLY_DTYPE.
        comment: one line, e.g. the unit.
    """
    assert "\n" not in comment, comment
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment {comment}\n"
        f"element vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "property float confidence\nend_header\n"
    )
    with whole_file(path) as partial:
        partial.write_bytes(header.encode("ascii") + points.tobytes())


def write_tum(path: Path, segments: Iterable[PoseSegment], unit: str) -> None:
    """Write poses as `seconds tx ty tz qx qy qz qw`, a comment before each segment.

    Args:
        path: the file.
        segments: camera to segment.
        unit: of their positions, in words.
    """
    lines = [f"# camera poses, camera to segment, {unit}: seconds tx ty tz qx qy qz qw"]
    for segment in segments:
        lines.append(f"# segment {segment.number}: axes of its own")
        for stamp, T in zip(segment.stamps_ns, segment.T_seg_cam_M44, strict=True):
            numbers = [*T[:3, 3], *quaternion_xyzw(T[:3, :3])]
            shown = " ".join(f"{number:.9g}" for number in numbers)
            lines.append(f"{stamp // NS}.{stamp % NS:09d} {shown}")
    with whole_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON without NaN: numbers that are not finite become null."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _thin(points: NDArray[np.void]) -> NDArray[np.void]:
    """One point per voxel, the most confident; at most MAX_POINTS."""
    if not len(points):
        return points
    low, high = np.percentile(points["xyz"], (1, 99), axis=0)
    voxel = max(float((high - low).max()) / VOXELS_PER_EXTENT, 1e-9)
    order = np.argsort(-points["confidence"], kind="stable")
    cells = np.floor((points["xyz"][order] - low) / voxel).clip(-1e6, 1e6).astype(np.int64)
    _, first = np.unique(cells, axis=0, return_index=True)
    return points[order[np.sort(first)[:MAX_POINTS]]]
