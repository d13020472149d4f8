# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The scale out of readings that share a slow bias of unknown size.

A model's depth is off by the same factor for many keyframes, and so is a stretch of a trajectory:
whoever takes readings for independent believes far too much. The state is [log-scale, bias]; the
bias is an Ornstein-Uhlenbeck process over keyframes,

    reading_n = scale_n + bias_n + noise_n,   E[bias_m bias_n] = sigma^2 rho^|m - n|,

and since neither sigma nor rho transfer from one place to another, a bank of Kalman filters, one
for each pair of them, is weighed by how well each one foresaw the readings: static multiple-model
estimation (Magill, "Optimal adaptive estimation of sampled stochastic processes", 1965).

Shape letter: M members of the bank.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["BiasBank"]

Floats = NDArray[np.float64]

_SIGMAS = (0.04, 0.08, 0.15, 0.25, 0.40)
_RHOS = (0.6, 0.85, 0.95, 0.985)
_SPREAD = 0.6  # of the belief in sigma, in its log
_DIFFUSE = 1.5  # standard deviation of the log-scale before the first reading


class BiasBank:
    """Filters over [log-scale, bias], one for each size and persistence of the bias.

    Args:
        bias_sigma: Where the belief in the bias's standard deviation begins.
        drift: Standard deviation by which the log-scale wanders per keyframe.
        centre: Log-scale where the search begins.
        keyframe: Number of the keyframe that `centre` is of.
    """

    def __init__(self, bias_sigma: float, drift: float, centre: float, keyframe: int) -> None:
        sigma_M, rho_M = (
            grid.ravel() for grid in np.meshgrid(np.array(_SIGMAS), np.array(_RHOS), indexing="ij")
        )
        self._sigma_M, self._rho_M, self._drift = sigma_M, rho_M, drift
        self._log_weight_M: Floats = -0.5 * (np.log(sigma_M / bias_sigma) / _SPREAD) ** 2
        self._log_weight_M -= np.logaddexp.reduce(self._log_weight_M)
        members = len(sigma_M)
        self._x_M2 = np.tile(np.array([centre, 0.0]), (members, 1))
        self._P_M22 = np.zeros((members, 2, 2))
        self._P_M22[:, 0, 0] = _DIFFUSE**2
        self._P_M22[:, 1, 1] = sigma_M**2
        self._keyframe = keyframe

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of the log-scale over all members."""
        return _mixed(self._weight_M, self._x_M2[:, 0], self._P_M22[:, 0, 0])

    @property
    def bias_sigma(self) -> float:
        """What the bias's standard deviation is believed to be by now."""
        return float(np.sqrt(self._weight_M @ self._sigma_M**2))

    @property
    def _weight_M(self) -> Floats:
        return np.asarray(np.exp(self._log_weight_M))

    def advance(self, keyframe: int) -> None:
        """Go on to a later keyframe; an earlier one changes nothing."""
        steps = keyframe - self._keyframe
        if steps <= 0:
            return
        self._keyframe = keyframe
        fade_M = self._rho_M**steps
        self._x_M2[:, 1] *= fade_M
        self._P_M22[:, 0, 1] *= fade_M
        self._P_M22[:, 1, 0] *= fade_M
        self._P_M22[:, 1, 1] = fade_M**2 * self._P_M22[:, 1, 1] + self._sigma_M**2 * (1 - fade_M**2)
        self._P_M22[:, 0, 0] += self._drift**2 * steps

    def expected(self, sigma: float) -> tuple[float, float]:
        """Mean and variance of a reading with this standard deviation of its own."""
        return _mixed(self._weight_M, self._x_M2.sum(axis=1), self._innovation(sigma))

    def update(self, log_scale: float, sigma: float) -> None:
        """Take in a reading of the present keyframe."""
        S_M = self._innovation(sigma)
        residual_M = log_scale - self._x_M2.sum(axis=1)
        gain_M2 = self._P_M22.sum(axis=2) / S_M[:, None]
        self._x_M2 += gain_M2 * residual_M[:, None]
        self._P_M22 -= gain_M2[:, :, None] * gain_M2[:, None, :] * S_M[:, None, None]
        self._log_weight_M -= 0.5 * (residual_M**2 / S_M + np.log(S_M))
        self._log_weight_M -= np.logaddexp.reduce(self._log_weight_M)

    def _innovation(self, sigma: float) -> Floats:
        return np.asarray(self._P_M22.sum(axis=(1, 2)) + sigma**2)


def _mixed(weight_M: Floats, mean_M: Floats, variance_M: Floats) -> tuple[float, float]:
    """Mean and variance of a mixture."""
    mean = float(weight_M @ mean_M)
    variance = float(weight_M @ (variance_M + (mean_M - mean) ** 2))
    assert math.isfinite(mean), (mean, variance)
    assert variance > 0, (mean, variance)
    return mean, variance
