# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is a K that is wrong by a tenth found? The turns of recorded drives, with another K told.

The pipeline's own matches of each edge are solved again for a turn with the K that is told; which
matches agree was decided with the right one. `record --focal` makes drives that were told a wrong
K throughout: minutes a drive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from g2vlm_map.mapping.keyframe import Edge, View
from g2vlm_map.poses import Floats
from g2vlm_map.scale.focal import FocalCheck
from g2vlm_map.scale.samples import Samples
from g2vlm_map.sensing import Extrinsics

from .scale_history import CAMERA, History
from .scale_sensors import wheels

__all__ = ["FOCAL_HEADER", "FocalRow", "focal_row", "told_another"]


@dataclass(frozen=True)
class FocalRow:
    """Drives that were told one K; shares are of drives, each with several wheels.

    Args:
        told: K that is told over the true one.
        drives, keyframes: How many; keyframes as a mean over drives.
        enough: With turns enough for a verdict.
        at_end, ever: With K in doubt at their end, and at any time.
        gain: Turns by pictures over turns by wheels at the end, mean over drives.
        spread: Its standard deviation over them.
    """

    told: float
    drives: int
    keyframes: float
    enough: float
    at_end: float
    ever: float
    gain: float
    spread: float

    def cells(self) -> list[str]:
        """Of a table."""
        return [f"{value:.3g}" for value in asdict(self).values()]


FOCAL_HEADER = tuple(FocalRow.__dataclass_fields__)


def focal_row(drives: Sequence[tuple[str, History]], told: float, seeds: int) -> FocalRow:
    """What the check says over all drives.

    Args:
        drives: Recorded with the true K.
        told: K that is told over the true one.
        seeds: Wheels a drive.
    """
    ends, evers, gains = [], [], []
    for _, history in drives:
        edges = [edge for edge in map(_Told(history, told), history.edges) if edge is not None]
        for seed in range(seeds):
            check, ever = _checked(history, edges, seed)
            ends.append(bool(check.doubt))
            evers.append(ever)
            gains.append(check.gain[0] if np.isfinite(check.gain[1]) else np.nan)
    enough = np.isfinite(gains)
    return FocalRow(
        told=told,
        drives=len(drives),
        keyframes=float(np.mean([len(history.stamp_N) for _, history in drives])),
        enough=float(np.mean(enough)),
        at_end=float(np.mean(ends)),
        ever=float(np.mean(evers)),
        gain=float(np.nanmean(gains)),
        spread=float(np.nanstd(gains)),
    )


def _checked(history: History, edges: Sequence[Edge], seed: int) -> tuple[FocalCheck, bool]:
    samples, check, ever = Samples(), FocalCheck(), False
    samples.add(Extrinsics(CAMERA, np.eye(4)))
    for sample in wheels(history.frame_stamp_M.tolist(), history.T_world_frame_M44, seed):
        samples.add(sample)
    for step in history.steps():
        for number in step.new:
            check.add([edge for edge in edges if edge.j == number], step.placed, samples)
            ever |= bool(check.doubt)
    return check, ever


class _Told:
    """Edges as they turn where another K is told."""

    def __init__(self, history: History, told: float) -> None:
        self._views = {item.number: item.views[0] for item in history.keyframes()}
        self._told = told

    def __call__(self, edge: Edge) -> Edge | None:
        if self._told == 1.0 or edge.kind != "visual":
            return edge
        R_33 = told_another(edge, self._views[edge.i], self._views[edge.j], self._told)
        if R_33 is None:
            return None
        T: Floats = edge.T_i_j.copy()
        T[:3, :3] = R_33
        return replace(edge, T_i_j=T)


def told_another(edge: Edge, view_i: View, view_j: View, told: float) -> Floats | None:
    """(3, 3) turn of j in i by an edge's matches with `told` times the focal length.

    Returns:
        None where the edge has no tracks, or they allow no turn.
    """
    if edge.tracks is None:
        return None
    K = view_i.K_image.copy()
    K[[0, 1], [0, 1]] *= told
    back, index = np.linalg.inv(K), edge.tracks.feature_K2
    rays = []
    for side, view in enumerate((view_i, view_j)):
        pixel = view.feature_F2[index[:, side]].astype(np.float64)
        rays.append((np.concatenate((pixel, np.ones((len(pixel), 1))), axis=1) @ back.T)[:, :2])
    cv2.setRNGSeed(0)
    E, mask = cv2.findEssentialMat(
        rays[1], rays[0], np.eye(3), method=cv2.USAC_MAGSAC, prob=0.999, threshold=1 / K[0, 0]
    )
    if E is None or E.shape != (3, 3):
        return None
    return np.asarray(cv2.recoverPose(E, rays[1], rays[0], np.eye(3), mask=mask)[1], np.float64)
