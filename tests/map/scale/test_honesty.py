# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is the truth where the sigma says? On readings with a slow bias, by seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from g2vlm_map.scale.bank import BiasBank
from g2vlm_map.scale.estimate import ScaleReading
from g2vlm_map.scale.fusion import Opinion, together
from g2vlm_map.scale.kinds import KINDS
from g2vlm_map.scale.track import SourceTrack

TRUTH = 0.4


def biased(seed: int, sigma: float, rho: float, noise: float, outliers: float) -> list[float]:
    """80 readings of the truth with a bias that is an Ornstein-Uhlenbeck process."""
    rng = np.random.default_rng(seed)
    bias, values = rng.normal(0, sigma), []
    for _ in range(80):
        value = TRUTH + bias + rng.normal(0, noise)
        values.append(rng.uniform(-2, 3) if rng.random() < outliers else value)
        bias = rho * bias + rng.normal(0, sigma * math.sqrt(1 - rho**2))
    return values


def shares(sigma: float, rho: float, outliers: float = 0.0, runs: int = 40) -> tuple[float, float]:
    """Share of keyframes with the truth inside two sigma; mean sigma at the end."""
    inside, last = [], []
    for seed in range(runs):
        track = SourceTrack(KINDS["range"])
        for number, value in enumerate(biased(seed, sigma, rho, 0.03, outliers)):
            track.add(ScaleReading("range", "depth", number, value, 0.03))
            mean, spread = track.estimate(number)
            inside.append(abs(mean - TRUTH) <= 2 * spread)
        last.append(spread)
    return float(np.mean(inside)), float(np.mean(last))


@pytest.mark.parametrize(("sigma", "rho"), [(0.10, 0.8), (0.17, 0.9), (0.30, 0.9), (0.20, 0.95)])
def test_the_truth_is_inside_two_sigma_whatever_the_bias(sigma: float, rho: float) -> None:
    inside, _ = shares(sigma, rho)
    assert inside >= 0.90, inside


def test_the_truth_stays_inside_with_outliers() -> None:
    inside, _ = shares(0.17, 0.9, outliers=0.15)
    assert inside >= 0.85, inside


def test_a_small_bias_is_learnt() -> None:
    _, small = shares(0.05, 0.8, runs=8)
    _, large = shares(0.30, 0.9, runs=8)
    assert small < 0.75 * large


def test_a_filter_without_a_bias_would_believe_too_much() -> None:
    """What the bank is there for: independent errors give the truth away."""
    inside = []
    for seed in range(40):
        values = np.array(biased(seed, 0.17, 0.9, 0.03, 0.0))
        counts = np.arange(1, 81)
        mean = np.cumsum(values) / counts
        inside.append(np.abs(mean - TRUTH) <= 2 * np.hypot(0.03, 0.17) / np.sqrt(counts))
    assert np.mean(inside) < 0.75


def test_a_bank_agrees_with_least_squares_where_the_bias_is_known() -> None:
    """One member against the covariance of all readings at once."""
    rho, sigma, noise = 0.85, 0.15, 0.02
    values = np.array(biased(1, sigma, rho, noise, 0.0)[:30])
    bank = BiasBank(sigma, 0.0, 0.0, 0)
    member = int(np.flatnonzero((bank._sigma_M == sigma) & (bank._rho_M == rho))[0])
    bank._log_weight_M = np.where(np.arange(len(bank._sigma_M)) == member, 0.0, -np.inf)
    for number, value in enumerate(values):
        bank.advance(number)
        bank.update(float(value), noise)
    apart = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    covariance = sigma**2 * rho**apart + noise**2 * np.eye(30)
    weight = np.linalg.solve(covariance, np.ones(30))
    precision = weight.sum() + 1.5**-2  # with the diffuse start
    mean, variance = bank.moments
    assert mean == pytest.approx(weight @ values / precision, abs=1e-9)
    assert variance == pytest.approx(1 / precision, rel=1e-9)


def test_a_source_that_is_turned_away_often_is_believed_less() -> None:
    """Each fifth reading gross: those that pass the gate are in doubt, too."""
    clean, faulty = SourceTrack(KINDS["odometry"]), SourceTrack(KINDS["odometry"])
    rng = np.random.default_rng(3)
    for number in range(80):
        value = TRUTH + rng.normal(0, 0.05)
        clean.add(ScaleReading("odometry", "trajectory", number, value, 0.03))
        gross = value + 3.0 if number >= 10 and number % 5 == 0 else value
        faulty.add(ScaleReading("odometry", "trajectory", number, gross, 0.03))
    assert faulty.rejected == 14
    path = TRUTH, 0.05
    assert faulty.estimate(79, path)[1] > 1.1 * clean.estimate(79, path)[1]
    assert faulty.estimate(79, path)[0] == TRUTH


def test_an_unsteady_map_does_not_make_depth_say_more_of_its_path() -> None:
    """The path's sigma is large since the map bends: what measures depth knows no better."""
    depth = Opinion(KINDS["range"], 0.5, 0.05, span=40)
    path = Opinion(KINDS["range_path"], 0.2, 0.33, span=40, unsteady=0.32)
    assert together([depth, path]).log_scale == 0.2
    loose = Opinion(KINDS["range_path"], 0.2, 0.33, span=40)  # few lengths: depth is the surer one
    assert together([depth, loose]).log_scale == 0.5


def test_depth_that_was_seen_for_long_does_not_vouch_for_a_path_that_broke() -> None:
    depth = Opinion(KINDS["range"], 0.5, 0.05, span=40)
    assert not together([depth, Opinion(KINDS["range_path"], 0.5, 0.05, span=12)]).vouched
    assert together([depth, Opinion(KINDS["range_path"], 0.5, 0.05, span=24)]).vouched
    assert together([depth]).vouched  # and says with its sigma how little it says
    assert together([depth]).sigma > 0.25
