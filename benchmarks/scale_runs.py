# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One drive with one set of sensors: what the tracker said at each keyframe, and the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from g2vlm_training.evaluate.points import similarity

from g2vlm_map.events import Event, ScaleChanged
from g2vlm_map.options import StatusOptions
from g2vlm_map.poses import Floats
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.options import ScaleOptions
from g2vlm_map.scale.tracker import ScaleTracker
from g2vlm_map.sensing import Extrinsics
from g2vlm_map.status import StatusBoard

from .scale_history import CAMERA, History, Step
from .scale_replay import solved_steps
from .scale_sensors import SimulatedStereo, samples_of

__all__ = ["Said", "Stretch", "drive", "similarity_scale"]

_LEAST_KEYFRAMES = 10  # of a segment that counts


@dataclass(frozen=True)
class Said:
    """What was given out at a keyframe.

    Args:
        number: Of keyframes since the segment began, from 1 on.
        estimate: See there.
        conflict, drift: Which alarms were on.
    """

    number: int
    estimate: ScaleEstimate
    conflict: bool
    drift: bool


@dataclass(frozen=True, eq=False)
class Stretch:
    """A segment of a drive.

    Args:
        drive: Its name.
        seed: Of the sensors.
        said: At each keyframe.
        log_trajectory: Log of metres per map unit: of the similarity that lays the keyframes of
            the whole segment, at its end, on the truth.
        log_so_far: The same of the keyframes until each one, as the map was then.
        log_depth: Log of metres per map unit of depth, mean over the segment.
        changes: How often what is metric changed.
    """

    drive: str
    seed: int
    said: tuple[Said, ...]
    log_trajectory: float
    log_so_far: Floats
    log_depth: float
    changes: int = 0


@dataclass
class _Open:
    """A segment that is being driven through."""

    number: int
    said: list[Said] = field(default_factory=list)
    so_far: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    last: float = np.nan


def similarity_scale(map_N3: Floats, true_N3: Floats) -> float:
    """Scale of the least-squares similarity from map to truth."""
    return similarity(map_N3, true_N3)[0]


def drive(
    name: str,
    history: History,
    sources: Sequence[str],
    seed: int,
    outliers: float = 0.0,
    options: ScaleOptions | None = None,
) -> list[Stretch]:
    """Run a tracker over a drive.

    Args:
        name: Of the drive.
        history: Of its map.
        sources: Kinds of sensors.
        seed: Of them.
        outliers: Share of gross errors.
        options: Of the scale.
    """
    options = options or ScaleOptions()
    events: list[Event] = []
    board = StatusBoard(StatusOptions())
    tracker = ScaleTracker(options, board, events.append)
    tracker.start()
    tracker._sources = {k: s for k, s in tracker._sources.items() if k in sources}
    if "stereo" in sources:
        tracker._sources["stereo"] = SimulatedStereo(history, seed, outliers)
    tracker._reset()
    tracker.sense(Extrinsics(CAMERA, np.eye(4)))
    samples = deque(samples_of(history, sources, seed, outliers))

    def feed(until_ns: int) -> None:
        while samples and getattr(samples[0], "stamp_ns", 0) <= until_ns:
            tracker.sense(samples.popleft())

    done: list[Stretch] = []
    now: _Open | None = None
    tied = "odometry" in sources and bool(history.edges)
    for step in solved_steps(history, tracker, feed) if tied else history.steps():
        for number in step.new:
            placed = step.placed[number]
            feed(placed.keyframe.stamp_ns)
            if now is None or placed.segment != now.number:
                done += _closed(name, seed, now, events)
                now = _Open(placed.segment)
                tracker.reset("another segment")
                events.clear()
            edges, denied = (
                [edge for edge in some if edge.j == number] for some in (step.edges, step.denied)
            )
            estimate = tracker.add_keyframe(placed, step.placed, edges=edges, denied=denied)
            alarms = board.holds("SCALE_CONFLICT"), board.holds("SCALE_DRIFT")
            now.said.append(Said(len(now.said) + 1, estimate, *alarms))
            now.depths.append(_depth_off(history, number, placed.log_depth_scale))
            now.so_far.append(_true_scale(history, step, placed.segment))
    return done + _closed(name, seed, now, events)


def _true_scale(history: History, step: Step, segment: int) -> float:
    """Log of metres per map unit, of the segment as far as it goes; NaN where it is unknown."""
    ours = [item for item in step.placed.values() if item.segment == segment]
    if len(ours) < 3:
        return float("nan")
    rows = [history.index(item.keyframe.number) for item in ours]
    scale = similarity_scale(
        np.array([item.T_map_body[:3, 3] for item in ours]),
        history.T_world_cam_N44[rows][:, :3, 3],
    )
    return float(np.log(scale)) if scale > 0 else float("nan")


def _closed(name: str, seed: int, now: _Open | None, events: list[Event]) -> list[Stretch]:
    if now is None or len(now.said) < _LEAST_KEYFRAMES or not np.isfinite(now.so_far[-1]):
        return []
    changes = sum(isinstance(event, ScaleChanged) for event in events)
    depth = float(np.nanmean(now.depths))
    so_far = np.array(now.so_far)
    return [Stretch(name, seed, tuple(now.said), so_far[-1], so_far, depth, changes)]


def _depth_off(history: History, number: int, log_depth_scale: float) -> float:
    """Log of true depth over the map's, median over the picture."""
    row = history.index(number)
    ours = history.depth_NHW[row].astype(np.float64)
    truth = history.true_depth_NHW[row].astype(np.float64)
    both = (ours > 0) & (truth > 0)
    if not both.any():
        return np.nan
    return float(np.median(np.log(truth[both] / ours[both])) - log_depth_scale)
