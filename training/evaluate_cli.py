# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate geometry|stretches|questions|qa|tables|card ...`: metrics and baselines."""

from __future__ import annotations

import logging

from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.interface.words import log_plainly

from .evaluate import card, geometry_cli, questions_cli, stretches, tables_cli
from .evaluate.benchmarks import cli as benchmark_files

__all__ = ["main"]

_KINDS = {
    "geometry": (geometry_cli, "depth, points, normals and poses on any posed RGB-D data"),
    "stretches": (stretches, "geometry on real stretches, by name"),
    "questions": (questions_cli, "questions on held-out rooms"),
    "qa": (benchmark_files, "published benchmark files"),
    "tables": (tables_cli, "geometry.json files as Markdown"),
    "card": (card, "the model card from evaluation files"),
}


def main(argv: list[str]) -> int:
    """Run `g2vlm evaluate`; returns the exit code."""
    parser = CommandParser(prog="g2vlm evaluate", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, (module, words) in _KINDS.items():
        module.add_arguments(kinds.add_parser(name, help=words, description=module.__doc__))
    args = parser.parse_args(argv)
    log_plainly(logging.INFO, "%(message)s")
    return int(_KINDS[args.what][0].run(args))


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
