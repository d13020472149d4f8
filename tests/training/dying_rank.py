# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Started by `torchrun` in tests: a run of two processes, of which the second dies in step 3.

    torchrun --nproc-per-node 2 --max-restarts 1 -m tests.training.dying_rank SHARDS OUT

It dies once: in the processes that torchrun starts in their place nobody does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from g2vlm_training.run.distribution import joined_processes

from tests.training.tiny_run import tiny_trainer

STEPS = 4
DIED = "died"


def main(shards: Path, out: Path) -> None:
    """See the module."""
    torch.set_num_threads(1)
    with joined_processes("cpu") as processes:
        trainer = tiny_trainer(shards, out, processes, windows=((4, 2),), log_steps=1, save_steps=1)
        usual = trainer.loss_of_step

        def loss_of_step(step: int):  # type: ignore[no-untyped-def]
            first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
            if first and step == 2 and not processes.first:
                (out / DIED).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return usual(step)

        trainer.loss_of_step = loss_of_step
        trainer.run(until=STEPS)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
