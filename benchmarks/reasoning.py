# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether the geometric expert's words ahead of an answer help a model that is tuned to read them.

    python -m benchmarks.reasoning --data DATA

For each seed the semantic half of the model is tuned twice on the same questions, with and without
`reason: geometry`, and asked about validation rooms. What stands ahead of the questions is
computed once by the weights as they were, and held: the tuned weights read questions, words and
answers. An answer is right where every token of it, and its end, is the likeliest one. Differences
are paired, their interval is a bootstrap over windows.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.evaluate.summary import drawn_groups, interval_of
from g2vlm_training.stages.freeze import apply_freezing
from g2vlm_training.stages.question_batch import QuestionMaker
from g2vlm_training.stages.semantic_stage import SemanticStage, WindowPrefix
from g2vlm_training.synthetic.questions import TASKS
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from g2vlm_model.checkpoint import load_model
from g2vlm_model.interface import SpatialQuery

Window = tuple[WindowBatch, WindowPrefix]


def main() -> None:
    """Tune, measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--data", type=Path, required=True, help="shards of rooms, train and val")
    parser.add_argument("--windows", type=int, nargs=2, default=(40, 40), help="to tune and to ask")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--questions", type=int, default=8, help="per window, new ones each time")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lr", type=float, default=6e-4)
    add_common_arguments(parser, "reasoning")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    sets = [
        _windows(arguments, split, count)
        for split, count in zip(("train", "val"), arguments.windows, strict=True)
    ]
    scores: dict[str, list[NDArray[np.float64]]] = {reason: [] for reason in SpatialQuery.REASONS}
    rows: list[tuple[object, ...]] = [
        ("as it is", "off", *_means(_asked(_stage(arguments, "off"), sets[1])))
    ]
    for seed in arguments.seeds:
        for reason, found in scores.items():
            found.append(_tuned(arguments, reason, seed, sets))
            rows.append((f"seed {seed}", reason, *_means(found[-1])))
            print(rows[-1], flush=True)
    means = {reason: np.mean(found, axis=0) for reason, found in scores.items()}
    gain = means["geometry"] - means["off"]
    spread = np.nanmean(gain[drawn_groups(len(gain))], axis=1)
    cells = [
        f"{gained:+.3f} ({low:+.3f} to {high:+.3f})"
        for gained, (low, high) in zip(
            np.nanmean(gain, axis=0), map(interval_of, spread.T), strict=True
        )
    ]
    rows.append(("geometry over off", "", *cells))
    table = [("weights", "reason", "right", "loss"), *rows]
    print_table([[str(cell) for cell in row] for row in table])
    settings = {key: str(value) for key, value in vars(arguments).items()}
    write_report(arguments.out, "reasoning", device, {"table": table, "settings": settings})


def _stage(arguments: argparse.Namespace, reason: str) -> SemanticStage:
    model, tokenizer = load_model(arguments.model)
    apply_freezing(model, "semantic")
    return SemanticStage(model, tokenizer, arguments.questions, reason=reason)


def _windows(arguments: argparse.Namespace, split: str, count: int) -> list[Window]:
    """Windows with what stands ahead of their questions."""
    pool = ClipPool(arguments.data, "train" if split == "train" else "val")
    stage = _stage(arguments, "geometry")
    generator = torch.Generator().manual_seed(11)
    found = []
    for _ in range(count):
        batch = draw_batch(pool, 1, arguments.frames, generator, None)
        with torch.no_grad():
            found.append((batch, stage.prefix(batch)))
    return found


def _question_maker(stage: SemanticStage) -> QuestionMaker:
    return dataclasses.replace(stage.preparer, blind=True, tasks=TASKS)  # pictures are held


def _loss(
    stage: SemanticStage, window: Window, seed: tuple[int, ...]
) -> tuple[torch.Tensor, float]:
    """Loss of questions about a window, and the share that is right."""
    batch, prefix = window
    asked = _question_maker(stage)(batch, np.random.default_rng(list(seed)))
    held = prefix if stage.reason == "geometry" else dataclasses.replace(prefix, reading=None)
    found = stage(dataclasses.replace(batch, prepared=(asked,)), 0, held)
    return found.total, found.report["right"]


def _tuned(
    arguments: argparse.Namespace, reason: str, seed: int, sets: list[list[Window]]
) -> NDArray[np.float64]:
    """(windows, 2) share right and loss after the tuning."""
    stage = _stage(arguments, reason)
    trained = [parameter for parameter in stage.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=arguments.lr, weight_decay=0.0)
    order = np.random.default_rng(seed)
    for step in range(arguments.steps):
        window = sets[0][int(order.integers(len(sets[0])))]
        for group in optimiser.param_groups:
            group["lr"] = arguments.lr * min(1, (step + 1) / 10) * (1 - step / arguments.steps)
        optimiser.zero_grad(set_to_none=True)
        loss, _ = _loss(stage, window, (seed, step, 1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
    return _asked(stage, sets[1])


@torch.no_grad()
def _asked(stage: SemanticStage, windows: list[Window]) -> NDArray[np.float64]:
    """(windows, 2) share right and loss; the same questions whatever was tuned how."""
    found = []
    for number, window in enumerate(windows):
        loss, right = _loss(stage, window, (7, number, 2))
        found.append((right, float(loss)))
    return np.array(found)


def _means(found: NDArray[np.float64]) -> tuple[float, float]:
    right, loss = found.mean(axis=0)
    return round(float(right), 3), round(float(loss), 3)


if __name__ == "__main__":
    main()
