# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What counts as a place that was seen before, and how much is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..option_fields import OptionGroup, option

__all__ = ["LoopOptions", "MemoryOptions"]


@dataclass(frozen=True)
class LoopOptions(OptionGroup):
    """When a place counts as seen before.

    Raises:
        ValueError: A cycle asks for more inliers than its absence does.
    """

    group: ClassVar[str] = "loops"

    enabled: bool = option(True, "Look for places that were seen before")
    min_inliers: int = option(
        30, "Matches of a loop that no cycle supports", unit="matches", low=8, high=10000
    )
    min_cycle_inliers: int = option(
        20, "Matches of a loop that closes a cycle", unit="matches", low=8, high=10000
    )
    gap: int = option(
        10, "Keyframes that lie at least between both ends", unit="keyframes", low=1, high=10000
    )
    top: int = option(
        2, "Candidates by each descriptor, and by the graph", unit="keyframes", low=1, high=100
    )
    cycle_deg: float = option(
        4.0, "Rotation by which a cycle may miss its start", unit="deg", low=0.1, high=90.0
    )
    drift: float = option(
        0.06, "Drift of the map as a share of the way, standard deviation", low=0.001, high=1.0
    )
    hits: int = option(
        2, "Loops that must agree before two segments become one", unit="loops", low=2, high=100
    )
    queue: int = option(
        64, "Keyframes that may wait to be looked for", unit="keyframes", low=1, high=100000
    )

    wait: bool = option(
        False,
        "Each pass waits until its keyframes were looked for and poses solved: the outcome does "
        "not hang on the machine's speed (replays in lock-step); latency does on the map",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_cycle_inliers > self.min_inliers:
            raise ValueError(
                f"loops.min_cycle_inliers is {self.min_cycle_inliers}, expected at most "
                f"loops.min_inliers = {self.min_inliers}"
            )


@dataclass(frozen=True)
class MemoryOptions(OptionGroup):
    """How large the map may become."""

    group: ClassVar[str] = "map"

    max_memory_mb: int = option(
        300,
        "Memory of the keyframes beyond which redundant ones are culled",
        unit="MB",
        low=1,
        high=1000000,
    )
