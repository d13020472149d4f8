# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm analyse correspondence ...`: what the layers of a language model know."""

from __future__ import annotations

import logging

from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.interface.words import log_plainly

from .evaluate import correspondence_cli

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run `g2vlm analyse`; returns the exit code."""
    parser = CommandParser(prog="g2vlm analyse", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    words = "matches in queries and keys, layer by layer (GASP, section 5.3)"
    description = correspondence_cli.__doc__
    correspondence_cli.add_arguments(
        kinds.add_parser("correspondence", help=words, description=description)
    )
    args = parser.parse_args(argv)
    log_plainly(logging.INFO, "%(message)s")
    return correspondence_cli.run(args)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
