# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate questions`: a model and its baselines on questions about held-out rooms."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from g2vlm_model.checkpoint import load_model, model_id
from g2vlm_model.interface import SpatialQuery
from g2vlm_model.interface.command_line import at_least
from g2vlm_model.interface.whole_files import check_writable, write_text
from g2vlm_model.runtimes.torch.placement import choose_placement

from ..datasets.mixture import ClipPool
from ..stages.semantic_stage import SemanticStage
from ..synthetic.questions import TASKS
from .calibrate_run import calibrate
from .real_lengths import measure_stretches
from .spatial_qa import QuestionReport, evaluate_questions
from .stretches import LIST

__all__ = ["add_arguments", "run"]

_SEED = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `g2vlm evaluate questions`."""
    parser.add_argument("--model", default="nano", help="model folder, or nano")
    parser.add_argument("--question-only", help="folder of a model that was trained with --blind")
    parser.add_argument("--beside", help="another model folder, asked the same questions")
    parser.add_argument(
        "--reason", choices=SpatialQuery.REASONS, default="off",
        help="what the model reads ahead of its answers; the others read nothing",
    )  # fmt: skip
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK")
    parser.add_argument("--root", type=Path, required=True, help="folder of shards")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--windows", type=at_least(1), default=200, help="per number of frames")
    parser.add_argument("--frames", type=int, nargs="+", default=[2, 3, 4], help="per window")
    parser.add_argument("--per-window", type=at_least(1), default=16, help="questions, at most")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument(
        "--calibrate", type=Path, metavar="FILE",
        help="ask the runtime instead, and write how often answers are right: calibration.json",
    )  # fmt: skip
    parser.add_argument(
        "--judge", type=Path, metavar="FILE",
        help="ask the runtime instead, and measure a calibration.json with rooms it never saw",
    )  # fmt: skip
    parser.add_argument(
        "--stretches", nargs="+", metavar="NAME",
        help="lengths between marks on real pictures instead; --root is the folder of their data",
    )  # fmt: skip
    parser.add_argument("--list", type=Path, default=LIST, help="JSON of other stretches")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=at_least(1), default=1, help="torch threads")


def run(args: argparse.Namespace) -> int:
    """Ask, print the tables, write the JSON; returns the exit code."""
    torch.set_num_threads(args.threads)
    check_writable(*filter(None, (args.calibrate, args.json)))
    if args.stretches:
        return measure_stretches(args)
    if args.calibrate or args.judge:
        return calibrate(args)
    place = choose_placement(args.device, "fp32").device
    stage = _stage(args.model, place, reason=args.reason)
    question_only = _stage(args.question_only, place, blind=True) if args.question_only else None
    beside = _stage(args.beside, place) if args.beside else None
    pool = ClipPool(args.root, args.split)
    reports: list[QuestionReport] = []
    for frames in args.frames:
        report = evaluate_questions(
            stage, pool, args.windows, frames, _SEED, args.per_window,
            question_only, beside, args.tasks,
        )  # fmt: skip
        print(f"{model_id(args.model)}, {args.split} of {args.root}\n{report.table()}\n")
        reports.append(report)
    if args.json:
        content = {
            "model": model_id(args.model),
            "question_only": model_id(args.question_only) if args.question_only else None,
            "beside": model_id(args.beside) if args.beside else None,
            "arguments": {key: str(value) for key, value in sorted(vars(args).items())},
            "reports": [dataclasses.asdict(report) for report in reports],
        }
        write_text(args.json, json.dumps(content, indent=2) + "\n")
    return 0


def _stage(
    model: str, place: torch.device, blind: bool = False, reason: str = "off"
) -> SemanticStage:
    loaded, tokenizer = load_model(model, place)
    stage = SemanticStage(loaded, tokenizer, questions=1, blind=blind, reason=reason)
    stage.eval()
    return stage
