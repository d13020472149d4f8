"""What the real pipeline made of a drive, step by step, kept so that sensors can be tried on it.

A pass takes a tenth of a second, a simulated sensor nothing: the map of a drive is made once, by
the real pipeline, and every variant of sensors, seeds and faults is then run on the poses and
depths that the map had at each keyframe's own time.

Letters: N keyframes, S steps (scenes that brought keyframes), H W pixels of the model's picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.cameras import InputFrame
from g2vlm_map.events import Event, SceneReady
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_model.interface import SpatialRuntime

__all__ = ["History", "Seen", "Step", "record"]

Floats = NDArray[np.float64]
CAMERA = "camera"
ODOMETRY_SHARE = 0.02


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
        turns: Visual edges of the new keyframes: (i, j, R_i_j).
    """

    placed: dict[int, PlacedKeyframe]
    new: tuple[int, ...]
    turns: tuple[tuple[int, int, Floats], ...]


@dataclass(frozen=True, eq=False)
class History:
    """A drive through the real pipeline.

    Args:
        stamp_N, number_N: Of the keyframes.
        T_world_cam_N44: Their true poses.
        depth_NHW, confidence_NHW: As the keyframes hold them.
        true_depth_NHW: float16 metres at the same pixels; 0 unknown.
        K_33: Of the model's picture, as the pipeline was told.
        image_hw: Size of the frames.
        step_S: How many keyframes were placed at each step.
        new_S: How many of them were new, the last ones.
        pose_P44, log_depth_scale_P, segment_P: Of all placed keyframes of all steps in a row.
        turn_E2, turn_E33: Visual edges in the order of their second keyframe.
        odometry_stamp_M, odometry_M44: Odometry that the pipeline was told; none where M is 0.
    """

    stamp_N: NDArray[np.int64]
    number_N: NDArray[np.int64]
    T_world_cam_N44: Floats
    depth_NHW: NDArray[np.float16]
    confidence_NHW: NDArray[np.uint8]
    true_depth_NHW: NDArray[np.float16]
    K_33: Floats
    image_hw: NDArray[np.int64]
    step_S: NDArray[np.int64]
    new_S: NDArray[np.int64]
    pose_P44: Floats
    log_depth_scale_P: Floats
    segment_P: NDArray[np.int64]
    turn_E2: NDArray[np.int64]
    turn_E33: Floats
    odometry_stamp_M: NDArray[np.int64]
    odometry_M44: Floats

    @property
    def odometry(self) -> list[OdometrySample]:
        """What the pipeline was told."""
        pairs = zip(self.odometry_stamp_M.tolist(), self.odometry_M44, strict=True)
        return [OdometrySample(int(stamp), T, ODOMETRY_SHARE) for stamp, T in pairs]

    def save(self, path: Path) -> None:
        """Write it as npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{item.name: getattr(self, item.name) for item in fields(self)})

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote."""
        with np.load(path) as kept:
            return cls(**{item.name: kept[item.name] for item in fields(cls)})

    def index(self, number: int) -> int:
        """Row of a keyframe by its number."""
        return int(np.searchsorted(self.number_N, number))

    def keyframes(self) -> list[Keyframe]:
        """All keyframes, without what sensors do not look at."""
        nothing = np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
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
                feature_F2=nothing[0],
                descriptor_FE=nothing[1],
            )
            made.append(Keyframe(number, stamp, f"k{number}", (view,), {}))
        return made

    def steps(self) -> Iterator[Step]:
        """The map after each scene."""
        keyframes = self.keyframes()
        nothing = np.zeros((6, 6))
        start = 0
        for count, new in zip(self.step_S.tolist(), self.new_S.tolist(), strict=True):
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
            mine = np.isin(self.turn_E2[:, 1], numbers)
            turns = tuple(
                (int(i), int(j), R)
                for (i, j), R in zip(self.turn_E2[mine], self.turn_E33[mine], strict=True)
            )
            yield Step(placed, numbers, turns)


class _Recorder:
    """Hears of scenes and notes what the map is then."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.keyframes: dict[int, Keyframe] = {}
        self.steps: list[tuple[tuple[PlacedKeyframe, ...], int]] = []
        self.turns: dict[tuple[int, int], Floats] = {}

    def hear(self, event: Event) -> None:
        if not isinstance(event, SceneReady):
            return
        world = self._pipeline.world
        new = [item for item in world.keyframes if item.keyframe.number not in self.keyframes]
        if not new:
            return
        self.keyframes.update({item.keyframe.number: item.keyframe for item in new})
        self.steps.append((world.keyframes, len(new)))
        for edge in world.edges:
            if edge.kind == "visual":
                self.turns.setdefault((edge.i, edge.j), edge.T_i_j[:3, :3])


def record(
    runtime: SpatialRuntime,
    frames: Iterable[Seen],
    K_33: Floats,
    options: PipelineOptions,
    odometry: Sequence[OdometrySample] = (),
) -> History:
    """Drive a pipeline with frames and note the map at each keyframe's own time.

    Args:
        runtime: The model.
        frames: In the order of time.
        K_33: Of them, as the pipeline is told.
        options: Of the pipeline; keyframes must not be culled.
        odometry: What the wheels say: it becomes edges of the map, too. The camera's optical
            frame is the base.
    """
    waiting = deque(odometry)
    truth: dict[int, tuple[Floats, NDArray[np.float16]]] = {}
    with Pipeline(runtime, options) as pipeline:
        recorder = _Recorder(pipeline)
        pipeline.listen(recorder.hear)
        pipeline.sense(Extrinsics(CAMERA, np.eye(4)))
        for frame in frames:
            while waiting and waiting[0].stamp_ns <= frame.stamp_ns:
                pipeline.sense(waiting.popleft())
            truth[frame.stamp_ns] = frame.T_world_cam, frame.depth.astype(np.float16)
            size = frame.rgb.shape[:2]
            pipeline.add(InputFrame(frame.rgb, frame.stamp_ns, CAMERA, CAMERA, K_33))
            pipeline.wait()
    keyframes = [recorder.keyframes[number] for number in sorted(recorder.keyframes)]
    views = [keyframe.views[0] for keyframe in keyframes]
    grid = views[0].depth_HW.shape
    placed = [item for now, _ in recorder.steps for item in now]
    turns = sorted(recorder.turns.items(), key=lambda item: item[0][1])
    return History(
        stamp_N=np.array([keyframe.stamp_ns for keyframe in keyframes]),
        number_N=np.array([keyframe.number for keyframe in keyframes]),
        T_world_cam_N44=np.stack([truth[keyframe.stamp_ns][0] for keyframe in keyframes]),
        depth_NHW=np.stack([view.depth_HW for view in views]),
        confidence_NHW=np.stack([view.confidence_HW for view in views]),
        true_depth_NHW=np.stack([_sampled(truth[k.stamp_ns][1], grid) for k in keyframes]),
        K_33=np.asarray(views[0].K, np.float64),
        image_hw=np.array(size),
        step_S=np.array([len(now) for now, _ in recorder.steps]),
        new_S=np.array([new for _, new in recorder.steps]),
        pose_P44=np.stack([item.T_map_body for item in placed]),
        log_depth_scale_P=np.array([item.log_depth_scale for item in placed]),
        segment_P=np.array([item.segment for item in placed]),
        turn_E2=np.array([pair for pair, _ in turns]).reshape(-1, 2),
        turn_E33=np.array([R for _, R in turns]).reshape(-1, 3, 3),
        odometry_stamp_M=np.array([sample.stamp_ns for sample in odometry], np.int64),
        odometry_M44=np.array([item.T_odom_base for item in odometry]).reshape(-1, 4, 4),
    )


def _sampled(depth_HW: NDArray[np.float16], grid: tuple[int, ...]) -> NDArray[np.float16]:
    """The depth at the pixels of a coarser grid over the same picture."""
    rows, columns = (
        np.clip(np.rint((np.arange(few) + 0.5) * many / few - 0.5).astype(int), 0, many - 1)
        for few, many in zip(grid, depth_HW.shape, strict=True)
    )
    return depth_HW[np.ix_(rows, columns)]
