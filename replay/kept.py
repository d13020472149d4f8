# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What came out of a pipeline in this process: kept while it runs, read back for the report.

Scenes lie in a temporary folder until they were read, because a long run does not fit into
memory; of the map only the end counts, and how it was before the change that moved it furthest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.axes import pose_covariance
from g2vlm_map.clouds import depth_pair
from g2vlm_map.events import Event, MapChanged, PassFinished, SceneReady
from g2vlm_map.options import DepthOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import metric, quaternion_xyzw
from g2vlm_map.recordings.transforms import rotations
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.world import World

from .map_metrics import FinalMap, ScaleSample
from .outcome import MapChange, RanWith, SceneTimes, StatusSample, Timeline
from .pose_metrics import PoseSegment, grouped

__all__ = ["KeptScenes", "Listener", "furthest_move", "note_status"]


@dataclass
class Listener:
    """Keeps each scene, and notes when it came; called in the threads of passes and of the map.

    Args:
        timeline: filled.
        scenes: filled.
        pipeline: that it listens to.
        failure: why a scene could not be kept.
        before: the map ahead of the change that moved it furthest; None where nothing did.
    """

    timeline: Timeline
    scenes: KeptScenes
    pipeline: Pipeline | None = None
    failure: OSError | None = None
    before: World | None = None
    _world: World | None = None  # at the newest scene
    _furthest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, MapChanged) and self.pipeline is not None:
            self._note_change(event, self.pipeline.world)
        if isinstance(event, SceneReady):
            try:
                world = World() if self.pipeline is None else self.pipeline.world
                self.scenes.add(event.record, world)
            except OSError as error:  # the disk is full
                self.failure = error
                raise
            self.timeline.scene_s.setdefault(event.record.stamp_ns, time.monotonic())
        elif isinstance(event, PassFinished) and self.pipeline is not None:
            note_status(self.timeline, self.pipeline)
            self._world = world = self.pipeline.world
            record = self.pipeline.scene
            if record is not None:
                said = ScaleSample.of(world.scale, record.stamp_ns, record.segment)
                self.timeline.scales.append(said)
            latency, scenes = event.latency, self.timeline.statuses[-1].scenes
            times = SceneTimes(scenes, latency.total, latency.observe, latency.publish)
            self.timeline.scene_times.append(times)

    def _note_change(self, event: MapChanged, world: World) -> None:
        newest = max(self.timeline.scene_s, default=0)
        self.timeline.changes.append(MapChange(newest, event.version, event.cause, event.text))
        with self._lock:
            if self._world is not None:
                moved = furthest_move(self._world, world)
                if moved > self._furthest:
                    self._furthest, self.before = moved, self._world
            self._world = world


@dataclass
class KeptScenes:
    """What came out, one file a scene; `Outputs` for the report.

    Args:
        folder: an empty one.
        depth: what of a depth map is given, as the node would publish it.
        poses: segment, whether in metres, stamp, camera to map in that unit.
        spread: covariance of each, by stamp.
        map: how it ended.
    """

    folder: Path
    depth: DepthOptions
    poses: list[tuple[int, bool, int, NDArray[np.float64]]] = field(default_factory=list)
    spread: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    map: FinalMap | None = None

    def covariances(self) -> dict[int, NDArray[np.float64]]:
        """See `Outputs`."""
        return self.spread

    def final(self) -> FinalMap | None:
        """See `Outputs`."""
        return self.map

    def add(self, record: SceneRecord, world: World) -> None:
        """Keep a scene and the map's word on it.

        One without the reference camera has no place in the report.
        """
        if record.T_map_cam is None:
            return
        scale = world.scale
        unit, sigma = (scale.metres_per_unit, scale.sigma) if scale.metric else (1.0, 0.0)
        if world.keyframes:
            own = (np.eye(4), record.T_map_cam, np.eye(4))
            newest = world.keyframes[-1].pose_covariance
            self.spread[record.stamp_ns] = pose_covariance(*own, newest, unit, sigma)
        file = self.folder / f"{len(self.poses):06d}.npy"
        np.save(file, depth_pair(record, record.newest, self.depth).depth_HW)
        pose = metric(record.T_map_cam, unit)
        pose[:3, :3] = rotations(np.array(quaternion_xyzw(pose[:3, :3])))  # exactly: else rounded
        self.poses.append((record.segment, scale.metric, record.stamp_ns, pose))

    def segments(self) -> list[PoseSegment]:
        """See `Outputs`."""
        return grouped(self.poses)

    def depths(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Outputs`."""
        for number, (_, _, stamp, _) in enumerate(self.poses):
            yield stamp, np.load(self.folder / f"{number:06d}.npy")


def note_status(timeline: Timeline, pipeline: Pipeline) -> None:
    """Append how the pipeline stands now."""
    now, scale = pipeline.snapshot(), pipeline.world.scale
    timeline.ran_with = RanWith(
        now.runtime.model_id,
        now.runtime.runtime,
        now.runtime.device,
        now.runtime.precision,
        scale_source="+".join(scale.sources) or "none",
        is_metric=scale.metric,
    )
    timeline.reason_texts.update((reason.code, reason.text) for reason in now.reasons)
    timeline.statuses.append(
        StatusSample(
            wall_s=time.monotonic(),
            received=now.received,
            used=now.used,
            dropped=now.dropped,
            scenes=now.scenes,
            segment=now.segment,
            reasons=tuple(reason.code for reason in now.reasons),
            has_scene=now.scene_segment == now.segment,
            at_work=now.pass_s >= 0,
            is_asked=now.questions_open,
            drops=dict(now.drops),
        )
    )


def furthest_move(before: World, after: World) -> float:
    """How far the keyframe that moved most went, map units; 0 where none is in both."""
    old = {placed.keyframe.number: placed.T_map_body[:3, 3] for placed in before.keyframes}
    moves = [
        float(np.linalg.norm(placed.T_map_body[:3, 3] - old[placed.keyframe.number]))
        for placed in after.keyframes
        if placed.keyframe.number in old
    ]
    return max(moves, default=0.0)
