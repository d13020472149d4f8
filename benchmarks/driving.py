# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How good the map of long drives is, edge by edge and as a whole.

    python -m benchmarks.driving [street:test:0 street:test:1 ...] [--seeds 5] [--no-wheels]

Plays drives of `g2vlm_demo.drives` (scene:split:index; the same names are the same drives on every
machine) through the pipeline at rate 0, ten pictures a second, with the drive's odometry (2 % by
`WheelErrors`) and where the camera sits, or without. A verified edge is wrong where it is off by
more than 5 deg or leads more than 45 deg away; a loop by more than 10 deg or 0.5 m. Beside the map
stands what the wheels alone come to. A seed is one of the wheels and of the map; pictures are
rendered once, and passes of the same window and features of the same picture are computed once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import cv2
import numpy as np
from g2vlm_demo.drives import Drive, DriveSpec, make_drive
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.mapping.loops import turn_deg
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import ArrayPixels
from g2vlm_map.sensing import Extrinsics, OdometrySample
from g2vlm_map.world import World
from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime

from .kept import KeptPasses, kept_features
from .loops import similarity
from .map import squared_errors

Floats = NDArray[np.float64]

DRIVES = ("street:test:0", "street:test:1", "street:test:2")
EDGE_DEG, EDGE_WAY_DEG = 5.0, 45.0
LOOP_DEG, LOOP_M = 10.0, 0.5
HEAD = ["drive", "wheels", "m", "keyframes", "segments", "ATE m", "% of way", "wheels alone m",
        "edges", "wrong", "loops", "wrong"]  # fmt: skip


@dataclass(frozen=True)
class Score:
    """What one run gave.

    Args:
        way_m: Length of the true way of the keyframes.
        keyframes, segments: Counts.
        ate_m: After one similarity for each segment.
        wheels_m: The same of the odometry alone, as one piece, at the keyframes.
        edges, edges_wrong, loops, loops_wrong: Counts.
    """

    way_m: float
    keyframes: int
    segments: int
    ate_m: float
    wheels_m: float
    edges: int
    edges_wrong: int
    loops: int
    loops_wrong: int

    @property
    def share(self) -> float:
        """ATE over the way."""
        return self.ate_m / max(self.way_m, 1e-9)


def main() -> None:
    """Play, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drives", nargs="*", default=DRIVES, metavar="SCENE:SPLIT:INDEX")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-wheels", dest="wheels", action="store_false")
    parser.add_argument("--passes", type=Path, help="where passes are kept beyond this run")
    add_common_arguments(parser, "driving")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    cv2.setNumThreads(1)
    runtime = load_runtime("torch", device="cpu")
    rows = [HEAD]
    results: dict[str, Any] = {}
    for name in arguments.drives:
        with tempfile.TemporaryDirectory() as folder, kept_features():
            passes = KeptPasses(runtime, arguments.passes or Path(folder))
            scores = []
            for seed in range(arguments.seeds):
                scores.append(run(drive_of(name, seed), passes, seed, arguments.wheels))
                print(name, seed, *row(scores[-1]), flush=True)
        middle = sorted(scores, key=lambda score: score.share)[len(scores) // 2]
        rows.append([name, "yes" if arguments.wheels else "no", *row(middle)])
        results[name] = [vars(score) for score in scores]
    print_table(rows)
    write_report(arguments.out, "driving", device, results)


def drive_of(name: str, seed: int) -> Drive:
    """A drive by its name; the seed is that of its sensors."""
    scene, split, index = name.split(":")
    assert split in ("val", "test"), name
    chosen = cast(Literal["val", "test"], split)
    coarse = 1 if scene == "street" else 2
    return make_drive(DriveSpec(scene, int(index), chosen, seed, supersample=coarse))


def run(drive: Drive, runtime: SpatialRuntime, seed: int, wheels: bool) -> Score:
    """Play a drive through a pipeline, picture by picture."""
    made = PipelineOptions()
    options = replace(made, edges=replace(made.edges, seed=seed))
    with Pipeline(runtime, options) as pipeline:
        camera = options.cameras[0]
        height, width = drive.spec.size_hw
        K = drive.K.reshape(-1).tolist()
        lens: dict[str, Any] = {"distortion_model": "plumb_bob", "d": [0.0] * 5}
        pipeline.calibrate(camera, SimpleNamespace(height=height, width=width, k=K, **lens))
        heard: list[OdometrySample] = []
        if wheels:
            pipeline.sense(Extrinsics(camera, drive.robot.T_base_optical()))
            odometry = drive.odometry
            heard = [
                OdometrySample(int(stamp), T)
                for stamp, T in zip(odometry.stamp_M, odometry.T_odom_base_M44, strict=True)
            ]
        for frame in drive.frames():
            while heard and heard[0].stamp_ns <= frame.stamp_ns:
                pipeline.sense(heard.pop(0))
            pipeline.add(InputFrame(ArrayPixels(frame.rgb), frame.stamp_ns))
            assert pipeline.wait(600.0)
        return score(pipeline.world, drive)


def score(world: World, drive: Drive) -> Score:
    """Hold a map against the truth."""
    poses = dict(zip(drive.stamp_N.tolist(), drive.T_world_cam_N44, strict=True))
    true = {one.keyframe.number: poses[one.keyframe.stamp_ns] for one in world.keyframes}
    squares: list[Floats] = []
    scales: dict[int, float] = {}
    way = 0.0
    for segment in sorted({one.segment for one in world.keyframes}):
        ours = [one for one in world.keyframes if one.segment == segment]
        scale, R, t = similarity(ours, true)
        here = np.array([one.T_map_body[:3, 3] for one in ours])
        there = np.array([true[one.keyframe.number][:3, 3] for one in ours])
        squares.append(((scale * here @ R.T + t - there) ** 2).sum(axis=1))
        way += float(np.linalg.norm(np.diff(there, axis=0), axis=1).sum())
        scales.update({one.keyframe.number: scale for one in ours})
    visual = [edge for edge in world.edges if edge.kind == "visual"]
    loops = [edge for edge in world.edges if edge.kind == "loop"]
    return Score(
        way, len(world.keyframes), len(squares), float(np.sqrt(np.concatenate(squares).mean())),
        _wheels_alone(drive, [one.keyframe.stamp_ns for one in world.keyframes]),
        len(visual), sum(_edge_wrong(edge, true) for edge in visual),
        len(loops), sum(_loop_wrong(edge, true, scales[edge.i]) for edge in loops),
    )  # fmt: skip


def row(score: Score) -> list[str]:
    """What stands in the table."""
    return [
        *(f"{score.way_m:.0f}", f"{score.keyframes}", f"{score.segments}", f"{score.ate_m:.2f}"),
        *(f"{100 * score.share:.2f}", f"{score.wheels_m:.2f}"),
        *(f"{score.edges}", f"{score.edges_wrong}", f"{score.loops}", f"{score.loops_wrong}"),
    ]


def _wheels_alone(drive: Drive, stamps_ns: Sequence[int]) -> float:
    """ATE in metres of the odometry alone after a similarity."""
    odometry = drive.odometry
    at = np.searchsorted(odometry.stamp_M, stamps_ns).clip(0, len(odometry.stamp_M) - 1)
    found = odometry.T_odom_base_M44[at] @ drive.robot.T_base_optical()
    true = drive.T_world_cam_N44[np.searchsorted(drive.stamp_N, stamps_ns)]
    return float(np.sqrt(squared_errors(found, true, with_scale=True).mean()))


def _edge_wrong(edge: Edge, true: dict[int, Floats]) -> bool:
    T = np.linalg.inv(true[edge.i]) @ true[edge.j]
    if turn_deg(T[:3, :3].T @ edge.T_i_j[:3, :3]) > EDGE_DEG:
        return True
    lengths = [float(np.linalg.norm(one[:3, 3])) for one in (T, edge.T_i_j)]
    if min(lengths) == 0:
        return False
    cosine = float(T[:3, 3] @ edge.T_i_j[:3, 3]) / (lengths[0] * lengths[1])
    return cosine < float(np.cos(np.radians(EDGE_WAY_DEG)))


def _loop_wrong(edge: Edge, true: dict[int, Floats], scale: float) -> bool:
    T = np.linalg.inv(true[edge.i]) @ true[edge.j]
    off = float(np.linalg.norm(T[:3, 3] - scale * edge.T_i_j[:3, 3]))
    return turn_deg(T[:3, :3].T @ edge.T_i_j[:3, :3]) > LOOP_DEG or off > LOOP_M


if __name__ == "__main__":
    main()
