# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map's choices are: features, what counts as an edge, how the graph is solved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..option_fields import OptionGroup, option
from .place_options import LoopOptions, MemoryOptions

__all__ = ["EdgeOptions", "FeatureOptions", "GraphOptions", "LengthOptions", "MapOptions"]


@dataclass(frozen=True)
class FeatureOptions(OptionGroup):
    """What is searched for in a picture and what counts as a match."""

    group: ClassVar[str] = "features"

    detector: str = option(
        "sift",
        "Features that are matched: sift; orb, which is faster and coarser; or the path of an ONNX "
        "graph that finds them, or finds and matches them (*.onnx; docs/map.md)",
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
        if self.detector not in ("sift", "orb") and not self.detector.endswith(".onnx"):
            raise ValueError(
                f"features.detector is {self.detector!r:.200}, expected sift, orb or the path of "
                "an ONNX graph (*.onnx)"
            )
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
    min_tracked: float = option(
        0.25,
        "Share of the picture that must be found again for the model's own pose to be an edge",
        low=0.0,
        high=1.0,
    )
    seed: int = option(0, "Seed of everything random in the map", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class GraphOptions(OptionGroup):
    """How the poses are made to agree."""

    group: ClassVar[str] = "graph"

    kernel: float = option(
        2.0,
        "Residual at which an edge counts half, standard deviations",
        low=0.1,
        high=100.0,
    )
    local: int = option(
        50, "Newest keyframes that move with each new one", unit="keyframes", low=2, high=10000
    )
    max_steps: int = option(15, "Steps of a solve at most", unit="steps", low=1, high=1000)
    damping: float = option(1e-6, "Damping that a solve begins with", low=0.0, high=1.0)
    least_gain: float = option(
        1e-4, "Share of the cost that a step must gain to be followed by another", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class LengthOptions(OptionGroup):
    """How tracks and the model's depth are weighed where lengths are looked for."""

    group: ClassVar[str] = "lengths"

    depth_bias: float = option(
        0.15, "Bias of the log of a keyframe's depth, standard deviation", low=0.001, high=10.0
    )
    bias_memory: float = option(
        0.9, "Correlation of that bias with the keyframe's before", low=0.0, high=0.999
    )
    depth_noise: float = option(
        0.08,
        "What a depth says of one edge beside its bias, standard deviation",
        low=0.001,
        high=10.0,
    )
    local: int = option(
        30, "Newest keyframes whose lengths change with each new one", low=2, high=10000
    )


@dataclass(frozen=True)
class MapOptions:
    """All that the mapper may be told."""

    features: FeatureOptions = field(default_factory=FeatureOptions)
    edges: EdgeOptions = field(default_factory=EdgeOptions)
    lengths: LengthOptions = field(default_factory=LengthOptions)
    graph: GraphOptions = field(default_factory=GraphOptions)
    loops: LoopOptions = field(default_factory=LoopOptions)
    memory: MemoryOptions = field(default_factory=MemoryOptions)
