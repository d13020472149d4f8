# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What measured depth does for the map: `depth.source` model, sensor and fused beside each other.

    python -m benchmarks.depth_source --rooms 3                    # synthetic drives with the truth
    python -m benchmarks.depth_source FOLDER --stride 2            # 7-Scenes layout, its own depth

The pipeline gets pictures, K, and depth images; of a synthetic drive also where the camera sits,
for obstacles. No odometry. The simulated sensor sees 0.4 to 5 m, with noise that grows with the
square of the range and holes; a folder's depth is what its camera measured, and at the same time
the only truth about depth that there is: of its dense map only the poses and the model's share of
`fused` are tested. Poses are aligned rigidly, in the metres that the pipeline says.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.dense_kitchen import NEAR_M, read_posed
from benchmarks.obstacle_drives import DriveOptions, drives
from benchmarks.obstacle_scores import score
from benchmarks.obstacle_worlds import Posed, true_world
from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.options import DepthOptions, KeyframeOptions, PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.poses import inverse, metric
from g2vlm_map.sensing import DepthSample, Extrinsics
from g2vlm_map.world import World
from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.runtimes import load_runtime

Floats = NDArray[np.float64]
SOURCES = ("model", "sensor", "fused")
_NEAREST_M, _FURTHEST_M = 0.4, 5.0
_NOISE = 0.004  # standard deviation of the depth at 1 m, metres; at z it is this times z squared
_HOLES = 0.15  # share of the picture without a reading, in patches
_STEP_NS = 500_000_000  # as `obstacle_scores.score` has it


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--rooms", type=int, default=3)
    parser.add_argument("--frames", type=int, default=DriveOptions().frames)
    parser.add_argument("--stride", type=int, default=1)
    add_common_arguments(parser, "depth_source")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    runtime = load_runtime("torch", arguments.model, device=str(device))
    results: dict[str, dict[str, Any]] = {}
    if arguments.folder is not None:
        posed = read_posed(arguments.folder, arguments.stride, 0.0)
        surface_V3 = _points(true_world(posed, (84, 112)), DenseOptions(sweep=False, max_range=5.0))
        for source in SOURCES:
            world = play(runtime, posed, posed.depth_NHW, source)
            results[source] = poses(world, posed) | _surface(world, posed, surface_V3)
            print(source, results[source], flush=True)
    else:
        options = replace(DriveOptions(), frames=arguments.frames)
        for drive in drives(arguments.split, arguments.rooms, options):
            posed = Posed(
                drive.rgb_NHW3, drive.depth_NHW, drive.T_world_cam_N44, drive.K, drive.T_base_cam
            )
            seen_NHW = simulated(drive.depth_NHW, drive.room.seed)
            for source in SOURCES:
                world = play(runtime, posed, seen_NHW, source)
                row = poses(world, posed)
                if world.scale.metric:
                    row |= score(drive, world, DenseRules()).numbers
                results[f"{drive.room.seed} {source}"] = row
                print(drive.room.seed, source, row, flush=True)
    heads = sorted({key for row in results.values() for key in row})
    rows = [
        [name, *(f"{row.get(key, np.nan):.3f}" for key in heads)] for name, row in results.items()
    ]
    print_table([["", *heads], *rows])
    write_report(arguments.out, "depth_source", device, results)


def simulated(depth_NHW: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """What a depth camera would say of true depth, metres; 0: no reading."""
    rng = np.random.default_rng([seed, 71])
    made = depth_NHW + rng.normal(size=depth_NHW.shape) * _NOISE * depth_NHW**2
    made[(depth_NHW < _NEAREST_M) | (depth_NHW > _FURTHEST_M)] = 0.0
    for depth_HW in made:
        coarse = rng.random((12, 16)).astype(np.float32)
        patches = cv2.resize(coarse, depth_HW.shape[::-1], interpolation=cv2.INTER_CUBIC)
        depth_HW[patches < np.quantile(patches, _HOLES)] = 0.0
    return np.asarray(made, np.float32)


def play(
    runtime: SpatialRuntime, posed: Posed, seen_NHW: NDArray[np.float32], source: str
) -> World:
    """The world of a drive whose depth is measured too."""
    every = KeyframeOptions(min_motion=0.0, min_interval_s=0.0, max_interval_s=0.0)
    options = PipelineOptions(keyframe=every, depth=DepthOptions(source=source))
    with Pipeline(runtime, options) as pipeline:
        if posed.T_base_cam is not None:
            pipeline.sense(Extrinsics("camera", posed.T_base_cam))
        for index, rgb in enumerate(posed.rgb_NHW3):
            stamp_ns = (index + 1) * _STEP_NS
            pipeline.sense(DepthSample(stamp_ns, "camera", seen_NHW[index], posed.K))
            pipeline.add(InputFrame(np.ascontiguousarray(rgb), stamp_ns, K=posed.K))
            assert pipeline.wait(300.0)
        reasons = {reason.code: reason.text for reason in pipeline.snapshot().reasons}
        if "DEPTH_MISSING" in reasons:
            print(reasons["DEPTH_MISSING"], flush=True)
        return pipeline.world


def poses(world: World, posed: Posed) -> dict[str, float]:
    """ATE of the last segment's keyframes, metres, and how far its metres are metres."""
    ours = [one for one in world.keyframes if one.segment == world.segment]
    metres = world.scale.metres_per_unit
    found = np.array([metric(one.T_map_body, metres)[:3, 3] for one in ours])
    true = np.array([posed.T_world_cam_N44[_index(one.keyframe.stamp_ns)][:3, 3] for one in ours])
    a, b = found - found.mean(axis=0), true - true.mean(axis=0)
    U, D, Vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = U * sign @ Vt
    scale = float((D * sign).sum() / max((a**2).sum(), 1e-12))
    return {
        "keyframes": len(ours),
        "segments": len({one.segment for one in world.keyframes}),
        "ATE SE3 m": float(np.sqrt(((b - a @ R.T) ** 2).sum(axis=1).mean())),
        "ATE Sim3 m": float(np.sqrt(((b - scale * a @ R.T) ** 2).sum(axis=1).mean())),
        "true / said metre": scale,
        "sigma": world.scale.sigma,
        "metric": float(world.scale.metric),
    }


def _surface(world: World, posed: Posed, surface_V3: Floats) -> dict[str, float]:
    """The dense map against the depth at true poses, laid over by the keyframes' poses."""
    if not world.scale.metric:
        return {}
    points = _points(world, DenseOptions())
    ours = [one for one in world.keyframes if one.segment == world.segment]
    T_level = [
        metric(world.T_level_map @ one.T_map_body, world.scale.metres_per_unit) for one in ours
    ]
    # true_world's axes are those of the first camera of the recording.
    T_first = inverse(posed.T_world_cam_N44[0])
    true = [T_first @ posed.T_world_cam_N44[_index(one.keyframe.stamp_ns)] for one in ours]
    a, b = np.array(T_level)[:, :3, 3], np.array(true)[:, :3, 3]
    U, _, Vt = np.linalg.svd((b - b.mean(axis=0)).T @ (a - a.mean(axis=0)))
    R = U * np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    laid = (points - a.mean(axis=0)) @ R.T + b.mean(axis=0)
    away_P, reach_V = cKDTree(surface_V3).query(laid)[0], cKDTree(laid).query(surface_V3)[0]
    return {
        "points": float(len(laid)),
        "median m": float(np.median(away_P)),
        "within 10 cm": float((away_P < NEAR_M).mean()),
        "completeness": float((reach_V < NEAR_M).mean()),
    }


def _points(world: World, options: DenseOptions) -> Floats:
    return np.asarray(DenseMap(DenseRules(options)).update(world).voxels.mean_V3, np.float64)


def _index(stamp_ns: int) -> int:
    return stamp_ns // _STEP_NS - 1


if __name__ == "__main__":
    main()
