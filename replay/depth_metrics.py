# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth against ground truth: AbsRel and delta < 1.25, each beside what knows no frame.

Shape letters: H W pixels of the predicted map, M pixels that count, K frames.

The model's lengths are up to scale, so every predicted map (and every baseline) is first
multiplied by the median of truth / prediction over the pixels that count ("median scaling"): half
of the pixels then are too near and half too far. The metrics of these names in `g2vlm evaluate` are
stricter: one scale for all frames of a window, and every pixel whose truth is known counts.
A number without its baselines says little: a constant already reaches an AbsRel of about 0.3
in a room, and the mean depth map about 0.25.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DELTA_THRESHOLD = 1.25
MIN_PIXELS = 50


@dataclass(frozen=True)
class DepthError:
    """Errors of one depth map after median scaling.

    Args:
        abs_rel: mean |prediction - truth| / truth over the pixels that count.
        delta_125: share of them with max(prediction / truth, truth / prediction) < 1.25.
        scale: median of truth / prediction, metres per scene unit.
        pixels: how many pixels count.
        coverage: their share of the pixels where the truth reads: 1 where the prediction
            speaks of everything.
    """

    abs_rel: float
    delta_125: float
    scale: float
    pixels: int
    coverage: float


def valid_pixels(
    predicted_HW: NDArray[np.floating], truth_HW: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Pixels (H, W) where both maps hold a finite depth above zero."""
    with np.errstate(invalid="ignore"):
        return np.asarray(
            np.isfinite(predicted_HW) & np.isfinite(truth_HW) & (predicted_HW > 0) & (truth_HW > 0)
        )


def depth_error(
    predicted_HW: NDArray[np.floating],
    truth_HW: NDArray[np.floating],
    mask_HW: NDArray[np.bool_] | None = None,
) -> DepthError | None:
    """Score one depth map against ground truth of the same grid.

    Args:
        predicted_HW: (H, W) float z-depth, any unit; 0 and non-finite count as "no depth".
        truth_HW: (H, W) float z-depth in metres; 0 and non-finite count as "no reading".
        mask_HW: (H, W) bool, pixels to restrict to (so that a baseline is scored on the very
            pixels of the prediction), or None.

    Returns:
        The errors, or None where fewer than 50 pixels can be compared.

    Raises:
        ValueError: The two maps differ in size.
    """
    if predicted_HW.shape != truth_HW.shape:
        raise ValueError(f"depth maps differ: {predicted_HW.shape} and {truth_HW.shape}")
    use_HW = valid_pixels(predicted_HW, truth_HW)
    if mask_HW is not None:
        use_HW = use_HW & mask_HW
    predicted_M = predicted_HW[use_HW].astype(np.float64)
    truth_M = truth_HW[use_HW].astype(np.float64)
    if predicted_M.size < MIN_PIXELS:
        return None
    scale = float(np.median(truth_M / predicted_M))
    scaled_M = predicted_M * scale
    ratio_M = np.maximum(scaled_M / truth_M, truth_M / scaled_M)
    return DepthError(
        abs_rel=float(np.mean(np.abs(scaled_M - truth_M) / truth_M)),
        delta_125=float(np.mean(ratio_M < DELTA_THRESHOLD)),
        scale=scale,
        pixels=int(predicted_M.size),
        coverage=float(predicted_M.size / (np.isfinite(truth_HW) & (truth_HW > 0)).sum()),
    )


def resample_truth(truth_HW: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Read a depth map at the pixel centres of a grid of another size.

    The nearest reading is taken, never a mean: a mean across a depth edge is a depth that
    nothing has.

    Args:
        truth_HW: (H, W) depth map that shows the same field of view as the wanted grid.
        size: (height, width) of the wanted grid.

    Returns:
        (height, width) float32.
    """
    rows = (np.arange(size[0]) + 0.5) * truth_HW.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * truth_HW.shape[1] / size[1]
    return truth_HW[np.ix_(rows.astype(np.int64), columns.astype(np.int64))].astype(np.float32)


def mean_depth_map(truths_KHW: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The geometric mean of several depth maps, pixel by pixel (H, W); 0 where none reads.

    Taken over the very frames under test it is an oracle: the best that a fixed map which
    looks at no frame can do on average.
    """
    stack_KHW = np.stack(truths_KHW).astype(np.float64)
    read_KHW = np.isfinite(stack_KHW) & (stack_KHW > 0)
    log_KHW = np.log(np.where(read_KHW, stack_KHW, 1.0))
    count_HW = read_KHW.sum(0)
    mean_HW = np.exp((log_KHW * read_KHW).sum(0) / np.maximum(count_HW, 1))
    return np.where(count_HW > 0, mean_HW, 0.0).astype(np.float32)


@dataclass(frozen=True)
class DepthScore:
    """Mean over frames of the per-frame errors; `frames` is how many were compared."""

    abs_rel: float
    delta_125: float
    coverage: float
    frames: int


@dataclass(frozen=True)
class DepthReport:
    """A run's depth score and the two baselines on the same frames and pixels.

    Args:
        predicted: the node's depth.
        mean_picture: the mean ground-truth map of these very frames (an oracle).
        constant: one depth everywhere.
        per_frame: (stamp_ns, error) of each compared frame.
    """

    predicted: DepthScore
    mean_picture: DepthScore
    constant: DepthScore
    per_frame: tuple[tuple[int, DepthError], ...]

    def scale_at(self, stamp_ns: int) -> float | None:
        """Metres per scene unit of the frame with this stamp, by median scaling."""
        return next((error.scale for stamp, error in self.per_frame if stamp == stamp_ns), None)


def score_depths(
    pairs: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]],
) -> DepthReport | None:
    """Score a run's depth maps and the baselines that look at no frame.

    Args:
        pairs: (stamp_ns, predicted_HW, truth_HW) per frame, both maps on one grid.

    Returns:
        The scores, or None where no frame can be compared.
    """
    usable = [
        (stamp, predicted, truth, error)
        for stamp, predicted, truth in pairs
        if (error := depth_error(predicted, truth)) is not None
    ]
    if not usable:
        return None
    means = {
        size: mean_depth_map([truth for _, _, truth, _ in usable if truth.shape == size])
        for size in {truth.shape for _, _, truth, _ in usable}
    }
    mean_errors, constant_errors = [], []
    for _, predicted, truth, _ in usable:
        mask = valid_pixels(predicted, truth)
        mean_errors.append(depth_error(means[truth.shape], truth, mask))
        constant_errors.append(depth_error(np.ones_like(truth), truth, mask))
    return DepthReport(
        predicted=_mean([error for *_, error in usable]),
        mean_picture=_mean([error for error in mean_errors if error is not None]),
        constant=_mean([error for error in constant_errors if error is not None]),
        per_frame=tuple((stamp, error) for stamp, _, _, error in usable),
    )


def _mean(errors: list[DepthError]) -> DepthScore:
    return DepthScore(
        abs_rel=float(np.mean([error.abs_rel for error in errors])),
        delta_125=float(np.mean([error.delta_125 for error in errors])),
        coverage=float(np.mean([error.coverage for error in errors])),
        frames=len(errors),
    )
