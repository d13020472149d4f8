# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What may be said of the scale, and how sure it has to be before lengths are called metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..option_fields import OptionGroup, option

__all__ = ["MARKER_FAMILIES", "SENSED_SOURCES", "ScaleOptions"]

SENSED_SOURCES = ("odometry", "depth", "range", "scan", "stereo", "rig", "height", "fiducial")
MARKER_FAMILIES = ("4x4_50", "5x5_100", "6x6_250", "7x7_1000", "original", "april_36h11")


@dataclass(frozen=True)
class ScaleOptions(OptionGroup):
    """Who may say how long a map unit is.

    Raises:
        ValueError: A source that does not exist, or metres that are lost before they are had.
    """

    group: ClassVar[str] = "scale"

    sources: tuple[str, ...] = option(
        SENSED_SOURCES,
        "Sensors that may fix the scale, where they say something: any of "
        + ", ".join(SENSED_SOURCES),
    )
    max_sigma: float = option(
        0.15,
        "Lengths are called metres once the relative standard deviation of the scale is below",
        low=0.01,
        high=1.0,
        changeable=True,
    )
    lose_sigma: float = option(
        0.20,
        "They are no longer called metres once it is above",
        low=0.01,
        high=2.0,
        changeable=True,
    )
    fixed: float = option(
        0.0,
        "Metres of a map unit, where they are known; 0 they are not",
        unit="m",
        low=0.0,
        high=1e6,
    )
    fixed_sigma: float = option(
        0.05, "Relative standard deviation of scale.fixed", low=0.001, high=1.0
    )
    camera_height: float = option(
        0.0,
        "Height of the reference camera over the floor; 0 unknown, the floor says nothing",
        unit="m",
        low=0.0,
        high=100.0,
    )
    marker_size: float = option(
        0.0,
        "Side of the black square of square markers; 0 none are looked for",
        unit="m",
        low=0.0,
        high=10.0,
    )
    marker_family: str = option("4x4_50", "Which markers", choices=MARKER_FAMILIES)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.sources) - set(SENSED_SOURCES))
        if unknown:
            raise ValueError(f"scale.sources names {unknown}, expected any of {SENSED_SOURCES}")
        if self.lose_sigma < self.max_sigma:
            raise ValueError(
                f"scale.lose_sigma is {self.lose_sigma:g}, expected at least scale.max_sigma = "
                f"{self.max_sigma:g}"
            )
