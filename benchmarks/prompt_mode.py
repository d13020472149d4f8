# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What sharing the chat prefix changes against the published reconstruct prefix.

    python -m benchmarks.prompt_mode
    python -m benchmarks.prompt_mode --model nano --pictures FOLDER --step 3

The same windows go through both prompt modes of the runtime. Differences are relative: of
points to their depth, of camera centres to the window's median depth; rotations in degrees. A
model that was trained with `isolate_geometry` lets no text reach the geometry: there the
difference is rounding only.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.pictures import load_pictures, random_picture, window_of
from g2vlm_map.answers.measure import turn_between
from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import FrameWindow, GeometryPrediction, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime

MODES = ("shared", "published")
QUERY = SpatialQuery("How far is the table from the camera?", max_tokens=1)


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--pictures", type=Path, default=None, help="folder; default random ones")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--windows", type=int, default=5)
    add_common_arguments(parser, "prompt_mode")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    total = arguments.frames * arguments.windows
    pictures = (
        load_pictures(arguments.pictures, total, arguments.step)
        if arguments.pictures
        else [random_picture(seed) for seed in range(total)]
    )
    size = arguments.frames
    windows = [
        window_of(pictures[first : first + size], f"window-{first}")
        for first in range(0, total, size)
    ]
    geometries, times = {}, {}
    for mode in MODES:
        runtime = load_runtime(
            "torch", arguments.model, arguments.device, arguments.precision, mode
        )
        geometries[mode], times[mode] = run(runtime, windows)
        model_id = runtime.info.model_id
        runtime.close()
    pairs = zip(geometries["shared"], geometries["published"], strict=True)
    differences = [compare(shared, published) for shared, published in pairs]
    names = list(differences[0])
    worst = {name: max(one[name] for one in differences) for name in names}
    median = {name: statistics.median(one[name] for one in differences) for name in names}
    print_table(
        [
            [model_id, "median of windows", "worst window"],
            *([name, f"{median[name]:.2e}", f"{worst[name]:.2e}"] for name in names),
        ]
    )
    print_table(
        [
            ["prompt mode", "observe ms", "first question ms"],
            *([mode, *(f"{value:.1f}" for value in times[mode])] for mode in MODES),
        ]
    )
    config = ModelConfig.from_folder(resolve_folder(arguments.model))
    results: dict[str, Any] = {
        "model_id": model_id,
        "isolate_geometry": config.isolate_geometry,
        "pictures": "folder" if arguments.pictures else "random",
        "windows": len(windows),
        "frames": size,
        "median": median,
        "worst": worst,
        "observe_ms, first_question_ms": times,
    }
    write_report(arguments.out, "prompt_mode", device, results)


def run(
    runtime: SpatialRuntime, windows: list[FrameWindow]
) -> tuple[list[GeometryPrediction], tuple[float, float]]:
    """Geometry of all windows, and median milliseconds of observing and of a first question."""
    geometries, observe_ms, question_ms = [], [], []
    runtime.ask(runtime.observe(windows[-1]), QUERY)  # warms the runtime up
    for window in windows:
        started = time.perf_counter()
        scene = runtime.observe(window)
        observed = time.perf_counter()
        runtime.ask(scene, QUERY)
        question_ms.append((time.perf_counter() - observed) * 1e3)
        observe_ms.append((observed - started) * 1e3)
        geometries.append(scene.geometry)
        scene.close()
    return geometries, (statistics.median(observe_ms), statistics.median(question_ms))


def compare(a: GeometryPrediction, b: GeometryPrediction) -> dict[str, float]:
    """How far two predictions of one window are apart."""
    both = a.valid & b.valid
    depth = b.local_points[..., 2]
    gap = np.linalg.norm(a.local_points - b.local_points, axis=-1) / depth
    typical = float(np.median(depth[both]))
    pairs = list(zip(a.T_world_cam, b.T_world_cam, strict=True))
    centres = [float(np.linalg.norm(x[:3, 3] - y[:3, 3])) / typical for x, y in pairs]
    return {
        "points, relative, mean": float(gap[both].mean()),
        "points, relative, max": float(gap[both].max()),
        "camera centre over median depth, max": max(centres),
        "rotation, degrees, max": max(turn_between(x, y)[0] for x, y in pairs),
    }


if __name__ == "__main__":
    main()
