# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fitting a calibration: the monotone map, the curves, what they are worth on others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.evaluate.calibrate import Rated, fit_curves, pooled, write_calibration
from g2vlm_training.evaluate.calibrate_run import judgement, table

from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.reading import Reading
from g2vlm_map.answers.reliability import Reliability, features_of, read_reliability
from g2vlm_model.interface import CrossCheck
from tests.helpers import full_disk


def readings(seed: int, count: int = 600) -> list[Rated]:
    """Words that are right as often as their tokens say, and geometry as its sigma says."""
    rng = np.random.default_rng(seed)
    intent, made = understand("How far is A?", "A"), []
    for number in range(count):
        token, sigma = rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95)
        features = features_of(
            CrossCheck.NOT_CHECKABLE, token, Reading(1.0, "m", sigma=sigma, confidence=0.5), False
        )
        made.append(
            Rated(
                intent, number // 10, features, bool(rng.random() < token),
                bool(rng.random() > sigma), token,
            )
        )  # fmt: skip
    return made


def test_pooling_gives_a_rising_map_of_the_shares() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(-2, 2, 1000)
    share = 1 / (1 + np.exp(-2 * score))
    scores, shares = pooled(score, (rng.random(1000) < share).astype(np.float64))
    assert (np.diff(scores) > 0).all()
    assert (np.diff(shares) >= 0).all()
    np.testing.assert_allclose(shares, 1 / (1 + np.exp(-2 * np.array(scores))), atol=0.12)


def test_pooling_of_scores_that_say_nothing_is_nearly_flat() -> None:
    rng = np.random.default_rng(1)
    _, shares = pooled(rng.normal(size=1000), (rng.random(1000) < 0.4).astype(np.float64))
    assert max(shares) - min(shares) < 0.15
    assert pooled(np.zeros(3), np.ones(3)) == ((0.0,), (1.0,))


def test_a_calibration_holds_for_questions_that_it_never_saw() -> None:
    found = judgement(readings(1), Reliability("x", fit_curves(readings(0))))["length"]
    assert found["calibration_error"] < 0.08
    assert found["auroc"] > 0.7
    assert found["at_30"] > found["at_60"] > found["answer"] > found["words"]


def test_few_questions_make_no_curve() -> None:
    assert fit_curves(readings(0, 19)) == {}
    assert set(fit_curves(readings(0, 60))) == {"length/text", "length/geometry"}


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibration(path, "nano-1", fit_curves(readings(0)), {"rooms": "val"})
    before = path.read_bytes()
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        write_calibration(path, "nano-2", fit_curves(readings(1)), {"rooms": "val"})
    assert (path.read_bytes(), [*tmp_path.iterdir()]) == (before, [path])


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, curves = tmp_path / "calibration.json", fit_curves(readings(0))
    write_calibration(path, "nano-1", curves, {"rooms": "val", "questions": 600})
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["fitted_on"]["questions"] == 600
    back = read_reliability(text, "nano-1")
    for one in readings(2, 20):
        before = Reliability("nano-1", curves).probability(one.intent, "text", one.features)
        assert back.probability(one.intent, "text", one.features) == pytest.approx(before, abs=2e-3)
    assert "length" in table(judgement(readings(1), back), "val")
