# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dense map of a real sequence against its true depth: accuracy and completeness.

    python -m benchmarks.dense_kitchen FOLDER                # 7-Scenes layout, every third frame
    python -m benchmarks.dense_kitchen FOLDER --model DIR    # other weights, to compare
    python -m benchmarks.dense_kitchen val-00000.tar         # mean over the first clips of a shard

The poses are the recording's, so that what is compared is the depth and what is left out of it.
Accuracy is the distance of the map's points from the surface that the true depth shows, in voxels
of 3 cm, completeness the share of that surface with a point of the map within 10 cm.

Shape letters: N frames, P points, V voxels.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from g2vlm_training.datasets.shards import Shard
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.obstacle_worlds import Posed, ScaleError, model_world, true_world
from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.world import World
from g2vlm_model.runtimes import load_runtime

NEAR_M = 0.1
_CLIPS, _LEAST_WAY_M = 8, 0.3  # of a shard
TRUE_VOXEL_M, TRUE_RANGE_M = 0.03, 5.0
EVERY = DenseOptions(max_range=100.0, min_confidence=0.0, sweep=False)
UNASKED = replace(EVERY, neighbours=0, agreeing=0)
STRICT = replace(EVERY, agreeing=3, tolerance=0.05)
WAYS = {
    "true depth": UNASKED,
    "model": UNASKED,
    "2 of 6 within 10 %": EVERY,
    "3 of 6 within 5 %": STRICT,
    "swept": replace(UNASKED, sweep=True),
    "swept, 2 of 6 within 10 %": replace(EVERY, sweep=True),
    "swept, 3 of 6 within 5 %": replace(STRICT, sweep=True),
    "as shipped": DenseOptions(),
    "as shipped, sure from .1 on": replace(DenseOptions(), min_confidence=0.1),
    "as shipped, sure from .3 on": replace(DenseOptions(), min_confidence=0.3),
}


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of frames in the 7-Scenes layout, or a shard")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--stride", type=int, default=3)
    parser.add_argument("--focal", type=float, default=0.0, help="pixels; 0: the folder's own")
    parser.add_argument("--scale-sigma", type=float, default=0.0)
    add_common_arguments(parser, "dense_kitchen")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    if arguments.folder.suffix == ".tar":
        drives = read_clips(arguments.folder)
    else:
        drives = [read_posed(arguments.folder, arguments.stride, arguments.focal)]
    runtime = load_runtime("torch", arguments.model, device=str(device))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for number, posed in enumerate(drives):
        seen = model_world(runtime, posed, ScaleError(arguments.scale_sigma), f"drive {number}")
        true = true_world(posed, seen.keyframes[0].keyframe.views[0].depth_HW.shape)
        surface_V3 = _surface(true)
        for name, options in WAYS.items():
            world = true if name == "true depth" else seen
            found[name].append(_compared(world, options, surface_V3))
    results: dict[str, dict[str, float]] = {}
    for name, rows_of in found.items():
        results[name] = {key: float(np.mean([row[key] for row in rows_of])) for key in rows_of[0]}
        print(name, {key: round(value, 3) for key, value in results[name].items()}, flush=True)
    heads = list(results["model"])
    rows = [[name, *(f"{row[key]:.3f}" for key in heads)] for name, row in results.items()]
    print_table([["", *heads], *rows])
    write_report(arguments.out, "dense_kitchen", device, results)


def read_posed(folder: Path, stride: int, focal: float) -> Posed:
    """Frames of a folder in the 7-Scenes layout.

    Args:
        folder: `*.color.*`, `*.depth.png` in millimetres, `*.pose.txt`, `camera-intrinsics.txt`.
        stride: Every so many of its frames.
        focal: In pixels, in place of the folder's; 0: the folder's.

    Raises:
        ValueError: The folder holds no such frames.
    """
    pictures = sorted(folder.glob("*.color.*"))[::stride]
    if len(pictures) < 3:
        raise ValueError(f"{folder} holds {len(pictures)} frames *.color.*, expected at least 3")
    K = np.loadtxt(folder / "camera-intrinsics.txt")[:3, :3]
    if focal:
        K[0, 0] = K[1, 1] = focal
    rgb, depth, poses = [], [], []
    for picture in pictures:
        stem = str(picture).split(".color.")[0]
        color = cv2.imread(str(picture))
        millimetres = cv2.imread(f"{stem}.depth.png", cv2.IMREAD_UNCHANGED)
        if color is None or millimetres is None:
            raise ValueError(f"{picture} or its depth cannot be read")
        rgb.append(cv2.cvtColor(color, cv2.COLOR_BGR2RGB))
        known = (millimetres > 0) & (millimetres < 65535)
        depth.append(np.where(known, millimetres / 1000.0, 0.0).astype(np.float32))
        T = np.loadtxt(f"{stem}.pose.txt")
        left, _, right = np.linalg.svd(T[:3, :3])  # the files are orthonormal to 4e-4 only
        T[:3, :3] = left @ right
        poses.append(T)
    return Posed(np.stack(rgb).astype(np.uint8), np.stack(depth), np.stack(poses), K)


def read_clips(shard: Path) -> list[Posed]:
    """The first clips of a shard on which the camera goes `_LEAST_WAY_M` or more.

    Raises:
        ValueError: There is none.
    """
    found: list[Posed] = []
    for stored in Shard(shard).clips:
        clip = stored.read(range(len(stored)))
        T_N44 = clip.T_world_cam.astype(np.float64)
        if np.linalg.norm(T_N44[-1, :3, 3] - T_N44[0, :3, 3]) >= _LEAST_WAY_M:
            found.append(Posed(clip.rgb, clip.depth, T_N44, clip.K[0].astype(np.float64)))
        if len(found) == _CLIPS:
            break
    if not found:
        raise ValueError(f"{shard} holds no clip whose camera moves {_LEAST_WAY_M} m")
    return found


def _surface(true: World) -> NDArray[np.float32]:
    options = DenseOptions(
        sweep=False, neighbours=0, agreeing=0, voxel=TRUE_VOXEL_M, max_range=TRUE_RANGE_M
    )
    return DenseMap(DenseRules(options)).update(true).voxels.mean_V3


def _compared(
    world: World, options: DenseOptions, surface_V3: NDArray[np.float32]
) -> dict[str, float]:
    started = time.process_time()
    snapshot = DenseMap(DenseRules(options)).update(world)
    seconds = time.process_time() - started
    points_V3 = snapshot.voxels.mean_V3
    away_P = cKDTree(surface_V3).query(points_V3)[0]
    reach_V = cKDTree(points_V3).query(surface_V3)[0]
    return {
        "mean m": float(away_P.mean()),
        "median m": float(np.median(away_P)),
        "within 10 cm": float((away_P < NEAR_M).mean()),
        "completeness": float((reach_V < NEAR_M).mean()),
        "kept": 1.0 - snapshot.left_out,
        "ms per keyframe": 1e3 * seconds / max(1, snapshot.keyframes),
    }


if __name__ == "__main__":
    main()
