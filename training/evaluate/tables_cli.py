# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate tables FILE ...`: geometry.json files as Markdown, for a model card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from g2vlm_model.interface.documents import parse_json

from .geometry_tables import SHORT, frames_table, metrics_table
from .summary import METRICS

__all__ = ["add_arguments", "run"]

_KEYS = [metric.key for metric in METRICS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("files", type=Path, nargs="+", help="geometry.json of evaluations")
    parser.add_argument("--metrics", nargs="+", choices=_KEYS, default=list(SHORT), metavar="KEY")
    parser.add_argument("--row", default="head", help="row of the side-by-side table")
    parser.add_argument("--interval", action="store_true", help="with 95 %% intervals")


def run(args: argparse.Namespace) -> int:
    """Print the tables; returns the exit code.

    Raises:
        ValueError: A file that is no evaluation of geometry, or lacks the row.
        FileNotFoundError: A file is missing.
    """
    for path in args.files:
        print(_markdown(path, args.metrics, args.row, args.interval))
    return 0


def _markdown(path: Path, keys: list[str], name: str, interval: bool) -> str:
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        tables, command = content["tables"], content["command"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no geometry.json of `g2vlm evaluate geometry`") from error
    setting = f"{command['dataset']}, stride {command['stride']}"
    parts = []
    for table in tables:
        head = table["rows"][0]
        parts.append(
            f"**{setting}, {table['frames']} frames** ({head['windows']} windows of "
            f"{head['sequences']} sequences, {head['pairs']} pairs, {head['baseline_pairs']} of "
            f"them over {command['min_baseline']} m)\n"
        )
        parts.append(metrics_table(table["rows"], keys, interval) + "\n")
        parts += [
            f"- {title}: {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
            for title, gain in table["gains"].items()
        ]
        parts.append("")
    if len(tables) > 1:
        rows = [row for table in tables for row in table["rows"]]
        parts.append(f"**{setting}, side by side**\n\n{frames_table(rows, name)}\n")
    return "\n".join(parts)
