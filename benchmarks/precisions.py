# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What each precision of torch, each export, and the published prompt change against fp32.

    python -m benchmarks.precisions                      # nano
    python -m benchmarks.precisions --model FOLDER --frames 2 --windows 2 --exports DIR ...

Exports run on ONNX Runtime, and stand beside torch in the same precision too.

The same windows go through each, on any CPU: a precision that a node would not choose there is
emulated. Differences are relative: of points to their depth, of camera centres to the window's
median depth; rotations in degrees. Answers are greedy; one is alike where its words are the same.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.pictures import load_pictures, random_picture, window_of
from benchmarks.prompt_mode import compare
from g2vlm_model.checkpoint import model_id, resolve_folder
from g2vlm_model.interface import FrameWindow, GeometryPrediction, SpatialQuery, SpatialRuntime
from g2vlm_model.quantised import PRECISIONS
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.onnx.runtime import open_runtime
from g2vlm_model.runtimes.torch.placement import DTYPES, choose_placement
from g2vlm_model.runtimes.torch.runtime import TorchRuntime

PUBLISHED = "fp32, published prompt"
QUERY = SpatialQuery("How far is the table from the camera?", max_tokens=8)
Said = tuple[list[GeometryPrediction], list[str]]  # geometry and answer of each window
COLUMNS = ("points, mean", "points, worst", "camera centre", "rotation, deg", "answers alike")


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--pictures", type=Path, default=None, help="folder; default random ones")
    parser.add_argument("--exports", type=Path, nargs="*", default=[], help="folders of the model")
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
    said: dict[str, Said] = {}
    for name in ("fp32", PUBLISHED, "bf16", "fp16", *PRECISIONS):
        precision, mode = ("fp32", "published") if name == PUBLISHED else (name, "shared")
        said[name] = run(_torch(folder, arguments.device, precision, mode), windows)
    against_fp32 = {name: _apart(one, said["fp32"]) for name, one in said.items() if name != "fp32"}
    against_torch: dict[str, dict[str, float]] = {}
    for export in map(ExportFolder.open, arguments.exports):
        facts = export.manifest
        name = f"export, {facts.precision}, opset {facts.opset}"
        found = run(open_runtime(export, folder, arguments.device, "shared"), windows)
        against_fp32[name] = _apart(found, said["fp32"])
        against_torch[name] = _apart(found, said[facts.precision])
    name = model_id(folder)
    _print(f"{name} against fp32", against_fp32)
    if against_torch:
        _print("exports against torch in their precision", against_torch)
    results = {"model_id": name, "against_fp32": against_fp32, "against_torch": against_torch}
    write_report(arguments.out, "precisions", device, results)


def run(runtime: SpatialRuntime, windows: list[FrameWindow]) -> Said:
    """Geometry of each window and what is answered about it; closes the runtime."""
    geometries, answers = [], []
    for window in windows:
        scene = runtime.observe(window)
        geometries.append(scene.geometry)
        answers.append(runtime.ask(scene, QUERY).text)
        scene.close()
    runtime.close()
    return geometries, answers


def _torch(folder: Path, device: str, precision: str, mode: str) -> TorchRuntime:
    """In a precision, whether a node would choose it there or not."""
    placement = choose_placement(device, "fp32")
    dtype = DTYPES.get(precision, placement.dtype)
    return TorchRuntime(folder, replace(placement, precision=precision, dtype=dtype), mode)


def _print(title: str, results: dict[str, dict[str, float]]) -> None:
    rows = [
        [name, *(f"{row[column]:.2g}" for column in COLUMNS[:-1]), f"{row[COLUMNS[-1]]:.0%}"]
        for name, row in results.items()
    ]
    print_table([[title, *COLUMNS], *rows])


def _apart(found: Said, exact: Said) -> dict[str, float]:
    """The mean of windows of the points' mean, the worst window of the rest, and the answers."""
    each = [compare(one, other) for one, other in zip(found[0], exact[0], strict=True)]
    mean, *worst = each[0]
    return {
        COLUMNS[0]: statistics.mean(one[mean] for one in each),
        **dict(zip(COLUMNS[1:-1], (max(one[name] for one in each) for name in worst), strict=True)),
        COLUMNS[-1]: statistics.mean(a == b for a, b in zip(found[1], exact[1], strict=True)),
    }


if __name__ == "__main__":
    main()
