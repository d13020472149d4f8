# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm train --config nano --data DIR --out RUN`: train a stage, or continue it.

With several processes: `torchrun --nproc-per-node 8 -m g2vlm_training.cli` and the same options.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import torch

from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.progress import is_quiet
from g2vlm_model.interface.words import log_plainly

from .config import TrainConfig
from .config_file import load_config
from .run.distribution import joined_processes
from .run.run import RunOptions, train
from .run.start import Start

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `g2vlm train`; returns the exit code."""
    args = _parser().parse_args(argv)
    log_plainly(
        logging.WARNING if is_quiet() else logging.INFO, "%(asctime)s %(message)s", "%H:%M:%S"
    )
    torch.set_num_threads(args.threads)
    config = load_config(args.config, args.set)
    if args.steps is not None:
        config = dataclasses.replace(config, steps=args.steps)
    if args.dry_run:
        from .run.dry_run import dry_run

        print(dry_run(config, args.processes, args.tflops))
        return 0
    options = _options(config, args)
    with joined_processes(args.device) as processes:
        if not processes.first:
            logging.getLogger().setLevel(logging.WARNING)
        train(config, options, processes)
    return 0


def _options(config: TrainConfig, args: argparse.Namespace) -> RunOptions:
    if args.data is None or args.out is None:
        raise ValueError("give --data, the folder of shards, and --out, the folder of the run")
    if config.stage != "geometry" and args.geometry is None and not args.init:
        raise ValueError(
            f"the {config.stage} stage builds on a trained geometric half: give --geometry RUN, "
            "the folder of a geometry run, or --init FOLDER, a model folder"
        )
    folders = tuple(resolve_folder(folder) for folder in args.init)
    start = Start(
        config.seed, folders, args.geometry, config.layer_scale, args.copy_expert, config.stage,
        tuple(args.draw),
    )  # fmt: skip
    return RunOptions(
        args.data, args.out, start, args.export, args.until, args.blind, tuple(args.allow_change)
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="g2vlm train", description=__doc__)
    parser.add_argument("--config", default="nano", help="name of a shipped config, or a file")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE",
        help="change single values of the config: lr=3e-5 model.text.num_hidden_layers=2",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder of shards")
    parser.add_argument("--out", type=Path, help="folder of the run; continued")
    parser.add_argument(
        "--init", nargs="+", default=[], metavar="FOLDER",
        help="model folders to start from: a whole model, an encoder or a language model alone",
    )  # fmt: skip
    parser.add_argument(
        "--geometry", type=Path, metavar="RUN", help="start from the averages of a geometry run"
    )
    parser.add_argument(
        "--copy-expert", action="store_true",
        help="start the geometric expert as a copy of the semantic one, not at random",
    )  # fmt: skip
    parser.add_argument(
        "--draw", nargs="+", default=[], metavar="PREFIX",
        help="draw the tensors whose names begin so where nothing that is given holds them",
    )  # fmt: skip
    parser.add_argument(
        "--allow-change", nargs="+", default=[], metavar="KEY",
        help="keys of the config in which a continued run may differ from what it began with; "
        "'base' is its first weights",
    )  # fmt: skip
    parser.add_argument("--export", type=Path, help="write a model folder at the end")
    parser.add_argument("--steps", type=at_least(1), help="override the length of the run")
    parser.add_argument(
        "--until", type=at_least(1), help="stop early, at this step of the schedule"
    )
    parser.add_argument("--blind", action="store_true", help="questions without pictures")
    parser.add_argument("--threads", type=at_least(1), default=1, help="torch threads per process")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="CUDA where there is some")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the run would take, and do not run"
    )
    parser.add_argument("--processes", type=at_least(1), default=1, help="dry run: devices")
    parser.add_argument(
        "--tflops", type=float, default=150.0,
        help="dry run: what a device sustains, 1e12 operations per second",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
