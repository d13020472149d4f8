# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What came out of a run, whoever ran it: scenes, times, counters. Scoring and report read this.

Shape letters: H W pixels, M points or poses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .map_metrics import FinalMap, ScaleSample
from .pose_metrics import PoseSegment


class Outputs(Protocol):
    """The scenes of a run, read back one by one: a long run does not fit into memory."""

    def segments(self) -> list[PoseSegment]:
        """Poses by segment as they were published, each pose once."""
        ...

    def covariances(self) -> dict[int, NDArray[np.float64]]:
        """(6, 6) of each pose of `segments`, by stamp: translation in its unit, rotation in rad.

        Of the camera, in the axes of the map; what nobody said is missing.
        """
        ...

    def final(self) -> FinalMap | None:
        """The map when the recording had ended; None where nobody kept it."""
        ...

    def depths(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(stamp_ns, (H, W) float32 as published, NaN where there is none)."""
        ...


@dataclass(frozen=True)
class StatusSample:
    """What was known of the pipeline at one moment.

    Args:
        wall_s: monotonic seconds.
        received, used, dropped, scenes: counters since the start.
        segment: number of the segment.
        reasons: reason codes in force.
        drops: dropped frames by reason.
        has_scene: whether a scene of that segment has come out.
        at_work: a pass of the model runs.
        is_asked: a question has no answer yet.
    """

    wall_s: float
    received: int
    used: int
    dropped: int
    scenes: int
    segment: int
    reasons: tuple[str, ...]
    drops: Mapping[str, int] = field(default_factory=dict)
    has_scene: bool = True
    at_work: bool = False
    is_asked: bool = False


@dataclass(frozen=True)
class SceneTimes:
    """Milliseconds of one scene as the pipeline measured them.

    Args:
        scenes: how many there were, this one included.
        latency: from the receipt of the newest frame to the end of the publication.
        observe: the pass of the model.
        publish: joining and handing out.
    """

    scenes: int
    latency: float
    observe: float
    publish: float


@dataclass(frozen=True)
class RanWith:
    """What ran: model, runtime, device."""

    model_id: str
    runtime: str
    device: str
    precision: str
    scale_source: str
    is_metric: bool


@dataclass(frozen=True)
class MapChange:
    """The past of the map became another one.

    Args:
        stamp_ns: of the newest scene.
        version: of the map from then on.
        cause: as in `g2vlm_map.events.MapChanged`.
        text: what happened.
    """

    stamp_ns: int
    version: int
    cause: str
    text: str


@dataclass
class Timeline:
    """What happened when; written by the run's threads, read by the player.

    Args:
        sent_s: monotonic seconds at which each frame was handed in, by stamp.
        scene_s: monotonic seconds at which the scene of a stamp came out.
        again_s: the same of its last scene, where a stamp comes again: a bag that goes round.
        poses: scenes that came out, of whatever stamps.
        statuses: all samples in order.
        scene_times: once per scene.
        ran_with: what ran; None before the first status.
        reason_texts: the last explanation of each reason code.
        scales: what was said of the scale, once per scene.
        changes: of the map's past.
    """

    sent_s: dict[int, float] = field(default_factory=dict)
    scene_s: dict[int, float] = field(default_factory=dict)
    again_s: dict[int, float] = field(default_factory=dict)
    poses: int = 0
    statuses: list[StatusSample] = field(default_factory=list)
    scene_times: list[SceneTimes] = field(default_factory=list)
    ran_with: RanWith | None = None
    reason_texts: dict[str, str] = field(default_factory=dict)
    scales: list[ScaleSample] = field(default_factory=list)
    changes: list[MapChange] = field(default_factory=list)

    @property
    def last(self) -> StatusSample | None:
        """The newest sample, None before the first."""
        return self.statuses[-1] if self.statuses else None


@dataclass(frozen=True)
class Played:
    """How the playing went.

    Args:
        wall_s: duration in wall seconds.
        frames: how many were handed in.
        stalled: frames that were not settled in time (lock-step only).
        late_ms: how late each frame was handed in, milliseconds (real time only).
        peak_rss_mib: largest resident memory of the process that ran the model.
        cpu_s: its processor seconds while playing.
    """

    wall_s: float
    frames: int
    stalled: int
    late_ms: tuple[float, ...]
    peak_rss_mib: float
    cpu_s: float
