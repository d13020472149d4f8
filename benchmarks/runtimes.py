# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Speed, error, memory and start of every way to run a model: torch, ONNX Runtime, OpenVINO, int8.

    python -m benchmarks.runtimes                          # nano, and hidden 384 with 12 layers
    python -m benchmarks.runtimes --device cuda --shapes 2b

Three tables for each model, each measured in turns within one process:

- graph: pictures to points, poses, keys and values of one window. On CUDA also bf16 and fp16,
  torch.compile with CUDA graphs, and TensorRT.
- runtime: `observe` of windows that share all frames but one, as a driving robot has them, and
  milliseconds per token of an answer.
- start: a process of its own that loads a runtime and observes one window: seconds until the
  first result, and the largest resident set.

Exports are made where --exports has none yet. What is not installed is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from g2vlm_export.export_onnx import Exporter
from g2vlm_export.pictures import random_picture, window_cases
from g2vlm_export.to_onnx import ExportOptions

from benchmarks.ask import first_token
from benchmarks.common import (
    REPO,
    Timing,
    add_common_arguments,
    interleaved,
    matmul_job,
    print_table,
    set_threads,
    write_report,
)
from benchmarks.forward import count_gflop
from benchmarks.runtime_jobs import ON_CPU, ON_CUDA, Job, NotHere, Setting, torch_eager
from benchmarks.shapes import SHAPES, write_random_folder
from g2vlm_model.checkpoint import EMBEDDED_MODELS
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import Frame, FrameWindow, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.export_folder import PARTS, ExportFolder, Golden
from g2vlm_model.runtimes.golden_check import Tolerances, compare
from g2vlm_model.runtimes.own_exports import model_digest

QUESTION = "How far is the table from the camera?"
MATMUL_SIDE = 2048
TIMES = ("median ms", "min ms", "CPU ms")


def main() -> None:
    """Measure, print tables, write the JSON."""
    arguments = _parser().parse_args()
    device = set_threads(arguments)
    threads = arguments.threads or torch.get_num_threads()
    results: dict[str, Any] = {}
    for name in arguments.shapes or (["nano", "mid"] if device.type == "cpu" else ["2b"]):
        with tempfile.TemporaryDirectory() as scratch:
            setting = prepare(name, arguments, device, threads, Path(scratch))
            result: dict[str, Any] = {"window": setting.pictures_NHW3.shape[:3]}
            results[name] = result
            if "graph" in arguments.parts:
                result["graph"] = graphs(setting, arguments)
            if "runtime" in arguments.parts:
                result["runtime"] = runtimes(setting, arguments)
            if "start" in arguments.parts:
                result["start"] = starts(setting, arguments)
    write_report(arguments.out, "runtimes", device, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", nargs="+", help="these candidates only; torch eager is among them"
    )
    parser.add_argument(
        "--parts", nargs="+", default=["graph", "runtime", "start"], help="graph, runtime, start"
    )
    parser.add_argument("--opsets", nargs="+", type=int, choices=(18, 23), default=[18, 23])
    parser.add_argument("--exports", type=Path, default=REPO / "out" / "benchmarks" / "exports")
    add_common_arguments(parser, "runtimes")
    return parser


def prepare(
    name: str, arguments: argparse.Namespace, device: torch.device, threads: int, scratch: Path
) -> Setting:
    """A model folder, its exports, and one window of its shape's pictures."""
    shape, root = SHAPES[name], arguments.exports
    model = EMBEDDED_MODELS.get(name, root / f"{name}-model")
    if not model.is_dir():
        write_random_folder(shape, model)
    precision = "fp32" if device.type == "cpu" else "fp16"
    folders = {opset: root / f"{name}-{precision}-{opset}" for opset in arguments.opsets}
    export(model, folders, precision)
    exports = {f"{opset} {precision}": folder for opset, folder in folders.items()}
    config = ModelConfig.from_folder(model)
    camera = [random_picture(seed, 480, 640) for seed in range(shape.frames)]
    pictures = next(window_cases(config, camera, shape.frames)).pictures_NHW3
    return Setting(model, exports, pictures, device, threads, scratch)


def export(model: Path, folders: Mapping[int, Path], precision: str) -> None:
    """Make the export folders of a model, by opset, that are not there or of another model."""
    exporter = Exporter(model, precision)
    for opset, folder in folders.items():
        try:
            if ExportFolder.open(folder).manifest.model_sha256 == model_digest(model):
                continue
        except (FileNotFoundError, ValueError):
            pass
        print(f"exporting {folder.name} ...", file=sys.stderr)
        options = ExportOptions(precision=precision, opset=opset, parts=PARTS)
        exporter.write(folder, options, force=True)


def graphs(setting: Setting, arguments: argparse.Namespace) -> dict[str, Any]:
    """One window through every candidate that is here."""
    jobs: dict[str, Job] = {}
    results: dict[str, Any] = {}
    truth = torch_eager(setting)()
    for name, make in (ON_CPU if setting.device.type == "cpu" else ON_CUDA).items():
        if arguments.only is not None and name not in ("torch eager", *arguments.only):
            continue
        started = time.perf_counter()
        try:
            job = make(setting)
            said = job()
        except NotHere as reason:
            results[name] = {"not_measured": str(reason)}
            continue
        seconds = time.perf_counter() - started
        golden = Golden("geometry", name, {}, truth)
        errors = compare(said, golden, Tolerances.of("fp16")).errors
        results[name] = {
            "ready_s": seconds,
            "points_max_of_range": errors[0].max_error,
            "points_mean_of_range": errors[0].mean_error,
            "rotation_max_rad": max(e.max_error for e in errors if e.unit == "rad"),
        }
        jobs[name] = job
    yardstick = matmul_job(setting.device, torch.float32, MATMUL_SIDE)
    timings = interleaved({"matmul": yardstick, **jobs}, arguments.rounds, setting.device)
    gflop = count_gflop(jobs["torch eager"])
    peak = 2 * MATMUL_SIDE**3 / 1e9 / timings["matmul"].median
    for name in jobs:
        results[name].update(_timed(timings, name))
        results[name]["share_of_matmul"] = gflop / timings[name].median / peak
    _print_graphs(setting, results)
    return {"gflop": gflop, "matmul_gflop_per_s": peak, **results}


def _timed(timings: Mapping[str, Timing], name: str, base: str = "torch eager") -> dict[str, Any]:
    """Times of a row, and how many times as fast as the base it is."""
    own, other = timings[name], timings[base]
    return {
        **own.as_json(),
        "cpu_min_s": min(own.cpu_seconds),
        "ratio": other.median / own.median,
        "ratio_of_minima": min(other.seconds) / min(own.seconds),
        "ratio_by_cpu_time": min(other.cpu_seconds) / max(min(own.cpu_seconds), 1e-9),
    }


def _milliseconds(row: Mapping[str, Any]) -> list[str]:
    return [f"{1e3 * row[key]:.1f}" for key in ("median_s", "min_s", "cpu_median_s")]


def _print_graphs(setting: Setting, results: Mapping[str, Any]) -> None:
    frames, height, width, _ = setting.pictures_NHW3.shape
    head = [f"{setting.model.name}, {frames} x {width}x{height}", *TIMES, "x eager", "x by minima"]
    head += ["x by CPU time", "of sgemm"]
    table = [[*head, "points max", "points mean", "rotation max rad", "ready s"]]
    for name, row in results.items():
        if "not_measured" in row:
            table.append([name, row["not_measured"], *[""] * (len(table[0]) - 2)])
            continue
        table.append(
            [
                *(name, *_milliseconds(row), f"{row['ratio']:.2f}"),
                *(f"{row['ratio_of_minima']:.2f}", f"{row['ratio_by_cpu_time']:.2f}"),
                f"{100 * row['share_of_matmul']:.0f} %",
                *(f"{row['points_max_of_range']:.1e}", f"{row['points_mean_of_range']:.1e}"),
                *(f"{row['rotation_max_rad']:.1e}", f"{row['ready_s']:.1f}"),
            ]
        )
    print_table(table)


def runtime_choices(setting: Setting) -> dict[str, tuple[str, str]]:
    """Name of a runtime -> runtime and export folder of `load_runtime`."""
    found = {"torch": ("torch", "")}
    for export, folder in setting.exports.items():
        found[f"onnx opset {export}"] = ("onnx", str(folder))
        if setting.device.type == "cuda":
            found[f"tensorrt opset {export}"] = ("tensorrt", str(folder))
    return found


def runtimes(setting: Setting, arguments: argparse.Namespace) -> dict[str, Any]:
    """`observe` of overlapping windows, and the time of a token."""
    loaded: dict[str, SpatialRuntime] = {}
    results: dict[str, Any] = {}
    for name, (chosen, export) in runtime_choices(setting).items():
        try:
            loaded[name] = load_runtime(chosen, setting.model, str(setting.device), export=export)
        except (RuntimeError, ValueError) as error:
            results[name] = {"not_measured": str(error).splitlines()[0]}
    timings = interleaved(
        {name: _driving(runtime, setting) for name, runtime in loaded.items()},
        arguments.rounds,
        setting.device,
        warmup=2,
    )
    tokens: dict[str, list[float]] = {name: [] for name in loaded}
    scenes = {name: runtime.observe(_window(setting, 0)) for name, runtime in loaded.items()}
    for number in range(arguments.rounds + 1):
        for name, runtime in loaded.items():
            _, token_ms = first_token(runtime, scenes[name], QUESTION)
            if number:
                tokens[name].append(token_ms)
    table = [["runtime", "device", *(f"observe {one}" for one in TIMES), "x torch", "ms a token"]]
    for name, runtime in loaded.items():
        row = {**_timed(timings, name, "torch"), "token_ms": sorted(tokens[name])}
        row["device"], row["precision"] = runtime.info.device, runtime.info.precision
        results[name] = row
        token = row["token_ms"][len(row["token_ms"]) // 2]
        times = [*_milliseconds(row), f"{row['ratio']:.2f}", f"{token:.2f}"]
        table.append([name, row["device"], *times])
        runtime.close()
    print_table([*table, *_unmeasured(results, len(table[0]))])
    return results


def _driving(runtime: SpatialRuntime, setting: Setting) -> Callable[[], object]:
    """A job that observes the next window each time it is called."""
    numbers: Iterator[int] = iter(range(1 << 30))

    def job() -> object:
        scene = runtime.observe(_window(setting, next(numbers)))
        scene.close()
        return scene

    return job


def _window(setting: Setting, first: int) -> FrameWindow:
    """Frames first, first + 1, ... of an endless drive; the pictures repeat."""
    pictures = setting.pictures_NHW3
    return FrameWindow(
        tuple(
            Frame(pictures[number % len(pictures)], number, "camera", "camera", str(number))
            for number in range(first, first + len(pictures))
        )
    )


def _unmeasured(results: Mapping[str, Any], columns: int) -> list[list[str]]:
    rows = [(name, row) for name, row in results.items() if "not_measured" in row]
    return [[name, row["not_measured"], *[""] * (columns - 2)] for name, row in rows]


def starts(setting: Setting, arguments: argparse.Namespace) -> dict[str, Any]:
    """Each runtime in up to three processes of its own: the median one."""
    results: dict[str, Any] = {}
    table = [["start of a process", "first result s", "largest resident set MB", "torch imported"]]
    for name, (chosen, export) in runtime_choices(setting).items():
        given = {
            "model": str(setting.model),
            "device": str(setting.device),
            "export": export,
            "pictures": len(setting.pictures_NHW3),
        }
        command = [sys.executable, "-m", "benchmarks.runtime_start", chosen, json.dumps(given)]
        runs: list[dict[str, Any]] = []
        for _ in range(min(3, arguments.rounds)):
            done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
            if done.returncode:
                runs = [{"not_measured": (done.stderr.splitlines() or ["it died"])[-1]}]
                break
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        results[name] = row = sorted(runs, key=lambda run: run.get("seconds", 0))[len(runs) // 2]
        if "not_measured" not in row:
            memory = f"{row['peak_bytes'] / 1e6:.0f}"
            table.append([name, f"{row['seconds']:.2f}", memory, str(row["torch"])])
    print_table([*table, *_unmeasured(results, len(table[0]))])
    return results


if __name__ == "__main__":
    main()
