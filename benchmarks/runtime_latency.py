# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How soon an answer begins, and how soon a cancelled pass returns, on the CPU.

    python -m benchmarks.runtime_latency [--shape nano|mid] [--rounds N]

First token: the question's prefill with the start of the answer in it, against the two passes
that it takes apart (one for the question, one for that token), in turns on one scene. Cancelled
pass: `observe` is cancelled at moments spread over the pass; the time from there to its return.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from g2vlm_model.interface import (
    Frame,
    FrameWindow,
    ObservationCancelledError,
    SpatialQuery,
    SpatialRuntime,
)
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.scene import EncodedScene

from .common import print_table
from .shapes import SHAPES, write_random_folder

QUERY = SpatialQuery("Which is closer to the camera, the chair or the shelf?")
FRAMES = 8


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="nano", choices=("nano", *SHAPES))
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model: str | Path = given.shape
        if given.shape != "nano":
            model = write_random_folder(SHAPES[given.shape], Path(place) / given.shape)
        runtime = load_runtime("torch", model, "cpu", "fp32")
        print_table(first_token(runtime, given.rounds))
        print_table(cancelled_pass(runtime, given.rounds))
        runtime.close()


def first_token(runtime: SpatialRuntime, rounds: int) -> list[list[str]]:
    """Prefill and first logits, in one pass and in two."""
    scene = runtime.observe(_window(0))
    assert isinstance(scene, EncodedScene), type(scene)
    runtime.ask(scene, SpatialQuery(QUERY.question, max_tokens=1))  # appends the frames
    context = scene.context
    assert context is not None, "the scene is closed"
    question = runtime._answerer.read(scene, QUERY)  # type: ignore[attr-defined]
    mark, times = context.mark(), {"apart": [], "together": []}  # type: ignore[var-annotated]
    logits: dict[str, torch.Tensor] = {}
    pieces = {"apart": (question.ids[:-1], question.ids[-1:]), "together": (question.ids,)}
    for number in range(rounds + 1):
        for name, parts in pieces.items():
            if question.references or runtime._config.reference_features:  # type: ignore[attr-defined]
                context.name(question.references, len(question.ids) - 1)
            begun = time.perf_counter()
            for part in parts:
                context.read(part, 8)
            step = next(context.decode(QUERY))
            if number:
                times[name].append((time.perf_counter() - begun) * 1e3)
            logits[name] = step.logits_V
            context.truncate(mark)
    ratios = [one / two for one, two in zip(times["apart"], times["together"], strict=True)]
    most = float((logits["apart"] - logits["together"]).abs().max())
    spread = float(logits["apart"].max() - logits["apart"].min())
    rows = [
        ["first token", "two passes ms", "one pass ms", "ratio", "largest difference of logits"]
    ]
    medians = [f"{statistics.median(times[name]):.1f}" for name in pieces]
    ratio = f"{statistics.median(ratios):.2f}"
    rows.append(["median", *medians, ratio, f"{most:.1e} (of {spread:.1f})"])
    return rows


def cancelled_pass(runtime: SpatialRuntime, rounds: int) -> list[list[str]]:
    """From the cancellation to the return, at moments spread over the pass."""
    whole = []
    for number in range(3):
        begun = time.perf_counter()
        runtime.observe(_window(100 * (1 + number))).close()
        whole.append(time.perf_counter() - begun)
    pass_s = min(whole)
    late: list[float] = []
    for number in range(rounds):
        cancelled = threading.Event()
        at = [0.0]

        def cancel(cancelled: threading.Event = cancelled, at: list[float] = at) -> None:
            at[0] = time.perf_counter()
            cancelled.set()

        timer = threading.Timer(pass_s * (number + 0.5) / (rounds + 1), cancel)
        timer.start()
        try:
            runtime.observe(_window(1000 + 100 * number), cancelled=cancelled.is_set).close()
        except ObservationCancelledError:
            late.append((time.perf_counter() - at[0]) * 1e3)
        timer.join()
    rows = [["cancelled pass", "whole pass ms", "cancelled", "median ms", "longest ms"]]
    median, longest = statistics.median(late), max(late)
    share = f"{len(late)} of {rounds}"
    rows.append(["to its return", f"{pass_s * 1e3:.0f}", share, f"{median:.1f}", f"{longest:.1f}"])
    return rows


def _window(first: int) -> FrameWindow:
    """Frames that no other window has."""
    random = np.random.default_rng(first)
    pictures = random.integers(0, 256, (FRAMES, 240, 320, 3), np.uint8)
    return FrameWindow(
        tuple(
            Frame(picture, index, "camera", "camera", str(first + index))
            for index, picture in enumerate(pictures)
        )
    )


if __name__ == "__main__":
    main()
