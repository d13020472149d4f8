# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether a confidence orders errors: quartiles, and the area under the sparsification error.

Pixels of all windows are pooled, because whoever fuses depth compares pixels of different frames.

Shape letters: M pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["confidence_samples", "quartile_ratio", "sparsification_error"]

Floats = NDArray[np.float64]

_PER_WINDOW = 128  # neighbouring pixels of one window say nearly the same
_FRACTIONS = np.arange(0, 1, 0.05)


def confidence_samples(
    depth_NHW: NDArray[np.floating],
    truth_NHW: NDArray[np.floating],
    confidence_NHW: NDArray[np.floating],
) -> Floats:
    """(M, 2) confidence and relative depth error of pixels spread evenly over a window.

    Args:
        depth_NHW: Predicted depth, any scale; one median scale of the window is taken out.
        truth_NHW: True depth, 0 where unknown: such pixels are left out.
        confidence_NHW: In any unit, larger is surer.
    """
    known = np.flatnonzero(np.asarray(truth_NHW) > 0)
    if not len(known):
        return np.zeros((0, 2))
    depth, truth, confidence = (
        np.asarray(one, np.float64).reshape(-1)[known]
        for one in (depth_NHW, truth_NHW, confidence_NHW)
    )
    depth = depth * np.median(truth / depth)
    pick = np.unique(np.linspace(0, len(known) - 1, _PER_WINDOW).astype(int))
    return np.stack([confidence[pick], np.abs(depth[pick] / truth[pick] - 1)], axis=1)


def quartile_ratio(samples_M2: Floats) -> float:
    """Mean error of the surest quarter of the pixels over that of the least sure quarter.

    1 says nothing about errors, below 1 orders them. Equal confidences are told apart by chance.
    """
    error = _by_confidence(samples_M2)
    quarter = max(1, len(error) // 4)
    return float(error[:quarter].mean() / max(error[-quarter:].mean(), 1e-12))


def sparsification_error(samples_M2: Floats) -> float:
    """Area between the sparsification curve and that of an oracle, over that of chance.

    The curve is the mean error of what remains when a share of the least sure pixels is left out
    (Ilg et al. 2018, section 5.1); the oracle leaves out the largest errors. 0 is the oracle, 1 is
    an order by chance.
    """
    error = _by_confidence(samples_M2)
    best = np.sort(error)
    kept = np.maximum(1, np.round((1 - _FRACTIONS) * len(error)).astype(int))
    mine, oracle = (np.cumsum(one)[kept - 1] / kept for one in (error, best))
    chance = error.mean() - oracle
    return float((mine - oracle).sum() / max(chance.sum(), 1e-12))


def _by_confidence(samples_M2: Floats) -> Floats:
    """Errors from the surest pixel to the least sure one."""
    order = np.random.default_rng(0).permutation(len(samples_M2))
    confidence, error = samples_M2[order].T
    sorted_: Floats = error[np.argsort(-confidence, kind="stable")]
    return sorted_
