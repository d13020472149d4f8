# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The machine, the versions and the process that a run's numbers belong to."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("torch", "numpy", "opencv-python-headless", "rclpy", "evo", "rosbags", "onnxruntime")
SAMPLE_PERIOD_S = 0.25


def describe_machine() -> dict[str, str]:
    """Processor, memory, system and versions, in words."""
    described = {
        "processor": f"{_processor()}, {os.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        try:
            described[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return described


class ProcessWatch:
    """Looks now and then how large a process is.

    Args:
        pid: of the process that runs the model.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._next_s = 0.0
        self.peak_rss_mib = 0.0

    def sample(self) -> bool:
        """Look, unless it was looked at a moment ago; returns whether it was."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + SAMPLE_PERIOD_S
        with contextlib.suppress(psutil.Error):  # it has ended; whoever started it knows how
            self.peak_rss_mib = max(self.peak_rss_mib, self._process.memory_info().rss / 2**20)
        return True

    def cpu_s(self) -> float:
        """Processor seconds since its start, 0 where it has ended."""
        try:
            times = self._process.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
