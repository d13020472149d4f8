# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export onnx|tensorrt|check|plan`: graphs and engines of a model, and what they need.

Each sub-command is a module of this package, `<name>_cli.py` with a function `main(argv)`, and
is imported when it is called.
"""

from __future__ import annotations

import pkgutil
from importlib.metadata import EntryPoint
from pathlib import Path

from g2vlm_model.cli import dispatch

__all__ = ["main"]

_SUFFIX = "_cli"


def main(argv: list[str]) -> int:
    """Run `g2vlm export`; returns the exit code."""
    return dispatch(argv, _commands(), "g2vlm export")


def _commands() -> dict[str, EntryPoint]:
    """Sub-commands by name: the modules of this package that end in `_cli`."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    names = [name.removesuffix(_SUFFIX) for name in modules if name.endswith(_SUFFIX)]
    return {
        name: EntryPoint(name, f"{__package__}.{name}{_SUFFIX}:main", "g2vlm.export")
        for name in names
    }
