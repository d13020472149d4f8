# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every choice of the pipeline and of what is made of its scenes: the one source of defaults.

The node's parameters, its parameter file and the tables of the documentation are derived from
these groups: the field `size` of the group `window` is the parameter `window.size`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .answers.options import QuestionOptions
from .dense.options import DenseOptions, ObstacleOptions, OccupancyOptions
from .intake_options import ImageOptions, SyncOptions
from .mapping.options import EdgeOptions, FeatureOptions, GraphOptions, LengthOptions, MapOptions
from .mapping.place_options import LoopOptions, MemoryOptions
from .option_fields import OptionGroup, option
from .scale.options import ScaleOptions

__all__ = [
    "CloudOptions",
    "DepthOptions",
    "ImageOptions",
    "KeyframeOptions",
    "PathOptions",
    "PipelineOptions",
    "QuestionOptions",
    "SceneOptions",
    "StatusOptions",
    "SyncOptions",
    "WindowOptions",
]


@dataclass(frozen=True)
class WindowOptions(OptionGroup):
    """What one pass of the model sees.

    Raises:
        ValueError: More moments are needed, or shared, than a window holds.
    """

    group: ClassVar[str] = "window"

    size: int = option(
        8, "Moments that one pass of the model sees (one frame per camera each)", low=2, high=64
    )
    min_moments: int = option(2, "Moments that the first scene of a segment needs", low=1, high=64)
    overlap: int = option(
        2, "Moments that a window shares at least with the one before", low=1, high=63
    )
    min_shared_view: float = option(
        0.7,
        "LOW_OVERLAP where the newest frame shares less with every earlier keyframe; 0 never",
        low=0.0,
        high=1.0,
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_moments > self.size:
            raise ValueError(
                f"window.min_moments is {self.min_moments}, expected at most window.size = "
                f"{self.size}"
            )
        if self.overlap >= self.size:
            raise ValueError(
                f"window.overlap is {self.overlap}, expected less than window.size = {self.size}"
            )


@dataclass(frozen=True)
class KeyframeOptions(OptionGroup):
    """Which moments are worth a place in a window."""

    group: ClassVar[str] = "keyframe"

    min_motion: float = option(
        0.05,
        "Median movement in the frame that makes a keyframe",
        unit="frame widths",
        low=0.0,
        high=1.0,
        changeable=True,
    )
    min_parallax: float = option(
        0.002,
        "Movement beyond a turn of the camera that a window needs",
        unit="frame widths",
        low=0.0,
        high=1.0,
        changeable=True,
    )
    min_interval_s: float = option(
        0.1,
        "Keyframes are at least this far apart",
        unit="s",
        low=0.0,
        high=3600.0,
        changeable=True,
    )
    max_interval_s: float = option(
        1.0,
        "After this time the next frame is a keyframe, in the newest one's place where nothing "
        "moved; 0 never",
        unit="s",
        low=0.0,
        high=3600.0,
        changeable=True,
    )


@dataclass(frozen=True)
class PathOptions(OptionGroup):
    """How much of a segment's path is kept."""

    group: ClassVar[str] = "path"

    max_poses: int = option(
        1000,
        "Poses kept in the path, the oldest fall out",
        unit="poses",
        low=2,
        high=100000,
        changeable=True,
    )


@dataclass(frozen=True)
class SceneOptions(OptionGroup):
    """What questions may be about."""

    group: ClassVar[str] = "scenes"

    keep: int = option(
        3, "Scenes kept for questions about an earlier stamp", unit="scenes", low=1, high=32
    )


@dataclass(frozen=True)
class StatusOptions(OptionGroup):
    """How reasons are reported.

    Raises:
        ValueError: A code that does not exist is tolerated.
    """

    group: ClassVar[str] = "status"

    hold_s: float = option(
        5.0,
        "A reason that an event gave stays in force this long",
        unit="s",
        low=0.1,
        high=600.0,
        changeable=True,
    )
    tolerated: tuple[str, ...] = option(
        (
            "SCALE_UNKNOWN",
            "ENGINE_BUILDING",
            "WINDOW_SHORTENED",
            "OUTPUTS_MOVED",
            "PAUSED",
            "NO_EXTRINSICS",
            "NOT_SAFETY_RATED",
        ),
        "Reason codes that do not make the state DEGRADED",
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        from .status import REASON_CODES  # it needs these options

        unknown = sorted(set(self.tolerated) - set(REASON_CODES))
        if unknown:
            raise ValueError(
                f"status.tolerated names {', '.join(unknown)[:200]}, expected some of "
                f"{', '.join(REASON_CODES)}"
            )


@dataclass(frozen=True)
class CloudOptions(OptionGroup):
    """What of a scene becomes a cloud.

    Raises:
        ValueError: An empty range, or rows and columns of a whole window.
    """

    group: ClassVar[str] = "points"

    source: str = option(
        "newest",
        "Publish the newest moment, or all frames of the window",
        choices=("newest", "window"),
        changeable=True,
    )
    organized: bool = option(
        False,
        "Keep rows and columns; invalid points are NaN (one camera, newest)",
        changeable=True,
    )
    decimation: int = option(
        1, "Publish every n-th row and column", unit="px", low=1, high=64, changeable=True
    )
    min_confidence: float = option(
        0.1, "Leave out points below", low=0.0, high=1.0, changeable=True
    )
    min_range: float = option(
        0.0,
        "Leave out points nearer than this to their camera; map units under ~/up_to_scale",
        unit="m",
        low=0.0,
        high=1e9,
        changeable=True,
    )
    max_range: float = option(
        0.0,
        "Leave out points further than this from their camera; 0 no limit; map units under "
        "~/up_to_scale",
        unit="m",
        low=0.0,
        high=1e9,
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.max_range <= self.min_range:
            raise ValueError(
                f"points.max_range is {self.max_range:g}, expected above points.min_range = "
                f"{self.min_range:g} or 0"
            )
        if self.organized and self.source != "newest":
            raise ValueError("points.organized needs points.source 'newest': a window has no rows")


@dataclass(frozen=True)
class DepthOptions(OptionGroup):
    """Whose depth the map has, and what of a scene becomes a depth image."""

    group: ClassVar[str] = "depth"

    source: str = option(
        "model",
        "Depth of keyframes: the model's; a depth image's, and none where it has no reading; or "
        "that, and elsewhere the model's, brought to it",
        choices=("model", "sensor", "fused"),
    )
    tolerance_s: float = option(
        0.02,
        "A depth image within this time of a frame belongs to it",
        unit="s",
        low=0.0,
        high=1.0,
    )
    wait_s: float = option(
        0.1,
        "How long a pass waits for the depth image of its newest frame, while they arrive",
        unit="s",
        low=0.0,
        high=5.0,
    )
    min_share: float = option(
        0.02,
        "Share of the picture that a depth image must have readings on",
        low=0.0,
        high=1.0,
    )

    min_confidence: float = option(
        0.0, "Depth below this confidence is NaN", low=0.0, high=1.0, changeable=True
    )
    grid: str = option(
        "model",
        "Size of the depth and of the picture beside it: the model's, or the camera's own with "
        "edges where the picture has them",
        choices=("model", "camera"),
        changeable=True,
    )


@dataclass(frozen=True)
class PipelineOptions(OptionGroup):
    """All that a `Pipeline` may be told.

    Raises:
        ValueError: No camera, more than 16, or one name twice.
    """

    cameras: tuple[str, ...] = option(
        ("camera",), "Names of the cameras; the first is the reference"
    )
    max_rate_hz: float = option(
        0.0,
        "Passes of the model per second at most; 0: as many as it can",
        unit="Hz",
        low=0.0,
        high=1000.0,
        changeable=True,
    )
    images: ImageOptions = field(default_factory=ImageOptions)
    sync: SyncOptions = field(default_factory=SyncOptions)
    window: WindowOptions = field(default_factory=WindowOptions)
    keyframe: KeyframeOptions = field(default_factory=KeyframeOptions)
    path: PathOptions = field(default_factory=PathOptions)
    query: QuestionOptions = field(default_factory=QuestionOptions)
    scenes: SceneOptions = field(default_factory=SceneOptions)
    status: StatusOptions = field(default_factory=StatusOptions)
    features: FeatureOptions = field(default_factory=FeatureOptions)
    edges: EdgeOptions = field(default_factory=EdgeOptions)
    lengths: LengthOptions = field(default_factory=LengthOptions)
    graph: GraphOptions = field(default_factory=GraphOptions)
    loops: LoopOptions = field(default_factory=LoopOptions)
    map: MemoryOptions = field(default_factory=MemoryOptions)
    scale: ScaleOptions = field(default_factory=ScaleOptions)
    depth: DepthOptions = field(default_factory=DepthOptions)
    dense: DenseOptions = field(default_factory=DenseOptions)
    obstacles: ObstacleOptions = field(default_factory=ObstacleOptions)
    occupancy: OccupancyOptions = field(default_factory=OccupancyOptions)

    MAX_CAMERAS: ClassVar[int] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.cameras)
        if not 1 <= count <= self.MAX_CAMERAS:
            raise ValueError(f"cameras names {count} cameras, expected 1..{self.MAX_CAMERAS}")
        if len(set(self.cameras)) != count:
            raise ValueError(f"cameras is {list(self.cameras)}, expected each name once")

    @property
    def mapping(self) -> MapOptions:
        """Those of the mapper."""
        tied = (self.features, self.edges, self.lengths, self.graph)
        return MapOptions(*tied, self.loops, self.map)
