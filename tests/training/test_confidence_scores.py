# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Numbers that say whether a confidence orders errors, against what they have to be."""

from __future__ import annotations

import numpy as np
import pytest
from g2vlm_training.evaluate.confidence import (
    confidence_samples,
    quartile_ratio,
    sparsification_error,
)
from g2vlm_training.evaluate.summary import METRICS, estimate


def samples(kind: str, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(1)
    error = rng.exponential(0.2, count)
    confidence = {
        "oracle": -error,
        "chance": rng.random(count),
        "constant": np.full(count, 0.5),
        "reversed": error,
        "noisy": -np.log(error) + rng.normal(0, 1, count),
    }[kind]
    return np.stack([confidence, error], axis=1)


def test_an_oracle_chance_and_the_contrary_are_told_apart() -> None:
    found = {
        kind: (quartile_ratio(samples(kind)), sparsification_error(samples(kind)))
        for kind in ("oracle", "noisy", "chance", "constant", "reversed")
    }
    assert found["oracle"][1] == pytest.approx(0, abs=1e-9)
    assert found["oracle"][0] < 0.1
    for kind in ("chance", "constant"):
        assert found[kind][0] == pytest.approx(1, abs=0.12)
        assert found[kind][1] == pytest.approx(1, abs=0.12)
    assert found["reversed"][0] > 5
    assert found["reversed"][1] > 1.5
    assert found["oracle"][0] < found["noisy"][0] < found["chance"][0]
    assert 0.05 < found["noisy"][1] < 0.9


def test_the_areas_are_those_of_the_curves() -> None:
    """Four pixels, by hand: errors .1 .4 .2 .3 from sure to unsure."""
    four = np.array([[4.0, 0.1], [3.0, 0.4], [2.0, 0.2], [1.0, 0.3]])
    left_out = np.round((1 - np.arange(0, 1, 0.05)) * 4).astype(int).clip(1)
    mine = {4: 0.25, 3: 0.7 / 3, 2: 0.25, 1: 0.1}
    best = {4: 0.25, 3: 0.2, 2: 0.15, 1: 0.1}
    area = sum(mine[k] - best[k] for k in left_out) / sum(0.25 - best[k] for k in left_out)
    assert sparsification_error(four) == pytest.approx(area)
    assert quartile_ratio(four) == pytest.approx(0.1 / 0.3)


def test_samples_know_no_scale_and_leave_out_unknown_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, (2, 20, 30))
    depth = truth * np.exp(rng.normal(0, 0.1, truth.shape))
    truth[:, :5] = 0
    confidence = rng.random(truth.shape)
    found = confidence_samples(depth, truth, confidence)
    assert found.shape == (128, 2)
    np.testing.assert_allclose(found, confidence_samples(7.3 * depth, truth, confidence))
    assert set(found[:, 0]) <= set(confidence[:, 5:].ravel())
    assert 0.05 < found[:, 1].mean() < 0.12
    assert confidence_samples(depth, np.zeros_like(truth), confidence).shape == (0, 2)


def test_intervals_resample_windows_of_pooled_pixels() -> None:
    metric = next(metric for metric in METRICS if metric.key == "confidence_ratio")
    windows = [{"confidence": part} for part in np.split(samples("noisy"), 40)]
    found = estimate(metric, windows, np.arange(40))
    assert found is not None
    assert found.value == pytest.approx(quartile_ratio(samples("noisy")), rel=0.05)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.2
    assert estimate(metric, [{}, {"confidence": np.zeros((0, 2))}], np.arange(2)) is None
