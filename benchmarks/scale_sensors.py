# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sensors of a robot, simulated from the truth and a seed, for the statistics of the scale.

They see the truth's metres in no other way than a sensor would: with a bias that stays, noise,
and now and then something gross.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from g2vlm_map.poses import Floats, inverse, rigid, rotation, rotation_vector
from g2vlm_map.scale.readings import Measured
from g2vlm_map.scale.samples import Samples
from g2vlm_map.scale.sources.depth_ratio import compare
from g2vlm_map.scale.sources.ranged_path import RangedPath
from g2vlm_map.scale.sources.sight import Sight
from g2vlm_map.sensing import DepthSample, OdometrySample, PointSample, Sample

from .scale_history import History

__all__ = [
    "MIXTURES",
    "SimulatedStereo",
    "lidar_row",
    "odometry",
    "range_rows",
    "samples_of",
    "wheels",
]

ODOMETRY_SHARE = 0.02  # of the way, that the odometry says it may be wrong by
_BASELINE_M = 0.12
_ROWS = 16
_NO_SENSOR = rigid(np.eye(3), np.zeros(3))  # sensors sit in the camera's optical frame

MIXTURES: dict[str, tuple[str, ...]] = {
    "odometry": ("odometry",),
    "range": ("range",),
    "stereo": ("stereo",),
    "odometry+range": ("odometry", "range"),
    "odometry+stereo": ("odometry", "stereo"),
    "range+stereo": ("range", "stereo"),
}


def wheels(
    stamp_M: Sequence[int], truth_M44: Floats, seed: int, outliers: float = 0.0
) -> list[OdometrySample]:
    """Wheels: a radius that is wrong, noise, slips.

    Args:
        stamp_M: When they speak.
        truth_M44: True poses of the base then.
        seed: Of bias (2 %), noise (1 % and 3 mm a step), turn (0.7 % and 0.2 deg a step), slips (a
            step in twenty is a tenth too long).
        outliers: Share of the steps whose length is anything between nothing and three times.
    """
    rng = np.random.default_rng([seed, 11])
    bias, turn_bias = rng.normal(0, 0.02), rng.normal(0, 0.007)
    T, made = np.eye(4), []
    for row, stamp in enumerate(stamp_M):
        if row:
            step = inverse(truth_M44[row - 1]) @ truth_M44[row]
            way = 1 + bias + rng.normal(0, 0.01)
            way *= 1.1 if rng.random() < 0.05 else 1.0
            way *= rng.uniform(0, 3) if rng.random() < outliers else 1.0
            turn = rotation_vector(step[:3, :3]) * (1 + turn_bias) + rng.normal(0, 0.0035, 3)
            shift = step[:3, 3] * way + rng.normal(0, 0.003, 3)
            T = T @ rigid(rotation(turn), shift)
        made.append(OdometrySample(int(stamp), T, ODOMETRY_SHARE))
    return made


def odometry(history: History, seed: int, outliers: float = 0.0) -> list[OdometrySample]:
    """`wheels` that speak at each frame."""
    return wheels(history.frame_stamp_M.tolist(), history.T_world_frame_M44, seed, outliers)


def range_rows(
    history: History, seed: int, outliers: float = 0.0, rows: Sequence[int] | None = None
) -> list[PointSample | DepthSample]:
    """16 rows of a lidar: 1 % and 2 cm a reading, 5 % of them anything.

    Args:
        history: Whose truth it sees.
        seed: Of the noise.
        outliers: Share of the frames whose ranges are all off by a common factor.
        rows: Of the picture; None: sixteen, evenly.
    """
    rng = np.random.default_rng([seed, 13])
    height, width = history.true_depth_NHW.shape[1:]
    kept = np.linspace(4, height - 5, _ROWS).astype(int) if rows is None else np.array(rows)
    homogeneous = np.stack(np.meshgrid(np.arange(width), kept), axis=-1).reshape(-1, 2)
    ray = np.concatenate((homogeneous, np.ones((len(homogeneous), 1))), axis=1)
    ray = ray @ np.linalg.inv(history.K_33).T
    made: list[PointSample | DepthSample] = []
    for row, stamp in enumerate(history.stamp_N.tolist()):
        depth = history.true_depth_NHW[row][kept].astype(np.float64).ravel()
        depth = depth * (1 + rng.normal(0, 0.01, depth.shape)) + rng.normal(0, 0.02, depth.shape)
        gross = rng.random(depth.shape) < 0.05
        depth[gross] *= rng.uniform(0.1, 2.0, int(gross.sum()))
        depth *= np.exp(rng.normal(0, 1)) if rng.random() < outliers else 1.0
        points = np.where(depth[:, None] > 0.05, ray * depth[:, None], np.nan).astype(np.float32)
        made.append(PointSample(int(stamp), points, _NO_SENSOR, rows is not None))
    return made


def lidar_row(
    history: History, seed: int, outliers: float = 0.0
) -> list[PointSample | DepthSample]:
    """The row of a 2D lidar, in the middle of the picture."""
    height = history.true_depth_NHW.shape[1]
    return range_rows(history, seed, outliers, rows=[height // 2])


class SimulatedStereo:
    """Dense stereo whose disparities are off by a third of a pixel, and a tenth of them gross.

    Takes the place of the source that matches pictures, which a history does not keep.
    """

    def __init__(self, history: History, seed: int, outliers: float = 0.0) -> None:
        self._history, self._outliers = history, outliers
        self._rng = np.random.default_rng([seed, 17])
        self._focal_bias = self._rng.normal(0, 0.01)
        self._path = RangedPath("stereo")

    def forget(self) -> None:
        """The path begins anew."""
        self._path.forget()

    def measure(self, sight: Sight, samples: Samples) -> list[Measured]:
        """As `StereoSource.measure`."""
        del samples
        rng, view = self._rng, sight.placed.keyframe.views[0]
        number = sight.placed.keyframe.number
        truth = self._history.true_depth_NHW[self._history.index(number)].astype(np.float64)
        row, column = np.mgrid[0 : truth.shape[0] : 3, 0 : truth.shape[1] : 3].reshape(2, -1)
        depth = truth[row, column]
        disparity = 320 / truth.shape[1] * view.K[0, 0] * _BASELINE_M / np.maximum(depth, 1e-3)
        shifted = disparity + rng.normal(0, 0.33, disparity.shape)
        gross = rng.random(disparity.shape) < 0.1
        shifted[gross] = rng.uniform(1.5, 60, int(gross.sum()))
        seen = (depth > 0) & (shifted > 1.5)
        ratio = disparity[seen] / shifted[seen] * (1 + self._focal_bias)
        ratio *= np.exp(rng.normal(0, 1)) if rng.random() < self._outliers else 1.0
        points = np.stack((column, row), 1)[seen].astype(float), depth[seen] * ratio
        found = compare(view, *points)
        made = [Measured("stereo", number, number, found.log_metric, found.sigma)] if found else []
        return made + self._path.add(sight, points)


def samples_of(
    history: History, names: Sequence[str], seed: int, outliers: float = 0.0
) -> list[Sample]:
    """What the sensors of a mixture say of a drive, in the order of time."""
    makers: dict[str, Callable[[History, int, float], Sequence[Sample]]] = {
        "odometry": odometry,
        "range": range_rows,
        "scan": lidar_row,
    }
    made = [
        sample
        for name in names
        if name in makers
        for sample in makers[name](history, seed, outliers)
    ]
    return sorted(made, key=lambda sample: getattr(sample, "stamp_ns", 0))
