# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm analyse correspondence`: do a model's queries and keys know which points are the same?"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.interface.command_line import at_least
from g2vlm_model.interface.whole_files import check_writable, write_text
from g2vlm_model.runtimes.torch.placement import choose_placement

from ..datasets.layouts import LAYOUTS
from ..gasp.gasp_heads import EXPERTS
from ..gasp.gasp_readers import open_reader
from .correspondence_run import GAPS, AnalysisOptions, analyse_model, planned_sequences
from .correspondence_summary import Analysis, Spread
from .windows import open_sequences

__all__ = ["add_arguments", "run"]

_LOG = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--models", nargs="+", default=["nano"], help="model folders, the baseline first")
    add("--names", nargs="+", help="what to call them; default: their folders' names")
    add("--dataset", default="synthetic", help=f"synthetic, or {', '.join(LAYOUTS)}")
    add("--root", type=Path, required=True, help="folder of the data in that layout")
    add("--split", choices=("train", "val", "test"), default="test", help="synthetic: whose rooms")
    add("--gaps", type=int, nargs="+", default=GAPS, help="frames from the first to later ones")
    add("--points", type=at_least(1), default=8, help="per side of the lattice on the first frame")
    add("--sequences", type=at_least(1), default=200, help="at most so many")
    add("--expert", choices=EXPERTS, default="semantic", help="G2VLM: whose tokens")
    add(
        "--side",
        type=at_least(0),
        default=0,
        help="pixels of a side for the encoder; 0: the model's own",
    )
    add("--seed", type=int, default=7, help="choice of the sequences")
    add("--out", type=Path, help="folder for correspondence.json and report.html")
    add("--json", action="store_true", help="print the numbers as JSON, not as a table")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--threads", type=at_least(1), default=1, help="torch threads")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        ValueError: Numbers out of range, an unknown layout, no sequence long enough.
        FileNotFoundError: A model or the data is missing.
        OSError: `--out` cannot be written.
    """
    torch.set_num_threads(args.threads)
    names = args.names or [Path(model).name for model in args.models]
    if len(names) != len(args.models) or len(set(names)) != len(names):
        raise ValueError(
            f"--names is {names} for {len(args.models)} models, expected as many different names"
        )
    if args.out is not None:
        check_writable(args.out / "correspondence.json")
    options = AnalysisOptions(tuple(args.gaps), args.points, args.sequences, args.seed)
    plans = planned_sequences(open_sequences(args.dataset, args.root, args.split), options)
    place = choose_placement(args.device, "fp32").device
    found = [
        analyse_model(name, open_reader(model, args.expert, args.side, place), plans, options)
        for name, model in zip(names, args.models, strict=True)
    ]
    command = {key: value for key, value in vars(args).items() if key not in ("what", "json")}
    content = {
        "command": command,
        "models": [_plain(dataclasses.asdict(one)) for one in found],
    }
    text = json.dumps(content, indent=2, default=str)
    print(text if args.json else text_table(found))
    if args.out is not None:
        from .correspondence_report import write_report  # matplotlib takes a second to load

        write_text(args.out / "correspondence.json", text + "\n")
        write_report(args.out / "report.html", found, command)
        _LOG.info("wrote correspondence.json and report.html to %s", args.out)
    return 0


def text_table(found: Sequence[Analysis]) -> str:
    """A line per model and layer, and one of what is left at each gap."""
    lines = []
    for one in found:
        lines.append(
            f"{one.name}: {one.sequences} sequences, {one.points} points ({one.moved} moved), "
            f"{one.grid_hw[0]} x {one.grid_hw[1]} patches; PCK of a random patch "
            f"{100 * one.chance:.1f} %, of standing still {100 * one.still:.1f} %"
        )
        heads = ("PCK@2, %", "of moved, %", "correlation", "of nearby")
        lines.append(f"{'layer':>7}" + "".join(f"{head:>18}" for head in heads))
        columns = zip(one.pck, one.moved_pck, one.correlation, one.nearby_correlation, strict=True)
        for layer, (pck, moved, highest, nearby) in enumerate(columns):
            cells = (
                *(_cell(share, 100, 1) for share in (pck, moved)),
                *(_cell(rho, 1, 2) for rho in (highest, nearby)),
            )
            mark = " best" if layer == one.best_layer else ""
            lines.append(f"{layer:>7}" + "".join(f"{cell:>18}" for cell in cells) + mark)
        left = "  ".join(
            f"{gap}: {_cell(share, 100, 0)}"
            for gap, share in zip(one.gaps, one.robustness, strict=True)
        )
        lines.append(f"left of the best layer's PCK at a gap of, %: {left}")
        still = "  ".join(
            f"{gap}: {'-' if math.isnan(share) else f'{100 * share:.0f}'}"
            for gap, share in zip(one.gaps, one.gap_still, strict=True)
        )
        lines.append(f"PCK of standing still at a gap of, %: {still}\n")
    return "\n".join(lines)


def _cell(spread: Spread, factor: float, digits: int) -> str:
    if math.isnan(spread.mean):
        return "-"
    return f"{factor * spread.mean:.{digits}f} ± {factor * spread.deviation:.{digits}f}"


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
