# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Milliseconds to the first token of an answer: cold (window and question) and warm (question).

    python -m benchmarks.ask                     # nano, and hidden 384 with 12 + 12 layers
    python -m benchmarks.ask --models 2b --device cuda --precision bf16

Each round observes a window of frames that the runtime has not seen, asks a first question
(which also encodes the frames for the semantic expert), then asks another one about the same
scene. Cold is observation plus first token of the first question; warm is the first token of
the second. The wanted ratio is at least 10.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.pictures import random_picture, window_of
from benchmarks.shapes import SHAPES, write_random_folder
from g2vlm_model.interface import Scene, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime

COLD_QUESTION = "How far is the table from the camera?"
WARM_QUESTION = "Which is closer to the camera, the chair or the shelf?"
ANSWER_TOKENS = 16


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--models",
        nargs="+",
        default=["nano", "mid"],
        help="embedded names, model folders, or shapes with random weights: " + ", ".join(SHAPES),
    )
    parser.add_argument("--frames", type=int, default=None, help="default: 6, or the shape's")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    add_common_arguments(parser, "ask")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    results: dict[str, Any] = {}
    rows = [["model", "frames", "observe ms", "cold ms", "warm ms", "cold / warm", "ms per token"]]
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            shape = SHAPES.get(name)
            random_weights = shape is not None and name != "nano"
            model = write_random_folder(SHAPES[name], Path(scratch)) if random_weights else name
            runtime = load_runtime("torch", model, arguments.device, arguments.precision)
            frames = arguments.frames or (shape.frames if random_weights and shape else 6)
            result = measure(runtime, frames, arguments.rounds)
            runtime.close()
        results[name] = {**result, "random_weights": random_weights}
        rows.append(
            [
                name,
                str(frames),
                f"{result['observe_ms']:.1f}",
                f"{result['cold_ms']:.1f}",
                f"{result['warm_ms']:.1f}",
                f"{result['cold_over_warm']:.1f}",
                f"{result['token_ms']:.1f}",
            ]
        )
    print_table(rows)
    write_report(arguments.out, "ask", device, results)


def measure(runtime: SpatialRuntime, frames: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds; one round more, ahead of them, is not counted."""
    all_ms: dict[str, list[float]] = {name: [] for name in ("observe", "first", "warm", "token")}
    stages_ms: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        pictures = [random_picture(100 * number + index) for index in range(frames)]
        window = window_of(pictures, f"round-{number}")
        started = time.perf_counter()
        scene = runtime.observe(window)
        observe_ms = (time.perf_counter() - started) * 1e3
        first_ms, _ = first_token(runtime, scene, COLD_QUESTION)
        warm_ms, token_ms = first_token(runtime, scene, WARM_QUESTION)
        scene.close()
        if number:
            for name, value in scene.latency_ms.items():
                stages_ms.setdefault(name, []).append(value)
            values = (observe_ms, first_ms, warm_ms, token_ms)
            for name, value in zip(all_ms, values, strict=True):
                all_ms[name].append(value)
    median = {name: statistics.median(values) for name, values in all_ms.items()}
    cold_ms = statistics.median(
        a + b for a, b in zip(all_ms["observe"], all_ms["first"], strict=True)
    )
    return {
        "model_id": runtime.info.model_id,
        "precision": runtime.info.precision,
        "parameters": runtime.info.parameters,
        "frames": frames,
        "observe_ms": median["observe"],
        "observe_stages_ms": {name: statistics.median(ms) for name, ms in stages_ms.items()},
        "first_question_ms": median["first"],
        "cold_ms": cold_ms,
        "warm_ms": median["warm"],
        "cold_over_warm": cold_ms / median["warm"],
        "token_ms": median["token"],
        "all_ms": all_ms,
    }


def first_token(runtime: SpatialRuntime, scene: Scene, question: str) -> tuple[float, float]:
    """Milliseconds to the first token, and of each token after it."""
    times: list[float] = []
    started = time.perf_counter()
    # Sampled: random weights would say one token for ever, or end at once.
    query = SpatialQuery(question, max_tokens=ANSWER_TOKENS, temperature=1.0)
    runtime.ask(scene, query, on_text=lambda text: times.append(time.perf_counter()))
    ended = time.perf_counter()
    if not times:  # the first token was the end
        return (ended - started) * 1e3, 0.0
    later = (ended - times[0]) / max(1, len(times))
    return (times[0] - started) * 1e3, later * 1e3


if __name__ == "__main__":
    main()
