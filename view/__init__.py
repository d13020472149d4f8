# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm view`: the growing map in a browser, with marks and questions."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code (see `cli.py`)."""
    from .cli import main as run

    return run(argv)
