# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How good and how dear the map is: trajectories against the truth, cost beside the pass.

    python -m benchmarks.map FOLDER_OR_BAG ... [--detector orb sift] [--seeds 5] [--wheels]

Plays each recording through the pipeline at rate 0 and measures the final keyframe poses: ATE
after a similarity and after a rigid alignment, the median rotation error over all pairs, and the
time that the map takes per keyframe beside the model's pass, in this process on one core. With
--wheels an odometry is simulated out of the true poses (`scale_sensors.wheels`: bias, noise, slips,
by seed), and the rigid alignment is in the metres that the pipeline says.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from g2vlm_training.evaluate.points import similarity
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from g2vlm_map.mapping import making as making_module
from g2vlm_map.mapping import map_graph as graph_module
from g2vlm_map.mapping import mapper as mapper_module
from g2vlm_map.mapping.making import WORKERS
from g2vlm_map.mapping.rotations import log_rotations
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import ArrayPixels
from g2vlm_map.recordings import Recording, open_recording
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_map.world import World
from g2vlm_model.runtimes import load_runtime

from .scale_sensors import wheels

Floats = NDArray[np.float64]

_STAGES = {
    "features": (making_module, "find_features"),
    "pairs": (mapper_module, "verified_edge"),
    "ties": (graph_module, "find_ties"),
    "lengths": (graph_module, "local_lengths"),
    "poses": (graph_module, "local_poses"),
}


@dataclass(frozen=True)
class Score:
    """What one run gave.

    Args:
        ate, ate_se3: Root mean square of the positions' errors after a similarity and after a
            rigid alignment (in metres where the scale carries), in the truth's unit, pooled over
            segments.
        rot_deg: Median rotation error over all pairs of a segment.
        keyframes, edges, segments, loops: Counts.
        frames: That were played.
        map_ms, pass_ms: CPU time a keyframe of the map, and of the passes.
        path: Length of the true path of the keyframes.
        stages: CPU time a keyframe by stage of the map.
    """

    ate: float
    ate_se3: float
    rot_deg: float
    keyframes: int
    edges: int
    segments: int
    loops: int
    frames: int
    map_ms: float
    pass_ms: float
    path: float
    stages: dict[str, float]


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--detector", nargs="+", default=["sift", "orb"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--wheels", action="store_true")
    add_common_arguments(parser, "map")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    cv2.setNumThreads(1)
    runtime = load_runtime("torch", model=arguments.model, device="cpu")
    rows = [
        [
            *("recording", "features", "ATE", "ATE SE3", "rot deg", "keyframes", "edges"),
            *("segments", "loops", "pass ms", "map ms", *_STAGES),
        ]
    ]
    results: dict[str, Any] = {}
    for path in arguments.recordings:
        for detector in arguments.detector:
            scores = []
            for seed in range(arguments.seeds):
                options = _options(detector, seed)
                recording = open_recording(path, fps=arguments.fps)
                told = _wheels(recording, seed) if arguments.wheels else ()
                scores.append(run(recording, runtime, options, told))
                print(path.name, detector, seed, _row(scores[-1]), flush=True)
            scores.sort(key=lambda score: score.ate)
            middle = scores[len(scores) // 2]
            rows.append([path.name, detector, *_row(middle)])
            results[f"{path.name} {detector}"] = {
                "median": vars(middle),
                "ate": [score.ate for score in scores],
            }
    print_table(rows)
    write_report(arguments.out, "map", device, results)


def run(
    recording: Recording,
    runtime: Any,
    options: PipelineOptions,
    odometry: Sequence[OdometrySample] = (),
) -> Score:
    """Play a recording through a pipeline, frame by frame."""
    spent: dict[str, float] = dict.fromkeys((*_STAGES, "pass", "map"), 0.0)
    with _timed(spent), Pipeline(_Timed(runtime, spent), options) as pipeline:
        frames = play(recording, pipeline, odometry)
        world = pipeline.world
    return _score(recording, world, spent, frames)


def play(recording: Recording, pipeline: Pipeline, odometry: Sequence[OdometrySample] = ()) -> int:
    """Hand a recording's calibration and frames in, one by one; how many there were."""
    heard = list(odometry)
    if heard:
        pipeline.sense(Extrinsics(pipeline.options.cameras[0], np.eye(4)))
    frames, calibration = 0, recording.info.calibration
    if calibration is not None:
        pipeline.calibrate(pipeline.options.cameras[0], calibration.camera_info())
    for frame in recording.frames():
        while heard and heard[0].stamp_ns <= frame.stamp_ns:
            pipeline.sense(heard.pop(0))
        pipeline.add(InputFrame(ArrayPixels(frame.rgb()), frame.stamp_ns))
        assert pipeline.wait(120.0)
        frames += 1
    return frames


def _wheels(recording: Recording, seed: int) -> list[OdometrySample]:
    truth = recording.true_poses()
    assert truth is not None, "the recording has no true poses"
    return wheels(truth.stamps_ns.tolist(), truth.T_world_cam_M44, seed)


class _Timed:
    """A runtime whose passes are timed."""

    def __init__(self, runtime: Any, spent: dict[str, float]) -> None:
        self._runtime = runtime
        self._spent = spent
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def observe(self, *arguments: Any, **named: Any) -> Any:
        """The runtime's."""
        started = time.thread_time()
        scene = self._runtime.observe(*arguments, **named)
        self._spent["pass"] += time.thread_time() - started
        return scene


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Time the stages of the map while it runs."""
    kept: list[tuple[Any, str, Any]] = []

    def wrap(owner: Any, name: str, stage: str) -> None:
        plain = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return plain(*arguments, **named)
            finally:
                took = time.thread_time() - started
                spent[stage] += took
                if threading.current_thread().name.startswith(WORKERS):
                    spent["map"] += took  # the map's work, beside the pass

        kept.append((owner, name, plain))
        setattr(owner, name, timed)

    for stage, (owner, name) in _STAGES.items():
        wrap(owner, name, stage)
    wrap(mapper_module.Mapper, "add", "map")
    try:
        yield
    finally:
        for owner, name, plain in kept:
            setattr(owner, name, plain)


def _options(detector: str, seed: int) -> PipelineOptions:
    made = PipelineOptions()
    return replace(
        made,
        features=replace(made.features, detector=detector),
        edges=replace(made.edges, seed=seed),
    )


def _score(recording: Recording, world: World, spent: dict[str, float], frames: int) -> Score:
    truth = recording.true_poses()
    assert truth is not None, "the recording has no true poses"
    squares: list[Floats] = []
    rigid: list[Floats] = []
    turns: list[Floats] = []
    path = 0.0
    metres = world.scale.metres_per_unit if world.scale.metric else 1.0
    for segment in sorted({item.segment for item in world.keyframes}):
        ours = [item for item in world.keyframes if item.segment == segment]
        stamps = np.array([item.keyframe.stamp_ns for item in ours])
        nearest = np.abs(truth.stamps_ns[None] - stamps[:, None]).argmin(axis=1)
        true = truth.T_world_cam_M44[nearest]
        found = np.array([item.T_map_body for item in ours])
        squares.append(squared_errors(found, true, with_scale=True))
        if not world.scale.metric or segment == world.segment:  # a scale is one of a segment
            in_metres = found.copy()
            in_metres[:, :3, 3] *= metres
            rigid.append(squared_errors(in_metres, true, with_scale=False))
        turns.append(_turns(found, true))
        path += float(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum())
    keyframes = len(world.keyframes)
    each = {name: 1e3 * value / max(1, keyframes) for name, value in spent.items()}
    return Score(
        ate=_rms(squares),
        ate_se3=_rms(rigid),
        rot_deg=float(np.degrees(np.median(np.concatenate(turns)))),
        keyframes=keyframes,
        edges=len(world.edges),
        segments=len(squares),
        loops=world.loops,
        frames=frames,
        map_ms=each["map"],
        pass_ms=each["pass"],
        path=path,
        stages={name: each[name] for name in _STAGES},
    )


def _rms(squares: list[Floats]) -> float:
    return float(np.sqrt(np.concatenate(squares).mean()))


def squared_errors(found: Floats, true: Floats, with_scale: bool) -> Floats:
    """(M,) squared position errors after the best alignment."""
    a, b = found[:, :3, 3], true[:, :3, 3]
    scale, R, t = similarity(a, b, with_scale)
    errors: Floats = ((b - scale * a @ R.T - t) ** 2).sum(axis=1)
    return errors


def _turns(found: Floats, true: Floats) -> Floats:
    """(P,) rotation errors in rad of all pairs."""
    off = np.einsum("mab,mcb->mac", found[:, :3, :3], true[:, :3, :3])
    i, j = np.triu_indices(len(found), 1)
    if not len(i):
        return np.zeros(0)
    turns: Floats = np.linalg.norm(log_rotations(off[i].transpose(0, 2, 1) @ off[j]), axis=1)
    return turns


def _row(score: Score) -> list[str]:
    numbers = [f"{score.ate:.3f}", f"{score.ate_se3:.3f}", f"{score.rot_deg:.2f}"]
    counts = [score.keyframes, score.edges, score.segments, score.loops]
    times = [score.pass_ms, score.map_ms, *score.stages.values()]
    return [*numbers, *map(str, counts), *(f"{value:.0f}" for value in times)]


if __name__ == "__main__":
    main()
