# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every kind of wrong output is found, rounding is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from g2vlm_model.poses import nearest_rotation
from g2vlm_model.runtimes.golden_check import (
    Tolerances,
    angles_between,
    compare,
    nearest_rotations,
)

FP32 = Tolerances.of("fp32")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Expectation:
    outputs: Arrays


@pytest.fixture
def outputs() -> Arrays:
    random = np.random.default_rng(0)
    points = random.uniform(-2.0, 6.0, (2, 4, 6, 3)).astype(np.float32)
    points[0, 0, 0], points[0, 0, 1] = -2.0, 6.0  # a range of exactly 8
    return {
        "local_points": points,
        "rotation9": random.normal(size=(2, 9)).astype(np.float32),
        "rotation": np.stack([_turn(0.3), _turn(-1.0)]),
        "translation": random.normal(size=(2, 3)).astype(np.float32),
        "keys": random.normal(size=(3, 2, 20, 8)).astype(np.float16),
        "ids": np.array([4, 7, 9]),
    }


def _turn(angle: float) -> NDArray[np.float64]:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _copy(outputs: Arrays) -> Arrays:
    return {name: values.copy() for name, values in outputs.items()}


def test_equal_outputs_pass_without_error(outputs: Arrays) -> None:
    comparison = compare(_copy(outputs), Expectation(outputs), FP32)
    assert comparison.passed
    assert {error.name for error in comparison.errors} == set(outputs)
    # The chord of equal matrices is 0, whatever their condition.
    assert all(error.max_error == 0.0 for error in comparison.errors), comparison.report()


def test_points_count_against_their_range(outputs: Arrays) -> None:
    actual = _copy(outputs)
    actual["local_points"][1, 2, 3, 0] += 8 * 2e-4
    comparison = compare(actual, Expectation(outputs), FP32)
    error = comparison.errors[0]
    assert not comparison.passed
    assert comparison.worst is error
    assert error.max_error == pytest.approx(2e-4, rel=1e-2)
    assert error.mean_error == pytest.approx(2e-4 / error_count(outputs), rel=1e-2)
    assert "FAILED local_points" in comparison.report()
    assert compare(actual, Expectation(outputs), Tolerances.of("fp16")).passed


def error_count(outputs: Arrays) -> int:
    return outputs["local_points"].size


def test_translations_count_against_the_points(outputs: Arrays) -> None:
    actual = _copy(outputs)
    actual["translation"][0, 0] += 8 * 5e-5
    assert compare(actual, Expectation(outputs), FP32).passed
    actual["translation"][0, 0] += 8 * 1e-4
    comparison = compare(actual, Expectation(outputs), FP32)
    assert [error.name for error in comparison.errors if not error.passed] == ["translation"]


def test_rotations_are_compared_as_angles(outputs: Arrays) -> None:
    actual = _copy(outputs)
    actual["rotation"] = np.stack([_turn(0.3), _turn(-1.002)])
    comparison = compare(actual, Expectation(outputs), FP32)
    failed = [error for error in comparison.errors if not error.passed]
    assert [error.name for error in failed] == ["rotation"]
    assert failed[0].max_error == pytest.approx(2e-3, rel=1e-6)
    assert failed[0].mean_error == pytest.approx(1e-3, rel=1e-6)


def test_a_scale_of_a_raw_rotation_says_nothing(outputs: Arrays) -> None:
    actual = _copy(outputs)
    actual["rotation9"] *= 3.0
    assert compare(actual, Expectation(outputs), FP32).passed


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("keys", lambda x: x[:, :1], "shape is"),
        ("local_points", lambda x: np.where(x > 5, np.nan, x), "not finite"),
        ("local_points", lambda x: x * np.float32(np.inf), "not finite"),
        ("ids", lambda x: x + (x == 9), ""),
        ("rotation", lambda x: -x, ""),
        ("keys", lambda x: x[:, :, ::-1], ""),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_damage_is_found(
    outputs: Arrays, name: str, damage: Callable[[NDArray[Any]], NDArray[Any]], problem: str
) -> None:
    actual = _copy(outputs)
    actual[name] = damage(actual[name])
    failed = [e for e in compare(actual, Expectation(outputs), FP32).errors if not e.passed]
    assert [error.name for error in failed] == [name]
    assert problem in failed[0].problem


def test_a_missing_output_fails_and_an_extra_one_does_not(outputs: Arrays) -> None:
    actual = _copy(outputs)
    actual["hidden"] = actual.pop("keys")
    comparison = compare(actual, Expectation(outputs), FP32)
    assert [e.name for e in comparison.errors if not e.passed] == ["keys"]
    assert "FAILED keys: it is missing" in comparison.report()


def test_a_useless_golden_is_an_error(outputs: Arrays) -> None:
    with pytest.raises(ValueError, match="no outputs"):
        compare(outputs, Expectation({}), FP32)
    outputs["translation"][0, 0] = np.nan
    with pytest.raises(ValueError, match="'translation' holds numbers that are not finite"):
        compare(outputs, Expectation(outputs), FP32)


def test_tolerances_of_other_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="'fp8'"):
        Tolerances.of("fp8")
    with pytest.raises(ValueError, match="angle_rad is 0"):
        Tolerances(1e-4, 0)


def test_rotations_are_those_of_the_model() -> None:
    raw_M9 = torch.randn(500, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = nearest_rotations(raw_M9.numpy())
    gap = angles_between(ours, nearest_rotation(raw_M9).numpy())
    assert gap.max() < 1e-9, f"max {gap.max():.1e}, mean {gap.mean():.1e} rad"
    np.testing.assert_allclose(np.linalg.det(ours), 1.0, atol=1e-12)


@pytest.mark.parametrize("angle", [1e-7, 1e-3, 1.0, math.pi])
def test_angles_are_exact_from_tiny_to_half_a_turn(angle: float) -> None:
    assert angles_between(_turn(0.5), _turn(0.5 + angle)) == pytest.approx(angle, rel=1e-6)
