# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What of the keyframes' depth becomes points, occupancy, obstacles and a scan; all in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..option_fields import OptionGroup, option

__all__ = ["DenseOptions", "ObstacleOptions", "OccupancyOptions", "ScanOptions"]


@dataclass(frozen=True)
class DenseOptions(OptionGroup):
    """Which points are part of the map, and how it is kept.

    Raises:
        ValueError: More views have to agree than are asked.
    """

    group: ClassVar[str] = "dense"

    voxel: float = option(
        0.05, "Edge of the map's voxels", unit="m", low=0.005, high=2.0, changeable=True
    )
    max_range: float = option(
        6.0,
        "Leave out points further than this from their camera",
        unit="m",
        low=0.1,
        high=1000.0,
        changeable=True,
    )
    min_confidence: float = option(
        0.25, "Leave out points below", low=0.0, high=1.0, changeable=True
    )
    sweep: bool = option(
        True,
        "Correct the model's depth by the pictures of the keyframes around",
        changeable=True,
    )
    neighbours: int = option(
        6,
        "Keyframes before and after one that are asked whether they see its points too",
        unit="keyframes",
        low=0,
        high=32,
        changeable=True,
    )
    agreeing: int = option(
        2,
        "Leave out points that fewer of them see where they are",
        unit="keyframes",
        low=0,
        high=32,
        changeable=True,
    )
    tolerance: float = option(
        0.1,
        "Two depths agree within this share of the greater one",
        low=0.001,
        high=1.0,
        changeable=True,
    )
    seen_through: int = option(
        2,
        "Leave out points that so many views look through, and more than agree: what has moved",
        unit="keyframes",
        low=1,
        high=32,
        changeable=True,
    )
    min_points: int = option(
        1, "Points that a voxel needs", unit="points", low=1, high=1000, changeable=True
    )
    max_memory_mb: float = option(
        64.0, "Memory of voxels and cells", unit="MB", low=1.0, high=65536.0, changeable=True
    )
    radius: float = option(
        15.0,
        "What is nearer to the robot than this falls out of a full memory last",
        unit="m",
        low=1.0,
        high=1000.0,
        changeable=True,
    )
    min_period_s: float = option(
        2.0,
        "The map's points and occupancy are made no more often than this",
        unit="s",
        low=0.1,
        high=3600.0,
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.agreeing > self.neighbours:
            raise ValueError(
                f"dense.agreeing is {self.agreeing}, expected at most dense.neighbours = "
                f"{self.neighbours}"
            )


@dataclass(frozen=True)
class ObstacleOptions(OptionGroup):
    """What a robot can run into.

    Raises:
        ValueError: An empty band of heights.
    """

    group: ClassVar[str] = "obstacles"

    base_height: float = option(
        0.0,
        "Height of the base frame's origin above the floor",
        unit="m",
        low=-1.0,
        high=5.0,
        changeable=True,
    )
    min_height: float = option(
        0.1,
        "Lower things are floor",
        unit="m",
        low=0.01,
        high=5.0,
        changeable=True,
    )
    max_height: float = option(
        1.2,
        "The robot passes under what is higher",
        unit="m",
        low=0.02,
        high=20.0,
        changeable=True,
    )
    max_range: float = option(
        4.0,
        "Leave out what is further from its camera",
        unit="m",
        low=0.2,
        high=100.0,
        changeable=True,
    )
    floor_gate: float = option(
        0.12,
        "The floor is looked for this near to where the base says that it is",
        unit="m",
        low=0.01,
        high=1.0,
        changeable=True,
    )
    max_slope_deg: float = option(
        6.0,
        "Steepest floor, seen from the base",
        unit="deg",
        low=0.0,
        high=30.0,
        changeable=True,
    )
    keyframes: int = option(
        6,
        "Newest keyframes whose obstacles are published together",
        unit="keyframes",
        low=1,
        high=100,
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_height <= self.min_height:
            raise ValueError(
                f"obstacles.max_height is {self.max_height:g}, expected above "
                f"obstacles.min_height = {self.min_height:g}"
            )


@dataclass(frozen=True)
class OccupancyOptions(OptionGroup):
    """How evidence becomes a grid.

    Raises:
        ValueError: A probability on the wrong side of one half.
    """

    group: ClassVar[str] = "occupancy"

    resolution: float = option(
        0.05, "Edge of a cell", unit="m", low=0.01, high=2.0, changeable=True
    )
    hit: float = option(
        0.7,
        "Probability that a cell is occupied in which a keyframe sees something",
        low=0.51,
        high=0.99,
        changeable=True,
    )
    passed: float = option(
        0.4,
        "The same where it sees the floor, or past",
        low=0.01,
        high=0.49,
        changeable=True,
    )
    occupied_above: float = option(
        0.95, "Cells above this probability are occupied", low=0.5, high=0.99, changeable=True
    )
    free_below: float = option(
        0.08, "Cells below this probability are free", low=0.01, high=0.5, changeable=True
    )
    max_range: float = option(
        3.0,
        "Nothing is marked or freed further than this from its camera",
        unit="m",
        low=0.2,
        high=100.0,
        changeable=True,
    )
    driven_radius: float = option(
        0.15,
        "The floor is free this far around where the base was",
        unit="m",
        low=0.0,
        high=5.0,
        changeable=True,
    )
    max_extent: float = option(
        100.0,
        "Longest side of the grid, with the robot in its middle where the map is larger",
        unit="m",
        low=1.0,
        high=1000.0,
        changeable=True,
    )


@dataclass(frozen=True)
class ScanOptions(OptionGroup):
    """The obstacles as a planar scanner would see them.

    Raises:
        ValueError: An empty range.
    """

    group: ClassVar[str] = "scan"

    increment_deg: float = option(
        1.0, "Angle between two ranges", unit="deg", low=0.05, high=30.0, changeable=True
    )
    min_range: float = option(
        0.1, "Nearer obstacles are left out", unit="m", low=0.0, high=10.0, changeable=True
    )
    # A camera above the floor sees less far along it than through the air.
    max_range: float = option(
        3.5,
        "Longest range; below obstacles.max_range, or the floor is never seen so far",
        unit="m",
        low=0.2,
        high=100.0,
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_range <= self.min_range:
            raise ValueError(
                f"scan.max_range is {self.max_range:g}, expected above scan.min_range = "
                f"{self.min_range:g}"
            )
