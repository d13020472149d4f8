"""What the map's choices are: features, what counts as an edge, how the graph is solved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..option_fields import OptionGroup, option

__all__ = ["EdgeOptions", "FeatureOptions"]


@dataclass(frozen=True)
class FeatureOptions(OptionGroup):
    """What is searched for in a picture and what counts as a match."""

    group: ClassVar[str] = "features"

    detector: str = option(
        "sift", "Features that are matched; orb is faster and coarser", choices=("sift", "orb")
    )
    count: int = option(1000, "Features of a picture at most", unit="features", low=8, high=20000)
    contrast: float = option(
        0.01,
        "Contrast that SIFT asks for; OpenCV's own 0.04 finds little on plain walls",
        low=0.0,
        high=1.0,
    )
    min_side: int = option(
        224, "A picture whose longer side is shorter is enlarged to it", unit="px", low=1, high=8192
    )
    max_side: int = option(
        640, "A picture whose longer side is longer is reduced to it", unit="px", low=32, high=8192
    )
    ratio: float = option(
        0.8, "Best distance over second best above which a match is ambiguous", low=0.01, high=1.0
    )
    inlier_px: float = option(
        1.0, "Distance from the epipolar line", unit="px", low=0.01, high=100.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_side < self.min_side:
            raise ValueError(
                f"features.max_side is {self.max_side}, expected at least features.min_side = "
                f"{self.min_side}"
            )


@dataclass(frozen=True)
class EdgeOptions(OptionGroup):
    """What counts as a verified edge."""

    group: ClassVar[str] = "edges"

    min_inliers: int = option(
        20, "Matches that must agree on an edge", unit="matches", low=8, high=10000
    )
    min_parallax_deg: float = option(
        0.4,
        "Median parallax below which an edge knows the rotation only",
        unit="deg",
        low=0.0,
        high=45.0,
    )
    seed: int = option(0, "Seed of everything random in the map", low=0, high=2**31 - 1)
