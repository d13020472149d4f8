"""Writes what others read: cloud.ply, trajectory.tum, metrics.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.recordings import NS

from .outcome import Cloud
from .pose_metrics import PoseSegment

PLY_DTYPE = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("confidence", "<f4")])
MAX_POINTS = 1_500_000
VOXELS_PER_EXTENT = 400


def merge_clouds(
    clouds: Iterable[Cloud], segment: PoseSegment, min_confidence: float
) -> NDArray[np.void]:
    """All scenes of one segment as one cloud in the segment's axes.

    Points below the confidence are left out. Of the points within one voxel (1/400 of the
    cloud's extent) the most confident one stays.

    Args:
        clouds: scenes; those of other segments are skipped.
        segment: gives the poses, and the axes.
        min_confidence: in [0, 1].

    Returns:
        (M,) records of PLY_DTYPE, segment units.
    """
    T_by_stamp = dict(zip(segment.stamps_ns, segment.T_seg_cam_M44, strict=True))
    parts = []
    for cloud in clouds:
        T_seg_cam = T_by_stamp.get(cloud.stamp_ns)
        if T_seg_cam is None:
            continue
        keep = cloud.confidence_M >= min_confidence
        part = np.empty(int(keep.sum()), PLY_DTYPE)
        part["xyz"] = cloud.points_M3[keep] @ T_seg_cam[:3, :3].T + T_seg_cam[:3, 3]
        part["rgb"] = cloud.colors_M3[keep]
        part["confidence"] = cloud.confidence_M[keep]
        parts.append(part)
    merged = np.concatenate(parts) if parts else np.empty(0, PLY_DTYPE)
    return _thin(merged)


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
    path.write_bytes(header.encode("ascii") + points.tobytes())


def write_tum(path: Path, segments: Iterable[PoseSegment]) -> None:
    """Write poses as `seconds tx ty tz qx qy qz qw`, a comment before each segment."""
    lines = ["# camera poses, camera to segment, up to scale: seconds tx ty tz qx qy qz qw"]
    for segment in segments:
        lines.append(f"# segment {segment.number}: axes and scale of its own")
        for stamp, T in zip(segment.stamps_ns, segment.T_seg_cam_M44, strict=True):
            numbers = [*T[:3, 3], *quaternion_xyzw(T[:3, :3])]
            shown = " ".join(f"{number:.9g}" for number in numbers)
            lines.append(f"{stamp // NS}.{stamp % NS:09d} {shown}")
    path.write_text("\n".join(lines) + "\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON without NaN: numbers that are not finite become null."""
    path.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


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
