"""What came out of a pipeline in this process: kept while it runs, read back for the report.

Scenes lie in a temporary folder until they were read, because a long run does not fit into
memory; of the map only the end counts, and how it was before the change that moved it furthest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.clouds import depth_pair, scene_cloud
from g2vlm_map.events import Event, MapChanged, PassFinished, SceneReady
from g2vlm_map.options import CloudOptions, DepthOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.recordings.transforms import rotations
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.world import World

from .map_metrics import FinalMap, ScaleSample, furthest_move
from .outcome import Cloud, MapChange, RanWith, SceneTimes, StatusSample, Timeline
from .pose_metrics import PoseSegment

__all__ = ["KeptScenes", "Listener", "note_status"]


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
                self.scenes.add(event.record)
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
        cloud, depth: what of a scene is given, as the node would publish it.
    """

    folder: Path
    cloud: CloudOptions
    depth: DepthOptions
    poses: list[tuple[int, int, NDArray[np.float64]]] = field(default_factory=list)
    map: FinalMap | None = None

    def final(self) -> FinalMap | None:
        """See `Outputs`."""
        return self.map

    def add(self, record: SceneRecord) -> None:
        """Keep a scene; one without the reference camera has no place in the report."""
        if record.T_map_cam is None:
            return
        file = self.folder / f"{len(self.poses):06d}.npz"
        points = scene_cloud(record, self.cloud).reshape(-1)
        np.savez(file, depth=depth_pair(record, record.newest, self.depth).depth_HW, points=points)
        pose = record.T_map_cam.copy()  # with an exact rotation: the model's is rounded
        pose[:3, :3] = rotations(np.array(quaternion_xyzw(pose[:3, :3])))
        self.poses.append((record.segment, record.stamp_ns, pose))

    def segments(self) -> list[PoseSegment]:
        """See `Outputs`."""
        placed = {stamp: (number, pose) for number, stamp, pose in self.poses}
        groups: dict[int, list[int]] = {}
        for stamp in sorted(placed):
            groups.setdefault(placed[stamp][0], []).append(stamp)
        return [
            PoseSegment(number, tuple(group), np.stack([placed[stamp][1] for stamp in group]))
            for number, group in sorted(groups.items())
        ]

    def depths(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Outputs`."""
        for stamp, arrays in self._files():
            yield stamp, arrays["depth"]

    def clouds(self) -> Iterator[Cloud]:
        """See `Outputs`."""
        for stamp, arrays in self._files():
            yield Cloud.of_records(stamp, arrays["points"])

    def _files(self) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
        for number, (_, stamp, _) in enumerate(self.poses):
            with np.load(self.folder / f"{number:06d}.npz") as arrays:
                yield stamp, arrays


def note_status(timeline: Timeline, pipeline: Pipeline) -> None:
    """Append how the pipeline stands now."""
    now = pipeline.snapshot()
    timeline.ran_with = RanWith(
        now.runtime.model_id,
        now.runtime.runtime,
        now.runtime.device,
        now.runtime.precision,
        scale_source="none",
        is_metric=False,
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
            drops=dict(now.drops),
        )
    )
