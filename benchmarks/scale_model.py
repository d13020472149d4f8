# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives out of a model whose parameters were measured on the real pipeline's maps.

The real pipeline takes minutes a drive; statistics need hundreds. What makes a scale hard is how
slowly a map's own errors change, so that is what the model has: the local scale of the trajectory
and that of the depth are Ornstein-Uhlenbeck processes over keyframes,

    log(true step / map step)_n  = log S + l_n + white,       depth off_n = log S + d0 + d_n

with standard deviations and correlations drawn from those of whole segments (`measured`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.poses import Floats, rigid, rotation

from .scale_history import History
from .scale_runs import similarity_scale

__all__ = ["MapErrors", "measured", "modelled"]

_KEYFRAMES = 100
_GRID = (42, 56)
_NS = 1_000_000_000
_LEAST_KEYFRAMES = 25  # of a segment that is measured
_LEAST_CHORD_M = 0.1
_LAG = 5  # keyframes at which correlations are read


@dataclass(frozen=True)
class MapErrors:
    """How a segment of a map errs.

    Args:
        step_sigma, step_rho: Standard deviation of the local log-scale of chords of three
            keyframes, and its correlation from keyframe to keyframe.
        depth_sigma, depth_rho: The same of the depth.
        depth_off: Log of the depth's mean scale over the trajectory's.
        spread: Standard deviation of the log depth within a picture.
    """

    step_sigma: float
    step_rho: float
    depth_sigma: float
    depth_rho: float
    depth_off: float
    spread: float


def measured(history: History) -> list[MapErrors]:
    """How each long segment of a drive's map errs, at its end."""
    *_, last = history.steps()
    found = []
    for segment in sorted({item.segment for item in last.placed.values()}):
        ours = [item for item in last.placed.values() if item.segment == segment]
        if len(ours) < _LEAST_KEYFRAMES:
            continue
        rows = [history.index(item.keyframe.number) for item in ours]
        ours_N3 = np.array([item.T_map_body[:3, 3] for item in ours])
        true_N3 = history.T_world_cam_N44[rows][:, :3, 3]
        log_scale = float(np.log(similarity_scale(ours_N3, true_N3)))
        chords = [
            np.log(true / np.linalg.norm(ours_N3[n + 3] - ours_N3[n])) - log_scale
            for n in range(len(ours) - 3)
            for true in [np.linalg.norm(true_N3[n + 3] - true_N3[n])]
            if true > _LEAST_CHORD_M
        ]
        offs, spreads = [], []
        for item, row in zip(ours, rows, strict=True):
            depth = history.depth_NHW[row].astype(np.float64)
            truth = history.true_depth_NHW[row].astype(np.float64)
            both = (depth > 0) & (truth > 0)
            ratio = np.log(truth[both] / depth[both])
            offs.append(float(np.median(ratio)) - item.log_depth_scale - log_scale)
            spreads.append(1.4826 * float(np.median(np.abs(ratio - np.median(ratio)))))
        if len(chords) < 2 * _LAG:
            continue
        steps, depths = np.array(chords), np.array(offs)
        found.append(
            MapErrors(
                float(np.std(steps)),
                _rho(steps),
                float(np.std(depths)),
                _rho(depths),
                float(np.mean(depths)),
                float(np.median(spreads)),
            )
        )
    return found


def _rho(values: Floats) -> float:
    """Correlation from one to the next, of a process whose correlation dies out exponentially."""
    off = values - values.mean()
    correlation = float((off[_LAG:] * off[:-_LAG]).mean() / max((off**2).mean(), 1e-12))
    return float(np.clip(correlation, 0.02, 0.95) ** (1 / _LAG))


def modelled(errors: Sequence[MapErrors], seed: int) -> History:
    """A drive of 100 keyframes whose map errs like one of those measured.

    Args:
        errors: To draw from.
        seed: Of everything.
    """
    rng = np.random.default_rng([seed, 29])
    chosen = errors[int(rng.integers(len(errors)))]
    truth = _path(rng)
    log_scale = rng.normal(0.3, 0.4)
    local = _process(rng, chosen.step_sigma, chosen.step_rho)
    ours = [np.eye(4)]
    for n in range(1, _KEYFRAMES):
        step = np.linalg.inv(truth[n - 1]) @ truth[n]
        shrink = np.exp(-(log_scale + local[n]))
        aside = rotation(rng.normal(0, 0.08, 3))
        turn = rotation(rng.normal(0, 0.003, 3)) @ step[:3, :3]
        ours.append(ours[-1] @ rigid(turn, aside @ step[:3, 3] * shrink))
    off = _process(rng, chosen.depth_sigma, chosen.depth_rho) + chosen.depth_off
    true_depth = np.stack([_scene(rng, 0.5) * rng.uniform(1.0, 4.0) for _ in range(_KEYFRAMES)])
    shape = np.stack([np.exp(chosen.spread * _waves(rng)) for _ in range(_KEYFRAMES)])
    depth = true_depth * shape / np.exp(log_scale + off)[:, None, None]
    K = np.array([[40.0, 0, 27.5], [0, 40.0, 20.5], [0, 0, 1]])
    counts = np.arange(1, _KEYFRAMES + 1)
    stamps = (1000 * _NS + np.arange(_KEYFRAMES) * _NS // 3).astype(np.int64)
    return History(
        stamp_N=stamps,
        number_N=counts,
        T_world_cam_N44=truth,
        depth_NHW=depth.astype(np.float16),
        confidence_NHW=np.full((_KEYFRAMES, *_GRID), 255, np.uint8),
        true_depth_NHW=true_depth.astype(np.float16),
        feature_F2=np.zeros((0, 2), np.float32),
        feature_count_N=np.zeros(_KEYFRAMES, np.int64),
        K_33=K,
        image_hw=np.array(_GRID),
        frame_stamp_M=stamps,
        T_world_frame_M44=truth,
        step_S=counts,
        new_S=np.ones(_KEYFRAMES, np.int64),
        pose_P44=np.concatenate([np.stack(ours[:count]) for count in counts]),
        log_depth_scale_P=np.zeros(int(counts.sum())),
        segment_P=np.ones(int(counts.sum()), np.int64),
        edge_step_E=np.zeros(0, np.int64),
        edges=(),
    )


def _path(rng: np.random.Generator) -> Floats:
    """(N, 4, 4) of a camera that drives forward in curves and now and then turns on the spot."""
    pace, rate = rng.uniform(0.05, 0.2), 0.0
    yaw, place, poses = 0.0, np.zeros(3), []
    standing = 0
    for _ in range(_KEYFRAMES):
        poses.append(rigid(rotation(np.array([0.0, yaw, 0.0])), place))
        standing = int(rng.integers(4, 12)) if rng.random() < 0.04 else max(0, standing - 1)
        rate = 0.8 * rate + rng.normal(0, 0.04)
        yaw += np.sign(rate) * 0.12 if standing else rate
        forward = np.array([np.sin(yaw), 0.0, np.cos(yaw)])
        place = place + (0.0 if standing else pace * rng.uniform(0.6, 1.4)) * forward
    return np.stack(poses)


def _process(rng: np.random.Generator, sigma: float, rho: float) -> Floats:
    """(N,) of an Ornstein-Uhlenbeck process."""
    values = [rng.normal(0, sigma)]
    for _ in range(_KEYFRAMES - 1):
        values.append(rho * values[-1] + rng.normal(0, sigma * np.sqrt(1 - rho**2)))
    return np.array(values)


def _waves(rng: np.random.Generator) -> NDArray[np.float64]:
    """(H, W) smooth noise of unit standard deviation."""
    coarse = rng.normal(0, 1, (5, 6))
    smooth = cv2.resize(coarse, _GRID[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float64)


def _scene(rng: np.random.Generator, relief: float) -> NDArray[np.float64]:
    """(H, W) depth around 1."""
    return np.asarray(np.exp(relief * _waves(rng)))
