# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares what a runtime computed with what torch computed in float32 on the same pictures.

An engine can be wrong on one device only: every build is checked on the device that will run
it, with golden inputs and outputs that travel with the export. numpy only, so that a robot
without torch can do it.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Comparison",
    "Expected",
    "OutputError",
    "Tolerances",
    "angles_between",
    "compare",
    "nearest_rotations",
]

RAW_ROTATION, ROTATION = "rotation9", "rotation"
POINTS = "local_points"
IN_SCENE_UNITS = (POINTS, "translation")  # both are measured against the extent of the points


class Expected(Protocol):
    """What was computed in float32 torch: a `Golden`, or anything else with outputs."""

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Name -> array."""


@dataclass(frozen=True)
class Tolerances:
    """Largest error that a form of the model may have.

    Args:
        share_of_range: Of every output but rotations: error over (largest - smallest expected
            number). Translations count against the range of the points.
        angle_rad: Of rotations.
    """

    share_of_range: float
    angle_rad: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"tolerance {name} is {value}, expected a positive number")

    @classmethod
    def of(cls, precision: str) -> Tolerances:
        """Return the tolerances of a precision.

        Raises:
            ValueError: None of them.
        """
        # Weights of few bits are rounded alike in torch, whose numbers are the expected ones.
        shares = {"fp32": 1e-4, "fp16": 5e-3, "int8": 1e-4, "int4+int8": 1e-4, "int4": 1e-4}
        if precision not in shares:
            raise ValueError(f"precision is {precision!r}, expected one of {sorted(shares)}")
        return cls(share_of_range=shares[precision], angle_rad=1e-3)


@dataclass(frozen=True)
class OutputError:
    """How far one output is from the expected one.

    Args:
        name: Of the output.
        unit: "of range", "rad", or "wrong" (share of integers that differ).
        max_error, mean_error: In that unit; infinite where the arrays cannot be compared.
        tolerance: On `max_error`.
        problem: Why they cannot be compared; "" where they can.
    """

    name: str
    unit: str
    max_error: float
    mean_error: float
    tolerance: float
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether the largest error is within the tolerance."""
        return not self.problem and self.max_error <= self.tolerance

    @property
    def share_of_tolerance(self) -> float:
        """The largest error in units of the tolerance."""
        return self.max_error / self.tolerance if self.tolerance else self.max_error

    def __str__(self) -> str:
        if self.problem:
            return f"FAILED {self.name}: {self.problem}"
        return (
            f"{'ok    ' if self.passed else 'FAILED'} {self.name}: max {self.max_error:.2e}, "
            f"mean {self.mean_error:.2e} {self.unit} (allowed {self.tolerance:.0e})"
        )


@dataclass(frozen=True)
class Comparison:
    """Errors of all outputs that were expected."""

    errors: tuple[OutputError, ...]

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(error.passed for error in self.errors)

    @property
    def worst(self) -> OutputError:
        """The output that uses up most of its tolerance."""
        return max(self.errors, key=lambda error: (not error.passed, error.share_of_tolerance))

    def report(self) -> str:
        """One line per output."""
        return "\n".join(str(error) for error in self.errors)


def compare(
    outputs: Mapping[str, NDArray[Any]], golden: Expected, tolerances: Tolerances
) -> Comparison:
    """Compare outputs with the expected ones, by name.

    Points, translations and all other floats are compared as a share of their range, rotations
    (`rotation9` after orthogonalisation, `rotation` as it is) as geodesic angles, integers
    exactly. An output that is missing, has another shape or is not finite fails; one that
    nobody expected is ignored.

    Args:
        outputs: Name -> array, of the form under test.
        golden: Outputs of torch in float32 for the same inputs.
        tolerances: Of the form's precision.

    Raises:
        ValueError: The golden has no outputs, or some that are not finite.
    """
    if not golden.outputs:
        raise ValueError("the golden has no outputs; export the model again")
    points = golden.outputs.get(POINTS)
    extent = None if points is None else _range(points)
    errors = []
    for name, expected in golden.outputs.items():
        if not np.isfinite(expected).all():
            raise ValueError(
                f"golden output {name!r} holds numbers that are not finite; export the model "
                "again, in fp32 on a machine that computes right"
            )
        scale = extent if name in IN_SCENE_UNITS else None
        errors.append(_compare_one(name, outputs.get(name), expected, tolerances, scale))
    return Comparison(tuple(errors))


def nearest_rotations(raw: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rotations nearest to raw row-major matrices whose rows are made unit first.

    The numpy twin of `poses.nearest_rotation`, in float64.

    Args:
        raw: (..., 9).

    Returns:
        (..., 3, 3) with determinant +1.
    """
    rows = raw.reshape(*raw.shape[:-1], 3, 3).astype(np.float64)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    u, _, vt = np.linalg.svd(rows / np.maximum(length, 1e-12))
    u[..., :, 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    rotation: NDArray[np.float64] = u @ vt
    return rotation


def angles_between(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return geodesic angles in radians between rotations (..., 3, 3).

    From the chord |a - b| = 2 sqrt(2) sin(angle / 2), which keeps its accuracy for small angles
    and also grows where one of the two is no rotation.
    """
    chord = np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=(-2, -1))
    angle: NDArray[np.float64] = 2.0 * np.arcsin(np.minimum(chord / math.sqrt(8.0), 1.0))
    return angle


def _compare_one(
    name: str,
    actual: NDArray[Any] | None,
    expected: NDArray[Any],
    tolerances: Tolerances,
    scale: float | None,
) -> OutputError:
    """Compare one output; `scale` is the range that counts, None for its own."""
    unit, tolerance = "of range", tolerances.share_of_range
    if name in (RAW_ROTATION, ROTATION):
        unit, tolerance = "rad", tolerances.angle_rad
    elif not np.issubdtype(expected.dtype, np.floating):
        unit, tolerance = "wrong", 0.0
    if actual is None:
        problem = "it is missing"
    elif actual.shape != expected.shape:
        problem = f"its shape is {actual.shape}, expected {expected.shape}"
    elif not np.isfinite(actual).all():
        bad = actual.size - int(np.isfinite(actual).sum())
        problem = f"{bad} of its {actual.size} numbers are not finite"
    elif not actual.size:
        problem = "it is empty"
    else:
        error = _errors(name, unit, actual, expected)
        if unit == "of range":
            error /= _range(expected) if scale is None else scale
        return OutputError(name, unit, float(error.max()), float(error.mean()), tolerance)
    return OutputError(name, unit, math.inf, math.inf, tolerance, problem)


def _errors(
    name: str, unit: str, actual: NDArray[Any], expected: NDArray[Any]
) -> NDArray[np.float64]:
    """Of each number or rotation, in the output's own unit."""
    error: NDArray[np.float64]
    if unit == "wrong":
        error = (actual != expected).astype(np.float64)
    elif name == RAW_ROTATION:
        error = angles_between(nearest_rotations(actual), nearest_rotations(expected))
    elif name == ROTATION:
        error = angles_between(actual, expected)
    else:
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    return error


def _range(values: NDArray[Any]) -> float:
    """Largest minus smallest; where all are equal their size, and 1 where all are 0."""
    if not values.size:
        return 1.0
    spread = float(values.max()) - float(values.min())
    return spread or abs(float(values.flat[0])) or 1.0
