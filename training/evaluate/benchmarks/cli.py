# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate qa`: the table of a published benchmark for any model folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from g2vlm_model.interface import SpatialQuery
from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.runtimes import load_runtime

from ...datasets.pictures import even_indices
from . import BENCHMARKS
from .report import make_report
from .runner import MOST_SHOWN, AskOptions, ask_items
from .store import AnswerStore

__all__ = ["add_arguments", "run"]

SEEING, BLIND = "answers.jsonl", "answers_blind.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--benchmark", choices=sorted(BENCHMARKS), required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the benchmark, or its annotation file"
    )
    parser.add_argument("--model", default="nano", help="model folder, or nano")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of answers and tables; continued"
    )
    parser.add_argument("--limit", type=int, help="only so many questions, evenly spread")
    parser.add_argument(
        "--frames",
        type=int,
        default=MOST_SHOWN,
        help=f"pictures a question at most, evenly spread (default {MOST_SHOWN})",
    )
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer (default 64)")
    parser.add_argument(
        "--reason", choices=SpatialQuery.REASONS, default="off",
        help="what the model reads ahead of its answer",
    )  # fmt: skip
    parser.add_argument("--blind", action="store_true", help="ask about grey pictures instead")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--runtime", default="torch", help="torch, or package.module:function")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16 or bf16")


def run(args: argparse.Namespace) -> int:
    """Ask, score, print and write `report.txt`, `report.csv` and `report.json`.

    Answers given before, seeing or blind, are kept in `--out`; where both are there, both are
    rows of the table.

    Raises:
        FileNotFoundError: `--data` does not hold the benchmark; the text says the layout.
        ValueError: An option out of range, no question that can be asked, or an `--out` that
            holds another run.
    """
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit is {args.limit}, expected at least 1")
    options = AskOptions(args.frames, args.max_tokens, args.blind, args.reason)
    benchmark = BENCHMARKS[args.benchmark]
    reading = benchmark.read(args.data)
    items = [
        reading.items[index]
        for index in even_indices(len(reading.items), args.limit or len(reading.items))
    ]
    with ExitStack() as stack:
        runtime = load_runtime(args.runtime, args.model, args.device, args.precision)
        stack.callback(runtime.close)
        header: dict[str, str | int | bool] = {
            "benchmark": benchmark.name,
            "model": runtime.info.model_id,
            "frames": args.frames,
            "max_tokens": args.max_tokens,
        }
        if args.reason != "off":  # what was answered before there was a choice goes on
            header["reason"] = args.reason
        mine, other = (BLIND, SEEING) if args.blind else (SEEING, BLIND)
        store = stack.enter_context(
            AnswerStore(args.out / mine, {**header, "blind": args.blind}, reading.items)
        )
        refusals = ask_items(runtime, benchmark, items, store, options)
        answers = {mine: store.answers}
        if (args.out / other).is_file():
            beside = AnswerStore(
                args.out / other, {**header, "blind": not args.blind}, reading.items
            )
            answers[other] = stack.enter_context(beside).answers
        info = runtime.info
    names = {SEEING: info.model_id, BLIND: f"{info.model_id} blind"}
    rows: Mapping[str, Mapping[str, str]] = {
        names[kind]: answers[kind] for kind in (SEEING, BLIND) if kind in answers
    }
    report = make_report(
        benchmark, items, rows, info, reading.refusals.merged(refusals), reading.notes, options
    )
    content = json.dumps(report.content(), indent=2, ensure_ascii=False) + "\n"
    write_text(args.out / "report.txt", report.text() + "\n")
    write_text(args.out / "report.csv", report.csv())
    write_text(args.out / "report.json", content)
    print(content if args.json else report.text(), end="" if args.json else "\n")
    return 0
