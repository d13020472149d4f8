# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What each precision of torch, and the published prompt, changes against fp32.

    python -m benchmarks.precisions                      # nano
    python -m benchmarks.precisions --model FOLDER --frames 2 --windows 2

The same windows go through each, on any CPU: a precision that a node would not choose there is
emulated. Differences are relative: of points to their depth, of camera centres to the window's
median depth; rotations in degrees. Answers are greedy; one is alike where its words are the same.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.pictures import load_pictures, random_picture, window_of
from benchmarks.prompt_mode import compare
from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.interface import FrameWindow, GeometryPrediction, SpatialQuery
from g2vlm_model.quantised import PRECISIONS
from g2vlm_model.runtimes.torch.placement import DTYPES, choose_placement
from g2vlm_model.runtimes.torch.runtime import TorchRuntime

PUBLISHED = "fp32, published prompt"
QUERY = SpatialQuery("How far is the table from the camera?", max_tokens=8)
COLUMNS = ("points, mean", "points, worst", "camera centre", "rotation, deg", "answers alike")


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--pictures", type=Path, default=None, help="folder; default random ones")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--width", type=int, default=320, help="of random pictures, in pixels")
    parser.add_argument("--height", type=int, default=240)
    add_common_arguments(parser, "precisions")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    size, total = arguments.frames, arguments.frames * arguments.windows
    pictures = (
        load_pictures(arguments.pictures, total)
        if arguments.pictures
        else [random_picture(n, arguments.height, arguments.width) for n in range(total)]
    )
    windows = [
        window_of(pictures[first : first + size], f"window-{first}")
        for first in range(0, total, size)
    ]
    folder = resolve_folder(arguments.model)
    exact, words, model_id = run(folder, arguments.device, "fp32", "shared", windows)
    results: dict[str, dict[str, float]] = {}
    for name in (PUBLISHED, "bf16", "fp16", *PRECISIONS):
        precision, mode = ("fp32", "published") if name == PUBLISHED else (name, "shared")
        found, said, _ = run(folder, arguments.device, precision, mode, windows)
        results[name] = {
            **_apart(found, exact),
            "answers alike": statistics.mean(a == b for a, b in zip(said, words, strict=True)),
        }
    rows = [
        [name, *(f"{row[column]:.2g}" for column in COLUMNS[:-1]), f"{row[COLUMNS[-1]]:.0%}"]
        for name, row in results.items()
    ]
    print_table([[model_id, *COLUMNS], *rows])
    write_report(
        arguments.out, "precisions", device, {"model_id": model_id, "against_fp32": results}
    )


def run(
    folder: Path, device: str, precision: str, mode: str, windows: list[FrameWindow]
) -> tuple[list[GeometryPrediction], list[str], str]:
    """Geometry of each window, what is answered about it, and the model's name and hash."""
    placement = choose_placement(device, "fp32")
    dtype = DTYPES.get(precision, placement.dtype)
    runtime = TorchRuntime(folder, replace(placement, precision=precision, dtype=dtype), mode)
    geometries, answers = [], []
    for window in windows:
        scene = runtime.observe(window)
        geometries.append(scene.geometry)
        answers.append(runtime.ask(scene, QUERY).text)
        scene.close()
    model_id = runtime.info.model_id
    runtime.close()
    return geometries, answers, model_id


def _apart(found: list[GeometryPrediction], exact: list[GeometryPrediction]) -> dict[str, Any]:
    """The mean of windows of the points' mean, and the worst window of the rest."""
    each = [compare(one, other) for one, other in zip(found, exact, strict=True)]
    mean, *worst = each[0]
    return {
        COLUMNS[0]: statistics.mean(one[mean] for one in each),
        **dict(zip(COLUMNS[1:-1], (max(one[name] for one in each) for name in worst), strict=True)),
    }


if __name__ == "__main__":
    main()
