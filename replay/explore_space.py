# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the report draws in 3D: cloud, path, loops, truth, evidence.

All of it is in the axes of the final map's largest part, in the unit of `FinalMap.unit`. Shape
letter: M points or poses.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from g2vlm_map.recordings import NS

from .asking import Answer
from .pose_metrics import PoseSegment
from .scoring import Scores

if TYPE_CHECKING:
    from .report import ReportInput

__all__ = ["ShownPart", "as_base64", "columns", "drawn_space", "evidence"]

Floats = NDArray[np.float64]

MAX_POINTS = 80_000
MAX_TRUE = 2000  # poses of the truth


@dataclass(frozen=True)
class ShownPart:
    """The part of the map that is drawn.

    Args:
        path: its poses in the unit that is shown.
        elsewhere: stamps of poses in other parts, which share no axes with it.
        unit: "m" or "map units".
    """

    path: PoseSegment
    elsewhere: frozenset[int]
    unit: str

    @staticmethod
    def of(scores: Scores) -> ShownPart | None:
        """The part with the most poses; None without any."""
        final = scores.final
        parts = list(scores.segments) if final is None else final.path()
        parts = sorted((part for part in parts if part.stamps_ns), key=lambda p: p.stamps_ns[0])
        if not parts:
            return None
        path = max(parts, key=lambda part: len(part.stamps_ns))
        others = (stamp for part in parts if part is not path for stamp in part.stamps_ns)
        return ShownPart(path, frozenset(others), "map units" if final is None else final.unit)

    def at(self, stamps_ns: Sequence[int]) -> list[Floats | None]:
        """(4, 4) camera to map at some stamps, between poses on the way from one to the other.

        None ahead of the first and behind the last pose, and where the camera was in another part.
        """
        known, T_M44 = np.array(self.path.stamps_ns, np.int64), self.path.T_seg_cam_M44
        order = np.argsort(known, kind="stable")
        known, T_M44 = known[order], T_M44[order]
        seconds = (known - known[0]) / NS
        fresh = np.append(True, np.diff(known) > 0)
        seconds, T_M44 = seconds[fresh], T_M44[fresh]
        turning = (
            Slerp(seconds, Rotation.from_matrix(T_M44[:, :3, :3])) if len(seconds) > 1 else None
        )
        found: list[Floats | None] = []
        for stamp in stamps_ns:
            second = (stamp - int(known[0])) / NS
            if stamp in self.elsewhere or not 0 <= second <= seconds[-1]:
                found.append(None)
                continue
            T: Floats = T_M44[0].copy()
            T[:3, 3] = [np.interp(second, seconds, T_M44[:, axis, 3]) for axis in range(3)]
            if turning is not None:
                T[:3, :3] = turning(second).as_matrix()
            found.append(T)
        return found


def drawn_space(report: ReportInput, part: ShownPart | None) -> dict[str, Any]:
    """What is drawn in 3D; without a pose only that there is nothing."""
    height, width = report.recording.info.size_hw
    calibration = report.recording.info.calibration
    cone = (0.55, 0.55 * height / width)
    if calibration is not None:
        cone = (width / 2 / calibration.K[0, 0], height / 2 / calibration.K[1, 1])
    found: dict[str, Any] = {"places": part is not None, "cone": [float(side) for side in cone]}
    found |= {"level": columns(np.eye(4)), "radius": 1.0, "centre": [0.0, 0.0, 0.0]}
    if part is None:
        return found
    path_M3 = part.path.T_seg_cam_M44[:, :3, 3]
    cloud = report.cloud if report.scores.final is not None else None
    seen_M3 = path_M3 if cloud is None or not len(cloud) else cloud["xyz"].astype(np.float64)
    low, high = np.percentile(seen_M3, (2, 98), axis=0)
    low, high = np.minimum(low, path_M3.min(0)), np.maximum(high, path_M3.max(0))
    truth_M3 = _true_path(report, part)
    found |= {
        "unit": part.unit,
        "level": columns(_level(report.scores, part)),
        "centre": np.round((low + high) / 2, 4).tolist(),
        "radius": max(float(np.linalg.norm(high - low)) / 2, 1e-6),
        "path": np.round(path_M3, 4).tolist(),
        "loops": _loops(report.scores, part),
        "cloud": None if cloud is None or not len(cloud) else _cloud(cloud, low, high),
    }
    return found if truth_M3 is None else found | {"truth": np.round(truth_M3, 4).tolist()}


def _cloud(cloud: NDArray[np.void], low: Floats, high: Floats) -> dict[str, Any]:
    """Points as whole numbers of 1/65535 of a box that is a fifth larger than what is looked at."""
    margin = 0.2 * np.maximum(high - low, 0.05 * float((high - low).max()) + 1e-9)
    low, span = low - margin, high - low + 2 * margin
    shown = np.flatnonzero(((cloud["xyz"] >= low) & (cloud["xyz"] <= low + span)).all(1))
    if len(shown) > MAX_POINTS:
        shown = np.sort(np.random.default_rng(0).choice(shown, MAX_POINTS, replace=False))
    share_M3 = (cloud["xyz"][shown] - low) / span
    # Points that fill a surface of the box, seen from its width, touch.
    size = float(np.linalg.norm(span)) / math.sqrt(max(len(shown), 1))
    return {
        "count": len(shown),
        "low": low.tolist(),
        "span": span.tolist(),
        "size": size,
        "xyz": as_base64(np.round(share_M3 * 65535).astype("<u2").tobytes()),
        "rgb": as_base64(np.ascontiguousarray(cloud["rgb"][shown]).tobytes()),
    }


def _level(scores: Scores, part: ShownPart) -> Floats:
    """(4, 4) turns the axes that are drawn so that z is up, as far as that is known."""
    world = None if scores.final is None else scores.final.world
    T: Floats = np.eye(4)
    if world is not None and world.up_source and world.segment == part.path.number:
        T[:3, :3] = world.T_level_map[:3, :3]
    else:  # the first camera's axes
        T[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    return T


def _loops(scores: Scores, part: ShownPart) -> list[list[list[float]]]:
    places = dict(zip(part.path.stamps_ns, part.path.T_seg_cam_M44[:, :3, 3], strict=True))
    return [
        [np.round(places[stamp], 4).tolist() for stamp in (loop.stamp_i_ns, loop.stamp_j_ns)]
        for loop in (() if scores.final is None else scores.final.loops)
        if loop.stamp_i_ns in places and loop.stamp_j_ns in places
    ]


def _true_path(report: ReportInput, part: ShownPart) -> Floats | None:
    """(M, 3) true positions in the axes that are drawn, by the alignment that scored them."""
    scores, truth = report.scores, report.recording.true_poses()
    poses = scores.poses if scores.map is None else scores.map.poses
    if truth is None or poses is None:
        return None
    number, places = part.path.number, part.path.T_seg_cam_M44
    aligned = next((one for one in poses.segments if one.number == number), None)
    if aligned is None or aligned.scale <= 0:
        return None
    row = {stamp: at for at, stamp in enumerate(part.path.stamps_ns)}
    own = places[[row[stamp] for stamp in aligned.stamps_ns]]
    laid = aligned.T_world_cam_M44
    spread = own[:, :3, 3] - own[:, :3, 3].mean(0), laid[:, :3, 3] - laid[:, :3, 3].mean(0)
    scale = float(np.linalg.norm(spread[1]) / max(float(np.linalg.norm(spread[0])), 1e-12))
    R = laid[0, :3, :3] @ own[0, :3, :3].T
    shift = laid[:, :3, 3].mean(0) - scale * R @ own[:, :3, 3].mean(0)
    stamps = truth.stamps_ns
    inside = np.flatnonzero(
        (stamps >= min(aligned.stamps_ns) - truth.tolerance_ns)
        & (stamps <= max(aligned.stamps_ns) + truth.tolerance_ns)
    )
    inside = inside[:: max(1, math.ceil(len(inside) / MAX_TRUE))]
    found: Floats = (truth.T_world_cam_M44[inside, :3, 3] - shift) @ R / scale
    return found


def evidence(report: ReportInput, part: ShownPart | None, answer: Answer) -> list[list[Any]]:
    """[x, y, z, name] of the places that an answer rests on, in the axes that are drawn.

    An answer has them in its camera's axes, in metres or in map units.
    """
    (T,) = [None] if part is None or not answer.points else part.at([answer.scene_ns])
    if part is None or T is None:
        return []
    factor, last = 1.0, None if report.scores.final is None else report.scores.final.scale
    if answer.is_metric != (part.unit == "m"):
        if last is None or not last.metric:
            return []
        factor = 1.0 / last.metres_per_unit if answer.is_metric else last.metres_per_unit
    places = np.array(answer.points, np.float64) * factor @ T[:3, :3].T + T[:3, 3]
    names = [*answer.labels, *[""] * len(places)]
    return [
        [*np.round(place, 4).tolist(), name]
        for place, name in zip(places, names, strict=False)
        if np.isfinite(place).all()
    ]


def columns(T: Floats) -> list[float]:
    """A (4, 4) as WebGL wants it, column by column."""
    return [float(number) for number in np.round(T.T.ravel(), 5)]


def as_base64(content: bytes) -> str:
    """As text of the page."""
    return base64.b64encode(content).decode("ascii")
