# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the benchmarks share: fair timing, the machine in words, results as JSON and a table.

Other programs use the machine as well. Everything that is compared is therefore measured in
turns within one run (`interleaved`), and ratios of medians are what is quoted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.runtimes.torch.placement import choose_placement

__all__ = [
    "REPO",
    "Timing",
    "add_common_arguments",
    "interleaved",
    "matmul_job",
    "print_table",
    "set_threads",
    "synchronize",
    "write_report",
]

REPO = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Timing:
    """Seconds of one thing that was measured several times.

    Args:
        seconds: Wall time.
        cpu_seconds: Time that this process had a core, all threads together; with one thread
            it hardly depends on what else runs on the machine.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu_seconds)

    def as_json(self) -> dict[str, Any]:
        """Median, extremes and all values."""
        return {
            "median_s": self.median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "all_s": list(self.seconds),
            "cpu_median_s": self.cpu_median,
        }


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    jobs: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 1
) -> dict[str, Timing]:
    """Time jobs in turns: a, b, c, a, b, c ..., so that a busy minute hits all of them.

    Args:
        jobs: Name -> function.
        rounds: Measured rounds.
        device: Waited for before and after each job.
        warmup: Rounds that are not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(warmup + rounds):
        for name, job in jobs.items():
            synchronize(device)
            started, cpu_started = time.perf_counter(), time.process_time()
            job()
            synchronize(device)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - started)
                cpu_seconds[name].append(time.process_time() - cpu_started)
    return {name: Timing(tuple(seconds[name]), tuple(cpu_seconds[name])) for name in jobs}


def matmul_job(device: torch.device, dtype: torch.dtype, side: int) -> Callable[[], object]:
    """A square matrix product, the yardstick of the machine."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def add_common_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Arguments that every benchmark has."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads of torch (default: all cores)"
    )
    parser.add_argument(
        "--out",
        type=_file,
        default=REPO / "out" / "benchmarks" / f"{name}.json",
        help="JSON file",
    )


def _file(text: str) -> Path:
    """A path to write a file to: one that cannot be is refused ahead of the work, not after it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, expected a file")
    return path


def set_threads(arguments: argparse.Namespace) -> torch.device:
    """Apply --threads; return --device. One that is not there ends the program with code 2."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        return choose_placement(arguments.device).device
    except ValueError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine: dict[str, Any] = {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(memory / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
        machine["cuda"] = torch.version.cuda
    return machine


def write_report(path: Path, name: str, device: torch.device, results: Mapping[str, Any]) -> None:
    """Write results beside everything that is needed to judge and repeat them."""
    commit = subprocess.run(
        ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    report = {
        "benchmark": name,
        "command": " ".join(
            ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        ),
        "commit": commit or None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": describe_machine(device),
        "results": dict(results),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a Markdown table; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
