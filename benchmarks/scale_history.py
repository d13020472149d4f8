# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the real pipeline made of a drive, step by step, kept so that sensors can be tried on it.

A pass takes a tenth of a second, a simulated sensor nothing: the pictures of a drive go through
the real pipeline once, and every variant of sensors, seeds and faults is then run on what it made
of them. Sensors that the map takes no edges from are run on the poses that it had at each
keyframe's own time; for odometry the graph is solved anew from the edges (`scale_replay.py`).

A history is two files: arrays (npz) and, beside them, the edges as a map file holds them.

Letters: N keyframes, M frames, S steps (scenes that brought keyframes), E edges, F features of
all keyframes in a row, H W pixels of the model's picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.cameras import InputFrame
from g2vlm_map.events import Event, SceneReady
from g2vlm_map.mapping.array_file import reading, writing
from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe, View
from g2vlm_map.mapping.store_edges import read_edges, write_edges
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_model.interface import SpatialRuntime

__all__ = ["History", "Seen", "Step", "record"]

Floats = NDArray[np.float64]
CAMERA = "camera"
_EDGES = ".edges"


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame of a drive and the truth about it.

    Args:
        stamp_ns: When.
        rgb: (H0, W0, 3) uint8.
        depth: (H0, W0) true z-depth in metres, or of any size with the same aspect; 0 unknown.
        T_world_cam: (4, 4) true pose.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    T_world_cam: Floats


@dataclass(frozen=True, eq=False)
class Step:
    """The map after a scene.

    Args:
        placed: By number, as the map has them now.
        new: Numbers of the keyframes that the scene brought.
        edges: That came with it, loops among them, as they were then.
        denied: Visual ones that the map's odometry denied.
    """

    placed: dict[int, PlacedKeyframe]
    new: tuple[int, ...]
    edges: tuple[Edge, ...]
    denied: tuple[Edge, ...] = ()


@dataclass(frozen=True, eq=False)
class History:
    """A drive through the real pipeline.

    Args:
        stamp_N, number_N: Of the keyframes.
        T_world_cam_N44: Their true poses.
        depth_NHW, confidence_NHW: As the keyframes hold them.
        true_depth_NHW: float16 metres at the same pixels; 0 unknown.
        feature_F2, feature_count_N: (u, v) of the features, pixels of the frame, and how many.
        K_33: Of the model's picture, as the pipeline was told.
        image_hw: Size of the frames.
        frame_stamp_M, T_world_frame_M44: Of all frames, and their true poses.
        step_S: How many keyframes were placed at each step.
        new_S: How many of them were new, the last ones.
        pose_P44, log_depth_scale_P, segment_P: Of all placed keyframes of all steps in a row.
        edge_step_E: The step that each edge came with.
        edges: In the order of their steps.
    """

    stamp_N: NDArray[np.int64]
    number_N: NDArray[np.int64]
    T_world_cam_N44: Floats
    depth_NHW: NDArray[np.float16]
    confidence_NHW: NDArray[np.uint8]
    true_depth_NHW: NDArray[np.float16]
    feature_F2: NDArray[np.float32]
    feature_count_N: NDArray[np.int64]
    K_33: Floats
    image_hw: NDArray[np.int64]
    frame_stamp_M: NDArray[np.int64]
    T_world_frame_M44: Floats
    step_S: NDArray[np.int64]
    new_S: NDArray[np.int64]
    pose_P44: Floats
    log_depth_scale_P: Floats
    segment_P: NDArray[np.int64]
    edge_step_E: NDArray[np.int64]
    edges: tuple[Edge, ...]

    def save(self, path: Path) -> None:
        """Write both files; the npz last, so that one that is there is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path.with_suffix(_EDGES)) as file:
            write_edges(file, self.edges)
        made = path.with_suffix(".part.npz")
        np.savez_compressed(made, **{name: getattr(self, name) for name in _ARRAYS})
        made.rename(path)

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote."""
        with np.load(path) as kept:
            arrays = {name: kept[name] for name in _ARRAYS}
        numbers = set(arrays["number_N"].tolist())
        with reading(path.with_suffix(_EDGES)) as file:
            edges = read_edges(file, len(arrays["edge_step_E"]), numbers)
        return cls(**arrays, edges=edges)

    def index(self, number: int) -> int:
        """Row of a keyframe by its number."""
        return int(np.searchsorted(self.number_N, number))

    def keyframes(self) -> list[Keyframe]:
        """All keyframes, without what sensors do not look at."""
        nothing = np.zeros((0, 32), np.uint8)
        features = np.split(self.feature_F2, np.cumsum(self.feature_count_N)[:-1])
        made = []
        for row, number in enumerate(self.number_N.tolist()):
            stamp = int(self.stamp_N[row])
            view = View(
                camera=CAMERA,
                frame_id=CAMERA,
                stamp_ns=stamp,
                T_body_cam=np.eye(4),
                K=self.K_33,
                image_hw=(int(self.image_hw[0]), int(self.image_hw[1])),
                depth_HW=self.depth_NHW[row],
                confidence_HW=self.confidence_NHW[row],
                color_HW3=np.zeros((0, 0, 3), np.uint8),
                feature_F2=features[row],
                descriptor_FE=nothing,
            )
            made.append(Keyframe(number, stamp, f"k{number}", (view,), {}))
        return made

    def steps(self) -> Iterator[Step]:
        """The map after each scene."""
        keyframes = self.keyframes()
        nothing = np.zeros((6, 6))
        start = 0
        for step, (count, new) in enumerate(zip(self.step_S, self.new_S, strict=True)):
            placed = {
                keyframes[row].number: PlacedKeyframe(
                    keyframes[row],
                    self.pose_P44[start + row],
                    float(self.log_depth_scale_P[start + row]),
                    nothing,
                    int(self.segment_P[start + row]),
                )
                for row in range(count)
            }
            start += count
            numbers = tuple(self.number_N[count - new : count].tolist())
            came = np.flatnonzero(self.edge_step_E == step)
            yield Step(placed, numbers, tuple(self.edges[row] for row in came))


_ARRAYS = tuple(item.name for item in fields(History) if item.name != "edges")


class _Recorder:
    """Hears of scenes and notes what the map is then."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.keyframes: dict[int, Keyframe] = {}
        self.steps: list[tuple[tuple[PlacedKeyframe, ...], int]] = []
        self.edges: dict[tuple[int, int, str], tuple[int, Edge]] = {}

    def hear(self, event: Event) -> None:
        if not isinstance(event, SceneReady):
            return
        world = self._pipeline.world
        new = [item for item in world.keyframes if item.keyframe.number not in self.keyframes]
        if not new:
            return
        self.keyframes.update({item.keyframe.number: item.keyframe for item in new})
        self.steps.append((world.keyframes, len(new)))
        step = len(self.steps) - 1
        for edge in world.edges:
            self.edges.setdefault((edge.i, edge.j, edge.kind), (step, edge))


def record(
    runtime: SpatialRuntime, frames: Iterable[Seen], K_33: Floats, options: PipelineOptions
) -> History:
    """Drive a pipeline with frames and note the map at each keyframe's own time.

    Args:
        runtime: The model.
        frames: In the order of time.
        K_33: Of them, as the pipeline is told.
        options: Of the pipeline; keyframes must not be culled.

    Raises:
        ValueError: There were too few frames for a keyframe.
    """
    truth: dict[int, tuple[Floats, NDArray[np.float16]]] = {}
    size = (0, 0)
    with Pipeline(runtime, options) as pipeline:
        recorder = _Recorder(pipeline)
        pipeline.listen(recorder.hear)
        for frame in frames:
            truth[frame.stamp_ns] = frame.T_world_cam, frame.depth.astype(np.float16)
            size = frame.rgb.shape[:2]
            pipeline.add(InputFrame(frame.rgb, frame.stamp_ns, CAMERA, CAMERA, K_33))
            pipeline.wait()
    if not recorder.keyframes:
        raise ValueError(f"{len(truth)} frames made no keyframe")
    return _history(recorder, truth, size)


def _history(
    recorder: _Recorder,
    truth: dict[int, tuple[Floats, NDArray[np.float16]]],
    size: tuple[int, ...],
) -> History:
    keyframes = [recorder.keyframes[number] for number in sorted(recorder.keyframes)]
    views = [keyframe.views[0] for keyframe in keyframes]
    grid = views[0].depth_HW.shape
    placed = [item for now, _ in recorder.steps for item in now]
    edges = sorted(recorder.edges.values(), key=lambda item: item[0])
    return History(
        stamp_N=np.array([keyframe.stamp_ns for keyframe in keyframes]),
        number_N=np.array([keyframe.number for keyframe in keyframes]),
        T_world_cam_N44=np.stack([truth[keyframe.stamp_ns][0] for keyframe in keyframes]),
        depth_NHW=np.stack([view.depth_HW for view in views]),
        confidence_NHW=np.stack([view.confidence_HW for view in views]),
        true_depth_NHW=np.stack([_sampled(truth[k.stamp_ns][1], grid) for k in keyframes]),
        feature_F2=np.concatenate([view.feature_F2 for view in views]),
        feature_count_N=np.array([len(view.feature_F2) for view in views]),
        K_33=np.asarray(views[0].K, np.float64),
        image_hw=np.array(size),
        frame_stamp_M=np.array(sorted(truth)),
        T_world_frame_M44=np.stack([truth[stamp][0] for stamp in sorted(truth)]),
        step_S=np.array([len(now) for now, _ in recorder.steps]),
        new_S=np.array([new for _, new in recorder.steps]),
        pose_P44=np.stack([item.T_map_body for item in placed]),
        log_depth_scale_P=np.array([item.log_depth_scale for item in placed]),
        segment_P=np.array([item.segment for item in placed]),
        edge_step_E=np.array([step for step, _ in edges]),
        edges=tuple(edge for _, edge in edges),
    )


def _sampled(depth_HW: NDArray[np.float16], grid: tuple[int, ...]) -> NDArray[np.float16]:
    """The depth at the pixels of a coarser grid over the same picture."""
    rows, columns = (
        np.clip(np.rint((np.arange(few) + 0.5) * many / few - 0.5).astype(int), 0, many - 1)
        for few, many in zip(grid, depth_HW.shape, strict=True)
    )
    return depth_HW[np.ix_(rows, columns)]
