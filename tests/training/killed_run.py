# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Started in tests: runs that kill themselves while they write their third checkpoint.

    python -m tests.training.killed_run SHARDS OUT

Each moment of `MOMENTS` gets a process of its own and the folder OUT/MOMENT; this process says what
the kills were (the numbers of the signals, as JSON).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from g2vlm_training.run import checkpoints
from g2vlm_training.run.distribution import Processes
from safetensors.torch import save_file as written

from tests.training.tiny_run import tiny_trainer

THIRD = "step-0000003"
MOMENTS = ("half of the bytes", "before the name", "after the name")
_replace = os.replace


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(moment: str) -> None:
    """Let this process die at a moment of its third checkpoint."""

    def save_file(tensors: Mapping[str, Any], path: Path, **options: Any) -> None:
        written(dict(tensors), path, **options)
        if moment == MOMENTS[0] and THIRD in path.name:
            os.truncate(path, path.stat().st_size // 2)
            _die()

    def replace(source: Path, target: Path) -> None:
        if moment == MOMENTS[1] and THIRD in target.name:
            _die()
        _replace(source, target)
        if moment == MOMENTS[2] and THIRD in target.name:
            _die()

    vars(checkpoints)["save_file"] = save_file
    os.replace = replace  # type: ignore[assignment]


def main(shards: Path, out: Path) -> None:
    """See the module."""
    torch.set_num_threads(1)
    signals = {}
    for moment in MOMENTS:
        child = os.fork()  # before this process has computed anything, so that nothing is held
        if child == 0:
            arrange(moment)
            tiny_trainer(shards, out / moment, Processes(), save_steps=1).run(until=4)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        signals[moment] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    print(json.dumps(signals))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
