"""`g2vlm evaluate geometry|questions|qa --model DIR ...`: metrics beside their baselines."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.checkpoint import load_model, model_id
from g2vlm_model.model import G2VLM

from .batch import ClipPool, WindowBatch, batch_of
from .datasets.layouts import LAYOUTS, open_dataset
from .datasets.views import model_clip
from .evaluate import questions_cli
from .evaluate.benchmarks import cli as benchmark_files
from .evaluate.geometry import evaluate_geometry, mean_log_depth, windows_of

__all__ = ["main"]

_EVAL_SIZE = (84, 112)
_SEED = 7


def main(argv: list[str]) -> int:
    """Run `g2vlm evaluate`; returns the exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.what == "qa":
        return benchmark_files.run(args)
    if args.what == "questions":
        return questions_cli.run(args)
    torch.set_num_threads(args.threads)
    model, _ = load_model(args.model)
    mean_map = mean_log_depth(ClipPool(args.mean_map or args.root, "train"), 8, _EVAL_SIZE)
    report = evaluate_geometry(model, _windows(args, model), mean_map)
    table, content = report.table(), dataclasses.asdict(report)
    print(f"{model_id(args.model)}  {vars(args)}\n{table}")
    if args.json:
        _write_json(args.json, {"model": model_id(args.model), "command": argv, **content})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="g2vlm evaluate", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    benchmark_files.add_arguments(kinds.add_parser("qa", help="published benchmark files"))
    questions_cli.add_arguments(kinds.add_parser("questions", help="questions on held-out rooms"))
    kind = kinds.add_parser("geometry")
    kind.add_argument("--model", default="nano", help="model folder, or nano")
    kind.add_argument("--root", type=Path, required=True, help="folder of the data")
    kind.add_argument("--split", choices=("train", "val", "test"), default="test")
    kind.add_argument("--windows", type=int, default=200, help="synthetic: how many")
    kind.add_argument("--frames", type=int, default=4, help="frames per window")
    kind.add_argument("--json", type=Path, help="also write the numbers here")
    kind.add_argument("--threads", type=int, default=1, help="torch threads")
    kind.add_argument("--dataset", choices=("synthetic", *LAYOUTS), default="synthetic")
    kind.add_argument("--stride", type=int, default=1, help="folders: frames per step")
    kind.add_argument("--step", type=int, default=3, help="folders: frames between windows")
    kind.add_argument("--mean-map", type=Path, help="training shards of the mean-depth baseline")
    return parser


def _windows(args: argparse.Namespace, model: G2VLM) -> Iterator[WindowBatch]:
    if args.dataset == "synthetic":
        yield from windows_of(ClipPool(args.root, args.split), args.windows, args.frames, _SEED)
        return
    span = args.stride * (args.frames - 1)
    sequences = [item for item in open_dataset(args.dataset, args.root) if len(item) > span]
    if not sequences:
        raise SystemExit(
            f"a window of {args.frames} frames at stride {args.stride} spans {span + 1} frames, "
            f"no sequence of {args.root} has as many"
        )
    for sequence in sequences:
        for first in range(0, len(sequence) - span, args.step):
            clip = sequence.read(range(first, first + span + 1, args.stride))
            yield batch_of([model_clip(clip, model.config)])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
