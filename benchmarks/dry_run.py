# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory that the dry run says beside what a process takes that trains so.

    python -m benchmarks.dry_run --threads 1
    python -m benchmarks.dry_run --threads 1 --cases nano adapters

Each case is a process of its own on the CPU. What counts is the growth of its resident memory, from
all libraries at work (a step of nano on one window of two frames has been made, and is gone) to the
most during `--steps` steps, of which the second is the first that finds the optimiser's moments.
glibc is told to give large blocks back (`MALLOC_MMAP_THRESHOLD_`), as its own threshold grows with
what is freed and keeps holes. Weights are loaded by then: that takes memory of the host, in fp32.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from g2vlm_training.config import TrainConfig
from g2vlm_training.config_file import config_of
from g2vlm_training.datasets.base import Clip
from g2vlm_training.datasets.shards import write_shard
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.dry_run import memory_of
from g2vlm_training.run.run import RunOptions, prepared_run
from g2vlm_training.run.start import Start

from .common import REPO, add_common_arguments, print_table, set_threads, write_report

_GIB = 2**30
_WIDTHS: dict[str, Any] = {  # the published widths, few layers, a small vocabulary
    "preset": "g2vlm_2b",
    "model": {
        "text": {"num_hidden_layers": 2, "vocab_size": 2048},
        "dino": {"num_hidden_layers": 2},
        "vit": {"depth": 1},
        "heads": {"depth": 1},
    },
    "steps": 10,
    "views": {"width": 224, "aspect": [0.75, 0.75]},
    "extra": {
        "correspondence": 0.0, "correspondence_later": 0.0, "global_every": 1, "pixel_stride": 1,
    },
    "eval_windows": 0,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "nano": {"preset": "nano", "windows": [[24, 4]], "precision": "fp32", "eval_windows": 0},
    "widths": {**_WIDTHS, "windows": [[1, 2]], "precision": "fp32"},
    "adapters": {
        **_WIDTHS, "windows": [[1, 2]], "adapters": True, "frozen": "bf16", "recompute": True,
        "precision": "bf16",
    },
}  # fmt: skip


def main() -> int:
    """Measure each case; print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, "dry_run")
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = set_threads(arguments)
    if arguments.child:
        print(json.dumps(taken(config_of(CASES[arguments.child], "case"), arguments.steps)))
        return 0
    rows = [["case", "planned GiB", "measured GiB", "planned over measured"]]
    results: dict[str, Any] = {}
    for name in arguments.cases:
        planned = sum(memory_of(config_of(CASES[name], name), 1).values())
        measured = in_a_process(name, arguments)
        results[name] = {"planned": planned, "measured": measured}
        sizes = [f"{size / _GIB:.2f}" for size in (planned, measured)]
        rows.append([name, *sizes, f"{planned / measured:.2f}"])
    print_table(rows)
    write_report(arguments.out, "dry_run", device, results)
    return 0


def in_a_process(name: str, arguments: argparse.Namespace) -> int:
    """Bytes that a process of its own grows by."""
    words = [sys.executable, "-m", "benchmarks.dry_run", "--child", name]
    words += ["--threads", str(arguments.threads), "--steps", str(arguments.steps)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    done = subprocess.run(
        words, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return int(json.loads(done.stdout.splitlines()[-1]))


def taken(config: TrainConfig, steps: int) -> int:
    """Bytes by which this process grows when it trains so."""
    with tempfile.TemporaryDirectory() as folder:
        small = config_of({**CASES["nano"], "windows": [[1, 2]]}, "nano")
        trained(small, Path(folder) / "small", 1)
        gc.collect()
        before = resident()
        return trained(config, Path(folder) / "case", steps) - before


def trained(config: TrainConfig, folder: Path, steps: int) -> int:
    """Make so many steps of a run of noise; returns the most bytes during them."""
    write_clips(folder, config)
    options = RunOptions(folder, folder / "run", Start(config.seed))
    run = prepared_run(config, options, Processes())
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak so far
    for _ in range(steps):
        run.trainer.train_step()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def write_clips(folder: Path, config: TrainConfig) -> None:
    """Noise at the size of the model's pictures; a step's memory does not look at what it shows."""
    rng = np.random.default_rng(0)
    (clips, frames), *_ = config.windows
    width = config.views.width or config.model.dino_width
    size = (width * 3 // 4, width)
    T_world_cam = np.tile(np.eye(4), (frames, 1, 1))
    T_world_cam[:, 0, 3] = 0.1 * np.arange(frames)
    K = np.array([[width, 0, width / 2], [0, width, size[0] / 2], [0, 0, 1.0]])
    rgb = rng.integers(0, 255, (frames, *size, 3), np.uint8)
    depth = rng.uniform(1, 3, (frames, *size)).astype(np.float32)
    clip = Clip(rgb, depth, T_world_cam, np.tile(K, (frames, 1, 1)))
    write_shard(folder / "train-00000.tar", [clip] * clips)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    raise SystemExit(main())
